//! From a greeting to a session: who that is, whether it may, and in.

use super::cancel::{Cancellation, Target};
use super::catalogs::Place;
use super::ephemeral::Role;
use super::greeting::{Greeted, GreetingError, Wishes, negotiate, wishes};
use super::live::{SessionInfo, Waiter};
use super::login::LoginError;
use super::own::read_first;
use super::relay::{Surroundings, now, relay};
use super::relayed::{self, Client};
use super::route::Route;
use super::serve::{Proxy, say};
use super::tls::Stream;
use super::upstream::{Credential, Server};
use crate::audit::{Agent, AuditError, Decision as Recorded, Event, Process, Record, Subject};
use crate::identity::{Claimed, Evidence, EvidenceError, Identified, Identity, Lease};
use crate::policy::{Circumstances, Denial, Orders, Principal, Totals};
use crate::redirect::{Network, Origin};
use crate::session::{Session, audit_report};
use crate::wire::{Report, Speaker, SqlState, Startup, TransactionStatus};
use bytes::BytesMut;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;

/// A connection that has said what it wants.
pub(super) struct Arrival<'a> {
    proxy: &'a Proxy,
    peer: SocketAddr,
    origin: Origin,
    /// Where it was dialled, unless at home.
    network: Option<Arc<Network>>,
    evidence: Option<Evidence>,
    subject: Subject,
    /// Why there is no evidence.
    reason: Option<String>,
    /// The version of TLS that the agent speaks.
    tls: Option<&'static str>,
}

/// Why somebody is not let in: what the client is told and what the record says.
struct Refused {
    report: Report,
    reason: String,
}

/// Somebody who is let in.
struct Admitted {
    identity: Arc<Identity>,
    lease: Lease,
    /// The session's own role, if it has one.
    role: Option<Role>,
    wishes: Wishes,
    credential: Credential,
    /// What the catalogue is read with.
    reading: Credential,
    place: Place,
    around: Circumstances,
    /// What policy asks of the session as a whole.
    limits: Arc<Orders>,
    server: Server,
}

impl<'a> Arrival<'a> {
    pub(super) fn new(
        proxy: &'a Proxy,
        peer: SocketAddr,
        (origin, network): (Origin, Option<Arc<Network>>),
        evidence: Result<Evidence, EvidenceError>,
        tls: Option<&'static str>,
    ) -> Self {
        let mut arrival =
            Self { proxy, peer, origin, network, evidence: None, subject: Subject::default(), reason: None, tls };
        arrival.subject.session = format!("{:016x}", rand::random::<u64>());
        arrival.subject.server = arrival.origin.destination.to_string();
        match evidence {
            Ok(evidence) => {
                arrival.subject.process = Some(process(&evidence));
                arrival.evidence = Some(evidence);
            }
            Err(error) => arrival.reason = Some(error.to_string()),
        }
        arrival
    }

