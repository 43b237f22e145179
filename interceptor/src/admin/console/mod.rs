//! The page for people who approve: what waits, what runs, what has been.
//!
//! It shows what agents have written, so that nothing of it is ever markup: the daemon sends JSON, the page makes text nodes of
//! it, and the browser is told to run no script but the page's own. It is asked by browsers, so that every request has to
//! name this very host (DNS rebinding), every change has to come from this very page (`Origin`, and a token that only it
//! knows), and no GET changes anything (link previews). Who somebody is comes from the same tokens as on the command line, and
//! what their word counts for is decided by the same desk.

mod api;
mod door;
mod look;

pub use door::{Console, Link};

use super::{Subjects, webhook};
use crate::identity::SignInSettings;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

pub(super) use api::link;

/// The `[console]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where it listens: a loopback address. Absent for nowhere.
    pub listen: Option<SocketAddr>,
    /// A Unix socket besides, for a proxy in front of it or `ssh -L`.
    pub socket: Option<PathBuf>,
    /// Other names that browsers reach it by, with their ports: `console.example`.
    pub hosts: Vec<String>,
    /// Groups that see everything and may end sessions; everybody else sees the requests that they are asked for.
    pub operators: BTreeSet<String>,
    /// Where people sign in; without it there are the links of `interceptor console`.
    pub sign_in: Option<SignInSettings>,
}

impl Settings {
    /// What is wrong with them.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(listen) = self.listen.filter(|listen| !listen.ip().is_loopback()) {
            mistakes.push(format!(
                "`listen = \"{listen}\"` in [console] is no loopback address: it speaks no TLS; put a proxy in front of it"
            ));
        }
        if self.listen.is_none() && self.socket.is_some() && self.hosts.is_empty() {
            mistakes.push("`socket` without `listen` in [console] needs `hosts`: what browsers call it".to_owned());
        }
        if self.listen.is_none() && self.socket.is_none() && self.sign_in.is_some() {
            mistakes.push("`sign_in` in [console] needs `listen` or `socket`".to_owned());
        }
        mistakes
    }
}

/// Sockets of the console.
#[derive(Debug)]
pub struct Bound {
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
    /// The door to it.
    pub console: Arc<Console>,
}

/// Binds what the settings ask for; `None` where they ask for nothing.
///
/// # Errors
/// Where an address is taken, or the host has no CAs to trust an issuer by.
pub fn bind(settings: &Settings) -> io::Result<Option<Bound>> {
    if settings.listen.is_none() && settings.socket.is_none() {
        return Ok(None);
    }
    let tcp = settings.listen.map(|listen| {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let tcp = tcp.transpose()?;
    let unix = settings.socket.as_ref().map(|path| {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        listener.set_nonblocking(true)?;
        Ok((UnixListener::from_std(listener)?, path.clone()))
    });
    let address = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let console = Arc::new(Console::new(settings.clone(), address)?);
    Ok(Some(Bound { tcp, unix: unix.transpose()?, console }))
}

/// What the endpoints have at hand.
#[derive(Clone)]
struct Room {
    subjects: Subjects,
    console: Arc<Console>,
}

impl Bound {
    /// Answers until the daemon stops.
    pub async fn serve(self, subjects: Subjects, stop: watch::Receiver<bool>) {
        let Self { tcp, unix, console } = self;
        let router = router(Room { subjects, console });
        let over_tcp = async {
            if let Some(listener) = tcp {
                let mut stop = stop.clone();
                let stopped = async move { drop(stop.changed().await) };
                ended(axum::serve(listener, router.clone()).with_graceful_shutdown(stopped).await);
            }
        };
        let over_unix = async {
            if let Some((listener, path)) = unix {
                let mut stop = stop.clone();
                let stopped = async move { drop(stop.changed().await) };
                ended(axum::serve(listener, router.clone()).with_graceful_shutdown(stopped).await);
                drop(std::fs::remove_file(path));
            }
        };
        tokio::join!(over_tcp, over_unix);
    }
}

fn ended(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the console failed");
    }
}

/// Largest request that is read, in bytes.
const MOST: usize = 64 << 10;

fn router(room: Room) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/app.js", get(script))
        .route("/app.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/enter", post(api::enter))
        .route("/sign-in", post(api::sign_in))
        .route("/sign-in/back", get(api::back))
        .route("/sign-out", post(api::sign_out))
        .route("/api/me", get(api::me))
        .route("/api/events", get(api::events))
        .route("/api/approvals", get(api::approvals))
        .route("/api/approvals/{id}", get(api::approval))
        .route("/api/approvals/{id}/approve", post(api::approve))
        .route("/api/approvals/{id}/deny", post(api::deny))
        .route("/api/sessions", get(api::sessions))
        .route("/api/sessions/kill", post(api::kill))
        .route("/api/audit", get(api::audit))
        .route("/api/replay/{session}", get(api::replay))
        .route("/api/policies", get(api::policies))
        .route("/api/explain", post(api::explain))
        .route("/api/figures", get(api::figures))
        .route("/api/status", get(api::status))
        .layer(from_fn_with_state(room.clone(), guard))
        .with_state(room.clone())
        // Signed, and by no browser.
        .merge(Router::new().route("/webhook/answer", post(webhook::answer)).with_state(room.subjects))
        .layer(DefaultBodyLimit::max(MOST))
}

/// What every request has to be like, and what every answer says to the browser.
async fn guard(State(room): State<Room>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&room.console, request.method(), request.headers()) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn refusal(console: &Console, method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST).unwrap_or_default();
    if !console.is_host(host) {
        return Some((StatusCode::MISDIRECTED_REQUEST, "this is not that host"));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if !header(header::ORIGIN).is_some_and(|origin| console.is_origin(origin, host)) {
        return Some((StatusCode::FORBIDDEN, "this is not the page that it has to come from"));
    }
    // Forms of other sites cannot say this without asking first.
    let json = header(header::CONTENT_TYPE) == Some("application/json");
    (!json).then_some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "only JSON is taken"))
}

/// Nothing but the page's own files, in no frame, kept by nobody.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),
];

async fn index() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("page/index.html"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/app.js"))
}

async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("page/icon.svg"))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/app.css"))
}
