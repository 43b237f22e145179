//! Statements that make, change and drop objects, and those that run the server.
//!
//! Tables, views, indexes and sequences are asked for by name. Everything else that is defined is asked for at the
//! database as a whole; what administers the server or its roles is `admin`.

use super::scope::Entry;
use super::touched::named;
use super::{Walk, range_name, strings};
use crate::sql::catalog::{Column, Relation};
use crate::sql::facts::{Access, Flag, Missing, Object};
use crate::sql::lineage::Handling;
use crate::sql::temporary::{TEMPORARY, is_temporary};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableStmt, AlterTableType, CommentStmt, Constraint, CreateStmt, DropBehavior, DropStmt,
    GrantStmt, GrantTargetType, IndexStmt, Node, ObjectType, RangeVar, ReindexObjectType, RenameStmt, ViewStmt,
};
use std::sync::Arc;

impl Walk<'_> {
    /// `false` if the statement defines nothing.
    pub(super) fn data_definition(&mut self, node: &NodeEnum) -> bool {
        if let NodeEnum::ViewStmt(view) = node {
            self.create_view(view);
            return true;
        }
        // Expressions may name columns of what is only being made.
        let is_definition = self.scoped(|walk| {
            walk.enter(Entry { is_open: true, ..Entry::default() });
            walk.definition(node)
        });
        if is_definition {
            self.flag(Flag::Ddl);
        }
        is_definition
    }

    /// What a view shows can be read under another name from then on.
    fn create_view(&mut self, view: &ViewStmt) {
        let ViewStmt { view, aliases: _, query, replace: _, options: _, with_check_option: _ } = view;
        let fields = self.boxed(query, Self::query);
        fields.iter().for_each(|field| self.store(&field.value));
        if let Some(view) = view {
            // A view over something temporary is temporary (`isQueryUsingTempRelation`).
            if self.uses_temporary { self.create_temporary(view) } else { self.create_relation(view) }
        }
        self.flag(Flag::Ddl);
    }

    fn definition(&mut self, node: &NodeEnum) -> bool {
        match node {
            NodeEnum::CreateStmt(create) => self.create_table(create),
            NodeEnum::CreateForeignTableStmt(create) => {
                // Whatever another server has, or this one under another name.
                self.admin();
                match &create.base_stmt {
                    Some(base) => self.create_table(base),
                    None => self.opaque("a foreign table without columns"),
                }
            }
            NodeEnum::CreateSeqStmt(create) => {
                if let Some(range) = &create.sequence {
                    self.create_relation(range);
                }
                self.owned_by(&create.options);
            }
            NodeEnum::CreateSchemaStmt(create) => {
                self.ask(Access::Create, Object::Database, true);
                for node in &create.schema_elts {
                    self.visit(node, Self::statement);
                }
            }
            NodeEnum::IndexStmt(index) => self.create_index(index),
            NodeEnum::AlterTableStmt(alter) => self.alter_table(alter),
            NodeEnum::AlterSeqStmt(alter) => {
                self.relation(&alter.sequence, alter.missing_ok, Access::Alter);
                self.owned_by(&alter.options);
            }
            NodeEnum::RenameStmt(rename) => self.rename(rename),
            NodeEnum::AlterObjectSchemaStmt(alter) => {
                self.alter_object(&alter.relation, alter.missing_ok);
                self.object(alter.object_type, alter.object.as_deref(), alter.missing_ok);
                self.moves(&alter.relation, alter.object.as_deref());
            }
            NodeEnum::AlterOwnerStmt(alter) => {
                self.alter_object(&alter.relation, false);
                self.object(alter.object_type, alter.object.as_deref(), false);
            }
            NodeEnum::RefreshMatViewStmt(refresh) => {
                self.relation(&refresh.relation, false, Access::Alter);
                self.run_stored(&refresh.relation);
            }
            NodeEnum::CreateTrigStmt(trigger) => {
                self.relation(&trigger.relation, false, Access::Alter);
                if trigger.constrrel.is_some() {
                    self.relation(&trigger.constrrel, false, Access::Alter);
                }
                self.boxed(&trigger.when_clause, Self::node);
                self.attach_trigger(&trigger.relation, &trigger.funcname);
            }
            NodeEnum::RuleStmt(rule) => {
                self.relation(&rule.relation, false, Access::Alter);
                self.opaque("a rewrite rule changes what later statements do");
            }
            NodeEnum::CreatePolicyStmt(policy) => {
                self.relation(&policy.table, false, Access::Alter);
                self.boxed(&policy.qual, Self::node);
                self.boxed(&policy.with_check, Self::node);
            }
            NodeEnum::AlterPolicyStmt(policy) => {
                self.relation(&policy.table, false, Access::Alter);
                self.boxed(&policy.qual, Self::node);
                self.boxed(&policy.with_check, Self::node);
            }
            NodeEnum::AlterDomainStmt(alter) => {
                self.database(Access::Alter);
                self.boxed(&alter.def, |walk, node| match node {
                    NodeEnum::Constraint(constraint) => walk.constraint(constraint),
                    expression => drop(walk.node(expression)),
                });
                self.use_domains();
            }
            NodeEnum::DropStmt(drop) => self.drop(drop),
            NodeEnum::CommentStmt(comment) => self.comment(comment),
            NodeEnum::GrantStmt(grant) => self.grant(grant),
            NodeEnum::GrantRoleStmt(grant) => {
                self.database(if grant.is_grant { Access::Grant } else { Access::Revoke })
            }
            NodeEnum::AlterDefaultPrivilegesStmt(_) => self.database(Access::Grant),
            NodeEnum::CreateFunctionStmt(create) => self.create_function(create),
            NodeEnum::DefineStmt(_)
            | NodeEnum::CreateDomainStmt(_)
            | NodeEnum::CompositeTypeStmt(_)
            | NodeEnum::CreateEnumStmt(_)
            | NodeEnum::CreateRangeStmt(_)
            | NodeEnum::CreateCastStmt(_)
            | NodeEnum::CreateConversionStmt(_)
            | NodeEnum::CreateTransformStmt(_)
            | NodeEnum::CreateOpClassStmt(_)
            | NodeEnum::CreateOpFamilyStmt(_)
            | NodeEnum::CreateEventTrigStmt(_) => {
                self.database(Access::Create);
                self.makes_of(node);
                if is_in_temporary(node) {
                    self.opaque("temporary types shadow others and are not followed");
                }
            }
            NodeEnum::CreateStatsStmt(stats) => {
                self.database(Access::Create);
                self.from(&stats.relations);
                for node in &stats.exprs {
                    if let Some(NodeEnum::StatsElem(element)) = &node.node {
                        let column = self.find(&element.name);
                        let computed = self.boxed(&element.expr, Self::node);
                        self.derive(column.into_iter().chain([computed]));
                    }
                }
            }
            NodeEnum::AlterFunctionStmt(alter) => {
                self.database(Access::Alter);
                if self.set_for_calls(&alter.actions) {
                    // What its body means from then on was not read when it was made.
                    self.found.unseen.insert("the search path of a function".to_owned());
                }
            }
            NodeEnum::AlterObjectDependsStmt(alter) => {
                self.alter_object(&alter.relation, false);
                self.object(alter.object_type, alter.object.as_deref(), false);
            }
            NodeEnum::AlterEnumStmt(_)
            | NodeEnum::AlterTypeStmt(_)
            | NodeEnum::AlterOperatorStmt(_)
            | NodeEnum::AlterOpFamilyStmt(_)
            | NodeEnum::AlterStatsStmt(_)
            | NodeEnum::AlterCollationStmt(_)
            | NodeEnum::AlterEventTrigStmt(_)
            | NodeEnum::AlterTsdictionaryStmt(_)
            | NodeEnum::AlterTsconfigurationStmt(_) => self.database(Access::Alter),
            _ => return false,
        }
        true
    }

    /// `false` if the statement does not run the server.
    pub(super) fn administration(&mut self, node: &NodeEnum) -> bool {
        let is_admin = matches!(
            node,
            NodeEnum::CreatedbStmt(_)
                | NodeEnum::DropdbStmt(_)
                | NodeEnum::AlterDatabaseStmt(_)
                | NodeEnum::AlterDatabaseSetStmt(_)
                | NodeEnum::AlterDatabaseRefreshCollStmt(_)
                | NodeEnum::AlterSystemStmt(_)
                | NodeEnum::CreateRoleStmt(_)
                | NodeEnum::AlterRoleStmt(_)
                | NodeEnum::AlterRoleSetStmt(_)
                | NodeEnum::DropRoleStmt(_)
                | NodeEnum::DropOwnedStmt(_)
                | NodeEnum::ReassignOwnedStmt(_)
                | NodeEnum::CreateTableSpaceStmt(_)
                | NodeEnum::DropTableSpaceStmt(_)
                | NodeEnum::AlterTableSpaceOptionsStmt(_)
                | NodeEnum::AlterTableMoveAllStmt(_)
                | NodeEnum::CreateExtensionStmt(_)
                | NodeEnum::AlterExtensionStmt(_)
                | NodeEnum::AlterExtensionContentsStmt(_)
                | NodeEnum::CreateFdwStmt(_)
                | NodeEnum::AlterFdwStmt(_)
                | NodeEnum::CreateForeignServerStmt(_)
                | NodeEnum::AlterForeignServerStmt(_)
                | NodeEnum::CreateUserMappingStmt(_)
                | NodeEnum::AlterUserMappingStmt(_)
                | NodeEnum::DropUserMappingStmt(_)
                | NodeEnum::ImportForeignSchemaStmt(_)
                | NodeEnum::CreateAmStmt(_)
                | NodeEnum::CreatePlangStmt(_)
                | NodeEnum::CreatePublicationStmt(_)
                | NodeEnum::AlterPublicationStmt(_)
                | NodeEnum::CreateSubscriptionStmt(_)
                | NodeEnum::AlterSubscriptionStmt(_)
                | NodeEnum::DropSubscriptionStmt(_)
                | NodeEnum::SecLabelStmt(_)
                | NodeEnum::LoadStmt(_)
                | NodeEnum::CheckPointStmt(_)
                | NodeEnum::VacuumStmt(_)
                | NodeEnum::ClusterStmt(_)
                | NodeEnum::ReindexStmt(_)
                | NodeEnum::ReplicaIdentityStmt(_)
        );
        if is_admin {
            let named = maintained(node);
            if !named.is_empty() && named.iter().all(|range| self.is_own(range)) {
                // Nobody else's: as any other change of its own.
                for range in named {
                    self.relation(&Some(range.clone()), false, Access::Alter);
                    self.run_stored(&Some(range.clone()));
                }
                return true;
            }
            self.admin();
            self.mention_maintained(node);
        }
        is_admin
    }

    /// Whether a name means a relation of the session's own.
    fn is_own(&self, range: &RangeVar) -> bool {
        let known = self.catalog.relation(&range.schemaname, &range.relname);
        self.is_made(range) || known.is_some_and(|relation| is_temporary(&relation.id))
    }

    /// Maintenance names relations that the second reader sees too. Whoever may maintain the database needs no permit for
    /// them, but it reads them from end to end: what is forbidden stays forbidden. Where none is named all of them are meant.
    fn mention_maintained(&mut self, node: &NodeEnum) {
        if let NodeEnum::ClusterStmt(_) = node {
            // That of an index, whose columns need not be anybody's to order by.
            self.found.unseen.insert("the order that CLUSTER gives to rows".to_owned());
        }
        match node {
            NodeEnum::VacuumStmt(vacuum) if vacuum.rels.is_empty() => return drop(self.every(Access::Select, None)),
            NodeEnum::ClusterStmt(cluster) if cluster.relation.is_none() => {
                return drop(self.every(Access::Select, None));
            }
            NodeEnum::ReindexStmt(reindex) if reindex.relation.is_none() => {
                let schema = reindex.kind() == ReindexObjectType::ReindexObjectSchema;
                return drop(self.every(Access::Select, schema.then_some(reindex.name.as_str())));
            }
            NodeEnum::DropOwnedStmt(_) => return drop(self.every(Access::Drop, None)),
            NodeEnum::ReassignOwnedStmt(_) | NodeEnum::AlterTableMoveAllStmt(_) => {
                return drop(self.every(Access::Alter, None));
            }
            NodeEnum::CreatePublicationStmt(publication) => {
                return self.scoped(|walk| walk.publishes(&publication.pubobjects, publication.for_all_tables));
            }
            NodeEnum::AlterPublicationStmt(publication) => {
                return self.scoped(|walk| walk.publishes(&publication.pubobjects, publication.for_all_tables));
            }
            NodeEnum::AlterExtensionContentsStmt(contents) => {
                return self.mention_object(contents.objtype, contents.object.as_deref());
            }
            NodeEnum::SecLabelStmt(label) => return self.mention_object(label.objtype, label.object.as_deref()),
            _ => {}
        }
        for range in maintained(node) {
            self.found.mentioned.insert(range.relname.clone());
            // An index is none of the relations that are known; what is not there is the server's to say.
            if let Some(relation) = self.catalog.relation(&range.schemaname, &range.relname).cloned() {
                self.ask(Access::Select, Object::Relation(relation.id.clone()), false);
                if let Some(table) = &relation.belongs_to {
                    self.ask(Access::Select, Object::Relation(table.clone()), false);
                }
            }
        }
    }

    /// An object that administration is about: a relation needs no permit of its own for that.
    fn mention_object(&mut self, kind: i32, object: Option<&Node>) {
        let Some(object) = object else { return };
        let parts = match &object.node {
            Some(NodeEnum::List(list)) => strings(&list.items),
            _ => return self.rests_on_types(std::slice::from_ref(object)),
        };
        let relation = match ObjectType::try_from(kind) {
            Ok(ObjectType::ObjectColumn) => parts.split_last().map(|(_, relation)| relation).unwrap_or_default(),
            _ => parts.as_slice(),
        };
        self.found.mentioned.extend(relation.last().map(|name| (*name).to_owned()));
        if let Some((schema, name)) = super::qualified(&self.catalog.database, relation)
            && let Some(relation) = self.catalog.relation(schema, name).cloned()
        {
            self.ask(Access::Alter, Object::Relation(relation.id.clone()), false);
        }
    }

    /// What is named where no relation is.
    fn object(&mut self, kind: i32, object: Option<&Node>, missing_ok: bool) {
        if let (Ok(kind), Some(object)) = (ObjectType::try_from(kind), object) {
            self.named_object(kind, object, missing_ok);
        }
    }

    pub(super) fn database(&mut self, access: Access) {
        self.ask(access, Object::Database, true);
    }

    /// A relation that is about to exist: asked for where it will be.
    pub(super) fn create_relation(&mut self, range: &RangeVar) {
        self.flag(Flag::Ddl);
        self.found.mentioned.insert(range.relname.clone());
        if range.relpersistence == "t" || range.schemaname.starts_with("pg_temp") {
            return self.create_temporary(range);
        }
        match self.creation_schema(&range.schemaname) {
            Some(schema) => {
                self.created.insert((schema.clone(), range.relname.clone()));
                self.ask(Access::Create, Object::Schema(schema), true);
            }
            None => self.missing(Missing::Schema(range.schemaname.clone())),
        }
    }

    /// The same in the session's own schema, whatever the search path.
    fn create_temporary(&mut self, range: &RangeVar) {
        self.flag(Flag::Ddl);
        self.found.mentioned.insert(range.relname.clone());
        if !matches!(range.schemaname.as_str(), "" | TEMPORARY) {
            return self.opaque("temporary relations are made in pg_temp and nowhere else");
        }
        self.named_temporary(&range.relname);
        self.created.insert((TEMPORARY.into(), range.relname.clone()));
        self.ask(Access::Create, Object::Schema(TEMPORARY.into()), true);
    }

    /// A temporary relation gets a name. What the server itself, or a definition that everybody shares, calls so would be
    /// looked for there first.
    fn named_temporary(&mut self, name: &str) {
        if self.catalog.is_of_server(name) {
            self.opaque(format!("a temporary relation called `{name}` would stand before the server's own"));
        }
    }

    fn creation_schema(&self, named: &str) -> Option<Arc<str>> {
        if named.is_empty() {
            self.catalog.creation_schema()
        } else {
            self.catalog.has_schema(named).then(|| named.into())
        }
    }

    fn create_table(&mut self, create: &CreateStmt) {
        if let Some(range) = &create.relation {
            self.create_relation(range);
        }
        self.definitions(&create.table_elts);
        self.constraints(&create.constraints);
        if let Some(type_name) = &create.of_typename {
            self.type_name(type_name);
        }
        // Bounds and keys are expressions, and bounds are evaluated at once.
        if let Some(bound) = &create.partbound {
            for datums in [&bound.listdatums, &bound.lowerdatums, &bound.upperdatums] {
                self.bounds(datums);
            }
        }
        if let Some(spec) = &create.partspec {
            for node in &spec.part_params {
                match &node.node {
                    Some(NodeEnum::PartitionElem(element)) => drop(self.boxed(&element.expr, Self::node)),
                    _ => self.opaque("an unknown partition key"),
                }
            }
        }
        for node in &create.inh_relations {
            if let Some(NodeEnum::RangeVar(parent)) = &node.node
                && let Some(parent) = self.resolve(parent)
            {
                self.ask(Access::Alter, Object::Relation(parent.id.clone()), true);
            }
        }
    }

    /// Values of a partition's bound; MINVALUE and MAXVALUE are names here.
    fn bounds(&mut self, datums: &[Node]) {
        for node in datums {
            match &node.node {
                Some(NodeEnum::PartitionRangeDatum(datum)) => drop(self.boxed(&datum.value, Self::node)),
                Some(expression) => {
                    let value = self.node(expression);
                    self.consume(&value);
                }
                None => {}
            }
        }
    }

    fn definitions(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.node {
                Some(NodeEnum::ColumnDef(definition)) => self.column_definition(definition),
                Some(NodeEnum::Constraint(constraint)) => self.constraint(constraint),
                Some(NodeEnum::TableLikeClause(like)) => {
                    if let Some(range) = &like.relation {
                        self.range(range);
                    }
                }
                _ => self.opaque("a table is made of something unknown"),
            }
        }
    }

    pub(super) fn constraints(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.node {
                Some(NodeEnum::Constraint(constraint)) => self.constraint(constraint),
                _ => self.opaque("an unknown constraint"),
            }
        }
    }

    /// Default and check expressions run when the table is changed, index expressions when the index is built.
    fn constraint(&mut self, constraint: &Constraint) {
        self.boxed(&constraint.raw_expr, Self::node);
        self.boxed(&constraint.where_clause, Self::node);
        for exclusion in &constraint.exclusions {
            if let Some(NodeEnum::List(list)) = &exclusion.node {
                for item in &list.items {
                    match &item.node {
                        Some(NodeEnum::IndexElem(element)) => drop(self.index_element(element)),
                        Some(NodeEnum::List(operator)) => self.operator(&operator.items),
                        _ => self.opaque("an unknown exclusion constraint"),
                    }
                }
            }
        }
        if let Some(range) = &constraint.pktable
            && let Some(referenced) = self.resolve(range)
        {
            self.ask(Access::Alter, Object::Relation(referenced.id.clone()), true);
            // Whether a value is there shows in which rows may be inserted.
            let keys: Vec<_> = match constraint.pk_attrs.as_slice() {
                [] => referenced.primary_key.clone(),
                named => strings(named).into_iter().map(Arc::from).collect(),
            };
            let place = self.meet(&referenced);
            let columns = referenced.columns.iter().zip(0..).filter(|(column, _)| keys.contains(&column.name));
            self.mark(&columns.map(|(_, at)| (place, at)).collect(), Handling::COMPARED);
        }
        // The rows that there are have to keep to it.
        for name in strings(&constraint.fk_attrs) {
            if let Some(column) = self.find(name) {
                self.mark(&column.everything(), Handling::COMPARED);
            }
        }
        for name in strings(&constraint.keys) {
            if let Some(column) = self.find(name) {
                self.consume(&column);
            }
        }
    }

    fn create_index(&mut self, index: &IndexStmt) {
        self.relation(&index.relation, false, Access::Alter);
        self.run_stored(&index.relation);
        for node in index.index_params.iter().chain(&index.index_including_params) {
            match &node.node {
                Some(NodeEnum::IndexElem(element)) => drop(self.index_element(element)),
                _ => self.opaque("an index of something unknown"),
            }
        }
        self.boxed(&index.where_clause, Self::node);
    }

    fn alter_table(&mut self, AlterTableStmt { relation, cmds, objtype: _, missing_ok }: &AlterTableStmt) {
        self.relation(relation, *missing_ok, Access::Alter);
        self.run_stored(relation);
        for node in cmds {
            let Some(NodeEnum::AlterTableCmd(command)) = &node.node else {
                self.opaque("ALTER holds something else than a command");
                continue;
            };
            let subtype = command.subtype();
            // Labels come down from parents.
            if matches!(subtype, AlterTableType::AtDropInherit) {
                self.moves(relation, None);
            }
            let AlterTableCmd { subtype: _, name: _, num: _, newowner: _, def, behavior: _, missing_ok: _, recurse: _ } =
                &**command;
            match def.as_ref().and_then(|node| node.node.as_ref()) {
                None => {}
                Some(NodeEnum::ColumnDef(definition)) => self.column_definition(definition),
                Some(NodeEnum::TypeName(type_name)) => self.rests_on(type_name),
                Some(NodeEnum::Constraint(constraint)) => self.constraint(constraint),
                // Attaching, inheriting: the other relation changes as well.
                Some(NodeEnum::RangeVar(range)) => self.relation(&Some(range.clone()), false, Access::Alter),
                Some(NodeEnum::PartitionCmd(partition)) => {
                    self.relation(&partition.name, false, Access::Alter);
                    if matches!(subtype, AlterTableType::AtDetachPartition) {
                        self.moves(&partition.name, None);
                    }
                    if let Some(bound) = &partition.bound {
                        for datums in [&bound.listdatums, &bound.lowerdatums, &bound.upperdatums] {
                            self.bounds(datums);
                        }
                    }
                }
                Some(
                    NodeEnum::List(_)
                    | NodeEnum::String(_)
                    | NodeEnum::Integer(_)
                    | NodeEnum::ReplicaIdentityStmt(_)
                    | NodeEnum::RoleSpec(_)
                    | NodeEnum::AtalterConstraint(_),
                ) => {}
                // SET DEFAULT and USING carry an expression.
                Some(expression) => {
                    let value = self.node(expression);
                    self.consume(&value);
                }
            }
        }
    }

    fn rename(&mut self, rename: &RenameStmt) {
        self.alter_object(&rename.relation, rename.missing_ok);
        self.object(rename.rename_type, rename.object.as_deref(), rename.missing_ok);
        match rename.rename_type() {
            ObjectType::ObjectColumn | ObjectType::ObjectAttribute => {
                self.renames(&rename.relation, |column| column == rename.subname);
            }
            ObjectType::ObjectIndex | ObjectType::ObjectSequence => self.renames_temporary(rename),
            ObjectType::ObjectTabconstraint
            | ObjectType::ObjectDomconstraint
            | ObjectType::ObjectTrigger
            | ObjectType::ObjectPolicy => {}
            ObjectType::ObjectSchema => drop(self.found.unseen.insert(format!("schema {}", rename.subname))),
            ObjectType::ObjectDatabase | ObjectType::ObjectRole => self.admin(),
            _ => {
                self.moves(&rename.relation, rename.object.as_deref());
                self.renames_temporary(rename);
            }
        }
    }

    fn renames_temporary(&mut self, rename: &RenameStmt) {
        let Some(range) = &rename.relation else { return };
        if self.is_own(range) {
            self.named_temporary(&rename.newname);
            self.flag(Flag::Moves);
        }
    }

    /// Policies and labels go by names: what gets another one, or another place, has to be the agent's to read or to run.
    fn moves(&mut self, range: &Option<RangeVar>, object: Option<&Node>) {
        if let Some(relation) = self.renames(range, |_| true) {
            self.ask(Access::Select, Object::Relation(relation.id.clone()), false);
        }
        if let Some(NodeEnum::ObjectWithArgs(function)) = object.and_then(|node| node.node.as_ref()) {
            self.attach_function(&function.objname);
        }
    }

    /// A change of a domain looks at every value of it, also within other domains, and what fails of them is said. Which
    /// columns are of which domain is not known here: those of types that somebody made, whose names have a schema.
    fn use_domains(&mut self) {
        let catalog = self.catalog;
        for relation in catalog.user_relations() {
            let is_of_it = |column: &Column| column.type_name.contains('.');
            if relation.columns.iter().any(is_of_it) {
                self.use_row(relation, |used| {
                    relation.columns.iter().any(|column| *column.name == *used && is_of_it(column))
                });
            }
        }
    }

    /// These columns; gives the relation, if there is one.
    fn renames(&mut self, range: &Option<RangeVar>, which: impl Fn(&str) -> bool) -> Option<Arc<Relation>> {
        let range = range.as_ref()?;
        let relation = self.catalog.relation(&range.schemaname, &range.relname).cloned()?;
        self.flag(Flag::Moves);
        self.use_row(&relation, which);
        Some(relation)
    }

    /// A relation where one is named, else something that belongs to the database.
    fn alter_object(&mut self, range: &Option<RangeVar>, missing_ok: bool) {
        if range.is_some() {
            self.relation(range, missing_ok, Access::Alter);
        } else {
            self.database(Access::Alter);
        }
    }

    pub(super) fn relation(&mut self, range: &Option<RangeVar>, missing_ok: bool, access: Access) {
        let Some(range) = range else { return self.database(access) };
        self.found.mentioned.insert(range.relname.clone());
        if self.is_made(range) {
            self.uses_temporary = true;
            return self.ask(access, Object::Schema(TEMPORARY.into()), true);
        }
        if missing_ok && self.catalog.relation(&range.schemaname, &range.relname).is_none() {
            return self.nothing_there(&range.schemaname, &range_name(range), access);
        }
        if let Some(relation) = self.resolve(range) {
            self.ask(access, Object::Relation(relation.id.clone()), true);
            self.goes_along(&relation, access);
            let entry = self.entry(&relation, &range.schemaname);
            self.enter(entry);
        }
    }

    /// IF EXISTS on something that does not: asked for at its schema, so that a denial teaches the same.
    fn nothing_there(&mut self, schema: &str, name: &str, access: Access) {
        match self.creation_schema(schema) {
            Some(schema) => self.ask(access, Object::Schema(schema), true),
            None => self.missing(Missing::Relation(name.to_owned())),
        }
    }

    fn drop(&mut self, DropStmt { objects, remove_type, behavior, missing_ok, concurrent: _ }: &DropStmt) {
        let kind = ObjectType::try_from(*remove_type);
        let cascades = *behavior == DropBehavior::DropCascade as i32;
        let of_relation = is_relation(*remove_type);
        let is_own = |object: &Node| match &object.node {
            Some(NodeEnum::List(list)) if of_relation => self.is_own(&named(&strings(&list.items))),
            _ => false,
        };
        // What else goes is not named: asked for at the database as a whole, unless only the session's own can rest on it.
        if cascades && !objects.iter().all(is_own) {
            self.database(Access::Drop);
        }
        for object in objects {
            match &object.node {
                Some(NodeEnum::List(list)) if of_relation => {
                    self.named_relation(&strings(&list.items), *missing_ok, Access::Drop);
                }
                _ => {
                    self.database(Access::Drop);
                    self.object(*remove_type, Some(object), *missing_ok);
                }
            }
        }
        if !cascades {
            return;
        }
        match kind {
            Ok(ObjectType::ObjectSchema) => {
                let schemas = objects.iter().filter_map(|object| match &object.node {
                    Some(NodeEnum::String(name)) => Some(name.sval.as_str()),
                    _ => None,
                });
                let mut dropped = Vec::new();
                schemas.for_each(|schema| dropped.extend(self.every(Access::Drop, Some(schema))));
                self.falls(dropped);
            }
            // Nothing rests on these but what they stand on.
            Ok(
                ObjectType::ObjectTrigger
                | ObjectType::ObjectRule
                | ObjectType::ObjectPolicy
                | ObjectType::ObjectIndex
                | ObjectType::ObjectEventTrigger
                | ObjectType::ObjectPublication
                | ObjectType::ObjectStatisticExt,
            ) => {}
            Ok(_) if of_relation && *remove_type != ObjectType::ObjectSequence as i32 => {
                let dropped = self.found.uses.iter().filter_map(|asked| match (&asked.object, asked.access) {
                    (Object::Relation(id), Access::Drop) => Some(id.clone()),
                    _ => None,
                });
                self.falls(dropped.collect());
            }
            // Columns of a type, defaults, triggers and views that call a function: of whatever relation.
            _ => drop(self.every(Access::Alter, None)),
        }
    }

    fn comment(&mut self, CommentStmt { objtype, object, comment }: &CommentStmt) {
        // Labels are part of what policies say.
        if comment.contains("interceptor:") {
            self.admin();
        }
        let named = match object.as_ref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::List(list)) => strings(&list.items),
            _ => Vec::new(),
        };
        let of_relation = is_relation(*objtype);
        let relation = match (ObjectType::try_from(*objtype), named.as_slice()) {
            (Ok(ObjectType::ObjectColumn), [relation @ .., _]) => relation,
            (_, relation) if of_relation => relation,
            _ => {
                self.object(*objtype, object.as_deref(), false);
                return self.database(Access::Comment);
            }
        };
        let range = RangeVar {
            schemaname: relation.iter().rev().nth(1).copied().unwrap_or_default().to_owned(),
            relname: relation.last().copied().unwrap_or_default().to_owned(),
            ..RangeVar::default()
        };
        if self.catalog.relation(&range.schemaname, &range.relname).is_some_and(|found| !found.labels.is_empty()) {
            self.admin();
        }
        self.relation(&Some(range), false, Access::Comment);
    }

    fn grant(&mut self, grant: &GrantStmt) {
        let access = if grant.is_grant { Access::Grant } else { Access::Revoke };
        let mut named = false;
        for object in &grant.objects {
            if let Some(NodeEnum::RangeVar(range)) = &object.node {
                named = true;
                self.relation(&Some(range.clone()), false, access);
            }
        }
        if !named {
            self.database(access);
        }
        if grant.targtype() == GrantTargetType::AclTargetAllInSchema {
            for object in &grant.objects {
                if let Some(NodeEnum::String(schema)) = &object.node {
                    self.every(access, Some(&schema.sval));
                }
            }
        }
        self.rests_on_types(&grant.objects);
    }
}

