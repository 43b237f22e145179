//! The decision: every use of a statement is a request, and every request has to pass.

use super::Mode;
use super::annotation::{Filter, Mask, Obligation};
use super::budget::Counted;
use super::circumstances::Circumstances;
use super::denial::{Denial, DenialKind};
use super::entities::{Gathered, agent_chain, database_chain, path};
use super::kept::limits_reading;
use super::load::PolicySet;
use super::orders::{MaskedOutput, Orders, RowField};
use super::principal::Principal;
use super::scope::{Chains, World};
use super::verdict::{Bench, Broken, Verdict};
use crate::sql::{
    Access, Analysis, Catalog, ColumnRef, Flag, Handling, Missing, Object, Place, Relation, RelationRef, Standing,
    Statement, Touch, Use,
};
use cedar_policy::{Context, Entity, PolicyId};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LISTED: &str = "say in SQL what it does, or have it listed under [functions] transparent in labels.toml";

/// A text may run, every statement of it. Only this room can make one.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    statements: Vec<Arc<Granted>>,
}

impl Permit {
    /// What each of the statements was granted.
    pub fn statements(&self) -> &[Arc<Granted>] {
        &self.statements
    }
}

/// What one statement was granted, and what it has to put up with.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    policies: BTreeSet<String>,
    orders: Arc<Orders>,
    observed: Option<Denial>,
}

impl Granted {
    /// The policies that decided; none for what needs no permit.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(String::as_str)
    }

    /// What has to be met while it runs.
    pub fn orders(&self) -> &Arc<Orders> {
        &self.orders
    }

    /// The denial that was not carried out because the set or a policy only observes.
    pub fn observed(&self) -> Option<&Denial> {
        self.observed.as_ref()
    }
}

/// A text may not run because of one of its statements.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied {
    /// Which, counted from zero.
    pub at: usize,
    /// Why.
    pub denial: Denial,
}

impl PolicySet {
    /// Whether an agent may open a session on a database at all.
    pub fn decide_connect(
        &self,
        principal: &Principal,
        database: &str,
        around: &Circumstances,
        mode: Mode,
    ) -> Result<Permit, Box<Denial>> {
        let arriving = Arriving { set: self, principal, database, around };
        let verdict = (|| {
            let broken = |error| Broken::new(&error);
            let who = agent_chain(principal.identity()).map_err(broken)?;
            let resource = database_chain(&around.server, database).map_err(broken)?;
            let chains = Chains { principal: &who, action: self.action("connect"), resource: &resource };
            Ok(self.ask(&self.still, chains, &arriving)?.and_also(self.ask(&self.moving, chains, &arriving)?))
        })();
        let what = || format!("connect to {}", path(&[database]));
        let outcome = verdict.map_err(broken).and_then(|verdict: Verdict| {
            self.passes(&verdict, true, what)?;
            let mut grant = Grant { policies: names(&verdict.permits), watched: verdict.watching, ..Grant::default() };
            let decided = verdict.permits.iter().chain(&verdict.obliging);
            for known in decided.filter_map(|id| self.annotations.get(id)) {
                grant.orders.records = grant.orders.records.and(known.records);
            }
            grant.orders.shown.extend(grant.orders.records.show());
            for id in &verdict.obliging {
                // Limits on a session are limits on each of its statements; it has no columns to be masked, and drivers do
                // not wait to be let in.
                let met = self.annotations.get(id).is_some_and(|known| {
                    known.obligations.iter().all(|obligation| {
                        let meant =
                            !matches!(obligation, Obligation::Mask(_) | Obligation::Approve(_) | Obligation::Preview);
                        if meant {
                            grant.orders.add(id, obligation);
                        }
                        meant
                    })
                });
                if !met {
                    let mut denial = self.denial(std::slice::from_ref(id), true, what);
                    if denial.obligations.iter().any(|obligation| matches!(obligation, Obligation::Approve(_))) {
                        let reason = "statements can wait for an approval, a connection cannot".to_owned();
                        denial.reason.get_or_insert(reason);
                    }
                    return Err(denial);
                }
                grant.policies.insert(id.to_string());
            }
            Ok(grant)
        });
        let granted = self.conclude(outcome, mode)?;
        Ok(Permit { statements: vec![Arc::new(granted)] })
    }

