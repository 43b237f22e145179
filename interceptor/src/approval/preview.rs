//! What a statement would change, as reviewers see it: it was run in a transaction that waits for their word, or that has
//! been rolled back since.

use super::approver::Approver;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What was found out about a statement before anybody was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// What it did; `None` where it was not tried, and the notes say why.
    pub effect: Option<Effect>,
    /// What is not shown, and why.
    pub notes: Vec<String>,
    /// A sample of the rows, masked for whoever looks.
    pub tables: Vec<Table>,
}

/// What a statement did when it was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The rows that its command tag counts; `None` where it failed.
    pub affected: Option<u64>,
    /// How it failed.
    pub error: Option<String>,
    /// SHA-256 over the count and the rows that were seen, in hexadecimal.
    pub digest: String,
    /// Whether those were all rows.
    pub whole: bool,
}

/// Rows of one relation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name, with its schema.
    pub relation: String,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// Rows as they were, values as text, `None` for NULL.
    pub before: Vec<Vec<Option<String>>>,
    /// Rows as they would be.
    pub after: Vec<Vec<Option<String>>>,
    /// How many there are of each, as far as they were counted.
    pub counts: (u64, u64),
    /// Why its rows, or some of its columns, are not shown.
    pub hidden: Option<String>,
}

impl Preview {
    /// Of a statement that was not tried.
    pub fn none(why: impl Into<String>) -> Self {
        Self { notes: vec![format!("its effect was not tried: {}", why.into())], ..Self::default() }
    }

    /// In a few words, for the record and for lists.
    pub fn summary(&self) -> String {
        match &self.effect {
            None => self.notes.first().cloned().unwrap_or_else(|| "its effect was not tried".to_owned()),
            Some(Effect { error: Some(error), .. }) => format!("tried, it fails: {error}"),
            Some(Effect { affected, digest, whole, .. }) => {
                let rows = match affected {
                    Some(1) => "1 row".to_owned(),
                    Some(rows) => format!("{rows} rows"),
                    None => "an unknown number of rows".to_owned(),
                };
                let of = if *whole { "" } else { " of what was seen" };
                format!("tried, it changes {rows} (sha256{of} {digest})")
            }
        }
    }
}

/// Rows that were seen, and what somebody may see of them.
pub trait Sight: Send + Sync {
    /// The sample as a reviewer may see it; without one as somebody in no group may.
    fn tables(&self, reviewer: Option<&Approver>) -> Vec<Table>;
}

/// The rows themselves, while the request is open; in nobody's JSON.
#[derive(Clone, Default)]
pub struct Seen(pub Option<Arc<dyn Sight>>);

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Seen(rows)" } else { "Seen(nothing)" })
    }
}

/// Not part of what a request says.
impl PartialEq for Seen {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}
