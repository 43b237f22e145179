//! Expressions: every node that can stand where a value does.

use super::scope::Entry;
use super::{Walk, qualified, strings};
use crate::sql::builtins;
use crate::sql::facts::{Access, Flag, Missing, Object};
use crate::sql::lineage::{ColumnSet, Field, Handling, Value};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AArrayExpr, AExpr, AExprKind, AIndices, AIndirection, BoolExpr, BooleanTest, CaseExpr, CaseWhen, CoalesceExpr,
    CollateClause, ColumnDef, FuncCall, GroupingFunc, IndexElem, JsonAggConstructor, JsonArgument, JsonArrayAgg,
    JsonArrayConstructor, JsonArrayQueryConstructor, JsonBehavior, JsonFuncExpr, JsonIsPredicate, JsonKeyValue,
    JsonObjectAgg, JsonObjectConstructor, JsonOutput, JsonParseExpr, JsonScalarExpr, JsonSerializeExpr, JsonTable,
    JsonTableColumn, JsonTablePathSpec, JsonValueExpr, MinMaxExpr, MultiAssignRef, NamedArgExpr, Node, NullTest,
    ResTarget, RowExpr, SortBy, SubLink, SubLinkType, TypeCast, TypeName, XmlExpr, XmlSerialize,
};
use std::borrow::Borrow;
use std::rc::Rc;

