//! Carrying bytes between an agent and a database while the session looks at them.

use super::bulk::Bulk;
use super::cancel::Key;
use super::catalogs::{Place, Watch};
use super::hold::{Hold, Next};
use super::inbox::{Inbox, give_back, take_buffer};
use super::live::Killed;
use super::own::Due;
use super::serve::Proxy;
use super::tls::{Reader, Stream, Writer};
use super::together::Sender;
use super::trial::Alive;
use super::upstream::{Credential, Server};
use crate::identity::Lease;
use crate::session::{Bench, Ending, Output, Session, Step};
use crate::telemetry::metrics;
use crate::wire::{Chunk, Frame, Report, Skipped, Speaker, Splitter, SqlState};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes that wait for one side before the other is no longer read.
const HIGH_WATER: usize = 256 << 10;
/// How long a server may go on with a statement after it was told to stop.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a farewell may take.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

/// What a session needs besides its two sockets.
pub(super) struct Surroundings<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) place: Place,
    pub(super) catalog: Watch,
    pub(super) credential: Credential,
    pub(super) key: Key,
    pub(super) lease: Lease,
    /// Told when somebody has the session end.
    pub(super) killed: Arc<Killed>,
    pub(super) stop: watch::Receiver<bool>,
}

/// A session and both its ends.
pub(super) struct Ready<'a> {
    pub(super) session: Session,
    pub(super) client: Stream,
    /// What the client has said already.
    pub(super) buffer: BytesMut,
    pub(super) server: Server,
    pub(super) around: Surroundings<'a>,
}

/// Runs a session to its end and says how it ended.
pub(super) async fn relay(ready: &mut Ready<'_>) -> Result<&'static str, Ending> {
    let Ready { session, client, buffer, server, around } = ready;
    let (client_read, mut client_write) = client.split();
    let (server_read, mut server_write) = server.stream.split();
    let mut ends = Ends {
        client: client_read,
        client_inbox: Inbox::new(std::mem::take(buffer)),
        client_splitter: Splitter::default(),
        server: server_read,
        server_inbox: Inbox::new(std::mem::take(&mut server.buffer)),
        server_splitter: std::mem::take(&mut server.splitter),
        bulk: Bulk::default(),
        out: Output::default(),
        held: None,
        wants_catalog: false,
        fresh: false,
        hold: None,
        wants_trial: false,
        wants_temporary: false,
        wants_survey: false,
        settles: false,
        alive: None,
        sender: Sender::new(),
    };
    let result = ends.carry(session, &mut client_write, &mut server_write, around).await;
    if let Err(report) = result.as_ref().map_err(Ending::report)
        && let Some(report) = report
    {
        ends.out.downstream.error(&report);
    }
    // Best effort: the client may be gone, and nothing depends on its hearing this.
    let farewell = timeout(FAREWELL, client_write.end(&ends.out.downstream)).await;
    if !matches!(farewell, Ok(Ok(()))) {
        tracing::debug!("the client did not hear the end of its session");
    }
    drop(timeout(FAREWELL, server_write.end(&[])).await);
    result
}

pub(super) struct Ends<'a> {
    client: Reader<'a>,
    pub(super) client_inbox: Inbox,
    client_splitter: Splitter,
    pub(super) server: Reader<'a>,
    pub(super) server_inbox: Inbox,
    pub(super) server_splitter: Splitter,
    /// Whether the server is sending much.
    bulk: Bulk,
    pub(super) out: Output,
    /// A message that waits for what the server has yet to answer.
    pub(super) held: Option<Frame>,
    /// Whether it waits for a catalogue that the session reads itself.
    pub(super) wants_catalog: bool,
    /// Whether that has just been read for it.
    fresh: bool,
    /// A human whom it waits for.
    hold: Option<Hold>,
    /// Whether what it does is to be seen before anybody is asked.
    wants_trial: bool,
    /// Whether it waits for what temporary relations there are.
    wants_temporary: bool,
    /// The same about the schema, which its transaction has changed.
    wants_survey: bool,
    /// Whether the message that it was run for has been done.
    settles: bool,
    /// What was run for that, as long as it can still become the statement itself.
    pub(super) alive: Option<Alive>,
    sender: Sender,
}

