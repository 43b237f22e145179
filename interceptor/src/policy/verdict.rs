//! One request and what every policy says to it.

use super::circumstances::Circumstances;
use super::entities::{Gathered, agent_chain, object_chain};
use super::load::{Part, PolicySet};
use super::principal::Principal;
use super::scope::{Chains, World};
use crate::sql::{Access, Catalog, Object, Statement};
use cedar_policy::{Context, Entity, PolicyId};
use std::sync::Arc;

/// What policies say to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Permits that match.
    pub(super) permits: Vec<PolicyId>,
    /// Forbids that match and that nothing lifts.
    pub(super) forbids: Vec<PolicyId>,
    /// Forbids that match and are lifted by meeting their obligations.
    pub(super) obliging: Vec<PolicyId>,
    /// Forbids that match and are only observed.
    pub(super) watching: Vec<PolicyId>,
}

impl Verdict {
    /// Both together.
    pub(super) fn and_also(mut self, other: Self) -> Self {
        self.permits.extend(other.permits);
        self.forbids.extend(other.forbids);
        self.obliging.extend(other.obliging);
        self.watching.extend(other.watching);
        self
    }

    /// Whether a matching forbid stands, lifted or not.
    pub(super) fn restrains(&self) -> bool {
        !self.forbids.is_empty() || !self.obliging.is_empty()
    }
}

/// Why a request could not be evaluated; denies.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl Broken {
    pub(super) fn new(error: &dyn std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Everything about a statement that its requests share.
pub(super) struct Bench<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) principal: &'a Principal,
    pub(super) catalog: &'a Catalog,
    pub(super) around: &'a Circumstances,
    pub(super) statement: Option<&'a Statement>,
}

impl Bench<'_> {
    /// What every policy says to this agent's doing this to that.
    pub(super) fn verdict(&self, access: Access, object: &Object) -> Result<Arc<Verdict>, Broken> {
        let who = (self.principal.fingerprint(), self.catalog.snapshot());
        let memo = &self.set.memo;
        let still = match memo.verdict(who, access, object) {
            Some(verdict) => verdict,
            None => {
                let verdict = Arc::new(self.evaluate(&self.set.still, access, object)?);
                memo.keep_verdict(who, access, object, &verdict);
                verdict
            }
        };
        if self.set.moving.is_empty() {
            return Ok(still);
        }
        let moving = self.evaluate(&self.set.moving, access, object)?;
        if moving == Verdict::default() {
            return Ok(still);
        }
        Ok(Arc::new((*still).clone().and_also(moving)))
    }

    fn evaluate(&self, part: &Part, access: Access, object: &Object) -> Result<Verdict, Broken> {
        let broken = |error| Broken::new(&error);
        let resource = object_chain(&self.around.server, self.catalog, object).map_err(broken)?;
        let principal = agent_chain(self.principal.identity()).map_err(broken)?;
        let chains = Chains { principal: &principal, action: self.set.action(access.name()), resource: &resource };
        self.set.ask(part, chains, &Asked { bench: self, object })
    }
}

/// One request as conditions see it.
struct Asked<'a> {
    bench: &'a Bench<'a>,
    object: &'a Object,
}

impl World for Asked<'_> {
    fn entities(&self) -> Result<Vec<Entity>, Broken> {
        let Bench { set, principal, catalog, around, statement: _ } = self.bench;
        let mut gathered = Gathered::new(&set.labels);
        gathered.agent(principal.identity()).map_err(|error| Broken::new(&error))?;
        gathered.object(&around.server, catalog, self.object).map_err(|error| Broken::new(&error))?;
        Ok(gathered.entities)
    }

    fn context(&self) -> Result<Context, Broken> {
        self.bench.around.context(&self.bench.catalog.database, self.bench.statement).map_err(Broken)
    }
}
