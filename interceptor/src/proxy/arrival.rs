//! From a greeting to a session: who that is, whether it may, and in.

use super::begun::{Begun, disconnected};
use super::cancel::{Cancellation, Target};
use super::catalogs::Place;
use super::ephemeral::Role;
use super::greeting::{Greeted, GreetingError, Wishes, negotiate, wishes};
use super::live::{SessionInfo, Waiter};
use super::login::LoginError;
use super::own::read_first;
use super::refused::{
    Refused, no_credential, not_connected, not_let_in, unavailable, unidentified, unrecorded, with_sources,
};
use super::relay::now;
use super::relayed::{self, Client};
use super::route::Route;
use super::serve::{Proxy, say};
use super::tls::Stream;
use super::unread;
use super::upstream::{Credential, Server};
use super::warm::{self, Whose};
use crate::audit::{Agent, Decision as Recorded, Event, Process, Record, Subject, redact_within};
use crate::identity::{Claimed, Evidence, EvidenceError, Identified, Identity, Lease, Unidentified};
use crate::policy::{Circumstances, Denial, Mode, Orders, Principal, Totals};
use crate::redirect::{Network, Origin};
use crate::telemetry::{Arrived, metrics};
use crate::wire::{Report, SqlState, Startup};
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

/// Somebody who is let in.
pub(super) struct Admitted {
    pub(super) identity: Arc<Identity>,
    pub(super) lease: Lease,
    /// The session's own role, if it has one.
    pub(super) role: Option<Role>,
    pub(super) wishes: Wishes,
    pub(super) credential: Credential,
    /// What the catalogue is read with.
    pub(super) reading: Credential,
    pub(super) place: Place,
    pub(super) around: Circumstances,
    /// What policy asks of the session as a whole.
    pub(super) limits: Arc<Orders>,
    pub(super) server: Server,
    /// Whether policies were only observed.
    pub(super) observed: bool,
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
        arrival.subject.session = new_session();
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
        let refused = self.refuse(Refused::new(told, reason));
        report.map(|_| refused)
    }

    /// Does what was asked for; gives the session that comes of it, for whoever is let in.
    pub(super) async fn answer(
        self,
        greeted: Greeted,
        mut stream: Stream,
        buffer: BytesMut,
        stop: watch::Receiver<bool>,
        waiter: Waiter<'_>,
    ) -> Option<Box<Begun<'a>>> {
        match greeted {
            Greeted::Cancel { pid, secret } => {
                self.cancel(pid, &secret).await;
                // The end is all the answer that there is, and clients wait for it.
                if let Err(error) = stream.close().await {
                    tracing::debug!(%error, "who wanted something cancelled did not wait");
                }
                None
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
    ) -> Option<Box<Begun<'a>>> {
        let mut hello = BytesMut::new();
        let minor = negotiate(startup, &mut hello);
        let admitted = match wishes(startup) {
            Ok(wishes) => {
                let mut client = Client { stream: &mut stream, buffer: &mut buffer, hello: &mut hello };
                let limit = self.proxy.tuned().limits.login();
                let admitted = timeout(limit, Box::pin(self.admit(wishes, &mut client))).await;
                admitted.unwrap_or_else(|_| {
                    let reason = "log-in took too long".to_owned();
                    Err(Refused::new(unavailable(&reason), reason))
                })
            }
            Err(report) => Err(Refused { unfollowed: true, ..Refused::told(report) }),
        };
        match admitted {
            Ok(admitted) => {
                drop(waiter);
                metrics().connection(Arrived::Session);
                if admitted.identity.is_nobody() {
                    metrics().nobody();
                }
                let Self { proxy, origin, subject, .. } = self;
                let pid = origin.pid;
                return Some(Box::new(Begun { proxy, subject, pid, admitted, stream, buffer, hello, minor, stop }));
            }
            Err(refused) if refused.unfollowed && self.proxy.observes() => {
                drop(waiter);
                let carried = Box::pin(self.carry(startup, &refused.reason, &mut stream, &buffer, stop));
                if let Some(report) = carried.await {
                    say(&mut stream, Some(report)).await;
                }
            }
            Err(refused) => {
                let report = self.refuse(refused);
                if !hello.is_empty() && stream.send(&hello).await.is_err() {
                    return None;
                }
                say(&mut stream, Some(report)).await;
            }
        }
        None
    }

    async fn identify(&self) -> Result<Identified, Refused> {
        let registrar = &self.proxy.registrar;
        let found = match &self.evidence {
            Some(evidence) => registrar.identify(evidence).await,
            None => Err(Unidentified::Unseen(self.reason.clone().unwrap_or_default())),
        };
        found.or_else(|error| {
            let reason = with_sources(&error);
            match self.proxy.tuned().mode {
                Mode::Observe => {
                    tracing::debug!(%reason, pid = self.origin.pid, "let in as nobody: policies are only observed");
                    Ok(registrar.nobody(self.evidence.as_ref(), error))
                }
                Mode::Enforce if error.unavailable() => {
                    Err(Refused::new(unavailable("the identity provider cannot be reached"), reason))
                }
                Mode::Enforce => Err(unidentified(reason)),
            }
        })
    }

    async fn admit(&mut self, wishes: Wishes, client: &mut Client<'_>) -> Result<Admitted, Refused> {
        self.subject.database.clone_from(&wishes.database);
        self.subject.claimed_role.clone_from(&wishes.user);
        if self.proxy.live.len() >= self.proxy.tuned().limits.connections {
            let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many connections through interceptor");
            return Err(Refused::told(report));
        }
        let (identified, claimed) = tokio::join!(self.identify(), self.claimed());
        if let Some(process) = &mut self.subject.process {
            // Command lines have statements in them, and what else people write there.
            let plain = |(name, value): (String, String)| (name, redact_within(&value).into_owned());
            process.claimed = claimed.into_iter().map(plain).collect();
        }
        let Identified { identity, lease, bearer } = identified?;
        self.subject.agent = Some(agent(&identity));
        let of_agent = self.proxy.live.of(&identity.subject);
        if of_agent >= self.proxy.tuned().limits.connections_per_agent && !identity.is_nobody() {
            let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many connections of this agent")
                .hint("close some of those that it has");
            return Err(Refused::told(report));
        }
        let server = self.route();
        let tuned = self.proxy.tunables.load_full();
        if identity.is_nobody() && tuned.mode == Mode::Enforce {
            // Policies have begun to be enforced while it was looked for.
            return Err(unidentified("nobody: policies are enforced by now".to_owned()));
        }
        let upstreams = &tuned.upstreams;
        let known = if identity.is_nobody() {
            upstreams.for_nobody(&server.address, &wishes.database)
        } else {
            let own = upstreams.credential(&server.address, &wishes.database, &identity);
            own.or_else(|| upstreams.relayed(&server.address, &wishes.database)).cloned()
        };
        let Some(credential) = known else {
            return Err(no_credential(server.address, &wishes.database));
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
        let whose = Whose::new(&identity, server.clone(), &wishes.database, &credential.user);
        let mut warm = None;
        let limits = match policies.decide_connect(&principal, &wishes.database, &around, tuned.mode) {
            Ok(permit) => {
                if credential.warm() > 0 {
                    warm = warm::take(&whose, &wishes.settings);
                }
                if let Some(warm) = &warm {
                    self.subject.session.clone_from(&warm.session);
                }
                let granted = || permit.statements().iter();
                let observed = granted().filter_map(|granted| granted.observed()).flat_map(Denial::observed);
                let nobody = lease.why_nobody().map(|_| "no identity (observed)".to_owned());
                let deciding = granted().flat_map(|granted| granted.policies()).map(str::to_owned);
                let deciding = deciding.chain(observed).chain(nobody);
                let mut text = greeting_text(&wishes, self.tls);
                if let Some(why) = lease.why_nobody() {
                    text.push_str(&format!("; nobody: {why}"));
                }
                self.record(Event::Connect, Recorded::Permit, &text, deciding)?;
                permit.statements().first().map(|granted| granted.orders().clone()).unwrap_or_default()
            }
            Err(denial) => return Err(self.denied(*denial)),
        };
        let place = Place { server: server.clone(), database: wishes.database.clone(), user: credential.user.clone() };
        let parameters = |session: &str| parameters(&identity, &wishes, session);
        let own = parameters(&self.subject.session);
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
            let own = relayed::connect(&server, source, &credential, &own, client).await;
            let mut own = own.map_err(|error| not_let_in(&error))?;
            let reading = self.proxy.catalogs.begin(&place, &credential).await;
            read_first(reading, &mut own).await.map_err(|error| not_let_in(&error))?;
            own
        } else {
            let own = match warm {
                Some(warm) => Ok(warm.server),
                None => Server::connect(&server, source, &credential, &own).await,
            };
            let own = own.map_err(|error| not_connected(&error))?;
            warm::prepare(&whose, &credential, &wishes.settings, parameters);
            self.proxy.catalogs.get(&place, &reading).await.map_err(|error| not_connected(&error))?;
            own
        };
        let observed = tuned.mode == Mode::Observe;
        Ok(Admitted { role, reading, identity, lease, wishes, credential, place, around, limits, server, observed })
    }

    /// Has a session pass that cannot be followed. Gives what the client is told if nothing comes of it.
    async fn carry(
        mut self,
        startup: &Startup,
        why: &str,
        stream: &mut Stream,
        said: &BytesMut,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Report> {
        let Identified { identity, .. } = match self.identify().await {
            Ok(found) => found,
            Err(refused) => return Some(self.refuse(refused)),
        };
        self.subject.agent = Some(agent(&identity));
        let named = |name| startup.parameter(name).unwrap_or_default().to_owned();
        let (user, database) = (named("user"), named("database"));
        self.subject.database.clone_from(if database.is_empty() { &user } else { &database });
        self.subject.claimed_role.clone_from(&user);
        self.subject.role.clone_from(&user);
        let server = self.origin.destination;
        let Some(credential) = self.proxy.tuned().upstreams.for_nobody(&server, &self.subject.database) else {
            return Some(self.refuse(no_credential(server, &self.subject.database)));
        };
        let note = "unread (observed)".to_owned();
        let text = format!("{why}; carried without being read");
        if let Err(refused) = self.record(Event::Connect, Recorded::Permit, &text, std::iter::once(note)) {
            return Some(*refused.report);
        }
        tracing::warn!(reason = why, %server, pid = self.origin.pid, "a session passes unread: policies are only observed");
        metrics().connection(Arrived::Unread);
        let present = self.proxy.live.enter(SessionInfo {
            session: self.subject.session.clone(),
            agent: identity.subject.clone(),
            on_behalf_of: identity.on_behalf_of.clone(),
            pid: self.origin.pid,
            exe: self.subject.process.as_ref().map(|process| process.exe.clone()).unwrap_or_default(),
            server: self.subject.server.clone(),
            database: self.subject.database.clone(),
            backend_pid: 0,
            claimed_role: user,
            expires: identity.expires,
            since: now().0,
        });
        let killed = present.killed.clone();
        if !self.proxy.observes() {
            killed.tell();
        }
        let route = self.route();
        let carried = tokio::select! {
            carried = unread::carry(&route, Some(self.peer), &credential.tls, startup, stream, said) => carried,
            _ = stop.changed() => Err(LoginError::Stopped),
            () = killed.told() => Err(LoginError::Stopped),
        };
        let how = match carried {
            Ok((up, down)) => format!("{up} bytes went up and {down} down, unread"),
            Err(error) => with_sources(&error),
        };
        disconnected(self.proxy, Arc::new(self.subject.clone()), &how);
        None
    }

    /// Where the database is that was dialled.
    fn route(&self) -> Route {
        Route { address: self.origin.destination, network: self.network.clone() }
    }

    fn denied(&self, denial: Denial) -> Refused {
        let mut report = Report::fatal(SqlState::INSUFFICIENT_PRIVILEGE, denial.message);
        report.detail = denial.reason;
        report.hint = denial.hint;
        Refused::told(report)
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
            claimed_leaked: self.proxy.tuned().leaked.contains(claimed_role),
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

    fn record(
        &self,
        event: Event,
        decision: Recorded,
        text: &str,
        policies: impl Iterator<Item = String>,
    ) -> Result<(), Refused> {
        let mut record = Record::new(event, Arc::new(self.subject.clone()));
        record.statement = Some(text.to_owned());
        record.decision = Some(decision);
        record.policies = policies.collect();
        self.proxy.shared.trail.write(record).map(|_| ()).map_err(|error| unrecorded(&error))
    }

    /// Puts a refusal on record and gives back what the client is told.
    fn refuse(&self, refused: Refused) -> Report {
        metrics().connection(Arrived::Refused);
        tracing::info!(reason = %refused.reason, server = %self.subject.server, pid = self.origin.pid, "refused a connection");
        match self.record(Event::Refusal, Recorded::Deny, &refused.reason, std::iter::empty()) {
            Ok(()) => *refused.report,
            Err(unrecorded) => *unrecorded.report,
        }
    }

    /// What a cancel request is about that is none of our keys: a session that passes unread has its server's own.
    fn unread_target(&self, pid: i32, secret: &[u8]) -> Option<Target> {
        let server = self.origin.destination;
        let credential = self.proxy.tuned().upstreams.for_nobody(&server, "").filter(|_| self.proxy.observes())?;
        Some(Target { server: self.route(), tls: credential.tls.clone(), pid, secret: secret.to_vec() })
    }

    /// Nobody answers a cancel request; what it does shows on the session that it names.
    async fn cancel(self, pid: i32, secret: &[u8]) {
        metrics().connection(Arrived::Cancel);
        let target = match self.identify().await {
            Ok(found) => self
                .proxy
                .cancels
                .find(pid, secret, &found.identity)
                .or_else(|| self.unread_target(pid, secret).map(Cancellation::Running)),
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
        match timeout(self.proxy.tuned().limits.login(), target.stop()).await {
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
    let said =
        format!("connect to {database} (the client calls itself user {user:?}, application {claimed:?}; {over})");
    redact_within(&said).into_owned()
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

/// The number of a session, by which the record and the database know it.
pub(super) fn new_session() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What the database is told about the session: the daemon's own settings win over the client's.
fn parameters(identity: &Identity, wishes: &Wishes, session: &str) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("database".to_owned(), wishes.database.clone()),
        ("client_encoding".to_owned(), "UTF8".to_owned()),
        ("standard_conforming_strings".to_owned(), "on".to_owned()),
    ];
    if identity.is_nobody() {
        // Nothing is known that the server could be told instead, and what stands before it may not know our settings.
        parameters.extend(wishes.application_name.clone().map(|name| ("application_name".to_owned(), name)));
    } else {
        parameters.extend([
            ("application_name".to_owned(), application_name(&identity.subject)),
            ("interceptor.agent".to_owned(), identity.subject.clone()),
            ("interceptor.session".to_owned(), session.to_owned()),
            ("interceptor.on_behalf_of".to_owned(), identity.on_behalf_of.clone().unwrap_or_default()),
        ]);
    }
    parameters.extend(wishes.settings.iter().cloned());
    parameters
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
