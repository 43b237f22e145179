//! Takes PostgreSQL's own tree apart, every node of it, into facts.
//!
//! INVARIANT: there is one arm for what is not recognised, in [`Walk::node`] and in [`Walk::statement`], and it makes the
//! statement opaque. Structs are taken apart without `..` where they hold nodes, so that a field which a newer grammar
//! adds stops the build instead of going unseen.
//!
//! Every expression gives a [`Value`]: the columns that stand in it as they are and those that it was computed from.
//! Names are resolved in the scopes that PostgreSQL would look in (`scope`). Where more than one thing may be meant, all
//! of them are: the walk may see more columns than the server, never fewer.

mod body;
mod condition;
mod ddl;
mod expression;
mod function;
mod query;
mod reach;
mod scope;
mod settings;
mod statement;
mod touched;
mod write;

use super::builtins;
use super::catalog::{Catalog, Relation, RelationKind};
use super::facts::{Access, Analysis, Effect, Flag, Missing, Object, Opaque, Place, Statement, Use};
use super::lineage::{ColumnId, ColumnSet, Field, Handling, Value};
use super::reading::Origin;
use super::temporary::{TEMPORARY, is_temporary};
use super::{Session, names};
use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ParseResult, RangeVar};
use scope::Level;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How deep prepared statements may name each other, and definitions in the database.
const MOST_NESTING: usize = 32;

/// The statement has to be read again, on a deep stack.
#[derive(Debug)]
pub(super) struct NeedsDepth;

/// Walks all statements of a text.
///
/// # Errors
/// [`NeedsDepth`] where a prepared text has to be read that an ordinary stack may not hold.
pub(super) fn walk(
    text: &str,
    tree: &ParseResult,
    catalog: &Catalog,
    session: &dyn Session,
) -> Result<Analysis, NeedsDepth> {
    let (mut created, mut touched) = (HashSet::new(), Touched::default());
    let mut seen = catalog.clone();
    let statements = tree.stmts.iter().map(|raw| {
        let start = usize::try_from(raw.stmt_location).unwrap_or(0).min(text.len());
        // A length of zero means "to the end".
        let end = match usize::try_from(raw.stmt_len) {
            Ok(length) if length > 0 => (start + length).min(text.len()),
            _ => text.len(),
        };
        let mut walk = Walk::new(&seen, session, &mut created, &mut touched, 0);
        walk.source = text.get(start..end);
        walk.boxed(&raw.stmt, Walk::statement);
        if walk.needs_depth {
            return Err(NeedsDepth);
        }
        if let Some(
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_),
        ) = raw.stmt.as_ref().and_then(|node| node.node.as_ref())
        {
            walk.flag(Flag::Ordinary);
        }
        let statement = walk.finish(start..end);
        // What follows in the same text is looked up under the new path.
        match &statement.effect {
            Effect::SearchPath { path, .. } => seen = catalog.under(path.as_deref()),
            Effect::ResetAll | Effect::DiscardAll => seen = catalog.under(None),
            _ => {}
        }
        Ok(statement)
    });
    Ok(Analysis { statements: statements.collect::<Result<_, _>>()?, shape: None, id: 0 })
}

/// The columns that a column rests on: those under a view's, those of parents and partitions, those that a generated one
/// is computed from.
pub fn bases(catalog: &Catalog, column: &super::ColumnRef) -> Vec<super::ColumnRef> {
    let (mut created, mut touched) = (HashSet::new(), Touched::default());
    let mut walk = Walk::new(catalog, &super::Nobody, &mut created, &mut touched, 0);
    let mut all = BTreeMap::new();
    walk.base_columns(column.clone(), super::Standing::Whole, &mut all, 0);
    all.remove(column);
    all.into_keys().collect()
}

