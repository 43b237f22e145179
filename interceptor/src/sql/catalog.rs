//! A snapshot of what a database holds, and names resolved in it as the server would.

use super::reading::Reading;
use super::temporary::{Overlay, TEMPORARY, Temporary, temporary_of};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Schema and name of a relation that exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationRef {
    /// The schema it lives in.
    pub schema: Arc<str>,
    /// Its own name.
    pub name: Arc<str>,
}

/// `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the server's own terms")]
pub enum RelationKind {
    Table,
    PartitionedTable,
    View,
    MaterializedView,
    ForeignTable,
    Sequence,
    Index,
    CompositeType,
    Toast,
}

impl RelationKind {
    /// From `relkind`; `None` for a letter of a newer server.
    pub fn from_relkind(letter: char) -> Option<Self> {
        Some(match letter {
            'r' => Self::Table,
            'p' => Self::PartitionedTable,
            'v' => Self::View,
            'm' => Self::MaterializedView,
            'f' => Self::ForeignTable,
            'S' => Self::Sequence,
            'i' | 'I' => Self::Index,
            'c' => Self::CompositeType,
            't' => Self::Toast,
            _ => return None,
        })
    }

    /// The name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::PartitionedTable => "partitioned table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::ForeignTable => "foreign table",
            Self::Sequence => "sequence",
            Self::Index => "index",
            Self::CompositeType => "composite type",
            Self::Toast => "toast table",
        }
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Arc<str>,
    /// Its type as `format_type` prints it.
    pub type_name: Arc<str>,
    /// `pg_attribute.attnum`.
    pub number: i16,
    /// Its type, or the one under its domain; 0 where that is not known.
    pub type_oid: u32,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Schema and name.
    pub id: RelationRef,
    /// Table, view...
    pub kind: RelationKind,
    /// In attribute order, dropped ones left out.
    pub columns: Vec<Column>,
    /// Relations that are read or written along with it: what a view's rules mention, partitions, children, and the
    /// parents whose rows it holds a part of.
    pub reaches: Vec<Reach>,
    /// Foreign keys of others to it: TRUNCATE ... CASCADE empties those relations too, and a write here may write there.
    pub(super) referring: Vec<Referring>,
    /// Whether rewrite rules other than a view's own stand on it: writing to it does more than the statement says.
    pub has_rules: bool,
    /// Functions that its row security policies run when it is read: schema and name.
    pub(super) guards: Vec<FunctionName>,
    /// Functions that its triggers run when it is written: schema and name.
    pub(super) triggers: Vec<FunctionName>,
    /// Functions that expressions of it run (defaults, checks, indexes, generated columns, policies, conditions of triggers):
    /// when it is written, and when it is looked through or written anew for a change of its definition.
    pub(super) stored_calls: Vec<FunctionName>,
    /// Columns that are computed from others when a row is written: which, from which.
    pub(super) generated: Vec<(Arc<str>, Arc<str>)>,
    /// Labels that comments in the database give to columns, and under an empty name to the relation as a whole.
    pub(super) labels: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The columns of its primary key.
    pub(super) primary_key: Vec<Arc<str>>,
    /// The table of an index, or of the column that a sequence is for.
    pub(super) belongs_to: Option<RelationRef>,
    /// A view's query, with all names qualified.
    pub(super) definition: Option<Definition>,
}

/// A column of a foreign key, seen from what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Referring {
    /// The relation that has the key.
    pub(super) relation: RelationRef,
    /// Its column.
    pub(super) column: Arc<str>,
    /// The column that is referred to.
    pub(super) key: Arc<str>,
    /// What happens to it when a row that is referred to goes (`pg_constraint.confdeltype`).
    pub(super) on_delete: Action,
    /// And when its key changes (`confupdtype`).
    pub(super) on_update: Action,
}

/// What a foreign key has happen to the rows that refer to one (`ON DELETE`, `ON UPDATE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing; the write fails.
    Refuse,
    /// They go, or change, along with it.
    Cascade,
    /// Their column is set to NULL or to its default.
    Set,
}

