//! SQL that the database holds: queries of views, bodies of functions and triggers.
//!
//! A function whose body cannot be read (another language, SQL made at run time, an extension's C code that may do
//! anything) may read and write all there is; a statement that runs one says so (`unseen`), and policy then
//! holds everything against the agent that it may not have.

use super::{Touched, Walk};
use crate::sql::builtins;
use crate::sql::catalog::{Catalog, Definition, Function, FunctionName, Relation, RelationKind, Way};
use crate::sql::facts::{Effect, Flag, Object, Use};
use crate::sql::lineage::{Field, Handling};
use crate::sql::reading::{Reading, RowUse, words};
use crate::sql::stack;
use crate::sql::temporary::is_temporary;
use pg_query::NodeEnum;
use pg_query::protobuf::RangeVar;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// Whose definition it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    View,
    /// Of the session's own.
    OwnView,
    Function,
}

/// Definitions that may be read for one statement.
const MOST_READ: u32 = 1000;

/// Columns that may be looked at or copied for one statement: some tens of milliseconds.
const MOST_WORK: usize = 1_000_000;

/// The definitions that are being read, for those that call themselves or each other.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// Outermost first, each with the catalogue that it is read under.
    stack: Vec<(*const Definition, u64)>,
    /// The outermost one that was met again.
    again: Rc<Cell<usize>>,
    /// How many more may be read.
    left: Rc<Cell<u32>>,
    /// How many more columns may be looked at or copied: stars and joins multiply them.
    work: Rc<Cell<usize>>,
}

impl Open {
    /// Takes from what may be done for one statement; `false` when that is used up.
    pub(super) fn affords(&self, columns: usize) -> bool {
        let left = self.work.get().saturating_sub(columns + 1);
        self.work.set(left);
        left > 0
    }
}

impl Default for Open {
    fn default() -> Self {
        Self {
            stack: Vec::new(),
            again: Rc::new(Cell::new(usize::MAX)),
            left: Rc::new(Cell::new(MOST_READ)),
            work: Rc::new(Cell::new(MOST_WORK)),
        }
    }
}

/// SQL in a PL/pgSQL function.
enum Piece {
    /// Statements.
    Sql(String),
    /// An expression, or an assignment whose right side is one.
    Expression(String),
}

