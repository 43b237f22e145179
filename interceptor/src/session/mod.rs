//! The conversation without sockets: a message goes in, bytes for either side come out.
//!
//! This room has no clock and no socket. What a judgement needs from outside (policies, a catalogue, the time) comes with
//! each message as a [`Bench`].
//!
//! Order is everything here. Requests wait in a queue in the order in which they were sent, and every answer of the
//! server belongs to the request at the head of it. A statement that policy refuses takes its place in the same queue:
//! in its stead the server is sent a text that is no SQL, so that the server itself fails at that very point, skips to
//! the next Sync and aborts the transaction; its error is then replaced by ours. So both sides always agree about the
//! state of the transaction, and pipelines keep their order.

mod backend;
mod budget;
mod claim;
mod flux;
mod frontend;
mod hold;
mod judge;
mod kept;
mod limits;
mod meant;
mod names;
mod path;
mod pending;
mod refusal;
mod results;
mod sight;
mod temporary;
mod trial;

pub use budget::{Budgets, TOTALS_OVER};
pub use judge::Bench;
pub use refusal::{Ending, Refusal, audit_report};
pub use sight::{Sample, Taken};
pub use trial::{Trial, Tried, Way};

use crate::approval::{Desk, Ticket};
use crate::audit::{Subject, Trail};
use crate::identity::Identity;
use crate::mask::Key;
use crate::policy::{Budget, Circumstances, Granted, Orders, Per, Principal, Totals};
use crate::sql::Catalog;
use crate::wire::TransactionStatus;
use budget::{Account, Share};
use bytes::BytesMut;
use flux::Survey;
use names::Names;
use path::{Schemas, SearchPath};
use pending::{Bracketed, Queue};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use temporary::Own;

/// What comes out of a message.
#[derive(Debug, Default)]
pub struct Output {
    /// For the server.
    pub upstream: BytesMut,
    /// For the client.
    pub downstream: BytesMut,
    /// Whether a statement has run that may have changed the catalogue.
    pub catalog_changed: bool,
    /// Whether the server is to be told to stop what it is at.
    pub cancel: bool,
}

/// What to do after a client's message.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Done,
    /// What the message names depends on what the server has yet to answer: hand it in again when it has.
    Wait,
    /// Somebody has to approve it: hand it in again when what [`Session::ticket`] stands for has been decided, and nothing
    /// else before.
    Hold,
    /// Somebody has to approve it, and shall see first what it changes: run what [`Session::trial`] has in a transaction, keep
    /// the answer, say what came of it ([`Session::note_trial`]), and hand the same message in again, with a fresh [`Bench`].
    Try,
    /// A name is not in the catalogue: fetch it anew and hand the same message in again, with a fresh [`Bench`].
    Refresh,
    /// The session's own relations may have changed: ask on its connection, on which nothing is under way, what there is
    /// ([`Session::note_temporary`]), and hand the same message in again.
    Look,
    /// The transaction has changed the schema: ask on its connection, on which nothing is under way, what it is
    /// ([`Session::note_survey`]), and hand the same message in again.
    Survey,
}

/// One agent's conversation with one database, from ReadyForQuery on.
#[derive(Debug)]
pub struct Session {
    principal: Principal,
    subject: Arc<Subject>,
    trail: Arc<Trail>,
    desk: Arc<Desk>,
    /// The request that the message at hand waits for.
    ticket: Option<Arc<Ticket>>,
    /// The statement of the message at hand, to be tried; and what came of that.
    trial: Option<Trial>,
    tried: Option<Tried>,
    /// Whether a trial has become the statement itself.
    trial_taken: bool,
    /// What the server has said of settings that say what constants mean.
    settings: BTreeMap<String, String>,
    observes: bool,
    around: Circumstances,
    /// What every statement of the session has to put up with, if it is anything.
    limits: Option<Arc<Orders>>,
    budgets: Arc<Budgets>,
    /// What the agent has had in all its sessions.
    account: Arc<Account>,
    /// What records say of statements that have run before, by reading and place in it, as long as they were granted the
    /// same.
    facts: HashMap<(u64, usize), (Arc<Granted>, Arc<str>)>,
    /// The accounts of budgets that were asked for so far.
    accounts: HashMap<Budget, Arc<Account>>,
    key: Arc<Key>,
    backend_pid: i32,
    status: TransactionStatus,
    queue: Queue,
    names: Names,
    path: SearchPath,
    /// Temporary relations, if there are or may be any.
    own: Option<Box<Own>>,
    /// The catalogue under the path that was needed last.
    seen: Option<(u64, Schemas, Arc<Catalog>)>,
    skip: Skip,
    /// Whether the rest of a message that passes goes to the server, as its beginning did.
    rest_goes_on: bool,
    /// Whether the server has the beginning of such a message, and waits for the rest.
    within_message: bool,
    /// What the session itself has to say behind it.
    deferred: BytesMut,
    /// Whether messages of the extended protocol are out that no Sync has ended yet.
    in_batch: bool,
    /// Whether a transaction block is open for sure, as far as the server has answered, whatever has no Sync yet.
    begun: bool,
    /// Whether one of them changes anything.
    batch_writes: bool,
    /// Whether anything has been run since the last Sync that changes what later statements mean.
    batch_ran: bool,
    /// Whether the server answers something that the client has been told the end of: until its ReadyForQuery it is not
    /// for the client.
    hushed: bool,
    /// How many requests had been made when the server was asked for its answers last.
    flushed: u64,
    /// Whether the statement under way runs in a transaction of ours, and how it has ended there.
    bracket: bool,
    bracketed: Option<Box<Bracketed>>,
    /// Whether the schema has been changed and the catalogue has not been read since.
    in_flux: bool,
    /// What it is there, if that was asked.
    survey: Option<Box<Survey>>,
    /// Whether the transaction has touched masked columns: its end may quote them too.
    redacts: bool,
    copy: Copy,
    totals: Totals,
    server_ended: bool,
    /// `seq` of the last statement's record.
    last_statement: u64,
}

