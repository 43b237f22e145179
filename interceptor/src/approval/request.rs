//! A request: what is asked for, by whom, and what has come of it.

use super::approver::Approver;
use super::binding::Binding;
use super::preview::{Preview, Seen};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

/// What an approver is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The agent.
    pub agent: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The human that it acts for.
    pub on_behalf_of: Option<String>,
    /// The session that asked first.
    pub session: String,
    /// The cgroup of the process that asked first.
    pub cgroup: String,
    /// The process that asked first, and the programs above it.
    #[serde(default)]
    pub process: Vec<String>,
    /// Who has let the agent act for whom it acts for, the latest first.
    #[serde(default)]
    pub delegation: Vec<String>,
    /// The agent's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The database server.
    pub server: String,
    /// The database.
    pub database: String,
    /// The role that it would run as.
    pub role: String,
    /// The text, secrets redacted.
    pub statement: String,
    /// What it runs that was prepared before, by EXECUTE or FETCH.
    pub runs: Vec<String>,
    /// SHA-256 of the text as it was sent.
    pub digest: String,
    /// Values of its parameters; `None` for NULL.
    pub values: Vec<Option<String>>,
    /// What it does to which relations.
    pub relations: Vec<String>,
    /// The policies that decide about it.
    pub policies: Vec<String>,
    /// How many of which groups have to say yes.
    pub needs: BTreeMap<String, u32>,
    /// Whether whoever asks, or the human that it acts for, may be among them.
    #[serde(default)]
    pub self_approval: bool,
    /// What it would change, where a policy wants that to be seen.
    #[serde(default)]
    pub preview: Option<Preview>,
    /// The rows behind that.
    #[serde(skip)]
    pub seen: Seen,
}

impl Asked {
    /// Whether it is the same text for the same database.
    pub(super) fn is_same_text(&self, other: &Self) -> bool {
        self.digest == other.digest && self.database == other.database && self.server == other.server
    }
}

/// Somebody's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// Who.
    pub by: String,
    /// Who vouches for them; none for root of this host.
    pub issuer: Option<String>,
    /// Those of the asked groups that they are in.
    pub groups: BTreeSet<String>,
    /// Their words.
    pub comment: Option<String>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has decided.
    Open,
    /// Approved, and not used yet.
    Approved,
    /// Approved, and its statement has run.
    Used,
    /// Somebody said no.
    Denied,
    /// Nobody decided in time, or nobody used the approval in time.
    Expired,
    /// Its agent has taken it back.
    Withdrawn,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        })
    }
}

/// A request as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Names it.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// When it was made, in seconds since 1970.
    pub asked_at: u64,
    /// When it, or its approval, ends.
    pub expires_at: u64,
    /// Connections that wait for it.
    pub waiting: usize,
    /// Requests of the same agent for the same text that were made before and are over.
    #[serde(default)]
    pub repeats: usize,
    /// Who has said yes.
    pub voices: Vec<Voice>,
    /// What whoever denied it has said, or how else it ended.
    pub outcome: Option<String>,
    /// What is asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was made.
    Asked,
    /// Somebody has said yes, and others have to.
    Seconded,
    /// It is approved.
    Approved,
    /// Somebody has said no.
    Denied,
    /// Its time is over.
    Expired,
    /// Its agent has taken it back.
    Withdrawn,
    /// Its statement is about to run.
    Used,
}

impl Event {
    /// The word in the record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Seconded => "seconded",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Used => "used",
        }
    }
}

/// Why something is not on record.
pub type NotKept = Box<dyn std::error::Error + Send + Sync>;

/// Puts on record what happens to a request. Is called before anybody can act on it; what cannot be recorded does not
/// happen, but for what takes something away.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// Records it; the text begins with the event's word.
    ///
    /// # Errors
    /// Where that is not possible.
    fn record(&self, event: Event, text: &str) -> Result<(), NotKept>;
}

