//! INSERT, UPDATE, DELETE and MERGE.

use super::Walk;
use super::condition::Condition;
use super::scope::Entry;
use crate::sql::catalog::{Action, Relation, RelationKind, RelationRef, Way};
use crate::sql::facts::{Access, Flag, Object};
use crate::sql::lineage::{Field, Handling, Value};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    CmdType, DeleteStmt, InferClause, InsertStmt, MergeMatchKind, MergeStmt, MergeWhenClause, Node, OnConflictClause,
    RangeVar, ResTarget, ReturningClause, UpdateStmt,
};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What a write does to rows that others may refer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Change {
    /// They are deleted.
    Gone,
    /// These columns change.
    Keys(BTreeSet<String>),
    /// Any column may.
    Anything,
}

impl Change {
    /// By an UPDATE's list of targets.
    fn of(list: &[Node]) -> Self {
        let names = list.iter().map(|node| match &node.node {
            Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
            _ => None,
        });
        names.collect::<Option<_>>().map_or(Self::Anything, Self::Keys)
    }
}

impl Walk<'_> {
    pub(super) fn insert(&mut self, insert: &InsertStmt) -> Vec<Field> {
        let InsertStmt {
            relation,
            cols,
            select_stmt,
            on_conflict_clause,
            returning_clause,
            with_clause,
            r#override: _,
        } = insert;
        let scope = self.with(with_clause);
        let target = self.target(relation, &[Access::Insert]);
        if let Some(target) = &target {
            if cols.is_empty() {
                self.write_all_columns(target, Access::Insert);
            } else {
                self.assign(cols, target, Access::Insert);
            }
        }
        let source = self.boxed(select_stmt, Self::query);
        source.iter().for_each(|field| self.store(&field.value));
        let fields = self.scoped(|walk| {
            walk.enter_target(relation, target.as_ref());
            if let Some(conflict) = on_conflict_clause {
                walk.on_conflict(conflict, target.as_ref(), &source);
            }
            walk.returning(returning_clause, target.as_ref())
        });
        self.ctes.truncate(scope);
        fields
    }

    fn on_conflict(&mut self, conflict: &OnConflictClause, target: Option<&Arc<Relation>>, source: &[Field]) {
        let OnConflictClause { action: _, infer, target_list, where_clause, location: _ } = conflict;
        if let Some(infer) = infer {
            let InferClause { index_elems, where_clause, conname: _, location: _ } = &**infer;
            // Which index decides: nothing is read for that.
            for node in index_elems {
                if let Some(NodeEnum::IndexElem(element)) = &node.node {
                    // Whether there is a row with that value shows in how many were inserted.
                    let column = if element.name.is_empty() { None } else { self.find(&element.name) };
                    let computed = self.boxed(&element.expr, Self::node);
                    self.consume(&computed);
                    if let Some(column) = column {
                        self.mark(&column.everything(), Handling::COMPARED);
                    }
                }
            }
            self.boxed(where_clause, Self::node);
        }
        if let Some(target) = target {
            // `excluded` is the row that was to be inserted: it is made of what the statement itself brings.
            let value = source.iter().fold(Value::default(), |all, field| all.or(field.value.clone()));
            let fields = target.columns.iter().map(|column| Field::new(&column.name, value.clone()));
            // Only in sight for as long as the conflict lasts; the target may go by the same name.
            let place = self.levels.last().map_or(0, |level| level.entries.len());
            self.enter(Entry { name: Some("excluded".into()), fields: fields.collect(), ..Entry::default() });
            if !target_list.is_empty() {
                self.ask(Access::Update, Object::Relation(target.id.clone()), true);
                self.keys(Some(target), &Change::of(target_list));
                self.assign(target_list, target, Access::Update);
            }
            let condition = self.boxed(where_clause, Self::node);
            self.consume(&condition);
            if let Some(level) = self.levels.last_mut() {
                level.entries.truncate(place);
            }
        }
    }

    pub(super) fn update(&mut self, update: &UpdateStmt) -> Vec<Field> {
        let UpdateStmt { relation, target_list, where_clause, from_clause, returning_clause, with_clause } = update;
        let scope = self.with(with_clause);
        let target = self.target(relation, &[Access::Update]);
        self.keys(target.as_ref(), &Change::of(target_list));
        self.restricted(relation, where_clause);
        let fields = self.scoped(|walk| {
            walk.enter_target(relation, target.as_ref());
            walk.from(from_clause);
            match &target {
                Some(target) => walk.assign(target_list, target, Access::Update),
                None => drop(walk.all(target_list)),
            }
            let condition = walk.boxed(where_clause, Self::node);
            walk.consume(&condition);
            walk.returning(returning_clause, target.as_ref())
        });
        self.ctes.truncate(scope);
        fields
    }

    pub(super) fn delete(&mut self, delete: &DeleteStmt) -> Vec<Field> {
        let DeleteStmt { relation, using_clause, where_clause, returning_clause, with_clause } = delete;
        let scope = self.with(with_clause);
        let target = self.target(relation, &[Access::Delete]);
        self.keys(target.as_ref(), &Change::Gone);
        self.restricted(relation, where_clause);
        let fields = self.scoped(|walk| {
            walk.enter_target(relation, target.as_ref());
            walk.from(using_clause);
            let condition = walk.boxed(where_clause, Self::node);
            walk.consume(&condition);
            walk.returning(returning_clause, target.as_ref())
        });
        self.ctes.truncate(scope);
        fields
    }

    pub(super) fn merge(&mut self, merge: &MergeStmt) -> Vec<Field> {
        let MergeStmt { relation, source_relation, join_condition, merge_when_clauses, returning_clause, with_clause } =
            merge;
        let scope = self.with(with_clause);
        let target = self.target(relation, &[Access::Merge]);
        let fields = self.scoped(|walk| {
            // `RETURNING *` gives the source's columns first (MERGE, "Parameters").
            walk.boxed(source_relation, Self::source);
            walk.enter_target(relation, target.as_ref());
            let condition = walk.boxed(join_condition, Self::node);
            walk.consume(&condition);
            // `ON true`: every row is matched by every row.
            walk.restricted(relation, join_condition);
            for node in merge_when_clauses {
                match &node.node {
                    Some(NodeEnum::MergeWhenClause(when)) => {
                        // Whatever the source does not have, which is what the condition leaves out.
                        if when.match_kind == MergeMatchKind::MergeWhenNotMatchedBySource as i32
                            && when.command_type != CmdType::CmdNothing as i32
                        {
                            walk.restricted(relation, &when.condition);
                        }
                        walk.merge_when(when, target.as_ref());
                    }
                    _ => walk.opaque("MERGE holds something else than WHEN"),
                }
            }
            walk.returning(returning_clause, target.as_ref())
        });
        self.ctes.truncate(scope);
        fields
    }

    fn merge_when(&mut self, when: &MergeWhenClause, target: Option<&Arc<Relation>>) {
        let MergeWhenClause { match_kind: _, command_type, r#override: _, condition, target_list, values } = when;
        let condition = self.boxed(condition, Self::node);
        self.consume(&condition);
        for node in values {
            let value = self.visit(node, Self::node);
            self.store(&value);
        }
        let access = match CmdType::try_from(*command_type) {
            Ok(CmdType::CmdInsert) => Access::Insert,
            Ok(CmdType::CmdUpdate) => Access::Update,
            Ok(CmdType::CmdDelete) => Access::Delete,
            Ok(CmdType::CmdNothing) => return,
            _ => return self.opaque("MERGE does something unknown"),
        };
        let Some(target) = target else { return drop(self.all(target_list)) };
        self.ask(access, Object::Relation(target.id.clone()), true);
        if access == Access::Insert && target_list.is_empty() {
            self.write_all_columns(target, access);
        }
        match access {
            Access::Update => self.keys(Some(target), &Change::of(target_list)),
            Access::Delete => self.keys(Some(target), &Change::Gone),
            _ => {}
        }
        self.assign(target_list, target, access);
    }

    /// Foreign keys make of one write several.
    fn keys(&mut self, target: Option<&Arc<Relation>>, change: &Change) {
        if let Some(target) = target {
            // A key may be computed from what changes, or be changed by a trigger.
            let computed =
                [target.generated.is_empty(), target.triggers.is_empty(), target.stored_calls.is_empty()] != [true; 3];
            let change = if computed && *change != Change::Gone { &Change::Anything } else { change };
            self.follow_keys(target, change, &mut HashSet::new(), 0);
        }
    }

    fn follow_keys(
        &mut self,
        relation: &Arc<Relation>,
        change: &Change,
        seen: &mut HashSet<(RelationRef, Change)>,
        depth: usize,
    ) {
        if depth > super::MOST_NESTING {
            return self.opaque(format!("foreign keys lead on and on from `{}`", relation.id.name));
        }
        if !seen.insert((relation.id.clone(), change.clone())) {
            return;
        }
        for reach in &relation.reaches {
            // The columns under a view have names of their own.
            let change = match (reach.way, change) {
                (Way::Base, Change::Keys(_)) => &Change::Anything,
                (_, change) => change,
            };
            if let Some(under) = self.catalog.get(&reach.id).cloned() {
                self.follow_keys(&under, change, seen, depth + 1);
            }
        }
        for referring in &relation.referring {
            let action = match change {
                Change::Gone => referring.on_delete,
                Change::Keys(keys) if !keys.contains(&*referring.key) => continue,
                Change::Keys(_) | Change::Anything => referring.on_update,
            };
            let (access, next) = match (action, change) {
                (Action::Refuse, _) => continue,
                (Action::Cascade, Change::Gone) => (Access::Delete, Change::Gone),
                (Action::Cascade | Action::Set, _) => {
                    (Access::Update, Change::Keys(BTreeSet::from([referring.column.to_string()])))
                }
            };
            let Some(child) = self.catalog.get(&referring.relation).cloned() else { continue };
            self.flag(Flag::WritesUncounted);
            self.ask(access, Object::Relation(child.id.clone()), false);
            if access == Access::Update {
                self.ask(access, Object::Column(child.id.clone(), referring.column.clone()), false);
            }
            let mut through = HashSet::from([child.id.clone()]);
            self.write_through(&child, access, &mut through, 0);
            self.follow_keys(&child, &next, seen, depth + 1);
        }
    }

    /// Notes whether a condition leaves rows of what is written out; one part that does not is enough of a MERGE.
    fn restricted(&mut self, target: &Option<RangeVar>, condition: &Option<Box<Node>>) {
        let form = Condition::on(target.as_ref(), self.catalog);
        let restricts = form.restricts(condition.as_deref());
        if form.reads_constants() {
            self.flag(Flag::ReadsConstants);
        }
        self.flag(if restricts { Flag::HasWhere } else { Flag::NoWhere });
    }

    /// A relation that is written.
    pub(super) fn target(&mut self, range: &Option<RangeVar>, accesses: &[Access]) -> Option<Arc<Relation>> {
        let range = range.as_ref()?;
        let relation = self.resolve(range)?;
        for access in accesses {
            self.ask(*access, Object::Relation(relation.id.clone()), true);
            let mut seen = HashSet::from([relation.id.clone()]);
            self.write_through(&relation, *access, &mut seen, 0);
        }
        let place = self.meet(&relation) as usize;
        if let Some(met) = self.relations.get_mut(place) {
            met.is_target = true;
            met.inherits |= range.inh;
        }
        Some(relation)
    }

    /// Brings the target into sight.
    fn enter_target(&mut self, range: &Option<RangeVar>, target: Option<&Arc<Relation>>) {
        let (Some(range), Some(target)) = (range, target) else {
            return self.enter(Entry { is_open: true, ..Entry::default() });
        };
        let entry = self.entry(target, &range.schemaname).renamed(&range.alias);
        self.enter_shown(entry);
    }

    /// Writing through a view writes what lies under it, columns included; a partition's rows are its parent's. Triggers
    /// run with the write, rules do more than it says.
    pub(super) fn write_through(
        &mut self,
        relation: &Arc<Relation>,
        access: Access,
        seen: &mut HashSet<RelationRef>,
        depth: usize,
    ) {
        if depth > super::MOST_NESTING {
            return self.opaque(format!("`{}` rests on too many layers of views", relation.id.name));
        }
        // TRUNCATE is not rewritten (41.4 "Rules on INSERT, UPDATE, and DELETE").
        if relation.has_rules && access != Access::Truncate {
            self.opaque(format!("rewrite rules on `{}` make a write do more than it says", relation.id.name));
        }
        if !relation.triggers.is_empty() || !relation.stored_calls.is_empty() {
            self.triggered.push(relation.clone());
        }
        // Its conditions are asked about what is written (WITH CHECK OPTION), and what they call runs.
        if relation.kind == RelationKind::View && matches!(access, Access::Insert | Access::Update | Access::Merge) {
            match self.view(relation) {
                Some(reading) if reading.unseen.is_none() => {
                    let calls = reading.uses.iter().filter(|asked| asked.access == Access::Execute);
                    self.found.uses.extend(calls.cloned());
                }
                Some(_) | None => {
                    self.found.unseen.insert(format!("{}.{}", relation.id.schema, relation.id.name));
                    self.flag(Flag::RunsUnseen);
                }
            }
        }
        for reach in &relation.reaches {
            if !seen.insert(reach.id.clone()) {
                continue;
            }
            self.ask(access, Object::Relation(reach.id.clone()), false);
            let Some(under) = self.catalog.get(&reach.id).cloned() else { continue };
            if matches!(access, Access::Insert | Access::Update) && reach.way == Way::Base {
                for column in &under.columns {
                    self.ask(access, Object::Column(under.id.clone(), column.name.clone()), false);
                }
            }
            self.write_through(&under, access, seen, depth + 1);
        }
    }

    /// Triggers of what was written so far, and what is kept with it in expressions.
    pub(super) fn run_triggers(&mut self) {
        for relation in std::mem::take(&mut self.triggered) {
            for function in relation.triggers.iter().chain(&relation.stored_calls) {
                self.run_trigger_on(&relation, function);
            }
        }
    }

    fn write_all_columns(&mut self, target: &Arc<Relation>, access: Access) {
        for column in &target.columns {
            self.ask(access, Object::Column(target.id.clone(), column.name.clone()), true);
        }
    }

    /// Target columns and, where there are any, the values assigned to them.
    fn assign(&mut self, list: &[Node], target: &Arc<Relation>, access: Access) {
        for node in list {
            let Some(NodeEnum::ResTarget(target_column)) = &node.node else {
                self.opaque("an assignment to something else than a column");
                continue;
            };
            let ResTarget { name, indirection, val, location: _ } = &**target_column;
            if let Some(column) = target.columns.iter().find(|column| *column.name == **name) {
                self.ask(access, Object::Column(target.id.clone(), column.name.clone()), true);
            }
            self.all(indirection);
            let value = self.boxed(val, Self::node);
            self.store(&value);
        }
    }

    fn returning(&mut self, returning: &Option<ReturningClause>, target: Option<&Arc<Relation>>) -> Vec<Field> {
        let Some(ReturningClause { options, exprs }) = returning else { return Vec::new() };
        let mut names = vec!["old".to_owned(), "new".to_owned()];
        for option in options {
            match &option.node {
                Some(NodeEnum::ReturningOption(option)) => names.push(option.value.clone()),
                _ => self.opaque("RETURNING WITH holds something else than names"),
            }
        }
        // The row before and after: found by their names only, and not part of `*`.
        let shown = self.levels.last().map_or(0, |level| level.entries.len());
        if let Some(target) = target {
            for name in names {
                let entry = Entry { name: Some(name.as_str().into()), ..self.entry(target, "") };
                self.levels.push(super::Level { entries: vec![entry], star: Vec::new() });
                let hidden = self.levels.len() - 1;
                // Outside the innermost scope, where a `*` does not look and qualified names do.
                self.levels.swap(hidden - 1, hidden);
            }
        }
        let mut fields = self.targets(exprs);
        // What a write returns may be what it has just been given.
        fields.iter_mut().for_each(|field| field.value.mixed = true);
        if let Some(target) = target {
            let _same = target;
            let extra = 2 + options.len();
            let innermost = self.levels.pop();
            self.levels.truncate(self.levels.len().saturating_sub(extra));
            self.levels.extend(innermost);
        }
        debug_assert_eq!(shown, self.levels.last().map_or(0, |level| level.entries.len()));
        fields
    }
}
