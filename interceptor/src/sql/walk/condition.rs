//! Whether a condition leaves rows out, as far as its form tells: what `context.has_where` goes by.
//!
//! A comparison counts if the row that is written stands in it and it is not one that holds for every row by its form:
//! both sides the same but for a constant (`id = id`, `id < id + 1`), a side in which nothing of the row is left (`id * 0`),
//! a pattern that everything matches. AND needs one part that counts, OR needs all, and not two of which one always
//! holds (`id = 1 OR id <> 1`). NOT turns that around. What a sub-query looks at counts if it is held against the row or
//! restricted by something that counts. Whether values make it hold for every row (`id > 0`) no form tells.

use super::settings::constant;
use super::strings;
use crate::sql::catalog::{Catalog, Relation};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, AExpr, AExprKind, BoolExprType, BoolTestType, ColumnRef, Node, NullTestType, RangeVar, SelectStmt, SubLink,
    SubLinkType,
};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// The condition of a write.
#[derive(Debug)]
pub(super) struct Condition<'a> {
    /// What the relation that is written is called in it, and what its own name is.
    alias: &'a str,
    relation: &'a str,
    catalog: &'a Catalog,
    /// What the sub-queries around read: a name without a relation is looked for there first.
    nearer: RefCell<Vec<Arc<Relation>>>,
    /// Whether the value of a constant has decided.
    reads_constants: Cell<bool>,
}

impl<'a> Condition<'a> {
    /// Of a write to this relation.
    pub(super) fn on(target: Option<&'a RangeVar>, catalog: &'a Catalog) -> Self {
        let relation = target.map_or("", |range| range.relname.as_str());
        let alias = target.and_then(|range| range.alias.as_ref()).map_or(relation, |alias| alias.aliasname.as_str());
        Self { alias, relation, catalog, nearer: RefCell::default(), reads_constants: Cell::new(false) }
    }

    /// Whether the value of a constant has decided.
    pub(super) fn reads_constants(&self) -> bool {
        self.reads_constants.get()
    }

    /// Whether it leaves rows out.
    pub(super) fn restricts(&self, condition: Option<&Node>) -> bool {
        inside(condition).is_some_and(|node| self.holds_back(node, true))
    }

    /// Whether `node` leaves out rows where it is to be true, or where it is to be false.
    fn holds_back(&self, node: &NodeEnum, wanted: bool) -> bool {
        match node {
            NodeEnum::BoolExpr(expression) => {
                let parts: Vec<&NodeEnum> = expression.args.iter().filter_map(|node| node.node.as_ref()).collect();
                match (BoolExprType::try_from(expression.boolop), wanted) {
                    (Ok(BoolExprType::NotExpr), _) => parts.first().is_some_and(|node| self.holds_back(node, !wanted)),
                    (Ok(BoolExprType::AndExpr), true) | (Ok(BoolExprType::OrExpr), false) => {
                        parts.iter().any(|node| self.holds_back(node, wanted))
                    }
                    (Ok(BoolExprType::OrExpr), true) | (Ok(BoolExprType::AndExpr), false) => {
                        parts.iter().all(|node| self.holds_back(node, wanted)) && !self.one_always_holds(&parts)
                    }
                    (Ok(BoolExprType::Undefined) | Err(_), _) => false,
                }
            }
            NodeEnum::AExpr(expression) => self.comparison(expression, wanted),
            NodeEnum::NullTest(test) => {
                let is_null = test.nulltesttype == NullTestType::IsNull as i32;
                // Few columns are mostly NULL, and none has to be.
                is_null == wanted && inside(test.arg.as_deref()).is_some_and(|node| self.varies(node))
            }
            NodeEnum::BooleanTest(test) => {
                let Some(node) = inside(test.arg.as_deref()) else { return false };
                match (BoolTestType::try_from(test.booltesttype), wanted) {
                    (Ok(BoolTestType::IsTrue), true) | (Ok(BoolTestType::IsNotTrue), false) => {
                        self.holds_back(node, true)
                    }
                    (Ok(BoolTestType::IsFalse), true) | (Ok(BoolTestType::IsNotFalse), false) => {
                        self.holds_back(node, false)
                    }
                    // Where it is unknown it holds as well: the opposite has to be left out of many.
                    (Ok(BoolTestType::IsNotTrue), true) | (Ok(BoolTestType::IsTrue), false) => {
                        self.holds_back(node, false)
                    }
                    (Ok(BoolTestType::IsNotFalse), true) | (Ok(BoolTestType::IsFalse), false) => {
                        self.holds_back(node, true)
                    }
                    (Ok(BoolTestType::IsUnknown), true) | (Ok(BoolTestType::IsNotUnknown), false) => self.varies(node),
                    _ => false,
                }
            }
            NodeEnum::CollateClause(clause) => {
                inside(clause.arg.as_deref()).is_some_and(|node| self.holds_back(node, wanted))
            }
            NodeEnum::TypeCast(cast) => inside(cast.arg.as_deref()).is_some_and(|node| self.holds_back(node, wanted)),
            NodeEnum::SubLink(link) => self.looks(link),
            NodeEnum::FuncCall(_) | NodeEnum::ColumnRef(_) => self.varies(node),
            NodeEnum::CurrentOfExpr(_) => true,
            _ => false,
        }
    }