    /// The client did not get as far as asking for anything; that is on record, and this is what it is told.
    pub(super) fn not_greeted(&self, error: &GreetingError) -> Option<Report> {
        if error.is_silent() {
            return error.report();
        }
        let report = error.report();
        let reason = with_sources(error);
        let told = report.clone().unwrap_or_else(|| Report::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string()));
        let refused = self.refuse(Refused { report: told, reason });
        report.map(|_| refused)
    }

    /// Does what was asked for, to its end.
    pub(super) async fn answer(
        self,
        greeted: Greeted,
        mut stream: Stream,
        buffer: BytesMut,
        stop: watch::Receiver<bool>,
        waiter: Waiter<'_>,
    ) {
        match greeted {
            Greeted::Cancel { pid, secret } => {
                self.cancel(pid, &secret).await;
                // The end is all the answer that there is, and clients wait for it.
                if let Err(error) = stream.close().await {
                    tracing::debug!(%error, "who wanted something cancelled did not wait");
                }
            }
            Greeted::Startup(startup) => self.start(&startup, stream, buffer, stop, waiter).await,
        }
    }

    async fn start(
        mut self,
        startup: &Startup,
        mut stream: Stream,
        mut buffer: BytesMut,
        stop: watch::Receiver<bool>,
        waiter: Waiter<'_>,
    ) {
        let mut hello = BytesMut::new();
        let minor = negotiate(startup, &mut hello);
        let admitted = match wishes(startup) {
            Ok(wishes) => {
                let mut client = Client { stream: &mut stream, buffer: &mut buffer, hello: &mut hello };
                let admitted = timeout(self.proxy.limits.login(), self.admit(wishes, &mut client)).await;
                admitted.unwrap_or_else(|_| {
                    let reason = "log-in took too long".to_owned();
                    Err(Refused { report: unavailable(&reason), reason })
                })
            }
            Err(report) => Err(Refused { reason: report.message.clone(), report }),
        };
        match admitted {
            Ok(admitted) => {
                drop(waiter);
                self.session(admitted, stream, buffer, hello, minor, stop).await;
            }
            Err(refused) => {
                let report = self.refuse(refused);
                if !hello.is_empty() && stream.send(&hello).await.is_err() {
                    return;
                }
                say(&mut stream, Some(report)).await;
            }
        }
    }

    async fn identify(&self) -> Result<Identified, Refused> {
        let Some(evidence) = &self.evidence else {
            return Err(unidentified(self.reason.clone().unwrap_or_default()));
        };
        self.proxy.registrar.identify(evidence).await.map_err(|error| {
            let reason = with_sources(&error);
            if error.unavailable() {
                Refused { report: unavailable("the identity provider cannot be reached"), reason }
            } else {
                unidentified(reason)
            }
        })
    }

    async fn admit(&mut self, wishes: Wishes, client: &mut Client<'_>) -> Result<Admitted, Refused> {
        self.subject.database.clone_from(&wishes.database);
        self.subject.claimed_role.clone_from(&wishes.user);
        if self.proxy.live.len() >= self.proxy.limits.connections {
            let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many connections through interceptor");
            return Err(Refused { reason: report.message.clone(), report });
        }
        let (identified, claimed) = tokio::join!(self.identify(), self.claimed());
        if let Some(process) = &mut self.subject.process {
            process.claimed = claimed;
        }
        let Identified { identity, lease, bearer } = identified?;
        self.subject.agent = Some(agent(&identity));
        if self.proxy.live.of(&identity.subject) >= self.proxy.limits.connections_per_agent {
            let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many connections of this agent")
                .hint("close some of those that it has");
            return Err(Refused { reason: report.message.clone(), report });
        }
        let server = Route { address: self.origin.destination, network: self.network.clone() };
        let upstreams = &self.proxy.upstreams;
        let known = upstreams
            .credential(&server.address, &wishes.database, &identity)
            .or_else(|| upstreams.relayed(&server.address, &wishes.database));
        let Some(credential) = known.cloned() else {
            let text = format!("no credential is configured for database \"{}\" on {server}", wishes.database);
            let report = Report::fatal(SqlState::CANNOT_CONNECT_NOW, &text)
                .hint("whoever operates this host adds an [[upstream]]");
            return Err(Refused { report, reason: text });
        };
        let credential = if credential.is_relayed() { credential.relayed_for(&wishes.user) } else { credential };
        let mut credential = credential.with_bearer(bearer);
        self.subject.role = match &credential.ephemeral {
            Some(ephemeral) => ephemeral.name(&self.subject.session),
            None => credential.user.clone(),
        };
        // Policies know roles by the rights that they have.
        let rights = credential.ephemeral.as_ref().map_or(&*credential.user, |ephemeral| ephemeral.template());
        let mut around = self.circumstances(rights, &wishes.user);
        if around.claimed_leaked {
            tracing::warn!(role = %wishes.user.escape_debug(), pid = self.origin.pid, "a client presents a role whose credential has leaked");
        }
        around.agent_totals = self.proxy.shared.budgets.totals(&identity.issuer, &identity.subject);
        let policies = self.proxy.policies.load_full();
        let principal = Principal::new(identity.clone());
        let limits = match policies.decide_connect(&principal, &wishes.database, &around, self.proxy.mode) {
            Ok(permit) => {
                let deciding = permit.statements().iter().flat_map(|granted| granted.policies());
                self.record(Event::Connect, Recorded::Permit, &greeting_text(&wishes, self.tls), deciding)?;
                permit.statements().first().map(|granted| granted.orders().clone()).unwrap_or_default()
            }
            Err(denial) => return Err(self.denied(*denial)),
        };
        let place = Place { server: server.clone(), database: wishes.database.clone(), user: credential.user.clone() };
        let parameters = self.parameters(&identity, &wishes);
        let source = Some(self.peer);
        // The catalogue is read as whoever makes the roles, and once for all of them.
        let reading = credential.ephemeral.as_ref().map_or(&credential, |ephemeral| ephemeral.admin()).clone();
        let mut role = None;
        if let Some(ephemeral) = credential.ephemeral.clone() {
            let session = &self.subject.session;
            let made = ephemeral.make(&server, &wishes.database, session, &identity, &credential).await;
            let (made, own) = made.map_err(|error| not_connected(&error))?;
            (role, credential) = (Some(made), own);
        }
        let server = if credential.is_relayed() {
            let own = relayed::connect(&server, source, &credential, &parameters, client).await;
            let mut own = own.map_err(|error| not_let_in(&error))?;
            let reading = self.proxy.catalogs.begin(&place, &credential).await;
            read_first(reading, &mut own).await.map_err(|error| not_let_in(&error))?;
            own
        } else {
            let own = Server::connect(&server, source, &credential, &parameters).await;
            let own = own.map_err(|error| not_connected(&error))?;
            self.proxy.catalogs.get(&place, &reading).await.map_err(|error| not_connected(&error))?;
            own
        };
        Ok(Admitted { role, reading, identity, lease, wishes, credential, place, around, limits, server })
    }

    fn denied(&self, denial: Denial) -> Refused {
        let mut report = Report::fatal(SqlState::INSUFFICIENT_PRIVILEGE, denial.message);
        report.detail = denial.reason;
        report.hint = denial.hint;
        Refused { reason: report.message.clone(), report }
    }

    /// What the database is told about the session: the daemon's own settings win over the client's.
    fn parameters(&self, identity: &Identity, wishes: &Wishes) -> Vec<(String, String)> {
        let mut parameters = vec![
            ("database".to_owned(), wishes.database.clone()),
            ("application_name".to_owned(), application_name(&identity.subject)),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
            ("standard_conforming_strings".to_owned(), "on".to_owned()),
            ("interceptor.agent".to_owned(), identity.subject.clone()),
            ("interceptor.session".to_owned(), self.subject.session.clone()),
            ("interceptor.on_behalf_of".to_owned(), identity.on_behalf_of.clone().unwrap_or_default()),
        ];
        parameters.extend(wishes.settings.iter().cloned());
        parameters
    }

    async fn claimed(&self) -> Claimed {
        match &self.evidence {
            Some(evidence) => self.proxy.registrar.claimed(evidence).await.as_ref().clone(),
            None => Claimed::default(),
        }
    }

    fn circumstances(&self, role: &str, claimed_role: &str) -> Circumstances {
        let process = self.subject.process.clone().unwrap_or_default();
        Circumstances {
            server: self.subject.server.clone(),
            role: role.to_owned(),
            claimed_role: claimed_role.to_owned(),
            claimed_leaked: self.proxy.leaked.contains(claimed_role),
            claimed: process.claimed.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            exe: process.exe,
            uid: process.uid,
            cgroup: process.cgroup,
            ancestry: process.ancestry.join(" < "),
            tls: self.tls.is_some(),
            now: now().0,
            in_transaction: false,
            in_flux: false,
            statement_bytes: 0,
            totals: Totals::default(),
            agent_totals: Totals::default(),
        }
    }

    fn record<'p>(
        &self,
        event: Event,
        decision: Recorded,
        text: &str,
        policies: impl Iterator<Item = &'p str>,
    ) -> Result<(), Refused> {
        let mut record = Record::new(event, Arc::new(self.subject.clone()));
        record.statement = Some(text.to_owned());
        record.decision = Some(decision);
        record.policies = policies.map(str::to_owned).collect();
        self.proxy.shared.trail.write(record).map(|_| ()).map_err(|error| unrecorded(&error))
    }

    /// Puts a refusal on record and gives back what the client is told.
    fn refuse(&self, refused: Refused) -> Report {
        tracing::info!(reason = %refused.reason, server = %self.subject.server, pid = self.origin.pid, "refused a connection");
        match self.record(Event::Refusal, Recorded::Deny, &refused.reason, std::iter::empty()) {
            Ok(()) => refused.report,
            Err(unrecorded) => unrecorded.report,
        }
    }

    async fn session(
        self,
        admitted: Admitted,
        mut stream: Stream,
        buffer: BytesMut,
        mut hello: BytesMut,
        minor: u16,
        stop: watch::Receiver<bool>,
    ) {
        let Admitted { identity, lease, role, wishes, credential, reading, place, around, limits, server } = admitted;
        let proxy = self.proxy;
        let target = Target {
            server: place.server.clone(),
            tls: credential.tls.clone(),
            pid: server.pid,
            secret: server.secret.clone(),
        };
        let key = proxy.cancels.issue(identity.clone(), target, minor);
        hello.authentication_ok();
        for (name, value) in &server.parameters {
            hello.parameter(name, value);
        }
        hello.key(key.pid, &key.secret);
        hello.ready(TransactionStatus::Idle);
        // What the process claims stands in the record of the connection, once.
        let mut subject = self.subject.clone();
        subject.process.iter_mut().for_each(|process| process.claimed.clear());
        let subject = Arc::new(subject);
        let present = proxy.live.enter(SessionInfo {
            session: subject.session.clone(),
            agent: identity.subject.clone(),
            on_behalf_of: identity.on_behalf_of.clone(),
            pid: self.origin.pid,
            exe: subject.process.as_ref().map(|process| process.exe.clone()).unwrap_or_default(),
            server: subject.server.clone(),
            database: wishes.database,
            backend_pid: server.pid,
            claimed_role: wishes.user,
            expires: identity.expires,
            since: now().0,
        });
        if stream.send(&hello).await.is_err() {
            self.disconnected("the client went away");
            return;
        }
        let principal = Principal::new(identity);
        let mut session = Session::new(principal, subject, proxy.shared.clone(), around, limits, server.pid);
        for (name, value) in &server.parameters {
            session.note_setting(name, value);
        }
        let Some(catalog) = proxy.catalogs.watch(&place) else {
            self.disconnected("the catalogue was never read");
            return;
        };
        let killed = present.killed.clone();
        let surroundings = Surroundings { proxy, place, catalog, credential: reading, key, lease, killed, stop };
        let how = match relay(session, stream, buffer, server, surroundings).await {
            Ok(how) => how.to_owned(),
            Err(ending) => with_sources(&ending),
        };
        drop(present);
        if let Some(role) = role {
            role.drop_now().await;
        }
        self.disconnected(&how);
    }

    fn disconnected(&self, how: &str) {
        let mut record = Record::new(Event::Disconnect, Arc::new(self.subject.clone()));
        record.statement = Some(how.to_owned());
        if let Err(error) = self.proxy.shared.trail.write(record) {
            tracing::error!(%error, "the end of a session could not be recorded");
        }
    }

    /// Nobody answers a cancel request; what it does shows on the session that it names.
    async fn cancel(self, pid: i32, secret: &[u8]) {
        let target = match self.identify().await {
            Ok(found) => self.proxy.cancels.find(pid, secret, &found.identity),
            Err(refused) => {
                self.refuse(refused);
                return;
            }
        };
        let Some(target) = target else {
            tracing::info!(
                pid,
                agent_pid = self.origin.pid,
                "ignored a cancel request that fits no running statement of this agent"
            );
            return;
        };
        if self
            .record(
                Event::Admin,
                Recorded::Permit,
                &format!("cancel request for server process {pid} ({})", self.tls.unwrap_or(CLEAR)),
                std::iter::empty(),
            )
            .is_err()
        {
            return;
        }
        let target = match target {
            Cancellation::Running(target) => target,
            Cancellation::Held(cancelled) => return cancelled.notify_one(),
        };
        match timeout(self.proxy.limits.login(), target.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = with_sources(&error), "a cancel request could not be passed on"),
            Err(_) => tracing::warn!("a cancel request took too long"),
        }
    }
}

