//! Limits: how much a statement may return, change, and take.
//!
//! Whoever is told that a statement has failed takes for granted that it has done nothing. So nothing that depends on a
//! limited statement is sent before it has ended, and when a limit is reached the transaction is made to fail on both
//! sides: by poison in place of the next message, or by ROLLBACK where the transaction is one of ours.

use super::budget::Share;
use super::frontend::own;
use super::pending::{Bracketed, Pending, Running};
use super::refusal::{Ending, Refusal};
use super::{Output, Session, Skip, Step};
use crate::policy::{Counted, Totals};
use crate::wire::{Frame, Frontend, Speaker, TransactionStatus};
use bytes::Bytes;
use std::collections::VecDeque;

impl Session {
    /// Whether a message has to wait for a limited statement to end; the server is asked to say so if it would not.
    pub(super) fn waits_for_limit(&mut self, message: &Frontend<'_>, out: &mut Output) -> bool {
        let waits = match message {
            Frontend::Sync => self.batch_writes,
            Frontend::Flush | Frontend::Terminate | Frontend::CopyDone | Frontend::CopyFail | Frontend::Password => {
                false
            }
            Frontend::Query { .. }
            | Frontend::Parse { .. }
            | Frontend::Bind { .. }
            | Frontend::Describe(_)
            | Frontend::Execute { .. }
            | Frontend::Close(_)
            | Frontend::FunctionCall => true,
        };
        // It may have ended, and what becomes of the transaction follows when the server is ready.
        let undecided = self.bracket || self.hushed;
        if !waits || !(undecided || self.queue.running().any(Running::is_limited)) {
            return false;
        }
        self.ask_for_answers(out);
        true
    }

    /// A message waits for what is under way to end.
    pub(super) fn later(&mut self, out: &mut Output) -> Step {
        self.ask_for_answers(out);
        Step::Wait
    }

    fn ask_for_answers(&mut self, out: &mut Output) {
        // Once for all that has been sent since.
        if self.in_batch && std::mem::replace(&mut self.flushed, self.queue.pushed()) != self.queue.pushed() {
            // Without Sync or Flush the server keeps its answers to itself (54.2.3).
            out.upstream.extend_from_slice(&own(b'H', b""));
        }
    }

    /// Whether a text has to run in a transaction of ours, so that what it changes can be taken back.
    pub(super) fn needs_bracket(&self, running: &VecDeque<Running>) -> bool {
        let counts = |running: &Running| running.writes && running.orders.is_limited();
        self.status == TransactionStatus::Idle && running.iter().any(counts)
    }

    pub(super) fn open_bracket(&mut self, out: &mut Output) {
        self.bracket = true;
        self.queue.push(Pending::OwnBegin);
        out.upstream.extend_from_slice(&own(b'Q', b"BEGIN\0"));
    }

    /// The statement in the bracket has ended well; whether it stays depends on how much it has changed.
    pub(super) fn close_bracket(
        &mut self,
        mut running: Running,
        frame: &Frame,
        affected: Option<u64>,
        out: &mut Output,
    ) -> Result<(), Ending> {
        let too_many = running.stopped.take().or_else(|| self.exceeds(&running, affected));
        let bracketed = match too_many {
            Some(refusal) => {
                out.downstream.error(&refusal.report());
                running.end_stopped(&refusal, affected)?;
                Bracketed { running: None, complete: Bytes::new(), affected }
            }
            None => Bracketed { running: Some(running), complete: Bytes::copy_from_slice(frame.bytes()), affected },
        };
        self.bracketed = Some(Box::new(bracketed));
        Ok(())
    }

    /// The server is ready inside the bracket: commits what is to stay, takes back what is not.
    pub(super) fn end_bracket(&mut self, out: &mut Output) {
        let nothing = || Box::new(Bracketed { running: None, complete: Bytes::new(), affected: None });
        let bracketed = self.bracketed.take().unwrap_or_else(nothing);
        let end: &[u8] = if bracketed.running.is_some() { b"COMMIT\0" } else { b"ROLLBACK\0" };
        self.say(&own(b'Q', end), out);
        self.queue.push_front(Pending::OwnEnd(bracketed));
        self.bracket = false;
    }

    /// Whether a statement that has ended has changed more than it may.
    pub(super) fn exceeds(&mut self, running: &Running, affected: Option<u64>) -> Option<Refusal> {
        let affected = affected.filter(|_| running.writes)?;
        if let Some(most) = running.orders.max_affected.filter(|most| affected > *most) {
            return Some(Refusal::TooManyAffected { most, affected });
        }
        let keeps = running.orders.keeps_rows;
        let counts = |share: &&Share| share.counts(Counted::Affected) || (keeps && share.counts(Counted::Rows));
        let shares = || running.shares.iter().filter(counts);
        let taken: Vec<_> = shares().map(|share| (share, share.take(affected))).collect();
        if let Some((share, _)) = taken.iter().find(|(_, taken)| *taken < affected) {
            taken.iter().for_each(|(share, taken)| share.give_back(*taken));
            return Some(share.refusal());
        }
        self.count(Totals { affected, ..Totals::default() });
        None
    }

    /// A statement has ended although a limit was reached: the client is told of the limit, and what hangs on it fails.
    pub(super) fn fail_for_limit(
        &mut self,
        running: Running,
        refusal: &Refusal,
        affected: Option<u64>,
        simple: bool,
        out: &mut Output,
    ) -> Result<(), Ending> {
        if !self.hushed {
            out.downstream.error(&refusal.report());
        }
        running.end_stopped(refusal, affected)?;
        self.hushed = true;
        if !simple && !self.queue.has_sync() {
            self.skip = Skip::Stopped;
        }
        Ok(())
    }

    /// The limit in seconds of the statement that the server is at, and which statement that is.
    pub fn time_limit(&mut self) -> Option<(u64, u64)> {
        let running = self.queue.current().filter(|running| running.stopped.is_none())?;
        Some((running.entry.seq(), running.orders.timeout?))
    }

    /// Whether the server has been told to stop and has not done so yet.
    pub fn is_stopping(&mut self) -> bool {
        self.queue.current().is_some_and(|running| running.stopped.is_some())
    }

    /// It does not stop: the session ends as the statement would have.
    pub fn give_up(&mut self) -> Ending {
        let refusal = self.queue.current().and_then(|running| running.stopped.clone());
        Ending::Unstoppable(Box::new(refusal.unwrap_or(Refusal::Hushed)))
    }

    /// The time is over.
    pub fn time_out(&mut self, out: &mut Output) {
        if let Some(running) = self.queue.current()
            && let Some(seconds) = running.orders.timeout
        {
            running.stopped.get_or_insert(Refusal::TooSlow(seconds));
            out.cancel = true;
        }
    }
}
