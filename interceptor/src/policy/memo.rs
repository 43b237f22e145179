//! Permits that have been given before.
//!
//! Cedar evaluates every policy for every request, tens of microseconds each. Where no policy of a set reads the context, a
//! decision depends on the agent, the action, the object and the catalogue snapshot alone. Only what passed is remembered:
//! refusals are rare and carry more to say.

use crate::identity::Identity;
use crate::sql::{Catalog, Use};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Permits that are kept at most.
const MOST: usize = 65_536;

/// Who and when: the agent as its token describes it, and the snapshot.
type Key = (u64, u64);

/// The policies that let something pass.
pub(super) type Policies = Arc<BTreeSet<String>>;

/// What has passed under one policy set; a new set starts with nothing.
#[derive(Debug, Default)]
pub(super) struct Memo {
    passed: Mutex<HashMap<Key, HashMap<Use, Policies>>>,
}

impl Memo {
    /// The policies that let all of these pass; `None` if one of them has not been asked before.
    pub(super) fn all<'u>(
        &self,
        identity: &Identity,
        catalog: &Catalog,
        uses: impl IntoIterator<Item = &'u Use>,
    ) -> Option<BTreeSet<String>> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = passed.get(&(identity.fingerprint(), catalog.id()))?;
        let mut policies = BTreeSet::new();
        for asked in uses {
            policies.extend(known.get(asked)?.iter().cloned());
        }
        Some(policies)
    }

    /// Remembers what has passed.
    pub(super) fn remember(&self, identity: &Identity, catalog: &Catalog, asked: &Use, policies: &BTreeSet<String>) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.values().map(HashMap::len).sum::<usize>() >= MOST {
            passed.clear();
        }
        let known = passed.entry((identity.fingerprint(), catalog.id())).or_default();
        known.insert(asked.clone(), Arc::new(policies.clone()));
    }
}
