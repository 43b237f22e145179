//! The second reader: `sqlparser`, another grammar by other people. It may only object.
//!
//! Where it can parse a text and sees a relation, a function or a further statement that the walk has not seen, one of
//! the two is wrong, and nobody should act on the text. Where it cannot parse (a third of what psql and pg_dump ask), it
//! has no say. Its output is never sent anywhere.

use super::facts::{Analysis, Opaque};
use super::names::truncated;
use sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart, TableFactor, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Longest text that it reads, in bytes. Its recursion limit does not cover chains of operators, whose trees overflow
/// the stack when dropped (measured: from 66 kB on a 2 MiB stack); it is slow as well.
const LONGEST: usize = 8 << 10;

/// What looks like a call or a relation to it and is syntax to the server.
const SYNTAX: &[&str] = &[
    "array",
    "cast",
    "ceil",
    "coalesce",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "floor",
    "greatest",
    "grouping",
    "hash",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "least",
    "list",
    "localtime",
    "localtimestamp",
    "merge_action",
    "normalize",
    "nullif",
    "only",
    "overlay",
    "position",
    "range",
    "row",
    "session_user",
    "substring",
    "system_user",
    "treat",
    "trim",
    "user",
    "values",
    "xmlagg",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// What it objects to, if anything.
pub(super) fn object(text: &str, analysis: &Analysis) -> Option<Opaque> {
    if text.len() > LONGEST {
        return None;
    }
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    if statements.len() > analysis.statements.len() {
        return Some(Opaque("two parsers see different numbers of statements".to_owned()));
    }
    let mut seen = Seen::default();
    // The visitor never breaks off, so there is nothing to be learnt from how it ended.
    let _whole = statements.visit(&mut seen);
    let known = |name: &String| {
        SYNTAX.contains(&name.as_str())
            || analysis.statements.iter().any(|statement| statement.mentioned.contains(name))
    };
    let unknown = seen.names.iter().find(|name| !known(name))?;
    Some(Opaque(format!("two parsers disagree about `{unknown}`")))
}

#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
}

impl Seen {
    fn name(&mut self, name: &ObjectName) {
        if let Some(ObjectNamePart::Identifier(ident)) = name.0.last() {
            self.names.insert(folded(ident));
        }
    }
}

/// Unquoted names are lower case to the server, and all of them are cut at 63 bytes.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => truncated(&ident.value).to_owned(),
        None => truncated(&ident.value.to_ascii_lowercase()).to_owned(),
    }
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.name(relation);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Function { name, .. } = factor {
            self.name(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression {
            self.name(&function.name);
        }
        ControlFlow::Continue(())
    }
}
