//! What records come to: statements by decision over time, how often policies decided, what was denied most, how long people took. Made for each
//! chunk of the index, so that a trail of any size is counted without being read.

use super::terms::Terms;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds that the finest count over time is of.
pub(super) const MINUTE: i64 = 60;
/// Characters of what was denied, in words: an agent can name a thousand tables.
const LONGEST: usize = 200;

/// How often a policy decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// Permitted.
    pub permit: u64,
    /// Denied.
    pub deny: u64,
    /// Held.
    pub hold: u64,
    /// Would have denied, and was only observed.
    pub observed: u64,
}

/// What becomes of a request, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    Asked,
    Decided,
}

/// What some records in a row come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many there are.
    pub records: u64,
    /// Statements that were permitted, denied and held, by minutes since 1970.
    pub minutes: BTreeMap<i64, [u64; 3]>,
    /// How often each decided, connections included.
    pub policies: BTreeMap<String, Fired>,
    /// Statements that were denied, by what they were, in words.
    pub denied: BTreeMap<String, u64>,
    /// What was said to requests, when, and which they are, in order.
    words: Vec<(Word, i64, String)>,
}

impl Counts {
    pub(super) fn add(&mut self, record: &Terms<'_>) {
        self.records += 1;
        let Some(time) = seconds(&record.time) else { return };
        let decision = record.decision.as_deref().unwrap_or_default();
        match &*record.event {
            "statement" => {
                let [permit, deny, hold] = self.minutes.entry(time.div_euclid(MINUTE)).or_default();
                *match decision {
                    "permit" => permit,
                    "deny" => deny,
                    _ => hold,
                } += 1;
                if decision == "deny" {
                    *self.denied.entry(what(record)).or_default() += 1;
                }
                self.add_policies(record, decision);
            }
            "connect" => self.add_policies(record, decision),
            "approval" => {
                let statement = record.statement.as_deref().unwrap_or_default();
                let mut words = statement.split([' ', ':', ',']).filter(|word| !word.is_empty());
                let word = match words.next() {
                    Some("asked") => Word::Asked,
                    Some("approved" | "denied") => Word::Decided,
                    _ => return,
                };
                self.words.extend(words.nth(1).map(|id| (word, time, id.to_owned())));
            }
            _ => {}
        }
    }

    fn add_policies(&mut self, record: &Terms<'_>, decision: &str) {
        for policy in &record.policies {
            let (policy, observed) = match policy.strip_suffix(" (observed)") {
                Some(policy) => (policy, true),
                None => (policy.as_str(), false),
            };
            let fired = self.policies.entry(policy.to_owned()).or_default();
            *match (observed, decision) {
                (true, _) => &mut fired.observed,
                (false, "permit") => &mut fired.permit,
                (false, "deny") => &mut fired.deny,
                (false, _) => &mut fired.hold,
            } += 1;
        }
    }

    /// Adds those of records that come behind.
    pub(super) fn append(&mut self, more: Self) {
        let Self { records, minutes, policies, denied, words } = more;
        self.records += records;
        for (minute, counts) in minutes {
            let known = self.minutes.entry(minute).or_default();
            known.iter_mut().zip(counts).for_each(|(known, count)| *known += count);
        }
        for (policy, Fired { permit, deny, hold, observed }) in policies {
            let known = self.policies.entry(policy).or_default();
            known.permit += permit;
            known.deny += deny;
            known.hold += hold;
            known.observed += observed;
        }
        for (what, count) in denied {
            *self.denied.entry(what).or_default() += count;
        }
        self.words.extend(words);
    }

    /// Seconds from asking to the word, one for each request that was asked for and decided among these records.
    pub fn waits(&self) -> Vec<i64> {
        let (mut asked, mut waits) = (HashMap::new(), Vec::new());
        for (word, time, id) in &self.words {
            match word {
                Word::Asked => drop(asked.insert(id.as_str(), *time)),
                Word::Decided => waits.extend(asked.remove(id.as_str()).map(|since| time - since)),
            }
        }
        waits
    }

    pub(super) fn write(&self) -> Vec<u8> {
        // Maps with numbers for names and nothing else that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn read(part: &[u8]) -> Option<Self> {
        serde_json::from_slice(part).ok()
    }
}

/// What a statement was, for people to read.
fn what(record: &Terms<'_>) -> String {
    let relations: Vec<_> = record.relations.iter().map(|used| used.relation.as_str()).collect();
    let whole = match (record.verbs.is_empty(), relations.is_empty()) {
        (true, true) => "what cannot be read".to_owned(),
        (_, true) => record.verbs.join(", "),
        (_, false) => format!("{} on {}", record.verbs.join(", "), relations.join(", ")),
    };
    match whole.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", whole.get(..at).unwrap_or_default()),
        None => whole,
    }
}

/// Since 1970.
pub(super) fn seconds(time: &str) -> Option<i64> {
    OffsetDateTime::parse(time, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}
