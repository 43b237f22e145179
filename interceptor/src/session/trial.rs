//! Statements whose effect is looked at before somebody is asked (`@preview`).
//!
//! The very bytes of the statement are run, under their permit, in the agent's transaction or one of ours; the client hears
//! nothing of it. What came of it goes into the request and into its [`Binding`](crate::approval::Binding). When it is
//! approved, the answer that was kept becomes the statement's own: nothing is run twice. Where the transaction has been
//! rolled back meanwhile it is tried again, and only the same effect is what was approved.
//!
//! Only what a rollback takes back wholly is tried: rows of tables. (Sequences move on; nobody misses a number.)

use super::hold::{Bound, Case, Clearance, Run, not_asked, shown, statements};
use super::refusal::{Ending, Refusal};
use super::{Session, Step};
use crate::approval::{Preview, Seen};
use crate::audit::Decision;
use crate::mask::Key;
use crate::policy::{Circumstances, Orders};
use crate::sql::{Access, Effect, Flag, Object, Relation, RelationKind, is_temporary};
use crate::wire::TransactionStatus;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What of a statement decides how it is tried.
#[derive(Debug)]
pub(super) struct Planned {
    relations: Vec<Arc<Relation>>,
    max_rows: Option<u64>,
    max_affected: Option<u64>,
}

/// A statement that is to be tried.
#[derive(Debug)]
pub struct Trial {
    /// For the server, within the transaction.
    pub bytes: Bytes,
    /// How it is sent.
    pub way: Way,
    /// Where rows that it changes are looked for.
    pub relations: Vec<Arc<Relation>>,
    /// Rows that it may return, and change: with more it will fail once it is approved.
    pub max_rows: Option<u64>,
    /// As above.
    pub max_affected: Option<u64>,
    /// What surrounds whoever looks at the rows.
    pub around: Circumstances,
    /// What hides values.
    pub key: Arc<Key>,
}

/// The protocol that it comes by, and whether a transaction block is open.
#[derive(Debug, Clone)]
pub enum Way {
    /// As a Query.
    Text {
        /// In a block of the agent's.
        in_block: bool,
    },
    /// As an Execute.
    Portal {
        /// In a block of the agent's.
        in_block: bool,
        /// Makes the portal again, which running it has used up.
        rebind: Bytes,
    },
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tried {
    /// For reviewers.
    pub preview: Preview,
    /// The rows behind that.
    pub seen: Seen,
    /// Whether its transaction is open and its answer kept.
    pub lives: bool,
    /// Whether the agent has cancelled it.
    pub cancelled: bool,
}

/// The name of the statement in a whole Bind message (54.7): behind the portal's.
fn statement_of(bind: &[u8]) -> Option<String> {
    let mut names = bind.get(5..)?.split(|byte| *byte == 0);
    let (_portal, statement) = (names.next()?, names.next()?);
    String::from_utf8(statement.to_vec()).ok()
}

impl Session {
    /// What is to be tried; once.
    pub fn trial(&mut self) -> Option<Trial> {
        self.trial.take()
    }

    /// Notes what came of it.
    pub fn note_trial(&mut self, tried: Tried) {
        self.tried = Some(tried);
    }

    /// The transaction of a trial has been rolled back: what it did is known, and has to be seen again before it counts.
    pub fn trial_undone(&mut self) {
        self.tried = None;
    }

    /// Whether the message that has just been done was a trial's: its answer is the statement's.
    pub fn has_taken_trial(&mut self) -> bool {
        std::mem::take(&mut self.trial_taken)
    }

    /// Makes the statement at hand what has been tried, if that is still there.
    pub(super) fn takes_trial(&mut self) -> bool {
        self.trial_taken = self.tried.take().is_some_and(|tried| tried.lives);
        self.trial_taken
    }

    pub(super) fn plan(&mut self, bytes: Bytes, way: Way, planned: Planned) -> Step {
        let Planned { relations, max_rows, max_affected } = planned;
        // Reviewers sit elsewhere.
        let around = Circumstances {
            exe: String::new(),
            uid: u32::MAX,
            cgroup: String::new(),
            ancestry: String::new(),
            claimed: Vec::new(),
            totals: Default::default(),
            agent_totals: Default::default(),
            ..self.around.clone()
        };
        self.trial = Some(Trial { bytes, way, relations, max_rows, max_affected, around, key: self.key.clone() });
        Step::Try
    }

