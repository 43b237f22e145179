//! Requests that the server has not answered yet, in order.

use super::budget::Share;
use super::hold::Approved;
use super::kept::Kept;
use super::meant::Meant;
use super::names::{Prepared, Served};
use super::path;
use super::refusal::Refusal;
use crate::audit::{AuditError, Ended, Entry, Status};
use crate::policy::Orders;
use crate::sql::{Effect, Touch};
use crate::wire::{Described, Rows};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A statement that the server is at or will get to.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) entry: Entry,
    pub(super) effect: Effect,
    /// Its text, for what its effect remembers.
    pub(super) text: Arc<str>,
    pub(super) copies_in: bool,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// The portal or cursor that it takes rows from, if that outlives it.
    pub(super) portal: Option<String>,
    /// What was taken from that before, once the first row has come.
    pub(super) had: Option<Served>,
    /// What has to be met while it runs.
    pub(super) orders: Arc<Orders>,
    /// The budgets that it takes from.
    pub(super) shares: Vec<Share>,
    /// What it was approved for.
    pub(super) approved: Option<Approved>,
    /// Whether it is a query or a write by itself: others may run what was put off, checks of constraints among it.
    pub(super) ordinary: bool,
    /// Whether it changes anything.
    pub(super) writes: bool,
    /// What it does to the session's own relations.
    pub(super) touch: Touch,
    /// What its names mean, where they go on to mean that.
    pub(super) meant: Meant,
    /// Where masked columns come from, as a RowDescription says it: table and attribute.
    pub(super) origins: Vec<(u32, i16)>,
    /// How many columns its result has, as far as the analysis can tell.
    pub(super) width: Option<usize>,
    /// The columns of its result, once the server has described them.
    pub(super) shape: Option<Arc<[Described]>>,
    /// The first rows, where they go on record.
    pub(super) kept: Option<Kept>,
    /// Values that were masked.
    pub(super) masked: u64,
    /// The rows that pass.
    pub(super) passing: Rows,
    /// Why it is being stopped; what it still sends is not for the client.
    pub(super) stopped: Option<Refusal>,
}

impl Running {
    pub(super) fn end(self, status: Status, sqlstate: Option<&str>, affected: Option<u64>) -> Result<(), AuditError> {
        let Self { entry, rows, bytes, masked, kept, .. } = self;
        entry.close(Ended {
            status,
            reason: None,
            sqlstate: sqlstate.map(str::to_owned),
            rows,
            bytes,
            masked,
            affected,
            results: kept.map(Kept::into_rows),
        })
    }

    /// Ends because of a limit.
    pub(super) fn end_stopped(self, refusal: &Refusal, affected: Option<u64>) -> Result<(), AuditError> {
        let Self { entry, rows, bytes, masked, kept, .. } = self;
        entry.close(Ended {
            status: Status::Stopped,
            reason: Some(refusal.reason()),
            sqlstate: Some(refusal.report().code.as_str().to_owned()),
            rows,
            bytes,
            masked,
            affected,
            results: kept.map(Kept::into_rows),
        })
    }

    /// Whether its result, or what it changes, may be too much: nothing that depends on it is sent before it has ended.
    pub(super) fn is_limited(&self) -> bool {
        self.orders.limits_result() || (self.writes && self.orders.is_limited())
    }
}

/// One request.
#[derive(Debug)]
pub(super) enum Pending {
    /// A simple query: its statements that have not ended yet.
    Query(VecDeque<Running>),
    Parse {
        name: String,
        prepared: Prepared,
    },
    Bind {
        portal: String,
        prepared: Prepared,
    },
    Describe,
    /// A Describe of ours: masks have to know the types of a result.
    OwnDescribe,
    /// BEGIN and COMMIT or ROLLBACK of ours around a statement that may turn out to change too much.
    OwnBegin,
    OwnEnd(Box<Bracketed>),
    /// `None` for the empty statement, which nobody records.
    Execute(Option<Box<Running>>),
    CloseStatement(String),
    ClosePortal(String),
    Sync,
    /// A Sync of ours in a transaction block, where it ends nothing but the batch: so that something can be asked in between.
    OwnSync,
    /// The client has ended its COPY data before the server had asked for any.
    CopyEnd,
    /// The server is about to fail in the place of something refused.
    Refused {
        refusal: Refusal,
        simple: bool,
    },
}