impl Action {
    /// From the letters of `pg_constraint`; `None` for one of a newer server.
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "a" | "r" => Some(Self::Refuse),
            "c" => Some(Self::Cascade),
            "n" | "d" => Some(Self::Set),
            _ => None,
        }
    }
}

/// Schema and name of a function.
pub(super) type FunctionName = (Arc<str>, Arc<str>);

/// An operator that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) schema: Arc<str>,
    /// The function behind it; `None` for the C functions of extensions, which only a superuser can make.
    pub(super) function: Option<FunctionName>,
}

/// SQL that the database holds and runs: a view's query, a function's body. Read when it is first needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// `sql` or `plpgsql`.
    pub(super) language: Arc<str>,
    pub(super) text: Arc<str>,
    /// The search path that it runs under, where it has one of its own.
    pub(super) path: Option<Vec<Arc<str>>>,
    pub(super) reading: OnceLock<Arc<Reading>>,
}

impl Definition {
    pub(super) fn new(language: &str, text: &str, path: Option<Vec<Arc<str>>>) -> Self {
        Self { language: language.into(), text: text.into(), path, reading: OnceLock::new() }
    }
}

impl Relation {
    /// Whether row security policies of it run code that somebody wrote.
    pub fn is_guarded(&self) -> bool {
        !self.guards.is_empty()
    }

    /// The labels that the database itself gives a column.
    pub fn labels<'a>(&'a self, column: &str) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        self.labels.get(column).into_iter().flatten()
    }
}

/// How one relation leads to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A view or its like, to what its rule mentions.
    Base,
    /// To a partition or child, whose rows come along unless ONLY says otherwise.
    Child,
    /// To the parent, a part of whose rows it holds.
    Parent,
}

/// A relation under another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Which.
    pub id: RelationRef,
    /// How.
    pub way: Way,
}

/// A function, procedure, aggregate or window function; overloads are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// The schema it lives in.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The weakest of its overloads: `volatile`, `stable` or `immutable`.
    pub volatility: Arc<str>,
    /// Whether an overload runs with its owner's rights.
    pub security_definer: bool,
    /// The language of the overloads, the least transparent one.
    pub language: Arc<str>,
    /// How many columns a call in FROM has, where it is the same for all overloads and known beforehand.
    pub width: Option<u32>,
    /// What its only column is called, where an argument that goes out names it: an alias does not change that.
    pub output: Option<Arc<str>>,
}

/// A snapshot of one database as one role sees it.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Name of the database.
    pub database: Arc<str>,
    /// Counts the snapshots of this database.
    pub epoch: u64,
    /// Names this very snapshot, seen under its search path, among all that this process has taken.
    pub(super) id: u64,
    /// The same without the search path.
    snapshot: u64,
    /// The role that sessions have.
    pub(super) role: Arc<str>,
    search_path: Vec<Arc<str>>,
    contents: Arc<Contents>,
    /// The session's own relations, which are looked at first.
    temporary: Option<Arc<Overlay>>,
}

/// What all views of a snapshot share, whatever their search path.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// The search path that sessions begin with.
    search_path: Vec<Arc<str>>,
    /// Whether that says where among the others temporary relations are looked for.
    pub(super) path_names_temporary: bool,
    schemas: HashSet<Arc<str>>,
    /// Those that the role may not use: the server leaves them out of a search path.
    closed: HashSet<Arc<str>>,
    relations: HashMap<RelationRef, Arc<Relation>>,
    functions: HashMap<Arc<str>, Vec<Arc<Function>>>,
    bodies: HashMap<FunctionName, Vec<Definition>>,
    /// The schemas in which there is a type of a name: mostly one.
    types: HashMap<Arc<str>, Vec<Arc<str>>>,
    operators: HashMap<Arc<str>, Vec<Operator>>,
    coded_types: HashMap<Arc<str>, Vec<FunctionName>>,
    /// Functions that run along with changes to the schema.
    event_triggers: Vec<FunctionName>,
}

