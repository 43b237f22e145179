//! Statements that wait for a human, and approvals that wait for their statement.
//!
//! A [`Desk`] has the requests of all sessions. Who asks gets a [`Ticket`], which says what has come of the request and wakes
//! whoever waits for it; who was told yes gets a [`Grant`], which is good for one statement and for nothing but the statement
//! that was asked for: everything that makes it what it is goes into its [`Binding`]. Everything is in memory, and ends
//! with the daemon.
//!
//! This room has no clock, no socket and no file: the time comes with each call, and what happens to a request is
//! handed to the [`Recorder`] that came with it, before anybody can act on it.
//!
//! INVARIANT: a request leaves the state `Open` once, and an approval is spent once: both under the desk's one lock.

mod approver;
mod binding;
mod desk;
mod plain;
mod preview;
mod request;
mod ticket;

#[cfg(test)]
mod tests;

pub use approver::{Approver, Unable};
pub use binding::Binding;
pub use desk::{Answer, Desk, NotAsked};
pub use plain::plain;
pub use preview::{Effect, Preview, Seen, Sight, Table};
pub use request::{Asked, Event, NotKept, Recorder, Request, State, Voice};
pub use ticket::{Grant, Outlook, Ticket};

use serde::Deserialize;

/// How approvals go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a request is open, in seconds.
    pub timeout_seconds: u64,
    /// How long an approval waits for its statement, in seconds.
    pub grant_seconds: u64,
    /// How often an agent that waits hears that it does, in seconds.
    pub notice_seconds: u64,
    /// Requests of one agent that may be open at the same time.
    pub open_per_agent: usize,
    /// Requests of one agent that may be made within a minute, whatever has come of them.
    pub requests_per_minute: usize,
    /// How long a statement that was tried for its reviewers may keep its locks, in seconds.
    pub preview_lock_timeout: u64,
    /// Whether root of this host, who shows no token, counts as one of any group.
    pub local_root: bool,
    /// Whether root of this host may let a statement through that nobody has approved, giving a reason.
    pub break_glass: bool,
    /// Whether agents, and the humans that they act for, may approve what they ask for.
    pub self_approval: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_seconds: 600,
            grant_seconds: 600,
            notice_seconds: 15,
            open_per_agent: 20,
            requests_per_minute: 60,
            preview_lock_timeout: 30,
            local_root: false,
            // Root can change the policies as well, and less loudly.
            break_glass: true,
            self_approval: false,
        }
    }
}

impl Settings {
    /// What is wrong with them.
    pub fn mistakes(&self) -> Vec<String> {
        let Self { timeout_seconds, grant_seconds, notice_seconds, open_per_agent, .. } = self;
        let Self { requests_per_minute, preview_lock_timeout, .. } = self;
        let zero = |name: &str, is_zero: bool| {
            is_zero.then(|| format!("`{name} = 0` in [approval] would approve nothing; leave it out for the default"))
        };
        [
            zero("timeout_seconds", *timeout_seconds == 0),
            zero("grant_seconds", *grant_seconds == 0),
            zero("notice_seconds", *notice_seconds == 0),
            zero("open_per_agent", *open_per_agent == 0),
            zero("requests_per_minute", *requests_per_minute == 0),
            zero("preview_lock_timeout", *preview_lock_timeout == 0),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