/// What is on record for a connection without TLS.
const CLEAR: &str = "clear text";

fn greeting_text(wishes: &Wishes, tls: Option<&str>) -> String {
    let claimed = wishes.application_name.as_deref().unwrap_or("nothing");
    let Wishes { user, database, .. } = wishes;
    let over = tls.unwrap_or(CLEAR);
    format!("connect to {database} (the client calls itself user {user:?}, application {claimed:?}; {over})")
}

fn unidentified(reason: String) -> Refused {
    // One text for all reasons: whoever probes learns nothing.
    let report = Report::fatal(SqlState::INVALID_AUTHORIZATION, "the agent's identity is not accepted")
        .hint("connections of this process need a valid identity token; the reason is in the audit of this host");
    Refused { report, reason }
}

fn unavailable(text: &str) -> Report {
    Report::fatal(SqlState::CANNOT_CONNECT_NOW, text).hint("try again later")
}

fn unrecorded(error: &AuditError) -> Refused {
    Refused { report: audit_report(error), reason: with_sources(error) }
}

fn not_connected(error: &LoginError) -> Refused {
    let report = match error {
        LoginError::Unreachable(_) => {
            Report::fatal(SqlState::CANNOT_CONNECT_NOW, "the database server cannot be reached")
        }
        LoginError::Refused { sqlstate, .. } if sqlstate == "3D000" => {
            Report::fatal(SqlState::INVALID_CATALOG_NAME, "the database does not exist")
        }
        LoginError::Refused { sqlstate, .. } if sqlstate == "53300" => {
            Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "the database server has too many connections")
        }
        LoginError::Elsewhere => Report::fatal(SqlState::CANNOT_CONNECT_NOW, error.to_string())
            .hint("whoever operates this host asks for `tls = \"verify-full\"` in the [[upstream]] of this database"),
        LoginError::Lost(_)
        | LoginError::Refused { .. }
        | LoginError::Protocol(_)
        | LoginError::Downgrade(_)
        | LoginError::Tls(_)
        | LoginError::Secret(_)
        | LoginError::Token(_)
        | LoginError::Bound
        | LoginError::ClientLost(_)
        | LoginError::Client(_)
        | LoginError::NotNow
        | LoginError::Scram(_)
        | LoginError::Unproven => {
            Report::fatal(SqlState::CONNECTION_FAILURE, "the database server did not let interceptor in")
                .hint("the reason is in the audit of this host")
        }
    };
    Refused { report, reason: with_sources(error) }
}

