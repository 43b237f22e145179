//! TLS on both sides: ours towards agents, with certificates of a CA that lives on this host, and the database's towards
//! us, verified.
//!
//! The two have nothing to do with each other: whether an agent speaks TLS decides nothing about the connection upstream.

mod authority;
mod binding;
mod connect;
mod stream;
mod terminate;
mod verify;

pub use authority::{Authority, AuthorityError, Described};
pub use connect::TlsMode;
pub use terminate::Terminator;

pub(super) use binding::end_point;
pub use connect::ConnectorError;

pub(super) use connect::{Connector, TlsError, Wanted};
pub(super) use stream::{Reader, Stream, Writer};

use serde::Deserialize;
use std::path::PathBuf;

/// What the protocol is called in ALPN (54.2.10, "SSL Session Encryption").
const ALPN: &[u8] = b"postgresql";

/// The `[tls]` section: what agents are answered when they ask for TLS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// Whether they get it.
    pub client: Switch,
    /// The CA's certificate; absent for one beside the audit folder. Made where there is none.
    pub ca_cert: Option<PathBuf>,
    /// Its key, likewise.
    pub ca_key: Option<PathBuf>,
}

impl TlsSettings {
    /// What is wrong with them.
    pub fn mistakes(&self) -> Vec<String> {
        let half = self.ca_cert.is_some() != self.ca_key.is_some();
        half.then(|| "[tls] needs `ca_cert` and `ca_key` together, or neither".to_owned()).into_iter().collect()
    }
}

/// On or off, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is there.
    #[default]
    On,
    /// It is not.
    Off,
}