impl Catalog {
    /// The same database seen under another search path; `None` is the one that sessions begin with.
    pub fn under(&self, path: Option<&[Arc<str>]>) -> Self {
        let path = path.unwrap_or(&self.contents.search_path);
        // `"$user"` is the schema of the role's name.
        let named = |schema: &Arc<str>| if **schema == *"$user" { self.role.clone() } else { schema.clone() };
        let search_path: Vec<_> = path
            .iter()
            .map(named)
            .filter(|schema| **schema == *TEMPORARY || self.in_base(schema) && !self.contents.closed.contains(schema))
            .collect();
        let same = search_path == self.contents.search_path;
        let mut seen = self.clone();
        // What is remembered about texts is remembered by this number: each path has its own.
        seen.id = if same { self.snapshot() } else { self.snapshot() ^ (fingerprint(&search_path) | 1 << 63) };
        seen.search_path = search_path;
        seen
    }

    /// Whether this is what every session sees that has done nothing yet.
    pub(super) fn is_first_sight(&self) -> bool {
        self.id == self.snapshot && self.temporary.is_none()
    }

    /// The same under the same path with other relations of the session's own, or none.
    pub(super) fn laid_over(&self, temporary: Option<Arc<Overlay>>, snapshot: u64) -> Self {
        let path = self.id ^ self.snapshot;
        Self { temporary, snapshot, id: snapshot ^ path, ..self.clone() }
    }

    pub(super) fn temporary(&self) -> Option<&Arc<Overlay>> {
        self.temporary.as_ref()
    }

    /// The snapshot's own number, whatever the search path. The upper half is left to the paths.
    pub fn snapshot(&self) -> u64 {
        self.snapshot
    }

    /// The function bodies of a name.
    pub(super) fn bodies(&self, function: &Function) -> &[Definition] {
        let name = (function.schema.clone(), function.name.clone());
        self.contents.bodies.get(&name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All relations but the server's own.
    pub fn user_relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        let own = |relation: &&Arc<Relation>| !matches!(&*relation.id.schema, "pg_catalog" | "information_schema");
        // In the place of one of everybody's there may be what it is with a child of the session's own.
        let replaced = |relation: &&Arc<Relation>| {
            self.temporary.as_ref().is_some_and(|overlay| overlay.get(&relation.id).is_some())
        };
        let temporary = self.temporary.iter().flat_map(|overlay| overlay.all());
        self.contents.relations.values().filter(own).filter(move |relation| !replaced(relation)).chain(temporary)
    }

    /// The server's own relations that need a permit like any other.
    pub fn sensitive_relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        let sensitive =
            |relation: &&Arc<Relation>| super::builtins::is_sensitive(&relation.id.schema, &relation.id.name);
        self.contents.relations.values().filter(sensitive)
    }

    /// The schemas in which unqualified names are looked for, the implicit ones first: `pg_temp`, then `pg_catalog`.
    pub(super) fn searched(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        let implicit =
            |name: &'static str| (!self.search_path.iter().any(|schema| **schema == *name)).then(|| name.into());
        let temporary = self.temporary.as_ref().and_then(|_| implicit(TEMPORARY));
        temporary.into_iter().chain(implicit("pg_catalog")).chain(self.search_path.iter().cloned())
    }

    /// Where a new object without a schema goes.
    pub fn creation_schema(&self) -> Option<Arc<str>> {
        self.search_path.iter().find(|schema| &***schema != "pg_catalog").cloned()
    }

    /// Whether there is such a schema.
    pub fn has_schema(&self, name: &str) -> bool {
        *name == *TEMPORARY || self.in_base(name)
    }

    fn in_base(&self, name: &str) -> bool {
        self.contents.schemas.contains(name)
    }

    /// A relation by its full name.
    pub fn get(&self, id: &RelationRef) -> Option<&Arc<Relation>> {
        let own = self.temporary.as_ref().and_then(|overlay| overlay.get(id));
        own.or_else(|| self.contents.relations.get(id))
    }

