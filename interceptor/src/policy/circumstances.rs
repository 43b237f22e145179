//! What surrounds a statement: the schema's `Context`.

use super::entities::text;
use crate::sql::{Flag, Statement};
use cedar_policy::{Context, RestrictedExpression};

/// What surrounds a statement: the schema's `Context`.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// Name of the database server as configured or dialled.
    pub server: String,
    /// The role that the daemon logged in with.
    pub role: String,
    /// The role that the client said it was; it can say what it likes.
    pub claimed_role: String,
    /// Whether that role's credential is known to have leaked.
    pub claimed_leaked: bool,
    /// What the process says about its work, as `NAME=value`; it can be made up.
    pub claimed: Vec<String>,
    /// The dialling program.
    pub exe: String,
    /// Its user.
    pub uid: u32,
    /// Its cgroup.
    pub cgroup: String,
    /// The programs above it, innermost first, joined by ` < `.
    pub ancestry: String,
    /// Whether the agent came over TLS.
    pub tls: bool,
    /// RFC 3339, UTC, to the second.
    pub now: String,
    /// Whether a transaction block is open.
    pub in_transaction: bool,
    /// Whether the schema has been changed in a way that the catalogue does not show yet.
    pub in_flux: bool,
    /// Bytes of the text.
    pub statement_bytes: usize,
    /// What the session has had so far.
    pub totals: Totals,
    /// What all sessions of the agent have had in the last hour.
    pub agent_totals: Totals,
}

/// What a session, or an agent, has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows that left.
    pub rows: u64,
    /// Bytes that left.
    pub bytes: u64,
    /// Statements that ran.
    pub statements: u64,
    /// Rows that were changed.
    pub affected: u64,
}

impl Totals {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What is left of it.
    pub fn without(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn each(self, other: Self, what: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            rows: what(self.rows, other.rows),
            bytes: what(self.bytes, other.bytes),
            statements: what(self.statements, other.statements),
            affected: what(self.affected, other.affected),
        }
    }
}

impl Circumstances {
    pub(super) fn context(&self, database: &str, statement: Option<&Statement>) -> Result<Context, String> {
        let long = |value: u64| RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX));
        let mut pairs = vec![
            ("server", text(&self.server)),
            ("database", text(database)),
            ("role", text(&self.role)),
            ("claimed_role", text(&self.claimed_role)),
            ("claimed_leaked", RestrictedExpression::new_bool(self.claimed_leaked)),
            ("claimed", RestrictedExpression::new_set(self.claimed.iter().map(|claim| text(claim)))),
            ("exe", text(&self.exe)),
            ("uid", long(u64::from(self.uid))),
            ("cgroup", text(&self.cgroup)),
            ("ancestry", text(&self.ancestry)),
            ("tls", RestrictedExpression::new_bool(self.tls)),
            ("now", RestrictedExpression::new_datetime(&self.now)),
            ("in_transaction", RestrictedExpression::new_bool(self.in_transaction)),
            ("statement_bytes", long(self.statement_bytes as u64)),
            ("session_rows", long(self.totals.rows)),
            ("session_bytes", long(self.totals.bytes)),
            ("session_statements", long(self.totals.statements)),
            ("agent_rows", long(self.agent_totals.rows)),
            ("agent_bytes", long(self.agent_totals.bytes)),
            ("agent_statements", long(self.agent_totals.statements)),
        ];
        let flags = statement.map(|statement| &statement.flags);
        let is = |flag: Flag| flags.is_some_and(|flags| flags.contains(&flag));
        if is(Flag::NoWhere) || is(Flag::HasWhere) {
            // One write without WHERE makes it a statement without.
            pairs.push(("has_where", RestrictedExpression::new_bool(!is(Flag::NoWhere))));
        }
        Context::from_pairs(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)))
            .map_err(|error| error.to_string())
    }
}
