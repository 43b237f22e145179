//! CREATE FUNCTION: what the body does is asked of whoever defines it.
//!
//! A call is judged when it is made, but calls are made out of sight too: by triggers on what others write, by indexes that
//! the server tends by itself, by people who do not come this way. As with a view, nobody defines what he may not do.

use super::Walk;
use super::body::Kind;
use super::settings::constant;
use crate::sql::catalog::{Definition, FunctionName};
use crate::sql::facts::Access;
use crate::sql::reading::Reading;
use pg_query::NodeEnum;
use pg_query::protobuf::{CreateFunctionStmt, Node, RangeVar};
use std::sync::Arc;

impl Walk<'_> {
    pub(super) fn create_function(&mut self, create: &CreateFunctionStmt) {
        self.database(Access::Create);
        let name = super::strings(&create.funcname);
        if name.first().is_some_and(|schema| schema.starts_with("pg_temp")) {
            self.opaque("temporary functions shadow others and are not followed");
        }
        for node in &create.parameters {
            if let Some(NodeEnum::FunctionParameter(parameter)) = &node.node {
                self.boxed(&parameter.defexpr, Self::node);
            }
        }
        self.rests_on_types(&create.parameters);
        create.return_type.iter().for_each(|type_name| self.rests_on(type_name));
        // Its path is what its body is read under.
        self.set_for_calls(&create.options);
        let language = match option(create, "language") {
            Some(NodeEnum::String(language)) => language.sval.to_ascii_lowercase(),
            _ => "sql".to_owned(),
        };
        // Code of the server itself, or in a language that nobody can look into.
        if !matches!(language.as_str(), "sql" | "plpgsql") {
            return self.admin();
        }
        match self.body_of(create, &language) {
            Some(reading) => {
                self.define(&name.join("."), &reading);
                if create.replace {
                    self.replaces(&name, &reading);
                }
            }
            None => drop(self.found.unseen.insert(name.join("."))),
        }
    }

    /// What the body does; `None` where that cannot be told.
    fn body_of(&mut self, create: &CreateFunctionStmt, language: &str) -> Option<Arc<Reading>> {
        let path = path(create)?;
        let text = match (option(create, "as"), language) {
            // PL/pgSQL's compiler takes the whole statement.
            (Some(NodeEnum::List(_)), "plpgsql") => self.source?,
            (Some(NodeEnum::List(list)), _) => super::strings(&list.items).first().copied()?,
            _ => {
                let catalog = self.catalog.under(path.as_deref());
                let catalog = if path.is_some() { &catalog } else { self.catalog };
                let mut reading = Reading::default();
                let nodes = match create.sql_body.as_ref()?.node.as_ref()? {
                    NodeEnum::List(list) => inner(&list.items)?,
                    expression => vec![expression],
                };
                let mentioned = self.read_statements(nodes.into_iter(), catalog, Kind::Function, &mut reading);
                self.found.mentioned.extend(mentioned);
                return Some(Arc::new(reading));
            }
        };
        Some(self.reading(&Definition::new(language, text, path), Kind::Function))
    }

    fn define(&mut self, name: &str, reading: &Reading) {
        if reading.unseen.is_some() {
            self.found.unseen.insert(name.to_owned());
        }
        self.does(reading);
    }

    /// Where one by that name runs already, this one is given the same rows.
    fn replaces(&mut self, name: &[&str], reading: &Reading) {
        let Some((schema, name)) = super::qualified(&self.catalog.database, name) else {
            return self.opaque("a function of another database");
        };
        let schema = if schema.is_empty() { self.catalog.creation_schema() } else { Some(schema.into()) };
        let is_it = |function: &FunctionName| Some(&function.0) == schema.as_ref() && *function.1 == *name;
        let catalog = self.catalog;
        for relation in catalog.user_relations() {
            if relation.stored_calls.iter().any(is_it) {
                self.use_row(relation, |_| true);
            } else if relation.triggers.iter().any(is_it) {
                self.use_row(relation, |column| reading.row.all || reading.row.columns.contains(column));
            }
        }
    }

    /// A trigger is given rows of others, for whatever its function does with them.
    pub(super) fn attach_trigger(&mut self, range: &Option<RangeVar>, name: &[Node]) {
        self.attach_function(name);
        let parts = super::strings(name);
        let known = range.as_ref().and_then(|range| self.catalog.relation(&range.schemaname, &range.relname).cloned());
        let (Some(relation), Some((schema, name))) = (known, super::qualified(&self.catalog.database, &parts)) else {
            return;
        };
        let functions: Vec<_> = self.catalog.functions(schema, name).into_iter().cloned().collect();
        if functions.is_empty() {
            // Made in this transaction: nobody can say.
            return self.use_row(&relation, |_| true);
        }
        for function in functions {
            self.give_row(&relation, &(function.schema.clone(), function.name.clone()));
        }
    }

    /// A function that will run whenever somebody writes. One that is not known yet was judged when it was made.
    pub(super) fn attach_function(&mut self, name: &[Node]) {
        let parts = super::strings(name);
        let Some((schema, name)) = super::qualified(&self.catalog.database, &parts) else {
            return self.opaque("a trigger's function of another database");
        };
        let functions: Vec<_> = self.catalog.functions(schema, name).into_iter().cloned().collect();
        functions.iter().for_each(|function| self.call_function(function));
    }
}

fn option<'a>(create: &'a CreateFunctionStmt, name: &str) -> Option<&'a NodeEnum> {
    create.options.iter().find_map(|node| match &node.node {
        Some(NodeEnum::DefElem(option)) if option.defname == name => option.arg.as_ref()?.node.as_ref(),
        _ => None,
    })
}

/// The statements of `BEGIN ATOMIC ... END`: a list of lists.
fn inner(items: &[Node]) -> Option<Vec<&NodeEnum>> {
    let mut nodes = Vec::new();
    for item in items {
        match item.node.as_ref()? {
            NodeEnum::List(list) => nodes.extend(inner(&list.items)?),
            statement => nodes.push(statement),
        }
    }
    Some(nodes)
}

/// The search path that the function sets for itself, if it does. `None` where that cannot be told.
#[expect(clippy::option_option, reason = "no path of its own is another thing than one that is not known")]
fn path(create: &CreateFunctionStmt) -> Option<Option<Vec<Arc<str>>>> {
    let mut path = None;
    for node in &create.options {
        if let Some(NodeEnum::DefElem(option)) = &node.node
            && let Some(NodeEnum::VariableSetStmt(set)) = option.arg.as_ref().and_then(|node| node.node.as_ref())
            && set.name.eq_ignore_ascii_case("search_path")
        {
            let schemas: Option<Vec<Arc<str>>> = set.args.iter().map(|node| constant(node).map(Arc::from)).collect();
            // FROM CURRENT has none, and means the session's.
            path = Some(schemas?).filter(|schemas| !schemas.is_empty());
        }
    }
    Some(path)
}