impl Walk<'_> {
    /// What a view's query does; `None` for what is no view or has no query that is known.
    pub(super) fn view(&mut self, relation: &Relation) -> Option<Arc<Reading>> {
        let definition = relation.definition.as_ref()?;
        let kind = if is_temporary(&relation.id) { Kind::OwnView } else { Kind::View };
        Some(self.reading(definition, kind))
    }

    /// A function runs, and so does its body.
    pub(super) fn run_function(&mut self, function: &Arc<Function>) {
        match builtins::sight(function) {
            // Arguments that are left out are expressions too.
            builtins::Sight::Nothing if !self.catalog.bodies(function).is_empty() => self.run_bodies(function),
            builtins::Sight::Nothing => {}
            builtins::Sight::Anything => self.unseen(function),
            builtins::Sight::Body => self.run_bodies(function),
        }
    }

    /// A trigger's function runs along with a write.
    pub(super) fn run_trigger(&mut self, (schema, name): &FunctionName) {
        let functions: Vec<_> = self.catalog.functions(schema, name).into_iter().cloned().collect();
        if functions.is_empty() {
            self.found.unseen.insert(format!("{schema}.{name}"));
            self.flag(Flag::RunsUnseen);
        }
        // Of the server's own, what needs no permit: casts between its types are functions in SQL.
        let acts = |function: &&Arc<Function>| !builtins::is_harmless(&function.schema, &function.name);
        for function in functions.iter().filter(acts) {
            self.found.uses.insert(Use {
                access: crate::sql::Access::Execute,
                object: Object::Function(function.clone()),
                named: false,
            });
            self.run_function(function);
        }
    }

    fn unseen(&mut self, function: &Function) {
        self.found.unseen.insert(format!("{}.{}", function.schema, function.name));
        self.flag(Flag::RunsUnseen);
    }

    /// The function of a trigger on a relation: what it does with the row, it does with columns of the relation.
    pub(super) fn run_trigger_on(&mut self, relation: &Arc<Relation>, trigger: &FunctionName) {
        self.run_trigger(trigger);
        self.give_row(relation, trigger);
    }

    /// What a trigger's function does with the row that it is given.
    pub(super) fn give_row(&mut self, relation: &Arc<Relation>, trigger: &FunctionName) {
        let catalog = self.catalog;
        for function in catalog.functions(&trigger.0, &trigger.1) {
            for definition in catalog.bodies(function) {
                let reading = self.reading(definition, Kind::Function);
                self.use_row(relation, |name| reading.row.all || reading.row.columns.contains(name));
            }
        }
    }

    /// Something is done with these columns of rows of a relation.
    pub(super) fn use_row(&mut self, relation: &Arc<Relation>, used: impl Fn(&str) -> bool) {
        let mut how = Handling::USED;
        how |= Handling::DERIVED;
        let columns = relation.columns.iter().filter(|column| used(&column.name));
        let done: BTreeMap<_, _> = columns.map(|column| (column.name.clone(), how)).collect();
        if !done.is_empty() {
            // Also what lies under a view, above a partition, and behind a generated column.
            self.ask_underneath(relation, crate::sql::Access::Filter, &done);
            self.spread_to(relation, true, crate::sql::Access::Filter, &done, &mut HashSet::new(), 0);
        }
    }

    /// What is kept with a relation runs when its rows are looked through or made anew: what its expressions call, and for a
    /// materialized view its query. Whoever may change those functions would else have them do anything that way.
    pub(super) fn run_stored(&mut self, range: &Option<RangeVar>) {
        let Some(range) = range else { return };
        let mut next: Vec<_> = self.catalog.relation(&range.schemaname, &range.relname).cloned().into_iter().collect();
        let mut seen = HashSet::new();
        while let Some(relation) = next.pop() {
            if !seen.insert(relation.id.clone()) {
                continue;
            }
            relation.stored_calls.iter().for_each(|function| self.run_trigger(function));
            // What they are given of rows that are there already may come out in what they say.
            if relation.stored_calls.iter().any(|(schema, _)| &**schema != "pg_catalog") {
                self.use_row(&relation, |_| true);
            }
            if relation.kind == RelationKind::MaterializedView {
                self.run_query_of(&relation);
            }
            let children = relation.reaches.iter().filter(|reach| reach.way == Way::Child);
            next.extend(children.filter_map(|child| self.catalog.get(&child.id).cloned()));
        }
    }

    /// The query of a materialized view fills it. What it reads itself stays hidden behind it; what functions read for it is
    /// read by whoever has them run, for they may be others by the time that somebody looks at the result.
    fn run_query_of(&mut self, relation: &Arc<Relation>) {
        let reading = self.view(relation).filter(|reading| reading.unseen.is_none());
        let Some(reading) = reading else {
            self.found.unseen.insert(format!("{}.{}", relation.id.schema, relation.id.name));
            return self.flag(Flag::RunsUnseen);
        };
        let calls =
            |asked: &Use| matches!(&asked.object, Object::Function(function) if &*function.schema != "pg_catalog");
        if reading.uses.iter().any(calls) {
            self.does(&reading);
        }
    }

    /// Asks for all that a body does.
    pub(super) fn does(&mut self, reading: &Reading) {
        if reading.uses.iter().any(|asked| asked.access.changes_rows()) {
            self.flag(Flag::WritesUncounted);
        }
        self.found.uses.extend(reading.uses.iter().cloned());
        for (column, how) in &reading.columns {
            // What it reads may come back as anything.
            let known = self.found.columns.entry(column.clone()).or_default();
            *known |= *how;
            *known |= Handling::DERIVED;
        }
    }

    fn run_bodies(&mut self, function: &Arc<Function>) {
        let catalog = self.catalog;
        let bodies = catalog.bodies(function);
        if bodies.is_empty() {
            self.unseen(function);
        }
        for definition in bodies {
            let reading = self.reading(definition, Kind::Function);
            if reading.unseen.is_some() {
                self.unseen(function);
            }
            if reading.changes_session {
                self.flag(Flag::ChangesSession);
                self.opaque(format!("`{}` changes what later statements of the session mean", function.name));
            }
            self.does(&reading);
        }
    }

    pub(super) fn reading(&mut self, definition: &Definition, kind: Kind) -> Arc<Reading> {
        // A body without a path of its own means what its caller's path makes of it, and any body what the caller's temporary
        // relations make of it. A view's names were looked up when it was made.
        let settled = kind != Kind::Function || !self.catalog.has_temporary();
        let keeps = settled && definition.path.is_some() || self.catalog.is_first_sight();
        if let Some(reading) = definition.reading.get().filter(|_| keeps) {
            return reading.clone();
        }
        let this = (std::ptr::from_ref(definition), self.catalog.id);
        if let Some(place) = self.open.stack.iter().position(|open| *open == this) {
            // It calls itself: what it does is being counted.
            self.open.again.set(self.open.again.get().min(place));
            // Whose row it runs for is not known here.
            return Arc::new(Reading { row: RowUse { all: true, ..RowUse::default() }, ..Reading::default() });
        }
        let place = self.open.stack.len();
        let before = self.open.again.replace(usize::MAX);
        self.open.stack.push(this);
        let reading = Arc::new(self.read_definition(definition, kind));
        self.open.stack.pop();
        let again = self.open.again.get();
        // One that was read deep down, or when nothing more might be done for a statement, may have been cut short there, and
        // one that calls what stands around it is a part.
        let spent = !self.open.affords(0) || self.open.left.get() == 0;
        let complete = again >= place && self.nesting < super::MOST_NESTING / 2 && !spent;
        self.open.again.set(before.min(if again < place { again } else { usize::MAX }));
        if keeps && complete {
            return definition.reading.get_or_init(|| reading).clone();
        }
        reading
    }

    fn read_definition(&mut self, definition: &Definition, kind: Kind) -> Reading {
        let left = self.open.left.get();
        if self.nesting >= super::MOST_NESTING || left == 0 {
            return unseen("definitions in the database that call each other too often");
        }
        self.open.left.set(left - 1);
        let base = match kind {
            Kind::View => self.catalog.without_temporary(),
            Kind::OwnView | Kind::Function => self.catalog.clone(),
        };
        let catalog = match &definition.path {
            Some(path) => base.under(Some(path)),
            None => base,
        };
        let pieces = match &*definition.language {
            "sql" => vec![Piece::Sql(statements(&definition.text))],
            _ => match plpgsql(&definition.text) {
                Ok(pieces) => pieces,
                Err(why) => return unseen(why),
            },
        };
        let mut reading = Reading::default();
        // Under another name, what is done with the row does not show.
        reading.row.all = definition.language.as_ref() != "sql" && renames_row(&definition.text);
        for piece in &pieces {
            let (Piece::Sql(said) | Piece::Expression(said)) = piece;
            reading.row.note(said);
            let (text, what) = match piece {
                Piece::Sql(text) => (text.clone(), "a statement"),
                Piece::Expression(text) => (format!("SELECT {text}"), "an expression"),
            };
            if !stack::holds(&text) {
                return unseen("it is too long");
            }
            let Ok(tree) = pg_query::parse(&text, pg_query::ParserOptions::DEFAULT) else {
                return unseen(format!("{what} of it cannot be read"));
            };
            let nodes = tree.protobuf.stmts.iter().filter_map(|raw| raw.stmt.as_ref()?.node.as_ref());
            self.read_statements(nodes, &catalog, kind, &mut reading);
        }
        reading
    }

    /// Adds what statements of a definition do; gives the names that they mention.
    pub(super) fn read_statements<'n>(
        &mut self,
        nodes: impl Iterator<Item = &'n NodeEnum>,
        catalog: &Catalog,
        kind: Kind,
        reading: &mut Reading,
    ) -> BTreeSet<String> {
        let (mut created, mut touched) = (HashSet::new(), Touched::default());
        let mut mentioned = BTreeSet::new();
        for node in nodes {
            let mut inner = Walk::new(catalog, self.session, &mut created, &mut touched, self.nesting + 1);
            inner.has_variables = kind == Kind::Function;
            inner.open.clone_from(&self.open);
            let outputs = match node {
                NodeEnum::SelectStmt(_)
                | NodeEnum::InsertStmt(_)
                | NodeEnum::UpdateStmt(_)
                | NodeEnum::DeleteStmt(_)
                | NodeEnum::MergeStmt(_) => inner.query(node),
                NodeEnum::ReturnStmt(returned) => {
                    let value = inner.boxed(&returned.returnval, Walk::node);
                    vec![Field { value, ..Field::default() }]
                }
                other => {
                    inner.statement(other);
                    Vec::new()
                }
            };
            let counted = !outputs.iter().any(|field| field.many);
            let origins: Vec<_> = outputs.iter().map(|field| inner.origin(&field.value)).collect();
            // Whatever a function returns leaves with it; a view's columns are told apart by those who read it.
            if kind == Kind::Function {
                inner.show(&outputs);
            }
            inner.settle();
            inner.run_triggers();
            let changes = inner.found.flags.contains(&Flag::ChangesSession) || inner.found.effect != Effect::None;
            reading.changes_session |= kind == Kind::Function && changes;
            if let Some(opaque) = &inner.found.opaque {
                reading.unseen.get_or_insert(opaque.to_string());
            }
            if let Some(name) = inner.found.unseen.first() {
                reading.unseen.get_or_insert_with(|| format!("`{name}` cannot be seen through"));
            }
            if let Some(missing) = &inner.found.missing {
                reading.unseen.get_or_insert(missing.to_string());
            }
            if inner.found.flags.contains(&Flag::Shadowed) {
                // It may have been planned before there was one, and what it was planned for is still there.
                reading.unseen.get_or_insert_with(|| "a temporary relation stands before one that it names".to_owned());
            }
            reading.outputs = if counted { origins } else { Vec::new() };
            mentioned.append(&mut inner.found.mentioned);
            reading.uses.extend(inner.found.uses.into_iter().map(|asked| Use { named: false, ..asked }));
            for (column, how) in inner.found.columns {
                *reading.columns.entry(column).or_default() |= how;
            }
        }
        mentioned
    }
}

