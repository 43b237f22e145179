//! The decision: every use of a statement is a request, and every request has to pass.

use super::Mode;
use super::annotation::Obligation;
use super::entities::{Gathered, path, text, uid};
use super::load::PolicySet;
use crate::identity::Identity;
use crate::sql::{Catalog, Flag, Missing, Object, Statement, Use};
use cedar_policy::{
    Context, Decision as Verdict, Entities, EntityUid, PolicyId, PolicySet as CedarSet, Request, RestrictedExpression,
};
use std::collections::BTreeSet;

/// What surrounds a statement: the schema's `Context`.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// Name of the database server as configured or dialled.
    pub server: String,
    /// The role that the daemon logged in with.
    pub role: String,
    /// The dialling program.
    pub exe: String,
    /// Its user.
    pub uid: u32,
    /// Its cgroup.
    pub cgroup: String,
    /// The programs above it, innermost first, joined by ` < `.
    pub ancestry: String,
    /// Whether the agent came over TLS.
    pub tls: bool,
    /// RFC 3339, UTC, to the second.
    pub now: String,
    /// Whether a transaction block is open.
    pub in_transaction: bool,
    /// Bytes of the text.
    pub statement_bytes: usize,
    /// What the session has had so far.
    pub totals: Totals,
}

/// Running totals of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows that left.
    pub rows: u64,
    /// Bytes that left.
    pub bytes: u64,
    /// Statements that ran.
    pub statements: u64,
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may run.
    Permit(Permit),
    /// It may not.
    Deny(Denial),
}

/// A statement may run. Only this room can make one.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    policies: BTreeSet<String>,
    observed: Option<Denial>,
}

impl Permit {
    /// The policies that permit it; none for what needs no permit.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(String::as_str)
    }

    /// The denial that was not carried out because the set only observes.
    pub fn observed(&self) -> Option<&Denial> {
        self.observed.as_ref()
    }

    /// Joins the permits of the statements of one message.
    pub fn and(mut self, other: Self) -> Self {
        self.policies.extend(other.policies);
        self.observed = self.observed.or(other.observed);
        self
    }
}

/// A statement may not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Which kind of refusal it is.
    pub kind: DenialKind,
    /// One line for the agent: what was refused.
    pub message: String,
    /// Why, in the agent's terms.
    pub reason: Option<String>,
    /// What it may do instead.
    pub hint: Option<String>,
    /// The policies that forbid it; none where no policy permits it.
    pub policies: Vec<String>,
    /// Obligations that would have lifted it.
    pub obligations: Vec<Obligation>,
}

/// Kinds of refusal, each with an SQLSTATE of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialKind {
    /// A policy forbids it, or none permits it.
    Policy,
    /// It could not be judged.
    Opaque,
    /// It names something that is not there.
    Missing(Missing),
}

impl Denial {
    fn new(kind: DenialKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reason: None, hint: None, policies: Vec::new(), obligations: Vec::new() }
    }
}

impl PolicySet {
    /// Whether an agent may open a session on a database at all.
    pub fn decide_connect(&self, identity: &Identity, database: &str, around: &Circumstances, mode: Mode) -> Decision {
        let outcome = (|| {
            let mut gathered = Gathered::default();
            let agent = gathered.agent(identity).map_err(|error| broken(&error))?;
            let database_uid = gathered.database(&around.server, database).map_err(|error| broken(&error))?;
            let entities = self.entities(gathered)?;
            let context = around.context(database, None)?;
            self.ask("connect", agent, database_uid, true, context, &entities, || {
                format!("connect to {}", path(&[database]))
            })
        })();
        conclude(outcome, mode)
    }

    /// Whether an agent may run a statement.
    pub fn decide(
        &self,
        identity: &Identity,
        statement: &Statement,
        catalog: &Catalog,
        around: &Circumstances,
        mode: Mode,
    ) -> Decision {
        if let Some(opaque) = &statement.opaque {
            let mut denial = Denial::new(DenialKind::Opaque, "statement cannot be judged");
            denial.reason = Some(opaque.to_string());
            denial.hint = Some("write it in a form that says what it does".to_owned());
            return Decision::Deny(denial);
        }
        if let Some(missing) = &statement.missing {
            return Decision::Deny(Denial::new(DenialKind::Missing(missing.clone()), missing.to_string()));
        }
        conclude(self.uses(identity, statement, catalog, around), mode)
    }

    fn uses(
        &self,
        identity: &Identity,
        statement: &Statement,
        catalog: &Catalog,
        around: &Circumstances,
    ) -> Result<BTreeSet<String>, Box<Denial>> {
        if statement.uses.is_empty() {
            return Ok(BTreeSet::new());
        }
        if let Some(policies) = self.memo.as_ref().and_then(|memo| memo.all(identity, catalog, &statement.uses)) {
            return Ok(policies);
        }
        let mut gathered = Gathered::default();
        let agent = gathered.agent(identity).map_err(|error| broken(&error))?;
        let mut requests = Vec::with_capacity(statement.uses.len());
        for asked in &statement.uses {
            let object = gathered.object(&around.server, catalog, &asked.object).map_err(|error| broken(&error))?;
            requests.push((asked, object));
        }
        let entities = self.entities(gathered)?;
        let mut policies = BTreeSet::new();
        // What the statement names comes first, so that a denial speaks of it rather than of what lies underneath.
        requests.sort_by_key(|(asked, _)| (!asked.named, is_detail(asked)));
        for (asked, object) in requests {
            let context = around.context(&catalog.database, Some(statement))?;
            let what = || describe(asked, catalog);
            let action = asked.access.name();
            let passed = self.ask(action, agent.clone(), object, asked.named, context, &entities, what)?;
            if let Some(memo) = &self.memo {
                memo.remember(identity, catalog, asked, &passed);
            }
            policies.extend(passed);
        }
        Ok(policies)
    }

