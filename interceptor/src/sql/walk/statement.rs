//! Statements: what stands between two semicolons.

use super::expression::kind_of;
use super::{MOST_NESTING, Touched, Walk, strings};
use crate::sql::RelationRef;
use crate::sql::catalog::{Catalog, Relation, Way};
use crate::sql::facts::{Access, Effect, Flag, Missing, Object, Use};
use crate::sql::lineage::Field;
use crate::sql::stack;
use pg_query::NodeEnum;
use pg_query::protobuf::{
    CallStmt, CopyStmt, CreateTableAsStmt, DeclareCursorStmt, DefElem, DiscardMode, DiscardStmt, DropBehavior,
    ExecuteStmt, ExplainStmt, LockStmt, Node, PrepareStmt, TransactionStmtKind, TruncateStmt,
};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

impl Walk<'_> {
    pub(super) fn statement(&mut self, node: &NodeEnum) {
        self.statements += 1;
        self.within(node);
        self.statements -= 1;
    }

    fn within(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::SelectStmt(select) if self.sets_search_path(select) || self.sets_listed_setting(select) => {}
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_) => {
                let fields = self.query(node);
                self.show(&fields);
            }
            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction.kind),
            NodeEnum::ConstraintsSetStmt(_) => self.flag(Flag::SessionState),
            NodeEnum::VariableSetStmt(set) => self.set(set),
            NodeEnum::VariableShowStmt(_) => {}
            NodeEnum::ExplainStmt(explain) => self.explain(explain),
            NodeEnum::CopyStmt(copy) => self.copy(copy),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute),
            NodeEnum::DeallocateStmt(deallocate) => {
                let name = (!deallocate.name.is_empty() && !deallocate.isall).then(|| deallocate.name.clone());
                match &name {
                    Some(name) => drop(self.touched.prepared.insert(name.clone())),
                    None => self.touched.all = true,
                }
                self.found.effect = Effect::Deallocate(name);
            }
            NodeEnum::DeclareCursorStmt(declare) => {
                let DeclareCursorStmt { portalname, options: _, query } = &**declare;
                self.boxed(query, Self::statement);
                if let Some(query) = query.as_ref().and_then(|node| node.node.clone()) {
                    self.touched.cursors.insert(portalname.clone(), (query, self.catalog.clone()));
                }
                self.found.effect = Effect::Declare(portalname.clone());
            }
            NodeEnum::FetchStmt(fetch) => self.fetch(&fetch.portalname),
            NodeEnum::ClosePortalStmt(close) => {
                self.found.effect = Effect::Close((!close.portalname.is_empty()).then(|| close.portalname.clone()));
            }
            NodeEnum::DiscardStmt(discard) => self.discard(discard),
            NodeEnum::CreateTableAsStmt(create) => {
                let CreateTableAsStmt { query, into, objtype: _, is_select_into: _, if_not_exists: _ } = &**create;
                self.boxed(query, Self::statement);
                self.keep_result();
                if let Some(into) = into {
                    self.into(into);
                }
            }
            NodeEnum::CallStmt(call) => {
                // The transformed call is only there after analysis; the parser gives the raw one.
                let CallStmt { funccall, funcexpr: _, outargs } = &**call;
                if let Some(call) = funccall {
                    let value = self.call(call);
                    self.show(&[Field::many(value)]);
                }
                self.all(outargs);
            }
            NodeEnum::LockStmt(LockStmt { relations, mode: _, nowait: _ }) => self.relations(relations, Access::Lock),
            NodeEnum::TruncateStmt(TruncateStmt { relations, restart_seqs: _, behavior }) => {
                self.relations(relations, Access::Truncate);
                self.flag(Flag::NoWhere);
                if *behavior == DropBehavior::DropCascade as i32 {
                    self.truncate_referring();
                }
            }
            NodeEnum::ListenStmt(_) => self.ask(Access::Listen, Object::Database, true),
            NodeEnum::NotifyStmt(_) => self.ask(Access::Notify, Object::Database, true),
            NodeEnum::UnlistenStmt(_) => {}
            NodeEnum::DoStmt(_) => {
                self.opaque("DO runs a program in another language; send its statements one by one");
            }
            other => {
                if self.data_definition(other) || self.administration(other) {
                    let catalog = self.catalog;
                    catalog.event_triggers().iter().for_each(|function| self.run_trigger(function));
                } else {
                    self.opaque(format!("`{}` is not known to the analysis", kind_of(other)));
                }
            }
        }
    }

    fn transaction(&mut self, kind: i32) {
        match TransactionStmtKind::try_from(kind) {
            Ok(
                TransactionStmtKind::TransStmtBegin
                | TransactionStmtKind::TransStmtStart
                | TransactionStmtKind::TransStmtSavepoint
                | TransactionStmtKind::TransStmtRelease,
            ) => {}
            Ok(TransactionStmtKind::TransStmtCommit | TransactionStmtKind::TransStmtRollback) => {
                self.found.effect = Effect::EndTransaction;
            }
            Ok(TransactionStmtKind::TransStmtRollbackTo) => self.found.effect = Effect::RollbackTo,
            // A prepared transaction outlives the session, and anyone may end it.
            Ok(
                TransactionStmtKind::TransStmtPrepare
                | TransactionStmtKind::TransStmtCommitPrepared
                | TransactionStmtKind::TransStmtRollbackPrepared,
            ) => self.admin(),
            Ok(TransactionStmtKind::Undefined) | Err(_) => self.opaque("an unknown transaction statement"),
        }
    }

    fn explain(&mut self, ExplainStmt { query, options }: &ExplainStmt) {
        let runs = options.iter().any(|option| match &option.node {
            Some(NodeEnum::DefElem(option)) => option.defname == "analyze" && !is_off(option),
            _ => true,
        });
        // What is explained makes no names, also where it runs: EXPLAIN ANALYZE DECLARE leaves no cursor behind.
        let cursors = self.touched.cursors.clone();
        self.boxed(query, Self::statement);
        self.touched.cursors = cursors;
        self.found.effect = Effect::None;
        self.drop_result();
        if runs {
            self.flag(Flag::WritesUncounted);
            return self.flag(Flag::ExplainAnalyze);
        }
        // Planning reads no rows and writes none; what is left of a write is a look at the relation. Functions stay:
        // the planner folds calls whose arguments it knows.
        self.run_triggers();
        let planned: BTreeSet<_> = std::mem::take(&mut self.found.uses)
            .into_iter()
            .map(|mut asked| {
                let writes = matches!(
                    asked.access,
                    Access::Insert | Access::Update | Access::Delete | Access::Merge | Access::Truncate | Access::Lock
                );
                if writes && !matches!(asked.object, Object::Column(..)) {
                    asked.access = Access::Select;
                }
                asked
            })
            .filter(|asked| {
                !matches!((asked.access, &asked.object), (Access::Insert | Access::Update, Object::Column(..)))
            })
            .collect();
        self.found.uses = planned;
    }

    /// COPY has three places to talk to: the client (judged like SELECT or INSERT), files and programs of the server.
    fn copy(&mut self, copy: &CopyStmt) {
        let CopyStmt { relation, query, attlist, is_from, is_program, filename, options: _, where_clause } = copy;
        if *is_program || !filename.is_empty() {
            self.admin();
            self.opaque("COPY to or from the server's files and programs");
        }
        self.boxed(query, Self::statement);
        if *is_from {
            self.flag(Flag::CopyIn);
            if let Some(target) = self.target(relation, &[Access::CopyIn, Access::Insert]) {
                for column in &target.columns {
                    let listed = attlist.is_empty() || strings(attlist).contains(&&*column.name);
                    if listed {
                        self.ask(Access::Insert, Object::Column(target.id.clone(), column.name.clone()), true);
                    }
                }
            }
        } else {
            self.flag(Flag::CopyOut);
            if let Some(range) = relation {
                let fields = self.scoped(|walk| {
                    walk.range(range);
                    let listed = strings(attlist);
                    let mut fields = walk.star(&[]);
                    fields.retain(|field| {
                        listed.is_empty() || field.name.as_deref().is_none_or(|name| listed.contains(&name))
                    });
                    fields
                });
                self.show(&fields);
            }
            // Rows of COPY cannot be told apart by column here.
            self.keep_result();
            let read: Vec<_> = self
                .relations
                .iter()
                .filter(|met| met.is_source || met.is_target)
                .map(|met| met.relation.clone())
                .collect();
            for relation in read {
                let open = super::is_open_catalog(&relation);
                self.ask(Access::CopyOut, Object::Relation(relation.id.clone()), !open);
            }
        }
        let condition = self.scoped(|walk| {
            if let (true, Some(range)) = (*is_from, relation)
                && let Some(target) = walk.resolve(range)
            {
                let entry = walk.entry(&target, &range.schemaname);
                walk.enter(entry);
            }
            walk.boxed(where_clause, Self::node)
        });
        // Of what comes in, not of what is there.
        let _incoming = condition;
    }

    fn prepare(&mut self, PrepareStmt { name, argtypes, query }: &PrepareStmt) {
        for node in argtypes {
            self.visit(node, Self::node);
        }
        // Judged now as if it ran, and again when it does.
        self.boxed(query, Self::statement);
        self.touched.prepared.insert(name.clone());
        self.found.effect = Effect::Prepare(name.clone());
    }

    /// EXECUTE runs a text from earlier: what it does now is read anew, for names may mean something else by now.
    fn execute(&mut self, ExecuteStmt { name, params }: &ExecuteStmt) {
        self.all(params);
        self.flag(Flag::RunsPrepared);
        // What this very text makes of the name is not known before it runs.
        let settled = !self.touched.all && !self.touched.prepared.contains(name);
        match self.session.prepared(name).filter(|_| settled) {
            Some(text) => {
                self.run_again(&text, self.catalog);
                if self.found.flags.contains(&Flag::Shadowed) {
                    // It may have been planned before there was one, and what it was planned for is still there.
                    self.opaque("a temporary relation stands before one that a prepared statement names; run the statement itself");
                }
            }
            None => self.missing(Missing::Prepared(name.clone())),
        }
    }

    /// FETCH and MOVE run what the portal was made of, by SQL's DECLARE or by the protocol's Bind.
    fn fetch(&mut self, name: &str) {
        self.flag(Flag::RunsPrepared);
        self.found.effect = Effect::Fetch(name.to_owned());
        if let Some((query, catalog)) = self.touched.cursors.get(name).cloned() {
            self.same_path(&catalog);
            return self.run_node(&query, &catalog);
        }
        match self.session.portal(name) {
            // Its names were looked up when it was made.
            Some(portal) => {
                let catalog = self.catalog.under(portal.path.as_deref());
                self.same_path(&catalog);
                self.run_again(&portal.text, &catalog);
                if !portal.differing.is_empty() && self.found.may_mean(portal.differing.iter().map(String::as_str)) {
                    self.opaque("temporary relations that the cursor may name have come or gone since it was made");
                }
            }
            None => self.missing(Missing::Portal(name.to_owned())),
        }
    }

    /// What a cursor's query names was looked up when it was made; what the functions in it name is looked up now.
    fn same_path(&mut self, catalog: &Catalog) {
        if catalog.id != self.catalog.id {
            self.opaque("the cursor was made under another search path; set that one before rows are fetched");
        }
    }

    /// Adds what a text from earlier does.
    fn run_again(&mut self, text: &str, catalog: &Catalog) {
        if self.nesting >= MOST_NESTING {
            return self.opaque("prepared statements name each other too often");
        }
        if !stack::holds(text) {
            self.needs_depth = true;
            return;
        }
        let Ok(tree) = pg_query::parse(text, pg_query::ParserOptions::DEFAULT) else {
            return self.opaque("a prepared statement that cannot be read");
        };
        for raw in &tree.protobuf.stmts {
            if let Some(node) = raw.stmt.as_ref().and_then(|node| node.node.as_ref()) {
                self.run_node(node, catalog);
            }
        }
    }

    /// Adds what a statement from earlier does.
    fn run_node(&mut self, node: &NodeEnum, catalog: &Catalog) {
        {
            let (mut created, mut touched) = (HashSet::new(), Touched::default());
            let mut inner =
                Walk::new(catalog, self.session, &mut created, &mut touched, self.nesting + MOST_NESTING / 4);
            match node {
                NodeEnum::PrepareStmt(prepare) => inner.prepare(prepare),
                node => inner.statement(node),
            }
            self.needs_depth |= inner.needs_depth;
            let inner = inner.finish(0..0);
            self.found.uses.extend(inner.uses);
            for (column, how) in inner.columns {
                *self.found.columns.entry(column).or_default() |= how;
            }
            self.found.outputs = inner.outputs;
            self.found.width = inner.width;
            self.found.unseen.extend(inner.unseen);
            self.found.flags.extend(inner.flags);
            self.found.touch = self.found.touch.max(inner.touch);
            self.found.mentioned.extend(inner.mentioned);
            if let Some(opaque) = inner.opaque {
                self.opaque(opaque.0);
            }
            if let Some(missing) = inner.missing {
                self.missing(missing);
            }
        }
    }

    fn discard(&mut self, DiscardStmt { target }: &DiscardStmt) {
        self.flag(Flag::SessionState);
        match DiscardMode::try_from(*target) {
            Ok(DiscardMode::DiscardAll) => {
                self.touched.all = true;
                self.found.effect = Effect::DiscardAll;
            }
            Ok(DiscardMode::DiscardTemp) => self.found.effect = Effect::DiscardTemporary,
            Ok(DiscardMode::DiscardPlans | DiscardMode::DiscardSequences) => {}
            Ok(DiscardMode::Undefined) | Err(_) => self.opaque("an unknown DISCARD"),
        }
    }

    /// A list of relations, each of which is done the same to.
    pub(super) fn relations(&mut self, nodes: &[Node], access: Access) {
        for node in nodes {
            match &node.node {
                Some(NodeEnum::RangeVar(range)) => {
                    if let Some(relation) = self.resolve(range) {
                        self.ask(access, Object::Relation(relation.id.clone()), true);
                        self.reach_all(&relation, access, &mut HashSet::from([relation.id.clone()]), 0);
                        if access == Access::Truncate {
                            self.write_through(&relation, access, &mut HashSet::from([relation.id.clone()]), 0);
                        }
                    }
                }
                _ => self.opaque("a list of relations holds something else"),
            }
        }
    }
}

