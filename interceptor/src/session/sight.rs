//! Rows that a tried statement has changed, and what a reviewer may see of them: what a SELECT of theirs would show.

use crate::approval::{Approver, Sight, Table};
use crate::identity::Identity;
use crate::mask::{self, Key};
use crate::policy::{Circumstances, Mode, Orders, PolicySet, Principal};
use crate::sql::{self, Catalog, Relation, quoted};
use crate::wire::{Described, values_of_row};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Rows of a relation that are shown, of each kind.
const MOST_SHOWN: usize = 20;
/// Characters of a value that are shown.
const LONGEST: usize = 200;

/// All rows that were looked at, with what decides who sees them.
pub struct Sample {
    /// The policies.
    pub policies: Arc<PolicySet>,
    /// The catalogue.
    pub catalog: Arc<Catalog>,
    /// What hides values.
    pub key: Arc<Key>,
    /// What surrounds whoever looks.
    pub around: Circumstances,
    /// The rows.
    pub taken: Vec<Taken>,
}

/// Rows of one relation, as DataRow bodies in text.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Whose.
    pub relation: Arc<Relation>,
    /// Its columns as the server described them.
    pub shape: Vec<Described>,
    /// As they were.
    pub before: Vec<Bytes>,
    /// As they would be.
    pub after: Vec<Bytes>,
    /// How many of each were found.
    pub counts: (u64, u64),
    /// Why some are missing.
    pub missing: Option<String>,
}

impl Taken {
    /// What asks for a row's values in the order of the catalogue's columns.
    pub fn columns(relation: &Relation) -> String {
        let column = |column: &sql::Column| format!("t.{}", always_quoted(&column.name));
        relation.columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    /// The relation and nothing under it, by a name that means nothing else.
    pub fn place(relation: &Relation) -> String {
        format!("ONLY {}.{} AS t", always_quoted(&relation.id.schema), always_quoted(&relation.id.name))
    }
}

/// Quoted whether it needs it or not: keywords differ between versions.
fn always_quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Sight for Sample {
    fn tables(&self, reviewer: Option<&Approver>) -> Vec<Table> {
        let principal = Principal::new(Arc::new(identity(reviewer)));
        let nobody = reviewer.is_none();
        self.taken.iter().map(|taken| self.table(taken, &principal, nobody)).collect()
    }
}

impl Sample {
    fn table(&self, taken: &Taken, principal: &Principal, nobody: bool) -> Table {
        let relation = &taken.relation;
        let names: Vec<_> = relation.columns.iter().map(|column| column.name.to_string()).collect();
        let mut table = Table {
            relation: format!("{}.{}", quoted(&relation.id.schema), quoted(&relation.id.name)),
            columns: names,
            counts: taken.counts,
            hidden: taken.missing.clone(),
            ..Table::default()
        };
        let whole = self.orders(principal, relation, None);
        let hide = |table: &mut Table, what: &str| {
            let who = if nobody { "somebody in no group" } else { "you" };
            table.hidden.get_or_insert_with(|| format!("{what} {who} may not read, by the policies"));
        };
        let (orders, shown) = match whole {
            Some(orders) => (orders, vec![true; relation.columns.len()]),
            None => {
                // Column by column; what may not be read by itself is not shown.
                let mut all = Orders::default();
                let mut shown = Vec::new();
                for column in &relation.columns {
                    let orders = self.orders(principal, relation, Some(&column.name));
                    shown.push(orders.is_some());
                    let mut orders = orders.unwrap_or_default();
                    all.detect.append(&mut orders.detect);
                    all.masks.push(orders.masks.into_iter().next().flatten());
                }
                (all, shown)
            }
        };
        if shown.iter().all(|shown| !shown) {
            hide(&mut table, "rows that");
            return table;
        }
        if shown.iter().any(|shown| !shown) {
            hide(&mut table, "columns that");
        }
        let row = |body: &Bytes| self.row(&orders, &taken.shape, &shown, body);
        table.before = taken.before.iter().take(MOST_SHOWN).filter_map(row).collect();
        table.after = taken.after.iter().take(MOST_SHOWN).filter_map(row).collect();
        table
    }

    /// What a SELECT of the reviewer's own has to put up with; `None` where they may not.
    fn orders(&self, principal: &Principal, relation: &Relation, column: Option<&str>) -> Option<Orders> {
        let columns = match column {
            Some(column) => format!("t.{}", always_quoted(column)),
            None => Taken::columns(relation),
        };
        let text = format!("SELECT {columns} FROM {}", Taken::place(relation));
        let analysis = sql::analyse(&text, &self.catalog, &sql::Nobody).ok()?;
        let permit = self.policies.decide(principal, &analysis, &self.catalog, &self.around, Mode::Enforce).ok()?;
        let [granted] = permit.statements() else { return None };
        // What they would have to ask for they have not asked for.
        granted.orders().approvals.is_empty().then(|| Orders::clone(granted.orders()))
    }

    /// A row that cannot be masked is not shown.
    fn row(&self, orders: &Orders, shape: &[Described], shown: &[bool], body: &Bytes) -> Option<Vec<Option<String>>> {
        let mut masked = BytesMut::new();
        mask::row(orders, shape, &self.key, body, &mut masked).ok()?;
        let values = values_of_row(masked.get(5..)?)?;
        let value = |(value, shown): (Option<&[u8]>, &bool)| match value {
            _ if !shown => Some("[not shown]".to_owned()),
            Some(value) => Some(cut(&String::from_utf8_lossy(value))),
            None => None,
        };
        Some(values.into_iter().zip(shown).map(value).collect())
    }
}

fn cut(value: &str) -> String {
    let count = value.chars().count();
    if count <= LONGEST {
        return value.to_owned();
    }
    let beginning: String = value.chars().take(LONGEST).collect();
    format!("{beginning} [cut: {count} characters in all]")
}

/// Whoever looks, as policies know them; in no group where nobody is known.
fn identity(reviewer: Option<&Approver>) -> Identity {
    match reviewer {
        Some(Approver::Person { subject, issuer, groups, on_behalf_of }) => Identity {
            subject: subject.clone(),
            issuer: issuer.clone(),
            groups: groups.iter().cloned().collect(),
            on_behalf_of: on_behalf_of.clone(),
            expires: u64::MAX,
            ..Identity::default()
        },
        Some(Approver::LocalRoot { .. }) | None => {
            Identity { subject: "somebody".to_owned(), expires: u64::MAX, ..Identity::default() }
        }
    }
}
