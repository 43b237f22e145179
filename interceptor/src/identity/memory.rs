//! What is known about tokens that were seen before.
//!
//! Connections come in bursts: a pool opens twenty at once with one token. The first asks, the others wait for its answer;
//! the next ones find it here. The key is the token's hash (the audience is the daemon's only one), so that the tokens
//! themselves are not kept.

use super::{Identity, Unidentified, settings::Algorithm, verify::LEEWAY};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// An identity is not handed out in its last seconds: the connection would end before its first statement.
const MARGIN: u64 = 10;

/// A failure is shared with those who waited for it, and asked about again right after.
const FAILURE: Duration = Duration::from_secs(1);

/// Above this many tokens, those that are over are thrown out.
const MANY: usize = 4096;

/// One token's place. Whoever holds the lock is the one that asks.
pub(super) type Place = Arc<tokio::sync::Mutex<Option<Outcome>>>;

#[derive(Debug, Default)]
pub(super) struct Memory {
    places: Mutex<HashMap<[u8; 32], Place>>,
    homes: Mutex<HashMap<[u8; 32], Home>>,
}

/// Where a token was seen first, for as long as it lives.
#[derive(Debug)]
struct Home {
    cgroup: String,
    expires: u64,
}

/// What came of a token.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Known {
        identity: Arc<Identity>,
        /// Seconds since 1970.
        until: u64,
        /// When the agent's own token ends.
        token_expires: u64,
        /// The key that signed the agent's token: the identity ends with it.
        issuer: String,
        kid: String,
        algorithm: Algorithm,
    },
    Failed {
        why: Unidentified,
        at: Instant,
    },
}

impl Memory {
    pub(super) fn place(&self, token: &str, now: u64) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MANY {
            places.retain(|_, place| {
                Arc::strong_count(place) > 1
                    || place.try_lock().is_ok_and(|outcome| outcome.as_ref().is_some_and(|outcome| outcome.holds(now)))
            });
        }
        Arc::clone(places.entry(Sha256::digest(token).into()).or_default())
    }

    /// A token that was copied from another job: environments and files are no secrets between processes of one user. It
    /// belongs to the cgroup that it was seen in first, and to those above and below it, which are parts of the same job.
    /// The error is that cgroup.
    pub(super) fn at_home(&self, token: &str, expires: u64, cgroup: &str, now: u64) -> Result<(), String> {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= MANY {
            homes.retain(|_, home| now < home.expires.saturating_add(LEEWAY));
        }
        let new = || Home { cgroup: cgroup.to_owned(), expires };
        let home = homes.entry(Sha256::digest(token).into()).or_insert_with(new);
        if holds(&home.cgroup, cgroup) || holds(cgroup, &home.cgroup) { Ok(()) } else { Err(home.cgroup.clone()) }
    }
}

/// Whether a cgroup is another one or lies below it.
fn holds(above: &str, cgroup: &str) -> bool {
    let above = above.trim_end_matches('/');
    cgroup.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Outcome {
    /// Until when an identity may be handed out again: not beyond the agent's own token.
    pub(super) fn until(identity: &Identity, subject_expires: u64) -> u64 {
        identity.expires.saturating_sub(MARGIN).min(subject_expires)
    }

    pub(super) fn holds(&self, now: u64) -> bool {
        match self {
            Self::Known { until, .. } => now < *until,
            Self::Failed { at, .. } => at.elapsed() < FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[track_caller]
    fn check(first: &str, then: &str, expected: bool) {
        let memory = Memory::default();
        assert_eq!(memory.at_home("token", 100, first, 0), Ok(()));
        assert_eq!(memory.at_home("token", 100, then, 0).is_ok(), expected, "{first} {then}");
        assert_eq!(memory.at_home("another", 100, then, 0), Ok(()));
    }

    #[test]
    fn a_token_belongs_to_the_job_it_was_seen_in_first() {
        check("/ci/a", "/ci/a", true);
        check("/ci/a", "/ci/a/step", true);
        check("/ci/a/step", "/ci/a", true);
        check("/", "/ci/a", true);
        check("/ci/a", "/ci/b", false);
        check("/ci/a", "/ci/ab", false);
        check("/ci/a/step", "/ci/a/other", false);
    }
}
