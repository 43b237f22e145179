//! The record: what was asked, by whom, what was decided and what came of it, before it happens.
//!
//! A trail is a folder of append-only JSON lines. Each line carries the hash of the one before, a `head` names the last
//! one, and checkpoints signed with the host's key say at intervals how far the trail had come. Changing, removing or
//! swapping anything breaks the chain; cutting the end off contradicts the head and the checkpoints.
//!
//! Records are sealed one by one, which gives them their place in the chain, and written several at a time: those of
//! statements before the statements are sent, those of outcomes soon after.
//!
//! INVARIANT: no record, no statement. Whoever cannot write gets an error and does not go on.

mod archive;
mod chain;
mod entry;
mod follow;
mod keys;
mod receipt;
mod record;
mod redact;
mod search;
mod trail;
mod verify;

pub use chain::hash as digest;
pub use entry::{Ended, Entry};
pub use follow::Follower;
pub use receipt::{Receipt, ReceiptError, Summary};
pub use record::{Agent, Coverage, Decision, Event, Outcome, Process, Record, RelationUse, Status, Subject};
pub use redact::{redact, redact_within};
pub use search::{
    Counts, Fired, Indexed, Searched, Wanted, check_index, count, forget_index, index, search, search_latest,
};
pub use trail::{AuditError, Trail};
pub use verify::{Finding, Report, Taken, lines, read, verify, verify_against};

use serde::Deserialize;
use std::path::PathBuf;

/// Where the record is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// When records are forced to the disk.
    #[serde(default)]
    pub fsync: Fsync,
    /// Size after which a new segment begins, in megabytes of 2^20 bytes.
    #[serde(default = "segment_megabytes")]
    pub segment_megabytes: u32,
    /// Whether segments that are full are compressed.
    #[serde(default = "yes")]
    pub compress: bool,
    /// Whether a search index of full segments is kept beside them.
    #[serde(default = "yes")]
    pub index: bool,
    /// Somewhere away from this host that only takes more, and takes every checkpoint: a file on a mount, or the URL of a service.
    #[serde(default)]
    pub witness: Option<PathBuf>,
    /// Headers for that service, `Name: value` a line, in a file that nobody else can read.
    #[serde(default)]
    pub witness_headers_file: Option<PathBuf>,
    /// Who vouches for it, in PEM; the host's trusted CAs without it.
    #[serde(default)]
    pub witness_ca_file: Option<PathBuf>,
    /// Where each record goes as it is written, by syslog (RFC 5424): a socket's path, or `udp://address:port`.
    #[serde(default)]
    pub syslog: Option<String>,
    /// Where logs and traces go by OTLP over HTTP with JSON: the collector's URL, without `/v1/logs`.
    #[serde(default)]
    pub otlp: Option<String>,
    /// Headers for it, `Name: value` a line, in a file that nobody else can read.
    #[serde(default)]
    pub otlp_headers_file: Option<PathBuf>,
}

fn segment_megabytes() -> u32 {
    256
}

fn yes() -> bool {
    true
}

impl Settings {
    /// The defaults for a folder.
    pub fn of(dir: PathBuf) -> Self {
        Self {
            dir,
            fsync: Fsync::default(),
            segment_megabytes: segment_megabytes(),
            compress: true,
            index: true,
            witness: None,
            witness_headers_file: None,
            witness_ca_file: None,
            syslog: None,
            otlp: None,
            otlp_headers_file: None,
        }
    }

    /// What is wrong with it.
    pub fn mistakes(&self) -> Vec<String> {
        let fits = (1..=4096).contains(&self.segment_megabytes);
        let size = (!fits).then(|| "[audit] segment_megabytes: between 1 and 4096".to_owned());
        let asks = self.witness_headers_file.is_some() || self.witness_ca_file.is_some();
        let idle = asks && self.witness_url().is_none();
        let idle = idle.then(|| {
            "[audit] witness_headers_file and witness_ca_file are for a `witness` that is an http or https URL"
                .to_owned()
        });
        size.into_iter().chain(idle).collect()
    }

    /// The witness, if it is a service.
    pub fn witness_url(&self) -> Option<&str> {
        let url = self.witness.as_deref()?.to_str()?;
        (url.starts_with("http://") || url.starts_with("https://")).then_some(url)
    }
}

/// When records are forced to the disk. In every case they are written before the statement is sent, so that they
/// survive the daemon; this decides whether they survive the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Before each statement is sent.
    Each,
    /// Some milliseconds after, those of many statements at once.
    #[default]
    Group,
    /// When the operating system sees fit.
    Os,
}
