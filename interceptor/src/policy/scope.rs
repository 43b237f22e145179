//! Which policies a request can match at all, told by their scopes.
//!
//! Cedar tries every policy of a set on every request. Most of them are about other agents, actions or objects, which their
//! scope alone says (`principal in`, `action ==`, `resource is`), and most of the others have no condition. Both are
//! settled here, by the rules of Cedar's reference ("Policy syntax: scope"); conditions are Cedar's.

use super::load::PolicySet;
use super::verdict::{Broken, Verdict};
use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Effect, Entities, Entity, EntityTypeName, EntityUid, Policy,
    PolicyId, PolicySet as CedarSet, PrincipalConstraint, Request, ResourceConstraint,
};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Policies that are tried together.
#[derive(Debug, Default)]
pub(super) struct Scoped {
    policies: Vec<Policy>,
    /// Policies with conditions as sets that Cedar takes, by their places.
    sets: Mutex<HashMap<Box<[usize]>, Arc<CedarSet>>>,
}

/// Sets that are kept at most; there are about as many as there are kinds of requests.
const MOST_SETS: usize = 1024;

/// Who, what and to what, each with everything above it: itself first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chains<'a> {
    pub(super) principal: &'a [EntityUid],
    pub(super) action: &'a [EntityUid],
    pub(super) resource: &'a [EntityUid],
}

/// What conditions are evaluated against, made where a condition has to be.
pub(super) trait World {
    /// The entities of the request but for its action.
    fn entities(&self) -> Result<Vec<Entity>, Broken>;
    /// The context of the request.
    fn context(&self) -> Result<Context, Broken>;
}

/// The same, made once for a request.
pub(super) struct Seen<'a> {
    world: &'a dyn World,
    set: &'a PolicySet,
    chains: Chains<'a>,
    reads_context: bool,
    entities: OnceCell<Entities>,
}

impl Seen<'_> {
    fn entities(&self) -> Result<&Entities, Broken> {
        if let Some(entities) = self.entities.get() {
            return Ok(entities);
        }
        let actions = self.chains.action.iter().filter_map(|uid| self.set.action_entities.get(uid));
        let all = self.world.entities()?.into_iter().chain(actions.cloned());
        let entities = Entities::from_entities(all, None).map_err(|error| Broken::new(&error))?;
        Ok(self.entities.get_or_init(|| entities))
    }

    fn context(&self) -> Result<Context, Broken> {
        if self.reads_context { self.world.context() } else { Ok(Context::empty()) }
    }
}

/// Policies that match.
#[derive(Debug, Default)]
pub(super) struct Matches {
    pub(super) permits: Vec<PolicyId>,
    pub(super) forbids: Vec<PolicyId>,
}

impl Matches {
    fn add(&mut self, policy: &Policy) {
        match policy.effect() {
            Effect::Permit => self.permits.push(policy.id().clone()),
            Effect::Forbid => self.forbids.push(policy.id().clone()),
        }
    }
}

impl Scoped {
    pub(super) fn add(&mut self, policy: Policy) {
        self.policies.push(policy);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether there is a permit for anything that this principal (itself first, then its groups) may do, without a
    /// condition, and no forbid for anybody.
    fn permits_all(&self, principal: &[EntityUid]) -> bool {
        let permits_all = |policy: &Policy| {
            !policy.has_non_scope_constraint()
                && policy.action_constraint() == ActionConstraint::Any
                && policy.resource_constraint() == ResourceConstraint::Any
                && covers(policy, Chains { principal, action: &[], resource: &[] })
        };
        self.policies.iter().all(|policy| policy.effect() == Effect::Permit) && self.policies.iter().any(permits_all)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.policies.len()
    }

    /// What matches a request. Where forbids match, permits may be left out: they count for nothing.
    ///
    /// # Errors
    /// [`Broken`] if a condition cannot be evaluated. Cedar itself would skip the policy, which for a forbid would open
    /// the door.
    pub(super) fn matches(
        &self,
        authorizer: &Authorizer,
        chains: Chains<'_>,
        seen: &Seen<'_>,
    ) -> Result<Matches, Broken> {
        let (mut matches, mut conditional) = (Matches::default(), Vec::new());
        for (place, policy) in self.policies.iter().enumerate().filter(|(_, policy)| covers(policy, chains)) {
            if policy.has_non_scope_constraint() {
                conditional.push(place);
            } else {
                matches.add(policy);
            }
        }
        if conditional.is_empty() {
            return Ok(matches);
        }
        let [Some(principal), Some(action), Some(resource)] =
            [chains.principal, chains.action, chains.resource].map(|chain| chain.first().cloned())
        else {
            return Err(Broken("a request about nothing".to_owned()));
        };
        let request =
            Request::new(principal, action, resource, seen.context()?, None).map_err(|error| Broken::new(&error))?;
        let response = authorizer.is_authorized(&request, &*self.set(&conditional)?, seen.entities()?);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(Broken::new(error));
        }
        // Of those that match, Cedar names the ones that decide: forbids if there are any, else permits.
        let deciding = response.diagnostics().reason().cloned();
        match response.decision() {
            Decision::Allow => matches.permits.extend(deciding),
            Decision::Deny => matches.forbids.extend(deciding),
        }
        Ok(matches)
    }