struct Walk<'a> {
    catalog: &'a Catalog,
    session: &'a dyn Session,
    /// Relations that earlier statements of the same text create: schema and name.
    created: &'a mut HashSet<(Arc<str>, String)>,
    /// Names of prepared statements and cursors that earlier statements of the same text deal with.
    touched: &'a mut Touched,
    /// What is walked, as it was written; `None` for what stands in something else.
    source: Option<&'a str>,
    /// How many EXECUTEs, views and functions this walk stands under.
    nesting: usize,
    /// How many statements this walk stands in: `EXPLAIN ANALYZE SELECT` are two.
    statements: usize,
    /// Whether a text from elsewhere is too long to be read on an ordinary stack.
    needs_depth: bool,
    /// The definitions that are being read.
    open: body::Open,
    /// Whether names that cannot be resolved may be variables of a function.
    has_variables: bool,
    found: Statement,
    /// Common table expressions in sight, innermost scope last.
    ctes: Vec<query::Cte>,
    /// What names can mean, innermost scope last.
    levels: Vec<Level>,
    /// Relations that have been met; a column is named by its relation's place here.
    relations: Vec<Met>,
    places: HashMap<super::RelationRef, u32>,
    /// What is done with columns.
    handling: BTreeMap<ColumnId, Handling>,
    /// Relations that are written, whose triggers run with that.
    triggered: Vec<Arc<Relation>>,
    /// Whether it names a relation of the session's own.
    uses_temporary: bool,
}

/// A relation that the statement deals with.
struct Met {
    relation: Arc<Relation>,
    /// Whether it stands in FROM.
    is_source: bool,
    /// Whether it is written.
    is_target: bool,
    /// Whether children and partitions come along (no ONLY).
    inherits: bool,
}

/// What a text has done to the session's names so far.
#[derive(Debug, Default)]
struct Touched {
    /// Prepared statements that are made or dropped.
    prepared: HashSet<String>,
    /// Cursors that are declared: what each was made of, and the catalogue as its names were looked up.
    cursors: HashMap<String, (NodeEnum, Catalog)>,
    /// Whether all of them are dropped at once.
    all: bool,
}

impl<'a> Walk<'a> {
    fn new(
        catalog: &'a Catalog,
        session: &'a dyn Session,
        created: &'a mut HashSet<(Arc<str>, String)>,
        touched: &'a mut Touched,
        nesting: usize,
    ) -> Self {
        Self {
            catalog,
            session,
            created,
            touched,
            source: None,
            nesting,
            statements: 0,
            needs_depth: false,
            open: body::Open::default(),
            has_variables: false,
            found: Statement::default(),
            ctes: Vec::new(),
            levels: Vec::new(),
            relations: Vec::new(),
            places: HashMap::new(),
            handling: BTreeMap::new(),
            triggered: Vec::new(),
            uses_temporary: false,
        }
    }

    /// Visits a node where one is given.
    fn boxed<T: Default>(&mut self, node: &Option<Box<Node>>, visit: fn(&mut Self, &NodeEnum) -> T) -> T {
        node.as_ref().map(|node| self.visit(node, visit)).unwrap_or_default()
    }

    fn visit<T: Default>(&mut self, node: &Node, visit: fn(&mut Self, &NodeEnum) -> T) -> T {
        node.node.as_ref().map(|node| visit(self, node)).unwrap_or_default()
    }

    fn opaque(&mut self, why: impl Into<String>) {
        self.found.opaque.get_or_insert(Opaque(why.into()));
    }

    fn missing(&mut self, what: Missing) {
        self.found.missing.get_or_insert(what);
    }

    fn flag(&mut self, flag: Flag) {
        self.found.flags.insert(flag);
    }

    fn ask(&mut self, access: Access, object: Object, named: bool) {
        self.found.uses.insert(Use { access, object, named });
    }

    fn admin(&mut self) {
        self.ask(Access::Admin, Object::Database, true);
    }

    /// Notes what is done with columns.
    fn mark(&mut self, columns: &ColumnSet, how: Handling) {
        for column in columns {
            *self.handling.entry(*column).or_default() |= how;
        }
    }