    fn comparison(&self, expression: &AExpr, wanted: bool) -> bool {
        let (left, right) = (inside(expression.lexpr.as_deref()), inside(expression.rexpr.as_deref()));
        let either = |node: Option<&NodeEnum>| node.is_some_and(|node| self.varies(node));
        let kind = AExprKind::try_from(expression.kind);
        let names = strings(&expression.name);
        let operator = names.last().copied().unwrap_or_default();
        let (Some(left), Some(right)) = (left, right) else { return either(left) || either(right) };
        // `(id = 1) = true`
        if kind == Ok(AExprKind::AexprOp) && matches!(operator, "=" | "<>") {
            for (one, other) in [(left, right), (right, left)] {
                if let Some(said) = boolean(one) {
                    self.reads_constants.set(true);
                    return self.holds_back(other, (said == (operator == "=")) == wanted);
                }
            }
        }
        if !self.varies(left) && !self.varies(right) || self.same(left, right) {
            return false;
        }
        match kind {
            // `IS DISTINCT FROM NULL` is IS NOT NULL.
            Ok(AExprKind::AexprDistinct | AExprKind::AexprNotDistinct) if is_null(left) || is_null(right) => {
                (kind == Ok(AExprKind::AexprNotDistinct)) == wanted
            }
            Ok(AExprKind::AexprLike | AExprKind::AexprIlike | AExprKind::AexprSimilar) => !self.matches_all(right),
            Ok(AExprKind::AexprOp) if matches!(operator, "~" | "~*" | "!~" | "!~*") => !self.matches_all(right),
            Ok(AExprKind::AexprOp) if matches!(operator, ">=" | ">" | "<=" | "<") => {
                !(self.is_size(left) && self.is_below_all(right) || self.is_size(right) && self.is_below_all(left))
            }
            _ => true,
        }
    }

    /// `id = 1 OR id <> 1`, `id < 5 OR id >= 5`, `x OR NOT x`, `x IS NULL OR x IS NOT NULL`.
    fn one_always_holds(&self, parts: &[&NodeEnum]) -> bool {
        let opposed = |one: &NodeEnum, other: &NodeEnum| match (one, other) {
            (NodeEnum::AExpr(one), NodeEnum::AExpr(other)) => {
                let sides = self.alike(one.lexpr.as_deref(), other.lexpr.as_deref())
                    && self.alike(one.rexpr.as_deref(), other.rexpr.as_deref());
                let pair = (strings(&one.name), strings(&other.name));
                let pair = (pair.0.last().copied().unwrap_or_default(), pair.1.last().copied().unwrap_or_default());
                let covers = |a: &str, b: &str| {
                    matches!((a, b), ("=" | "<=" | ">=", "<>") | ("<", ">=") | (">" | ">=", "<=") | ("<", "<>" | ">"))
                        || a != b && (a.strip_prefix('!') == Some(b) || a.strip_prefix("NOT ") == Some(b))
                };
                // `id < 5 OR id > 5` is `<>`: what is left out is a single value.
                let both = covers(pair.0, pair.1) || covers(pair.1, pair.0);
                sides && both
            }
            (NodeEnum::BoolExpr(negated), other) | (other, NodeEnum::BoolExpr(negated)) => {
                negated.boolop == BoolExprType::NotExpr as i32
                    && negated
                        .args
                        .first()
                        .and_then(|node| node.node.as_ref())
                        .is_some_and(|node| same_tree(node, other))
            }
            _ => false,
        };
        // As many as anybody writes by hand; a list of ten thousand is no trick.
        let parts = parts.get(..MOST_PARTS).unwrap_or(parts);
        parts.iter().enumerate().any(|(at, one)| parts.iter().skip(at + 1).any(|other| opposed(one, other)))
    }

