//! The search path: what names without a schema mean to the server, now and after a rollback.
//!
//! It is followed by the statements that set it, once the server has acknowledged them. Settings are transactional:
//! a rollback takes them back. Where nobody can tell any more (`ROLLBACK TO` after a change), the path is in doubt, and only
//! what sets it anew or ends the transaction may run.

use crate::sql::Effect;
use std::sync::Arc;

/// Schemas in order; `None` is what the session began with.
pub(super) type Schemas = Option<Arc<[Arc<str>]>>;

/// A path as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Path(Schemas),
    Doubt,
}

/// The session's search path.
#[derive(Debug)]
pub(super) struct SearchPath {
    session: Known,
    /// `SET LOCAL`: until the transaction ends.
    local: Option<Known>,
    /// What the session's was when the transaction that has changed it began.
    before: Option<Known>,
    /// Whether a statement has failed since the last ReadyForQuery.
    failed: bool,
}

impl Default for SearchPath {
    fn default() -> Self {
        Self { session: Known::Path(None), local: None, before: None, failed: false }
    }
}

impl SearchPath {
    /// The path that the next statement runs under.
    pub(super) fn now(&self) -> &Known {
        self.local.as_ref().unwrap_or(&self.session)
    }

    /// Whether the transaction under way has changed it: then the transaction's end changes it again.
    pub(super) fn is_changed(&self) -> bool {
        self.before.is_some() || self.local.is_some()
    }

    /// A statement has run; `tag` is how the server says what it did.
    pub(super) fn ran(&mut self, effect: &Effect, tag: &str) {
        match effect {
            Effect::SearchPath { path, local } => {
                let path = Known::Path(path.as_ref().map(|path| path.as_slice().into()));
                if *local {
                    self.local = Some(path);
                } else {
                    self.set(path);
                }
            }
            Effect::ResetAll | Effect::DiscardAll => self.set(Known::Path(None)),
            Effect::EndTransaction => {
                if tag.starts_with("ROLLBACK") {
                    self.roll_back();
                }
                self.before = None;
                self.local = None;
            }
            Effect::RollbackTo => {
                self.failed = false;
                if self.is_changed() {
                    self.set(Known::Doubt);
                }
            }
            Effect::None
            | Effect::Prepare(_)
            | Effect::Declare(_)
            | Effect::Deallocate(_)
            | Effect::Close(_)
            | Effect::DiscardTemporary
            | Effect::Fetch(_) => {}
        }
    }

    /// A statement has failed, and with it the transaction.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// No transaction is open any more.
    pub(super) fn idle(&mut self) {
        if std::mem::take(&mut self.failed) {
            self.roll_back();
        }
        self.before = None;
        self.local = None;
    }

    fn set(&mut self, path: Known) {
        let before = std::mem::replace(&mut self.session, path);
        self.before.get_or_insert(before);
        self.local = None;
    }

    fn roll_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.session = before;
        }
    }
}

/// Whether running this may change the path; `changed` says whether the transaction under way already has.
pub(super) fn touches(effect: &Effect, changed: bool) -> bool {
    match effect {
        Effect::EndTransaction | Effect::RollbackTo => changed,
        other => settles(other),
    }
}

/// Whether this may run while the path is in doubt.
pub(super) fn settles(effect: &Effect) -> bool {
    match effect {
        Effect::SearchPath { .. }
        | Effect::ResetAll
        | Effect::DiscardAll
        | Effect::EndTransaction
        | Effect::RollbackTo => true,
        Effect::None
        | Effect::Prepare(_)
        | Effect::Declare(_)
        | Effect::Deallocate(_)
        | Effect::Close(_)
        | Effect::DiscardTemporary
        | Effect::Fetch(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(schema: &str, local: bool) -> Effect {
        Effect::SearchPath { path: Some(vec![schema.into()]), local }
    }

    /// `i` stands for ReadyForQuery outside a transaction, `!` for an error; the rest is effect and tag.
    #[track_caller]
    fn check(events: &[(&str, Effect)], expected: &str) {
        let mut path = SearchPath::default();
        for (tag, effect) in events {
            match *tag {
                "i" => path.idle(),
                "!" => path.failed(),
                tag => path.ran(effect, tag),
            }
        }
        let said = match path.now() {
            Known::Path(None) => "default".to_owned(),
            Known::Path(Some(path)) => path.join(","),
            Known::Doubt => "doubt".to_owned(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn the_path_follows_transactions() {
        let none = || Effect::None;
        check(&[], "default");
        check(&[("SET", set("hr", false)), ("i", none())], "hr");
        check(&[("SET", set("hr", false)), ("!", none()), ("i", none())], "default");
        check(&[("SET", set("hr", false)), ("i", none()), ("!", none()), ("i", none())], "hr");
        check(&[("SET", set("hr", false)), ("ROLLBACK", Effect::EndTransaction)], "default");
        check(&[("SET", set("hr", false)), ("COMMIT", Effect::EndTransaction), ("i", none())], "hr");
        // COMMIT of a failed transaction says ROLLBACK.
        check(
            &[("SET", set("hr", false)), ("!", none()), ("ROLLBACK", Effect::EndTransaction), ("i", none())],
            "default",
        );
        check(&[("SET", set("hr", true))], "hr");
        check(&[("SET", set("hr", true)), ("COMMIT", Effect::EndTransaction)], "default");
        check(&[("SET", set("hr", true)), ("i", none())], "default");
        check(&[("SET", set("a", true)), ("SET", set("b", false)), ("COMMIT", Effect::EndTransaction)], "b");
        check(&[("SET", set("hr", false)), ("ROLLBACK", Effect::RollbackTo)], "doubt");
        check(&[("SET", set("hr", true)), ("ROLLBACK", Effect::RollbackTo)], "doubt");
        check(
            &[("SET", set("hr", true)), ("ROLLBACK", Effect::RollbackTo), ("ROLLBACK", Effect::EndTransaction)],
            "default",
        );
        check(&[("ROLLBACK", Effect::RollbackTo)], "default");
        check(
            &[("SET", set("hr", false)), ("ROLLBACK", Effect::RollbackTo), ("ROLLBACK", Effect::EndTransaction)],
            "default",
        );
        check(&[("SET", set("hr", false)), ("i", none()), ("RESET", Effect::ResetAll), ("i", none())], "default");
        check(&[("SET", set("hr", false)), ("i", none()), ("DISCARD ALL", Effect::DiscardAll)], "default");
    }
}