    fn set(&self, places: &[usize]) -> Result<Arc<CedarSet>, Broken> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(places) {
            return Ok(set.clone());
        }
        let mut set = CedarSet::new();
        for policy in places.iter().filter_map(|place| self.policies.get(*place)) {
            set.add(policy.clone()).map_err(|error| Broken::new(&error))?;
        }
        if sets.len() >= MOST_SETS {
            sets.clear();
        }
        let set = Arc::new(set);
        sets.insert(places.into(), set.clone());
        Ok(set)
    }
}

/// Whether a policy's scope covers a request.
fn covers(policy: &Policy, chains: Chains<'_>) -> bool {
    let is = |chain: &[EntityUid], kind: &EntityTypeName| chain.first().is_some_and(|own| own.type_name() == kind);
    let is_exactly = |chain: &[EntityUid], uid: &EntityUid| chain.first() == Some(uid);
    let Chains { principal, action, resource } = chains;
    (match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is_exactly(action, &uid),
        ActionConstraint::In(uids) => uids.iter().any(|uid| action.contains(uid)),
    }) && match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(uid) => is_exactly(resource, &uid),
        ResourceConstraint::In(uid) => resource.contains(&uid),
        ResourceConstraint::Is(kind) => is(resource, &kind),
        ResourceConstraint::IsIn(kind, uid) => is(resource, &kind) && resource.contains(&uid),
    } && match policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(uid) => is_exactly(principal, &uid),
        PrincipalConstraint::In(uid) => principal.contains(&uid),
        PrincipalConstraint::Is(kind) => is(principal, &kind),
        PrincipalConstraint::IsIn(kind, uid) => is(principal, &kind) && principal.contains(&uid),
    }
}

impl PolicySet {
    /// What every policy of a part says.
    pub(super) fn ask(
        &self,
        part: &super::load::Part,
        chains: Chains<'_>,
        world: &dyn World,
    ) -> Result<Verdict, Broken> {
        let seen = &Seen { set: self, chains, world, reads_context: part.reads_context, entities: OnceCell::new() };
        let Matches { permits, forbids } = part.plain.matches(&self.authorizer, chains, seen)?;
        let permits = if forbids.is_empty() { permits } else { Vec::new() };
        // In these halves there are only forbids.
        let obliging = part.obliging.matches(&self.authorizer, chains, seen)?.forbids;
        let watching = part.watching.matches(&self.authorizer, chains, seen)?.forbids;
        Ok(Verdict { permits, forbids, obliging, watching })
    }

    /// Whether nothing can be refused to an agent, whatever it names: a permit of everything covers it, and the set has no
    /// forbid at all. Then a name that nobody knows (made in a transaction that is still open) changes nothing
    /// about the decision, and the server says whether it exists.
    pub(super) fn permits_all(&self, principal: &[EntityUid]) -> bool {
        let Self { still, moving, .. } = self;
        let forbids = |part: &super::load::Part| !part.obliging.is_empty() || !part.watching.is_empty();
        !forbids(still) && !forbids(moving) && moving.plain.is_empty() && still.plain.permits_all(principal)
    }

    /// An action with the groups that it is in, itself first; empty for one that the schema does not have.
    pub(super) fn action(&self, name: &str) -> &[EntityUid] {
        self.actions.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::entities::{agent_chain, object_chain};
    use super::*;
    use crate::identity::Identity;
    use crate::sql::{Catalog, CatalogBuilder, Object, RelationKind, RelationRef};

    /// Every kind of scope, with and without conditions.
    const POLICIES: &str = r#"
@id("1") permit (principal, action, resource);
@id("2") permit (principal is PG::Agent, action == PG::Action::"select", resource is PG::Relation);
@id("3") permit (principal in PG::Group::"a", action in [PG::Action::"read", PG::Action::"write"], resource in PG::Schema::"shop.public");
@id("4") permit (principal == PG::Agent::"x", action in [PG::Action::"write"], resource in PG::Server::"s");
@id("5") permit (principal is PG::Agent in PG::Group::"b", action, resource is PG::Column in PG::Relation::"shop.public.t");
@id("6") permit (principal, action == PG::Action::"select", resource == PG::Relation::"shop.public.t");
@id("7") permit (principal, action == PG::Action::"connect", resource in PG::Database::"shop");
@id("8") permit (principal in PG::Group::"a", action, resource) when { resource in PG::Schema::"shop.public" };
@id("9") permit (principal, action == PG::Action::"select", resource is PG::Column) when { resource.type == "text" };
@id("10") permit (principal, action, resource in PG::Schema::"shop.other") unless { principal in PG::Group::"b" };
"#;

    fn catalog() -> Catalog {
        let mut builder = CatalogBuilder::new("shop", 1, "r", &["public".to_owned()]);
        for (oid, schema) in [(1, "public"), (2, "other")] {
            builder.relation(oid, schema, "t", RelationKind::Table, false);
            builder.column(oid, 1, "c", ("text", 25));
        }
        builder.build()
    }

    struct Whole<'a> {
        set: &'a PolicySet,
        catalog: &'a Catalog,
        identity: &'a Identity,
        object: &'a Object,
    }

