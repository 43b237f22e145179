//! The control socket: HTTP with JSON over a Unix socket that only the daemon's user may open, so that `curl --unix-socket`
//! works as well as the commands.

mod agents;
mod approvals;
mod client;
mod console;
mod peer;
mod vital;
mod webhook;

pub use agents::{Enroll, Kill, Revoke};
pub use approvals::Word;
pub use client::{ClientError, get, post};
pub use console::{Bound as BoundConsole, Console, Link, Settings as ConsoleSettings, bind as bind_console};
pub use webhook::{Settings as WebhookSettings, Webhook, load as load_webhooks, run as run_webhooks};

use crate::audit::Trail;
use crate::identity::{IssuerState, Reached};
use crate::proxy::{self, Proxy, SessionInfo};
use crate::redirect::{Account, Counters, Redirect};
use crate::telemetry::{Arrived, metrics};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get as on_get, post as on_post};
use axum::{Json, Router};
use peer::Peer;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// Where the control socket is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its path; the folder is made if it is not there.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Where `/metrics`, `/health` and `/ready` are served over TCP besides; a loopback address, for anybody on the host may ask.
    pub metrics: Option<SocketAddr>,
    /// Whether agents, and what descends from them, may do at the control socket what their user may.
    #[serde(default)]
    pub agents_operate: bool,
}

fn socket() -> PathBuf {
    PathBuf::from("/run/interceptor/control.sock")
}

impl Settings {
    /// What cannot be meant.
    pub fn mistakes(&self) -> Vec<String> {
        let open = self.metrics.filter(|address| !address.ip().is_loopback());
        let said = |address| format!("admin.metrics is {address}, which others can reach: name a loopback address");
        open.map(said).into_iter().collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { socket: socket(), metrics: None, agents_operate: false }
    }
}

/// What the endpoints talk about.
#[derive(Clone)]
pub struct Subjects {
    /// Connections and policies.
    pub proxy: Arc<Proxy>,
    /// The kernel half.
    pub redirect: Arc<Redirect>,
    /// What of it is no longer as it was put in place.
    pub missing: watch::Receiver<Vec<String>>,
    /// The record.
    pub trail: Arc<Trail>,
    /// Since when the daemon runs, RFC 3339.
    pub since: String,
    /// What is captured, for people to read.
    pub capture: String,
    /// Where the record is.
    pub audit: PathBuf,
    /// Who is let into the console, if there is one.
    pub console: Option<Arc<Console>>,
    /// Whether agents may use the control socket as others do.
    pub agents_operate: bool,
    /// Who is told what waits.
    pub webhooks: Vec<Arc<Webhook>>,
}

/// The state of the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// RFC 3339.
    pub since: String,
    /// What is captured.
    pub capture: String,
    /// How many policies there are.
    pub policies: usize,
    /// Which set it is.
    pub policy_digest: String,
    /// Sessions that are open.
    pub sessions: usize,
    /// `ok`, `degraded` (an issuer cannot be asked, and its agents may not get in) or `failing` (nothing runs, or the kernel half is
    /// not in place as it was).
    pub health: String,
    /// Why it is not well.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Where policies are only observed: what would have been refused since the daemon started.
    pub observed: Option<Observed>,
    /// How it stands with the issuers of tokens.
    pub issuers: Vec<IssuerState>,
    /// What of the kernel half is not in place any more.
    #[serde(default)]
    pub missing: Vec<String>,
    /// The guards at the kernel's security decisions that are in force.
    #[serde(default)]
    pub guards: Vec<String>,
    /// Programs that this kernel does not allow, of those that need not be.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Cgroups that are left alone, each a path below the mount; the daemon's own is the last.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// Number of the last audit record.
    pub audit_seq: u64,
    /// Statements since the start that were permitted, denied and held.
    #[serde(default)]
    pub decided: [u64; 3],
    /// What the kernel half counted, by name.
    pub kernel: Vec<(String, u64)>,
}

/// What was let through and would not have been, and what is missing for it not to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Observed {
    /// Statements.
    pub statements: u64,
    /// Sessions of processes without an identity.
    pub unidentified: u64,
    /// Sessions that passed unread.
    pub unread: u64,
    /// What is left to do, in order.
    pub steps: Vec<String>,
}

/// Binds the socket. Left-overs of a daemon that is gone are removed; one that answers is not.
pub fn bind(settings: &Settings) -> io::Result<UnixListener> {
    let path = &settings.socket;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers on this control socket"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Answers until the daemon stops.
pub async fn serve(listener: UnixListener, subjects: Subjects, mut stop: watch::Receiver<bool>, path: &Path) {
    let router = Router::new()
        .route("/status", on_get(status))
        .route("/coverage", on_get(coverage))
        .route("/reach", on_get(reach))
        .route("/sessions", on_get(sessions))
        .route("/sessions/kill", on_post(agents::kill))
        .route("/enrollments", on_get(agents::enrolled).post(agents::enroll))
        .route("/enrollments/revoke", on_post(agents::revoke))
        .route("/audit/rotate-key", on_post(agents::rotate_key))
        .route("/approvals", on_get(approvals::list))
        .route("/approvals/{id}", on_get(approvals::show))
        .route("/approvals/{id}/approve", on_post(approvals::approve))
        .route("/approvals/{id}/deny", on_post(approvals::deny))
        .route("/console/link", on_post(console::link))
        .merge(vital())
        .layer(axum::middleware::from_fn_with_state(subjects.clone(), peer::guard))
        .with_state(subjects)
        .into_make_service_with_connect_info::<Peer>();
    let stopped = async move {
        // The sender being gone means the same.
        let _stop = stop.changed().await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the control socket failed");
    }
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "the control socket could not be removed");
    }
}

