//! Which records somebody wants to see, as a test of records and of the values that an index has of them.

use super::terms::{Kind, Terms};

/// What is searched for; what is not said counts for anything.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Agent's subject.
    pub agent: Option<String>,
    /// The human or job that the agent acts for.
    pub human: Option<String>,
    /// cgroup of the process, or one above it.
    pub job: Option<String>,
    /// Session id.
    pub session: Option<String>,
    /// `schema.name`.
    pub relation: Option<String>,
    /// Action of the policy schema.
    pub verb: Option<String>,
    /// `permit`, `deny` or `hold`.
    pub decision: Option<String>,
    /// Only what ran and would have been refused.
    pub observed: bool,
    /// As it stands in a record.
    pub event: Option<String>,
    /// Part of the statement, upper and lower case alike.
    pub text: Option<String>,
    /// Not before this time, RFC 3339 or the beginning of it.
    pub since: Option<String>,
    /// Before this time.
    pub until: Option<String>,
    /// Parts of an agent's and a relation's name are enough, and whom an agent acts for is looked at as well.
    pub parts: bool,
}

/// What stands behind the name of a policy that would have refused.
const OBSERVED: &str = " (observed)";

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test<'a> {
    Is(&'a str),
    Has(&'a str),
    EndsIn(&'a str),
    /// The cgroup or one beneath it.
    Beneath(&'a str),
}

impl Test<'_> {
    pub(super) fn fits(self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => value == wanted,
            Self::Has(wanted) => value.contains(wanted),
            Self::EndsIn(wanted) => value.ends_with(wanted),
            Self::Beneath(job) => {
                let rest = value.strip_prefix(job.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl Wanted {
    /// What all has to hold: of each line one of its tests, of one of the values of that kind.
    pub(super) fn tests(&self) -> Vec<Vec<(Kind, Test<'_>)>> {
        let named: fn(&str) -> Test<'_> = if self.parts { |value| Test::Has(value) } else { |value| Test::Is(value) };
        let mut tests = Vec::new();
        if let Some(agent) = &self.agent {
            let mut any = vec![(Kind::Agent, named(agent))];
            any.extend(self.parts.then(|| (Kind::Human, Test::Has(agent))));
            tests.push(any);
        }
        tests.extend(self.relation.as_deref().map(|relation| vec![(Kind::Relation, named(relation))]));
        let exact = [
            (Kind::Human, &self.human),
            (Kind::Session, &self.session),
            (Kind::Verb, &self.verb),
            (Kind::Decision, &self.decision),
            (Kind::Event, &self.event),
        ];
        tests.extend(exact.into_iter().filter_map(|(kind, value)| Some(vec![(kind, Test::Is(value.as_deref()?))])));
        tests.extend(self.job.as_deref().map(|job| vec![(Kind::Job, Test::Beneath(job))]));
        tests.extend(self.observed.then(|| vec![(Kind::Policy, Test::EndsIn(OBSERVED))]));
        tests
    }

    /// The text that has to be part of a statement, as both are compared.
    pub(super) fn folded_text(&self) -> Option<String> {
        self.text.as_deref().map(str::to_lowercase)
    }

    /// Whether something between two times can fit.
    pub(super) fn overlaps(&self, from: &str, until: &str) -> bool {
        self.since.as_deref().is_none_or(|since| until >= since) && self.until.as_deref().is_none_or(|end| from < end)
    }

    /// Parts that the line of a fitting record has: most lines need not be taken apart.
    pub(super) fn needles(&self) -> Vec<String> {
        let json = |value: &String| serde_json::to_string(value).ok();
        let within = |value: &String| json(value).map(|json| json.trim_matches('"').to_owned());
        // A name may end in a quote, which JSON writes with a backslash: only what cannot is taken as it is.
        let named = |value: &Option<String>| match value {
            Some(value) if self.parts && value.contains(['"', '\\']) => None,
            Some(value) if self.parts => within(value),
            Some(value) => json(value),
            None => None,
        };
        let exact = [&self.human, &self.session, &self.verb, &self.decision, &self.event];
        let exact = exact.into_iter().flatten().filter_map(json);
        let names = [&self.agent, &self.relation].into_iter().filter_map(named);
        exact.chain(names).chain(self.observed.then(|| OBSERVED.to_owned())).collect()
    }

    /// Whether a record is wanted.
    pub(in super::super) fn fits(&self, record: &Terms<'_>) -> bool {
        let in_time = self.since.as_ref().is_none_or(|since| *record.time >= **since)
            && self.until.as_ref().is_none_or(|until| *record.time < **until);
        let fits = |(kind, test): &(Kind, Test<'_>)| record.values(*kind).iter().any(|value| test.fits(value));
        in_time
            && self.tests().iter().all(|any| any.iter().any(fits))
            && self.folded_text().is_none_or(|text| {
                record.statement.as_ref().is_some_and(|statement| statement.to_lowercase().contains(&text))
            })
    }

    /// In words, for a receipt; empty if anything is wanted.
    pub fn words(&self) -> String {
        let named = [
            ("agent", &self.agent),
            ("human", &self.human),
            ("job", &self.job),
            ("session", &self.session),
            ("relation", &self.relation),
            ("verb", &self.verb),
            ("decision", &self.decision),
            ("event", &self.event),
            ("text", &self.text),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let words = named.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        let words = words.chain(self.observed.then(|| "observed".to_owned()));
        words.collect::<Vec<_>>().join(", ")
    }
}
