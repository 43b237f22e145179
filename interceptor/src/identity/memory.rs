//! What is known about tokens that were seen before.
//!
//! Connections come in bursts: a pool opens twenty at once with one token. The first asks, the others wait for its answer;
//! the next ones find it here. The key is the token's hash (the audience is the daemon's only one), so that the tokens
//! themselves are not kept.

use super::{
    Bearer, Claimed, Identity, Unidentified,
    evidence::{Descent, Evidence},
    recent::Recent,
    settings::Algorithm,
    verify::LEEWAY,
};
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

#[derive(Debug)]
pub(super) struct Memory {
    places: Mutex<HashMap<[u8; 32], Place>>,
    homes: Mutex<HashMap<[u8; 32], Home>>,
    /// What programs say about their work.
    pub(super) claims: Recent<Arc<Claimed>>,
    /// The processes that programs descend from.
    pub(super) ancestries: Recent<Descent>,
    /// Tokens that were taken back, until they are over by themselves.
    revoked: Mutex<HashMap<[u8; 32], u64>>,
}

/// What stands for a token.
pub(super) type Digest256 = [u8; 32];

/// Where a token was seen first, for as long as it lives.
#[derive(Debug)]
struct Home {
    cgroup: String,
    /// Its number and those above it.
    ids: Vec<u64>,
    expires: u64,
}

/// What came of a token.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Known {
        identity: Arc<Identity>,
        bearer: Bearer,
        /// Seconds since 1970.
        until: u64,
        /// When the agent's own token ends.
        token_expires: u64,
        /// The key that signed the agent's token: the identity ends with it.
        issuer: String,
        kid: Option<String>,
        algorithm: Algorithm,
    },
    Failed {
        why: Unidentified,
        at: Instant,
    },
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            places: Mutex::default(),
            homes: Mutex::default(),
            claims: Recent::of(Duration::from_secs(10)),
            ancestries: Recent::of(Duration::from_secs(1)),
            revoked: Mutex::default(),
        }
    }
}

impl Memory {
    /// The place of a token that is shown by `agent`, where it is known what the process is.
    pub(super) fn place(&self, token: &str, agent: Option<&str>, now: u64) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MANY {
            places.retain(|_, place| {
                Arc::strong_count(place) > 1
                    || place.try_lock().is_ok_and(|outcome| outcome.as_ref().is_some_and(|outcome| outcome.holds(now)))
            });
        }
        let mut key = Sha256::new_with_prefix(token);
        // No token has this sign in it.
        key.update("\0");
        key.update(agent.unwrap_or_default());
        Arc::clone(places.entry(key.finalize().into()).or_default())
    }

    /// A token that was copied from another job: environments and files are no secrets between processes of one user. It
    /// belongs to the cgroup that it was seen in first, by its number, and to those above and below it, which are parts of
    /// the same job; the root of the hierarchy is above everybody and part of nobody's. The error is that cgroup.
    pub(super) fn at_home(&self, token: &str, expires: u64, cgroup: &str, ids: &[u64], now: u64) -> Result<(), String> {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= MANY {
            homes.retain(|_, home| now < home.expires.saturating_add(LEEWAY));
        }
        let new = || Home { cgroup: cgroup.to_owned(), ids: ids.to_owned(), expires };
        let home = homes.entry(Sha256::digest(token).into()).or_insert_with(new);
        let holds = |above: &[u64], ids: &[u64]| above.len() > 1 && above.first().is_some_and(|id| ids.contains(id));
        if home.ids == ids || holds(&home.ids, ids) || holds(ids, &home.ids) {
            Ok(())
        } else {
            Err(home.cgroup.clone())
        }
    }

    /// From now on the token is refused.
    pub(super) fn revoke(&self, token: &str, expires: u64, now: u64) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|_, expires| now < expires.saturating_add(LEEWAY));
        revoked.insert(Sha256::digest(token).into(), expires);
    }

    pub(super) fn is_revoked(&self, token: &Digest256) -> bool {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).contains_key(token)
    }

    /// In the cgroup of a process.
    pub(super) fn at_home_of(&self, token: &str, expires: u64, evidence: &Evidence, now: u64) -> Result<(), String> {
        self.at_home(token, expires, &evidence.cgroup, &evidence.cgroup_ids, now)
    }
}

impl Outcome {
    /// Until when an identity may be handed out again: not beyond the agent's own token.
    pub(super) fn until(identity: &Identity, subject_expires: u64) -> u64 {
        identity.expires.saturating_sub(MARGIN).min(subject_expires)
    }

    /// Whether the agent's own token has ended.
    pub(super) fn token_is_over(&self, now: u64) -> bool {
        match self {
            Self::Known { token_expires, .. } => *token_expires <= now,
            Self::Failed { .. } => true,
        }
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
    fn check(first: &[u64], then: &[u64], expected: bool) {
        let memory = Memory::default();
        assert_eq!(memory.at_home("token", 100, "first", first, 0), Ok(()));
        assert_eq!(memory.at_home("token", 100, "then", then, 0).is_ok(), expected, "{first:?} {then:?}");
        assert_eq!(memory.at_home("another", 100, "then", then, 0), Ok(()));
    }

    #[test]
    fn a_token_belongs_to_the_job_it_was_seen_in_first() {
        check(&[7, 1], &[7, 1], true);
        check(&[7, 1], &[9, 7, 1], true);
        check(&[9, 7, 1], &[7, 1], true);
        check(&[1], &[1], true);
        check(&[1], &[7, 1], false);
        check(&[7, 1], &[1], false);
        check(&[7, 1], &[8, 1], false);
        check(&[9, 7, 1], &[10, 7, 1], false);
    }

    #[test]
    fn a_token_that_was_taken_back_is_refused() {
        use sha2::{Digest, Sha256};
        let memory = Memory::default();
        memory.revoke("token", 100, 0);
        assert!(memory.is_revoked(&Sha256::digest("token").into()));
        assert!(!memory.is_revoked(&Sha256::digest("other").into()));
    }
}
