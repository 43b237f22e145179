//! What a session holds of a request: a place among those who wait, or the approval itself.

use super::binding::Binding;
use super::desk::Desk;
use super::request::{Event, NotKept, Recorder, Standing, said};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// A place among those who wait for a request. Given up when dropped; the request stays open without it.
#[derive(Debug)]
pub struct Ticket {
    pub(super) desk: Arc<Desk>,
    pub(super) entry: u64,
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) binding: Binding,
    pub(super) needs: BTreeMap<String, u32>,
    pub(super) expires_at: u64,
    /// Whether its holder does not want it any more while others do.
    pub(super) given_up: AtomicBool,
}

/// What has come of a request.
#[derive(Debug)]
pub enum Outlook {
    /// Nothing yet.
    Open,
    /// Yes.
    Granted(Grant),
    /// No.
    Denied {
        /// Who said so.
        by: String,
        /// Their words.
        comment: Option<String>,
    },
    /// Nobody has decided in time.
    Expired,
    /// Its holder has taken it back.
    Withdrawn,
    /// Something that its holder has nothing of: it is for another statement than it would run now, or somebody else who
    /// asked for the same has used it.
    Gone,
}

impl Ticket {
    /// Names the request.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether its holder has taken it back.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Whose yes is waited for, in words.
    pub fn needs(&self) -> String {
        in_words(&self.needs)
    }

    /// When the request ends, in seconds since 1970.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Looks what has come of it, for a statement as it would run now; an approval is taken by looking.
    pub fn outlook(&self, binding: Binding, now: u64) -> Outlook {
        let mut book = self.desk.open_book(now);
        if self.is_given_up() {
            return Outlook::Withdrawn;
        }
        let Some(entry) = book.entries.get_mut(&self.entry) else { return Outlook::Expired };
        match entry.standing.clone() {
            Standing::Open | Standing::Approved { .. } if binding != self.binding => Outlook::Gone,
            Standing::Open => Outlook::Open,
            Standing::Approved { until } => {
                entry.standing = Standing::Taken { until };
                Outlook::Granted(Grant { desk: self.desk.clone(), entry: self.entry, until, spent: false })
            }
            Standing::Taken { .. } | Standing::Used => Outlook::Gone,
            Standing::Denied { by, comment } => Outlook::Denied { by, comment },
            Standing::Expired => Outlook::Expired,
            Standing::Withdrawn => Outlook::Withdrawn,
        }
    }

    /// Whether the request has ended without a yes: nothing need be found out about its statement any more.
    pub fn has_failed(&self, now: u64) -> bool {
        let book = self.desk.open_book(now);
        if self.is_given_up() {
            return true;
        }
        book.entries.get(&self.entry).is_none_or(|entry| match entry.standing {
            Standing::Open | Standing::Approved { .. } | Standing::Taken { .. } | Standing::Used => false,
            Standing::Denied { .. } | Standing::Expired | Standing::Withdrawn => true,
        })
    }

    /// Waits until there is something to be seen in its [`Ticket::outlook`].
    pub fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut book = self.desk.lock();
        let Some(entry) = book.entries.get_mut(&self.entry) else { return Poll::Ready(()) };
        if entry.standing != Standing::Open {
            return Poll::Ready(());
        }
        entry.tickets.insert(self.number, Some(context.waker().clone()));
        Poll::Pending
    }

    /// Takes the request back, unless it has been decided or others wait for it too.
    pub fn withdraw(&self, now: u64) {
        let mut book = self.desk.open_book(now);
        let Some(entry) = book.entries.get_mut(&self.entry) else { return };
        if entry.standing != Standing::Open {
            return;
        }
        self.given_up.store(true, Ordering::Release);
        entry.tickets.remove(&self.number);
        if !entry.tickets.is_empty() {
            return;
        }
        // It takes something away: what is not on record happens all the same.
        if let Err(error) = entry.record(Event::Withdrawn, " by its session") {
            tracing::error!(%error, id = self.id, "a withdrawn request could not be recorded");
        }
        entry.turn(Standing::Withdrawn);
        self.desk.touch();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.desk.touch();
        if let Some(entry) = self.desk.lock().entries.get_mut(&self.entry) {
            entry.tickets.remove(&self.number);
        }
    }
}

/// A yes in the hand of the one statement that it is for. Unspent when dropped, it goes back to where it was.
#[derive(Debug)]
pub struct Grant {
    pub(super) desk: Arc<Desk>,
    pub(super) entry: u64,
    pub(super) until: u64,
    pub(super) spent: bool,
}

impl Grant {
    /// Uses it up; only when this returns may the statement run.
    ///
    /// # Errors
    /// Where that cannot be put on record.
    pub fn spend(mut self, recorder: &dyn Recorder) -> Result<(), NotKept> {
        let desk = self.desk.clone();
        let mut book = desk.lock();
        let Some(entry) = book.entries.get_mut(&self.entry) else { return Err("the approval is gone".into()) };
        let by: Vec<_> = entry.voices.iter().map(|voice| said(&voice.by, voice.comment.as_deref())).collect();
        if let Err(error) = entry.record_by(recorder, Event::Used, &format!(", approved {}", by.join(", "))) {
            entry.standing = Standing::Approved { until: self.until };
            self.spent = true;
            return Err(error);
        }
        entry.turn(Standing::Used);
        self.desk.touch();
        self.spent = true;
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        if let Some(entry) = self.desk.lock().entries.get_mut(&self.entry)
            && matches!(entry.standing, Standing::Taken { .. })
        {
            entry.standing = Standing::Approved { until: self.until };
        }
    }
}

/// `dba`, or `2 of dba and finance`.
pub(super) fn in_words(needs: &BTreeMap<String, u32>) -> String {
    let each = needs.iter().map(|(group, voices)| match voices {
        1 => group.clone(),
        voices => format!("{voices} of {group}"),
    });
    each.collect::<Vec<_>>().join(" and ")
}