    /// A value is looked at, and nothing of it goes on.
    fn consume(&mut self, value: &Value) {
        self.mark(&value.everything(), Handling::USED);
    }

    /// A new value is made of others.
    fn derive<V: std::borrow::Borrow<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> Value {
        let mut all = ColumnSet::new();
        for value in values {
            value.borrow().collect(&mut all);
        }
        self.mark(&all, Handling::USED);
        Value::made_of(all)
    }

    /// A value is kept where it can be found later under another name.
    fn store(&mut self, value: &Value) {
        let all = value.everything();
        self.mark(&all, Handling::USED);
        self.mark(&all, Handling::DERIVED);
    }

    /// The statement's result leaves.
    fn show(&mut self, fields: &[Field]) {
        // Behind a field of unknown width nobody can say at which place a column stands.
        let known = fields.iter().position(|field| field.many).unwrap_or(fields.len());
        let (known, rest) = fields.split_at(known);
        self.found.outputs = known.iter().map(|field| self.place(&field.value)).collect();
        self.found.width = rest.is_empty().then_some(known.len());
        for field in rest {
            self.mark(&field.value.everything(), Handling::DERIVED);
        }
    }

    /// What stands in an output column, or in a field of a row there.
    fn place(&mut self, value: &Value) -> Place {
        let Value { whole, derived, row, constant: _, mixed, weight: _ } = value;
        self.mark(whole, Handling::SHOWN);
        self.mark(derived, Handling::DERIVED);
        let fields = match row {
            None => Vec::new(),
            Some(fields) if whole.is_empty() && derived.is_empty() && !fields.iter().any(|field| field.many) => {
                fields.iter().map(|field| self.place(&field.value)).collect()
            }
            // A row or something else, or one of unknown width.
            Some(_) => {
                self.mark(&value.everything(), Handling::DERIVED);
                Vec::new()
            }
        };
        let types: BTreeSet<u32> =
            whole.iter().map(|column| self.column_of(*column).map_or(0, |column| column.type_oid)).collect();
        let type_oid = if types.len() == 1 { types.first().copied().unwrap_or_default() } else { 0 };
        Place { columns: self.underneath(whole, *mixed), fields, type_oid }
    }

    /// The result so far does not leave but is kept or sent where nobody can mask it.
    fn keep_result(&mut self) {
        self.found.outputs.clear();
        self.found.width = None;
        for how in self.handling.values_mut().chain(self.found.columns.values_mut()) {
            if how.has(Handling::SHOWN) {
                *how = how.without(Handling::SHOWN);
                *how |= Handling::DERIVED;
            }
        }
    }

    /// The result so far is only planned. What was made of values stays: the planner folds calls whose arguments it knows,
    /// and EXPLAIN prints what it has folded.
    fn drop_result(&mut self) {
        self.found.outputs.clear();
        self.found.width = None;
        for how in self.handling.values_mut().chain(self.found.columns.values_mut()) {
            if how.has(Handling::SHOWN) {
                *how = how.without(Handling::SHOWN);
                *how |= Handling::TESTED;
            }
        }
    }

    fn column_of(&self, (place, column): ColumnId) -> Option<&super::catalog::Column> {
        self.relations.get(place as usize)?.relation.columns.get(column as usize)
    }

    /// A column by the names that policies know.
    fn column_ref(&self, (place, column): ColumnId) -> Option<super::facts::ColumnRef> {
        let relation = &self.relations.get(place as usize)?.relation;
        Some((relation.id.clone(), relation.columns.get(column as usize)?.name.clone()))
    }

    /// Where the values of an output come from, for whoever runs a definition.
    fn origin(&self, value: &Value) -> Origin {
        let named = |columns: &ColumnSet| columns.iter().filter_map(|column| self.column_ref(*column)).collect();
        let mut derived = value.derived.clone();
        for field in value.row.iter().flat_map(|row| row.iter()) {
            field.value.collect(&mut derived);
        }
        Origin { whole: named(&value.whole), mixed: value.mixed, derived: named(&derived) }
    }

