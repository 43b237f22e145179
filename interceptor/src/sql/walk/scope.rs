//! What a name means: the entries of FROM in the scopes around an expression (`parse_relation.c`, `parse_expr.c`).

use super::Walk;
use crate::sql::catalog::{Relation, RelationKind};
use crate::sql::facts::{Access, Missing, Object};
use crate::sql::lineage::{Field, Value};
use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, ColumnRef};
use std::rc::Rc;
use std::sync::Arc;

/// One scope: a query's FROM, a write's target.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub(super) entries: Vec<Entry>,
    /// What `*` stands for, in order.
    pub(super) star: Vec<Field>,
}

/// Something that columns can be taken from.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// The alias, or the relation's own name.
    pub(super) name: Option<Rc<str>>,
    /// The schema, while no alias hides it.
    pub(super) schema: Option<Rc<str>>,
    pub(super) fields: Vec<Field>,
    /// Whether rows have the columns that the system keeps (`ctid`, `xmin`...).
    pub(super) is_stored: bool,
    /// Columns that a JOIN has merged: they stand for those of both sides, and are found first.
    pub(super) merged: bool,
    /// Names that cannot be resolved otherwise may be in here: an unknown row, a table that is only being made.
    pub(super) is_open: bool,
}

/// What a name may mean.
struct Found {
    /// Columns of that name.
    sure: Option<Value>,
    /// Columns of unknown names.
    perhaps: Option<Value>,
}

/// Columns that every stored row has (5.6 "System Columns"); none of them holds a value that somebody put there.
const SYSTEM: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

impl Entry {
    /// The fields that a name may mean.
    fn named<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Field> {
        self.fields.iter().filter(move |field| field.name.as_deref() == Some(name))
    }

    fn unnamed(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.name.is_none())
    }

    /// Gives the entry and its first columns other names.
    pub(super) fn renamed(mut self, alias: &Option<Alias>) -> Self {
        if let Some(Alias { aliasname, colnames }) = alias {
            self.name = Some(aliasname.as_str().into());
            self.schema = None;
            rename(&mut self.fields, &super::strings(colnames));
        }
        self
    }
}

/// Names columns from the left. What stands behind one of unknown width is not known to be where it seems.
pub(super) fn rename(fields: &mut Vec<Field>, names: &[&str]) {
    let mut names = names.iter();
    let many = fields.iter().position(|field| field.many).unwrap_or(fields.len());
    for (field, name) in fields.iter_mut().take(many).zip(names.by_ref()) {
        field.name = Some((*name).into());
    }
    if many < fields.len() && names.len() > 0 {
        let rest = names.map(|name| Field::new(name, Value::default())).collect::<Vec<_>>();
        let hidden = fields.split_off(many);
        let all = hidden.into_iter().fold(Value::default(), |all, field| all.or(field.value));
        let named = rest.into_iter().map(|field| Field { value: all.clone(), ..field });
        fields.extend(named);
        fields.push(Field::many(all));
    }
}

