//! A snapshot of what a database holds, and names resolved in it as the server would.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Schema and name.
    pub id: RelationRef,
    /// Table, view...
    pub kind: RelationKind,
    /// In attribute order, dropped ones left out.
    pub columns: Vec<Column>,
    /// Relations that are read or written along with it: what a view's rules mention (with the columns they mention),
    /// partitions, children, and the parents whose rows it holds a part of.
    pub reaches: Vec<Reach>,
    /// Whether rewrite rules other than a view's own stand on it: writing to it does more than the statement says.
    pub has_rules: bool,
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
    /// The columns that are mentioned there; `None` for whatever columns of that name the statement uses.
    pub columns: Option<Vec<Arc<str>>>,
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
}

/// A snapshot of one database as one role sees it.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Name of the database.
    pub database: Arc<str>,
    /// Counts the snapshots of this database.
    pub epoch: u64,
    /// Names this very snapshot among all that this process has taken.
    pub(super) id: u64,
    search_path: Vec<Arc<str>>,
    schemas: HashSet<Arc<str>>,
    relations: HashMap<RelationRef, Arc<Relation>>,
    functions: HashMap<Arc<str>, Vec<Arc<Function>>>,
    types: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    operators: HashSet<Arc<str>>,
}

impl Catalog {
    /// The schemas in which unqualified names are looked for, the implicit `pg_catalog` first.
    fn searched(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        let implicit = if self.search_path.iter().any(|schema| &**schema == "pg_catalog") {
            None
        } else {
            Some(Arc::from("pg_catalog"))
        };
        implicit.into_iter().chain(self.search_path.iter().cloned())
    }

    /// Where a new object without a schema goes.
    pub fn creation_schema(&self) -> Option<Arc<str>> {
        self.search_path.iter().find(|schema| &***schema != "pg_catalog").cloned()
    }

    /// Whether there is such a schema.
    pub fn has_schema(&self, name: &str) -> bool {
        self.schemas.contains(name)
    }

    /// A relation by its full name.
    pub fn get(&self, id: &RelationRef) -> Option<&Arc<Relation>> {
        self.relations.get(id)
    }

    /// The relation that a name in a statement means; an empty schema is no schema.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        let find = |schema: Arc<str>| self.relations.get(&RelationRef { schema, name: name.into() });
        if schema.is_empty() { self.searched().find_map(find) } else { find(schema.into()) }
    }

    /// Every function that a name in a statement might mean. The server picks one by argument types, which we do not
    /// know, so all of them count.
    pub fn functions(&self, schema: &str, name: &str) -> Vec<&Arc<Function>> {
        let candidates = self.functions.get(name).map(Vec::as_slice).unwrap_or_default();
        if schema.is_empty() {
            let searched: Vec<_> = self.searched().collect();
            candidates.iter().filter(|function| searched.contains(&function.schema)).collect()
        } else {
            candidates.iter().filter(|function| &*function.schema == schema).collect()
        }
    }

    /// Whether a type name can be resolved.
    pub fn has_type(&self, schema: &str, name: &str) -> bool {
        let Some(schemas) = self.types.get(name) else { return false };
        if schema.is_empty() {
            self.searched().any(|schema| schemas.contains(&schema))
        } else {
            schemas.contains(schema)
        }
    }

    /// Whether somebody has made an operator of this name of which it is not known what it does.
    pub fn is_user_operator(&self, name: &str) -> bool {
        self.operators.contains(name)
    }

    /// Names this very snapshot among all that this process has taken.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many relations it holds.
    pub fn len(&self) -> usize {
        self.relations.len()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }
}

/// Takes rows of the system catalogues and makes a [`Catalog`] of them.
#[derive(Debug, Default)]
pub struct CatalogBuilder {
    catalog: Catalog,
    names: HashMap<u32, RelationRef>,
    relations: HashMap<u32, Relation>,
}

impl CatalogBuilder {
    /// Starts with the database's name and the search path that sessions begin with.
    pub fn new(database: &str, epoch: u64, search_path: &[String]) -> Self {
        let search_path = search_path.iter().map(|schema| Arc::from(schema.as_str())).collect();
        Self {
            catalog: Catalog { database: database.into(), epoch, search_path, ..Catalog::default() },
            ..Self::default()
        }
    }

    /// A row of `pg_namespace`.
    pub fn schema(&mut self, name: &str) {
        self.catalog.schemas.insert(name.into());
    }

    /// A row of `pg_class`.
    pub fn relation(&mut self, oid: u32, schema: &str, name: &str, kind: RelationKind, has_rules: bool) {
        let id = RelationRef { schema: schema.into(), name: name.into() };
        self.names.insert(oid, id.clone());
        self.relations.insert(oid, Relation { id, kind, columns: Vec::new(), reaches: Vec::new(), has_rules });
    }

    /// A row of `pg_attribute`, in attribute order.
    pub fn column(&mut self, oid: u32, name: &str, type_name: &str) {
        if let Some(relation) = self.relations.get_mut(&oid) {
            relation.columns.push(Column { name: name.into(), type_name: type_name.into() });
        }
    }

    /// A relation that a view rests on, with the columns that its rule mentions. None at all may mean a whole row
    /// (`pg_depend` does not name columns then), and so counts as all of them.
    pub fn view_rests_on(&mut self, view: u32, base: u32, columns: &[String]) {
        let named: Vec<Arc<str>> = if columns.is_empty() {
            self.relations
                .get(&base)
                .into_iter()
                .flat_map(|base| &base.columns)
                .map(|column| column.name.clone())
                .collect()
        } else {
            columns.iter().map(|name| Arc::from(name.as_str())).collect()
        };
        self.reach(view, base, Way::Base, Some(named));
    }

    /// A row of `pg_inherits`: whoever reads the parent reads the child, and the child's rows are the parent's.
    pub fn inherits(&mut self, child: u32, parent: u32) {
        self.reach(parent, child, Way::Child, None);
        self.reach(child, parent, Way::Parent, None);
    }

    fn reach(&mut self, from: u32, to: u32, way: Way, columns: Option<Vec<Arc<str>>>) {
        let Some(id) = self.names.get(&to).cloned() else { return };
        if let Some(relation) = self.relations.get_mut(&from) {
            relation.reaches.push(Reach { id, way, columns });
        }
    }

    /// The overloads of one name in one schema, as one.
    pub fn function(&mut self, function: Function) {
        self.catalog.functions.entry(function.name.clone()).or_default().push(Arc::new(function));
    }

    /// A row of `pg_type`.
    pub fn type_name(&mut self, schema: &str, name: &str) {
        self.catalog.types.entry(name.into()).or_default().insert(schema.into());
    }

    /// An operator that somebody made with a function in a language other than C: what it does is not known. Those of
    /// extensions (`hstore`'s `=`) are C functions that only a superuser can make.
    pub fn user_operator(&mut self, name: &str) {
        self.catalog.operators.insert(name.into());
    }

    /// The snapshot.
    pub fn build(mut self) -> Catalog {
        static TAKEN: AtomicU64 = AtomicU64::new(1);
        self.catalog.id = TAKEN.fetch_add(1, Ordering::Relaxed);
        self.catalog.relations =
            self.relations.into_values().map(|relation| (relation.id.clone(), Arc::new(relation))).collect();
        self.catalog
    }
}
