//! Sockets: accepting an agent, logging in upstream in its place, carrying bytes between the two.
//!
//! Everything that has a file descriptor or a clock is here; nothing here looks inside a statement.

mod arrival;
mod begun;
mod bulk;
mod cancel;
mod catalogs;
mod ephemeral;
mod greeting;
mod hold;
mod inbox;
mod leaked;
mod live;
mod login;
mod own;
mod questions;
mod reach;
mod refused;
mod relay;
mod relayed;
mod route;
mod scram;
mod secret;
mod serve;
mod settle;
mod tasks;
mod temporary;
mod tls;
mod together;
mod trial;
mod unread;
mod upstream;
mod warm;

pub use crate::session::Shared;
pub use cancel::Cancels;
pub use catalogs::{Catalogs, fetch_catalog};
pub use hold::keep_desk;
pub use leaked::{LeakedError, LeakedRoles, LeakedSettings};
pub use live::{Live, SessionInfo, Waiting};
pub use reach::reach;
pub use serve::{Door, Origins, Proxy, Tunables, serve, serve_at};
pub use tls::{Authority, AuthorityError, ConnectorError, Described, Switch, Terminator, TlsMode, TlsSettings};
pub use upstream::{CredentialError, EphemeralSettings, Upstream, Upstreams};

use serde::Deserialize;
use std::time::Duration;

/// What the daemon puts up with.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From accepting to being ready, in seconds.
    pub login_seconds: u64,
    /// Connections of all agents together.
    pub connections: usize,
    /// Connections of one agent, by its subject.
    pub connections_per_agent: usize,
    /// How long an agent may leave a transaction open without a statement, in seconds; 0 for as long as it likes.
    pub idle_in_transaction_seconds: u64,
    /// How long running statements may go on once the daemon has been asked to stop, in seconds.
    pub drain_seconds: u64,
    /// How long an agent may leave a result unread that the server waits to send, in seconds.
    pub stalled_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_seconds: 10,
            connections: 1000,
            connections_per_agent: 200,
            idle_in_transaction_seconds: 600,
            drain_seconds: 10,
            stalled_seconds: 600,
        }
    }
}

impl Limits {
    /// What is wrong with them.
    pub fn mistakes(&self) -> Vec<String> {
        let zero = |name: &str, value: u64| {
            (value == 0).then(|| format!("`{name} = 0` in [limits] would let nobody in; leave it out for the default"))
        };
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let zeros = [
            zero("login_seconds", self.login_seconds),
            zero("connections", wide(self.connections)),
            zero("connections_per_agent", wide(self.connections_per_agent)),
            (self.stalled_seconds == 0).then(|| {
                "`stalled_seconds = 0` in [limits] leaves nobody time to read; leave it out for the default".to_owned()
            }),
        ];
        zeros.into_iter().flatten().collect()
    }

    fn login(&self) -> Duration {
        Duration::from_secs(self.login_seconds)
    }

    fn stalled(&self) -> Duration {
        Duration::from_secs(self.stalled_seconds)
    }

    /// `None` for no limit.
    fn idle_in_transaction(&self) -> Option<Duration> {
        (self.idle_in_transaction_seconds > 0).then(|| Duration::from_secs(self.idle_in_transaction_seconds))
    }

    fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