    /// Whether a statement is to be tried first, or need not be looked at any more; `None` where what there is to know about
    /// its effect is known.
    pub(super) fn looks_at_effect(
        &mut self,
        case: &Case<'_>,
        bound: Option<&Bound>,
    ) -> Result<Option<Clearance>, Ending> {
        let wanted =
            statements(case).any(|(statement, orders)| orders.preview && self.is_asked_for(case, statement, orders));
        if !wanted {
            return Ok(None);
        }
        if self.tried.as_ref().is_some_and(|tried| tried.cancelled) {
            return Ok(Some(Clearance::Refused(Refusal::CancelledInTrial)));
        }
        // Its outcome is known without.
        if self.tried.is_some() || self.ticket.as_ref().is_some_and(|ticket| ticket.has_failed(case.bench.unix)) {
            return Ok(None);
        }
        match self.can_be_tried(case) {
            Ok(relations) => {
                // Nothing is run for a request that nobody would be asked, unless it is for one that is open already.
                let identity = self.principal.identity();
                if self.ticket.is_none()
                    && let Err(error) = self.desk.may_ask(&identity.issuer, &identity.subject, case.bench.unix)
                {
                    return not_asked(error).map(Some);
                }
                let mut record = self.template(case, bound);
                record.decision = Some(Decision::Hold);
                record.binds = bound.map(shown);
                record.statement = Some(format!(
                    "previewed: its effect is tried in a transaction that is not committed: {}",
                    crate::audit::redact(case.text)
                ));
                self.trail.write(record)?;
                let least =
                    |limit: fn(&Orders) -> Option<u64>| statements(case).filter_map(|(_, orders)| limit(orders)).min();
                let (max_rows, max_affected) = (least(|orders| orders.max_rows), least(|orders| orders.max_affected));
                Ok(Some(Clearance::Try(Planned { relations, max_rows, max_affected })))
            }
            Err(why) => {
                self.tried = Some(Tried { preview: Preview::none(why), ..Tried::default() });
                Ok(None)
            }
        }
    }

    /// Whether rolling it back takes everything back that it does; the tables that it changes.
    fn can_be_tried(&self, case: &Case<'_>) -> Result<Vec<Arc<Relation>>, String> {
        let [statement] = case.analysis.statements.as_slice() else {
            return Err("it is one of several statements in one text".to_owned());
        };
        if let Run::Portal(prepared) = case.run {
            if prepared.bind.is_none() || prepared.served.rows > 0 {
                return Err("its rows are asked for in portions".to_owned());
            }
            // It is bound again by name, and the name has to mean what it meant.
            let named = prepared.bind.as_ref().and_then(|bind| self.names.statement(&statement_of(bind)?));
            if !named.is_some_and(|named| Arc::ptr_eq(&named.text, &prepared.text)) {
                return Err("the statement that it was bound from is another one by now".to_owned());
            }
            if self.status == TransactionStatus::Idle
                && (self.batch_writes || self.batch_ran || self.names.portals() > 1)
            {
                return Err("other statements of the same batch would be rolled back with it".to_owned());
            }
        }
        if statement.effect != Effect::None {
            return Err("it changes the session".to_owned());
        }
        let unfit = [Flag::CopyIn, Flag::CopyOut, Flag::ExplainAnalyze, Flag::Into, Flag::Ddl, Flag::SessionState];
        if unfit.iter().any(|flag| statement.flags.contains(flag)) || self.in_flux {
            return Err("it is no INSERT, UPDATE, DELETE or MERGE by itself".to_owned());
        }
        if let Some(name) = statement.unseen.first() {
            return Err(format!("what {name} does cannot be seen"));
        }
        let mut changed = BTreeSet::new();
        for asked in &statement.uses {
            match (asked.access, &asked.object) {
                (Access::Select | Access::Filter, _) => {}
                (Access::Insert | Access::Update | Access::Delete | Access::Merge, Object::Relation(id)) => {
                    changed.insert(id.clone());
                }
                (Access::Insert | Access::Update | Access::Delete | Access::Merge, _) => {}
                // Bodies of triggers have been read like the statement itself.
                (Access::Execute, Object::Function(function))
                    if !asked.named && matches!(&*function.language, "sql" | "plpgsql") => {}
                (Access::Execute, Object::Function(function)) if &*function.volatility != "volatile" => {}
                (Access::Execute, Object::Function(function)) => {
                    return Err(format!("{}.{} may do anything", function.schema, function.name));
                }
                (
                    access @ (Access::Execute
                    | Access::Truncate
                    | Access::CopyOut
                    | Access::CopyIn
                    | Access::Set
                    | Access::Create
                    | Access::Alter
                    | Access::Drop
                    | Access::Comment
                    | Access::Grant
                    | Access::Revoke
                    | Access::Lock
                    | Access::Listen
                    | Access::Notify
                    | Access::Admin),
                    _,
                ) => return Err(format!("a rollback may not take back what it does by `{}`", access.name())),
            }
        }
        if changed.is_empty() {
            return Err("it changes no rows".to_owned());
        }
        let mut tables = Vec::new();
        for id in changed {
            let relation = case.catalog.get(&id).ok_or_else(|| format!("{}.{} is not known", id.schema, id.name))?;
            if relation.has_rules && !matches!(relation.kind, RelationKind::View) {
                return Err(format!("rules stand on {}.{}", id.schema, id.name));
            }
            if is_temporary(&id) {
                // The rows that it takes away are looked for on another connection, which does not see it.
                return Err(format!("{} is temporary", id.name));
            }
            match relation.kind {
                RelationKind::Table => tables.push(relation.clone()),
                // Its rows are those of others, which are among them.
                RelationKind::PartitionedTable => {}
                // What its conditions call (WITH CHECK OPTION) may stay.
                RelationKind::View => return Err(format!("{}.{} is a view", id.schema, id.name)),
                RelationKind::MaterializedView
                | RelationKind::ForeignTable
                | RelationKind::Sequence
                | RelationKind::Index
                | RelationKind::CompositeType
                | RelationKind::Toast => {
                    return Err(format!("{}.{} is a {}", id.schema, id.name, relation.kind.name()));
                }
            }
        }
        Ok(tables)
    }
}