    fn entities(&self, gathered: Gathered) -> Result<Entities, Box<Denial>> {
        self.actions.clone().add_entities(gathered.entities, None).map_err(|error| broken(&error))
    }

    /// One request: the policies that let it through, or why it does not pass.
    #[expect(clippy::too_many_arguments, reason = "a Cedar request has this many parts")]
    fn ask(
        &self,
        action: &str,
        agent: EntityUid,
        object: EntityUid,
        named: bool,
        context: Context,
        entities: &Entities,
        what: impl Fn() -> String,
    ) -> Result<BTreeSet<String>, Box<Denial>> {
        let action = uid("Action", action).map_err(|error| broken(&error))?;
        // In tests every request is held against the schema; in production it would cost as much as the decision.
        let schema = cfg!(debug_assertions).then_some(&self.schema);
        let request = Request::new(agent, action, object, context, schema).map_err(|error| broken(&error))?;
        let (verdict, deciding) = self.evaluate(&self.plain, &request, entities)?;
        if verdict == Verdict::Deny && (named || !deciding.is_empty()) {
            return Err(self.denial(&deciding, named, what));
        }
        // Forbids with obligations: Cedar denies for want of a permit in this half, so only the matches count.
        let (_, standing) = self.evaluate(&self.obliging, &request, entities)?;
        if !standing.is_empty() {
            return Err(self.denial(&standing, named, what));
        }
        Ok(if verdict == Verdict::Allow { deciding.iter().map(ToString::to_string).collect() } else { BTreeSet::new() })
    }

    fn evaluate(
        &self,
        set: &CedarSet,
        request: &Request,
        entities: &Entities,
    ) -> Result<(Verdict, Vec<PolicyId>), Box<Denial>> {
        let response = self.authorizer.is_authorized(request, set, entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(broken(error));
        }
        Ok((response.decision(), response.diagnostics().reason().cloned().collect()))
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
        for id in policies {
            denial.policies.push(id.to_string());
            if let Some(annotations) = self.annotations.get(id) {
                denial.reason = denial.reason.or_else(|| annotations.reason.clone());
                denial.hint = denial.hint.or_else(|| annotations.hint.clone());
                denial.obligations.extend(annotations.obligations.iter().cloned());
            }
        }
        denial.policies.sort();
        if !denial.obligations.is_empty() && denial.reason.is_none() {
            let needed: Vec<_> = denial.obligations.iter().map(Obligation::show).collect();
            denial.reason = Some(format!("it needs {}, which this version cannot do", needed.join(", ")));
        }
        Box::new(denial)
    }
}

fn conclude(outcome: Result<BTreeSet<String>, Box<Denial>>, mode: Mode) -> Decision {
    match (outcome, mode) {
        (Ok(policies), _) => Decision::Permit(Permit { policies, observed: None }),
        (Err(denial), Mode::Observe) => Decision::Permit(Permit { policies: BTreeSet::new(), observed: Some(*denial) }),
        (Err(denial), Mode::Enforce) => Decision::Deny(*denial),
    }
}

/// An error in the evaluation itself denies.
fn broken(error: &dyn std::fmt::Display) -> Box<Denial> {
    let mut denial = Denial::new(DenialKind::Opaque, "statement cannot be judged");
    denial.reason = Some(format!("policy evaluation failed: {error}"));
    Box::new(denial)
}

fn is_detail(asked: &Use) -> bool {
    matches!(asked.object, Object::Column(..))
}

fn describe(asked: &Use, catalog: &Catalog) -> String {
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

impl Circumstances {
    fn context(&self, database: &str, statement: Option<&Statement>) -> Result<Context, Box<Denial>> {
        let long = |value: u64| RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX));
        let mut pairs = vec![
            ("server", text(&self.server)),
            ("database", text(database)),
            ("role", text(&self.role)),
            ("exe", text(&self.exe)),
            ("uid", long(u64::from(self.uid))),
            ("cgroup", text(&self.cgroup)),
            ("ancestry", text(&self.ancestry)),
            ("tls", RestrictedExpression::new_bool(self.tls)),
            ("now", RestrictedExpression::new_datetime(&self.now)),
            ("in_transaction", RestrictedExpression::new_bool(self.in_transaction)),
            ("statement_bytes", long(self.statement_bytes as u64)),
            ("session_rows", long(self.totals.rows)),
            ("session_bytes", long(self.totals.bytes)),
            ("session_statements", long(self.totals.statements)),
        ];
        let flags = statement.map(|statement| &statement.flags);
        let is = |flag: Flag| flags.is_some_and(|flags| flags.contains(&flag));
        if is(Flag::NoWhere) || is(Flag::HasWhere) {
            // One write without WHERE makes it a statement without.
            pairs.push(("has_where", RestrictedExpression::new_bool(!is(Flag::NoWhere))));
        }
        Context::from_pairs(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)))
            .map_err(|error| broken(&error))
    }
}
