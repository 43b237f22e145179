//! What the names in a prepared statement, portal or cursor meant when it was made.
//!
//! The server looks a prepared statement's names up again once something has happened to what they meant (a relation that is
//! dropped or called otherwise), but not because a new relation has come to stand before it in the search path. What a
//! portal means stays what it was. So a text that would be judged by another relation than the one that it reads is not
//! run.

use super::Session;
use super::judge::Bench;
use super::path::Schemas;
use crate::sql::{Analysis, Catalog, Object, RelationRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The relations that a text named; nothing for a text that goes on to mean nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Meant(Option<Arc<Named>>);

#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// The catalogue as it was seen, and without the search path.
    seen: u64,
    snapshot: u64,
    relations: BTreeMap<RelationRef, u32>,
}

impl Meant {
    pub(super) fn of(analysis: &Analysis, catalog: &Catalog) -> Self {
        let named = analysis.statements.iter().flat_map(|statement| &statement.uses).filter(|asked| asked.named);
        let relations = named.filter_map(|asked| match &asked.object {
            Object::Relation(id) => Some((id.clone(), catalog.get(id)?.oid)),
            _ => None,
        });
        let (seen, snapshot) = (catalog.id(), catalog.snapshot());
        Self(Some(Arc::new(Named { seen, snapshot, relations: relations.collect() })))
    }
}

impl Named {
    /// Whether one of them is not meant any more although it is still there.
    fn is_hidden(&self, now: &Self, catalog: &Catalog) -> bool {
        let is_there = |(id, oid): &(&RelationRef, &u32)| catalog.get(id).is_some_and(|known| known.oid == **oid);
        self.relations.iter().filter(is_there).any(|(id, oid)| now.relations.get(id) != Some(oid))
    }
}

/// How long a meaning lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// A prepared statement's: until something happens to what is meant.
    UntilChanged,
    /// A portal's.
    Forever,
}

impl Session {
    /// What the names of a text mean now; nothing for one that cannot be read.
    pub(super) fn meaning_of(&mut self, text: &str, path: &Schemas, bench: &Bench<'_>) -> Meant {
        let catalog = self.catalog_under(bench.catalog, path);
        let mut meant = Meant::default();
        self.reads(text, path, bench, |analysis| {
            meant = Meant::of(analysis, &catalog);
            true
        });
        meant
    }

    /// Whether a text that was judged by what its names mean now would run on something else.
    pub(super) fn means_another(
        &mut self,
        then: &Meant,
        (text, path): (&str, &Schemas),
        lasts: Lasts,
        bench: &Bench<'_>,
    ) -> bool {
        let catalog = self.catalog_under(bench.catalog, path);
        let Meant(then) = then;
        if then.as_ref().is_some_and(|then| then.seen == catalog.id()) || self.nothing_hangs(bench) {
            return false;
        }
        let Some(then) = then else { return true };
        if lasts == Lasts::UntilChanged && then.seen ^ then.snapshot != catalog.id() ^ catalog.snapshot() {
            // Under another path the server looks names up anew, but keeps what it found there too: nobody knows when that was.
            return then.snapshot != catalog.snapshot();
        }
        let Meant(Some(now)) = self.meaning_of(text, path, bench) else { return true };
        match lasts {
            Lasts::UntilChanged => then.is_hidden(&now, &catalog),
            Lasts::Forever => then.relations != now.relations,
        }
    }
}