    /// A sub-query as a condition.
    fn looks(&self, link: &SubLink) -> bool {
        let Some(NodeEnum::SelectStmt(select)) = inside(link.subselect.as_deref()) else { return false };
        let held_against = inside(link.testexpr.as_deref());
        match SubLinkType::try_from(link.sub_link_type) {
            Ok(SubLinkType::AnySublink | SubLinkType::AllSublink) => {
                // `id IN (SELECT id FROM orders)` has them all.
                held_against.is_some_and(|node| self.varies(node)) && !self.is_all_of_target(select)
            }
            _ => self.is_restricted(select),
        }
    }

    fn is_all_of_target(&self, select: &SelectStmt) -> bool {
        let [Node { node: Some(NodeEnum::RangeVar(range)) }] = select.from_clause.as_slice() else { return false };
        let own = Condition::on(Some(range), self.catalog);
        let leaves_out = own.restricts(select.where_clause.as_deref());
        self.reads_constants.set(self.reads_constants() || own.reads_constants());
        range.relname == self.relation
            && !leaves_out
            && select.limit_count.is_none()
            && select.limit_offset.is_none()
            && select.group_clause.is_empty()
            && select.having_clause.is_none()
            && select.larg.is_none()
    }

    /// Whether a query returns other rows for one row than for another, as far as its form tells.
    fn is_restricted(&self, select: &SelectStmt) -> bool {
        let outside = self.nearer.borrow().len();
        self.come_nearer(&select.from_clause);
        let is_restricted = self.is_restricted_inside(select);
        self.nearer.borrow_mut().truncate(outside);
        is_restricted
    }

    fn come_nearer(&self, from: &[Node]) {
        for node in from {
            match &node.node {
                Some(NodeEnum::RangeVar(range)) => {
                    let known = self.catalog.relation(&range.schemaname, &range.relname).cloned();
                    self.nearer.borrow_mut().extend(known);
                }
                Some(NodeEnum::JoinExpr(join)) => {
                    for side in [&join.larg, &join.rarg] {
                        side.iter().for_each(|side| self.come_nearer(std::slice::from_ref(&**side)));
                    }
                }
                _ => {}
            }
        }
    }

    fn is_restricted_inside(&self, select: &SelectStmt) -> bool {
        let joins = |node: &Node| match &node.node {
            Some(NodeEnum::JoinExpr(join)) => self.restricts(join.quals.as_deref()),
            _ => false,
        };
        let in_output = select.target_list.iter().any(|node| match &node.node {
            Some(NodeEnum::ResTarget(target)) if select.from_clause.is_empty() => self.restricts(target.val.as_deref()),
            _ => false,
        });
        let either = |side: &Option<Box<SelectStmt>>| side.as_ref().is_some_and(|side| self.is_restricted(side));
        self.restricts(select.where_clause.as_deref())
            || self.restricts(select.having_clause.as_deref())
            || select.from_clause.iter().any(joins)
            || in_output
            || either(&select.larg)
            || either(&select.rarg)
    }