impl Walk<'_> {
    /// Partitions of partitions and what lies under views come along.
    fn reach_all(&mut self, relation: &Arc<Relation>, access: Access, seen: &mut HashSet<RelationRef>, depth: usize) {
        if depth > MOST_NESTING {
            return self.opaque(format!("`{}` rests on too many layers", relation.id.name));
        }
        for reach in &relation.reaches {
            if !seen.insert(reach.id.clone()) {
                continue;
            }
            self.ask(access, Object::Relation(reach.id.clone()), false);
            if reach.way != Way::Parent
                && let Some(under) = self.catalog.get(&reach.id).cloned()
            {
                self.reach_all(&under, access, seen, depth + 1);
            }
        }
    }

    /// CASCADE empties whatever refers to what is emptied, and so on: as if the statement named it.
    fn truncate_referring(&mut self) {
        let emptied = |asked: &Use| match (&asked.object, asked.access) {
            (Object::Relation(id), Access::Truncate) => Some(id.clone()),
            _ => None,
        };
        let mut left: Vec<RelationRef> = self.found.uses.iter().filter_map(emptied).collect();
        let mut seen: HashSet<RelationRef> = left.iter().cloned().collect();
        while let Some(id) = left.pop() {
            let Some(relation) = self.catalog.get(&id).cloned() else { continue };
            let children = relation.reaches.iter().filter(|reach| reach.way == Way::Child).map(|reach| &reach.id);
            for id in relation.referring.iter().map(|referring| &referring.relation).chain(children) {
                if seen.insert(id.clone()) {
                    self.ask(Access::Truncate, Object::Relation(id.clone()), true);
                    if let Some(reached) = self.catalog.get(id).cloned() {
                        self.write_through(&reached, Access::Truncate, &mut HashSet::from([id.clone()]), 0);
                    }
                    left.push(id.clone());
                }
            }
        }
    }
}

/// Whether an option is there but switched off; PostgreSQL takes a bare option for on (`defGetBoolean`).
fn is_off(option: &DefElem) -> bool {
    match option.arg.as_ref().and_then(|node| node.node.as_ref()) {
        None => false,
        Some(NodeEnum::Boolean(value)) => !value.boolval,
        Some(NodeEnum::Integer(value)) => value.ival == 0,
        Some(NodeEnum::String(value)) => matches!(value.sval.to_ascii_lowercase().as_str(), "false" | "off"),
        Some(_) => false,
    }
}
