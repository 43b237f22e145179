//! One request and what every policy says to it.

use super::circumstances::Circumstances;
use super::entities::{Gathered, uid};
use super::load::{Part, PolicySet};
use super::principal::Principal;
use crate::sql::{Access, Catalog, Object, Statement};
use cedar_policy::{Context, Decision, Entities, EntityUid, PolicyId, PolicySet as CedarSet, Request};
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
                let verdict = Arc::new(self.evaluate(&self.set.still, access, object, Context::empty())?);
                memo.keep_verdict(who, access, object, &verdict);
                verdict
            }
        };
        if self.set.moving.is_empty() {
            return Ok(still);
        }
        let context = self.around.context(&self.catalog.database, self.statement).map_err(Broken)?;
        let moving = self.evaluate(&self.set.moving, access, object, context)?;
        Ok(Arc::new((*still).clone().and_also(moving)))
    }

    fn evaluate(&self, part: &Part, access: Access, object: &Object, context: Context) -> Result<Verdict, Broken> {
        let mut gathered = Gathered::new(&self.set.labels);
        let agent = gathered.agent(self.principal.identity()).map_err(|error| Broken::new(&error))?;
        let object = gathered.object(&self.around.server, self.catalog, object).map_err(|error| Broken::new(&error))?;
        self.set.ask(part, access.name(), agent, object, gathered, context)
    }
}

impl PolicySet {
    /// Asks the policies of one part.
    pub(super) fn ask(
        &self,
        part: &Part,
        action: &str,
        agent: EntityUid,
        object: EntityUid,
        gathered: Gathered<'_>,
        context: Context,
    ) -> Result<Verdict, Broken> {
        let entities =
            self.actions.clone().add_entities(gathered.entities, None).map_err(|error| Broken::new(&error))?;
        let action = uid("Action", action).map_err(|error| Broken::new(&error))?;
        let request = Request::new(agent, action, object, context, None).map_err(|error| Broken::new(&error))?;
        let (decision, deciding) = self.evaluate(&part.plain, &request, &entities)?;
        let (permits, forbids) = match decision {
            Decision::Allow => (deciding, Vec::new()),
            Decision::Deny => (Vec::new(), deciding),
        };
        // In these halves there is no permit, so Cedar denies in any case and only the matches count.
        let (_, obliging) = self.evaluate(&part.obliging, &request, &entities)?;
        let (_, watching) = self.evaluate(&part.watching, &request, &entities)?;
        Ok(Verdict { permits, forbids, obliging, watching })
    }

    fn evaluate(
        &self,
        set: &CedarSet,
        request: &Request,
        entities: &Entities,
    ) -> Result<(Decision, Vec<PolicyId>), Broken> {
        if set.is_empty() {
            return Ok((Decision::Deny, Vec::new()));
        }
        let response = self.authorizer.is_authorized(request, set, entities);
        // Cedar skips a policy whose evaluation fails, which for a forbid would open the door.
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(Broken::new(error));
        }
        Ok((response.decision(), response.diagnostics().reason().cloned().collect()))
    }
}
