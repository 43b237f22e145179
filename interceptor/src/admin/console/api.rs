//! What the page asks for.

use super::Room;
use super::door::{Link, Visitor};
use super::look::{self, Found, Wanted};
use crate::admin::approvals::{Word, approver, fit, now, refused, unable};
use crate::admin::peer::Peer;
use crate::admin::{Status, Subjects};
use crate::approval::{Approver, Request, State as RequestState, Unable};
use crate::identity::Identity;
use crate::policy::{Circumstances, Principal, Rule, Totals};
use crate::proxy::SessionInfo;
use crate::redirect::Account;
use crate::sql;
use axum::Json;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

type Refused = (StatusCode, String);

/// The token that only the page knows.
const CSRF: HeaderName = HeaderName::from_static("x-interceptor-csrf");
/// Pages that may watch at the same time.
const MOST_WATCHING: usize = 100;
/// How often what waits is looked at.
const LOOK: Duration = Duration::from_millis(250);
static WATCHING: AtomicUsize = AtomicUsize::new(0);

/// Over the control socket: a link into the console, for whoever asks for it.
pub(in crate::admin) async fn link(
    State(subjects): State<Subjects>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<Json<Link>, Refused> {
    let who = approver(&subjects, peer, &headers).await?;
    let none = || (StatusCode::NOT_FOUND, "there is no console: set `listen` in [console]".to_owned());
    let console = subjects.console.as_ref().ok_or_else(none)?;
    crate::admin::agents::note(&subjects, &format!("a link into the console for {}", who.name().escape_debug()))?;
    console.link(who, now()).map(Json).ok_or_else(none)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enter {
    link: String,
}

pub(super) async fn enter(State(room): State<Room>, Json(Enter { link }): Json<Enter>) -> Result<Response, Refused> {
    let gone =
        || (StatusCode::FORBIDDEN, "the link is not good any more; `interceptor console` makes a new one".to_owned());
    let who = room.console.enter(&link, now()).ok_or_else(gone)?;
    let (cookie, page) = admitted(&room, who, None)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(Entered { page })).into_response())
}

/// What only the page is told.
#[derive(Serialize)]
struct Entered {
    page: String,
}

fn admitted(room: &Room, who: Approver, until: Option<u64>) -> Result<(String, String), Refused> {
    tracing::info!(who = who.name(), "somebody is in the console");
    let full = || (StatusCode::SERVICE_UNAVAILABLE, "too many are in the console".to_owned());
    room.console.admit(who, until, now()).ok_or_else(full)
}

#[derive(Serialize)]
pub(super) struct Away {
    url: String,
}

pub(super) async fn sign_in(State(room): State<Room>, headers: HeaderMap) -> Result<Response, Refused> {
    let none = || (StatusCode::NOT_FOUND, "no `sign_in` in [console]".to_owned());
    let sign_in = room.console.sign_in.as_ref().ok_or_else(none)?;
    let begun = sign_in.begin(&room.console.back(host(&headers))).await;
    let (url, begun) = begun.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    let full = || (StatusCode::SERVICE_UNAVAILABLE, "too many are signing in".to_owned());
    let cookie = room.console.begin(begun, now()).ok_or_else(full)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(Away { url })).into_response())
}

#[derive(Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    error: String,
}

/// The issuer sends the browser back. A GET, which only a browser that has begun here can make count.
pub(super) async fn back(State(room): State<Room>, headers: HeaderMap, Query(back): Query<Back>) -> Response {
    let who = async {
        let sign_in = room.console.sign_in.as_ref().ok_or("nobody signs in here")?;
        let begun =
            room.console.begun(&headers, now()).ok_or("this browser has not begun to sign in, or too long ago")?;
        if begun.state != back.state {
            return Err("this is another sign-in's answer".to_owned());
        }
        if !back.error.is_empty() {
            return Err(format!("the issuer says {}", back.error.escape_debug()));
        }
        let registrar = &room.subjects.proxy.registrar;
        let finished = sign_in.finish(registrar, &begun, &back.code, &room.console.back(host(&headers))).await;
        finished.map_err(|error| error.to_string())
    };
    let answer = match who.await {
        Ok(identity) => {
            let Identity { subject, issuer, groups, on_behalf_of, expires, .. } = identity;
            let who = Approver::Person { subject, issuer, groups: groups.into_iter().collect(), on_behalf_of };
            admitted(&room, who, Some(expires)).map_err(|(_, text)| text)
        }
        Err(error) => Err(error),
    };
    match answer {
        // A page, not a redirect: the cookie is for requests of this site's own pages only.
        Ok((cookie, page)) => {
            // Behind `#`, which is sent nowhere.
            let html = format!(
                "<!doctype html><meta http-equiv=refresh content='0;url=/#page={page}'><title>signed in</title>"
            );
            ([(header::SET_COOKIE, cookie)], Html(html)).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "somebody could not sign in to the console");
            (StatusCode::FORBIDDEN, format!("not signed in: {error}\n")).into_response()
        }
    }
}