/// A statement that has run in a transaction of ours, which now ends.
#[derive(Debug)]
pub(super) struct Bracketed {
    /// The statement, while nobody has been told how it ended.
    pub(super) running: Option<Running>,
    /// Its CommandComplete, which the client gets once the transaction is committed.
    pub(super) complete: Bytes,
    pub(super) affected: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    requests: VecDeque<Pending>,
    /// How many have ever been.
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, request: Pending) {
        self.pushed += 1;
        self.requests.push_back(request);
    }

    pub(super) fn head(&mut self) -> Option<&mut Pending> {
        // The mark of a COPY's end has no answer of its own.
        while matches!(self.requests.front(), Some(Pending::CopyEnd)) {
            self.requests.pop_front();
        }
        self.requests.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        self.head()?;
        self.requests.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.iter().all(|request| matches!(request, Pending::CopyEnd))
    }

    /// What the server skips after an error: everything up to the next Sync. `true` if there is one.
    pub(super) fn skip_to_sync(
        &mut self,
        mut skipped: impl FnMut(Pending) -> Result<(), AuditError>,
    ) -> Result<bool, AuditError> {
        while let Some(request) = self.requests.pop_front() {
            if matches!(request, Pending::Sync) {
                self.requests.push_front(request);
                return Ok(true);
            }
            skipped(request)?;
        }
        Ok(false)
    }

    pub(super) fn push_front(&mut self, request: Pending) {
        self.requests.push_front(request);
    }

    /// The server reads Sync in the middle of COPY data and ignores it: takes those out that it is going to read. `false`
    /// if the client has ended its data already, behind which a Sync counts again, or has gone on to something else, which
    /// only a COPY that has failed can be followed by.
    pub(super) fn swallow_syncs(&mut self) -> bool {
        let data = self.requests.iter().skip(1);
        let among = data.take_while(|request| matches!(request, Pending::Sync | Pending::CopyEnd)).count();
        let end = self.requests.iter().skip(1).take(among).position(|request| matches!(request, Pending::CopyEnd));
        let goes_on = self.requests.len() > among + 1;
        // The mark belongs to this COPY; the next one has its own.
        let ignored = end.map_or(among, |end| end + 1);
        let mut at = 0;
        self.requests.retain(|request| {
            at += 1;
            at == 1 || at > ignored + 1 || !matches!(request, Pending::Sync | Pending::CopyEnd)
        });
        if end.is_some() || goes_on {
            self.end_copy();
            return false;
        }
        true
    }

    /// The client has ended the data of the COPY at the head.
    pub(super) fn end_copy(&mut self) {
        match self.requests.front_mut() {
            Some(Pending::Query(running)) => {
                if let Some(running) = running.front_mut() {
                    running.copies_in = false;
                }
            }
            Some(Pending::Execute(Some(running))) => running.copies_in = false,
            _ => {}
        }
    }

    /// Whether a COPY FROM STDIN is out whose data has not ended.
    pub(super) fn awaits_copy_data(&self) -> bool {
        let last_end =
            self.requests.iter().rposition(|request| matches!(request, Pending::CopyEnd)).map_or(0, |at| at + 1);
        self.requests.iter().skip(last_end).any(|request| match request {
            Pending::Query(running) => running.iter().any(|running| running.copies_in),
            Pending::Execute(running) => running.as_ref().is_some_and(|running| running.copies_in),
            Pending::Parse { .. }
            | Pending::Bind { .. }
            | Pending::Describe
            | Pending::OwnDescribe
            | Pending::OwnBegin
            | Pending::OwnEnd(_)
            | Pending::CloseStatement(_)
            | Pending::ClosePortal(_)
            | Pending::Sync
            | Pending::OwnSync
            | Pending::CopyEnd
            | Pending::Refused { .. } => false,
        })
    }

    /// What a prepared statement's name means to a request that is sent now.
    pub(super) fn statement(&self, name: &str, acknowledged: Option<&Prepared>) -> Meaning {
        self.meaning(acknowledged, |request| match request {
            Pending::Parse { name: parsed, prepared } if parsed == name => Some(Some(prepared.clone())),
            Pending::CloseStatement(closed) if closed == name => Some(None),
            _ => None,
        })
    }

    /// The same for a portal's.
    pub(super) fn portal(&self, name: &str, acknowledged: Option<&Prepared>) -> Meaning {
        self.meaning(acknowledged, |request| match request {
            Pending::Bind { portal, prepared } if portal == name => Some(Some(prepared.clone())),
            Pending::ClosePortal(closed) if closed == name => Some(None),
            _ => None,
        })
    }

    /// Within one batch the last word counts: if it fails, what follows is skipped. Words of batches that the server has not
    /// answered may or may not come true, and so may what SQL does to names.
    fn meaning(&self, acknowledged: Option<&Prepared>, word: impl Fn(&Pending) -> Option<Option<Prepared>>) -> Meaning {
        let mut same_batch = true;
        for request in self.requests.iter().rev() {
            match request {
                Pending::Sync => same_batch = false,
                Pending::Query(running) => {
                    same_batch = false;
                    if running.iter().any(|running| touches_names(&running.effect)) {
                        return Meaning::Unsettled;
                    }
                }
                // Its answer comes with the Sync that is still to be sent: nothing to wait for.
                Pending::Execute(Some(running)) if touches_names(&running.effect) && same_batch => {
                    return Meaning::Nothing;
                }
                Pending::Execute(Some(running)) if touches_names(&running.effect) => return Meaning::Unsettled,
                _ => {}
            }
            match word(request) {
                Some(said) if same_batch => return said.map_or(Meaning::Nothing, Meaning::Text),
                Some(_) => return Meaning::Unsettled,
                None => {}
            }
        }
        acknowledged.map_or(Meaning::Nothing, |prepared| Meaning::Text(prepared.clone()))
    }

    /// Counts the requests that have been made.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Every statement that has been sent and not ended.
    pub(super) fn running(&self) -> impl Iterator<Item = &Running> {
        self.requests.iter().flat_map(|request| match request {
            Pending::Query(running) => running.iter().collect::<Vec<_>>(),
            Pending::Execute(Some(running)) => vec![running.as_ref()],
            Pending::OwnEnd(bracketed) => bracketed.running.iter().collect(),
            _ => Vec::new(),
        })
    }

    /// The statement that the server is at.
    pub(super) fn current(&mut self) -> Option<&mut Running> {
        match self.head() {
            Some(Pending::Query(running)) => running.front_mut(),
            Some(Pending::Execute(Some(running))) => Some(running),
            Some(Pending::OwnEnd(bracketed)) => bracketed.running.as_mut(),
            _ => None,
        }
    }

    /// Whether a Sync is on its way.
    pub(super) fn has_sync(&self) -> bool {
        self.requests.iter().any(|request| matches!(request, Pending::Sync))
    }

    /// Whether something is on its way that may change the search path: `Some(true)` if nothing has ended its batch yet.
    pub(super) fn path_unsettled(&self, changed: bool) -> Option<bool> {
        let mut same_batch = true;
        for request in self.requests.iter().rev() {
            let touches = match request {
                Pending::Sync => {
                    same_batch = false;
                    false
                }
                Pending::Query(running) => {
                    same_batch = false;
                    running.iter().any(|running| path::touches(&running.effect, changed))
                }
                Pending::Execute(Some(running)) => path::touches(&running.effect, changed),
                _ => false,
            };
            if touches {
                return Some(same_batch);
            }
        }
        None
    }

    /// Whether something is on its way that may change the session's own relations; `has` says whether there may be any.
    pub(super) fn touches_own(&self, has: bool) -> bool {
        let touches = |running: &Running| match running.touch {
            Touch::None => false,
            Touch::Perhaps => has,
            Touch::Makes | Touch::Changes => true,
        };
        self.requests.iter().any(|request| match request {
            Pending::Query(running) => running.iter().any(touches),
            Pending::Execute(Some(running)) => touches(running),
            Pending::OwnEnd(bracketed) => bracketed.running.as_ref().is_some_and(touches),
            _ => false,
        })
    }

    /// Names of prepared statements that are on their way.
    pub(super) fn parses(&self) -> usize {
        self.requests.iter().filter(|request| matches!(request, Pending::Parse { .. })).count()
    }
}

/// Whether SQL does something to the names of prepared statements and cursors.
fn touches_names(effect: &Effect) -> bool {
    match effect {
        Effect::Prepare(_) | Effect::Declare(_) | Effect::Deallocate(_) | Effect::Close(_) | Effect::DiscardAll => true,
        Effect::None
        | Effect::SearchPath { .. }
        | Effect::ResetAll
        | Effect::EndTransaction
        | Effect::RollbackTo
        | Effect::DiscardTemporary
        | Effect::Fetch(_) => false,
    }
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(super) enum Meaning {
    /// This.
    Text(Prepared),
    /// Nothing.
    Nothing,
    /// The server has to answer first.
    Unsettled,
}
