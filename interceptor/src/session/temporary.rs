//! The session's own relations: which there are, and whether that is still true.
//!
//! Nobody outside can see them, and they come and go with statements, functions, transactions and savepoints. So after what
//! may have changed them the server is asked in the agent's own session ([`super::Step::Look`]) before the next text whose names
//! could be theirs is judged. In the middle of a batch that is in a transaction block, the batch is ended by a Sync of our own,
//! which ends nothing else there, and goes on behind the questions. While nobody can ask (within a batch that is a transaction
//! by itself, in a failed transaction) such a text is not run.
//!
//! A session that has never had any has a null pointer here and asks nothing.

use super::frontend::own;
use super::judge::Bench;
use super::names::Prepared;
use super::path::Schemas;
use super::pending::{Pending, Running};
use super::refusal::Refusal;
use super::{Output, Session, Step};
use crate::policy::Mode;
use crate::sql::{Analysis, Catalog, Flag, Temporary, Touch};
use crate::wire::TransactionStatus;
use std::sync::Arc;

/// What is known of the session's own relations.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// What there was when the server was asked last.
    known: Option<Arc<Temporary>>,
    /// The catalogue of everybody's at that time: a change there (`DROP ... CASCADE`) may have changed them too.
    snapshot: u64,
    /// Whether they may have changed since.
    is_due: bool,
    /// Whether the transaction under way has changed them: then its end changes them again.
    in_transaction: bool,
    /// The shared catalogue with them before it.
    seen: Option<(u64, Arc<Catalog>)>,
}

/// Whether a text can be judged as to the session's own relations.
pub(super) enum Sure {
    Yes,
    /// The server has to be asked.
    Ask,
    /// The batch has to be ended first, so that it can be asked.
    Split,
    /// What is under way has to end first.
    Later,
    No(Refusal),
}

impl Session {
    /// What there is of the session's own, as far as it is known.
    pub(super) fn temporary(&self) -> Option<&Arc<Temporary>> {
        self.own.as_ref()?.known.as_ref()
    }

    /// The catalogue with the session's own relations before it.
    pub(super) fn with_own(&mut self, catalog: &Catalog) -> Option<Arc<Catalog>> {
        let own = self.own.as_mut()?;
        let known = own.known.as_ref()?;
        match &own.seen {
            Some((snapshot, seen)) if *snapshot == catalog.snapshot() => Some(seen.clone()),
            _ => {
                let seen = Arc::new(catalog.with_temporary(known));
                own.seen = Some((catalog.snapshot(), seen.clone()));
                Some(seen)
            }
        }
    }

    /// The server has been asked: this is what there is, beside this catalogue.
    pub fn note_temporary(&mut self, temporary: Temporary, catalog: &Catalog) {
        let Some(own) = &mut self.own else { return };
        if own.known.as_deref() != Some(&temporary).filter(|temporary| !temporary.is_empty()) {
            own.known = (!temporary.is_empty()).then(|| Arc::new(temporary));
            own.seen = None;
        }
        own.is_due = false;
        own.snapshot = catalog.snapshot();
        if own.known.is_none() && !own.in_transaction {
            self.own = None;
        }
    }

    /// A statement has run.
    pub(super) fn note_touch(&mut self, running: &Running) {
        let touched = match running.touch {
            Touch::None => false,
            Touch::Perhaps => match &running.effect {
                crate::sql::Effect::EndTransaction | crate::sql::Effect::RollbackTo => {
                    if let Some(own) = self.own.as_mut().filter(|own| own.in_transaction) {
                        own.is_due = true;
                    }
                    return;
                }
                _ => self.own.is_some(),
            },
            Touch::Makes | Touch::Changes => true,
        };
        if touched {
            let own = self.own.get_or_insert_default();
            (own.is_due, own.in_transaction) = (true, true);
        }
    }

    /// A statement has failed: what it or the text around it had done is undone, or, where a procedure has committed, is not.
    pub(super) fn note_failure(&mut self) {
        let may_have_run = |running: &mut Running| matches!(running.touch, Touch::Makes | Touch::Changes);
        if self.queue.current().is_some_and(may_have_run) {
            self.own.get_or_insert_default().in_transaction = true;
        }
        if let Some(own) = self.own.as_mut().filter(|own| own.in_transaction) {
            own.is_due = true;
        }
    }

    /// No transaction is open any more.
    pub(super) fn note_end_of_transaction(&mut self) {
        if let Some(own) = &mut self.own
            && std::mem::take(&mut own.in_transaction)
        {
            own.is_due = true;
        }
    }

    /// Whether the session has relations of its own, has had some in this transaction, or is about to.
    pub(super) fn has_own(&self) -> bool {
        self.own.is_some() || self.queue.touches_own(false)
    }