    /// Whether an agent may run a text: every statement of it, or nothing.
    pub fn decide(
        &self,
        principal: &Principal,
        analysis: &Analysis,
        catalog: &Catalog,
        around: &Circumstances,
        mode: Mode,
    ) -> Result<Permit, Box<Denied>> {
        // What a statement of the text has made or changed is not in the catalogue that the next is judged by.
        let mut around = Cow::Borrowed(around);
        let statements = analysis.statements.iter().zip(0..).map(|(statement, at)| {
            let granted = self.decide_statement(principal, analysis, at, catalog, &around, mode);
            let changes_own = matches!(statement.touch, Touch::Makes | Touch::Changes);
            if (statement.changes_catalog() || changes_own) && !around.in_flux {
                around.to_mut().in_flux = true;
            }
            granted.map_err(|denial| Box::new(Denied { at, denial: *denial }))
        });
        Ok(Permit { statements: statements.collect::<Result<_, _>>()? })
    }

    fn decide_statement(
        &self,
        principal: &Principal,
        analysis: &Analysis,
        at: usize,
        catalog: &Catalog,
        around: &Circumstances,
        mode: Mode,
    ) -> Result<Arc<Granted>, Box<Denial>> {
        let Some(statement) = analysis.statements.get(at) else {
            return Err(broken(Broken("there is no such statement".to_owned())));
        };
        if let Some(opaque) = &statement.opaque {
            let mut denial = Denial::new(DenialKind::Opaque, "statement cannot be judged");
            denial.reason = Some(opaque.to_string());
            denial.hint = Some("write it in a form that says what it does".to_owned());
            return self.conclude(Err(Box::new(denial)), mode).map(Arc::new);
        }
        if let Some(missing) = &statement.missing
            && !self.may_name(principal, missing)
        {
            let denial = Denial::new(DenialKind::Missing(missing.clone()), missing.to_string());
            return self.conclude(Err(Box::new(denial)), mode).map(Arc::new);
        }
        let who = (principal.fingerprint(), catalog.snapshot());
        // A reading without a number is not kept, and so cannot be told from another one.
        let remembers = self.moving.is_empty() && analysis.id != 0 && mode == Mode::Enforce && !around.in_flux;
        if remembers && let Some(granted) = self.memo.statement(who, analysis.id, at) {
            return Ok(granted);
        }
        let bench = Bench { set: self, principal, catalog, around, statement: Some(statement) };
        let granted = Arc::new(self.conclude(self.uses(&bench, statement), mode)?);
        if remembers {
            self.memo.keep_statement(who, analysis.id, at, &granted);
        }
        Ok(granted)
    }

    /// Whether a statement may name what the catalogue does not know: see [`PolicySet::permits_all`]. What EXECUTE and FETCH
    /// run has to be known all the same, or nobody could follow what it does to the session.
    pub fn may_name(&self, principal: &Principal, missing: &Missing) -> bool {
        match missing {
            Missing::Relation(_)
            | Missing::Function(_)
            | Missing::Column(_)
            | Missing::Type(_)
            | Missing::Schema(_) => self.holds_nothing_against(principal),
            Missing::Portal(_) | Missing::Prepared(_) => false,
        }
    }

    /// Whether nothing can be refused to an agent, whatever names mean: see [`PolicySet::permits_all`].
    pub fn holds_nothing_against(&self, principal: &Principal) -> bool {
        agent_chain(principal.identity()).is_ok_and(|chain| self.permits_all(&chain))
    }

