//! Whether what the daemon depends on answers, for whoever looks after the host.

use super::{keys::Keys, now};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What came of trying somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Who.
    pub who: String,
    /// Whether they answer, as far as that was tried.
    pub ok: bool,
    /// What they said, or why they were not asked.
    pub detail: String,
    /// How far their clock is ahead of ours, in seconds, where they have said.
    pub ahead: Option<i64>,
}

/// Asks an issuer for its keys, whatever is known of them already.
pub(super) async fn issuer(keys: &Keys) -> Reached {
    let began = Instant::now();
    let (ok, detail, ahead) = match keys.ask().await {
        None => (true, "is within the daemon".to_owned(), None),
        Some(Ok((count, date))) => {
            let ahead = date.map(ahead);
            (true, format!("answers with {count} key(s) ({} ms)", began.elapsed().as_millis()), ahead)
        }
        Some(Err(error)) => (false, error.to_string(), None),
    };
    Reached { who: keys.issuer().to_owned(), ok, detail, ahead }
}

/// How far a clock that shows so many seconds since 1970 is ahead of ours.
pub fn ahead(theirs: i64) -> i64 {
    theirs.saturating_sub_unsigned(now())
}