    /// Before a text is read: at rest the server is asked for as soon as somebody prepares something, since what follows in the
    /// batch could not wait for it.
    pub(super) fn asks_first(&self, bench: &Bench<'_>) -> bool {
        self.is_due(bench) && self.can_ask()
    }

    fn is_due(&self, bench: &Bench<'_>) -> bool {
        let changed = |own: &Own| {
            own.snapshot != bench.catalog.snapshot() && own.known.as_ref().is_some_and(|known| known.rests_on_others())
        };
        self.own.as_ref().is_some_and(|own| own.is_due || changed(own))
    }

    fn can_ask(&self) -> bool {
        self.queue.is_empty() && !self.in_batch && self.status != TransactionStatus::Failed
    }

    /// Ends a batch in a transaction block before its time.
    pub(super) fn split(&mut self, out: &mut Output) -> Step {
        self.in_batch = false;
        self.queue.push(Pending::OwnSync);
        out.upstream.extend_from_slice(&own(b'S', b""));
        Step::Wait
    }

    /// Whether a text can be judged by what is known.
    pub(super) fn is_sure_of(&self, analysis: &Analysis, bench: &Bench<'_>) -> Sure {
        if analysis.statements.iter().all(crate::sql::Statement::is_neutral) {
            return Sure::Yes;
        }
        if self.queue.touches_own(self.own.is_some()) {
            return Sure::Later;
        }
        let doubt = |why: &'static str| {
            if self.nothing_hangs(bench) { Sure::Yes } else { Sure::No(Refusal::OwnInDoubt(why)) }
        };
        if self.is_due(bench) {
            if self.can_ask() {
                return Sure::Ask;
            }
            if !self.queue.is_empty() {
                return Sure::Later;
            }
            if self.in_batch && self.begun && self.status != TransactionStatus::Failed {
                return Sure::Split;
            }
            if self.status == TransactionStatus::Failed && analysis.statements.len() == 1 {
                // The server runs nothing but the transaction's end.
                return if self.nothing_hangs(bench) { Sure::Yes } else { Sure::No(Refusal::TransactionFailed) };
            }
            return doubt("a statement before it, whose batch or transaction has not ended, may have changed them");
        }
        if self.loses_own(analysis) {
            return doubt("an earlier statement of the same text may have changed them");
        }
        match self.temporary().and_then(|known| known.doubt()) {
            Some(why) => doubt(why),
            None => Sure::Yes,
        }
    }

    /// Whether a text goes on after it has taken temporary relations away, or may have: names may mean others then.
    fn loses_own(&self, analysis: &Analysis) -> bool {
        let (mut has, mut lost) = (self.own.is_some(), false);
        for statement in &analysis.statements {
            if lost && !statement.is_neutral() {
                return true;
            }
            match statement.touch {
                Touch::None => {}
                Touch::Perhaps => lost |= has,
                Touch::Makes => has = true,
                Touch::Changes => (has, lost) = (true, true),
            }
        }
        false
    }

    /// Whether a prepared statement may mean a temporary relation or the one behind it: what the server has planned before
    /// there was one it may run still, until something happens to what it was planned for.
    pub(super) fn may_be_either(&mut self, prepared: &Prepared, path: &Schemas, bench: &Bench<'_>) -> bool {
        if is_same(prepared.own.as_ref(), self.temporary()) || self.nothing_hangs(bench) {
            return false;
        }
        self.reads(&prepared.text, path, bench, |analysis| {
            analysis.statements.iter().any(|statement| statement.flags.contains(&Flag::Shadowed))
        })
    }

    /// Whether names in a portal may mean something else by now than when it was bound.
    pub(super) fn is_of_another(&mut self, portal: &Prepared, bench: &Bench<'_>) -> bool {
        if is_same(portal.own.as_ref(), self.temporary()) || self.nothing_hangs(bench) {
            return false;
        }
        let now = self.temporary().cloned();
        let differing = Temporary::differing(portal.own.as_deref(), now.as_deref());
        self.reads(&portal.text, &portal.path, bench, |analysis| {
            analysis.statements.iter().any(|statement| statement.may_mean(differing.iter().copied()))
        })
    }

    pub(super) fn nothing_hangs(&self, bench: &Bench<'_>) -> bool {
        bench.mode == Mode::Observe || bench.policies.holds_nothing_against(&self.principal)
    }
}

/// Whether the same temporary relations are meant.
pub(super) fn is_same(one: Option<&Arc<Temporary>>, other: Option<&Arc<Temporary>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, Some(_)) | (Some(_), None) => false,
    }
}