    fn uses(&self, bench: &Bench<'_>, statement: &Statement) -> Result<Grant, Box<Denial>> {
        let mut grant = Grant::default();
        let mut limiting = BTreeSet::new();
        let mut uses: Vec<&Use> = statement.uses.iter().collect();
        // What the statement names comes first, so that a denial speaks of it rather than of what lies underneath; and
        // relations before columns, because they say more.
        uses.sort_by_key(|asked| (!asked.named, is_detail(asked)));
        for asked in uses {
            let what = || describe(asked, bench.catalog);
            let verdict = bench.verdict(asked.access, &asked.object).map_err(broken)?;
            self.passes(&verdict, asked.named, what)?;
            grant.policies.extend(names(&verdict.permits));
            let decided = verdict.permits.iter().chain(&verdict.obliging);
            for known in decided.filter_map(|id| self.annotations.get(id)) {
                grant.orders.records = grant.orders.records.and(known.records);
            }
            grant.watched.extend(verdict.watching.iter().cloned());
            // How drivers and ORMs find their way is not what limits on reading are about.
            let is_introspection = !asked.named && is_in_catalog(&asked.object);
            for id in verdict.obliging.iter().filter(|_| !is_introspection) {
                let met = self.annotations.get(id).is_some_and(|known| {
                    known.obligations.iter().all(|obligation| match obligation {
                        // Columns are asked for one by one; what a mask says of anything else is met there or nowhere.
                        Obligation::Mask(_) => matches!(asked.access, Access::Select | Access::Filter),
                        other => {
                            grant.orders.add(id, other);
                            true
                        }
                    })
                });
                if !met {
                    return Err(self.denial(std::slice::from_ref(id), asked.named, what));
                }
                let reads = asked.access == Access::Select && !statement.is_by_trigger(asked);
                let known = self.annotations.get(id).filter(|_| reads);
                if known.is_some_and(|known| known.obligations.iter().any(limits_reading)) {
                    limiting.insert(id.clone());
                }
                grant.policies.insert(id.to_string());
            }
        }
        self.limit_what_is_kept(bench, statement, &limiting, &mut grant)?;
        let records = grant.orders.records;
        grant.orders.shown.extend(records.show());
        self.limit_without_relations(bench, statement, &mut grant)?;
        self.export(bench, statement, &mut grant)?;
        self.see_through(bench, statement)?;
        if self.masks {
            self.mask(bench, statement, &mut grant)?;
        }
        let uncounted = statement.flags.contains(&Flag::WritesUncounted)
            // Its command tag has no number.
            || statement.flags.contains(&Flag::Moves)
            || statement.uses.iter().any(|asked| asked.access == Access::Truncate);
        if grant.orders.limits_effect() && uncounted {
            let mut denial = Denial::new(DenialKind::Policy, "the rows that this statement changes cannot be counted");
            denial.reason = Some(
                "changes by TRUNCATE, in WITH, under EXPLAIN ANALYZE, in functions and by foreign keys do not show, and policy limits them"
                    .to_owned(),
            );
            denial.hint = Some("change the rows in a statement of its own".to_owned());
            return Err(Box::new(denial));
        }
        if (!grant.orders.detect.is_empty() || grant.orders.records.results) && statement.flags.contains(&Flag::CopyOut)
        {
            let mut denial = Denial::new(DenialKind::Policy, "COPY cannot be looked through");
            denial.reason =
                Some(format!("it needs {}", grant.orders.shown.iter().cloned().collect::<Vec<_>>().join(", ")));
            denial.hint = Some("select the rows instead".to_owned());
            return Err(Box::new(denial));
        }
        Ok(grant)
    }

    /// `SELECT repeat('x', 1000000) FROM generate_series(1, 50)` reads no relation and returns rows all the same: limits on
    /// reading that are not meant for certain relations hold for it.
    fn limit_without_relations(
        &self,
        bench: &Bench<'_>,
        statement: &Statement,
        grant: &mut Grant,
    ) -> Result<(), Box<Denial>> {
        let has_relation = statement.uses.iter().any(|asked| matches!(asked.object, Object::Relation(_)));
        if has_relation || statement.outputs.is_empty() {
            return Ok(());
        }
        let nowhere = RelationRef { schema: "pg_catalog".into(), name: "no relation".into() };
        let verdict = bench.verdict(Access::Select, &Object::Relation(nowhere)).map_err(broken)?;
        for id in &verdict.obliging {
            for obligation in self.annotations.get(id).iter().flat_map(|known| &known.obligations) {
                let limit = match obligation {
                    Obligation::MaxRows(_) | Obligation::MaxBytes(_) | Obligation::Timeout(_) => true,
                    Obligation::Allowance(allowance) => allowance.counted != Counted::Affected,
                    Obligation::Mask(_)
                    | Obligation::MaxAffected(_)
                    | Obligation::Approve(_)
                    | Obligation::Preview
                    | Obligation::Detect(_) => false,
                };
                if limit {
                    grant.orders.add(id, obligation);
                    grant.policies.insert(id.to_string());
                }
            }
        }
        Ok(())
    }

