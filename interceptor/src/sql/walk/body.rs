//! SQL that the database holds: queries of views, bodies of functions and triggers.
//!
//! A function whose body cannot be read (another language, SQL made at run time, an extension's C code that may do
//! anything) may read and write all there is; a statement that runs one says so (`unseen`), and policy then
//! holds everything against the agent that it may not have.

use super::{Touched, Walk};
use crate::sql::builtins;
use crate::sql::catalog::{Definition, Function, FunctionName, Relation};
use crate::sql::facts::{Flag, Object, Use};
use crate::sql::lineage::Handling;
use crate::sql::reading::Reading;
use crate::sql::stack;
use pg_query::NodeEnum;
use std::collections::HashSet;
use std::sync::Arc;

/// Whose definition it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    View,
    Function,
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
        Some(self.reading(definition, Kind::View))
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
        }
        for function in &functions {
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
    }

    fn reading(&mut self, definition: &Definition, kind: Kind) -> Arc<Reading> {
        // A body without a path of its own means what its caller's path makes of it.
        let keeps = definition.path.is_some() || self.catalog.is_first_path();
        if let Some(reading) = definition.reading.get().filter(|_| keeps) {
            return reading.clone();
        }
        let reading = Arc::new(self.read_definition(definition, kind));
        // One that was read deep down may have been cut short there.
        if keeps && self.nesting < super::MOST_NESTING / 2 {
            return definition.reading.get_or_init(|| reading).clone();
        }
        reading
    }

    fn read_definition(&mut self, definition: &Definition, kind: Kind) -> Reading {
        if self.nesting >= super::MOST_NESTING {
            return unseen("definitions in the database that call each other too often");
        }
        let catalog = match &definition.path {
            Some(path) => self.catalog.under(Some(path)),
            None => self.catalog.clone(),
        };
        let pieces = match &*definition.language {
            "sql" => vec![Piece::Sql(statements(&definition.text))],
            _ => match plpgsql(&definition.text) {
                Ok(pieces) => pieces,
                Err(why) => return unseen(why),
            },
        };
        let mut reading = Reading::default();
        for piece in &pieces {
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
            let (mut created, mut touched) = (HashSet::new(), Touched::default());
            for raw in &tree.protobuf.stmts {
                let Some(node) = raw.stmt.as_ref().and_then(|node| node.node.as_ref()) else { continue };
                let mut inner = Walk::new(&catalog, self.session, &mut created, &mut touched, self.nesting + 1);
                inner.has_variables = kind == Kind::Function;
                let outputs = match node {
                    NodeEnum::SelectStmt(_)
                    | NodeEnum::InsertStmt(_)
                    | NodeEnum::UpdateStmt(_)
                    | NodeEnum::DeleteStmt(_)
                    | NodeEnum::MergeStmt(_) => inner.query(node),
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
                if let Some(opaque) = &inner.found.opaque {
                    reading.unseen.get_or_insert(opaque.to_string());
                }
                if let Some(name) = inner.found.unseen.first() {
                    reading.unseen.get_or_insert_with(|| format!("`{name}` cannot be seen through"));
                }
                if let Some(missing) = &inner.found.missing {
                    reading.unseen.get_or_insert(missing.to_string());
                }
                reading.outputs = if counted { origins } else { Vec::new() };
                reading.uses.extend(inner.found.uses.into_iter().map(|asked| Use { named: false, ..asked }));
                for (column, how) in inner.found.columns {
                    *reading.columns.entry(column).or_default() |= how;
                }
            }
        }
        reading
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
    let tree = pg_query::parse_plpgsql(definition).map_err(|error| error.to_string())?;
    let mut pieces = Vec::new();
    collect(&tree, &mut pieces, 0)?;
    Ok(pieces)
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
