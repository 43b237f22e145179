//! Expressions: every node that can stand where a value does.

use super::{Walk, qualified, strings};
use crate::sql::builtins;
use crate::sql::facts::{Access, Missing, Object};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AArrayExpr, AExpr, AIndices, AIndirection, BoolExpr, BooleanTest, CaseExpr, CaseWhen, CoalesceExpr, CollateClause,
    ColumnDef, ColumnRef, FuncCall, GroupingFunc, GroupingSet, IndexElem, JsonAggConstructor, JsonArgument,
    JsonArrayAgg, JsonArrayConstructor, JsonArrayQueryConstructor, JsonBehavior, JsonFuncExpr, JsonIsPredicate,
    JsonKeyValue, JsonObjectAgg, JsonObjectConstructor, JsonOutput, JsonParseExpr, JsonScalarExpr, JsonSerializeExpr,
    JsonTable, JsonTableColumn, JsonTablePathSpec, JsonValueExpr, MinMaxExpr, MultiAssignRef, NamedArgExpr, Node,
    NullTest, ResTarget, RowExpr, SortBy, SubLink, TypeCast, TypeName, XmlExpr, XmlSerialize,
};

impl Walk<'_> {
    pub(super) fn all(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.visit(node, Self::node);
        }
    }

    /// Names that are columns: USING, SEARCH, CYCLE.
    pub(super) fn mention(&mut self, nodes: &[Node]) {
        self.columns.extend(strings(nodes).into_iter().map(str::to_owned));
    }

    /// One node of a query or an expression.
    pub(super) fn node(&mut self, node: &NodeEnum) {
        match node {
            // Leaves.
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::String(_)
            | NodeEnum::BitString(_) => {}
            NodeEnum::AStar(_) => self.star = true,
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::List(list) => self.all(&list.items),

            // Queries.
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => self.insert(insert),
            NodeEnum::UpdateStmt(update) => self.update(update),
            NodeEnum::DeleteStmt(delete) => self.delete(delete),
            NodeEnum::MergeStmt(merge) => self.merge(merge),

            // FROM.
            NodeEnum::RangeVar(range) => self.range(range),
            NodeEnum::JoinExpr(join) => self.join(join),
            NodeEnum::RangeSubselect(range) => self.range_subselect(range),
            NodeEnum::RangeFunction(range) => self.range_function(range),
            NodeEnum::RangeTableFunc(range) => self.range_table_func(range),
            NodeEnum::RangeTableFuncCol(column) => self.range_table_func_column(column),
            NodeEnum::RangeTableSample(sample) => self.table_sample(sample),
            NodeEnum::JsonTable(table) => self.json_table(table),
            NodeEnum::JsonTableColumn(column) => self.json_table_column(column),

            // Operators, calls and types.
            NodeEnum::AExpr(expression) => {
                let AExpr { kind: _, name, lexpr, rexpr, rexpr_list_start: _, rexpr_list_end: _, location: _ } =
                    &**expression;
                self.operator(name);
                self.boxed(lexpr, Self::node);
                self.boxed(rexpr, Self::node);
            }
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::TypeCast(cast) => {
                let TypeCast { arg, type_name, location: _ } = &**cast;
                self.boxed(arg, Self::node);
                if let Some(type_name) = type_name {
                    self.type_name(type_name);
                }
            }
            NodeEnum::TypeName(type_name) => self.type_name(type_name),
            NodeEnum::CollateClause(clause) => {
                let CollateClause { arg, collname: _, location: _ } = &**clause;
                self.boxed(arg, Self::node);
            }

            // Everything that only holds other expressions.
            NodeEnum::BoolExpr(expression) => {
                let BoolExpr { xpr: _, boolop: _, args, location: _ } = &**expression;
                self.all(args);
            }
            NodeEnum::AArrayExpr(AArrayExpr { elements, list_start: _, list_end: _, location: _ }) => {
                self.all(elements)
            }
            NodeEnum::AIndirection(indirection) => self.indirection(indirection),
            NodeEnum::AIndices(indices) => {
                let AIndices { is_slice: _, lidx, uidx } = &**indices;
                self.boxed(lidx, Self::node);
                self.boxed(uidx, Self::node);
            }
            NodeEnum::CaseExpr(case) => {
                let CaseExpr { xpr: _, casetype: _, casecollid: _, arg, args, defresult, location: _ } = &**case;
                self.boxed(arg, Self::node);
                self.all(args);
                self.boxed(defresult, Self::node);
            }
            NodeEnum::CaseWhen(when) => {
                let CaseWhen { xpr: _, expr, result, location: _ } = &**when;
                self.boxed(expr, Self::node);
                self.boxed(result, Self::node);
            }
            NodeEnum::CoalesceExpr(coalesce) => {
                let CoalesceExpr { xpr: _, coalescetype: _, coalescecollid: _, args, location: _ } = &**coalesce;
                self.all(args);
            }
            NodeEnum::MinMaxExpr(extreme) => {
                let MinMaxExpr { xpr: _, minmaxtype: _, minmaxcollid: _, inputcollid: _, op: _, args, location: _ } =
                    &**extreme;
                self.all(args);
            }
            NodeEnum::NullTest(test) => {
                let NullTest { xpr: _, arg, nulltesttype: _, argisrow: _, location: _ } = &**test;
                self.boxed(arg, Self::node);
            }
            NodeEnum::BooleanTest(test) => {
                let BooleanTest { xpr: _, arg, booltesttype: _, location: _ } = &**test;
                self.boxed(arg, Self::node);
            }
            NodeEnum::RowExpr(row) => {
                let RowExpr { xpr: _, args, row_typeid: _, row_format: _, colnames: _, location: _ } = &**row;
                self.all(args);
            }
            NodeEnum::NamedArgExpr(argument) => {
                let NamedArgExpr { xpr: _, arg, name: _, argnumber: _, location: _ } = &**argument;
                self.boxed(arg, Self::node);
            }
            NodeEnum::ResTarget(target) => {
                let ResTarget { name: _, indirection, val, location: _ } = &**target;
                self.all(indirection);
                self.boxed(val, Self::node);
            }
            NodeEnum::MultiAssignRef(assign) => {
                let MultiAssignRef { source, colno: _, ncolumns: _ } = &**assign;
                self.boxed(source, Self::node);
            }
            NodeEnum::SubLink(link) => {
                let SubLink { xpr: _, sub_link_type: _, sub_link_id: _, testexpr, oper_name, subselect, location: _ } =
                    &**link;
                self.boxed(testexpr, Self::node);
                self.operator(oper_name);
                self.boxed(subselect, Self::node);
            }
            NodeEnum::SortBy(sort) => {
                let SortBy { node, sortby_dir: _, sortby_nulls: _, use_op, location: _ } = &**sort;
                self.boxed(node, Self::node);
                self.operator(use_op);
            }
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::GroupingSet(GroupingSet { kind: _, content, location: _ }) => self.all(content),
            NodeEnum::GroupingFunc(grouping) => {
                let GroupingFunc { xpr: _, args, refs: _, agglevelsup: _, location: _ } = &**grouping;
                self.all(args);
            }
            NodeEnum::IndexElem(element) => self.index_element(element),
            NodeEnum::ColumnDef(definition) => self.column_definition(definition),
            NodeEnum::XmlExpr(xml) => {
                let XmlExpr {
                    xpr: _,
                    op: _,
                    name: _,
                    named_args,
                    arg_names: _,
                    args,
                    xmloption: _,
                    indent: _,
                    r#type: _,
                    typmod: _,
                    location: _,
                } = &**xml;
                self.all(named_args);
                self.all(args);
            }
            NodeEnum::XmlSerialize(xml) => {
                let XmlSerialize { xmloption: _, expr, type_name, indent: _, location: _ } = &**xml;
                self.boxed(expr, Self::node);
                if let Some(type_name) = type_name {
                    self.type_name(type_name);
                }
            }
            json if self.json(json) => {}
            unknown => self.opaque(format!("`{}` is not known to the analysis", kind_of(unknown))),
        }
    }

    /// SQL/JSON (PostgreSQL 16 and newer); older servers read the constructors as calls of user functions of those
    /// names, which the catalogue then knows. `false` for every other node.
    fn json(&mut self, node: &NodeEnum) -> bool {
        match node {
            NodeEnum::JsonFuncExpr(function) => {
                let JsonFuncExpr {
                    op: _,
                    column_name: _,
                    context_item,
                    pathspec,
                    passing,
                    output,
                    on_empty,
                    on_error,
                    wrapper: _,
                    quotes: _,
                    location: _,
                } = &**function;
                self.json_value(context_item.as_deref());
                self.boxed(pathspec, Self::node);
                self.all(passing);
                self.json_output(output.as_ref());
                self.json_behavior(on_empty.as_deref());
                self.json_behavior(on_error.as_deref());
            }
            NodeEnum::JsonValueExpr(value) => self.json_value(Some(value)),
            NodeEnum::JsonArgument(argument) => {
                let JsonArgument { val, name: _ } = &**argument;
                self.json_value(val.as_deref());
            }
            NodeEnum::JsonKeyValue(pair) => self.json_pair(pair),
            NodeEnum::JsonParseExpr(parse) => {
                let JsonParseExpr { expr, output, unique_keys: _, location: _ } = &**parse;
                self.json_value(expr.as_deref());
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonScalarExpr(scalar) => {
                let JsonScalarExpr { expr, output, location: _ } = &**scalar;
                self.boxed(expr, Self::node);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonSerializeExpr(serialize) => {
                let JsonSerializeExpr { expr, output, location: _ } = &**serialize;
                self.json_value(expr.as_deref());
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonObjectConstructor(JsonObjectConstructor {
                exprs,
                output,
                absent_on_null: _,
                unique: _,
                location: _,
            }) => {
                self.all(exprs);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonArrayConstructor(JsonArrayConstructor { exprs, output, absent_on_null: _, location: _ }) => {
                self.all(exprs);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonArrayQueryConstructor(query) => {
                let JsonArrayQueryConstructor { query, output, format: _, absent_on_null: _, location: _ } = &**query;
                self.boxed(query, Self::node);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                let JsonObjectAgg { constructor, arg, absent_on_null: _, unique: _ } = &**aggregate;
                self.json_aggregate(constructor.as_deref());
                if let Some(pair) = arg {
                    self.json_pair(pair);
                }
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                let JsonArrayAgg { constructor, arg, absent_on_null: _ } = &**aggregate;
                self.json_aggregate(constructor.as_deref());
                self.json_value(arg.as_deref());
            }
            NodeEnum::JsonIsPredicate(predicate) => {
                let JsonIsPredicate { expr, format: _, item_type: _, unique_keys: _, location: _ } = &**predicate;
                self.boxed(expr, Self::node);
            }
            _ => return false,
        }
        true
    }

    fn json_value(&mut self, value: Option<&JsonValueExpr>) {
        if let Some(JsonValueExpr { raw_expr, formatted_expr, format: _ }) = value {
            self.boxed(raw_expr, Self::node);
            self.boxed(formatted_expr, Self::node);
        }
    }

    fn json_pair(&mut self, JsonKeyValue { key, value }: &JsonKeyValue) {
        self.boxed(key, Self::node);
        self.json_value(value.as_deref());
    }

    fn json_output(&mut self, output: Option<&JsonOutput>) {
        if let Some(JsonOutput { type_name: Some(type_name), returning: _ }) = output {
            self.type_name(type_name);
        }
    }

    fn json_behavior(&mut self, behavior: Option<&JsonBehavior>) {
        if let Some(JsonBehavior { btype: _, expr, coerce: _, location: _ }) = behavior {
            self.boxed(expr, Self::node);
        }
    }

    fn json_aggregate(&mut self, constructor: Option<&JsonAggConstructor>) {
        if let Some(JsonAggConstructor { output, agg_filter, agg_order, over, location: _ }) = constructor {
            self.json_output(output.as_ref());
            self.boxed(agg_filter, Self::node);
            self.all(agg_order);
            if let Some(over) = over {
                self.window(over);
            }
        }
    }

    fn json_path(&mut self, path: Option<&JsonTablePathSpec>) {
        if let Some(JsonTablePathSpec { string, name: _, name_location: _, location: _ }) = path {
            self.boxed(string, Self::node);
        }
    }

    fn json_table(&mut self, table: &JsonTable) {
        let JsonTable { context_item, pathspec, passing, columns, on_error, alias, lateral: _, location: _ } = table;
        self.alias(alias);
        self.json_value(context_item.as_deref());
        self.json_path(pathspec.as_deref());
        self.all(passing);
        self.all(columns);
        self.json_behavior(on_error.as_deref());
    }

    fn json_table_column(&mut self, column: &JsonTableColumn) {
        let JsonTableColumn {
            coltype: _,
            name: _,
            type_name,
            pathspec,
            format: _,
            wrapper: _,
            quotes: _,
            columns,
            on_empty,
            on_error,
            location: _,
        } = column;
        if let Some(type_name) = type_name {
            self.type_name(type_name);
        }
        self.json_path(pathspec.as_deref());
        self.all(columns);
        self.json_behavior(on_empty.as_deref());
        self.json_behavior(on_error.as_deref());
    }

    fn column(&mut self, ColumnRef { fields, location: _ }: &ColumnRef) {
        let names = strings(fields);
        self.star |= names.len() < fields.len();
        if let ([name], 1) = (names.as_slice(), fields.len()) {
            self.bare.insert((*name).to_owned());
        } else if let Some(last) = names.last() {
            self.dotted.insert((*last).to_owned());
        }
        self.columns.extend(names.into_iter().map(str::to_owned));
    }

    /// `(row).name`, `(array)[1]`, `(row).*`.
    fn indirection(&mut self, AIndirection { arg, indirection }: &AIndirection) {
        self.boxed(arg, Self::node);
        for node in indirection {
            if let Some(NodeEnum::String(name)) = &node.node {
                self.columns.insert(name.sval.clone());
                self.dotted.insert(name.sval.clone());
            }
        }
        self.all(indirection);
    }

    /// Operators are functions by another name; those of `pg_catalog` are harmless, others are not known to be.
    pub(super) fn operator(&mut self, name: &[Node]) {
        match strings(name).as_slice() {
            [] => {}
            ["pg_catalog", _] => {}
            [name] if !self.catalog.is_user_operator(name) => {}
            other => self.opaque(format!("operator `{}` is not one of the server's own", other.join("."))),
        }
    }

    pub(super) fn type_name(&mut self, type_name: &TypeName) {
        let TypeName { names, type_oid: _, setof: _, pct_type, typmods, typemod: _, array_bounds: _, location: _ } =
            type_name;
        let parts = strings(names);
        self.all(typmods);
        if *pct_type {
            return self.opaque("a type taken from a column");
        }
        if parts.is_empty() {
            return;
        }
        match qualified(&self.catalog.database, &parts) {
            Some((schema, name)) if self.catalog.has_type(schema, name) => {}
            Some(_) => self.missing(Missing::Type(parts.join("."))),
            None => self.opaque(format!("type `{}` of another database", parts.join("."))),
        }
    }

    pub(super) fn call(&mut self, call: &FuncCall) {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct: _,
            func_variadic: _,
            funcformat: _,
            location: _,
        } = call;
        let parts = strings(funcname);
        self.found.mentioned.extend(parts.last().map(|name| (*name).to_owned()));
        match qualified(&self.catalog.database, &parts) {
            Some((schema, name)) => self.function(schema, name, args),
            None => self.opaque(format!("function `{}` of another database", parts.join("."))),
        }
        self.all(args);
        self.all(agg_order);
        self.boxed(agg_filter, Self::node);
        if let Some(over) = over {
            self.window(over);
        }
    }

    /// A function by name. All overloads in sight count, since the argument types are not known here.
    pub(super) fn function(&mut self, schema: &str, name: &str, args: &[Node]) {
        if builtins::sets_parameter(name) && matches!(schema, "" | "pg_catalog") {
            self.set_config(args);
        }
        if builtins::moves_sequence(name) && matches!(schema, "" | "pg_catalog") && self.sequence(args) {
            return;
        }
        // `email(u)` is another spelling of `u.email`.
        self.columns.insert(name.to_owned());
        let candidates = self.catalog.functions(schema, name);
        if candidates.is_empty() {
            return self.missing(Missing::Function(name.to_owned()));
        }
        for function in candidates {
            if !builtins::is_harmless(&function.schema, &function.name) {
                self.ask(Access::Execute, Object::Function(function.clone()), true);
            }
        }
    }

    /// `nextval('name')` writes the sequence of that name; `false` where the name is not a constant.
    fn sequence(&mut self, args: &[Node]) -> bool {
        let Some(name) = args.first().and_then(super::settings::constant) else { return false };
        // The argument is a regclass: a name as it would stand in SQL. A parser for names is at hand.
        let quoted = format!("DROP SEQUENCE {name}");
        let Ok(tree) = pg_query::parse(&quoted, pg_query::ParserOptions::DEFAULT) else { return false };
        let [statement] = tree.protobuf.stmts.as_slice() else { return false };
        let Some(NodeEnum::DropStmt(drop)) = statement.stmt.as_ref().and_then(|node| node.node.as_ref()) else {
            return false;
        };
        let [object] = drop.objects.as_slice() else { return false };
        let Some(NodeEnum::List(list)) = &object.node else { return false };
        let Some((schema, name)) = qualified(&self.catalog.database, &strings(&list.items)) else { return false };
        match self.catalog.relation(schema, name) {
            Some(sequence) => self.ask(Access::Update, Object::Relation(sequence.id.clone()), true),
            None => self.missing(Missing::Relation(name.to_owned())),
        }
        true
    }

    pub(super) fn index_element(&mut self, element: &IndexElem) {
        let IndexElem {
            name,
            expr,
            indexcolname: _,
            collation: _,
            opclass: _,
            opclassopts: _,
            ordering: _,
            nulls_ordering: _,
        } = element;
        self.columns.insert(name.clone());
        self.boxed(expr, Self::node);
    }

    pub(super) fn column_definition(&mut self, definition: &ColumnDef) {
        if let Some(type_name) = &definition.type_name {
            self.type_name(type_name);
        }
        self.boxed(&definition.raw_default, Self::node);
        self.constraints(&definition.constraints);
    }
}

/// The node's name for messages: the variant's own, written without formatting the tree below it.
pub(super) fn kind_of(node: &NodeEnum) -> String {
    struct Name(String);
    impl std::fmt::Write for Name {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(text.split('(').next().unwrap_or_default());
            // The variant's name comes first; an error stops the formatting behind it.
            Err(std::fmt::Error)
        }
    }
    let mut name = Name(String::new());
    // The error is the stop that we asked for.
    let _stopped = std::fmt::write(&mut name, format_args!("{node:?}"));
    name.0
}
