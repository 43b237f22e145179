//! Takes PostgreSQL's own tree apart, every node of it, into facts.
//!
//! INVARIANT: there is one arm for what is not recognised, in [`Walk::node`] and in [`Walk::statement`], and it makes the
//! statement opaque. Structs are taken apart without `..` where they hold nodes, so that a field which a newer grammar
//! adds stops the build instead of going unseen.
//!
//! Columns: this walk collects the *names* that a statement mentions anywhere and takes every column of that name, of
//! every relation it touches, for used and read out. That is more than it really does and never less; a star or a
//! whole row means all columns.

mod ddl;
mod expression;
mod query;
mod settings;
mod statement;

use super::builtins;
use super::catalog::{Catalog, Relation, RelationKind, Way};
use super::facts::{Access, Analysis, Flag, Missing, Object, Opaque, Statement, Use};
use super::{Session, names};
use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, Node, ParseResult, RangeVar};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// How deep prepared statements may name each other.
const MOST_NESTING: usize = 4;

/// Walks all statements of a text.
pub(super) fn walk(text: &str, tree: &ParseResult, catalog: &Catalog, session: &dyn Session) -> Analysis {
    let (mut created, mut touched) = (HashSet::new(), Touched::default());
    let statements = tree.stmts.iter().map(|raw| {
        let start = usize::try_from(raw.stmt_location).unwrap_or(0).min(text.len());
        // A length of zero means "to the end".
        let end = match usize::try_from(raw.stmt_len) {
            Ok(length) if length > 0 => (start + length).min(text.len()),
            _ => text.len(),
        };
        let mut walk = Walk::new(catalog, session, &mut created, &mut touched, 0);
        walk.boxed(&raw.stmt, Walk::statement);
        walk.finish(start..end)
    });
    Analysis { statements: statements.collect(), shape: None }
}

struct Walk<'a> {
    catalog: &'a Catalog,
    session: &'a dyn Session,
    /// Relations that earlier statements of the same text create: schema and name.
    created: &'a mut HashSet<(Arc<str>, String)>,
    /// Names of prepared statements and cursors that earlier statements of the same text deal with.
    touched: &'a mut Touched,
    /// How many EXECUTEs this walk stands under.
    nesting: usize,
    found: Statement,
    /// Names of the common table expressions in sight, innermost scope last.
    ctes: Vec<String>,
    /// Relations that are read.
    sources: Vec<Source>,
    /// Relations that are written; read as well if a column of theirs is mentioned.
    targets: Vec<Source>,
    /// Every name that might be a column's.
    columns: BTreeSet<String>,
    /// Names that stand alone and might be a whole row.
    bare: BTreeSet<String>,
    /// Names behind a dot: columns, or functions of the row in front of it.
    dotted: BTreeSet<String>,
    /// Names under which relations are in sight.
    aliases: HashSet<String>,
    /// Whether all columns of everything are meant.
    star: bool,
}

/// What a text has done to the session's names so far.
#[derive(Debug, Default)]
struct Touched {
    /// Prepared statements that are made or dropped.
    prepared: HashSet<String>,
    /// Cursors that are declared.
    cursors: HashSet<String>,
    /// Whether all of them are dropped at once.
    all: bool,
}

