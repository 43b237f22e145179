//! Approvals over the control socket. Nothing is decided by a GET, nor by whoever merely reached the socket: an approver
//! shows a token of their own, or is root of this host by the kernel's word.

use super::Subjects;
use super::peer::Peer;
use crate::approval::{Approver, Request, Unable};
use axum::Json;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// What an approver says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Word {
    /// For the agent and the record.
    pub comment: Option<String>,
    /// Why it runs although nobody has approved it.
    pub break_glass: Option<String>,
}

/// Words longer than this are not read by anybody, in characters.
const LONGEST: usize = 2000;

type Answer = Result<Json<Request>, (StatusCode, String)>;

pub(super) async fn list(State(subjects): State<Subjects>) -> Json<Vec<Request>> {
    Json(subjects.proxy.shared.desk.list(now()))
}

pub(super) async fn show(State(subjects): State<Subjects>, Path(id): Path<String>) -> Answer {
    let found = subjects.proxy.shared.desk.show(&id, now());
    found.map(Json).ok_or_else(|| unable(&Unable::NoSuch(id)))
}

pub(super) async fn approve(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(word): Json<Word>,
) -> Answer {
    let by = approver(&subjects, peer, &headers).await?;
    let Word { comment, break_glass } = fit(word)?;
    let desk = &subjects.proxy.shared.desk;
    let decided = match break_glass {
        Some(reason) => desk.break_glass(&id, &by, &reason, now()),
        None => desk.approve(&id, &by, comment.as_deref(), now()),
    };
    decided.map(Json).map_err(|error| refused(&id, &by, &error))
}

pub(super) async fn deny(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(word): Json<Word>,
) -> Answer {
    let by = approver(&subjects, peer, &headers).await?;
    let Word { comment, .. } = fit(word)?;
    let decided = subjects.proxy.shared.desk.deny(&id, &by, comment.as_deref(), now());
    decided.map(Json).map_err(|error| refused(&id, &by, &error))
}

pub(super) async fn approver(
    subjects: &Subjects,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Approver, (StatusCode, String)> {
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return match peer.uid {
            Some(0) if peer.agent(subjects).is_some() => {
                Err((StatusCode::FORBIDDEN, "an agent is not root of this host: show a token".to_owned()))
            }
            Some(0) => Ok(Approver::LocalRoot { cgroup: peer.cgroup() }),
            _ => {
                Err((StatusCode::UNAUTHORIZED, "show a token: --token-file, or INTERCEPTOR_APPROVER_TOKEN".to_owned()))
            }
        };
    };
    // Whoever shows a token is who it says, root or not.
    let token = given.to_str().ok().and_then(|given| given.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| (StatusCode::UNAUTHORIZED, "no bearer token".to_owned()))?;
    let person = subjects.proxy.registrar.person(token).await;
    let person = person.map_err(|error| (StatusCode::UNAUTHORIZED, error.to_string()))?;
    Ok(Approver::Person {
        subject: person.subject,
        issuer: person.issuer,
        groups: person.groups.into_iter().collect(),
        on_behalf_of: person.on_behalf_of,
    })
}

pub(super) fn fit(word: Word) -> Result<Word, (StatusCode, String)> {
    let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > LONGEST);
    if long(&word.comment) || long(&word.break_glass) {
        return Err((StatusCode::BAD_REQUEST, format!("more than {LONGEST} characters are not read by anybody")));
    }
    Ok(word)
}

pub(super) fn refused(id: &str, by: &Approver, error: &Unable) -> (StatusCode, String) {
    tracing::warn!(id, by = by.name(), %error, "somebody's word on a request did not count");
    unable(error)
}

pub(super) fn unable(error: &Unable) -> (StatusCode, String) {
    let status = match error {
        Unable::NoSuch(_) => StatusCode::NOT_FOUND,
        Unable::Decided { .. } | Unable::Again(_) => StatusCode::CONFLICT,
        Unable::Own(_)
        | Unable::ActsForAnother { .. }
        | Unable::WrongGroup { .. }
        | Unable::NotRoot
        | Unable::SameCgroup(_)
        | Unable::NoGlass => StatusCode::FORBIDDEN,
        Unable::NoReason => StatusCode::BAD_REQUEST,
        Unable::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