fn unseen(why: impl Into<String>) -> Reading {
    Reading { unseen: Some(why.into()), ..Reading::default() }
}

/// The body of a function in SQL, also of one in the standard's form (`RETURN x`, `BEGIN ATOMIC ...; END`).
fn statements(body: &str) -> String {
    let trimmed = body.trim();
    if let Some(expression) = trimmed.strip_prefix("RETURN ") {
        return format!("SELECT {expression}");
    }
    match trimmed.strip_prefix("BEGIN ATOMIC").and_then(|inside| inside.strip_suffix("END")) {
        Some(inside) => inside.to_owned(),
        None => body.to_owned(),
    }
}

/// The SQL in a PL/pgSQL function, as its own compiler finds it; an error for what makes SQL at run time.
fn plpgsql(definition: &str) -> Result<Vec<Piece>, String> {
    let parts = Parts::of(definition).ok_or("it is not written as functions are")?;
    let source = if parts.is_trigger { parts.as_function() } else { definition.to_owned() };
    let tree = pg_query::parse_plpgsql(&source).map_err(|error| error.to_string())?;
    let mut records = HashSet::new();
    collect_records(&tree, &mut records, 0);
    if !records.is_empty() && sets_declared(&parts.body, &records) {
        return Err("it gives a record a value where it declares it".to_owned());
    }
    let mut pieces = Vec::new();
    collect(&tree, &mut pieces, 0)?;
    Ok(pieces)
}