/// Why a client that logs in itself does not get in: in the server's own words, where it has some.
fn not_let_in(error: &LoginError) -> Refused {
    let report = match error {
        LoginError::Refused { sqlstate, message } => {
            let code = match sqlstate.as_str() {
                "28P01" => SqlState::INVALID_PASSWORD,
                "3D000" => SqlState::INVALID_CATALOG_NAME,
                "53300" => SqlState::TOO_MANY_CONNECTIONS,
                "57P03" => SqlState::CANNOT_CONNECT_NOW,
                _ => SqlState::INVALID_AUTHORIZATION,
            };
            Report::fatal(code, message)
        }
        LoginError::Bound => Report::fatal(SqlState::INVALID_AUTHORIZATION, error.to_string())
            .hint("connect with channel_binding=disable and sslmode=disable, or have a credential configured for this database"),
        LoginError::Downgrade(_) => Report::fatal(SqlState::INVALID_AUTHORIZATION, error.to_string())
            .hint("whoever operates this host adds an [[upstream]] for the database"),
        LoginError::Client(_) => Report::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string()),
        _ => return not_connected(error),
    };
    Refused { report, reason: with_sources(error) }
}

/// An error with its causes, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn agent(identity: &Identity) -> Agent {
    Agent {
        subject: identity.subject.clone(),
        issuer: identity.issuer.clone(),
        on_behalf_of: identity.on_behalf_of.clone(),
        groups: identity.groups.clone(),
        on_behalf_of_groups: identity.on_behalf_of_groups.clone(),
        delegation: identity.delegation.clone(),
    }
}

fn process(evidence: &Evidence) -> Process {
    Process {
        pid: evidence.pid,
        start: evidence.start,
        exe: evidence.exe.clone(),
        cgroup: evidence.cgroup.clone(),
        uid: evidence.uid,
        ancestry: evidence.ancestry.iter().map(|ancestor| format!("{} ({})", ancestor.exe, ancestor.pid)).collect(),
        gid: evidence.gid,
        netns: evidence.netns,
        claimed: Claimed::new(),
    }
}

/// The subject as the server takes it: printable ASCII, at most 63 bytes (NAMEDATALEN - 1).
fn application_name(subject: &str) -> String {
    subject.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(63).collect()
}
