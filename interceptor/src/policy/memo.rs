//! What has been decided before.
//!
//! Cedar evaluates every policy for every request, tens of microseconds each. What policies say that read nothing of the
//! context depends on the agent, the action, the object and the catalogue snapshot alone, and is remembered; where no
//! policy of the set reads the context, so is the answer for a whole statement.

use super::decide::Granted;
use super::verdict::Verdict;
use crate::sql::{Access, Object};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries that are kept at most of each kind; a full table starts anew.
const MOST: usize = 65_536;

/// Who and when: the agent as its token describes it, and the snapshot.
pub(super) type Who = (u64, u64);

/// What is remembered under one policy set; a new set starts with nothing.
#[derive(Debug, Default)]
pub(super) struct Memo {
    verdicts: Table<(Who, Access, Object), Arc<Verdict>>,
    statements: Table<(Who, u64, usize), Arc<Granted>>,
    sees_all: Table<Who, bool>,
}

#[derive(Debug)]
struct Table<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Table<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: K, value: V) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MOST {
            table.clear();
        }
        table.insert(key, value);
    }
}

impl Memo {
    pub(super) fn verdict(&self, who: Who, access: Access, object: &Object) -> Option<Arc<Verdict>> {
        self.verdicts.get(&(who, access, object.clone()))
    }

    pub(super) fn keep_verdict(&self, who: Who, access: Access, object: &Object, verdict: &Arc<Verdict>) {
        self.verdicts.put((who, access, object.clone()), verdict.clone());
    }

    /// The permit of a statement by the number of its reading and its place in the text.
    pub(super) fn statement(&self, who: Who, reading: u64, at: usize) -> Option<Arc<Granted>> {
        self.statements.get(&(who, reading, at))
    }

    pub(super) fn keep_statement(&self, who: Who, reading: u64, at: usize, granted: &Arc<Granted>) {
        self.statements.put((who, reading, at), granted.clone());
    }

    pub(super) fn sees_all(&self, who: Who) -> Option<bool> {
        self.sees_all.get(&who)
    }

    pub(super) fn keep_sees_all(&self, who: Who, sees: bool) {
        self.sees_all.put(who, sees);
    }
}