/// The relations that maintenance names.
fn maintained(node: &NodeEnum) -> Vec<&RangeVar> {
    match node {
        NodeEnum::VacuumStmt(vacuum) => {
            let named = vacuum.rels.iter().filter_map(|relation| match &relation.node {
                Some(NodeEnum::VacuumRelation(relation)) => relation.relation.as_ref(),
                _ => None,
            });
            named.collect()
        }
        NodeEnum::ClusterStmt(cluster) => cluster.relation.iter().collect(),
        NodeEnum::ReindexStmt(reindex) => reindex.relation.iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether it is a relation that is named as an object of this kind.
fn is_relation(kind: i32) -> bool {
    matches!(
        ObjectType::try_from(kind),
        Ok(ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectSequence
            | ObjectType::ObjectIndex
            | ObjectType::ObjectForeignTable)
    )
}

/// Whether a type, or whatever else a definition makes, is made in the session's own schema.
fn is_in_temporary(node: &NodeEnum) -> bool {
    let names = match node {
        NodeEnum::DefineStmt(define) => strings(&define.defnames),
        NodeEnum::CreateDomainStmt(domain) => strings(&domain.domainname),
        NodeEnum::CompositeTypeStmt(composite) => {
            composite.typevar.as_ref().map(|range| vec![range.schemaname.as_str(), ""]).unwrap_or_default()
        }
        NodeEnum::CreateEnumStmt(values) => strings(&values.type_name),
        NodeEnum::CreateRangeStmt(range) => strings(&range.type_name),
        _ => Vec::new(),
    };
    names.first().is_some_and(|schema| schema.starts_with("pg_temp"))
}
