//! From what a statement does with columns to what it asks for: views down to the tables under them, partitions and
//! children along with their parents.

use super::{Met, Walk, is_open_catalog};
use crate::sql::catalog::{Relation, RelationKind, Way};
use crate::sql::facts::{Access, ColumnRef, Effect, Flag, Object, Standing, Statement, Touch, Use};
use crate::sql::lineage::{ColumnSet, Handling};
use crate::sql::{RelationRef, builtins};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Whether reading these columns of a relation needs no permit.
fn is_open(relation: &Relation, done: &BTreeMap<Arc<str>, Handling>) -> bool {
    let columns = done.keys().map(|column| &**column);
    is_open_catalog(relation) || builtins::is_open_but_for(&relation.id.schema, &relation.id.name, columns)
}

impl Walk<'_> {
    pub(super) fn finish(mut self, span: Range<usize>) -> Statement {
        self.settle();
        if !self.triggered.is_empty() {
            let own = self.found.uses.clone();
            self.run_triggers();
            self.found.by_triggers = &self.found.uses - &own;
        }
        self.found.span = span;
        self.found.touch = self.found.touch.max(self.touch());
        self.found
    }

    /// What the statement does to the session's own relations.
    fn touch(&self) -> Touch {
        let own = |asked: &Use| asked.access.defines() && asked.object.is_temporary();
        let drops = self.found.uses.iter().any(|asked| own(asked) && asked.access == Access::Drop);
        let defines = self.found.uses.iter().any(|asked| asked.access.defines());
        if drops || self.found.flags.contains(&Flag::RunsUnseen) {
            return Touch::Changes;
        }
        if self.found.uses.iter().any(own) {
            let moves = self.found.flags.contains(&Flag::Moves);
            return if moves { Touch::Changes } else { Touch::Makes };
        }
        match &self.found.effect {
            Effect::DiscardAll | Effect::DiscardTemporary => Touch::Changes,
            Effect::EndTransaction | Effect::RollbackTo => Touch::Perhaps,
            _ if defines || self.found.flags.contains(&Flag::Ddl) => Touch::Perhaps,
            _ => Touch::None,
        }
    }

    /// Turns what was met and done so far into uses.
    pub(super) fn settle(&mut self) {
        let handling = std::mem::take(&mut self.handling);
        let met = std::mem::take(&mut self.relations);
        self.places.clear();
        let catalog = self.catalog;
        for (Met { relation, is_source, is_target, inherits }, place) in met.iter().zip(0_u32..) {
            self.found.mentioned.insert(relation.id.name.to_string());
            // Values of some types run code wherever they come from or go to.
            for column in &relation.columns {
                catalog.code_of_column(column).iter().for_each(|function| self.run_trigger(function));
            }
            if *is_source {
                relation.guards.iter().for_each(|function| self.run_trigger(function));
            }
            let columns = handling.range((place, 0)..=(place, u32::MAX));
            let done: BTreeMap<Arc<str>, Handling> = columns
                .filter_map(|((_, column), how)| Some((relation.columns.get(*column as usize)?.name.clone(), *how)))
                .collect();
            let leaves = done.values().any(|how| how.leaves());
            let access = match is_source {
                // How many rows there are leaves in any case.
                true => Access::Select,
                // Named in a definition: whoever may define may look at it for that, where nothing is kept from them.
                false if !is_target && !done.is_empty() => {
                    self.ask_underneath(relation, Access::Filter, &done);
                    self.spread_to(relation, true, Access::Filter, &done, &mut HashSet::new(), 0);
                    continue;
                }
                false if leaves => Access::Select,
                false if !done.is_empty() => Access::Filter,
                false => continue,
            };
            self.read(relation, *inherits, access, &done);
        }
        if !self.open.affords(0) {
            self.opaque("it carries too many columns around to be followed");
        }
    }

    /// The columns that stand in an output column, down to the tables, for whoever masks it.
    pub(super) fn underneath(&mut self, whole: &ColumnSet, mixed: bool) -> BTreeMap<ColumnRef, Standing> {
        let mut all = BTreeMap::new();
        let standing = if mixed { Standing::Mixed } else { Standing::Whole };
        for column in whole {
            if let Some(column) = self.column_ref(*column) {
                self.base_columns(column, standing, &mut all, 0);
            }
        }
        all
    }

    pub(super) fn base_columns(
        &mut self,
        column: ColumnRef,
        standing: Standing,
        all: &mut BTreeMap<ColumnRef, Standing>,
        depth: usize,
    ) {
        if depth > super::MOST_NESTING || all.get(&column).is_some_and(|known| *known >= standing) {
            return;
        }
        all.insert(column.clone(), standing);
        let Some(relation) = self.catalog.get(&column.0).cloned() else { return };
        for reach in relation.reaches.iter().filter(|reach| reach.way != Way::Base) {
            self.base_columns((reach.id.clone(), column.1.clone()), standing, all, depth + 1);
        }
        for (_, from) in relation.generated.iter().filter(|(generated, _)| *generated == column.1) {
            self.base_columns((relation.id.clone(), from.clone()), Standing::Computed, all, depth + 1);
        }
        if let Some(reading) = self.view(&relation)
            && let Some(at) = relation.columns.iter().position(|known| known.name == column.1)
            && let Some(origin) = reading.outputs.get(at)
        {
            let whole = if origin.mixed { standing.max(Standing::Mixed) } else { standing };
            origin.whole.iter().for_each(|base| self.base_columns(base.clone(), whole, all, depth + 1));
            let computed = origin.derived.iter();
            computed.for_each(|base| self.base_columns(base.clone(), Standing::Computed, all, depth + 1));
        }
    }

    /// Notes the reading of a relation, of columns of it, and of what lies under it.
    fn read(&mut self, relation: &Arc<Relation>, inherits: bool, access: Access, done: &BTreeMap<Arc<str>, Handling>) {
        let open = is_open(relation, done);
        if !open && builtins::holds_values(&relation.id.schema, &relation.id.name) {
            self.found.unseen.insert(format!("{}.{}", relation.id.schema, relation.id.name));
        }
        self.ask(access, Object::Relation(relation.id.clone()), !open);
        for (column, how) in done {
            let access = if how.leaves() { Access::Select } else { Access::Filter };
            self.ask(access, Object::Column(relation.id.clone(), column.clone()), !open);
        }
        let mut seen = HashSet::new();
        self.spread_to(relation, inherits, access, done, &mut seen, 0);
    }

    /// What is done with a relation's columns is done with what they are made of.
    pub(super) fn spread_to(
        &mut self,
        relation: &Arc<Relation>,
        inherits: bool,
        access: Access,
        done: &BTreeMap<Arc<str>, Handling>,
        seen: &mut HashSet<RelationRef>,
        depth: usize,
    ) {
        // A view over a view over a view...: past this the statement is not understood.
        if depth > super::MOST_NESTING {
            return self.opaque(format!("`{}` rests on too many layers of views", relation.id.name));
        }
        if !seen.insert(relation.id.clone()) {
            return;
        }
        for (column, how) in done {
            *self.found.columns.entry((relation.id.clone(), column.clone())).or_default() |= *how;
        }
        self.generated(relation, done);
        // What the server's own views show is the server's business.
        if is_open(relation, done) {
            return;
        }
        for reach in relation.reaches.iter().filter(|reach| reach.way != Way::Base) {
            if (reach.way == Way::Child && !inherits) || seen.contains(&reach.id) {
                continue;
            }
            let Some(under) = self.catalog.get(&reach.id).cloned() else { continue };
            let same = done.iter().filter(|(name, _)| under.columns.iter().any(|column| column.name == **name));
            let same = same.map(|(name, how)| (name.clone(), *how)).collect();
            self.ask_underneath(&under, access, &same);
            // The parent's other children hold other rows.
            self.spread_to(&under, reach.way == Way::Child, access, &same, seen, depth + 1);
        }
        if matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView) {
            self.spread_to_view(relation, done, seen, depth);
        }
    }

    fn spread_to_view(
        &mut self,
        relation: &Arc<Relation>,
        done: &BTreeMap<Arc<str>, Handling>,
        seen: &mut HashSet<RelationRef>,
        depth: usize,
    ) {
        let mut bases: BTreeMap<RelationRef, BTreeMap<Arc<str>, Handling>> = BTreeMap::new();
        for reach in relation.reaches.iter().filter(|reach| reach.way == Way::Base) {
            bases.entry(reach.id.clone()).or_default();
        }
        let reading = self.view(relation).filter(|reading| {
            // As many columns as the relation has, or nobody knows which is which.
            reading.unseen.is_none() && reading.outputs.len() == relation.columns.len()
        });
        match reading {
            Some(reading) => {
                self.found.uses.extend(reading.uses.iter().cloned());
                let mut note = |column: &ColumnRef, how: Handling| {
                    *bases.entry(column.0.clone()).or_default().entry(column.1.clone()).or_default() |= how;
                };
                for (column, origin) in relation.columns.iter().zip(&reading.outputs) {
                    let Some(how) = done.get(&column.name) else { continue };
                    origin.whole.iter().for_each(|base| note(base, *how));
                    origin.derived.iter().for_each(|base| note(base, how.underneath()));
                }
            }
            None => {
                // Its query cannot be read: everything under it counts as part of everything that it shows.
                let how = done.values().fold(Handling::default(), |mut all, how| {
                    all |= if how.leaves() { Handling::DERIVED } else { Handling::USED };
                    all
                });
                for (id, columns) in &mut bases {
                    let under = self.catalog.get(id).into_iter().flat_map(|under| &under.columns);
                    columns.extend(under.map(|column| (column.name.clone(), how)));
                }
                // The server's own views are known by name; of others nobody knows what runs in them.
                let own = matches!(&*relation.id.schema, "pg_catalog" | "information_schema");
                if bases.is_empty() || !own {
                    self.found.unseen.insert(format!("{}.{}", relation.id.schema, relation.id.name));
                    self.flag(Flag::RunsUnseen);
                }
            }
        }
        for (id, columns) in bases {
            let Some(under) = self.catalog.get(&id).cloned() else { continue };
            self.ask_underneath(&under, Access::Select, &columns);
            self.spread_to(&under, true, Access::Select, &columns, seen, depth + 1);
        }
    }

    pub(super) fn ask_underneath(
        &mut self,
        under: &Arc<Relation>,
        access: Access,
        columns: &BTreeMap<Arc<str>, Handling>,
    ) {
        self.ask(access, Object::Relation(under.id.clone()), false);
        for (column, how) in columns {
            let access = if how.leaves() { Access::Select } else { Access::Filter };
            self.found.uses.insert(Use {
                access,
                object: Object::Column(under.id.clone(), column.clone()),
                named: false,
            });
        }
    }

    /// A generated column is a copy of what it is computed from.
    fn generated(&mut self, relation: &Arc<Relation>, done: &BTreeMap<Arc<str>, Handling>) {
        for (column, from) in &relation.generated {
            if let Some(how) = done.get(column) {
                let how = how.underneath();
                *self.found.columns.entry((relation.id.clone(), from.clone())).or_default() |= how;
                let access = if how.leaves() { Access::Select } else { Access::Filter };
                self.ask(access, Object::Column(relation.id.clone(), from.clone()), false);
            }
        }
    }
}
