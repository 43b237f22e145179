//! The vocabulary of an analysis.

use super::catalog::{Function, RelationRef};
use super::lineage::Handling;
use super::temporary::{TEMPORARY, is_temporary};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// What a text does, statement by statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Analysis {
    /// In the order in which they run.
    pub statements: Vec<Statement>,
    /// Names the form of the text: the same for texts that differ in constants and layout only.
    pub shape: Option<Arc<str>>,
    /// Names this very reading as long as the process lives; zero for one that is not kept.
    pub id: u64,
}

/// What one statement does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// Where it stands in the text, in bytes; beyond the text's end where it is the only one.
    pub span: Range<usize>,
    /// Everything it asks for; a set, so that repeating oneself costs nothing.
    pub uses: BTreeSet<Use>,
    /// What is done with each column that it reads, those under views and in partitions included.
    pub columns: BTreeMap<ColumnRef, Handling>,
    /// Which columns stand in which output column of its result; what stands in none of them is not shown.
    pub outputs: Vec<Place>,
    /// How many columns its result has, if that can be told.
    pub width: Option<usize>,
    /// What else is to be known about it.
    pub flags: BTreeSet<Flag>,
    /// What it does to the session.
    pub effect: Effect,
    /// What it does to the session's own relations.
    pub touch: Touch,
    /// Why it cannot be judged, if it cannot.
    pub opaque: Option<Opaque>,
    /// A name that the catalogue does not know.
    pub missing: Option<Missing>,
    /// Functions that cannot be seen through, and catalogues that hold values of any column: whatever there is may have
    /// been read, and by the functions written. `schema.name` each.
    pub unseen: BTreeSet<String>,
    /// What only triggers of what it writes ask for, and expressions kept with that.
    pub(super) by_triggers: BTreeSet<Use>,
    /// Names that the walk came across in any role: what the second reader may mention without objection.
    pub(super) mentioned: BTreeSet<String>,
}

/// A column by the names of its relation and its own.
pub type ColumnRef = (RelationRef, Arc<str>);

/// An output column, or a field of a row that stands in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The columns that stand in it.
    pub columns: BTreeMap<ColumnRef, Standing>,
    /// The fields, if it is a row of known ones.
    pub fields: Vec<Place>,
    /// The type of the columns in it, that under their domain; 0 where they are not of one.
    pub type_oid: u32,
}

/// How a column stands in an output column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// As it is.
    Whole,
    /// As it is, or something else in its place that the agent may have chosen.
    Mixed,
    /// A view's author made something of it.
    Computed,
}

/// One thing that a statement asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// What is done.
    pub access: Access,
    /// To what.
    pub object: Object,
    /// Whether the statement itself names the object. What is only reached *through* something named (the tables
    /// under a view, the partitions of a table, the server's own catalogues) needs no permit of its own, but what is
    /// forbidden stays forbidden there.
    pub named: bool,
}

/// What can be done to an object: policy's actions, one for one (`policies/schema.cedarschema`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the documentation; the schema explains each")]
pub enum Access {
    Select,
    Filter,
    Insert,
    Update,
    Delete,
    Merge,
    Truncate,
    CopyOut,
    CopyIn,
    Execute,
    Set,
    Create,
    Alter,
    Drop,
    Comment,
    Grant,
    Revoke,
    Lock,
    Listen,
    Notify,
    Admin,
}

impl Access {
    /// Whether what there is in a database changes, or who may do what with it.
    pub fn defines(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Alter | Self::Drop | Self::Comment | Self::Grant | Self::Revoke | Self::Admin
        )
    }

    /// Whether rows of a relation change.
    pub fn changes_rows(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete | Self::Merge | Self::Truncate | Self::CopyIn)
    }

    /// The action's name in policies and in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Filter => "filter",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Merge => "merge",
            Self::Truncate => "truncate",
            Self::CopyOut => "copy_out",
            Self::CopyIn => "copy_in",
            Self::Execute => "execute",
            Self::Set => "set",
            Self::Create => "create",
            Self::Alter => "alter",
            Self::Drop => "drop",
            Self::Comment => "comment",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Lock => "lock",
            Self::Listen => "listen",
            Self::Notify => "notify",
            Self::Admin => "admin",
        }
    }
}

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The database as a whole.
    Database,
    /// A schema by name.
    Schema(Arc<str>),
    /// A relation.
    Relation(RelationRef),
    /// A column of a relation.
    Column(RelationRef, Arc<str>),
    /// A function off the built-in allowlist.
    Function(Arc<Function>),
    /// A setting.
    Parameter(Arc<str>),
}

impl Object {
    /// Whether it is the session's own schema, or something in it.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Schema(schema) => **schema == *TEMPORARY,
            Self::Relation(id) | Self::Column(id, _) => is_temporary(id),
            Self::Database | Self::Function(_) | Self::Parameter(_) => false,
        }
    }
}

