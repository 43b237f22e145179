//! Temporary relations of one session, laid over the catalogue that all sessions share.
//!
//! The server looks for a relation's name, and for the type of its rows, among them first, before `pg_catalog` and before
//! the search path (`recomputeNamespacePath`); never for a function's or an operator's. Their schema has a number of its own
//! in each session; here and in policies it is [`TEMPORARY`].

use super::catalog::{Catalog, Contents, Definition, Reach, Relation, RelationKind, RelationRef, Way, next_number};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What SQL calls the schema of a session's own relations, whatever its number.
pub const TEMPORARY: &str = "pg_temp";

/// What a session's own schema holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    pub(super) relations: BTreeMap<Arc<str>, Relation>,
    /// Why what names mean cannot be told with these.
    pub(super) doubt: Option<&'static str>,
}

impl Temporary {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty() && self.doubt.is_none()
    }

    /// Why what names mean cannot be told with these, if it cannot.
    pub fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }

    /// Whether a change to what everybody shares may change these (`DROP TABLE ... CASCADE` takes views along).
    pub fn rests_on_others(&self) -> bool {
        let leads_out = |relation: &Relation| relation.reaches.iter().any(|reach| !is_temporary(&reach.id));
        self.relations.values().any(|relation| relation.kind == RelationKind::View || leads_out(relation))
    }

    /// The names of relations that are not the same here and there.
    pub fn differing<'a>(one: Option<&'a Self>, other: Option<&'a Self>) -> BTreeSet<&'a str> {
        let oids = |side: Option<&'a Self>| -> BTreeMap<&'a str, u32> {
            let relations = side.into_iter().flat_map(|side| &side.relations);
            relations.map(|(name, relation)| (&**name, relation.oid)).collect()
        };
        let (one, other) = (oids(one), oids(other));
        let names = one.keys().chain(other.keys()).copied();
        names.filter(|name| one.get(name) != other.get(name)).collect()
    }
}

/// Temporary relations as they stand before a certain catalogue.
#[derive(Debug)]
pub(super) struct Overlay {
    relations: HashMap<RelationRef, Arc<Relation>>,
    /// The catalogue's own number, without these.
    snapshot: u64,
}

impl Overlay {
    pub(super) fn get(&self, id: &RelationRef) -> Option<&Arc<Relation>> {
        self.relations.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }
}

impl Catalog {
    /// The same database as a session sees it that has these. What is remembered of texts and decisions goes by a number of
    /// its own, which nothing else has had or will have.
    pub fn with_temporary(&self, temporary: &Temporary) -> Self {
        let mut relations = HashMap::new();
        for relation in temporary.relations.values() {
            // What their definitions do was read against another catalogue.
            let fresh = |definition: &Definition| {
                let Definition { language, text, path, reading: _ } = definition;
                Definition {
                    reading: Default::default(),
                    language: language.clone(),
                    text: text.clone(),
                    path: path.clone(),
                }
            };
            let definition = relation.definition.as_ref().map(fresh);
            relations.insert(relation.id.clone(), Arc::new(Relation { definition, ..relation.clone() }));
        }
        // Whoever reads or writes the parent reads or writes the child.
        for child in temporary.relations.values() {
            let parents = child.reaches.iter().filter(|reach| reach.way == Way::Parent && !is_temporary(&reach.id));
            for parent in parents {
                let known = relations.get(&parent.id).cloned().or_else(|| self.get(&parent.id).cloned());
                let Some(mut known) = known else { continue };
                Arc::make_mut(&mut known).reaches.push(Reach { id: child.id.clone(), way: Way::Child });
                relations.insert(parent.id.clone(), known);
            }
        }
        let overlay = Overlay { relations, snapshot: self.snapshot() };
        self.laid_over(Some(Arc::new(overlay)), next_number())
    }

    /// The same as everybody sees it: what names meant in definitions that all sessions share.
    pub(super) fn without_temporary(&self) -> Self {
        match self.temporary() {
            Some(overlay) => self.laid_over(None, overlay.snapshot),
            None => self.clone(),
        }
    }

    /// Whether the session has relations of its own.
    pub fn has_temporary(&self) -> bool {
        self.temporary().is_some()
    }

    /// Whether a name without a schema would mean another relation if there were no temporary one.
    pub(super) fn is_elsewhere(&self, name: &str) -> bool {
        self.searched().any(|schema| *schema != *TEMPORARY && self.has_relation(&schema, name))
    }
}

/// Whether it is one of the session's own.
pub fn is_temporary(id: &RelationRef) -> bool {
    *id.schema == *TEMPORARY
}

/// What relations, of which the session's own are `mine`, make of an own schema.
pub(super) fn temporary_of(
    relations: impl Iterator<Item = Relation>,
    base: &Contents,
    odd: Option<&'static str>,
) -> Temporary {
    let relations: BTreeMap<Arc<str>, Relation> =
        relations.map(|relation| (relation.id.name.clone(), relation)).collect();
    let shadows =
        relations.values().any(|relation| relation.kind != RelationKind::Index && base.is_of_server(&relation.id.name));
    let doubt = odd
        .or_else(|| shadows.then_some("a temporary relation is called like a relation or a type of the server"))
        .or_else(|| {
            (!relations.is_empty() && base.path_names_temporary)
                .then_some("the search path that sessions begin with names pg_temp")
        });
    Temporary { relations, doubt }
}
