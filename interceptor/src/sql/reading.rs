//! What SQL that the database holds does when it runs: the query of a view, the body of a function.

use super::facts::{ColumnRef, Use};
use super::lineage::Handling;
use std::collections::{BTreeMap, BTreeSet};

/// The reading of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// What it asks for, none of it named by whoever runs it.
    pub(super) uses: BTreeSet<Use>,
    /// What it does with columns.
    pub(super) columns: BTreeMap<ColumnRef, Handling>,
    /// What its result is made of, column by column.
    pub(super) outputs: Vec<Origin>,
    /// Why it cannot be seen through, if it cannot: it may do anything.
    pub(super) unseen: Option<String>,
    /// For a trigger's function: columns of the row it runs for that it does something with.
    pub(super) row: RowUse,
    /// Whether it leaves the session another one: its search path, its settings, its prepared statements and cursors.
    pub(super) changes_session: bool,
}

/// Where the values of an output column come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// Columns that stand in it as they are.
    pub(super) whole: BTreeSet<ColumnRef>,
    /// Whether something else may stand in their place.
    pub(super) mixed: bool,
    /// Columns that it is computed from.
    pub(super) derived: BTreeSet<ColumnRef>,
}

/// What a trigger's function uses of the row that it runs for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RowUse {
    /// These columns.
    pub(super) columns: BTreeSet<String>,
    /// All of them.
    pub(super) all: bool,
}

impl RowUse {
    /// Adds what a piece of SQL says of `new` and `old`. A row that is only handed on (`RETURN NEW`) is not used.
    pub(super) fn note(&mut self, text: &str) {
        if ["new", "old", "null"].iter().any(|row| text.trim().eq_ignore_ascii_case(row)) {
            return;
        }
        let Some(words) = words(text) else {
            self.all = true;
            return;
        };
        for (at, word) in words.iter().enumerate() {
            if !matches!(word.as_str(), "new" | "old") {
                continue;
            }
            match (words.get(at + 1).map(String::as_str), words.get(at + 2)) {
                (Some("."), Some(column)) if column != "*" => drop(self.columns.insert(column.clone())),
                _ => self.all = true,
            }
        }
    }
}

/// Longest name that the server keeps whole, in bytes (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

/// The tokens of a text without its comments, names as the server knows them; `None` if it cannot be taken apart.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let mut words = Vec::with_capacity(tokens.len());
    for token in tokens.iter() {
        let token = text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)?;
        if token.starts_with("--") || token.starts_with("/*") {
            continue;
        }
        let mut word = match token.strip_prefix('"').and_then(|inside| inside.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            // Escapes may spell any name.
            None if token.starts_with("U&\"") || token.starts_with("u&\"") => return None,
            None => token.to_ascii_lowercase(),
        };
        let whole = (0..=LONGEST_NAME.min(word.len())).rev().find(|end| word.is_char_boundary(*end));
        word.truncate(whole.unwrap_or_default());
        words.push(word);
    }
    Some(words)
}