/// Whether a body gives another name to something: `o ALIAS FOR OLD`.
fn renames_row(definition: &str) -> bool {
    let Some(parts) = Parts::of(definition) else { return true };
    words(&parts.body).is_none_or(|words| words.iter().any(|word| word == "alias"))
}

/// What a CREATE FUNCTION is made of.
struct Parts {
    body: String,
    is_trigger: bool,
}

impl Parts {
    fn of(definition: &str) -> Option<Self> {
        let tree = pg_query::parse(definition, pg_query::ParserOptions::DEFAULT).ok()?;
        let node = tree.protobuf.stmts.first()?.stmt.as_ref()?.node.as_ref()?;
        let NodeEnum::CreateFunctionStmt(create) = node else { return None };
        let returns = create.return_type.as_ref().map(|name| super::strings(&name.names)).unwrap_or_default();
        let body = create.options.iter().find_map(|node| match &node.node {
            Some(NodeEnum::DefElem(option)) if option.defname == "as" => match &option.arg.as_ref()?.node {
                Some(NodeEnum::List(list)) => super::strings(&list.items).first().map(|body| (*body).to_owned()),
                _ => None,
            },
            _ => None,
        })?;
        Some(Self { body, is_trigger: matches!(returns.last(), Some(&("trigger" | "event_trigger"))) })
    }

