//! Settings: SET, RESET and `set_config`.

use super::Walk;
use crate::sql::builtins::{self, Pinned};
use crate::sql::facts::{Access, Flag, Object};
use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{Node, VariableSetKind, VariableSetStmt};

impl Walk<'_> {
    pub(super) fn set(&mut self, set: &VariableSetStmt) {
        let VariableSetStmt { kind, name, args, jumble_args: _, is_local: _, location: _ } = set;
        self.flag(Flag::SessionState);
        match VariableSetKind::try_from(*kind) {
            Ok(VariableSetKind::VarSetValue) => {
                let values: Option<Vec<String>> = args.iter().map(constant).collect();
                self.parameter(name, values.map(|values| values.join(",")).as_deref());
            }
            // SET TRANSACTION and SET SESSION CHARACTERISTICS: isolation, read only, deferrable, snapshot.
            Ok(VariableSetKind::VarSetMulti) if name == "TRANSACTION" || name == "SESSION CHARACTERISTICS" => {}
            Ok(VariableSetKind::VarSetMulti) => self.admin(),
            // Back to what the session began with, which is what the daemon set. The current value is no change.
            Ok(
                VariableSetKind::VarSetDefault
                | VariableSetKind::VarSetCurrent
                | VariableSetKind::VarReset
                | VariableSetKind::VarResetAll,
            ) => {}
            Ok(VariableSetKind::Undefined) | Err(_) => self.opaque("an unknown SET"),
        }
    }

    /// `set_config(name, value, is_local)`: SET by another name, readable only where the name is a constant.
    pub(super) fn set_config(&mut self, args: &[Node]) {
        self.flag(Flag::SessionState);
        match args {
            [name, value, _] => match constant(name) {
                Some(name) => self.parameter(&name, constant(value).as_deref()),
                None => self.opaque("set_config with a computed name"),
            },
            _ => self.opaque("set_config without its three arguments"),
        }
    }

    /// A setting and its value, `None` for a value that is not known before it runs.
    fn parameter(&mut self, name: &str, value: Option<&str>) {
        let name = name.to_ascii_lowercase();
        match builtins::pinned(&name, value) {
            Pinned::Free => {
                let harmless = builtins::parameter_is_harmless(&name);
                self.ask(Access::Set, Object::Parameter(name.into()), !harmless);
            }
            Pinned::Kept => {}
            Pinned::Refused(why) => self.opaque(why),
        }
    }
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
