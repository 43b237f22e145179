//! What a definition touches besides what it is about.
//!
//! A row type is its relation by another name; an index and the sequence of a column belong to a table; partitions change
//! and go along with it, views and children fall with CASCADE; and some statements name a schema or nothing and mean every
//! relation there is. None of these needs a permit of its own, but what is forbidden stays forbidden.

use super::{Walk, qualified, strings};
use crate::sql::catalog::{Relation, RelationKind, RelationRef, Way};
use crate::sql::facts::{Access, Object};
use crate::sql::temporary::is_temporary;
use pg_query::NodeEnum;
use pg_query::protobuf::{
    CreateCastStmt, CreateDomainStmt, CreateOpClassStmt, CreateRangeStmt, CreateTransformStmt, DefineStmt, Node,
    ObjectType, ObjectWithArgs, PublicationObjSpecType, RangeVar, TypeName,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Options of CREATE AGGREGATE, OPERATOR and TYPE that name a function which runs out of sight from then on.
const RUNS: &[&str] = &[
    "combinefunc",
    "deserialfunc",
    "finalfunc",
    "finalfunc1",
    "function",
    "mfinalfunc",
    "minvfunc",
    "msfunc",
    "procedure",
    "serialfunc",
    "sfunc",
    "sfunc1",
];

/// A relation's name of one, two or three parts.
pub(super) fn named(parts: &[&str]) -> RangeVar {
    let part = |at: usize| parts.iter().rev().nth(at).copied().unwrap_or_default().to_owned();
    RangeVar { catalogname: part(2), schemaname: part(1), relname: part(0), ..RangeVar::default() }
}

impl Walk<'_> {
    /// The relation that a type is the row of, if it is one of somebody's.
    fn relation_of_type(&self, parts: &[&str]) -> Option<Arc<Relation>> {
        let (schema, name) = qualified(&self.catalog.database, parts)?;
        // An array's name is that of its elements behind an underscore.
        let relation = [name, name.trim_start_matches('_')].into_iter().find_map(|name| {
            let found = self.catalog.relation(schema, name)?;
            let has_rows = !matches!(
                found.kind,
                RelationKind::Sequence | RelationKind::Index | RelationKind::CompositeType | RelationKind::Toast
            );
            (has_rows && !matches!(&*found.id.schema, "pg_catalog" | "information_schema")).then_some(found)
        });
        relation.cloned()
    }

    /// A type by name.
    pub(super) fn row_type(&mut self, parts: &[&str]) {
        self.found.mentioned.extend(parts.last().map(|name| (*name).to_owned()));
        if let Some(relation) = self.relation_of_type(parts) {
            self.ask(Access::Filter, Object::Relation(relation.id.clone()), false);
        }
    }

    /// `relation.column%TYPE`.
    pub(super) fn type_of_column(&mut self, parts: &[&str]) {
        let Some((column, relation)) = parts.split_last() else { return };
        let Some((schema, name)) = qualified(&self.catalog.database, relation) else {
            return self.opaque("a type taken from a column of another database");
        };
        let range = RangeVar { schemaname: schema.to_owned(), relname: name.to_owned(), ..RangeVar::default() };
        if let Some(relation) = self.resolve(&range) {
            self.ask(Access::Filter, Object::Relation(relation.id.clone()), false);
            if let Some(column) = relation.columns.iter().find(|known| *known.name == **column) {
                self.ask(Access::Filter, Object::Column(relation.id.clone(), column.name.clone()), false);
                let catalog = self.catalog;
                catalog.code_of_column(column).iter().for_each(|function| self.run_trigger(function));
            }
        }
    }

    /// A type that a definition rests on. One that is not known is none that anybody could have forbidden.
    pub(super) fn rests_on(&mut self, type_name: &TypeName) {
        let parts = strings(&type_name.names);
        if type_name.pct_type { self.type_of_column(&parts) } else { self.row_type(&parts) }
    }

    /// The types that stand in a definition, wherever that may be.
    pub(super) fn rests_on_types(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.node {
                Some(NodeEnum::TypeName(type_name)) => self.rests_on(type_name),
                Some(NodeEnum::FunctionParameter(parameter)) => {
                    parameter.arg_type.iter().for_each(|type_name| self.rests_on(type_name));
                }
                Some(NodeEnum::ColumnDef(column)) => {
                    column.type_name.iter().for_each(|type_name| self.rests_on(type_name));
                }
                Some(NodeEnum::DefElem(option)) => {
                    let Some(value) = option.arg.as_ref() else { continue };
                    if let Some(NodeEnum::TypeName(named)) = &value.node
                        && RUNS.contains(&option.defname.as_str())
                    {
                        self.attach_function(&named.names);
                    } else {
                        self.rests_on_types(std::slice::from_ref(&**value));
                    }
                }
                Some(NodeEnum::ObjectWithArgs(function)) => self.rests_on_types(&function.objargs),
                Some(NodeEnum::CreateOpClassItem(item)) => {
                    item.name.iter().for_each(|function| self.rests_on_types(&function.objargs));
                    item.storedtype.iter().for_each(|type_name| self.rests_on(type_name));
                    self.rests_on_types(&item.class_args);
                }
                Some(NodeEnum::List(list)) => self.rests_on_types(&list.items),
                _ => {}
            }
        }
    }

    /// CREATE AGGREGATE, OPERATOR, TYPE, DOMAIN, CAST and their kin: the types that they are for, and the functions that run
    /// with them.
    pub(super) fn makes_of(&mut self, node: &NodeEnum) {
        let function = |walk: &mut Self, function: &Option<ObjectWithArgs>| {
            if let Some(function) = function {
                walk.rests_on_types(&function.objargs);
                walk.attach_function(&function.objname);
            }
        };
        match node {
            NodeEnum::DefineStmt(DefineStmt { args, definition, .. }) => {
                self.rests_on_types(args);
                self.rests_on_types(definition);
            }
            NodeEnum::CreateDomainStmt(domain) => {
                let CreateDomainStmt { domainname: _, type_name, coll_clause: _, constraints } = &**domain;
                type_name.iter().for_each(|type_name| self.rests_on(type_name));
                self.constraints(constraints);
            }
            NodeEnum::CompositeTypeStmt(composite) => self.rests_on_types(&composite.coldeflist),
            NodeEnum::CreateRangeStmt(CreateRangeStmt { type_name: _, params }) => self.rests_on_types(params),
            NodeEnum::CreateCastStmt(CreateCastStmt { sourcetype, targettype, func, context: _, inout: _ }) => {
                sourcetype.iter().chain(targettype).for_each(|type_name| self.rests_on(type_name));
                function(self, func);
            }
            NodeEnum::CreateTransformStmt(CreateTransformStmt { type_name, fromsql, tosql, replace: _, lang: _ }) => {
                type_name.iter().for_each(|type_name| self.rests_on(type_name));
                function(self, fromsql);
                function(self, tosql);
            }
            NodeEnum::CreateOpClassStmt(CreateOpClassStmt { datatype, items, .. }) => {
                datatype.iter().for_each(|type_name| self.rests_on(type_name));
                self.rests_on_types(items);
            }
            NodeEnum::CreateEventTrigStmt(trigger) => self.attach_function(&trigger.funcname),
            _ => {}
        }
    }

    /// OWNED BY of a sequence: it goes with the column.
    pub(super) fn owned_by(&mut self, options: &[Node]) {
        for option in options {
            let Some(NodeEnum::DefElem(option)) = &option.node else { continue };
            let Some(NodeEnum::List(list)) = option.arg.as_ref().and_then(|node| node.node.as_ref()) else { continue };
            let parts = strings(&list.items);
            if let ("owned_by", [relation @ .., _column]) = (option.defname.as_str(), parts.as_slice())
                && !relation.is_empty()
            {
                self.named_relation(relation, false, Access::Alter);
            }
        }
    }

    /// A relation by the parts of its name.
    pub(super) fn named_relation(&mut self, parts: &[&str], missing_ok: bool, access: Access) {
        self.relation(&Some(named(parts)), missing_ok, access);
    }

    /// What stands in COMMENT, DROP, ALTER ... RENAME and their kin where no relation does.
    pub(super) fn named_object(&mut self, kind: ObjectType, object: &Node, missing_ok: bool) {
        match (kind, &object.node) {
            (
                ObjectType::ObjectTrigger
                | ObjectType::ObjectRule
                | ObjectType::ObjectPolicy
                | ObjectType::ObjectTabconstraint,
                Some(NodeEnum::List(list)),
            ) => {
                if let [relation @ .., _name] = strings(&list.items).as_slice()
                    && !relation.is_empty()
                {
                    self.named_relation(relation, missing_ok, Access::Alter);
                }
            }
            (ObjectType::ObjectType | ObjectType::ObjectDomain, Some(NodeEnum::List(list))) => {
                self.row_type(&strings(&list.items));
                self.rests_on_types(&list.items);
            }
            _ => self.rests_on_types(std::slice::from_ref(object)),
        }
    }

    /// What a change of a relation, or its end, is a change of as well.
    pub(super) fn goes_along(&mut self, relation: &Arc<Relation>, access: Access) {
        if let Some(table) = &relation.belongs_to {
            let id = table.clone();
            self.ask(Access::Alter, Object::Relation(id), false);
        }
        if matches!(access, Access::Alter | Access::Drop) {
            let mut seen = HashSet::from([relation.id.clone()]);
            let mut next = vec![relation.clone()];
            while let Some(parent) = next.pop() {
                // Children of a table that is no partitioned one stay when it goes, or keep it from going.
                if access == Access::Drop && parent.kind != RelationKind::PartitionedTable {
                    continue;
                }
                for reach in parent.reaches.iter().filter(|reach| reach.way == Way::Child) {
                    if seen.insert(reach.id.clone()) {
                        self.ask(access, Object::Relation(reach.id.clone()), false);
                        next.extend(self.catalog.get(&reach.id).cloned());
                    }
                }
            }
        }
    }

    /// CASCADE: views over what is dropped and children of it fall, keys of others that refer to it are dropped, and so on.
    pub(super) fn falls(&mut self, dropped: Vec<RelationRef>) {
        let catalog = self.catalog;
        let mut fallen: HashSet<RelationRef> = dropped.iter().cloned().collect();
        let mut grows = !fallen.is_empty();
        while grows {
            grows = false;
            for relation in catalog.user_relations() {
                let rests = relation.reaches.iter().any(|reach| reach.way != Way::Child && fallen.contains(&reach.id));
                if rests && fallen.insert(relation.id.clone()) {
                    grows = true;
                }
            }
        }
        // The session's own are looked for anew after any definition.
        for id in fallen.iter().filter(|id| !dropped.contains(id) && !is_temporary(id)) {
            self.ask(Access::Drop, Object::Relation(id.clone()), false);
        }
        for id in &fallen {
            for referring in catalog.get(id).into_iter().flat_map(|relation| &relation.referring) {
                self.ask(Access::Alter, Object::Relation(referring.relation.clone()), false);
            }
        }
    }

    /// Every relation of a schema, or of the database, that may be meant.
    pub(super) fn every(&mut self, access: Access, schema: Option<&str>) -> Vec<RelationRef> {
        let meant = |relation: &&Arc<Relation>| {
            let is_it = schema.is_none_or(|schema| *relation.id.schema == *schema);
            let kept = matches!(
                relation.kind,
                RelationKind::Table | RelationKind::PartitionedTable | RelationKind::MaterializedView
            );
            let named =
                matches!(relation.kind, RelationKind::View | RelationKind::ForeignTable | RelationKind::Sequence);
            // Maintenance and publications look at what is stored.
            is_it && (kept || named && access != Access::Select)
        };
        let ids: Vec<_> = self.catalog.user_relations().filter(meant).map(|relation| relation.id.clone()).collect();
        for id in &ids {
            self.ask(access, Object::Relation(id.clone()), false);
        }
        ids
    }

    /// What a publication sends elsewhere.
    pub(super) fn publishes(&mut self, objects: &[Node], everything: bool) {
        if everything {
            self.every(Access::Select, None);
        }
        for node in objects {
            let Some(NodeEnum::PublicationObjSpec(object)) = &node.node else {
                self.opaque("a publication of something unknown");
                continue;
            };
            match PublicationObjSpecType::try_from(object.pubobjtype) {
                Ok(PublicationObjSpecType::PublicationobjTablesInSchema) => {
                    self.every(Access::Select, Some(&object.name));
                }
                Ok(PublicationObjSpecType::PublicationobjTablesInCurSchema) => {
                    let schema = self.catalog.creation_schema();
                    self.every(Access::Select, schema.as_deref());
                }
                _ => {}
            }
            if let Some(table) = &object.pubtable {
                if let Some(relation) = table.relation.as_ref().and_then(|range| self.resolve(range)) {
                    self.ask(Access::Select, Object::Relation(relation.id.clone()), false);
                    let entry = self.entry(&relation, "");
                    self.enter(entry);
                }
                self.boxed(&table.where_clause, Self::node);
            }
        }
    }
}