    /// Whether there is a relation in a schema of everybody's.
    pub(super) fn has_relation(&self, schema: &Arc<str>, name: &str) -> bool {
        self.contents.relations.contains_key(&RelationRef { schema: schema.clone(), name: name.into() })
    }

    /// Whether the server has a relation or a type of a name.
    pub(super) fn is_of_server(&self, name: &str) -> bool {
        self.contents.is_of_server(name)
    }

    /// What a session's own schema holds, of rows about it.
    pub fn temporary_of(&self, builder: CatalogBuilder) -> Temporary {
        let CatalogBuilder { relations, odd, .. } = builder;
        temporary_of(relations.into_values(), &self.contents, odd)
    }

    /// The relation that a name in a statement means; an empty schema is no schema.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        let find = |schema: Arc<str>| self.get(&RelationRef { schema, name: name.into() });
        if schema.is_empty() { self.searched().find_map(find) } else { find(schema.into()) }
    }

    /// Every function that a name in a statement might mean. The server picks one by argument types, which we do not
    /// know, so all of them count.
    pub fn functions(&self, schema: &str, name: &str) -> Vec<&Arc<Function>> {
        let candidates = self.contents.functions.get(name).map(Vec::as_slice).unwrap_or_default();
        if schema.is_empty() {
            let searched: Vec<_> = self.searched().collect();
            candidates.iter().filter(|function| searched.contains(&function.schema)).collect()
        } else {
            candidates.iter().filter(|function| &*function.schema == schema).collect()
        }
    }

    /// Whether a type name can be resolved.
    pub fn has_type(&self, schema: &str, name: &str) -> bool {
        // Each relation of the session's own has the type of its rows beside it.
        if matches!(schema, "" | TEMPORARY)
            && self.get(&RelationRef { schema: TEMPORARY.into(), name: name.into() }).is_some()
        {
            return true;
        }
        let Some(schemas) = self.contents.types.get(name) else { return false };
        if schema.is_empty() {
            self.searched().any(|schema| schemas.contains(&schema))
        } else {
            schemas.iter().any(|known| **known == *schema)
        }
    }

    /// Whether the only type of a name is the server's own.
    pub(super) fn is_type_of_server(&self, name: &str) -> bool {
        self.contents
            .types
            .get(name)
            .is_some_and(|schemas| matches!(schemas.as_slice(), [schema] if **schema == *"pg_catalog"))
    }

    /// The functions that somebody wrote and that values of a type are made by: casts, checks of domains.
    pub(super) fn code_of_type(&self, type_name: &str) -> &[FunctionName] {
        self.contents.coded_types.get(type_name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The functions that run along with changes to the schema.
    pub(super) fn event_triggers(&self) -> &[FunctionName] {
        &self.contents.event_triggers
    }

    /// The same for whatever type.
    pub(super) fn code_of_types(&self) -> impl Iterator<Item = &FunctionName> {
        self.contents.coded_types.values().flatten()
    }

    /// The same for a type as `format_type` prints it.
    pub(super) fn code_of_column(&self, column: &Column) -> &[FunctionName] {
        if self.contents.coded_types.is_empty() {
            return &[];
        }
        let name = column.type_name.split(['(', '[']).next().unwrap_or_default();
        self.code_of_type(name.rsplit('.').next().unwrap_or_default().trim().trim_matches('"'))
    }

    /// The operators of a name that are not the server's own, whatever they are for and wherever they are.
    pub(super) fn operators(&self, name: &str) -> &[Operator] {
        self.contents.operators.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names this very snapshot among all that this process has taken.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many relations it holds.
    pub fn len(&self) -> usize {
        self.contents.relations.len()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.contents.relations.is_empty()
    }
}

impl Contents {
    /// Whether the server has a relation or a type of a name.
    pub(super) fn is_of_server(&self, name: &str) -> bool {
        let relation = RelationRef { schema: "pg_catalog".into(), name: name.into() };
        let is_type =
            || self.types.get(name).is_some_and(|schemas| schemas.iter().any(|schema| **schema == *"pg_catalog"));
        self.relations.contains_key(&relation) || is_type()
    }
}

/// A number that no snapshot has had before.
pub(super) fn next_number() -> u64 {
    static TAKEN: AtomicU64 = AtomicU64::new(1);
    TAKEN.fetch_add(1, Ordering::Relaxed)
}

/// Names a list of names.
fn fingerprint(names: &[Arc<str>]) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(names)
}

/// Takes rows of the system catalogues and makes a [`Catalog`] of them.
#[derive(Debug, Default)]
pub struct CatalogBuilder {
    catalog: Catalog,
    contents: Contents,
    names: HashMap<u32, RelationRef>,
    relations: HashMap<u32, Relation>,
    /// What is in a session's own schema and cannot be followed.
    odd: Option<&'static str>,
    /// Names repeat: a column `id` is in half of all tables.
    words: HashSet<Arc<str>>,
}

impl CatalogBuilder {
    /// Starts with the database's name and the search path that sessions begin with.
    pub fn new(database: &str, epoch: u64, role: &str, search_path: &[String]) -> Self {
        let search_path: Vec<Arc<str>> = search_path.iter().map(|schema| Arc::from(schema.as_str())).collect();
        let path_names_temporary = search_path.iter().any(|schema| **schema == *TEMPORARY);
        Self {
            contents: Contents { search_path: search_path.clone(), path_names_temporary, ..Contents::default() },
            catalog: Catalog { database: database.into(), epoch, role: role.into(), search_path, ..Catalog::default() },
            ..Self::default()
        }
    }

    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return word.clone();
        }
        let word: Arc<str> = text.into();
        self.words.insert(word.clone());
        word
    }

    /// A row of `pg_namespace`.
    pub fn schema(&mut self, name: &str) {
        let name = self.word(name);
        self.contents.schemas.insert(name);
    }

    /// A schema that the role has no USAGE on.
    pub fn closed_schema(&mut self, name: &str) {
        self.schema(name);
        let name = self.word(name);
        self.contents.closed.insert(name);
    }

    /// A row of `pg_class`.
    pub fn relation(&mut self, oid: u32, schema: &str, name: &str, kind: RelationKind, has_rules: bool) {
        let id = RelationRef { schema: self.word(schema), name: self.word(name) };
        self.names.insert(oid, id.clone());
        let relation = Relation {
            oid,
            id,
            kind,
            columns: Vec::new(),
            reaches: Vec::new(),
            referring: Vec::new(),
            has_rules,
            guards: Vec::new(),
            triggers: Vec::new(),
            stored_calls: Vec::new(),
            generated: Vec::new(),
            labels: BTreeMap::new(),
            primary_key: Vec::new(),
            belongs_to: None,
            definition: None,
        };
        self.relations.insert(oid, relation);
    }

    /// A relation of everybody's that one of a session's own rests on or belongs to.
    pub fn elsewhere(&mut self, oid: u32, schema: &str, name: &str) {
        let id = RelationRef { schema: self.word(schema), name: self.word(name) };
        self.names.insert(oid, id);
    }

    /// Whether a relation is among those that there are.
    pub fn knows(&self, oid: u32) -> bool {
        self.names.contains_key(&oid)
    }

    /// Something in a session's own schema that cannot be followed.
    pub fn odd(&mut self, what: &'static str) {
        self.odd = Some(what);
    }

    /// A row of `pg_attribute`, in attribute order.
    pub fn column(&mut self, oid: u32, number: i16, name: &str, (type_name, type_oid): (&str, u32)) {
        let column = Column { name: self.word(name), type_name: self.word(type_name), number, type_oid };
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.columns.push(column);
        }
    }

    /// A column that is computed from another one of its row.
    pub fn generated(&mut self, oid: u32, column: &str, from: &str) {
        let pair = (self.word(column), self.word(from));
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.generated.push(pair);
        }
    }

    /// The comment on a column, or with an empty name on the relation. `interceptor: label=a label=b` gives it labels.
    pub fn comment(&mut self, oid: u32, column: &str, comment: &str) {
        let labels: BTreeSet<Arc<str>> = labels_of(comment).map(Arc::from).collect();
        let column = self.word(column);
        if let Some(relation) = self.relations.get_mut(&oid)
            && !labels.is_empty()
        {
            relation.labels.insert(column, labels);
        }
    }

    /// A view's query as `pg_get_viewdef` prints it under an empty search path.
    pub fn view(&mut self, oid: u32, text: &str) {
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.definition = Some(Definition::new("sql", text, Some(Vec::new())));
        }
    }

    /// A function that a trigger runs when a relation is written.
    pub fn trigger(&mut self, oid: u32, schema: &str, function: &str) {
        let name = (self.word(schema), self.word(function));
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.triggers.push(name);
        }
    }

    /// A function that an expression kept with a relation runs.
    pub fn stored_call(&mut self, oid: u32, schema: &str, function: &str) {
        let name = (self.word(schema), self.word(function));
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.stored_calls.push(name);
        }
    }

    /// A function that a row security policy of a relation runs when it is read.
    pub fn guard(&mut self, oid: u32, schema: &str, function: &str) {
        let name = (self.word(schema), self.word(function));
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.guards.push(name);
        }
    }

    /// The function of an event trigger.
    pub fn event_trigger(&mut self, schema: &str, function: &str) {
        let name = (self.word(schema), self.word(function));
        self.contents.event_triggers.push(name);
    }

    /// The body of a function in SQL or PL/pgSQL; `path` is the search path that it sets for itself.
    pub fn body(&mut self, schema: &str, function: &str, language: &str, text: &str, path: Option<&str>) {
        let path = path.map(|path| path_of(path).unwrap_or_default().iter().map(|schema| self.word(schema)).collect());
        let name = (self.word(schema), self.word(function));
        self.contents.bodies.entry(name).or_default().push(Definition::new(language, text, path));
    }

    /// A relation that a view rests on. Every column of it counts where the view's query cannot be read.
    pub fn view_rests_on(&mut self, view: u32, base: u32) {
        self.reach(view, base, Way::Base);
    }

    /// A row of `pg_inherits`: whoever reads the parent reads the child, and the child's rows are the parent's.
    pub fn inherits(&mut self, child: u32, parent: u32) {
        self.reach(parent, child, Way::Child);
        self.reach(child, parent, Way::Parent);
    }

    /// A column of a foreign key of one relation to a column of another, and what happens on DELETE and UPDATE there.
    pub fn refers(
        &mut self,
        (from, column): (u32, &str),
        (to, key): (u32, &str),
        (on_delete, on_update): (Action, Action),
    ) {
        let (column, key) = (self.word(column), self.word(key));
        let Some(relation) = self.names.get(&from).cloned() else { return };
        if let Some(to) = self.relations.get_mut(&to) {
            to.referring.push(Referring { relation, column, key, on_delete, on_update });
        }
    }

    /// A column of a primary key.
    pub fn primary_key(&mut self, oid: u32, column: &str) {
        let column = self.word(column);
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.primary_key.push(column);
        }
    }

    /// The table of an index, or of the column that a sequence is for.
    pub fn belongs(&mut self, oid: u32, table: u32) {
        let Some(table) = self.names.get(&table).cloned() else { return };
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.belongs_to = Some(table);
        }
    }

    fn reach(&mut self, from: u32, to: u32, way: Way) {
        let Some(id) = self.names.get(&to).cloned() else { return };
        if let Some(relation) = self.relations.get_mut(&from) {
            relation.reaches.push(Reach { id, way });
        }
    }

    /// The overloads of one name in one schema, as one; the last that is said of them counts.
    pub fn function(&mut self, function: Function) {
        let of_name = self.contents.functions.entry(function.name.clone()).or_default();
        match of_name.iter_mut().find(|known| known.schema == function.schema) {
            Some(known) => *known = Arc::new(function),
            None => of_name.push(Arc::new(function)),
        }
    }

    /// A row of `pg_type`.
    pub fn type_name(&mut self, schema: &str, name: &str) {
        let (schema, name) = (self.word(schema), self.word(name));
        let schemas = self.contents.types.entry(name).or_insert_with(|| Vec::with_capacity(1));
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }

    /// A function that somebody wrote and that makes values of a type: of a cast, of a domain's check.
    pub fn coded_type(&mut self, name: &str, schema: &str, function: &str) {
        let function = (self.word(schema), self.word(function));
        self.contents.coded_types.entry(name.into()).or_default().push(function);
    }

    /// An operator that is not the server's own, with the schema and name of the function behind it. Those of extensions
    /// (`hstore`'s `=`) are C functions that only a superuser can make: they come without.
    pub fn operator(&mut self, schema: &str, name: &str, function: Option<(&str, &str)>) {
        let function = function.map(|(schema, name)| (self.word(schema), self.word(name)));
        let schema = self.word(schema);
        self.contents.operators.entry(name.into()).or_default().push(Operator { schema, function });
    }

    /// The snapshot.
    pub fn build(self) -> Catalog {
        let Self { mut catalog, mut contents, relations, .. } = self;
        catalog.id = next_number();
        catalog.snapshot = catalog.id;
        let whole = |mut relation: Relation| {
            relation.columns.shrink_to_fit();
            (relation.id.clone(), Arc::new(relation))
        };
        contents.relations = relations.into_values().map(whole).collect();
        catalog.contents = Arc::new(contents);
        catalog
    }
}