impl Walk<'_> {
    /// Something made of several expressions.
    pub(super) fn all<N: Borrow<Node>>(&mut self, nodes: &[N]) -> Value {
        let mut made = ColumnSet::new();
        for node in nodes {
            self.visit(node.borrow(), Self::node).collect(&mut made);
        }
        self.mark(&made, Handling::USED);
        Value::made_of(made)
    }

    /// Something made of expressions that may be there.
    fn made_of<'n>(&mut self, nodes: impl IntoIterator<Item = &'n Option<Box<Node>>>) -> Value {
        let nodes: Vec<&Node> = nodes.into_iter().flatten().map(|node| &**node).collect();
        self.all(&nodes)
    }

    /// One node of an expression.
    pub(super) fn node(&mut self, node: &NodeEnum) -> Value {
        match node {
            // Leaves.
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::String(_)
            | NodeEnum::BitString(_) => Value::constant(),
            NodeEnum::SetToDefault(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::MergeSupportFunc(_) => Value::default(),
            NodeEnum::AStar(_) => {
                let fields = self.star(&[]);
                Value::of_row(fields)
            }
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::List(list) => self.list(&list.items),

            // Queries.
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_) => {
                let fields = self.query(node);
                Value::of_row(fields)
            }
            NodeEnum::SubLink(link) => self.sub_link(link),

            // Operators, calls and types.
            NodeEnum::AExpr(expression) => self.operation(expression),
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::TypeCast(cast) => self.cast(cast),
            NodeEnum::TypeName(type_name) => {
                self.type_name(type_name);
                Value::default()
            }
            // Another order of the same values.
            NodeEnum::CollateClause(clause) => {
                let CollateClause { arg, collname: _, location: _ } = &**clause;
                self.boxed(arg, Self::node)
            }

            // One of several values as it is.
            NodeEnum::CaseExpr(case) => self.case(case),
            NodeEnum::CoalesceExpr(coalesce) => {
                let CoalesceExpr { xpr: _, coalescetype: _, coalescecollid: _, args, location: _ } = &**coalesce;
                let mut chosen: Option<Value> = None;
                for node in args {
                    let value = self.visit(node, Self::node);
                    self.test(&value);
                    chosen = Some(chosen.map_or(value.clone(), |chosen| chosen.or(value)));
                }
                chosen.unwrap_or_default()
            }
            NodeEnum::NullTest(test) => {
                let NullTest { xpr: _, arg, nulltesttype: _, argisrow: _, location: _ } = &**test;
                let value = self.boxed(arg, Self::node);
                self.test(&value);
                Value::default()
            }
            NodeEnum::NamedArgExpr(argument) => {
                let NamedArgExpr { xpr: _, arg, name: _, argnumber: _, location: _ } = &**argument;
                self.boxed(arg, Self::node)
            }
            NodeEnum::MultiAssignRef(assign) => {
                let MultiAssignRef { source, colno: _, ncolumns: _ } = &**assign;
                self.boxed(source, Self::node)
            }
            NodeEnum::RowExpr(row) => {
                let RowExpr { xpr: _, args, row_typeid: _, row_format: _, colnames: _, location: _ } = &**row;
                let mut fields = Vec::with_capacity(args.len());
                for node in args {
                    // `ROW(t.*, 1)` is a row of all of them.
                    match node.node.as_ref().and_then(|node| self.spread(node)) {
                        Some(spread) => fields.extend(spread),
                        None => fields.push(Field::unnamed(self.visit(node, Self::node))),
                    }
                }
                Value::of_row(fields)
            }
            NodeEnum::AIndirection(indirection) => self.indirection(indirection),
            NodeEnum::ResTarget(target) => {
                let ResTarget { name: _, indirection, val, location: _ } = &**target;
                self.all(indirection);
                self.boxed(val, Self::node)
            }
            // Which of the grouping sets this row is of: nothing about the columns.
            NodeEnum::GroupingFunc(grouping) => {
                let GroupingFunc { xpr: _, args, refs: _, agglevelsup: _, location: _ } = &**grouping;
                for node in args {
                    self.visit(node, Self::node);
                }
                Value::default()
            }

            // Everything that makes something else of what it holds.
            NodeEnum::BoolExpr(expression) => {
                let BoolExpr { xpr: _, boolop: _, args, location: _ } = &**expression;
                self.all(args)
            }
            NodeEnum::AArrayExpr(AArrayExpr { elements, list_start: _, list_end: _, location: _ }) => {
                self.list(elements)
            }
            NodeEnum::AIndices(indices) => {
                let AIndices { is_slice: _, lidx, uidx } = &**indices;
                self.made_of([lidx, uidx])
            }
            NodeEnum::MinMaxExpr(extreme) => {
                let MinMaxExpr { xpr: _, minmaxtype: _, minmaxcollid: _, inputcollid: _, op: _, args, location: _ } =
                    &**extreme;
                self.all(args)
            }
            NodeEnum::BooleanTest(test) => {
                let BooleanTest { xpr: _, arg, booltesttype: _, location: _ } = &**test;
                self.made_of([arg])
            }
            NodeEnum::SortBy(sort) => {
                let SortBy { node, sortby_dir: _, sortby_nulls: _, use_op, location: _ } = &**sort;
                self.operator(use_op);
                self.made_of([node])
            }
            NodeEnum::WindowDef(window) => {
                self.window(window);
                Value::default()
            }
            NodeEnum::IndexElem(element) => self.index_element(element),
            NodeEnum::ColumnDef(definition) => {
                self.column_definition(definition);
                Value::default()
            }
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
                let (named, others) = (self.all(named_args), self.all(args));
                named.or(others)
            }
            NodeEnum::XmlSerialize(xml) => {
                let XmlSerialize { xmloption: _, expr, type_name, indent: _, location: _ } = &**xml;
                if let Some(type_name) = type_name {
                    self.type_name(type_name);
                }
                self.made_of([expr])
            }
            json => match self.json(json) {
                Some(value) => value,
                None => {
                    self.opaque(format!("`{}` is not known to the analysis", kind_of(json)));
                    Value::default()
                }
            },
        }
    }

    /// The elements of an array, the right side of IN: constant where all of them are.
    fn list(&mut self, nodes: &[Node]) -> Value {
        let mut constant = true;
        let mut made = ColumnSet::new();
        for node in nodes {
            let value = self.visit(node, Self::node);
            constant &= value.constant;
            value.collect(&mut made);
        }
        self.mark(&made, Handling::USED);
        Value { constant, ..Value::made_of(made) }
    }

    fn sub_link(&mut self, link: &SubLink) -> Value {
        let SubLink { xpr: _, sub_link_type, sub_link_id: _, testexpr, oper_name, subselect, location: _ } = link;
        self.operator(oper_name);
        let test = self.boxed(testexpr, Self::node);
        if oper_name.is_empty() && testexpr.is_some() {
            // IN is `= ANY`.
            self.operators(None, "=");
        }
        let fields = self.boxed(subselect, Self::query);
        match SubLinkType::try_from(*sub_link_type) {
            // Whether there are rows, not what is in them.
            Ok(SubLinkType::ExistsSublink) => Value::default(),
            Ok(SubLinkType::ExprSublink) => match <[Field; 1]>::try_from(fields) {
                Ok([field]) if !field.many => field.value,
                Ok([field]) => self.derive([field.value]),
                Err(fields) => Value::of_row(fields),
            },
            Ok(SubLinkType::MultiexprSublink) => Value::of_row(fields),
            _ => {
                let values: Vec<_> = fields.into_iter().map(|field| field.value).chain([test]).collect();
                self.derive(values)
            }
        }
    }

    fn operation(&mut self, expression: &AExpr) -> Value {
        let AExpr { kind, name, lexpr, rexpr, rexpr_list_start: _, rexpr_list_end: _, location: _ } = expression;
        self.operator(name);
        let (left, right) = (self.boxed(lexpr, Self::node), self.boxed(rexpr, Self::node));
        let is_equality = strings(name) == ["="];
        match AExprKind::try_from(*kind) {
            Ok(AExprKind::AexprNullif) => {
                self.compared(&left, &right);
                left
            }
            // Says whether a column has one of the values that the statement itself brings.
            Ok(AExprKind::AexprOp | AExprKind::AexprIn | AExprKind::AexprOpAny) if is_equality => {
                self.compared(&left, &right);
                Value { constant: left.constant && right.constant, ..Value::default() }
            }
            _ => {
                let constant = left.constant && right.constant;
                Value { constant, ..self.derive([left, right]) }
            }
        }
    }

    /// Two values are held against each other. With a constant that confirms a guess; with anything else it tells more.
    fn compared(&mut self, left: &Value, right: &Value) {
        let pure = |value: &Value| value.derived.is_empty() && value.row.is_none();
        if (right.constant && pure(left)) || (left.constant && pure(right)) {
            self.mark(&left.everything(), Handling::COMPARED);
            self.mark(&right.everything(), Handling::COMPARED);
        } else {
            self.consume(left);
            self.consume(right);
        }
    }

    fn case(&mut self, case: &CaseExpr) -> Value {
        let CaseExpr { xpr: _, casetype: _, casecollid: _, arg, args, defresult, location: _ } = case;
        let tested = self.boxed(arg, Self::node);
        self.consume(&tested);
        if arg.is_some() {
            self.operators(None, "=");
        }
        let mut chosen = defresult.as_ref().map_or(Value::constant(), |node| self.visit(node, Self::node));
        for node in args {
            let Some(NodeEnum::CaseWhen(when)) = &node.node else {
                self.opaque("CASE holds something else than WHEN");
                continue;
            };
            let CaseWhen { xpr: _, expr, result, location: _ } = &**when;
            let condition = self.boxed(expr, Self::node);
            self.consume(&condition);
            let result = self.boxed(result, Self::node);
            chosen = chosen.or(result);
        }
        chosen
    }

    fn cast(&mut self, cast: &TypeCast) -> Value {
        let TypeCast { arg, type_name, location: _ } = cast;
        let value = self.boxed(arg, Self::node);
        let mut keeps = false;
        if let Some(type_name) = type_name {
            self.type_name(type_name);
            // From text to text nothing happens.
            let to_text = match strings(&type_name.names).as_slice() {
                ["pg_catalog", "text" | "varchar"] => true,
                [name @ ("text" | "varchar")] => self.catalog.is_type_of_server(name),
                _ => false,
            };
            keeps = to_text && type_name.typmods.is_empty() && type_name.array_bounds.is_empty();
        }
        let is_text = |column: &_| {
            let found = self.column_of(*column).map(|column| &*column.type_name);
            found.is_some_and(|name| name == "text" || name.starts_with("character varying"))
        };
        if keeps && value.derived.is_empty() && value.row.is_none() && value.whole.iter().all(is_text) {
            return value;
        }
        let constant = value.constant;
        Value { constant, ..self.derive([value]) }
    }

    /// `(row).name`, `(array)[1]`, `(row).*`.
    fn indirection(&mut self, AIndirection { arg, indirection }: &AIndirection) -> Value {
        let mut value = self.boxed(arg, Self::node);
        for node in indirection {
            value = match &node.node {
                Some(NodeEnum::String(name)) => self.field_of(value, &name.sval),
                Some(NodeEnum::AStar(_)) => value,
                Some(subscript) => {
                    let subscript = self.node(subscript);
                    self.derive([value, subscript])
                }
                None => value,
            };
        }
        value
    }

    /// A field of a row, or a function of it by the same spelling.
    fn field_of(&mut self, value: Value, name: &str) -> Value {
        let Some(row) = value.row.clone() else {
            // A field of something that is known as a whole only.
            self.functions_of_row(name);
            return self.derive([value]);
        };
        let named = row.iter().filter(|field| field.name.as_deref() == Some(name));
        if let Some(found) = named.map(|field| field.value.clone()).reduce(Value::or) {
            return found;
        }
        self.functions_of_row(name);
        self.derive([value])
    }

    fn functions_of_row(&mut self, name: &str) {
        let functions: Vec<_> = self.catalog.functions("", name).into_iter().cloned().collect();
        for function in &functions {
            self.call_function(function);
        }
    }

    /// SQL/JSON (PostgreSQL 16 and newer); older servers read the constructors as calls of user functions of those
    /// names, which the catalogue then knows. `None` for every other node.
    fn json(&mut self, node: &NodeEnum) -> Option<Value> {
        Some(match node {
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
                self.json_output(output.as_ref());
                let parts = [
                    self.json_value(context_item.as_deref()),
                    self.made_of([pathspec]),
                    self.all(passing),
                    self.json_behavior(on_empty.as_deref()),
                    self.json_behavior(on_error.as_deref()),
                ];
                self.derive(parts)
            }
            NodeEnum::JsonValueExpr(value) => self.json_value(Some(value)),
            NodeEnum::JsonArgument(argument) => {
                let JsonArgument { val, name: _ } = &**argument;
                self.json_value(val.as_deref())
            }
            NodeEnum::JsonKeyValue(pair) => self.json_pair(pair),
            NodeEnum::JsonParseExpr(parse) => {
                let JsonParseExpr { expr, output, unique_keys: _, location: _ } = &**parse;
                self.json_output(output.as_ref());
                self.json_value(expr.as_deref())
            }
            NodeEnum::JsonScalarExpr(scalar) => {
                let JsonScalarExpr { expr, output, location: _ } = &**scalar;
                self.json_output(output.as_ref());
                self.made_of([expr])
            }
            NodeEnum::JsonSerializeExpr(serialize) => {
                let JsonSerializeExpr { expr, output, location: _ } = &**serialize;
                self.json_output(output.as_ref());
                self.json_value(expr.as_deref())
            }
            NodeEnum::JsonObjectConstructor(JsonObjectConstructor {
                exprs,
                output,
                absent_on_null: _,
                unique: _,
                location: _,
            }) => {
                self.json_output(output.as_ref());
                self.all(exprs)
            }
            NodeEnum::JsonArrayConstructor(JsonArrayConstructor { exprs, output, absent_on_null: _, location: _ }) => {
                self.json_output(output.as_ref());
                self.all(exprs)
            }
            NodeEnum::JsonArrayQueryConstructor(query) => {
                let JsonArrayQueryConstructor { query, output, format: _, absent_on_null: _, location: _ } = &**query;
                self.json_output(output.as_ref());
                self.made_of([query])
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                let JsonObjectAgg { constructor, arg, absent_on_null: _, unique: _ } = &**aggregate;
                let around = self.json_aggregate(constructor.as_deref());
                let pair = arg.as_ref().map(|pair| self.json_pair(pair)).unwrap_or_default();
                around.or(pair)
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                let JsonArrayAgg { constructor, arg, absent_on_null: _ } = &**aggregate;
                let around = self.json_aggregate(constructor.as_deref());
                let value = self.json_value(arg.as_deref());
                around.or(value)
            }
            NodeEnum::JsonIsPredicate(predicate) => {
                let JsonIsPredicate { expr, format: _, item_type: _, unique_keys: _, location: _ } = &**predicate;
                self.made_of([expr])
            }
            _ => return None,
        })
    }

    fn json_value(&mut self, value: Option<&JsonValueExpr>) -> Value {
        match value {
            Some(JsonValueExpr { raw_expr, formatted_expr, format: _ }) => self.made_of([raw_expr, formatted_expr]),
            None => Value::default(),
        }
    }

    fn json_pair(&mut self, JsonKeyValue { key, value }: &JsonKeyValue) -> Value {
        let (key, value) = (self.made_of([key]), self.json_value(value.as_deref()));
        key.or(value)
    }

    fn json_output(&mut self, output: Option<&JsonOutput>) {
        if let Some(JsonOutput { type_name: Some(type_name), returning: _ }) = output {
            self.type_name(type_name);
        }
    }

    fn json_behavior(&mut self, behavior: Option<&JsonBehavior>) -> Value {
        match behavior {
            Some(JsonBehavior { btype: _, expr, coerce: _, location: _ }) => self.made_of([expr]),
            None => Value::default(),
        }
    }

    fn json_aggregate(&mut self, constructor: Option<&JsonAggConstructor>) -> Value {
        let Some(JsonAggConstructor { output, agg_filter, agg_order, over, location: _ }) = constructor else {
            return Value::default();
        };
        self.json_output(output.as_ref());
        if let Some(over) = over {
            self.window(over);
        }
        let (filter, order) = (self.made_of([agg_filter]), self.all(agg_order));
        filter.or(order)
    }

    fn json_path(&mut self, path: Option<&JsonTablePathSpec>) {
        if let Some(JsonTablePathSpec { string, name: _, name_location: _, location: _ }) = path {
            self.boxed(string, Self::node);
        }
    }

    pub(super) fn json_table(&mut self, table: &JsonTable) {
        let JsonTable { context_item, pathspec, passing, columns, on_error, alias, lateral: _, location: _ } = table;
        self.json_path(pathspec.as_deref());
        let parts =
            [self.json_value(context_item.as_deref()), self.all(passing), self.json_behavior(on_error.as_deref())];
        let value = self.derive(parts);
        let mut fields = Vec::new();
        self.json_columns(columns, &value, &mut fields);
        self.enter_shown(Entry { fields, ..Entry::default() }.renamed(alias));
    }

    fn json_columns(&mut self, columns: &[Node], value: &Value, fields: &mut Vec<Field>) {
        for node in columns {
            let Some(NodeEnum::JsonTableColumn(column)) = &node.node else {
                self.opaque("JSON_TABLE holds something else than columns");
                continue;
            };
            let JsonTableColumn {
                coltype: _,
                name,
                type_name,
                pathspec,
                format: _,
                wrapper: _,
                quotes: _,
                columns,
                on_empty,
                on_error,
                location: _,
            } = &**column;
            if let Some(type_name) = type_name {
                self.type_name(type_name);
            }
            self.json_path(pathspec.as_deref());
            let parts =
                [self.json_behavior(on_empty.as_deref()), self.json_behavior(on_error.as_deref()), value.clone()];
            let made = self.derive(parts);
            if columns.is_empty() {
                fields.push(Field::new(name, made));
            } else {
                self.json_columns(columns, &made, fields);
            }
        }
    }

    /// Operators are functions by another name. Those of `pg_catalog` are harmless; of others every one of that name may be
    /// meant, for the server picks one by the types.
    pub(super) fn operator(&mut self, name: &[Node]) {
        match strings(name).as_slice() {
            [] | ["pg_catalog", _] => {}
            // Comparisons that are spelled as words.
            ["BETWEEN" | "BETWEEN SYMMETRIC" | "NOT BETWEEN" | "NOT BETWEEN SYMMETRIC"] => {
                [">=", "<=", "<", ">"].iter().for_each(|name| self.operators(None, name));
            }
            [name] => self.operators(None, name),
            [schema, name] => {
                if !self.catalog.operators(name).iter().any(|operator| &*operator.schema == *schema) {
                    return self.opaque(format!("operator `{schema}.{name}` is not known"));
                }
                self.operators(Some(schema), name);
            }
            other => self.opaque(format!("operator `{}` of another database", other.join("."))),
        }
    }

    /// Runs whatever stands behind the operators of a name.
    pub(super) fn operators(&mut self, schema: Option<&str>, name: &str) {
        let catalog = self.catalog;
        for operator in catalog.operators(name) {
            if schema.is_some_and(|schema| *operator.schema != *schema) {
                continue;
            }
            if let Some((schema, name)) = &operator.function {
                self.found.mentioned.insert(name.to_string());
                let functions: Vec<_> = catalog.functions(schema, name).into_iter().cloned().collect();
                if functions.is_empty() {
                    self.missing(Missing::Function(name.to_string()));
                }
                functions.iter().for_each(|function| self.call_function(function));
            }
        }
    }

    pub(super) fn type_name(&mut self, type_name: &TypeName) {
        let TypeName { names, type_oid: _, setof: _, pct_type, typmods, typemod: _, array_bounds: _, location: _ } =
            type_name;
        let parts = strings(names);
        self.all(typmods);
        if *pct_type {
            return self.type_of_column(&parts);
        }
        if parts.is_empty() {
            return;
        }
        match qualified(&self.catalog.database, &parts) {
            Some((schema, name)) if self.catalog.has_type(schema, name) => {
                let catalog = self.catalog;
                catalog.code_of_type(name).iter().for_each(|function| self.run_trigger(function));
                self.row_type(&parts);
            }
            // Written as types, in column definitions only: integers with a sequence (`transformColumnDefinition`).
            Some(("", "serial" | "serial2" | "serial4" | "serial8" | "smallserial" | "bigserial")) => {}
            Some(_) => self.missing(Missing::Type(parts.join("."))),
            None => self.opaque(format!("type `{}` of another database", parts.join("."))),
        }
    }

    pub(super) fn call(&mut self, call: &FuncCall) -> Value {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct,
            func_variadic: _,
            funcformat: _,
            location: _,
        } = call;
        let parts = strings(funcname);
        self.found.mentioned.extend(parts.last().map(|name| (*name).to_owned()));
        let values: Vec<Value> = args.iter().map(|node| self.visit(node, Self::node)).collect();
        let around = [self.all(agg_order), self.made_of([agg_filter])];
        if let Some(over) = over {
            self.window(over);
        }
        let Some((schema, name)) = qualified(&self.catalog.database, &parts) else {
            self.opaque(format!("function `{}` of another database", parts.join(".")));
            return self.derive(values);
        };
        if schema.starts_with("pg_temp") {
            self.opaque("temporary functions shadow others and are not followed");
            return self.derive(values);
        }
        let counts = name == "count"
            && !*agg_distinct
            && self.catalog.functions(schema, name).iter().all(|function| &*function.schema == "pg_catalog");
        if let ([value], true) = (values.as_slice(), counts) {
            self.test(value);
            self.function(schema, name, args);
            return self.derive(around);
        }
        // `email(u)` is another spelling of `u.email`.
        if let [value] = values.as_slice()
            && schema.is_empty()
            && let Some(row) = &value.row
        {
            let named = row.iter().filter(|field| field.name.as_deref() == Some(name));
            let field = named.map(|field| field.value.clone()).reduce(Value::or);
            let known = !self.catalog.functions(schema, name).is_empty();
            match field {
                Some(field) if !known => return field,
                Some(_) | None => {}
            }
        }
        let result = self.function(schema, name, args);
        self.derive(values.into_iter().chain(around).chain([result]))
    }

    /// A function by name. All overloads in sight count, since the argument types are not known here. What comes back is
    /// what it reads by itself.
    pub(super) fn function(&mut self, schema: &str, name: &str, args: &[Node]) -> Value {
        if builtins::sets_parameter(name) && matches!(schema, "" | "pg_catalog") {
            self.set_config(args);
        }
        if builtins::moves_sequence(name) && matches!(schema, "" | "pg_catalog") && self.sequence(args) {
            return Value::default();
        }
        let candidates: Vec<_> = self.catalog.functions(schema, name).into_iter().cloned().collect();
        if candidates.is_empty() {
            self.missing(Missing::Function(name.to_owned()));
        }
        for function in &candidates {
            self.call_function(function);
        }
        Value::default()
    }

    /// How many columns a call in FROM has, if that can be told.
    pub(super) fn width(&mut self, call: &FuncCall) -> Option<u32> {
        let parts = strings(&call.funcname);
        let (schema, name) = qualified(&self.catalog.database, &parts)?;
        // One for each array, but of rows as many as those have fields.
        if name == "unnest" {
            let plain = call.args.iter().all(|node| self.is_of_scalars(node));
            return plain.then(|| u32::try_from(call.args.len()).ok()).flatten();
        }
        let candidates = self.catalog.functions(schema, name);
        let width = candidates.first()?.width?;
        candidates.iter().all(|function| function.width == Some(width)).then_some(width)
    }

    /// What the only column of a call in FROM is called, where the function says so: `value` of `jsonb_array_elements`.
    pub(super) fn output(&self, call: &FuncCall) -> Option<Rc<str>> {
        let parts = strings(&call.funcname);
        let (schema, name) = qualified(&self.catalog.database, &parts)?;
        let candidates = self.catalog.functions(schema, name);
        let output = candidates.first()?.output.clone()?;
        candidates.iter().all(|function| function.output.as_ref() == Some(&output)).then(|| Rc::from(&*output))
    }

    /// Whether an array's elements are no rows for sure.
    fn is_of_scalars(&mut self, node: &Node) -> bool {
        match &node.node {
            Some(NodeEnum::ColumnRef(column)) => {
                let Value { whole, derived, row, .. } = self.column(column);
                let plain =
                    |column: &_| self.column_of(*column).is_some_and(|column| is_array_of_scalars(column.type_oid));
                derived.is_empty() && row.is_none() && !whole.is_empty() && whole.iter().all(plain)
            }
            Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(|element| match &element.node {
                Some(NodeEnum::AConst(_)) => true,
                Some(NodeEnum::TypeCast(_) | NodeEnum::AArrayExpr(_)) => self.is_of_scalars(element),
                _ => false,
            }),
            Some(NodeEnum::TypeCast(cast)) => cast.type_name.as_ref().is_some_and(|name| {
                let parts = strings(&name.names);
                let Some((schema, name)) = qualified(&self.catalog.database, &parts) else { return false };
                let name = name.strip_prefix('_').unwrap_or(name);
                matches!(schema, "" | "pg_catalog")
                    && self.catalog.is_type_of_server(name)
                    && self.catalog.relation("pg_catalog", name).is_none()
                    && !name.starts_with("record")
                    && !name.starts_with("any")
            }),
            Some(NodeEnum::FuncCall(call)) => {
                let parts = strings(&call.funcname);
                let Some((schema, name)) = qualified(&self.catalog.database, &parts) else { return false };
                matches!(name, "string_to_array" | "regexp_split_to_array" | "current_schemas" | "parse_ident")
                    && self.catalog.functions(schema, name).iter().all(|function| &*function.schema == "pg_catalog")
            }
            _ => false,
        }
    }

    /// `nextval('name')` writes the sequence of that name; `false` where the name is not a constant.
    fn sequence(&mut self, args: &[Node]) -> bool {
        self.flag(Flag::ReadsConstants);
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

    pub(super) fn index_element(&mut self, element: &IndexElem) -> Value {
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
        let column = if name.is_empty() { None } else { self.find(name) };
        let computed = self.boxed(expr, Self::node);
        self.derive(column.into_iter().chain([computed]))
    }

    pub(super) fn column_definition(&mut self, definition: &ColumnDef) {
        if let Some(type_name) = &definition.type_name {
            self.type_name(type_name);
        }
        self.made_of([&definition.raw_default]);
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

/// The server's own array types by their OIDs, without those of rows: `pg_type[]` and its kin, `record[]`; and the vectors
/// that its catalogues have.
fn is_array_of_scalars(oid: u32) -> bool {
    matches!(oid, 22 | 30 | 143 | 199 | 271 | 629 | 651 | 719 | 775 | 791 | 1000..=1003 | 1005..=1022 | 1027 | 1028 | 1034)
        || matches!(
            oid,
            1040 | 1041 | 1115 | 1182 | 1183 | 1185 | 1187 | 1231 | 1270 | 1561 | 1563 | 2201 | 2207..=2211
        )
        || matches!(
            oid,
            2949 | 2951 | 3221 | 3643..=3645 | 3735 | 3770 | 3807 | 3905 | 3907 | 3909 | 3911 | 3913 | 3927
        )
        || matches!(oid, 4073 | 4090 | 4097 | 4192 | 5039 | 6150..=6153 | 6155 | 6157)
}