    /// Whether the value of an expression can differ from row to row of what is written: `length('a')` does not, and
    /// neither does `id * 0`.
    fn varies(&self, node: &NodeEnum) -> bool {
        let inner = |node: &Option<Box<Node>>| inside(node.as_deref()).is_some_and(|node| self.varies(node));
        let any = |nodes: &[Node]| nodes.iter().filter_map(|node| node.node.as_ref()).any(|node| self.varies(node));
        match node {
            NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::SqlvalueFunction(_) => false,
            NodeEnum::ColumnRef(column) => self.is_of_target(column),
            NodeEnum::AExpr(expression) => self.operation_varies(expression),
            NodeEnum::FuncCall(call) => {
                let names = strings(&call.funcname);
                match (names.last().copied().unwrap_or_default(), call.args.as_slice()) {
                    // Of every row the same, or nothing.
                    ("pg_typeof" | "num_nulls" | "num_nonnulls", _) => false,
                    ("left" | "right" | "repeat", [_, count]) if self.is(count, "0") => false,
                    ("mod", [_, divisor]) if self.is(divisor, "1") => false,
                    (_, args) => any(args),
                }
            }
            NodeEnum::TypeCast(cast) => inner(&cast.arg),
            NodeEnum::CollateClause(clause) => inner(&clause.arg),
            NodeEnum::List(list) => any(&list.items),
            NodeEnum::RowExpr(row) => any(&row.args),
            NodeEnum::AArrayExpr(array) => any(&array.elements),
            // The first that is not NULL.
            NodeEnum::CoalesceExpr(coalesce) => {
                let first = coalesce.args.iter().filter_map(|node| node.node.as_ref()).find(|node| !is_null(node));
                first.is_some_and(|node| self.varies(node))
            }
            NodeEnum::CaseExpr(case) => {
                let results = case.args.iter().map(|node| match &node.node {
                    Some(NodeEnum::CaseWhen(when)) => inside(when.result.as_deref()),
                    _ => None,
                });
                let results: Vec<_> = results.chain([inside(case.defresult.as_deref())]).collect();
                let alike = |pair: &[Option<&NodeEnum>]| match pair {
                    [Some(one), Some(other)] => same_tree(one, other) && !self.varies(one),
                    _ => false,
                };
                !results.windows(2).all(alike)
            }
            NodeEnum::BoolExpr(expression) => any(&expression.args),
            NodeEnum::NullTest(test) => inner(&test.arg),
            NodeEnum::SubLink(link) => inner(&link.testexpr) || self.looks(link),
            _ => true,
        }
    }

    fn operation_varies(&self, expression: &AExpr) -> bool {
        let (left, right) = (inside(expression.lexpr.as_deref()), inside(expression.rexpr.as_deref()));
        let names = strings(&expression.name);
        let operator = names.last().copied().unwrap_or_default();
        let (Some(one), Some(other)) = (left, right) else {
            return left.or(right).is_some_and(|node| self.varies(node));
        };
        let either = |number: &str| self.is_number(one, number) || self.is_number(other, number);
        match operator {
            "*" | "&" if either("0") => false,
            "%" if self.is_number(other, "1") => false,
            "^" if self.is_number(other, "0") || self.is_number(one, "1") => false,
            "-" | "/" | "#" | "%" | "=" | "<>" | "<" | ">" | "<=" | ">=" if self.same(one, other) => false,
            _ => self.varies(one) || self.varies(other),
        }
    }

    /// Whether it may be a column of what is written: one of another relation is qualified as such.
    fn is_of_target(&self, column: &ColumnRef) -> bool {
        match strings(&column.fields).as_slice() {
            [name] => {
                let nearer = self.nearer.borrow();
                !nearer.iter().any(|relation| relation.columns.iter().any(|column| *column.name == **name))
            }
            [qualifier @ .., _] => qualifier.last().is_none_or(|name| *name == self.alias),
            [] => true,
        }
    }

    /// Whether two expressions are the same but for a constant that is added to one, or the one is among those of a list.
    fn same(&self, left: &NodeEnum, right: &NodeEnum) -> bool {
        let (left, right) = (self.bare(left), self.bare(right));
        match right {
            NodeEnum::List(list) => self.among(left, &list.items),
            NodeEnum::AArrayExpr(array) => self.among(left, &array.elements) || same_tree(left, right),
            right => same_tree(left, right),
        }
    }

    fn among(&self, one: &NodeEnum, others: &[Node]) -> bool {
        others.iter().filter_map(|node| node.node.as_ref()).any(|other| same_tree(one, self.bare(other)))
    }

