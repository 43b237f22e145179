//! SELECT and what stands in FROM.

use super::Walk;
use super::scope::{Entry, rename};
use crate::sql::facts::{Access, Flag, Missing, Object};
use crate::sql::lineage::{Field, Handling, MOST_COLUMNS, Value, either};
use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{
    AExprKind, CommonTableExpr, CteCycleClause, CteSearchClause, GroupingSet, IntoClause, JoinExpr, LockingClause,
    MinMaxOp, Node, RangeFunction, RangeSubselect, RangeTableFunc, RangeTableFuncCol, RangeTableSample, RangeVar,
    ResTarget, SelectStmt, SetOperation, SortBy, SqlValueFunctionOp, SubLinkType, WindowDef, WithClause,
};
use std::rc::Rc;

/// Common table expressions in sight at once; each reference is compared with all of them.
const MOST_CTES: usize = 500;

/// How often a recursive WITH is walked until nothing new is found in it. Each round carries columns one step further.
const MOST_ROUNDS: usize = 8;

/// Recursive WITH within recursive WITH multiplies the rounds.
const MOST_RECURSIONS: usize = 3;

/// A common table expression in sight.
#[derive(Debug, Clone)]
pub(super) struct Cte {
    name: Rc<str>,
    fields: Vec<Field>,
    /// While its own WITH RECURSIVE is being walked.
    in_progress: bool,
}

