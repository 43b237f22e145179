//! Who is at the other end of the control socket, and what agents get there: next to nothing, whatever their user.
//!
//! Root in a job's container or behind `sudo` can open the socket as any root can. Who may reach it decides over jobs, sessions and
//! requests, so that an agent could end others, be somebody else or look at what they ask for.

use super::Subjects;
use crate::identity::Caller;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use std::fmt;
use std::sync::Arc;
use tokio::net::UnixListener;

/// Whoever has opened the connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// The user; `None` where the kernel does not say.
    pub(super) uid: Option<u32>,
    /// The process; `None` where it had ended before it was looked at.
    caller: Option<Arc<Caller>>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let uid = stream.io().peer_cred().ok().map(|peer| peer.uid());
        Self { uid, caller: Caller::of(stream.io()).map(Arc::new) }
    }
}

impl Peer {
    pub(super) fn cgroup(&self) -> Option<String> {
        self.caller.as_ref()?.cgroup()
    }

    /// Why it counts as an agent, if it does.
    pub(super) fn agent(&self, subjects: &Subjects) -> Option<String> {
        let ended = || "it has ended".to_owned();
        let Some(caller) = self.caller.as_ref().filter(|caller| caller.lives()) else { return Some(ended()) };
        if subjects.redirect.is_agent(caller.pid()) {
            return Some("it is captured as an agent, or descends from one".to_owned());
        }
        if let Some(enrolled) = subjects.proxy.registrar.enrolled_for(caller) {
            return Some(format!("it is the job of {}", enrolled.subject.escape_debug()));
        }
        // Once more: what was asked in between was asked by its number.
        (!caller.lives()).then(ended)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "uid {uid}")?,
            None => f.write_str("somebody")?,
        }
        self.caller.as_ref().map_or(Ok(()), |caller| write!(f, " (process {})", caller.pid()))
    }
}

/// Whether whoever it is may ask for it. Numbers tell nothing about others.
fn is_for_all(method: &Method, path: &str) -> bool {
    *method == Method::GET && matches!(path, "/status" | "/coverage" | "/metrics" | "/health" | "/ready")
}

/// Turns agents away; what would have changed something is on record.
pub(super) async fn guard(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if subjects.agents_operate || is_for_all(&method, &path) {
        return next.run(request).await;
    }
    let Some(why) = peer.agent(&subjects) else { return next.run(request).await };
    let place = peer.cgroup().map_or_else(String::new, |cgroup| format!(" in cgroup {}", cgroup.escape_debug()));
    tracing::warn!(%peer, why, %method, path, "an agent has been turned away from the control socket");
    if method != Method::GET {
        let said = format!("refused to {peer}{place}, because {why}: {method} {}", path.escape_debug());
        if let Err(refused) = super::agents::note(&subjects, &said) {
            return refused.into_response();
        }
    }
    let text = format!(
        "{peer}{place} is refused here, because {why}; ask from a shell that is no agent's (`agents_operate` in [admin])"
    );
    (StatusCode::FORBIDDEN, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_for_all;
    use axum::http::Method;

    #[test]
    fn agents_get_numbers_only() {
        for (method, path, expected) in [
            (Method::GET, "/status", true),
            (Method::GET, "/coverage", true),
            (Method::GET, "/health", true),
            (Method::GET, "/ready", true),
            (Method::GET, "/metrics", true),
            (Method::POST, "/status", false),
            (Method::HEAD, "/status", false),
            (Method::GET, "/status/", false),
            (Method::GET, "/approvals", false),
            (Method::GET, "/sessions", false),
            (Method::GET, "/enrollments", false),
            (Method::POST, "/sessions/kill", false),
        ] {
            assert_eq!(is_for_all(&method, path), expected, "{method} {path}");
        }
    }
}