impl Walk<'_> {
    /// Runs `visit` in a scope of its own.
    pub(super) fn scoped<T>(&mut self, visit: impl FnOnce(&mut Self) -> T) -> T {
        self.levels.push(Level::default());
        let result = visit(self);
        self.levels.pop();
        result
    }

    /// Runs `visit` as if the innermost scope were not there: a sub-query in FROM that is not LATERAL.
    pub(super) fn outside<T>(&mut self, visit: impl FnOnce(&mut Self) -> T) -> T {
        let hidden = self.levels.pop();
        let result = visit(self);
        self.levels.extend(hidden);
        result
    }

    /// Brings something into the innermost scope that `*` stands for as well.
    pub(super) fn enter_shown(&mut self, mut entry: Entry) {
        if !self.open.affords(entry.fields.len()) {
            entry.fields.clear();
        }
        if let Some(level) = self.levels.last_mut() {
            level.star.extend(entry.fields.iter().cloned());
            level.entries.push(entry);
        }
    }

    /// Brings something into the innermost scope, to be found by its name.
    pub(super) fn enter(&mut self, entry: Entry) {
        if let Some(level) = self.levels.last_mut() {
            level.entries.push(entry);
        }
    }

    /// A relation with its columns.
    pub(super) fn entry(&mut self, relation: &Arc<Relation>, schema: &str) -> Entry {
        let place = self.meet(relation);
        let fields = relation.columns.iter().zip(0..);
        let fields = fields.map(|(column, at)| Field::new(&column.name, Value::column((place, at))));
        Entry {
            name: Some((&*relation.id.name).into()),
            schema: Some(if schema.is_empty() { &*relation.id.schema } else { schema }.into()),
            fields: fields.collect(),
            // A view's rows are not stored.
            is_stored: matches!(
                relation.kind,
                RelationKind::Table
                    | RelationKind::PartitionedTable
                    | RelationKind::MaterializedView
                    | RelationKind::ForeignTable
            ),
            ..Entry::default()
        }
    }

    /// A name in an expression.
    pub(super) fn column(&mut self, column: &ColumnRef) -> Value {
        let ColumnRef { fields, location: _ } = column;
        let names = super::strings(fields);
        let whole_row = matches!(fields.last().and_then(|node| node.node.as_ref()), Some(NodeEnum::AStar(_)));
        let value = match (names.as_slice(), whole_row) {
            ([name], false) => self.unqualified(name),
            ([qualifier @ .., name], false) => self.dotted(qualifier, name),
            // `t.*` as a value is the row.
            (qualifier, true) if !qualifier.is_empty() => {
                let fields = self.star(qualifier);
                Value::of_row(fields)
            }
            _ => {
                let fields = self.star(&[]);
                Value::of_row(fields)
            }
        };
        // What a definition makes of it stays: as a value, as a row that is there or not, as a statistic.
        if self.is_defining() {
            self.store(&value);
        }
        value
    }

    fn unqualified(&mut self, name: &str) -> Value {
        let Found { sure, perhaps } = self.look_up(name);
        if let Some(sure) = sure {
            return sure;
        }
        // Not a column for sure: whatever else it may be counts, and a column of a name that is not known as well.
        let row = self.entry_named(&[name]).map(|entry| Value::of_row(entry.fields));
        let is_stored = |level: &Level| level.entries.iter().any(|entry| entry.is_stored);
        let system = (SYSTEM.contains(&name) && self.levels.iter().any(is_stored)).then(Value::default);
        let meanings = [perhaps, row, system].into_iter().flatten();
        match meanings.reduce(Value::or) {
            Some(value) => value,
            None => self.unresolved(name.to_owned()),
        }
    }

    /// A column in sight, or what may be one.
    pub(super) fn find(&self, name: &str) -> Option<Value> {
        let Found { sure, perhaps } = self.look_up(name);
        sure.or(perhaps)
    }

    /// The innermost scope that has a column of the name is the one that counts; on the way there, columns whose names are
    /// not known may be it.
    fn look_up(&self, name: &str) -> Found {
        let mut perhaps: Option<Value> = None;
        for level in self.levels.iter().rev() {
            if !self.open.affords(level.entries.iter().map(|entry| entry.fields.len()).sum()) {
                return Found { sure: Some(Value::default()), perhaps: None };
            }
            let mut merged = level.entries.iter().rev().filter(|entry| entry.merged);
            let sure = match merged.find_map(|entry| entry.named(name).next()) {
                Some(field) => Some(field.value.clone()),
                None => {
                    let named = level.entries.iter().flat_map(|entry| entry.named(name));
                    named.map(|field| field.value.clone()).reduce(Value::or)
                }
            };
            if let Some(sure) = sure {
                let sure = perhaps.map_or(sure.clone(), |perhaps| perhaps.or(sure));
                return Found { sure: Some(sure), perhaps: None };
            }
            for field in level.entries.iter().flat_map(Entry::unnamed) {
                // One of several columns, or one of unknown width: which, nobody knows.
                let value = field.value.clone();
                perhaps = Some(perhaps.map_or(value.clone(), |perhaps| perhaps.or(value)));
            }
        }
        Found { sure: None, perhaps }
    }

    /// Whether something in sight goes by a name.
    pub(super) fn is_entry(&self, name: &str) -> bool {
        self.entry_named(&[name]).is_some()
    }

    /// The entry of a name, the innermost one: `t`, `s.t`, `d.s.t`.
    fn entry_named(&self, qualifier: &[&str]) -> Option<Entry> {
        let is_meant = |entry: &&Entry| match qualifier {
            [name] => entry.name.as_deref() == Some(*name),
            [schema, name] => entry.name.as_deref() == Some(*name) && entry.schema.as_deref() == Some(*schema),
            [database, schema, name] => {
                **database == *self.catalog.database
                    && entry.name.as_deref() == Some(*name)
                    && entry.schema.as_deref() == Some(*schema)
            }
            _ => false,
        };
        let found = self.levels.iter().rev().find_map(|level| level.entries.iter().rev().find(is_meant))?;
        self.open.affords(found.fields.len()).then(|| found.clone())
    }

    fn dotted(&mut self, qualifier: &[&str], name: &str) -> Value {
        let Some(entry) = self.entry_named(qualifier) else {
            if self.has_variables || self.is_defining() {
                return Value::default();
            }
            self.missing(Missing::Relation(qualifier.join(".")));
            return Value::default();
        };
        let found = entry.named(name).map(|field| field.value.clone()).reduce(Value::or);
        if let Some(value) = found {
            return value;
        }
        let perhaps = entry.unnamed().map(|field| field.value.clone()).reduce(Value::or);
        if SYSTEM.contains(&name) && entry.is_stored {
            return perhaps.unwrap_or_default();
        }
        // `row.name` is another spelling of `name(row)` where no column is called so (4.2.6 "Field Selection").
        let functions: Vec<_> = self.catalog.functions("", name).into_iter().cloned().collect();
        if !functions.is_empty() {
            for function in &functions {
                self.call_function(function);
            }
            let row = Value::of_row(entry.fields);
            return self.derive([row]);
        }
        match perhaps {
            Some(value) => value,
            None if entry.is_open => Value::default(),
            None => self.unresolved(format!("{}.{name}", qualifier.join("."))),
        }
    }

    /// All columns of an entry, or of everything in the innermost scope.
    pub(super) fn star(&mut self, qualifier: &[&str]) -> Vec<Field> {
        if qualifier.is_empty() {
            let affords = |level: &&Level| self.open.affords(level.star.len());
            return self.levels.last().filter(affords).map(|level| level.star.clone()).unwrap_or_default();
        }
        match self.entry_named(qualifier) {
            Some(entry) => entry.fields,
            None => {
                if !self.has_variables && !self.is_defining() {
                    self.missing(Missing::Relation(qualifier.join(".")));
                }
                vec![Field::many(Value::default())]
            }
        }
    }

    fn unresolved(&mut self, name: String) -> Value {
        if !self.has_variables && !self.is_defining() {
            self.missing(Missing::Column(name));
        }
        Value::default()
    }

    /// Whether names may be those of something that is only being made.
    fn is_defining(&self) -> bool {
        self.levels.iter().any(|level| level.entries.iter().any(|entry| entry.is_open))
    }

    /// A function is called by whatever spelling.
    pub(super) fn call_function(&mut self, function: &Arc<crate::sql::Function>) {
        if !crate::sql::builtins::is_harmless(&function.schema, &function.name) {
            self.ask(Access::Execute, Object::Function(function.clone()), true);
            self.run_function(function);
        }
        // They make rows of types that the statement need not name.
        if function.name.contains("populate_record") {
            let catalog = self.catalog;
            catalog.code_of_types().for_each(|function| self.run_trigger(function));
        }
    }
}