impl Walk<'_> {
    /// The columns of a query's result: SELECT, or what a write returns.
    pub(super) fn query(&mut self, node: &NodeEnum) -> Vec<Field> {
        match node {
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => self.insert(insert),
            NodeEnum::UpdateStmt(update) => self.update(update),
            NodeEnum::DeleteStmt(delete) => self.delete(delete),
            NodeEnum::MergeStmt(merge) => self.merge(merge),
            other => {
                self.opaque(format!("`{}` stands where a query should", super::expression::kind_of(other)));
                Vec::new()
            }
        }
    }

    pub(super) fn select(&mut self, select: &SelectStmt) -> Vec<Field> {
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
            op,
            all,
            larg,
            rarg,
        } = select;
        let scope = self.with(with_clause);
        let fields = if let (Some(left), Some(right)) = (larg, rarg) {
            let (left, right) = (self.select(left), self.select(right));
            let fields = either(left, right);
            // UNION ALL only strings rows together; everything else compares them.
            if !(*all && *op == SetOperation::SetopUnion as i32) {
                fields.iter().for_each(|field| self.consume(&field.value));
            }
            self.scoped(|walk| {
                walk.sort(sort_clause, &fields, true);
                walk.limits(limit_offset, limit_count);
            });
            fields
        } else {
            self.scoped(|walk| {
                walk.from(from_clause);
                walk.locks(locking_clause);
                let condition = walk.boxed(where_clause, Self::node);
                walk.consume(&condition);
                let fields =
                    if values_lists.is_empty() { walk.targets(target_list) } else { walk.values(values_lists) };
                group_clause.iter().for_each(|node| walk.group(node, &fields));
                let condition = walk.boxed(having_clause, Self::node);
                walk.consume(&condition);
                walk.all(window_clause);
                if let [Node { node: None }] = distinct_clause.as_slice() {
                    fields.iter().for_each(|field| walk.consume(&field.value));
                } else {
                    distinct_clause.iter().for_each(|node| walk.group(node, &fields));
                }
                walk.sort(sort_clause, &fields, false);
                walk.limits(limit_offset, limit_count);
                fields
            })
        };
        self.ctes.truncate(scope);
        match into_clause {
            Some(into) => {
                fields.iter().for_each(|field| self.store(&field.value));
                self.into(into);
                Vec::new()
            }
            None => fields,
        }
    }

    fn limits(&mut self, offset: &Option<Box<Node>>, count: &Option<Box<Node>>) {
        for part in [offset, count] {
            let value = self.boxed(part, Self::node);
            self.consume(&value);
        }
    }

    /// What stands between SELECT and FROM, or behind RETURNING.
    pub(super) fn targets(&mut self, list: &[Node]) -> Vec<Field> {
        let mut fields = Vec::with_capacity(list.len());
        for node in list {
            let Some(NodeEnum::ResTarget(target)) = &node.node else {
                self.opaque("a list of targets holds something else");
                continue;
            };
            let ResTarget { name, indirection, val, location: _ } = &**target;
            self.all(indirection);
            let Some(value) = val.as_ref().and_then(|node| node.node.as_ref()) else { continue };
            if let Some(spread) = self.spread(value) {
                fields.extend(spread);
                if fields.len() > MOST_COLUMNS {
                    self.opaque(format!("target lists can have at most {MOST_COLUMNS} entries"));
                    return Vec::new();
                }
                continue;
            }
            let name = if name.is_empty() { named_after(value) } else { Some(name.as_str().into()) };
            fields.push(Field { name, value: self.node(value), many: false });
        }
        fields
    }

    /// `*`, `t.*` and `(row).*`, which stand for several columns.
    pub(super) fn spread(&mut self, node: &NodeEnum) -> Option<Vec<Field>> {
        match node {
            NodeEnum::ColumnRef(column) if ends_in_star(&column.fields) => {
                Some(self.star(&super::strings(&column.fields)))
            }
            NodeEnum::AIndirection(indirection) if ends_in_star(&indirection.indirection) => {
                let value = self.node(node);
                Some(match &value.row {
                    Some(row) => row.to_vec(),
                    None => vec![Field::many(value)],
                })
            }
            _ => None,
        }
    }

    /// VALUES: one row after the other.
    fn values(&mut self, lists: &[Node]) -> Vec<Field> {
        let mut rows: Option<Vec<Field>> = None;
        for node in lists {
            let Some(NodeEnum::List(list)) = &node.node else {
                self.opaque("VALUES holds something else than rows");
                continue;
            };
            let mut row = Vec::with_capacity(list.items.len());
            for node in &list.items {
                // `VALUES (t.*, 1)` has a column for each of them.
                match node.node.as_ref().and_then(|node| self.spread(node)) {
                    Some(spread) => row.extend(spread),
                    None => row.push(Field::unnamed(self.visit(node, Self::node))),
                }
            }
            if row.len() > MOST_COLUMNS {
                self.opaque(format!("VALUES lists can have at most {MOST_COLUMNS} columns"));
                return Vec::new();
            }
            let known = !row.iter().any(|field| field.many);
            for (field, at) in row.iter_mut().zip(1..) {
                field.name = known.then(|| format!("column{at}").into());
            }
            rows = Some(match rows {
                Some(rows) => either(rows, row),
                None => row,
            });
        }
        rows.unwrap_or_default()
    }

    /// GROUP BY and DISTINCT ON: columns of FROM, else of the result by name or position, else expressions.
    fn group(&mut self, node: &Node, fields: &[Field]) {
        match &node.node {
            Some(NodeEnum::GroupingSet(GroupingSet { kind: _, content, location: _ })) => {
                content.iter().for_each(|node| self.group(node, fields));
            }
            Some(NodeEnum::List(list)) => list.items.iter().for_each(|node| self.group(node, fields)),
            Some(NodeEnum::RowExpr(row)) => row.args.iter().for_each(|node| self.group(node, fields)),
            Some(other) => self.by(other, fields, false),
            None => {}
        }
    }

    /// ORDER BY: columns of the result by name or position, else expressions.
    fn sort(&mut self, nodes: &[Node], fields: &[Field], only_result: bool) {
        for node in nodes {
            let Some(NodeEnum::SortBy(sort)) = &node.node else {
                self.opaque("ORDER BY holds something else");
                continue;
            };
            let SortBy { node, sortby_dir: _, sortby_nulls: _, use_op, location: _ } = &**sort;
            self.operator(use_op);
            if let Some(node) = node.as_ref().and_then(|node| node.node.as_ref()) {
                self.by(node, fields, only_result);
            }
        }
    }

    fn by(&mut self, node: &NodeEnum, fields: &[Field], only_result: bool) {
        match node {
            NodeEnum::AConst(constant) => {
                self.flag(Flag::ReadsConstants);
                let Some(Val::Ival(position)) = &constant.val else { return };
                let position = usize::try_from(position.ival).ok().and_then(|position| position.checked_sub(1));
                let counted = !fields.iter().any(|field| field.many);
                match position.and_then(|at| fields.get(at)).filter(|_| counted) {
                    Some(field) => self.consume(&field.value.clone()),
                    None => fields.iter().for_each(|field| self.consume(&field.value)),
                }
            }
            NodeEnum::ColumnRef(column) => {
                let names = super::strings(&column.fields);
                let ([name], 1) = (names.as_slice(), column.fields.len()) else {
                    let value = self.column(column);
                    return self.consume(&value);
                };
                // The result's column of that name, or one whose name is not known; else a column of FROM, which counts in
                // any case, for GROUP BY looks there first.
                let meant = |field: &&Field| field.name.as_deref().is_none_or(|known| known == *name);
                let (mut sure, mut perhaps) = (false, false);
                for field in fields.iter().filter(meant) {
                    sure |= field.name.is_some();
                    perhaps = true;
                    self.consume(&field.value);
                }
                let known = self.find(name);
                if sure || only_result {
                    known.iter().for_each(|value| self.consume(value));
                    if !perhaps && known.is_none() {
                        self.missing(Missing::Column((*name).to_owned()));
                    }
                } else if !perhaps || known.is_some() || self.is_entry(name) {
                    let value = self.column(column);
                    self.consume(&value);
                }
            }
            other => {
                let value = self.node(other);
                self.consume(&value);
            }
        }
    }

    /// Brings the expressions of a WITH into sight; the scope ends when the caller truncates to the returned length.
    pub(super) fn with(&mut self, with: &Option<WithClause>) -> usize {
        let scope = self.ctes.len();
        let Some(WithClause { ctes, recursive, location: _ }) = with else { return scope };
        if self.ctes.len() + ctes.len() > MOST_CTES {
            self.opaque(format!("more than {MOST_CTES} common table expressions"));
            return scope;
        }
        let mut tables = Vec::with_capacity(ctes.len());
        for node in ctes {
            match &node.node {
                Some(NodeEnum::CommonTableExpr(cte)) => tables.push(&**cte),
                _ => self.opaque("WITH holds something else than a query"),
            }
        }
        if *recursive {
            self.recursive(&tables, scope);
        } else {
            for cte in tables {
                // It sees the ones before it, not itself.
                let fields = self.common_table(cte);
                self.ctes.push(Cte { name: cte.ctename.as_str().into(), fields, in_progress: false });
            }
        }
        scope
    }

    /// WITH RECURSIVE: each sees all of them, so they are walked until nothing changes any more.
    fn recursive(&mut self, tables: &[&CommonTableExpr], scope: usize) {
        if self.ctes.iter().filter(|cte| cte.in_progress).count() >= MOST_RECURSIONS {
            return self.opaque("WITH RECURSIVE within WITH RECURSIVE too often");
        }
        let unknown = |cte: &&CommonTableExpr| Cte {
            name: cte.ctename.as_str().into(),
            fields: vec![Field::many(Value::default())],
            in_progress: true,
        };
        self.ctes.extend(tables.iter().map(unknown));
        for _ in 0..MOST_ROUNDS {
            if !self.open.affords(0) {
                break;
            }
            let mut changed = false;
            for (cte, at) in tables.iter().zip(scope..) {
                let fields = self.common_table(cte);
                if let Some(known) = self.ctes.get_mut(at)
                    && known.fields != fields
                {
                    changed = true;
                    known.fields = fields;
                }
            }
            if !changed {
                self.ctes.iter_mut().skip(scope).for_each(|cte| cte.in_progress = false);
                return;
            }
        }
        self.opaque("WITH RECURSIVE carries columns around too many corners");
    }

    fn common_table(&mut self, cte: &CommonTableExpr) -> Vec<Field> {
        let CommonTableExpr {
            ctename,
            aliascolnames,
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
        self.found.mentioned.insert(ctename.clone());
        let writes = matches!(
            ctequery.as_ref().and_then(|node| node.node.as_ref()),
            Some(NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_))
        );
        if writes {
            self.flag(Flag::WritesInWith);
            self.flag(Flag::WritesUncounted);
        }
        let mut fields = self.boxed(ctequery, Self::query);
        rename(&mut fields, &super::strings(aliascolnames));
        if let Some(CteSearchClause { search_col_list, search_breadth_first: _, search_seq_column, location: _ }) =
            search_clause
        {
            let value = self.listed(&fields, search_col_list);
            fields.push(Field::new(search_seq_column, value));
        }
        if let Some(cycle) = cycle_clause {
            let CteCycleClause {
                cycle_col_list,
                cycle_mark_column,
                cycle_mark_value,
                cycle_mark_default,
                cycle_path_column,
                location: _,
                cycle_mark_type: _,
                cycle_mark_typmod: _,
                cycle_mark_collation: _,
                cycle_mark_neop: _,
            } = &**cycle;
            let value = self.listed(&fields, cycle_col_list);
            self.boxed(cycle_mark_value, Self::node);
            self.boxed(cycle_mark_default, Self::node);
            fields.push(Field::new(cycle_mark_column, value.clone()));
            fields.push(Field::new(cycle_path_column, value));
        }
        fields
    }

    /// Something made of the columns of these names.
    fn listed(&mut self, fields: &[Field], names: &[Node]) -> Value {
        let names = super::strings(names);
        let meant = fields.iter().filter(|field| field.name.as_deref().is_none_or(|name| names.contains(&name)));
        let values: Vec<_> = meant.map(|field| field.value.clone()).collect();
        self.derive(values)
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
    fn locks(&mut self, clauses: &[Node]) {
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
            let sources = self.relations.iter().filter(|met| met.is_source);
            let locked: Vec<_> = sources.map(|met| met.relation.id.clone()).collect();
            for relation in locked {
                self.ask(Access::Lock, Object::Relation(relation), true);
            }
        }
    }

    pub(super) fn from(&mut self, items: &[Node]) {
        for node in items {
            self.visit(node, Self::source);
        }
    }

    /// One thing in FROM, brought into the innermost scope.
    pub(super) fn source(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::RangeVar(range) => self.range(range),
            NodeEnum::JoinExpr(join) => self.join(join),
            NodeEnum::RangeSubselect(range) => self.range_subselect(range),
            NodeEnum::RangeFunction(range) => self.range_function(range),
            NodeEnum::RangeTableFunc(range) => self.range_table_func(range),
            NodeEnum::JsonTable(table) => self.json_table(table),
            NodeEnum::RangeTableSample(sample) => self.table_sample(sample),
            other => {
                self.opaque(format!("`{}` in FROM is not known to the analysis", super::expression::kind_of(other)))
            }
        }
    }

    pub(super) fn range(&mut self, range: &RangeVar) {
        if range.schemaname.is_empty()
            && let Some(cte) = self.ctes.iter().rev().find(|cte| *cte.name == *range.relname).cloned()
        {
            self.found.mentioned.insert(range.relname.clone());
            let entry = Entry { name: Some(cte.name), fields: cte.fields, ..Entry::default() };
            return self.enter_shown(entry.renamed(&range.alias));
        }
        let entry = match self.resolve(range) {
            Some(relation) => {
                let entry = self.entry(&relation, &range.schemaname);
                let place = self.meet(&relation) as usize;
                if let Some(met) = self.relations.get_mut(place) {
                    met.is_source = true;
                    met.inherits |= range.inh;
                }
                entry
            }
            // Noted as missing, or made by this very text.
            None => Entry { name: Some(range.relname.as_str().into()), is_open: true, ..Entry::default() },
        };
        self.enter_shown(entry.renamed(&range.alias));
    }

    fn join(&mut self, join: &JoinExpr) {
        let JoinExpr { jointype: _, is_natural, larg, rarg, using_clause, join_using_alias, quals, alias, rtindex: _ } =
            join;
        // What either side brings, and what `*` stands for on it.
        let side = |walk: &mut Self, arg: &Option<Box<Node>>| {
            let before = walk.levels.last().map_or(0, |level| level.entries.len());
            walk.boxed(arg, Self::source);
            let Some(level) = walk.levels.last_mut() else { return (Vec::new(), Vec::new()) };
            (level.entries.iter().skip(before).cloned().collect::<Vec<_>>(), std::mem::take(&mut level.star))
        };
        let before = self.levels.last().map_or(0, |level| level.entries.len());
        let outside = self.levels.last_mut().map(|level| std::mem::take(&mut level.star)).unwrap_or_default();
        let ((left, left_star), (right, right_star)) = (side(self, larg), side(self, rarg));
        let mut names: Vec<Rc<str>> = super::strings(using_clause).into_iter().map(Rc::from).collect();
        if *is_natural {
            // Every column that both sides have; where one side's names are not all known, perhaps any.
            let (left, right) = (&left_star, &right_star);
            for field in left.iter().chain(right).filter(|field| field.name.is_none()) {
                self.consume(&field.value);
                left.iter().chain(right).for_each(|field| self.consume(&field.value));
            }
            let shared = left
                .iter()
                .filter_map(|field| field.name.clone())
                .filter(|name| right.iter().any(|field| field.name.as_ref() == Some(name)));
            names.extend(shared);
            names.dedup();
        }
        if !names.is_empty() {
            self.operators(None, "=");
        }
        let merged: Vec<Field> = names
            .iter()
            .map(|name| {
                let meant = |field: &&Field| field.name.as_ref().is_none_or(|known| known == name);
                let both = left_star.iter().chain(&right_star).filter(meant);
                let value = both.map(|field| field.value.clone()).reduce(Value::or);
                let value = value.unwrap_or_default();
                self.consume(&value);
                Field::new(name, value)
            })
            .collect();
        if let Some(alias) = join_using_alias {
            self.enter(Entry {
                name: Some(alias.aliasname.as_str().into()),
                fields: merged.clone(),
                ..Entry::default()
            });
        }
        if !merged.is_empty() {
            self.enter(Entry { fields: merged.clone(), merged: true, ..Entry::default() });
        }
        let condition = self.boxed(quals, Self::node);
        self.consume(&condition);
        // What is merged comes first and once, then what is left of both sides.
        let is_merged = |field: &Field| names.iter().any(|name| field.name.as_ref() == Some(name));
        let sides = left_star.into_iter().chain(right_star).filter(|field| !is_merged(field));
        let star: Vec<Field> = merged.into_iter().chain(sides).collect();
        let _sides = (left, right);
        if alias.is_some() {
            // The alias stands for all of it and hides what is inside.
            let Some(level) = self.levels.last_mut() else { return };
            level.entries.truncate(before);
            level.star = outside;
            return self.enter_shown(Entry { fields: star, ..Entry::default() }.renamed(alias));
        }
        if let Some(level) = self.levels.last_mut() {
            level.star = outside;
            level.star.extend(star);
        }
    }

    fn range_subselect(&mut self, range: &RangeSubselect) {
        let RangeSubselect { lateral, subquery, alias } = range;
        let fields = if *lateral {
            self.boxed(subquery, Self::query)
        } else {
            self.outside(|walk| walk.boxed(subquery, Self::query))
        };
        self.enter_shown(Entry { fields, ..Entry::default() }.renamed(alias));
    }

    fn range_function(&mut self, range: &RangeFunction) {
        let RangeFunction { lateral: _, ordinality, is_rowsfrom: _, functions, alias, coldeflist } = range;
        let mut fields = Vec::new();
        let mut defines = false;
        for node in functions {
            // Each is a list: the call and its column definitions.
            match &node.node {
                Some(NodeEnum::List(list)) => {
                    let [call, definitions @ ..] = list.items.as_slice() else { continue };
                    let definitions = match definitions.first().and_then(|node| node.node.as_ref()) {
                        Some(NodeEnum::List(list)) => list.items.as_slice(),
                        _ => &[],
                    };
                    defines |= !definitions.is_empty();
                    fields.extend(self.visit_function(call, definitions));
                }
                _ => fields.extend(self.visit_function(node, &[])),
            }
        }
        if !coldeflist.is_empty() {
            let value = fields.iter().fold(Value::default(), |all, field| all.or(field.value.clone()));
            fields = self.defined(coldeflist, &value);
        }
        // The names that stand in a definition stay.
        let alone = fields.len() == 1 && !*ordinality && coldeflist.is_empty() && !defines;
        if *ordinality {
            fields.push(Field::new("ordinality", Value::default()));
        }
        let mut entry = Entry { name: fields.first().and_then(|field| field.name.clone()), fields, ..Entry::default() };
        if let Some(alias) = alias
            && alone
            && alias.colnames.is_empty()
            && !functions.first().is_some_and(|call| self.names_its_column(call))
            && let Some(field) = entry.fields.first_mut()
            && !field.many
        {
            // A function that returns one column without a name of its own: the column goes by the alias.
            field.name = Some(alias.aliasname.as_str().into());
        }
        if alias.is_none()
            && let Some(NodeEnum::FuncCall(call)) = functions.first().and_then(first_call)
        {
            entry.name = super::strings(&call.funcname).last().map(|name| Rc::from(*name));
        }
        self.enter_shown(entry.renamed(alias));
    }

    fn names_its_column(&self, node: &Node) -> bool {
        matches!(first_call(node), Some(NodeEnum::FuncCall(call)) if self.output(call).is_some())
    }

    /// A call in FROM: its columns, all made of what goes in.
    fn visit_function(&mut self, node: &Node, definitions: &[Node]) -> Vec<Field> {
        let Some(node) = &node.node else { return Vec::new() };
        let value = self.node(node);
        if !definitions.is_empty() {
            return self.defined(definitions, &value);
        }
        if let Some(row) = &value.row {
            return row.to_vec();
        }
        let name = match node {
            NodeEnum::FuncCall(call) => self.output(call).or_else(|| named_after(node)),
            _ => named_after(node),
        };
        let width = match node {
            NodeEnum::FuncCall(call) => self.width(call),
            // `current_date` and its kin.
            NodeEnum::SqlvalueFunction(_) => Some(1),
            _ => None,
        };
        match width {
            Some(1) => vec![Field { name, value, many: false }],
            Some(width) => (0..width).map(|_| Field::unnamed(value.clone())).collect(),
            None => vec![Field::many(value)],
        }
    }

    fn defined(&mut self, definitions: &[Node], value: &Value) -> Vec<Field> {
        let mut fields = Vec::new();
        for node in definitions {
            if let Some(NodeEnum::ColumnDef(definition)) = &node.node {
                self.column_definition(definition);
                fields.push(Field::new(&definition.colname, value.clone()));
            } else {
                self.opaque("an unknown column definition");
            }
        }
        fields
    }

    fn range_table_func(&mut self, range: &RangeTableFunc) {
        let RangeTableFunc { lateral: _, docexpr, rowexpr, namespaces, columns, alias, location: _ } = range;
        let (document, rows) = (self.boxed(docexpr, Self::node), self.boxed(rowexpr, Self::node));
        let spaces = self.all(namespaces);
        let value = self.derive([document, rows, spaces]);
        let mut fields = Vec::new();
        for node in columns {
            let Some(NodeEnum::RangeTableFuncCol(column)) = &node.node else {
                self.opaque("XMLTABLE holds something else than columns");
                continue;
            };
            let RangeTableFuncCol {
                colname,
                type_name,
                for_ordinality: _,
                is_not_null: _,
                colexpr,
                coldefexpr,
                location: _,
            } = &**column;
            if let Some(type_name) = type_name {
                self.type_name(type_name);
            }
            let (path, default) = (self.boxed(colexpr, Self::node), self.boxed(coldefexpr, Self::node));
            let value = self.derive([value.clone(), path, default]);
            fields.push(Field::new(colname, value));
        }
        self.enter_shown(Entry { fields, ..Entry::default() }.renamed(alias));
    }

    fn table_sample(&mut self, sample: &RangeTableSample) {
        let RangeTableSample { relation, method, args, repeatable, location: _ } = sample;
        self.boxed(relation, Self::source);
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
        for part in [start_offset, end_offset] {
            let value = self.boxed(part, Self::node);
            self.consume(&value);
        }
    }

    /// A column is counted, or tested for NULL.
    pub(super) fn test(&mut self, value: &Value) {
        let all = value.everything();
        self.mark(&all, Handling::TESTED);
    }
}