/// `interceptor: label=personal label=contact`, anywhere in a comment, to the end of its line.
fn labels_of(comment: &str) -> impl Iterator<Item = &str> {
    let lines = comment.lines().filter_map(|line| line.split_once("interceptor:"));
    lines
        .flat_map(|(_, said)| said.split([' ', ',', '\t']))
        .filter_map(|word| word.strip_prefix("label="))
        .filter(|label| !label.is_empty())
}

/// Longest name that the server keeps whole, in bytes (NAMEDATALEN - 1).
pub(super) const LONGEST_NAME: usize = 63;

/// The schemas of a search path as settings write it (`SplitIdentifierString`); `None` for what the server would not take
/// or would cut.
pub(super) fn path_of(text: &str) -> Option<Vec<String>> {
    // `scanner_isspace`, which knows no other spaces.
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let mut rest = text.trim_start_matches(blank);
    let mut names = Vec::new();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let name = match rest.strip_prefix('"') {
            Some(mut inside) => {
                let mut name = String::new();
                loop {
                    let (part, behind) = inside.split_once('"')?;
                    name.push_str(part);
                    rest = behind;
                    match behind.strip_prefix('"') {
                        Some(more) => inside = more,
                        None => break,
                    }
                    name.push('"');
                }
                name
            }
            None => {
                let end = rest.find(|c| c == ',' || blank(c)).unwrap_or(rest.len());
                let (name, behind) = rest.split_at_checked(end)?;
                rest = behind;
                name.to_ascii_lowercase()
            }
        };
        if name.is_empty() || name.len() > LONGEST_NAME {
            return None;
        }
        names.push(name);
        rest = rest.trim_start_matches(blank);
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start_matches(blank),
            None => return rest.is_empty().then_some(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = path_of(text).map_or_else(|| "refused".to_owned(), |names| names.join("|"));
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn search_paths_are_read_as_the_server_reads_them() {
        check("", "");
        check("  ", "");
        check("b", "b");
        check(" B , a ", "b|a");
        check("\"B\",a", "B|a");
        check("\"a,b\"", "a,b");
        check("\"a\"\"b\"", "a\"b");
        check("\"$user\", public", "$user|public");
        check("\u{c4}B", "\u{c4}b");
        for refused in ["a b", "a,", ",a", "\"a", "\"a\"b", "\"\"", &"x".repeat(64)] {
            check(refused, "refused");
        }
    }
}
