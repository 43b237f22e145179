//! What has to be met for a forbid with obligations to be lifted.

use super::annotation::{Detector, Mask, Obligation};
use super::approval::Approval;
use super::budget::{Budget, Counted};
use crate::sql::ColumnRef;
use cedar_policy::PolicyId;
use std::collections::{BTreeMap, BTreeSet};

/// What a permit comes with: every matching obligation, the strictest of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// For each output column what stands in its place, `None` for those that leave as they are.
    pub masks: Vec<Option<MaskedOutput>>,
    /// Every column that is masked for this agent and that the statement has to do with.
    pub masked: BTreeMap<ColumnRef, Mask>,
    /// Whether error messages may quote values of masked columns.
    pub redacts_errors: bool,
    /// Rows that may leave.
    pub max_rows: Option<u64>,
    /// Bytes that may leave.
    pub max_bytes: Option<u64>,
    /// Rows that a write may touch.
    pub max_affected: Option<u64>,
    /// Whether rows that it writes are taken from what may be read: it keeps what others are allowed to read so much of.
    pub keeps_rows: bool,
    /// Seconds that it may take.
    pub timeout: Option<u64>,
    /// How many of which groups have to say yes before it runs.
    pub approvals: BTreeMap<String, u32>,
    /// Whether one of the policies that ask for it wants somebody else than who asks.
    pub four_eyes: bool,
    /// Whether they see what it changes before they say so.
    pub preview: bool,
    /// What is looked for in all columns that are not masked.
    pub detect: BTreeSet<Detector>,
    /// What it shares with other statements.
    pub budgets: BTreeSet<Budget>,
    /// What else goes on record.
    pub records: Records,
    /// All of them as policies spell them, for the record.
    pub shown: BTreeSet<String>,
}

/// What goes on record besides the statement (`@audit`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Records {
    /// The values of its parameters.
    pub binds: bool,
    /// The rows that left, masked as they left.
    pub results: bool,
}

impl Records {
    /// Both.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self { binds: self.binds || others.binds, results: self.results || others.results }
    }

    /// As policies spell it.
    pub(super) fn show(self) -> impl Iterator<Item = String> {
        let named = [(self.binds, "binds"), (self.results, "results")];
        named.into_iter().filter(|(is, _)| *is).map(|(_, name)| format!("audit({name})"))
    }
}

/// What stands in the place of an output column, or of a field of a row there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaskedOutput {
    /// A value made from the one that the server sent.
    Value {
        /// How.
        mask: Mask,
        /// The same for the same column: columns move by different amounts.
        salt: u64,
    },
    /// A row, of which some fields are masked.
    Row(Vec<RowField>),
}

/// A field of a row that has a masked one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowField {
    /// Its type, which a row in text does not say; 0 where that is not known.
    pub type_oid: u32,
    /// What stands in its place, `None` if it leaves as it is.
    pub mask: Option<MaskedOutput>,
}

impl MaskedOutput {
    /// As explanations show it: a mask's name, or those of a row's fields.
    pub fn show(&self) -> String {
        match self {
            Self::Value { mask, salt: _ } => mask.name().to_owned(),
            Self::Row(fields) => {
                let field = |field: &RowField| field.mask.as_ref().map_or_else(|| "-".to_owned(), Self::show);
                format!("({})", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Orders {
    /// Adds an obligation of a policy.
    pub(super) fn add(&mut self, policy: &PolicyId, obligation: &Obligation) {
        let least = |known: &mut Option<u64>, most: u64| *known = Some(known.map_or(most, |known| known.min(most)));
        match obligation {
            Obligation::MaxRows(most) => least(&mut self.max_rows, *most),
            Obligation::MaxBytes(most) => least(&mut self.max_bytes, *most),
            Obligation::MaxAffected(most) => least(&mut self.max_affected, *most),
            Obligation::Timeout(seconds) => least(&mut self.timeout, *seconds),
            // Met column by column, not here.
            Obligation::Mask(_) => {}
            Obligation::Detect(kinds) => self.detect.extend(kinds),
            Obligation::Allowance(allowance) => {
                let policy: &str = policy.as_ref();
                self.budgets.insert(Budget { policy: policy.into(), allowance: *allowance });
            }
            Obligation::Preview => self.preview = true,
            Obligation::Approve(Approval { group, voices, own }) => {
                self.four_eyes |= !own;
                let most = self.approvals.entry(group.clone()).or_default();
                *most = (*most).max(*voices);
            }
        }
        self.shown.insert(obligation.show());
    }

    /// Both together: the least of each limit.
    pub fn with(&self, others: &Self) -> Self {
        let least = |mine: Option<u64>, theirs: Option<u64>| mine.into_iter().chain(theirs).min();
        Self {
            masks: self.masks.clone(),
            masked: self.masked.clone(),
            redacts_errors: self.redacts_errors || others.redacts_errors,
            max_rows: least(self.max_rows, others.max_rows),
            max_bytes: least(self.max_bytes, others.max_bytes),
            max_affected: least(self.max_affected, others.max_affected),
            keeps_rows: self.keeps_rows || others.keeps_rows,
            timeout: least(self.timeout, others.timeout),
            approvals: self.approvals.clone(),
            four_eyes: self.four_eyes,
            preview: self.preview,
            detect: self.detect.union(&others.detect).copied().collect(),
            budgets: self.budgets.union(&others.budgets).cloned().collect(),
            records: self.records.and(others.records),
            shown: self.shown.union(&others.shown).cloned().collect(),
        }
    }

    /// Whether a limit may end a statement that has run already.
    pub fn is_limited(&self) -> bool {
        self.limits_result() || self.limits_effect()
    }

    /// Whether rows have to be looked into: an output column is masked, something is looked for in all of them, or they are
    /// put on record.
    pub fn looks_into_rows(&self) -> bool {
        self.records.results || !self.detect.is_empty() || self.masks.iter().any(Option::is_some)
    }

    /// Whether rows have to be counted or weighed.
    pub fn limits_result(&self) -> bool {
        self.max_rows.is_some() || self.max_bytes.is_some() || self.counts(&[Counted::Rows, Counted::Bytes])
    }

    /// Whether the rows that a write touches have to be counted.
    pub fn limits_effect(&self) -> bool {
        self.max_affected.is_some()
            || self.counts(&[Counted::Affected])
            || (self.keeps_rows && self.counts(&[Counted::Rows]))
    }

    fn counts(&self, what: &[Counted]) -> bool {
        self.budgets.iter().any(|budget| what.contains(&budget.allowance.counted))
    }

    /// Whether nothing has to be met.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
