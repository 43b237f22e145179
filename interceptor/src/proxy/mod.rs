//! Sockets: accepting an agent, logging in upstream in its place, carrying bytes between the two.
//!
//! Everything that has a file descriptor or a clock is here; nothing here looks inside a statement.

mod arrival;
mod cancel;
mod catalogs;
mod greeting;
mod live;
mod login;
mod relay;
mod serve;
mod tasks;
mod upstream;

pub use cancel::Cancels;
pub use catalogs::Catalogs;
pub use live::{Live, SessionInfo, Waiting};
pub use serve::{Origins, Proxy, serve};
pub use upstream::{CredentialError, Upstream, Upstreams};

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
    /// How long running statements may go on once the daemon has been asked to stop, in seconds.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { login_seconds: 10, connections: 1000, drain_seconds: 10 }
    }
}

impl Limits {
    fn login(&self) -> Duration {
        Duration::from_secs(self.login_seconds)
    }

    fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
