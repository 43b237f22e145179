//! SELECT, INSERT, UPDATE, DELETE, MERGE and what stands in FROM.

use super::{Source, Walk};
use crate::sql::catalog::{Relation, RelationRef, Way};
use crate::sql::facts::{Access, Flag, Object};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    CmdType, CommonTableExpr, CteCycleClause, CteSearchClause, DeleteStmt, InferClause, InsertStmt, IntoClause,
    JoinExpr, LockingClause, MergeStmt, MergeWhenClause, Node, OnConflictClause, RangeFunction, RangeSubselect,
    RangeTableFunc, RangeTableFuncCol, RangeTableSample, RangeVar, ResTarget, ReturningClause, SelectStmt, UpdateStmt,
    WindowDef, WithClause,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Common table expressions in sight at once; each reference is compared with all of them.
const MOST_CTES: usize = 500;

impl Walk<'_> {
    pub(super) fn select(&mut self, select: &SelectStmt) {
        let SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause,
            op: _,
            all: _,
            larg,
            rarg,
        } = select;
        let scope = self.with(with_clause);
        if let Some(into) = into_clause {
            self.into(into);
        }
        let before = self.sources.len();
        self.all(from_clause);
        self.locks(locking_clause, before);
        for list in [distinct_clause, target_list, group_clause, window_clause, values_lists, sort_clause] {
            self.all(list);
        }
        for part in [where_clause, having_clause, limit_offset, limit_count] {
            self.boxed(part, Self::node);
        }
        for arm in [larg, rarg].into_iter().flatten() {
            self.select(arm);
        }
        self.ctes.truncate(scope);
    }

    /// Brings the expressions of a WITH into sight; the scope ends when the caller truncates to the returned length.
    fn with(&mut self, with: &Option<WithClause>) -> usize {
        let scope = self.ctes.len();
        let Some(WithClause { ctes, recursive, location: _ }) = with else { return scope };
        if self.ctes.len() + ctes.len() > MOST_CTES {
            self.opaque(format!("more than {MOST_CTES} common table expressions"));
            return scope;
        }
        let named = |node: &Node| match &node.node {
            Some(NodeEnum::CommonTableExpr(cte)) => Some(cte.ctename.clone()),
            _ => None,
        };
        if *recursive {
            self.ctes.extend(ctes.iter().filter_map(named));
        }
        for node in ctes {
            let Some(NodeEnum::CommonTableExpr(cte)) = &node.node else {
                self.opaque("WITH holds something else than a query");
                continue;
            };
            self.common_table(cte);
            // Without RECURSIVE an expression sees the ones before it, not itself.
            self.ctes.push(cte.ctename.clone());
        }
        scope
    }

    fn common_table(&mut self, cte: &CommonTableExpr) {
        let CommonTableExpr {
            ctename,
            aliascolnames: _,
            ctematerialized: _,
            ctequery,
            search_clause,
            cycle_clause,
            location: _,
            cterecursive: _,
            cterefcount: _,
            ctecolnames: _,
            ctecoltypes: _,
            ctecoltypmods: _,
            ctecolcollations: _,
        } = cte;
        self.aliases.insert(ctename.clone());
        let writes = matches!(
            ctequery.as_ref().and_then(|node| node.node.as_ref()),
            Some(NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_))
        );
        if writes {
            self.flag(Flag::WritesInWith);
        }
        self.boxed(ctequery, Self::node);
        if let Some(CteSearchClause { search_col_list, search_breadth_first: _, search_seq_column: _, location: _ }) =
            search_clause
        {
            self.mention(search_col_list);
        }
        if let Some(cycle) = cycle_clause {
            let CteCycleClause {
                cycle_col_list,
                cycle_mark_column: _,
                cycle_mark_value,
                cycle_mark_default,
                cycle_path_column: _,
                location: _,
                cycle_mark_type: _,
                cycle_mark_typmod: _,
                cycle_mark_collation: _,
                cycle_mark_neop: _,
            } = &**cycle;
            self.mention(cycle_col_list);
            self.boxed(cycle_mark_value, Self::node);
            self.boxed(cycle_mark_default, Self::node);
        }
    }

    /// SELECT INTO and CREATE TABLE AS.
    pub(super) fn into(&mut self, into: &IntoClause) {
        let IntoClause {
            rel,
            col_names: _,
            access_method: _,
            options: _,
            on_commit: _,
            table_space_name: _,
            view_query: _,
            skip_data: _,
        } = into;
        self.flag(Flag::Into);
        if let Some(range) = rel {
            self.create_relation(range);
        }
    }

    /// FOR UPDATE and its kin lock rows of everything in FROM, or of what OF names.
    fn locks(&mut self, clauses: &[Node], before: usize) {
        for node in clauses {
            let Some(NodeEnum::LockingClause(LockingClause { locked_rels, strength: _, wait_policy: _ })) = &node.node
            else {
                self.opaque("an unknown locking clause");
                continue;
            };
            self.flag(Flag::Locking);
            // Names after OF are aliases within FROM; taking all of FROM is never less.
            let _aliases = locked_rels;
        }
        if !clauses.is_empty() {
            let locked: Vec<_> = self.sources.iter().skip(before).map(|source| source.relation.id.clone()).collect();
            for relation in locked {
                self.ask(Access::Lock, Object::Relation(relation), true);
            }
        }
    }

    pub(super) fn range(&mut self, range: &RangeVar) {
        if range.schemaname.is_empty() && self.ctes.contains(&range.relname) {
            self.alias(&range.alias);
            self.aliases.insert(range.relname.clone());
            self.found.mentioned.insert(range.relname.clone());
            return;
        }
        self.sees(range);
        if let Some(relation) = self.resolve(range) {
            self.sources.push(Source { relation, inherits: range.inh });
        }
    }

    fn sees(&mut self, range: &RangeVar) {
        self.aliases.insert(range.relname.clone());
        self.alias(&range.alias);
    }

    pub(super) fn join(&mut self, join: &JoinExpr) {
        let JoinExpr { jointype: _, is_natural, larg, rarg, using_clause, join_using_alias, quals, alias, rtindex: _ } =
            join;
        // NATURAL compares every column that both sides have.
        self.star |= is_natural;
        self.mention(using_clause);
        for part in [larg, rarg, quals] {
            self.boxed(part, Self::node);
        }
        self.alias(alias);
        self.alias(join_using_alias);
    }

    pub(super) fn range_subselect(&mut self, range: &RangeSubselect) {
        let RangeSubselect { lateral: _, subquery, alias } = range;
        self.alias(alias);
        self.boxed(subquery, Self::node);
    }

    pub(super) fn range_function(&mut self, range: &RangeFunction) {
        let RangeFunction { lateral: _, ordinality: _, is_rowsfrom: _, functions, alias, coldeflist } = range;
        self.alias(alias);
        // Each is a list: the call and its column definitions.
        for node in functions {
            match &node.node {
                Some(NodeEnum::List(list)) => self.all(&list.items),
                Some(_) => self.visit(node, Self::node),
                None => {}
            }
        }
        self.all(coldeflist);
    }

    pub(super) fn range_table_func(&mut self, range: &RangeTableFunc) {
        let RangeTableFunc { lateral: _, docexpr, rowexpr, namespaces, columns, alias, location: _ } = range;
        self.alias(alias);
        self.boxed(docexpr, Self::node);
        self.boxed(rowexpr, Self::node);
        self.all(namespaces);
        self.all(columns);
    }

    pub(super) fn range_table_func_column(&mut self, column: &RangeTableFuncCol) {
        let RangeTableFuncCol {
            colname: _,
            type_name,
            for_ordinality: _,
            is_not_null: _,
            colexpr,
            coldefexpr,
            location: _,
        } = column;
        if let Some(type_name) = type_name {
            self.type_name(type_name);
        }
        self.boxed(colexpr, Self::node);
        self.boxed(coldefexpr, Self::node);
    }

    pub(super) fn table_sample(&mut self, sample: &RangeTableSample) {
        let RangeTableSample { relation, method, args, repeatable, location: _ } = sample;
        self.boxed(relation, Self::node);
        match super::strings(method).as_slice() {
            ["bernoulli" | "system"] | ["pg_catalog", "bernoulli" | "system"] => {}
            other => self.opaque(format!("`{}` is not one of the built-in sampling methods", other.join("."))),
        }
        self.all(args);
        self.boxed(repeatable, Self::node);
    }

    pub(super) fn window(&mut self, window: &WindowDef) {
        let WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        self.all(partition_clause);
        self.all(order_clause);
        self.boxed(start_offset, Self::node);
        self.boxed(end_offset, Self::node);
    }

    pub(super) fn insert(&mut self, insert: &InsertStmt) {
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
        self.boxed(select_stmt, Self::node);
        if let Some(conflict) = on_conflict_clause {
            self.on_conflict(conflict, target.as_ref());
        }
        self.returning(returning_clause);
        self.ctes.truncate(scope);
    }

    fn on_conflict(&mut self, conflict: &OnConflictClause, target: Option<&Arc<Relation>>) {
        let OnConflictClause { action: _, infer, target_list, where_clause, location: _ } = conflict;
        self.aliases.insert("excluded".to_owned());
        if let Some(infer) = infer {
            let InferClause { index_elems, where_clause, conname: _, location: _ } = &**infer;
            self.all(index_elems);
            self.boxed(where_clause, Self::node);
        }
        if !target_list.is_empty()
            && let Some(target) = target
        {
            self.ask(Access::Update, Object::Relation(target.id.clone()), true);
            self.assign(target_list, target, Access::Update);
        }
        self.boxed(where_clause, Self::node);
    }

    pub(super) fn update(&mut self, update: &UpdateStmt) {
        let UpdateStmt { relation, target_list, where_clause, from_clause, returning_clause, with_clause } = update;
        let scope = self.with(with_clause);
        let target = self.target(relation, &[Access::Update]);
        self.restricted(where_clause.is_some());
        self.all(from_clause);
        if let Some(target) = &target {
            self.assign(target_list, target, Access::Update);
        } else {
            self.all(target_list);
        }
        self.boxed(where_clause, Self::node);
        self.returning(returning_clause);
        self.ctes.truncate(scope);
    }

    pub(super) fn delete(&mut self, delete: &DeleteStmt) {
        let DeleteStmt { relation, using_clause, where_clause, returning_clause, with_clause } = delete;
        let scope = self.with(with_clause);
        self.target(relation, &[Access::Delete]);
        self.restricted(where_clause.is_some());
        self.all(using_clause);
        self.boxed(where_clause, Self::node);
        self.returning(returning_clause);
        self.ctes.truncate(scope);
    }

    pub(super) fn merge(&mut self, merge: &MergeStmt) {
        let MergeStmt { relation, source_relation, join_condition, merge_when_clauses, returning_clause, with_clause } =
            merge;
        let scope = self.with(with_clause);
        let target = self.target(relation, &[Access::Merge]);
        self.boxed(source_relation, Self::node);
        self.boxed(join_condition, Self::node);
        for node in merge_when_clauses {
            match &node.node {
                Some(NodeEnum::MergeWhenClause(when)) => self.merge_when(when, target.as_ref()),
                _ => self.opaque("MERGE holds something else than WHEN"),
            }
        }
        self.returning(returning_clause);
        self.ctes.truncate(scope);
    }

    fn merge_when(&mut self, when: &MergeWhenClause, target: Option<&Arc<Relation>>) {
        let MergeWhenClause { match_kind: _, command_type, r#override: _, condition, target_list, values } = when;
        self.boxed(condition, Self::node);
        self.all(values);
        let access = match CmdType::try_from(*command_type) {
            Ok(CmdType::CmdInsert) => Access::Insert,
            Ok(CmdType::CmdUpdate) => Access::Update,
            Ok(CmdType::CmdDelete) => Access::Delete,
            Ok(CmdType::CmdNothing) => return,
            _ => return self.opaque("MERGE does something unknown"),
        };
        let Some(target) = target else { return self.all(target_list) };
        self.ask(access, Object::Relation(target.id.clone()), true);
        if access == Access::Insert && target_list.is_empty() {
            self.write_all_columns(target, access);
        }
        self.assign(target_list, target, access);
    }

    fn restricted(&mut self, has_where: bool) {
        self.flag(if has_where { Flag::HasWhere } else { Flag::NoWhere });
    }

    /// A relation that is written.
    pub(super) fn target(&mut self, range: &Option<RangeVar>, accesses: &[Access]) -> Option<Arc<Relation>> {
        let range = range.as_ref()?;
        self.sees(range);
        let relation = self.resolve(range)?;
        if relation.has_rules {
            self.opaque(format!("rewrite rules on `{}` make a write do more than it says", relation.id.name));
        }
        for access in accesses {
            self.ask(*access, Object::Relation(relation.id.clone()), true);
            let mut seen = HashSet::from([relation.id.clone()]);
            self.write_through(&relation, *access, &mut seen, 0);
        }
        self.targets.push(Source { relation: relation.clone(), inherits: range.inh });
        Some(relation)
    }

    /// Writing through a view writes what lies under it, columns included; a partition's rows are its parent's.
    pub(super) fn write_through(
        &mut self,
        relation: &Arc<Relation>,
        access: Access,
        seen: &mut HashSet<RelationRef>,
        depth: usize,
    ) {
        if depth > 32 {
            return self.opaque(format!("`{}` rests on more than 32 layers of views", relation.id.name));
        }
        for reach in &relation.reaches {
            if !seen.insert(reach.id.clone()) {
                continue;
            }
            self.ask(access, Object::Relation(reach.id.clone()), false);
            let Some(under) = self.catalog.get(&reach.id).cloned() else { continue };
            if matches!(access, Access::Insert | Access::Update) {
                for column in &under.columns {
                    let reached = reach.columns.as_ref().is_none_or(|columns| columns.contains(&column.name));
                    if reached && reach.way == Way::Base {
                        self.ask(access, Object::Column(under.id.clone(), column.name.clone()), false);
                    }
                }
            }
            self.write_through(&under, access, seen, depth + 1);
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
            self.boxed(val, Self::node);
        }
    }

    fn returning(&mut self, returning: &Option<ReturningClause>) {
        if let Some(ReturningClause { options, exprs }) = returning {
            for option in options {
                if let Some(NodeEnum::ReturningOption(option)) = &option.node {
                    self.aliases.insert(option.value.clone());
                }
            }
            self.aliases.extend(["old".to_owned(), "new".to_owned()]);
            self.all(exprs);
        }
    }
}