/// What machines ask, which tells nothing about statements.
fn vital() -> Router<Subjects> {
    Router::new()
        .route("/metrics", on_get(vital::prometheus))
        .route("/health", on_get(vital::health))
        .route("/ready", on_get(vital::ready))
}

/// Answers machines over TCP until the daemon stops.
pub async fn serve_metrics(listener: TcpListener, subjects: Subjects, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        let _stop = stop.changed().await;
    };
    let router = vital().with_state(subjects);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "metrics cannot be served any more");
    }
}

async fn status(State(subjects): State<Subjects>) -> Result<Json<Status>, (StatusCode, String)> {
    state(&subjects).map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// What came of trying those that the daemon depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Who issues tokens.
    pub issuers: Vec<Reached>,
    /// Where the agents' connections end.
    pub databases: Vec<Reached>,
}

/// How the daemon stands.
fn state(subjects: &Subjects) -> Result<Status, String> {
    let policies = subjects.proxy.policies.load();
    let issuers = subjects.proxy.registrar.issuers();
    let health = vital::Health::of(subjects);
    let counters: Counters = subjects.redirect.counters().map_err(|error| error.to_string())?;
    let missing = subjects.missing.borrow().clone();
    let settings = subjects.redirect.settings();
    let exempt = settings.exempt.iter().chain([&settings.daemon_cgroup]);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        since: subjects.since.clone(),
        capture: subjects.capture.clone(),
        policies: policies.len(),
        policy_digest: policies.digest().to_owned(),
        sessions: subjects.proxy.live.len(),
        health: health.state.to_owned(),
        reasons: health.reasons,
        observed: subjects.proxy.observes().then(|| observed(subjects)),
        missing,
        guards: subjects.redirect.guards().into_iter().map(str::to_owned).collect(),
        absent: subjects.redirect.absent().iter().map(|(name, _)| (*name).to_owned()).collect(),
        exempt: exempt.map(|path| path.display().to_string()).collect(),
        issuers,
        audit_seq: subjects.trail.seq(),
        decided: subjects.trail.decided(),
        kernel: named(&counters),
    })
}

/// Who answers of those that the daemon depends on.
async fn reach(State(subjects): State<Subjects>) -> Json<Reach> {
    let tuned = subjects.proxy.tuned();
    let (issuers, databases) = tokio::join!(subjects.proxy.registrar.reach(), proxy::reach(&tuned.upstreams));
    Json(Reach { issuers, databases })
}

async fn coverage(State(subjects): State<Subjects>) -> Result<Json<Vec<Account>>, (StatusCode, String)> {
    let accounts = subjects.redirect.accounts();
    accounts.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn observed(subjects: &Subjects) -> Observed {
    let metrics = metrics();
    let mut steps = Vec::new();
    if subjects.proxy.registrar.issuers().is_empty() {
        steps.push("say who issues the agents' tokens: [[identity.issuers]] and [identity.exchange]".to_owned());
    }
    if !subjects.proxy.tuned().upstreams.has_credential() {
        steps.push("give the daemon a credential that no agent holds: [[upstream]] with `user`".to_owned());
    }
    steps.push("look at `interceptor audit search --observed` and `interceptor policy suggest`, then [policy] mode = \"enforce\"".to_owned());
    Observed {
        statements: metrics.counted_observed(),
        unidentified: metrics.counted_nobody(),
        unread: metrics.counted_connections(Arrived::Unread),
        steps,
    }
}

async fn sessions(State(subjects): State<Subjects>) -> Json<Vec<SessionInfo>> {
    Json(subjects.proxy.live.list())
}

fn named(counters: &Counters) -> Vec<(String, u64)> {
    let Counters {
        seen,
        redirected,
        refused,
        dropped,
        bind_refused,
        unrecorded,
        table_full,
        socket_refused,
        untracked,
        detected,
        untold,
        waited,
        guard_refused,
    } = *counters;
    [
        ("connects seen", seen),
        ("redirected", redirected),
        ("refused, no listener", refused),
        ("packets dropped", dropped),
        ("binds refused", bind_refused),
        ("without a record", unrecorded),
        ("table full", table_full),
        ("sockets refused", socket_refused),
        ("processes not tracked", untracked),
        ("PostgreSQL on other ports", detected),
        ("events lost", untold),
        ("held in a new namespace", waited),
        ("refused by guards", guard_refused),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .to_vec()
}