    /// COPY TO of what is read through functions, views and definitions, or of nothing that is kept anywhere: what forbids all
    /// export, or that of what lies underneath, holds for it.
    fn export(&self, bench: &Bench<'_>, statement: &Statement, grant: &mut Grant) -> Result<(), Box<Denial>> {
        if !statement.flags.contains(&Flag::CopyOut) {
            return Ok(());
        }
        let asked_for = |id: &RelationRef| {
            let object = Object::Relation(id.clone());
            [true, false].iter().any(|named| {
                statement.uses.contains(&Use { access: Access::CopyOut, object: object.clone(), named: *named })
            })
        };
        let read = statement.uses.iter().filter_map(|asked| match (&asked.object, asked.access) {
            (Object::Relation(id), Access::Select) if !asked_for(id) => Some(id.clone()),
            _ => None,
        });
        let mut read: Vec<RelationRef> = read.collect();
        if !statement.uses.iter().any(|asked| asked.access == Access::CopyOut) {
            read.push(RelationRef { schema: "pg_catalog".into(), name: "no relation".into() });
        }
        for id in read {
            let asked = Use { access: Access::CopyOut, object: Object::Relation(id), named: false };
            let what = || "copy_out of what this statement reaches".to_owned();
            let verdict = bench.verdict(asked.access, &asked.object).map_err(broken)?;
            self.passes(&verdict, false, what)?;
            grant.watched.extend(verdict.watching.iter().cloned());
            for id in &verdict.obliging {
                let obligations =
                    self.annotations.get(id).map(|known| known.obligations.as_slice()).unwrap_or_default();
                if obligations.iter().any(|obligation| matches!(obligation, Obligation::Mask(_))) {
                    return Err(self.denial(std::slice::from_ref(id), false, what));
                }
                obligations.iter().for_each(|obligation| grant.orders.add(id, obligation));
                grant.policies.insert(id.to_string());
            }
        }
        Ok(())
    }

    /// What runs code that nobody can see through may do anything: it is for agents that nothing is held against.
    fn see_through(&self, bench: &Bench<'_>, statement: &Statement) -> Result<(), Box<Denial>> {
        let vouched = |name: &&String| self.labels.is_transparent(name);
        let unseen = statement.unseen.iter().find(|name| !vouched(name));
        let in_flux = bench.around.in_flux && statement.uses.iter().any(|asked| !is_definition(asked));
        if unseen.is_none() && !in_flux {
            return Ok(());
        }
        if self.sees_all(bench).map_err(broken)? {
            return match called(statement, vouched) {
                Some(name) if !self.does_all(bench).map_err(broken)? => {
                    let mut denial =
                        Denial::new(DenialKind::Policy, format!("{name} may do what is kept from this agent"));
                    denial.reason = Some(
                        "what it does cannot be seen, and some settings, definitions or catalogues are forbidden here"
                            .to_owned(),
                    );
                    denial.hint = Some(LISTED.to_owned());
                    Err(Box::new(denial))
                }
                _ => Ok(()),
            };
        }
        let Some(name) = unseen else {
            let mut denial = Denial::new(DenialKind::Policy, "the schema is being changed in this transaction");
            denial.reason =
                Some("what names mean now cannot be seen from outside, and some relations or columns are forbidden or masked here".to_owned());
            denial.hint = Some("commit the change first".to_owned());
            return Err(Box::new(denial));
        };
        let mut denial = Denial::new(DenialKind::Policy, format!("{name} may reach what is kept from this agent"));
        denial.reason =
            Some("what it does cannot be seen, and some relations or columns are forbidden or masked here".to_owned());
        denial.hint = Some(LISTED.to_owned());
        Err(Box::new(denial))
    }