    /// Meets a relation; its place in the list.
    fn meet(&mut self, relation: &Arc<Relation>) -> u32 {
        if let Some(place) = self.places.get(&relation.id) {
            return *place;
        }
        let place = u32::try_from(self.relations.len()).unwrap_or(u32::MAX);
        self.relations.push(Met { relation: relation.clone(), is_source: false, is_target: false, inherits: false });
        self.places.insert(relation.id.clone(), place);
        place
    }

    /// Whether an earlier statement of the same text has made a temporary relation of this name.
    fn is_made(&self, range: &RangeVar) -> bool {
        matches!(range.schemaname.as_str(), "" | TEMPORARY)
            && self.created.contains(&(TEMPORARY.into(), range.relname.clone()))
    }

    /// Resolves a relation's name; `None` when it has been noted as missing or as one that this text creates.
    fn resolve(&mut self, range: &RangeVar) -> Option<Arc<Relation>> {
        let RangeVar { catalogname, schemaname, relname, inh: _, relpersistence, alias: _, location: _ } = range;
        self.found.mentioned.insert(relname.clone());
        if !catalogname.is_empty() && **catalogname != *self.catalog.database {
            self.opaque(format!("`{catalogname}` is another database"));
            return None;
        }
        if schemaname.starts_with("pg_temp") && *schemaname != *TEMPORARY {
            self.opaque("temporary relations of other sessions are theirs; `pg_temp` is this one's");
            return None;
        }
        // What this text makes stands before everything else.
        if self.is_made(range) || relpersistence == "t" {
            self.uses_temporary = true;
            // In a body nobody knows whether that has run.
            if schemaname.is_empty() && self.catalog.is_elsewhere(relname) {
                self.flag(Flag::Shadowed);
            }
            self.ask(Access::Alter, Object::Schema(TEMPORARY.into()), true);
            return None;
        }
        if let Some(relation) = self.catalog.relation(schemaname, relname) {
            self.uses_temporary |= is_temporary(&relation.id);
            if schemaname.is_empty() && is_temporary(&relation.id) && self.catalog.is_elsewhere(relname) {
                self.flag(Flag::Shadowed);
            }
            return Some(relation.clone());
        }
        let schema =
            if schemaname.is_empty() { self.catalog.creation_schema() } else { Some(schemaname.as_str().into()) };
        match schema {
            Some(schema) if self.created.contains(&(schema.clone(), relname.clone())) => {
                // It exists only once this text has run so far; all that can be said is where it will be.
                self.ask(Access::Alter, Object::Schema(schema), true);
            }
            _ => self.missing(Missing::Relation(range_name(range))),
        }
        None
    }
}

/// Reading the server's own catalogues needs no permit, except for those that hold other people's values.
fn is_open_catalog(relation: &Relation) -> bool {
    matches!(&*relation.id.schema, "pg_catalog" | "information_schema")
        && !builtins::is_sensitive(&relation.id.schema, &relation.id.name)
        && matches!(relation.kind, RelationKind::Table | RelationKind::View)
}

fn range_name(range: &RangeVar) -> String {
    if range.schemaname.is_empty() { range.relname.clone() } else { format!("{}.{}", range.schemaname, range.relname) }
}

/// The strings of a list of String nodes: a qualified name.
fn strings(nodes: &[Node]) -> Vec<&str> {
    nodes
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::String(string)) => Some(string.sval.as_str()),
            _ => None,
        })
        .collect()
}

/// Splits a qualified name into schema and name; `None` for names of three parts of another database, or of none.
fn qualified<'n>(database: &str, parts: &[&'n str]) -> Option<(&'n str, &'n str)> {
    match parts {
        [name] => Some(("", names::truncated(name))),
        [schema, name] => Some((schema, names::truncated(name))),
        [catalog, schema, name] if *catalog == database => Some((schema, names::truncated(name))),
        _ => None,
    }
}