fn ends_in_star(nodes: &[Node]) -> bool {
    matches!(nodes.last().and_then(|node| node.node.as_ref()), Some(NodeEnum::AStar(_)))
}

fn first_call(node: &Node) -> Option<&NodeEnum> {
    match &node.node {
        Some(NodeEnum::List(list)) => list.items.first().and_then(|node| node.node.as_ref()),
        other => other.as_ref(),
    }
}

/// The name that an output column gets without AS (`FigureColname` in `parse_target.c`); `None` where it is not sure: a wrong
/// one would be looked up elsewhere.
fn named_after(node: &NodeEnum) -> Option<Rc<str>> {
    match figure(node) {
        Name::Sure(_, name) => Some(name),
        Name::Absent => Some("?column?".into()),
        Name::Unknown => None,
    }
}

enum Name {
    /// How much the node insists on it (a cast gives its type's to what does not care), and the name.
    Sure(u8, Rc<str>),
    /// It has none.
    Absent,
    /// It cannot be told here.
    Unknown,
}

fn figure(node: &NodeEnum) -> Name {
    let last = |nodes: &[Node]| super::strings(nodes).last().map(|name| Name::Sure(2, Rc::from(*name)));
    let inner = |node: &Option<Box<Node>>| match node.as_ref().and_then(|node| node.node.as_ref()) {
        Some(node) => figure(node),
        None => Name::Absent,
    };
    let fixed = |name: &str| Name::Sure(2, name.into());
    match node {
        NodeEnum::ColumnRef(column) => last(&column.fields).unwrap_or(Name::Unknown),
        NodeEnum::AIndirection(indirection) => {
            last(&indirection.indirection).unwrap_or_else(|| inner(&indirection.arg))
        }
        NodeEnum::FuncCall(call) => last(&call.funcname).unwrap_or(Name::Unknown),
        NodeEnum::AExpr(expression) if expression.kind == AExprKind::AexprNullif as i32 => fixed("nullif"),
        NodeEnum::AExpr(_)
        | NodeEnum::AConst(_)
        | NodeEnum::ParamRef(_)
        | NodeEnum::BoolExpr(_)
        | NodeEnum::NullTest(_)
        | NodeEnum::BooleanTest(_) => Name::Absent,
        NodeEnum::TypeCast(cast) => match inner(&cast.arg) {
            Name::Unknown => Name::Unknown,
            Name::Sure(strength, name) if strength > 1 => Name::Sure(strength, name),
            Name::Sure(..) | Name::Absent => match cast.type_name.as_ref().and_then(|name| last(&name.names)) {
                Some(Name::Sure(_, name)) => Name::Sure(1, name),
                _ => Name::Unknown,
            },
        },
        NodeEnum::CollateClause(clause) => inner(&clause.arg),
        NodeEnum::GroupingFunc(_) => fixed("grouping"),
        NodeEnum::SubLink(link) => match SubLinkType::try_from(link.sub_link_type) {
            Ok(SubLinkType::ExistsSublink) => fixed("exists"),
            Ok(SubLinkType::ArraySublink) => fixed("array"),
            Ok(SubLinkType::ExprSublink) => first_target(link.subselect.as_deref()),
            _ => Name::Absent,
        },
        NodeEnum::CaseExpr(case) => match inner(&case.defresult) {
            Name::Unknown => Name::Unknown,
            Name::Sure(strength, name) if strength > 1 => Name::Sure(strength, name),
            Name::Sure(..) | Name::Absent => Name::Sure(1, "case".into()),
        },
        NodeEnum::AArrayExpr(_) => fixed("array"),
        NodeEnum::RowExpr(_) => fixed("row"),
        NodeEnum::CoalesceExpr(_) => fixed("coalesce"),
        NodeEnum::MinMaxExpr(extreme) => {
            fixed(if extreme.op == MinMaxOp::IsGreatest as i32 { "greatest" } else { "least" })
        }
        NodeEnum::SqlvalueFunction(function) => match SqlValueFunctionOp::try_from(function.op) {
            // SVFOP_CURRENT_DATE becomes current_date; what takes a precision ends in `_N`.
            Ok(function) => {
                let name = function.as_str_name().trim_start_matches("SVFOP_").to_ascii_lowercase();
                fixed(name.trim_end_matches("_n"))
            }
            Err(_) => Name::Unknown,
        },
        _ => Name::Unknown,
    }
}

/// A scalar sub-query's column goes by the name that it has in there.
fn first_target(subselect: Option<&Node>) -> Name {
    let Some(NodeEnum::SelectStmt(select)) = subselect.and_then(|node| node.node.as_ref()) else {
        return Name::Unknown;
    };
    let select = leftmost(select);
    if !select.values_lists.is_empty() {
        return Name::Sure(2, "column1".into());
    }
    let Some(NodeEnum::ResTarget(target)) = select.target_list.first().and_then(|node| node.node.as_ref()) else {
        return Name::Unknown;
    };
    if !target.name.is_empty() {
        return Name::Sure(2, target.name.as_str().into());
    }
    match target.val.as_ref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) if ends_in_star(&column.fields) => Name::Unknown,
        Some(value) => match figure(value) {
            Name::Sure(_, name) => Name::Sure(2, name),
            Name::Absent => Name::Sure(2, "?column?".into()),
            Name::Unknown => Name::Unknown,
        },
        None => Name::Unknown,
    }
}

/// The SELECT that gives a set operation its names.
fn leftmost(mut select: &SelectStmt) -> &SelectStmt {
    while let Some(left) = &select.larg {
        select = left;
    }
    select
}