/// Facts beside the uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// An UPDATE or DELETE whose rows are restricted by WHERE, or a MERGE that joins by something.
    HasWhere,
    /// A write to every row, as far as can be told: `WHERE true` restricts nothing, and TRUNCATE has no condition.
    NoWhere,
    /// A data-modifying statement in WITH.
    WritesInWith,
    /// Rows are changed that the command tag does not count: by a function, in WITH, under EXPLAIN ANALYZE.
    WritesUncounted,
    /// EXPLAIN that runs what it explains.
    ExplainAnalyze,
    /// Results become a relation.
    Into,
    /// COPY towards the client.
    CopyOut,
    /// COPY from the client.
    CopyIn,
    /// Rows are locked.
    Locking,
    /// Session state changes.
    SessionState,
    /// Session state changes that is pinned or followed, in a way that cannot be followed.
    ChangesSession,
    /// EXECUTE: what it does depends on what was prepared before.
    RunsPrepared,
    /// Objects are made, changed or dropped.
    Ddl,
    /// A relation, or a column of one, is called otherwise from then on, or belongs elsewhere.
    Moves,
    /// SELECT, INSERT, UPDATE, DELETE or MERGE by itself.
    Ordinary,
    /// What it does hangs on the value of a constant: `ORDER BY 1`, `nextval('s')`.
    ReadsConstants,
    /// It runs a function, or a view's query, that cannot be seen through.
    RunsUnseen,
    /// A name in it is one of a temporary relation and would be one of another relation without that.
    Shadowed,
}

/// What a statement does to the session's own relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Touch {
    /// Nothing.
    #[default]
    None,
    /// It may change those that there are, as a change to others (`DROP ... CASCADE`) or the end of a transaction does.
    Perhaps,
    /// It makes some, or changes what is in one by the same name.
    Makes,
    /// It takes some away, or gives them other names, or nobody knows.
    Changes,
}

/// What a statement does to the session it runs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Effect {
    /// Nothing that has to be remembered.
    #[default]
    None,
    /// `PREPARE name AS ...`: the text that EXECUTE will run is this statement's own.
    Prepare(String),
    /// `DECLARE name CURSOR FOR ...`: a portal by that name.
    Declare(String),
    /// `DEALLOCATE name`, or all of them.
    Deallocate(Option<String>),
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD TEMP`.
    DiscardTemporary,
    /// `SET search_path`.
    SearchPath {
        /// What it is from then on; `None` for what the session began with.
        path: Option<Vec<Arc<str>>>,
        /// Whether it lasts until the end of the transaction only.
        local: bool,
    },
    /// `RESET ALL`: settings are what the session began with.
    ResetAll,
    /// `COMMIT` or `ROLLBACK`, which say in their command tag which of the two happened.
    EndTransaction,
    /// `ROLLBACK TO`: settings are what they were at the savepoint.
    RollbackTo,
    /// `CLOSE name`, or all of them.
    Close(Option<String>),
    /// `FETCH`: more rows of a portal or cursor.
    Fetch(String),
}

/// Why a statement cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Opaque(pub String);

/// A name that the catalogue does not know: perhaps the snapshot is old, perhaps there is no such thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A relation.
    #[error("relation \"{0}\" does not exist")]
    Relation(String),
    /// A function.
    #[error("function {0} does not exist")]
    Function(String),
    /// A column.
    #[error("column {0} does not exist")]
    Column(String),
    /// A type.
    #[error("type \"{0}\" does not exist")]
    Type(String),
    /// A schema.
    #[error("schema \"{0}\" does not exist")]
    Schema(String),
    /// A portal or cursor.
    #[error("cursor \"{0}\" does not exist")]
    Portal(String),
    /// A prepared statement.
    #[error("prepared statement \"{0}\" does not exist")]
    Prepared(String),
}

impl Statement {
    /// The verbs, for the record: every kind of access once, in a fixed order.
    pub fn verbs(&self) -> Vec<&'static str> {
        let accesses: BTreeSet<Access> = self.uses.iter().filter(|u| u.named).map(|u| u.access).collect();
        accesses.into_iter().map(Access::name).collect()
    }

    /// The one that says most about it: `delete` of a DELETE that returns rows, `select` of a SELECT that calls functions, `other`
    /// where it does nothing to an object.
    pub fn verb(&self) -> &'static str {
        let beside = |access: &Access| matches!(access, Access::Filter | Access::Execute);
        let accesses = || self.uses.iter().filter(|asked| asked.named).map(|asked| asked.access);
        let most = accesses().filter(|access| !beside(access)).max().or_else(|| accesses().max());
        most.map_or("other", Access::name)
    }

    /// The part of the text that is this statement.
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        let alone = || text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        text.get(self.span.clone()).unwrap_or_else(alone).trim()
    }

    /// Whether it is a trigger that asks for this, and not the statement.
    pub fn is_by_trigger(&self, asked: &Use) -> bool {
        self.by_triggers.contains(asked)
    }

    /// Whether the catalogue that sessions share may look different once it has run.
    pub fn changes_catalog(&self) -> bool {
        let defines = self.flags.contains(&Flag::Ddl) || self.flags.contains(&Flag::Into);
        let own = |asked: &&Use| asked.access.defines() && asked.object.is_temporary();
        let of_others = |asked: &&Use| asked.access.defines() && !asked.object.is_temporary();
        defines && (!self.uses.iter().any(|asked| own(&asked)) || self.uses.iter().any(|asked| of_others(&asked)))
    }

    /// Whether what it does hangs on no name of a relation, a type or a function.
    pub fn is_neutral(&self) -> bool {
        let runs_another = self.flags.contains(&Flag::RunsPrepared)
            || matches!(self.effect, Effect::Prepare(_) | Effect::Declare(_) | Effect::Fetch(_));
        let is_setting = |asked: &Use| matches!(asked.object, Object::Parameter(_));
        !runs_another && self.missing.is_none() && self.opaque.is_none() && self.uses.iter().all(is_setting)
    }

    /// Whether a name of these stands in it, in whatever role, or something in it may name others when it runs.
    pub fn may_mean<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        let calls = |asked: &Use| matches!(asked.object, Object::Function(_));
        self.uses.iter().any(calls) || names.any(|name| self.mentioned.contains(name))
    }
}
