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