    /// A trigger's body as that of an ordinary function: what the parser says of the variables that triggers have by
    /// themselves is not JSON (libpg_query 17 and 18, `dump_function`).
    fn as_function(&self) -> String {
        format!(
            "CREATE FUNCTION f(new record, old record, tg_name name, tg_when text, tg_level text, tg_op text, tg_relid oid, \
             tg_relname name, tg_table_name name, tg_table_schema name, tg_nargs integer, tg_argv text[], tg_event text, \
             tg_tag text) RETURNS record LANGUAGE plpgsql AS '{}'",
            self.body.replace('\'', "''")
        )
    }
}

/// The names of variables that hold rows.
fn collect_records(tree: &serde_json::Value, names: &mut HashSet<String>, depth: usize) {
    if depth > 500 {
        return;
    }
    match tree {
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_records(item, names, depth + 1)),
        serde_json::Value::Object(members) => {
            for (kind, value) in members {
                if kind == "PLpgSQL_rec"
                    && let Some(name) = value.get("refname").and_then(serde_json::Value::as_str)
                {
                    names.insert(name.to_owned());
                }
                collect_records(value, names, depth + 1);
            }
        }
        _ => {}
    }
}

/// Whether a variable of these is declared with a value, which the parser does not show (`PLpgSQL_rec.default_val`).
fn sets_declared(body: &str, records: &HashSet<String>) -> bool {
    // What cannot be taken apart may.
    let Some(words) = words(body) else { return true };
    let (mut declares, mut depth, mut name) = (false, 0_usize, None);
    for word in words {
        match word.as_str() {
            "declare" => (declares, depth, name) = (true, 0, None),
            // `begin` is a column's name as well.
            "begin" if depth == 0 && name.is_none() => declares = false,
            _ if !declares => {}
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => name = None,
            ":=" | "=" | "default" if depth == 0 => {
                if name.as_ref().is_some_and(|name| records.contains(name)) {
                    return true;
                }
            }
            _ => {
                name.get_or_insert(word);
            }
        }
    }
    false
}

fn collect(tree: &serde_json::Value, pieces: &mut Vec<Piece>, depth: usize) -> Result<(), String> {
    if depth > 500 {
        return Err("it is nested too deeply".to_owned());
    }
    match tree {
        serde_json::Value::Array(items) => items.iter().try_for_each(|item| collect(item, pieces, depth + 1)),
        serde_json::Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            let computed = matches!(name.as_str(), "PLpgSQL_stmt_dynexecute" | "PLpgSQL_stmt_dynfors" | "dynquery");
            if computed {
                return Err("it makes SQL at run time".to_owned());
            }
            if let (true, Some(text)) = (name == "query", value.as_str()) {
                let text = assigned(text);
                let whole = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).is_ok();
                pieces.push(if whole { Piece::Sql(text.to_owned()) } else { Piece::Expression(text.to_owned()) });
                return Ok(());
            }
            collect(value, pieces, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// The right side of `variable := expression`.
fn assigned(text: &str) -> &str {
    match text.split_once(":=") {
        Some((left, right))
            if left.trim().chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '[' | ']')) =>
        {
            right
        }
        _ => text,
    }
}