    fn alike(&self, left: Option<&Node>, right: Option<&Node>) -> bool {
        match (inside(left), inside(right)) {
            (Some(left), Some(right)) => same_tree(left, right),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Without casts and what is added, taken away or appended that does not hang on the row.
    fn bare<'n>(&self, node: &'n NodeEnum) -> &'n NodeEnum {
        let mut node = node;
        loop {
            let within = match node {
                NodeEnum::TypeCast(cast) => inside(cast.arg.as_deref()),
                NodeEnum::CollateClause(clause) => inside(clause.arg.as_deref()),
                NodeEnum::AExpr(expression) => {
                    let (left, right) = (inside(expression.lexpr.as_deref()), inside(expression.rexpr.as_deref()));
                    let names = strings(&expression.name);
                    let fixed = |node: Option<&NodeEnum>| node.is_none_or(|node| !self.varies(node));
                    match names.last().copied().unwrap_or_default() {
                        "+" | "||" if fixed(left) => right,
                        "+" | "-" | "||" if fixed(right) => left,
                        "*" | "/" if right.is_some_and(|node| self.is_number(node, "1")) => left,
                        "*" if left.is_some_and(|node| self.is_number(node, "1")) => right,
                        _ => None,
                    }
                }
                NodeEnum::CoalesceExpr(coalesce) => {
                    let first = coalesce.args.first().and_then(|node| node.node.as_ref());
                    let rest = coalesce.args.iter().skip(1).filter_map(|node| node.node.as_ref());
                    first.filter(|_| rest.into_iter().all(|node| !self.varies(node)))
                }
                // `least(id, id)`
                NodeEnum::MinMaxExpr(extreme) => {
                    let mut all = extreme.args.iter().filter_map(|node| node.node.as_ref());
                    all.next().filter(|first| all.all(|other| same_tree(first, other)))
                }
                _ => None,
            };
            match within {
                Some(within) => node = within,
                None => return node,
            }
        }
    }

    /// Whether everything matches a pattern.
    fn matches_all(&self, pattern: &NodeEnum) -> bool {
        let pattern = match pattern {
            // `SIMILAR TO` is a call around the pattern.
            NodeEnum::FuncCall(call) => call.args.first().and_then(|node| node.node.as_ref()).unwrap_or(pattern),
            pattern => pattern,
        };
        let Some(text) = constant(&Node { node: Some(pattern.clone()) }) else { return false };
        self.reads_constants.set(true);
        text.chars().all(|c| matches!(c, '%' | '.' | '*' | '^' | '$' | '(' | ')' | '?'))
    }

    /// `length(x)`, `abs(x)`: never below zero.
    fn is_size(&self, node: &NodeEnum) -> bool {
        match node {
            NodeEnum::FuncCall(call) => strings(&call.funcname).last().is_some_and(|name| {
                matches!(
                    *name,
                    "length"
                        | "char_length"
                        | "character_length"
                        | "octet_length"
                        | "bit_length"
                        | "abs"
                        | "cardinality"
                )
            }),
            _ => false,
        }
    }

    fn is_below_all(&self, node: &NodeEnum) -> bool {
        let number = constant(&Node { node: Some(node.clone()) });
        self.reads_constants.set(true);
        match (number.and_then(|text| text.parse::<f64>().ok()), node) {
            (Some(number), _) => number <= 0.0,
            // `-1` is an operator before a number.
            (None, NodeEnum::AExpr(expression)) => expression.lexpr.is_none(),
            (None, _) => false,
        }
    }

    fn is(&self, node: &Node, number: &str) -> bool {
        node.node.as_ref().is_some_and(|node| self.is_number(node, number))
    }

    fn is_number(&self, node: &NodeEnum, number: &str) -> bool {
        let node = match node {
            NodeEnum::TypeCast(cast) => match inside(cast.arg.as_deref()) {
                Some(node) => node,
                None => return false,
            },
            node => node,
        };
        if !matches!(node, NodeEnum::AConst(_)) {
            return false;
        }
        self.reads_constants.set(true);
        let said = constant(&Node { node: Some(node.clone()) });
        let value = |text: &str| text.trim().parse::<f64>().ok();
        said.is_some_and(|said| value(&said).is_some() && value(&said) == value(number))
    }
}