impl Ends<'_> {
    async fn carry(
        &mut self,
        session: &mut Session,
        client_write: &mut Writer<'_>,
        server_write: &mut Writer<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<&'static str, Ending> {
        let (mut last_call, mut patience, mut stalled, mut idle) = (None, None, None, None);
        let mut clock = Clock::default();
        // Asked once: to be put on their lists and taken off again at every message costs more than what they say is worth.
        let (has_killed, mut stop) = (around.killed.clone(), around.stop.clone());
        let (mut killed, mut stopped) = (pin!(has_killed.told()), pin!(stop.changed()));
        loop {
            // The server first: a message of the client may wait for what it has answered.
            self.hear_server(session)?;
            let due = self.due(session, server_write, around);
            if due == Due::Now {
                let limit = around.proxy.tuned().limits.login();
                let reading = timeout(limit, Box::pin(self.read_catalog(session, server_write, around)));
                reading.await.map_err(|_| Ending::Server("its catalogue could not be read in time".to_owned()))??;
                self.fresh = self.held.is_some();
            }
            if std::mem::take(&mut self.wants_temporary) {
                let limit = around.proxy.tuned().limits.login();
                let reading = timeout(limit, Box::pin(self.read_temporary(session, server_write, around)));
                let late = || Ending::Server("its temporary relations could not be read in time".to_owned());
                reading.await.map_err(|_| late())??;
            }
            if std::mem::take(&mut self.wants_survey) {
                let limit = around.proxy.tuned().limits.login();
                let reading = timeout(limit, Box::pin(self.survey(session, server_write, around)));
                reading.await.map_err(|_| Ending::Server("its schema could not be read in time".to_owned()))??;
            }
            if std::mem::take(&mut self.wants_trial) {
                Box::pin(self.try_out(session, server_write, client_write, around)).await?;
                self.fresh = true;
            }
            if !around.credential.is_relayed()
                && std::mem::take(&mut self.out.catalog_changed)
                && let Err(error) = Box::pin(around.proxy.catalogs.fetch(&around.place, &around.credential)).await
            {
                // What comes next would be judged by what names meant before.
                return Err(Ending::Server(format!("the catalogue could not be fetched after a change: {error}")));
            }
            if due != Due::Later {
                self.hear_client(session, around).await?;
            }
            if std::mem::take(&mut self.settles) {
                // Before anything that was made of the client's messages is sent.
                Box::pin(self.settle_trial(session, server_write, around)).await?;
                continue;
            }
            if self.wants_trial || self.wants_temporary || self.wants_survey {
                continue;
            }
            if self.due(session, server_write, around) == Due::Now {
                continue;
            }
            let had_to_wait = !self.may_hear_client(session);
            around.key.set_running(session.is_running());
            if self.out.upstream.has_remaining() {
                self.sender.let_others_first().await;
                // What a statement's record says stands in the trail before the statement is sent.
                around.proxy.shared.trail.flush()?;
            }
            around.proxy.settling.soon(&around.proxy.shared.trail);
            if std::mem::take(&mut self.out.cancel) {
                Box::pin(around.stop_server()).await;
                patience = Some(Instant::now() + PATIENCE);
            }
            patience = patience.filter(|_| session.is_stopping());
            // A full buffer is what keeps the server waiting; a client that has little to read may take its time.
            stalled = stalled.filter(|_| self.out.downstream.len() >= HIGH_WATER);
            if stalled.is_none() && self.out.downstream.len() >= HIGH_WATER {
                stalled = Some(Instant::now() + around.proxy.tuned().limits.stalled());
            }
            let limit = clock.watch(session.time_limit());
            // Nobody sends anything, and locks are held: the identity has to hold for that too.
            let leaves_open = session.in_transaction() && !session.is_running() && self.hold.is_none();
            idle = around.proxy.tuned().limits.idle_in_transaction().filter(|_| leaves_open).map(|limit| {
                // Since it was first seen so: whatever is sent has the server at work in between.
                idle.unwrap_or_else(|| Instant::now() + limit)
            });
            let looked_at = leaves_open.then(|| in_unix(around.lease.next()));
            if last_call.is_some() && !session.is_running() && !session.in_transaction() {
                self.out.downstream.error(&shutdown());
                return Ok("drained");
            }
            // What can be sent at once is; only for the rest somebody has to wait.
            let before = self.out.downstream.len();
            if client_write.send_now(&mut self.out.downstream).is_err() {
                return Ok(Box::pin(around.left_alone(session, "the client went away")).await);
            }
            if self.out.downstream.len() < before {
                stalled = None;
            }
            server_write.send_now(&mut self.out.upstream).map_err(|error| lost(&error))?;
            if had_to_wait && self.held.is_none() && self.may_hear_client(session) {
                // Now there is room for what has come already.
                continue;
            }
            self.rest();
            // While a human is waited for it is read to notice that it goes away.
            let listens = self.held.is_none() || (self.hold.is_some() && self.client_inbox.buffer.len() < HIGH_WATER);
            let read_client = self.may_hear_client(session) && listens;
            let read_server = self.out.downstream.len() < HIGH_WATER;
            tokio::select! {
                // Everything that is ready has its turn: each round looks at all that has come.
                biased;
                written = client_write.send(&mut self.out.downstream), if client_write.owes(&self.out.downstream) => {
                    if written.is_err() {
                        return Ok(Box::pin(around.left_alone(session, "the client went away")).await);
                    }
                    stalled = None;
                }
                written = server_write.send(&mut self.out.upstream), if server_write.owes(&self.out.upstream) => {
                    written.map_err(|error| lost(&error))?;
                }
                read = self.server_inbox.fill(&mut self.server), if read_server => {
                    let read = read.map_err(|error| lost(&error))?;
                    self.bulk.read(&self.server, read);
                    if read == 0 {
                        self.hear_server(session)?;
                        return if session.server_ended() {
                            Err(Ending::ServerEnded)
                        } else if session.is_running() || !self.server_inbox.buffer.is_empty() {
                            Err(Ending::Server("it closed the connection".to_owned()))
                        } else {
                            Ok("the server closed the connection")
                        };
                    }
                }
                () = at(self.bulk.until()), if read_server => self.bulk.end(&self.server),
                read = self.client_inbox.fill(&mut self.client), if read_client => {
                    match read {
                        Ok(0) | Err(_) => return Ok(Box::pin(around.left_alone(session, "the client went away")).await),
                        Ok(_) => {}
                    }
                }
                () = at(self.alive.as_ref().map(|alive| alive.ends)), if self.hold.is_some() => {
                    Box::pin(self.let_go(session, server_write, around)).await?;
                    self.out.downstream.notice(
                        "what was tried is rolled back, so that others get its locks; once approved it is run again, and has \
                         to do the same",
                    );
                }
                next = Hold::next(&mut self.hold) => match next {
                    Next::Say(notice) => self.out.downstream.notice(&notice),
                    Next::Judge => self.hold = None,
                },
                () = &mut killed => {
                    let how = Box::pin(around.left_alone(session, "ended by an operator")).await;
                    self.out.downstream.error(&ended_by_operator());
                    return Ok(how);
                }
                () = at(idle) => {
                    self.out.downstream.error(&idle_in_transaction());
                    return Ok("a transaction was left open for too long");
                }
                () = at(looked_at) => Box::pin(around.renew(session)).await?,
                () = around.lease.changed(), if leaves_open => Box::pin(around.renew(session)).await?,
                stopped = &mut stopped, if last_call.is_none() => {
                    // The sender is gone only when the daemon is on its way out.
                    let _stop = stopped;
                    last_call = Some(Instant::now() + around.proxy.tuned().limits.drain());
                }
                () = at(limit) => session.time_out(&mut self.out),
                () = at(patience) => return Err(session.give_up()),
                () = at(stalled) => {
                    self.out.downstream.clear();
                    return Ok(Box::pin(around.left_alone(session, "the client did not read")).await);
                }
                () = at(last_call) => {
                    self.out.downstream.error(&shutdown());
                    return Ok("drained with a statement running");
                }
            }
        }
    }

    /// Everything that has come from the client and may be looked at by now.
    async fn hear_client(&mut self, session: &mut Session, around: &mut Surroundings<'_>) -> Result<(), Ending> {
        if self.hold.is_some() {
            return Ok(());
        }
        if let Some(frame) = self.held.take() {
            self.judge(session, frame, around).await?;
        }
        while self.held.is_none() && !self.settles && self.may_hear_client(session) {
            match self.client_splitter.next(&mut self.client_inbox.buffer, Session::most_from_client)? {
                None => return Ok(()),
                Some(Chunk::Passing { started, bytes, open, .. }) => {
                    session.passing(started, &bytes, open, &mut self.out);
                    if !open && around.credential.is_relayed() && (self.out.catalog_changed || self.wants_catalog) {
                        // What comes next is judged when the catalogue has been read, which had to wait for this.
                        return Ok(());
                    }
                }
                Some(Chunk::Skipped(skipped)) => session.skipped(&skipped, &mut self.out)?,
                Some(Chunk::Whole(frame) | Chunk::Beginning(frame)) => self.judge(session, frame, around).await?,
            }
        }
        Ok(())
    }

    /// Memory for what has been looked at and sent goes back to the thread's store.
    fn rest(&mut self) {
        self.client_inbox.rest();
        self.server_inbox.rest();
        for out in [&mut self.out.downstream, &mut self.out.upstream] {
            if out.is_empty() && out.capacity() > 0 {
                give_back(std::mem::take(out));
            }
        }
    }

    /// Neither side is read while too much waits for the other, nor for itself: a client that asks and does not listen
    /// would have us keep the answers.
    fn may_hear_client(&self, session: &Session) -> bool {
        !session.is_full() && self.out.upstream.len() < HIGH_WATER && self.out.downstream.len() < HIGH_WATER
    }

    async fn judge(
        &mut self,
        session: &mut Session,
        frame: Frame,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Ending> {
        if around.lease.is_due(second().1) {
            Box::pin(around.renew(session)).await?;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let mut step = judge(session, &frame, around, fresh, &mut self.out).await?;
        if step == Step::Refresh && around.credential.is_relayed() {
            if session.is_running() || !(session.in_transaction() || session.is_in_batch()) {
                (self.wants_catalog, self.held) = (true, Some(frame));
                return Ok(());
            }
            step = judge(session, &frame, around, true, &mut self.out).await?;
        }
        if step == Step::Refresh {
            if let Err(error) = Box::pin(around.proxy.catalogs.refresh(&around.place, &around.credential)).await {
                tracing::warn!(%error, "the catalogue could not be fetched; unknown names stay unknown");
            }
            step = judge(session, &frame, around, true, &mut self.out).await?;
        }
        if step == Step::Hold
            && let Some(ticket) = session.ticket()
        {
            let (desk, expires) = (&around.proxy.shared.desk, session.expires());
            self.hold = Some(Hold::begin(ticket, desk, &around.key, expires, &mut self.out.downstream));
        }
        self.wants_trial = step == Step::Try;
        self.wants_temporary = step == Step::Look;
        self.wants_survey = step == Step::Survey;
        self.settles = step == Step::Done && self.alive.is_some();
        if matches!(step, Step::Wait | Step::Hold | Step::Try | Step::Look | Step::Survey) {
            self.held = Some(frame);
        }
        Ok(())
    }

    fn hear_server(&mut self, session: &mut Session) -> Result<(), Ending> {
        if self.server_inbox.is_large() && self.out.downstream.capacity() == 0 {
            self.out.downstream = take_buffer();
        }
        loop {
            if let Some(most) = session.looks_into_rows()
                && let Some((count, rows)) = self.server_splitter.whole_run(&mut self.server_inbox.buffer, b'D', most)
            {
                session.masked_rows(&rows, count, &mut self.out)?;
                continue;
            }
            let next = self.server_splitter.next(&mut self.server_inbox.buffer, |tag| session.most_from_server(tag));
            match next.map_err(|error| Ending::Server(error.to_string()))? {
                None => return Ok(()),
                Some(Chunk::Passing { tag, continued, started, bytes, .. }) => {
                    session.data(tag, continued, started, &bytes, &mut self.out)?;
                }
                Some(Chunk::Skipped(Skipped { tag, .. })) => {
                    return Err(Ending::Server(format!("message `{}` is too long", tag.escape_ascii())));
                }
                Some(Chunk::Beginning(_)) => return Err(Ending::Server("it binds, as only clients do".to_owned())),
                Some(Chunk::Whole(frame)) => session.backend(&frame, &mut self.out)?,
            }
        }
    }
}

impl Surroundings<'_> {
    /// Looks whether the session may go on as who it is.
    async fn renew(&mut self, session: &mut Session) -> Result<(), Ending> {
        match self.proxy.registrar.renew(&mut self.lease, unix()).await {
            Ok(None) => Ok(()),
            Ok(Some(identity)) => {
                session.renew(identity);
                if let Some(bearer) = self.lease.bearer().cloned() {
                    self.credential = self.credential.clone().with_bearer(bearer);
                }
                Ok(())
            }
            Err(ended) => Err(Ending::Identity(ended)),
        }
    }

    /// Nobody waits for what the server is at any more: it is stopped, and what it has not committed is undone.
    async fn left_alone(&self, session: &Session, how: &'static str) -> &'static str {
        if session.is_running() {
            self.stop_server().await;
        }
        how
    }

    /// Tells the server to stop what it is at. Waits until it has heard it, so that nothing that comes later is stopped.
    pub(super) async fn stop_server(&self) {
        match timeout(self.proxy.tuned().limits.login(), self.key.stop_server()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the server could not be told to stop"),
            Err(_) => tracing::warn!("the server did not hear that it is to stop"),
        }
    }
}

/// Since when the statement that the server is at has been running.
#[derive(Default)]
struct Clock(Option<(u64, Instant)>);

impl Clock {
    /// The moment at which the statement's time is over; `limit` is its number and how many seconds it has.
    fn watch(&mut self, limit: Option<(u64, u64)>) -> Option<Instant> {
        let (statement, seconds) = limit?;
        let since = match self.0 {
            Some((watched, since)) if watched == statement => since,
            _ => Instant::now(),
        };
        self.0 = Some((statement, since));
        Some(since + std::time::Duration::from_secs(seconds))
    }
}

async fn judge(
    session: &mut Session,
    frame: &Frame,
    around: &Surroundings<'_>,
    fresh: bool,
    out: &mut Output,
) -> Result<Step, Ending> {
    let Some(catalog) = around.catalog.latest() else {
        return Err(Ending::Server("its catalogue was never read".to_owned()));
    };
    let policies = around.proxy.policies.load();
    let (now, unix) = second();
    let bench = Bench {
        policies: &policies,
        mode: around.proxy.tuned().mode,
        catalog: &catalog,
        readings: &around.proxy.readings,
        fresh,
        now: &now,
        unix,
    };
    let since = std::time::Instant::now();
    let step = session.frontend(frame, &bench, out);
    // Messages that bring a text, and no others, have something to be judged.
    if matches!(frame.tag(), b'Q' | b'P') {
        metrics().judged(since.elapsed());
    }
    step
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// A moment that is given in seconds since 1970.
fn in_unix(moment: u64) -> Instant {
    Instant::now() + std::time::Duration::from_secs(moment.saturating_sub(unix()))
}

fn ended_by_operator() -> Report {
    Report::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        .detail("somebody who operates this host has ended the session")
}

pub(super) fn lost(error: &io::Error) -> Ending {
    Ending::Server(format!("the connection was lost: {error}"))
}

fn idle_in_transaction() -> Report {
    Report::fatal(SqlState::IDLE_IN_TRANSACTION_TIMEOUT, "terminating connection due to idle-in-transaction timeout")
        .detail("`idle_in_transaction_seconds` in [limits] of interceptor says how long")
}

fn shutdown() -> Report {
    Report::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        .detail("interceptor is being stopped")
}

/// The same as [`now`], written out once in a second.
fn second() -> (Rc<str>, u64) {
    thread_local! {
        static LAST: RefCell<(u64, Rc<str>)> = RefCell::new((0, "".into()));
    }
    let unix = unix();
    let text = LAST.with_borrow_mut(|(last, text)| {
        if *last != unix || unix == 0 {
            (*last, *text) = (unix, now().0.into());
        }
        text.clone()
    });
    (text, unix)
}

pub(super) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Now, as text to the second and in seconds since 1970.
pub(super) fn now() -> (String, u64) {
    let unix = unix();
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    (OffsetDateTime::now_utc().format(format).unwrap_or_default(), unix)
}
