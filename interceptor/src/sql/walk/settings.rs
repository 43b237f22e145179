//! Settings: SET, RESET and `set_config`.

use super::Walk;
use crate::sql::builtins::{self, Pinned};
use crate::sql::facts::{Access, Effect, Flag, Object};
use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{AExprKind, FuncCall, Node, SelectStmt, VariableSetKind, VariableSetStmt};
use std::sync::Arc;

impl Walk<'_> {
    pub(super) fn set(&mut self, set: &VariableSetStmt) {
        let VariableSetStmt { kind, name, args, jumble_args: _, is_local, location: _ } = set;
        self.flag(Flag::SessionState);
        let is_path = name.eq_ignore_ascii_case("search_path");
        match VariableSetKind::try_from(*kind) {
            Ok(VariableSetKind::VarSetValue) => {
                let values: Option<Vec<String>> = args.iter().map(constant).collect();
                match values {
                    Some(values) if is_path => self.search_path(values.iter().map(String::as_str), *is_local),
                    values => self.parameter(name, values.map(|values| values.join(",")).as_deref()),
                }
            }
            // SET TRANSACTION and SET SESSION CHARACTERISTICS: isolation, read only, deferrable, snapshot.
            Ok(VariableSetKind::VarSetMulti) if name == "TRANSACTION" || name == "SESSION CHARACTERISTICS" => {}
            Ok(VariableSetKind::VarSetMulti) => self.admin(),
            // Back to what the session began with, which is what the daemon set.
            Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarReset) if is_path => {
                self.found.effect = Effect::SearchPath { path: None, local: *is_local };
            }
            Ok(VariableSetKind::VarResetAll) => self.found.effect = Effect::ResetAll,
            // The current value, where it could be another than the session's: inside a function only.
            Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarSetCurrent | VariableSetKind::VarReset) => {}
            Ok(VariableSetKind::Undefined) | Err(_) => self.opaque("an unknown SET"),
        }
    }

    /// Names are looked up differently from here on.
    fn search_path<'n>(&mut self, names: impl Iterator<Item = &'n str>, local: bool) {
        let path: Vec<Arc<str>> = names.filter(|name| !name.is_empty()).map(Arc::from).collect();
        if path.iter().any(|schema| schema.len() > crate::sql::catalog::LONGEST_NAME) {
            return self.opaque("the server would cut a name in the search path");
        }
        if path.iter().any(|schema| schema.starts_with("pg_temp")) {
            return self.opaque("pg_temp is looked in first by itself; elsewhere in a search path it is not followed");
        }
        // Behind anything else, `pg_catalog` can be shadowed: an operator or a function of the same name stands before it.
        if path.iter().skip(1).any(|schema| &**schema == "pg_catalog") {
            return self.opaque("pg_catalog can only stand first in the search path, where it is by itself");
        }
        self.ask(Access::Set, Object::Parameter("search_path".into()), false);
        self.found.effect = Effect::SearchPath { path: Some(path), local };
    }

    /// `SELECT set_config('search_path', '...', false)` and nothing else: it runs exactly once.
    pub(super) fn sets_search_path(&mut self, select: &SelectStmt) -> bool {
        // Inside another statement nobody says whether and when it runs.
        if self.statements > 1 || self.nesting > 0 {
            return false;
        }
        let SelectStmt { target_list, .. } = select;
        let Some(call) = call_of_set_config(target_list) else { return false };
        let [name, value, local] = call.args.as_slice() else { return false };
        let is_path = constant(name).is_some_and(|name| name.eq_ignore_ascii_case("search_path"));
        let (Some(value), Some(local)) = (constant(value), constant(local)) else { return false };
        if !is_path || !matches!(local.as_str(), "true" | "false" | "t" | "f") {
            return false;
        }
        let alone = SelectStmt { target_list: target_list.clone(), ..SelectStmt::default() };
        if (SelectStmt { limit_option: alone.limit_option, op: alone.op, ..select.clone() }) != alone {
            return false;
        }
        self.found.mentioned.insert("set_config".to_owned());
        self.flag(Flag::SessionState);
        match crate::sql::catalog::path_of(&value) {
            Some(path) => self.search_path(path.iter().map(String::as_str), local.starts_with('t')),
            None => self.opaque("a search path that the server would read otherwise than it is written"),
        }
        true
    }

    /// `SELECT set_config(name, '...', false) FROM pg_settings WHERE name = '...'`, as pg_dump sets what older servers do not
    /// have: the row that there is has the name that the condition says.
    pub(super) fn sets_listed_setting(&mut self, select: &SelectStmt) -> bool {
        let SelectStmt { target_list, from_clause, where_clause, .. } = select;
        let Some(call) = call_of_set_config(target_list) else { return false };
        let alone = SelectStmt {
            target_list: target_list.clone(),
            from_clause: from_clause.clone(),
            where_clause: where_clause.clone(),
            ..SelectStmt::default()
        };
        let same_but_for_these =
            SelectStmt { limit_option: alone.limit_option, op: alone.op, ..select.clone() } == alone;
        let named = |node: Option<&Node>| match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) => super::strings(&column.fields) == ["name"],
            _ => false,
        };
        let [Node { node: Some(NodeEnum::RangeVar(range)) }] = from_clause.as_slice() else { return false };
        let is_list = range.alias.is_none()
            && self
                .catalog
                .relation(&range.schemaname, &range.relname)
                .is_some_and(|found| &*found.id.schema == "pg_catalog" && &*found.id.name == "pg_settings");
        let Some(NodeEnum::AExpr(test)) = where_clause.as_ref().and_then(|node| node.node.as_ref()) else {
            return false;
        };
        let is_equality = test.kind == AExprKind::AexprOp as i32
            && super::strings(&test.name) == ["="]
            && self.catalog.operators("=").iter().all(|operator| operator.function.is_none())
            && named(test.lexpr.as_deref());
        let (Some(setting), [name, value, _]) = (test.rexpr.as_deref().and_then(constant), call.args.as_slice()) else {
            return false;
        };
        if !same_but_for_these || !is_list || !is_equality || !named(Some(name)) {
            return false;
        }
        self.found.mentioned.extend(["set_config", "pg_settings"].map(str::to_owned));
        self.flag(Flag::SessionState);
        self.flag(Flag::ReadsConstants);
        self.parameter(&setting, constant(value).as_deref());
        true
    }

    /// `set_config(name, value, is_local)`: SET by another name, readable only where the name is a constant.
    pub(super) fn set_config(&mut self, args: &[Node]) {
        self.flag(Flag::SessionState);
        self.flag(Flag::ReadsConstants);
        match args {
            [name, value, _] => match constant(name) {
                Some(name) => self.parameter(&name, constant(value).as_deref()),
                None => {
                    self.flag(Flag::ChangesSession);
                    self.opaque("set_config with a computed name");
                }
            },
            _ => {
                self.flag(Flag::ChangesSession);
                self.opaque("set_config without its three arguments");
            }
        }
    }

    /// A setting and its value, `None` for a value that is not known before it runs.
    /// Settings that a function makes for the time of its calls (`SET role = ...` among the options of CREATE and ALTER FUNCTION):
    /// asked for as if they were made now. `true` if the search path is among them.
    pub(super) fn set_for_calls(&mut self, options: &[Node]) -> bool {
        let mut path = false;
        for option in options {
            if let Some(NodeEnum::DefElem(option)) = &option.node
                && let Some(NodeEnum::VariableSetStmt(set)) = option.arg.as_ref().and_then(|node| node.node.as_ref())
            {
                match VariableSetKind::try_from(set.kind) {
                    _ if set.name.eq_ignore_ascii_case("search_path") => path = true,
                    Ok(VariableSetKind::VarSetValue) => {
                        let values: Option<Vec<String>> = set.args.iter().map(constant).collect();
                        self.parameter(&set.name, values.map(|values| values.join(",")).as_deref());
                    }
                    // What is reset or taken from the session is what the daemon has set.
                    Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarSetCurrent | VariableSetKind::VarReset) => {
                    }
                    // One of them may be the path.
                    Ok(VariableSetKind::VarResetAll) => path = true,
                    Ok(VariableSetKind::VarSetMulti | VariableSetKind::Undefined) | Err(_) => {
                        self.opaque("an unknown SET of a function");
                    }
                }
            }
        }
        path
    }

    fn parameter(&mut self, name: &str, value: Option<&str>) {
        let name = name.to_ascii_lowercase();
        match builtins::pinned(&name, value) {
            Pinned::Free => {
                let harmless = builtins::parameter_is_harmless(&name);
                if builtins::chooses_plans(&name) {
                    self.found.unseen.insert(format!("the setting {name}"));
                }
                self.ask(Access::Set, Object::Parameter(name.into()), !harmless);
            }
            Pinned::Kept => {}
            Pinned::Refused(why) => {
                self.flag(Flag::ChangesSession);
                self.opaque(why);
            }
        }
    }
}

/// A list of targets that is one call of `set_config` and nothing else.
fn call_of_set_config(targets: &[Node]) -> Option<&FuncCall> {
    let [Node { node: Some(NodeEnum::ResTarget(target)) }] = targets else { return None };
    let Some(NodeEnum::FuncCall(call)) = &target.val.as_ref()?.node else { return None };
    matches!(super::strings(&call.funcname).as_slice(), ["set_config"] | ["pg_catalog", "set_config"]).then_some(call)
}

/// The text of a constant, whatever its type.
pub(super) fn constant(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(Val::Sval(value)) => Some(value.sval.clone()),
            Some(Val::Ival(value)) => Some(value.ival.to_string()),
            Some(Val::Fval(value)) => Some(value.fval.clone()),
            Some(Val::Boolval(value)) => Some(value.boolval.to_string()),
            Some(Val::Bsval(_)) | None => None,
        },
        // `set_config('jit'::text, ...)`: the cast to text changes nothing.
        Some(NodeEnum::TypeCast(cast)) => {
            let is_text =
                cast.type_name.as_ref().is_some_and(|name| super::strings(&name.names).last() == Some(&"text"));
            if is_text { constant(cast.arg.as_deref()?) } else { None }
        }
        _ => None,
    }
}
