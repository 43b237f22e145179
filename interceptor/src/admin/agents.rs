//! Over the control socket: giving a job its token, taking it back, ending sessions, handing the record's key on. For root of this host and the daemon's
//! own user, by the kernel's word on who is at the other end; each is on record.

use super::Subjects;
use super::peer::Peer;
use crate::audit::{Event, Record, Subject};
use crate::identity::{EnrollError, Enrolled, Enrollee};
use crate::proxy::SessionInfo;
use axum::Json;
use axum::extract::State;
use axum::extract::connect_info::ConnectInfo;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A token for a cgroup or a process.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// For whom.
    pub enrollee: Enrollee,
    /// The token.
    pub token: String,
}

/// What shall be taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// From whom.
    pub enrollee: Enrollee,
}

/// Which sessions shall end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kill {
    /// The one of this id.
    Session(String),
    /// All of an agent.
    Agent(String),
    /// All of those who act for somebody.
    OnBehalfOf(String),
}

type Refused = (StatusCode, String);

pub(super) async fn enrolled(State(subjects): State<Subjects>) -> Json<Vec<Enrolled>> {
    Json(subjects.proxy.registrar.enrolled())
}

pub(super) async fn enroll(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(Enroll { enrollee, token }): Json<Enroll>,
) -> Result<Json<Enrolled>, Refused> {
    let by = operator(&peer)?;
    let registrar = &subjects.proxy.registrar;
    let enrolled = registrar.enroll(&enrollee, &token).await.map_err(|error| refused(&error))?;
    if let Err(error) = note(&subjects, &format!("enrolled {}, by {by}", words(&enrolled))) {
        // Without a record nothing is as if it had been.
        let _taken = registrar.revoke(&enrollee);
        return Err(error);
    }
    Ok(Json(enrolled))
}

pub(super) async fn revoke(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(Revoke { enrollee }): Json<Revoke>,
) -> Result<Json<Vec<Enrolled>>, Refused> {
    let by = operator(&peer)?;
    let revoked = subjects.proxy.registrar.revoke(&enrollee).map_err(|error| refused(&error))?;
    for enrolled in &revoked {
        note(&subjects, &format!("revoked {}, by {by}", words(enrolled)))?;
    }
    Ok(Json(revoked))
}

pub(super) async fn kill(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(which): Json<Kill>,
) -> Result<Json<Vec<SessionInfo>>, Refused> {
    let by = operator(&peer)?;
    let killed = subjects.proxy.live.kill(|info| match &which {
        Kill::Session(id) => info.session == *id,
        Kill::Agent(agent) => info.agent == *agent,
        Kill::OnBehalfOf(human) => info.on_behalf_of.as_ref() == Some(human),
    });
    if killed.is_empty() {
        return Err((StatusCode::NOT_FOUND, "no such session is open; `interceptor sessions` shows them".to_owned()));
    }
    for info in &killed {
        note(&subjects, &format!("session {} of {} is ended, by {by}", info.session, info.agent.escape_debug()))?;
    }
    Ok(Json(killed))
}

/// The public key that signs the record from now on, in hex.
pub(super) async fn rotate_key(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Result<Json<String>, Refused> {
    let by = operator(&peer)?;
    note(&subjects, &format!("another signing key is asked for, by {by}"))?;
    let rotated = subjects.trail.rotate_key();
    rotated.map(Json).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

fn operator(peer: &Peer) -> Result<String, Refused> {
    match peer.uid {
        Some(uid) if uid == 0 || uid == nix::unistd::geteuid().as_raw() => Ok(peer.to_string()),
        Some(uid) => Err((StatusCode::FORBIDDEN, format!("uid {uid} is neither root nor the daemon's own user"))),
        None => Err((StatusCode::FORBIDDEN, "the kernel does not say who you are".to_owned())),
    }
}

fn words(enrolled: &Enrolled) -> String {
    let place = match enrolled.pid {
        Some(pid) => format!("process {pid} in cgroup {}", enrolled.cgroup.escape_debug()),
        None => format!("cgroup {}", enrolled.cgroup.escape_debug()),
    };
    format!("the token of {} for {place}", enrolled.subject.escape_debug())
}

pub(super) fn note(subjects: &Subjects, text: &str) -> Result<(), Refused> {
    let mut record = Record::new(Event::Admin, Arc::new(Subject::default()));
    record.statement = Some(text.to_owned());
    let written = subjects.trail.write(record);
    written.map(drop).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

fn refused(error: &EnrollError) -> Refused {
    let status = match error {
        EnrollError::NotThere { .. } | EnrollError::Nothing => StatusCode::NOT_FOUND,
        EnrollError::Root | EnrollError::NotASource => StatusCode::CONFLICT,
        EnrollError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        EnrollError::Token(why) if why.unavailable() => StatusCode::SERVICE_UNAVAILABLE,
        EnrollError::Token(_) => StatusCode::FORBIDDEN,
    };
    (status, error.to_string())
}