/// Parts of one OR that are held against each other.
const MOST_PARTS: usize = 64;

fn inside(node: Option<&Node>) -> Option<&NodeEnum> {
    node.and_then(|node| node.node.as_ref())
}

fn is_null(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::AConst(AConst { isnull, .. }) => *isnull,
        NodeEnum::TypeCast(cast) => inside(cast.arg.as_deref()).is_some_and(is_null),
        _ => false,
    }
}

fn boolean(node: &NodeEnum) -> Option<bool> {
    match node {
        NodeEnum::AConst(AConst { val: Some(pg_query::protobuf::a_const::Val::Boolval(value)), .. }) => {
            Some(value.boolval)
        }
        NodeEnum::TypeCast(cast) => boolean(inside(cast.arg.as_deref())?),
        _ => None,
    }
}

/// Whether two expressions are written alike, wherever they stand; what is not compared is not alike.
fn same_tree(left: &NodeEnum, right: &NodeEnum) -> bool {
    let all = |left: &[Node], right: &[Node]| {
        left.len() == right.len()
            && left.iter().zip(right).all(|pair| match (&pair.0.node, &pair.1.node) {
                (Some(left), Some(right)) => same_tree(left, right),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            })
    };
    let inner =
        |left: &Option<Box<Node>>, right: &Option<Box<Node>>| match (inside(left.as_deref()), inside(right.as_deref()))
        {
            (Some(left), Some(right)) => same_tree(left, right),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
    match (left, right) {
        (NodeEnum::ColumnRef(left), NodeEnum::ColumnRef(right)) => {
            // `orders.id` and `id`: the same as far as both say.
            let (left, right) = (strings(&left.fields), strings(&right.fields));
            !left.is_empty() && left.iter().rev().zip(right.iter().rev()).all(|(left, right)| left == right)
        }
        (NodeEnum::AConst(left), NodeEnum::AConst(right)) => left.val == right.val && left.isnull == right.isnull,
        (NodeEnum::ParamRef(left), NodeEnum::ParamRef(right)) => left.number == right.number,
        (NodeEnum::AExpr(left), NodeEnum::AExpr(right)) => {
            left.kind == right.kind
                && strings(&left.name) == strings(&right.name)
                && inner(&left.lexpr, &right.lexpr)
                && inner(&left.rexpr, &right.rexpr)
        }
        (NodeEnum::BoolExpr(left), NodeEnum::BoolExpr(right)) => {
            left.boolop == right.boolop && all(&left.args, &right.args)
        }
        (NodeEnum::FuncCall(left), NodeEnum::FuncCall(right)) => {
            strings(&left.funcname) == strings(&right.funcname) && all(&left.args, &right.args)
        }
        (NodeEnum::TypeCast(left), NodeEnum::TypeCast(right)) => inner(&left.arg, &right.arg),
        (NodeEnum::CollateClause(left), NodeEnum::CollateClause(right)) => inner(&left.arg, &right.arg),
        (NodeEnum::CoalesceExpr(left), NodeEnum::CoalesceExpr(right)) => all(&left.args, &right.args),
        (NodeEnum::MinMaxExpr(left), NodeEnum::MinMaxExpr(right)) => {
            left.op == right.op && all(&left.args, &right.args)
        }
        (NodeEnum::RowExpr(left), NodeEnum::RowExpr(right)) => all(&left.args, &right.args),
        (NodeEnum::AArrayExpr(left), NodeEnum::AArrayExpr(right)) => all(&left.elements, &right.elements),
        (NodeEnum::List(left), NodeEnum::List(right)) => all(&left.items, &right.items),
        (NodeEnum::NullTest(left), NodeEnum::NullTest(right)) => {
            left.nulltesttype == right.nulltesttype && inner(&left.arg, &right.arg)
        }
        (NodeEnum::SqlvalueFunction(left), NodeEnum::SqlvalueFunction(right)) => left.op == right.op,
        _ => false,
    }
}