/// Whether messages are dropped because the batch has failed (54.2.3 "Extended Query": "reads and discards messages
/// until a Sync is reached").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    No,
    /// The server has failed; it skips as well and will answer the Sync.
    WithServer,
    /// We have refused and the server has seen nothing of the batch; the Sync is ours to answer.
    Alone,
    /// A limit has ended the batch and the server does not know yet; before the Sync it has to be made to fail.
    Stopped,
}

/// COPY FROM STDIN turns the conversation around for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    No,
    /// The server has asked for data.
    In,
}

/// What all sessions of a daemon share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The record.
    pub trail: Arc<Trail>,
    /// What waits for a human.
    pub desk: Arc<Desk>,
    /// What agents have had.
    pub budgets: Arc<Budgets>,
    /// What hashes and shifts of masked values depend on.
    pub mask_key: Arc<Key>,
}

impl Session {
    /// A session that the server has just declared ready.
    pub fn new(
        principal: Principal,
        subject: Arc<Subject>,
        shared: Shared,
        around: Circumstances,
        limits: Arc<Orders>,
        backend_pid: i32,
    ) -> Self {
        let Shared { trail, desk, budgets, mask_key: key } = shared;
        let identity = principal.identity();
        let account = budgets.account(&identity.issuer, &identity.subject, None);
        Self {
            principal,
            subject,
            trail,
            desk,
            ticket: None,
            trial: None,
            tried: None,
            trial_taken: false,
            settings: BTreeMap::new(),
            observes: false,
            around,
            limits: (!limits.is_empty()).then_some(limits),
            budgets,
            account,
            facts: HashMap::new(),
            accounts: HashMap::new(),
            key,
            backend_pid,
            status: TransactionStatus::Idle,
            queue: Queue::default(),
            names: Names::default(),
            path: SearchPath::default(),
            own: None,
            seen: None,
            skip: Skip::No,
            rest_goes_on: false,
            within_message: false,
            deferred: BytesMut::new(),
            in_batch: false,
            begun: false,
            batch_writes: false,
            batch_ran: false,
            hushed: false,
            flushed: 0,
            bracket: false,
            bracketed: None,
            in_flux: false,
            survey: None,
            redacts: false,
            copy: Copy::No,
            totals: Totals::default(),
            server_ended: false,
            last_statement: 0,
        }
    }

    /// Whether the server has said its last word.
    pub fn server_ended(&self) -> bool {
        self.server_ended
    }

    /// Whether the server is at work for this session: then, and only then, there is something to cancel.
    pub fn is_running(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the server has only the beginning of a message: nothing may be said to it until the client has said the rest.
    pub fn is_within_message(&self) -> bool {
        self.within_message
    }

    /// Whether so many requests are out that no more should be read for now.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MOST_PENDING
    }

    /// Whether a transaction block is open.
    pub fn in_transaction(&self) -> bool {
        self.status != TransactionStatus::Idle
    }

    /// Goes on with a newer identity of the same agent. What was granted to the older one is judged anew.
    pub fn renew(&mut self, identity: Arc<Identity>) {
        self.principal = Principal::new(identity);
        self.facts.clear();
    }

    /// Whether messages of the extended protocol are out that no Sync has ended yet.
    pub fn is_in_batch(&self) -> bool {
        self.in_batch
    }

    /// The same where policies are only observed: settings that change how statements are read are the client's to change.
    #[must_use]
    pub fn observing(self) -> Self {
        Self { observes: true, ..self }
    }

    /// Whether the database knows the session by a name that the daemon has given it.
    fn is_named(&self) -> bool {
        !self.principal.identity().is_nobody()
    }

    /// When the agent's identity ends, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.principal.identity().expires
    }

    /// What the session has had so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Counts what has left, or been changed, for the session and the agent.
    fn count(&mut self, totals: Totals) {
        self.totals = self.totals.and(totals);
        self.account.add(totals);
    }

    /// What a statement with these orders may take of its budgets.
    fn shares(&mut self, orders: &Orders) -> Vec<Share> {
        let Self { accounts, budgets, principal, .. } = self;
        let share = |budget: &Budget| {
            let account = accounts.entry(budget.clone()).or_insert_with(|| match budget.allowance.per {
                Per::Session => budgets.own_account(),
                Per::Seconds(_) => {
                    let identity = principal.identity();
                    budgets.account(&identity.issuer, &identity.subject, Some(budget))
                }
            });
            Share { budget: budget.clone(), account: account.clone() }
        };
        orders.budgets.iter().map(share).collect()
    }
}

/// Requests that may be out at once before reading stops.
const MOST_PENDING: usize = 4096;

#[cfg(test)]
mod tests;