pub(super) async fn sign_out(State(room): State<Room>, headers: HeaderMap) -> Result<Response, Refused> {
    changing(&room, &headers)?;
    Ok(([(header::SET_COOKIE, room.console.leave(&headers, now()))], Json(true)).into_response())
}

#[derive(Serialize)]
pub(super) struct Me {
    name: Option<String>,
    groups: Vec<String>,
    operator: bool,
    sign_in: bool,
    until: u64,
}

pub(super) async fn me(State(room): State<Room>, headers: HeaderMap) -> Json<Me> {
    let sign_in = room.console.sign_in.is_some();
    Json(match visitor(&room, &headers).ok() {
        None => Me { name: None, groups: Vec::new(), operator: false, sign_in, until: 0 },
        Some(Visitor { who, csrf: _, until }) => Me {
            name: Some(who.name().to_owned()),
            operator: room.console.is_operator(&who),
            groups: match &who {
                Approver::Person { groups, .. } => groups.iter().cloned().collect(),
                Approver::LocalRoot { .. } => Vec::new(),
            },
            sign_in,
            until,
        },
    })
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

fn visitor(room: &Room, headers: &HeaderMap) -> Result<Visitor, Refused> {
    let given = headers.get(&CSRF).and_then(|given| given.to_str().ok()).unwrap_or_default();
    visitor_by(room, headers, given)
}

/// By their cookie, and what their page shows besides.
fn visitor_by(room: &Room, headers: &HeaderMap, page: &str) -> Result<Visitor, Refused> {
    let nobody = || (StatusCode::UNAUTHORIZED, "sign in first".to_owned());
    room.console.visitor(headers, now()).filter(|visitor| same(page, &visitor.csrf)).ok_or_else(nobody)
}

/// Compared by their hashes, secrets are not told letter by letter by how long that takes.
fn same(given: &str, secret: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(secret)
}

fn operator(room: &Room, headers: &HeaderMap) -> Result<Visitor, Refused> {
    let visitor = visitor(room, headers)?;
    if room.console.is_operator(&visitor.who) {
        return Ok(visitor);
    }
    let groups = "none of your groups is among `operators` in [console]".to_owned();
    Err((StatusCode::FORBIDDEN, groups))
}

/// Somebody whose page means it.
fn changing(room: &Room, headers: &HeaderMap) -> Result<Visitor, Refused> {
    let nobody = || (StatusCode::UNAUTHORIZED, "sign in first".to_owned());
    let visitor = room.console.visitor(headers, now()).ok_or_else(nobody)?;
    let given = headers.get(&CSRF).and_then(|given| given.to_str().ok()).unwrap_or_default();
    if same(given, &visitor.csrf) {
        return Ok(visitor);
    }
    Err((StatusCode::FORBIDDEN, "the page does not know its token; load it again".to_owned()))
}

/// Requests that a page is told of: nobody reads more, and a browser would choke on ten thousand.
const MOST_SHOWN: usize = 300;
const MOST_OVER: usize = 50;

/// Those that somebody is asked for, as they may see them.
#[derive(Serialize)]
pub(super) struct Shown {
    /// Those that are open or approved, the oldest first, then those that are over.
    requests: Vec<Request>,
    /// How many are open or approved.
    waiting: usize,
}

fn shown(room: &Room, who: &Approver) -> Shown {
    let all = room.subjects.proxy.shared.desk.list(now()).into_iter().filter(|request| sees(room, who, request));
    let (live, over): (Vec<_>, Vec<_>) =
        all.partition(|request| matches!(request.state, RequestState::Open | RequestState::Approved));
    let (waiting, old) = (live.len(), over.len().saturating_sub(MOST_OVER));
    let requests = live.into_iter().take(MOST_SHOWN).chain(over.into_iter().skip(old));
    Shown { requests: requests.map(|request| request.seen_by(who)).collect(), waiting }
}

fn sees(room: &Room, who: &Approver, request: &Request) -> bool {
    room.console.is_operator(who)
        || match who {
            Approver::Person { groups, .. } => request.asked.needs.keys().any(|group| groups.contains(group)),
            Approver::LocalRoot { .. } => true,
        }
}

pub(super) async fn approvals(State(room): State<Room>, headers: HeaderMap) -> Result<Json<Shown>, Refused> {
    let Visitor { who, .. } = visitor(&room, &headers)?;
    Ok(Json(shown(&room, &who)))
}

pub(super) async fn approval(
    State(room): State<Room>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Request>, Refused> {
    let Visitor { who, .. } = visitor(&room, &headers)?;
    let found = room.subjects.proxy.shared.desk.show(&id, now()).filter(|request| sees(&room, &who, request));
    found.map(|request| Json(request.seen_by(&who))).ok_or_else(|| unable(&Unable::NoSuch(id)))
}

pub(super) async fn approve(
    State(room): State<Room>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(word): Json<Word>,
) -> Result<Json<Request>, Refused> {
    let Visitor { who, .. } = changing(&room, &headers)?;
    let Word { comment, break_glass } = fit(word)?;
    let desk = &room.subjects.proxy.shared.desk;
    let decided = match break_glass {
        Some(reason) => desk.break_glass(&id, &who, &reason, now()),
        None => desk.approve(&id, &who, comment.as_deref(), now()),
    };
    decided.map(Json).map_err(|error| refused(&id, &who, &error))
}

pub(super) async fn deny(
    State(room): State<Room>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(word): Json<Word>,
) -> Result<Json<Request>, Refused> {
    let Visitor { who, .. } = changing(&room, &headers)?;
    let Word { comment, .. } = fit(word)?;
    let decided = room.subjects.proxy.shared.desk.deny(&id, &who, comment.as_deref(), now());
    decided.map(Json).map_err(|error| refused(&id, &who, &error))
}

/// One page that watches.
struct Watching {
    room: Room,
    headers: HeaderMap,
    seen: Option<(u64, String)>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the page shows besides its cookie; EventSource sends no headers of its own.
#[derive(Deserialize)]
pub(super) struct Watcher {
    #[serde(default)]
    page: String,
}

/// Server-sent events: the requests, whenever one has changed; it ends when whoever watches is out.
pub(super) async fn events(
    State(room): State<Room>,
    headers: HeaderMap,
    Query(Watcher { page }): Query<Watcher>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    visitor_by(&room, &headers, &page)?;
    if WATCHING.fetch_add(1, Ordering::AcqRel) >= MOST_WATCHING {
        WATCHING.fetch_sub(1, Ordering::AcqRel);
        return Err((StatusCode::SERVICE_UNAVAILABLE, "too many pages watch".to_owned()));
    }
    let watching = Watching { room, headers, seen: None };
    let stream = unfold(watching, |mut watching| async move {
        loop {
            let Visitor { who, .. } = watching.room.console.visitor(&watching.headers, now())?;
            let changes = watching.room.subjects.proxy.shared.desk.changes();
            if watching.seen.as_ref().is_none_or(|(seen, _)| *seen != changes) {
                let requests = serde_json::to_string(&shown(&watching.room, &who)).ok()?;
                let same = watching.seen.as_ref().is_some_and(|(_, said)| *said == requests);
                watching.seen = Some((changes, requests.clone()));
                if !same {
                    return Some((Ok(Event::default().event("approvals").data(requests)), watching));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

pub(super) async fn sessions(State(room): State<Room>, headers: HeaderMap) -> Result<Json<Vec<SessionInfo>>, Refused> {
    operator(&room, &headers)?;
    Ok(Json(room.subjects.proxy.live.list()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kill {
    session: String,
}

pub(super) async fn kill(
    State(room): State<Room>,
    headers: HeaderMap,
    Json(Kill { session }): Json<Kill>,
) -> Result<Json<Vec<SessionInfo>>, Refused> {
    operator(&room, &headers)?;
    let Visitor { who, .. } = changing(&room, &headers)?;
    let killed = room.subjects.proxy.live.kill(|info| info.session == session);
    for info in &killed {
        let text = format!(
            "session {} of {} is ended, by {} in the console",
            info.session,
            info.agent.escape_debug(),
            who.name().escape_debug()
        );
        crate::admin::agents::note(&room.subjects, &text)?;
    }
    Ok(Json(killed))
}

/// What reads the record does not keep the control socket waiting.
async fn reading<T: Send + 'static>(
    room: &Room,
    read: impl FnOnce(&std::path::Path) -> std::io::Result<T> + Send + 'static,
) -> Result<Json<T>, Refused> {
    let wrong = |error: &dyn std::fmt::Display| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    room.subjects.trail.settle().map_err(|error| wrong(&error))?;
    let dir = room.subjects.audit.clone();
    let read = tokio::task::spawn_blocking(move || read(&dir)).await.map_err(|error| wrong(&error))?;
    read.map(Json).map_err(|error| wrong(&error))
}

pub(super) async fn audit(
    State(room): State<Room>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Found>, Refused> {
    operator(&room, &headers)?;
    reading(&room, move |dir| look::search(dir, wanted)).await
}

pub(super) async fn replay(
    State(room): State<Room>,
    headers: HeaderMap,
    Path(session): Path<String>,
) -> Result<Json<Found>, Refused> {
    operator(&room, &headers)?;
    reading(&room, move |dir| look::replay(dir, &session)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Over {
    #[serde(default)]
    span: look::Span,
}

pub(super) async fn figures(
    State(room): State<Room>,
    headers: HeaderMap,
    Query(Over { span }): Query<Over>,
) -> Result<Json<look::Figures>, Refused> {
    operator(&room, &headers)?;
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    reading(&room, move |dir| look::figures(dir, span, now)).await
}

#[derive(Serialize)]
pub(super) struct Policies {
    digest: String,
    rules: Vec<Rule>,
    /// Databases that statements can be explained for, by server and name.
    databases: Vec<(String, String)>,
}

pub(super) async fn policies(State(room): State<Room>, headers: HeaderMap) -> Result<Json<Policies>, Refused> {
    operator(&room, &headers)?;
    let proxy = &room.subjects.proxy;
    let policies = proxy.policies.load();
    let databases = proxy.catalogs.known().into_iter().map(|(server, database, _)| (server, database)).collect();
    Ok(Json(Policies { digest: policies.digest().to_owned(), rules: policies.rules().to_vec(), databases }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    agent: String,
    groups: Vec<String>,
    database: String,
    statement: String,
}

pub(super) async fn explain(
    State(room): State<Room>,
    headers: HeaderMap,
    Json(Explain { agent, groups, database, statement }): Json<Explain>,
) -> Result<Response, Refused> {
    operator(&room, &headers)?;
    changing(&room, &headers)?;
    let proxy = &room.subjects.proxy;
    let known = proxy.catalogs.known().into_iter().find(|(_, name, _)| *name == database);
    let unknown = || (StatusCode::NOT_FOUND, "no session has been on that database yet".to_owned());
    let (server, _, catalog) = known.ok_or_else(unknown)?;
    let analysis = proxy.readings.read(&statement, &catalog, &Nothing);
    let analysis = analysis.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let mut groups = groups;
    groups.sort();
    groups.dedup();
    let identity = Identity { subject: agent, groups, expires: u64::MAX, ..Identity::default() };
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let around = Circumstances {
        server,
        role: String::new(),
        claimed_role: String::new(),
        claimed_leaked: false,
        claimed: Vec::new(),
        exe: String::new(),
        uid: u32::MAX,
        cgroup: String::new(),
        ancestry: String::new(),
        tls: false,
        now: time::OffsetDateTime::now_utc().format(format).unwrap_or_default(),
        in_transaction: false,
        in_flux: false,
        statement_bytes: statement.len(),
        totals: Totals::default(),
        agent_totals: Totals::default(),
    };
    let principal = Principal::new(Arc::new(identity));
    let policies = proxy.policies.load();
    let explained =
        (0..analysis.statements.len()).map(|at| policies.explain(&principal, &analysis, at, &catalog, &around));
    Ok(Json(explained.collect::<Vec<_>>()).into_response())
}

/// Nothing has been prepared.
struct Nothing;

impl sql::Session for Nothing {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<sql::Portal> {
        None
    }
}

pub(super) async fn status(State(room): State<Room>, headers: HeaderMap) -> Result<Json<Status>, Refused> {
    operator(&room, &headers)?;
    let state = crate::admin::state(&room.subjects);
    state.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}

pub(super) async fn coverage(State(room): State<Room>, headers: HeaderMap) -> Result<Json<Vec<Account>>, Refused> {
    operator(&room, &headers)?;
    let accounts = room.subjects.redirect.accounts();
    accounts.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