/// A request as the desk keeps it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) asked: Asked,
    pub(super) binding: Binding,
    pub(super) standing: Standing,
    pub(super) asked_at: u64,
    pub(super) expires_at: u64,
    pub(super) repeats: usize,
    pub(super) voices: Vec<Voice>,
    pub(super) recorder: Arc<dyn Recorder>,
    /// Tickets that are out, with whom to wake.
    pub(super) tickets: BTreeMap<u64, Option<Waker>>,
}

/// Where a request stands, and what that comes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    Approved {
        until: u64,
    },
    /// Somebody is about to run its statement.
    Taken {
        until: u64,
    },
    Used,
    Denied {
        by: String,
        comment: Option<String>,
    },
    Expired,
    Withdrawn,
}

impl Entry {
    pub(super) fn state(&self) -> State {
        match self.standing {
            Standing::Open => State::Open,
            Standing::Approved { .. } | Standing::Taken { .. } => State::Approved,
            Standing::Used => State::Used,
            Standing::Denied { .. } => State::Denied,
            Standing::Expired => State::Expired,
            Standing::Withdrawn => State::Withdrawn,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        match self.standing {
            Standing::Open | Standing::Approved { .. } | Standing::Taken { .. } => true,
            Standing::Used | Standing::Denied { .. } | Standing::Expired | Standing::Withdrawn => false,
        }
    }

    /// Whether enough have said yes.
    pub(super) fn is_met(&self) -> bool {
        let said = |group: &String| self.voices.iter().filter(|voice| voice.groups.contains(group)).count();
        self.asked.needs.iter().all(|(group, voices)| said(group) >= *voices as usize)
    }

    /// Leaves its state for another and wakes who waits.
    pub(super) fn turn(&mut self, standing: Standing) {
        self.standing = standing;
        if !self.is_live() {
            self.asked.seen = Seen::default();
        }
        self.tickets.values_mut().filter_map(Option::take).for_each(Waker::wake);
    }

    pub(super) fn expire(&mut self, how: &str) {
        // It takes something away: what is not on record happens all the same.
        if let Err(error) = self.record(Event::Expired, how) {
            tracing::error!(%error, id = self.id, "the end of a request could not be recorded");
        }
        self.turn(Standing::Expired);
    }

    pub(super) fn record(&self, event: Event, more: &str) -> Result<(), NotKept> {
        self.record_by(&*self.recorder, event, more)
    }

    pub(super) fn record_by(&self, recorder: &dyn Recorder, event: Event, more: &str) -> Result<(), NotKept> {
        recorder.record(event, &format!("{}: request {}{more}", event.word(), self.id))
    }

    pub(super) fn show(&self) -> Request {
        let expires_at = match self.standing {
            Standing::Approved { until } | Standing::Taken { until } => until,
            Standing::Open | Standing::Used | Standing::Denied { .. } | Standing::Expired | Standing::Withdrawn => {
                self.expires_at
            }
        };
        let outcome = match &self.standing {
            Standing::Denied { by, comment } => Some(said(by, comment.as_deref())),
            _ => None,
        };
        Request {
            id: self.id.clone(),
            state: self.state(),
            asked_at: self.asked_at,
            expires_at,
            waiting: self.tickets.len(),
            repeats: self.repeats,
            voices: self.voices.clone(),
            outcome,
            asked: self.asked.clone(),
        }
    }
}

impl Request {
    /// With the rows of its preview as somebody may see them.
    #[must_use]
    pub fn seen_by(mut self, reviewer: &Approver) -> Self {
        if let (Some(sight), Some(preview)) = (&self.asked.seen.0, &mut self.asked.preview) {
            preview.tables = sight.tables(Some(reviewer));
        }
        self
    }
}

/// Who, and their words.
pub(super) fn said(by: &str, comment: Option<&str>) -> String {
    match comment {
        Some(comment) => format!("by {by}: {comment}"),
        None => format!("by {by}"),
    }
}