    impl World for Whole<'_> {
        fn entities(&self) -> Result<Vec<Entity>, Broken> {
            let mut gathered = super::super::entities::Gathered::new(&self.set.labels);
            gathered.agent(self.identity).unwrap();
            gathered.object("s", self.catalog, self.object).unwrap();
            Ok(gathered.entities)
        }

        fn context(&self) -> Result<Context, Broken> {
            Ok(Context::empty())
        }
    }

    /// Only what holds for every request that there can be counts, and a single forbid of anything undoes it.
    #[test]
    fn what_permits_all() {
        let check = |policies: &str, expected: bool| {
            let text = format!("@id(\"1\") permit {policies}");
            let set = PolicySet::from_texts(&[("p.cedar".into(), text)]).unwrap();
            let principal = ["PG::Agent::\"x\"", "PG::Group::\"a\""].map(|uid| uid.parse().unwrap());
            assert_eq!(set.permits_all(&principal), expected, "{policies}");
        };
        check("(principal, action, resource);", true);
        check("(principal in PG::Group::\"a\", action, resource);", true);
        check("(principal == PG::Agent::\"y\", action, resource);", false);
        check("(principal, action, resource in PG::Database::\"shop\");", false);
        check("(principal, action, resource is PG::Relation);", false);
        check("(principal, action in [PG::Action::\"read\", PG::Action::\"write\"], resource);", false);
        check("(principal, action, resource) when { principal in PG::Group::\"a\" };", false);
        for forbid in [
            "forbid (principal, action == PG::Action::\"drop\", resource);",
            "@mask(\"null\") forbid (principal, action == PG::Action::\"select\", resource is PG::Column);",
            "@mode(\"observe\") forbid (principal, action == PG::Action::\"drop\", resource);",
            "forbid (principal, action, resource) when { context.tls };",
            "forbid (principal == PG::Agent::\"y\", action, resource);",
        ] {
            check(&format!("(principal, action, resource); @id(\"2\") {forbid}"), false);
        }
    }

    /// Cedar itself, with each policy alone, finds the same ones to match.
    #[test]
    fn scopes_are_what_cedar_takes_them_for() {
        let set = PolicySet::from_texts(&[("p.cedar".into(), POLICIES.to_owned())]).unwrap();
        let catalog = catalog();
        let relation = |schema: &str| RelationRef { schema: schema.into(), name: "t".into() };
        let objects = [
            Object::Database,
            Object::Schema("public".into()),
            Object::Relation(relation("public")),
            Object::Relation(relation("other")),
            Object::Column(relation("public"), "c".into()),
            Object::Column(relation("other"), "c".into()),
            Object::Parameter("work_mem".into()),
        ];
        let mut matched = 0;
        for (subject, groups) in [("x", vec![]), ("x", vec!["a"]), ("y", vec!["a", "b"]), ("z", vec!["c"])] {
            let identity = Identity {
                subject: subject.into(),
                issuer: "i".into(),
                groups: groups.into_iter().map(str::to_owned).collect(),
                claims: Default::default(),
                on_behalf_of: None,
                on_behalf_of_groups: Vec::new(),
                delegation: Vec::new(),
                expires: 0,
            };
            for (object, action) in objects.iter().flat_map(|object| {
                ["connect", "select", "filter", "insert", "update", "execute"].map(|action| (object, action))
            }) {
                let world = Whole { set: &set, catalog: &catalog, identity: &identity, object };
                let (principal, resource) =
                    (agent_chain(&identity).unwrap(), object_chain("s", &catalog, object).unwrap());
                let chains = Chains { principal: &principal, action: set.action(action), resource: &resource };
                let mut ours: Vec<String> =
                    set.ask(&set.still, chains, &world).unwrap().permits.iter().map(ToString::to_string).collect();
                ours.sort();
                let all = world.entities().unwrap().into_iter().chain(set.action_entities.values().cloned());
                let entities = Entities::from_entities(all, None).unwrap();
                let first = |chain: &[EntityUid]| chain[0].clone();
                let request = Request::new(
                    first(&principal),
                    first(set.action(action)),
                    first(&resource),
                    Context::empty(),
                    None,
                )
                .unwrap();
                let mut theirs = Vec::new();
                for policy in &set.still.plain.policies {
                    let alone = CedarSet::from_policies([policy.clone()]).unwrap();
                    let response = set.authorizer.is_authorized(&request, &alone, &entities);
                    // A condition that does not fit the kind of resource is an error to Cedar where nothing narrows the scope.
                    assert_eq!(response.diagnostics().errors().count(), 0, "{policy}");
                    theirs.extend(response.diagnostics().reason().map(ToString::to_string));
                }
                theirs.sort();
                assert_eq!(ours, theirs, "{subject} {action} {object:?}");
                matched += ours.len();
            }
        }
        assert!(matched > 200, "{matched}");
    }
}