    /// Whether no forbid stands between the agent and any relation or column.
    fn sees_all(&self, bench: &Bench<'_>) -> Result<bool, Broken> {
        let who = (bench.principal.fingerprint(), bench.catalog.snapshot());
        let remembers = self.moving.is_empty();
        if remembers && let Some(sees) = self.memo.sees_all(who) {
            return Ok(sees);
        }
        let mut sees = true;
        'all: for relation in bench.catalog.user_relations() {
            for access in [Access::Select, Access::Insert, Access::Update, Access::Delete] {
                if bench.verdict(access, &Object::Relation(relation.id.clone()))?.restrains() {
                    sees = false;
                    break 'all;
                }
            }
            for column in &relation.columns {
                if bench.verdict(Access::Select, &Object::Column(relation.id.clone(), column.name.clone()))?.restrains()
                {
                    sees = false;
                    break 'all;
                }
            }
        }
        if remembers {
            self.memo.keep_sees_all(who, sees);
        }
        Ok(sees)
    }

    /// Whether no forbid stands between the agent and what a function that it calls could do besides reading and writing
    /// rows: change settings and definitions, look at other sessions. Functions that run along with a write are the owner's.
    fn does_all(&self, bench: &Bench<'_>) -> Result<bool, Broken> {
        let role = Object::Parameter("role".into());
        let acts = [
            (Access::Set, &role),
            (Access::Create, &Object::Database),
            (Access::Alter, &Object::Database),
            (Access::Drop, &Object::Database),
        ];
        for (access, object) in acts {
            if bench.verdict(access, object)?.restrains() {
                return Ok(false);
            }
        }
        for relation in bench.catalog.sensitive_relations() {
            if bench.verdict(Access::Select, &Object::Relation(relation.id.clone()))?.restrains() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which columns are masked for the agent, whether what the statement does with them may be, and where they come out.
    fn mask(&self, bench: &Bench<'_>, statement: &Statement, grant: &mut Grant) -> Result<(), Box<Denial>> {
        let mut masked: BTreeMap<&ColumnRef, Mask> = BTreeMap::new();
        for (column, how) in &statement.columns {
            let verdict =
                bench.verdict(Access::Select, &Object::Column(column.0.clone(), column.1.clone())).map_err(broken)?;
            let masks: Vec<&PolicyId> = verdict.obliging.iter().filter(|id| self.mask_of(id).is_some()).collect();
            let Some(strictest) = masks.iter().filter_map(|id| self.mask_of(id)).max() else { continue };
            let filter =
                masks.iter().filter_map(|id| Some(self.annotations.get(*id)?.filter)).min().unwrap_or_default();
            if !allowed(*how, filter) {
                let ids: Vec<PolicyId> = masks.into_iter().cloned().collect();
                return Err(self.misused(&ids, column, *how, statement));
            }
            masked.insert(column, strictest);
            grant.orders.shown.insert(Obligation::Mask(strictest).show());
        }
        grant.orders.masks = statement.outputs.iter().map(|place| in_place(place, &masked)).collect();
        grant.orders.redacts_errors = !masked.is_empty() || self.touches_masked(bench, statement)?;
        grant.orders.masked = masked.into_iter().map(|(column, mask)| (column.clone(), mask)).collect();
        Ok(())
    }

    /// Whether a relation of the statement has a masked column at all: constraint errors print whole rows.
    fn touches_masked(&self, bench: &Bench<'_>, statement: &Statement) -> Result<bool, Box<Denial>> {
        for asked in &statement.uses {
            let Object::Relation(id) = &asked.object else { continue };
            let Some(relation) = bench.catalog.get(id) else { continue };
            if is_of_server(relation) {
                continue;
            }
            for column in &relation.columns {
                let object = Object::Column(id.clone(), column.name.clone());
                let verdict = bench.verdict(Access::Select, &object).map_err(broken)?;
                if verdict.obliging.iter().any(|id| self.mask_of(id).is_some()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn mask_of(&self, id: &PolicyId) -> Option<Mask> {
        self.annotations.get(id)?.mask()
    }

    /// Whether permits and plain forbids let a request pass.
    fn passes(&self, verdict: &Verdict, named: bool, what: impl Fn() -> String) -> Result<(), Box<Denial>> {
        if !verdict.forbids.is_empty() || (named && verdict.permits.is_empty()) {
            return Err(self.denial(&verdict.forbids, named, what));
        }
        Ok(())
    }

    /// What an agent is told: the object it named, the policy's own words.
    fn denial(&self, policies: &[PolicyId], named: bool, what: impl Fn() -> String) -> Box<Denial> {
        let mut denial = match (policies.is_empty(), named) {
            (true, _) => {
                let mut denial = Denial::new(DenialKind::Policy, format!("no policy permits to {}", what()));
                denial.reason = Some("what no policy permits is denied".to_owned());
                denial.hint = Some("ask the owners of this host's policies for a permit, or do without".to_owned());
                denial
            }
            (false, true) => Denial::new(DenialKind::Policy, format!("policy forbids to {}", what())),
            // The agent may not know what lies under a view.
            (false, false) => Denial::new(DenialKind::Policy, "policy forbids something that this statement reaches"),
        };
        self.attribute(&mut denial, policies);
        Box::new(denial)
    }

    /// A masked column is put to a use that would show what the mask hides.
    fn misused(&self, policies: &[PolicyId], column: &ColumnRef, how: Handling, statement: &Statement) -> Box<Denial> {
        let copies = statement.flags.contains(&Flag::CopyOut);
        let what = if is_named(statement, column) {
            let (relation, name) = column;
            format!("column {}", path(&[&relation.schema, &relation.name, name]))
        } else {
            "a column that this statement reaches".to_owned()
        };
        let text = if copies && how.has(Handling::DERIVED) {
            format!("{what} is masked, and COPY does not mask")
        } else if how.has(Handling::DERIVED) {
            format!("{what} is masked and can only leave as it is")
        } else {
            format!("{what} is masked and cannot be computed with, compared, ordered or grouped by")
        };
        let mut denial = Denial::new(DenialKind::Policy, text);
        self.attribute(&mut denial, policies);
        denial.reason.get_or_insert_with(|| "a masked column may be shown, counted and tested for NULL".to_owned());
        let instead = if copies {
            "select the rows instead, or leave the column out"
        } else {
            "select it as an output column of its own, or leave it out"
        };
        denial.hint.get_or_insert_with(|| instead.to_owned());
        Box::new(denial)
    }

    pub(super) fn attribute(&self, denial: &mut Denial, policies: &[PolicyId]) {
        for id in policies {
            denial.policies.push(id.to_string());
            if let Some(annotations) = self.annotations.get(id) {
                denial.reason = denial.reason.take().or_else(|| annotations.reason.clone());
                denial.hint = denial.hint.take().or_else(|| annotations.hint.clone());
                denial.obligations.extend(annotations.obligations.iter().cloned());
            }
        }
        denial.policies.sort();
        denial.policies.dedup();
    }

    fn conclude(&self, outcome: Result<Grant, Box<Denial>>, mode: Mode) -> Result<Granted, Box<Denial>> {
        match (outcome, mode) {
            (Ok(grant), Mode::Enforce) => {
                let watched = (!grant.watched.is_empty()).then(|| {
                    let ids: Vec<PolicyId> = grant.watched.into_iter().collect();
                    *self.denial(&ids, true, || "do what is only observed".to_owned())
                });
                Ok(Granted { policies: grant.policies, orders: Arc::new(grant.orders), observed: watched })
            }
            // Nothing is carried out: no denial, no mask, no limit.
            (Ok(grant), Mode::Observe) => {
                Ok(Granted { policies: grant.policies, orders: Arc::default(), observed: None })
            }
            (Err(denial), Mode::Observe) => {
                Ok(Granted { policies: BTreeSet::new(), orders: Arc::default(), observed: Some(*denial) })
            }
            (Err(denial), Mode::Enforce) => Err(denial),
        }
    }
}

/// A session that is about to begin, as conditions see it.
struct Arriving<'a> {
    set: &'a PolicySet,
    principal: &'a Principal,
    database: &'a str,
    around: &'a Circumstances,
}

impl World for Arriving<'_> {
    fn entities(&self) -> Result<Vec<Entity>, Broken> {
        let mut gathered = Gathered::new(&self.set.labels);
        gathered.agent(self.principal.identity()).map_err(|error| Broken::new(&error))?;
        gathered.database(&self.around.server, self.database).map_err(|error| Broken::new(&error))?;
        Ok(gathered.entities)
    }

    fn context(&self) -> Result<Context, Broken> {
        self.around.context(self.database, None).map_err(Broken)
    }
}

/// What a statement has been granted so far.
#[derive(Debug, Default)]
pub(super) struct Grant {
    policies: BTreeSet<String>,
    pub(super) orders: Orders,
    watched: Vec<PolicyId>,
}

/// Whether a masked column may be put to this use.
fn allowed(how: Handling, filter: Filter) -> bool {
    if how.has(Handling::DERIVED) {
        return false;
    }
    match filter {
        Filter::Nothing => !how.has(Handling::COMPARED) && !how.has(Handling::USED),
        Filter::Equality => !how.has(Handling::USED),
        Filter::Any => true,
    }
}

/// Names a column, in this and every other process.
/// What is to stand in an output column, or in a field of a row.
fn in_place(place: &Place, masked: &BTreeMap<&ColumnRef, Mask>) -> Option<MaskedOutput> {
    let masks = place.columns.iter().filter_map(|(column, standing)| {
        let mask = *masked.get(column)?;
        // What a view's author has made of a value may be just the part that a mild mask leaves.
        let mask = match (standing, mask) {
            (Standing::Computed, mask) => mask.max(Mask::Redact),
            // Beside a constant of the agent's choice these two give themselves away.
            (Standing::Mixed, Mask::Hash | Mask::Shift) => Mask::Redact,
            (Standing::Whole | Standing::Mixed, mask) => mask,
        };
        Some((mask, column))
    });
    if let Some((mask, column)) = masks.max() {
        return Some(MaskedOutput::Value { mask, salt: salt(column) });
    }
    let fields = place.fields.iter().map(|field| RowField { type_oid: field.type_oid, mask: in_place(field, masked) });
    let fields: Vec<_> = fields.collect();
    fields.iter().any(|field| field.mask.is_some()).then_some(MaskedOutput::Row(fields))
}

fn salt((relation, column): &ColumnRef) -> u64 {
    let digest = Sha256::digest(path(&[&relation.schema, &relation.name, column]));
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn is_named(statement: &Statement, (relation, column): &ColumnRef) -> bool {
    let is_it = |asked: &Use| matches!(&asked.object, Object::Column(of, name) if of == relation && name == column);
    statement.uses.iter().any(|asked| asked.named && is_it(asked))
}

/// Whether this only makes, changes or drops objects, or touches none that anybody made.
fn is_definition(asked: &Use) -> bool {
    let defines = matches!(
        asked.access,
        Access::Create | Access::Alter | Access::Drop | Access::Comment | Access::Grant | Access::Revoke | Access::Set
    );
    defines || is_in_catalog(&asked.object)
}

/// Whether this is of the server's own catalogues.
fn is_in_catalog(object: &Object) -> bool {
    match object {
        Object::Relation(id) | Object::Column(id, _) => matches!(&*id.schema, "pg_catalog" | "information_schema"),
        Object::Database | Object::Schema(_) | Object::Function(_) | Object::Parameter(_) => false,
    }
}

fn is_of_server(relation: &Relation) -> bool {
    matches!(&*relation.id.schema, "pg_catalog" | "information_schema")
}

fn names(policies: &[PolicyId]) -> BTreeSet<String> {
    policies.iter().map(ToString::to_string).collect()
}

/// An error in the evaluation itself denies.
pub(super) fn broken(Broken(error): Broken) -> Box<Denial> {
    let mut denial = Denial::new(DenialKind::Opaque, "statement cannot be judged");
    denial.reason = Some(format!("policy evaluation failed: {error}"));
    Box::new(denial)
}

fn is_detail(asked: &Use) -> bool {
    matches!(asked.object, Object::Column(..))
}

/// A use in words.
pub(super) fn describe(asked: &Use, catalog: &Catalog) -> String {
    let action = asked.access.name();
    match &asked.object {
        Object::Database => format!("{action} on database {}", path(&[&catalog.database])),
        Object::Schema(schema) => format!("{action} in schema {}", path(&[schema])),
        Object::Relation(id) => format!("{action} on {}", path(&[&id.schema, &id.name])),
        Object::Column(id, column) => format!("{action} column {}", path(&[&id.schema, &id.name, column])),
        Object::Function(function) => format!("{action} function {}", path(&[&function.schema, &function.name])),
        Object::Parameter(name) => format!("{action} parameter {name}"),
    }
}

/// A function that a statement calls by name and that nobody can see through.
fn called(statement: &Statement, vouched: impl Fn(&&String) -> bool) -> Option<&String> {
    let names = statement.uses.iter().filter(|asked| asked.named && asked.access == Access::Execute);
    let names: BTreeSet<String> = names
        .filter_map(|asked| match &asked.object {
            Object::Function(function) => Some(format!("{}.{}", function.schema, function.name)),
            _ => None,
        })
        .collect();
    statement.unseen.iter().filter(|name| !vouched(name)).find(|name| names.contains(*name))
}
