//! What a statement does.
//!
//! Two independent readers look at a text. PostgreSQL's own grammar (`libpg_query`) is the authority: [`walk`] takes
//! its tree apart, node by node, into facts. `sqlparser` reads second and may only object. Whatever neither of them
//! accounts for makes the statement *opaque*, which is a value that policy refuses.
//!
//! This room has no I/O. A [`Catalog`] is a snapshot that somebody else fetched; names are resolved in it as the server
//! would resolve them, and what cannot be resolved is said to be so, never guessed.

mod builtins;
mod catalog;
mod facts;
mod guard;
mod lineage;
mod names;
mod position;
mod reading;
mod readings;
mod second;
mod shape;
mod stack;
mod temporary;
mod walk;

pub use builtins::{Pinned, is_sensitive, parameter_is_harmless, pinned, server_functions};
pub use catalog::{Action, Catalog, CatalogBuilder, Column, Function, Relation, RelationKind, RelationRef};
pub use facts::{
    Access, Analysis, ColumnRef, Effect, Flag, Missing, Object, Opaque, Place, Standing, Statement, Touch, Use,
};
pub use guard::Rejection;
pub use lineage::Handling;
pub use names::quoted;
pub use readings::Readings;
pub use temporary::{TEMPORARY, Temporary, is_temporary};
pub use walk::bases;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use stack::ORDINARY as STACK;

/// What the session has done so far that changes what a name means.
pub trait Session: Sync {
    /// The text that was prepared under a name, by SQL or by protocol.
    fn prepared(&self, name: &str) -> Option<Arc<str>>;

    /// What a portal or cursor was made of.
    fn portal(&self, name: &str) -> Option<Portal>;
}

/// What a portal or cursor was made of: its names were looked up when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// The text.
    pub text: Arc<str>,
    /// The search path at that time; `None` for the one that the session began with.
    pub path: Option<Arc<[Arc<str>]>>,
    /// Names of temporary relations that have come or gone since.
    pub differing: BTreeSet<String>,
}

/// No session at all.
pub(crate) struct Nobody;

impl Session for Nobody {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<Portal> {
        None
    }
}

/// Reads a text of one or more statements.
///
/// # Errors
/// [`Rejection`] where the server would not run any of it: no SQL, too long, too deep.
pub fn analyse(text: &str, catalog: &Catalog, session: &dyn Session) -> Result<Analysis, Rejection> {
    guard::check(text)?;
    if !stack::holds(text) {
        return stack::deep(|| read(text, catalog, session))?.map_err(too_deep)?;
    }
    match read(text, catalog, session) {
        Ok(analysis) => analysis,
        Err(walk::NeedsDepth) => stack::deep(|| read(text, catalog, session))?.map_err(too_deep)?,
    }
}

/// On a deep stack everything is read that the guard lets through.
fn too_deep(_: walk::NeedsDepth) -> Rejection {
    Rejection::TooComplex("what it runs is too long".to_owned())
}

fn read(text: &str, catalog: &Catalog, session: &dyn Session) -> Result<Result<Analysis, Rejection>, walk::NeedsDepth> {
    let tree = match pg_query::parse(text, pg_query::ParserOptions::DEFAULT) {
        Ok(tree) => tree,
        Err(error) => return Ok(Err(Rejection::from_parser(&error, text))),
    };
    let mut analysis = walk::walk(text, &tree.protobuf, catalog, session)?;
    analysis.shape = shape_of(text).map(Into::into);
    if let Some(objection) = second::object(text, &analysis) {
        for statement in &mut analysis.statements {
            statement.opaque.get_or_insert_with(|| objection.clone());
        }
    }
    Ok(Ok(analysis))
}

/// Names the form of a text: the same for texts that differ in constants and layout only.
fn shape_of(text: &str) -> Option<String> {
    if let Some(shape) = shape::Shape::of(text) {
        return Some(shape.name());
    }
    pg_query::fingerprint(text, pg_query::ParserOptions::DEFAULT, pg_query::FingerprintOptions::DEFAULT)
        .ok()
        .map(|fingerprint| fingerprint.hex)
}

#[cfg(test)]
mod tests;