struct Source {
    relation: Arc<Relation>,
    /// Whether children and partitions come along (no ONLY).
    inherits: bool,
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
            nesting,
            found: Statement::default(),
            ctes: Vec::new(),
            sources: Vec::new(),
            targets: Vec::new(),
            columns: BTreeSet::new(),
            bare: BTreeSet::new(),
            dotted: BTreeSet::new(),
            aliases: HashSet::new(),
            star: false,
        }
    }

    fn finish(mut self, span: std::ops::Range<usize>) -> Statement {
        self.row_functions();
        self.star |= self.bare.iter().any(|name| self.aliases.contains(name));
        for source in std::mem::take(&mut self.sources) {
            self.read(&source.relation, source.inherits, Access::Select, true);
        }
        for target in std::mem::take(&mut self.targets) {
            // UPDATE and DELETE read what their conditions and RETURNING mention.
            let mentioned = self.mentioned_columns(&target.relation);
            if self.star || !mentioned.is_empty() {
                self.read(&target.relation, target.inherits, Access::Select, true);
            }
        }
        self.found.mentioned.extend(std::mem::take(&mut self.aliases));
        self.found.span = span;
        self.found
    }

    /// Visits a node where one is given.
    /// `row.name` is another spelling of `name(row)` where no column is called so (4.2.6 "Field Selection"), and then
    /// the whole row is read.
    fn row_functions(&mut self) {
        for name in std::mem::take(&mut self.dotted) {
            let mut relations = self.sources.iter().chain(&self.targets).map(|source| &source.relation);
            let is_column = relations.any(|relation| relation.columns.iter().any(|column| *column.name == *name));
            let functions = self.catalog.functions("", &name);
            self.star |= !is_column && !functions.is_empty();
            for function in functions {
                if &*function.schema != "pg_catalog" {
                    self.ask(Access::Execute, Object::Function(function.clone()), true);
                }
            }
        }
    }

    fn boxed(&mut self, node: &Option<Box<Node>>, visit: fn(&mut Self, &NodeEnum)) {
        if let Some(node) = node {
            self.visit(node, visit);
        }
    }

    fn visit(&mut self, node: &Node, visit: fn(&mut Self, &NodeEnum)) {
        if let Some(node) = &node.node {
            visit(self, node);
        }
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

    /// Resolves a relation's name; `None` when it has been noted as missing or as one that this text creates.
    fn resolve(&mut self, range: &RangeVar) -> Option<Arc<Relation>> {
        let RangeVar { catalogname, schemaname, relname, inh: _, relpersistence, alias: _, location: _ } = range;
        self.found.mentioned.insert(relname.clone());
        if !catalogname.is_empty() && **catalogname != *self.catalog.database {
            self.opaque(format!("`{catalogname}` is another database"));
            return None;
        }
        if relpersistence == "t" || schemaname.starts_with("pg_temp") {
            self.opaque("temporary relations shadow others and are not followed");
            return None;
        }
        if let Some(relation) = self.catalog.relation(schemaname, relname) {
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

    /// Notes the reading of a relation, of its columns that are mentioned, and of what lies under it.
    fn read(&mut self, relation: &Arc<Relation>, inherits: bool, access: Access, named: bool) {
        let open = is_open_catalog(relation);
        self.ask(access, Object::Relation(relation.id.clone()), named && !open);
        for column in self.mentioned_columns(relation) {
            self.ask(access, Object::Column(relation.id.clone(), column), named && !open);
        }
        let mut seen = HashSet::from([relation.id.clone()]);
        self.read_through(relation, inherits, access, &mut seen, 0);
    }

    fn read_through(
        &mut self,
        relation: &Arc<Relation>,
        inherits: bool,
        access: Access,
        seen: &mut HashSet<super::RelationRef>,
        depth: usize,
    ) {
        // A view over a view over a view...: past this the statement is not understood.
        if depth > 32 {
            return self.opaque(format!("`{}` rests on more than 32 layers of views", relation.id.name));
        }
        for reach in &relation.reaches {
            if (reach.way == Way::Child && !inherits) || !seen.insert(reach.id.clone()) {
                continue;
            }
            let Some(under) = self.catalog.get(&reach.id).cloned() else { continue };
            self.ask(access, Object::Relation(under.id.clone()), false);
            let columns = match &reach.columns {
                Some(columns) => columns.clone(),
                None => self.mentioned_columns(&under),
            };
            for column in columns {
                self.ask(access, Object::Column(under.id.clone(), column), false);
            }
            self.read_through(&under, true, access, seen, depth + 1);
        }
    }

    fn mentioned_columns(&self, relation: &Relation) -> Vec<Arc<str>> {
        let columns = relation.columns.iter().map(|column| &column.name);
        columns.filter(|name| self.star || self.columns.contains(&***name)).cloned().collect()
    }

    fn alias(&mut self, alias: &Option<Alias>) {
        if let Some(Alias { aliasname, colnames }) = alias {
            self.aliases.insert(aliasname.clone());
            // Columns go by other names from here on.
            self.star |= !colnames.is_empty();
        }
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
