//! Which records somebody wants to see.

use super::{decision, event};
use crate::audit::Record;
use clap::Args;

#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// Agent's subject
    #[arg(long)]
    agent: Option<String>,
    /// The human or job that the agent acts for
    #[arg(long)]
    human: Option<String>,
    /// cgroup of the process, or one above it
    #[arg(long)]
    job: Option<String>,
    /// Session id
    #[arg(long)]
    session: Option<String>,
    /// `schema.name`
    #[arg(long)]
    relation: Option<String>,
    /// What was done: select, insert, drop...
    #[arg(long)]
    verb: Option<String>,
    /// permit, deny or hold
    #[arg(long)]
    decision: Option<String>,
    /// Only what ran and would have been refused, where policies are observed
    #[arg(long)]
    observed: bool,
    /// connect, statement, outcome, approval, refusal, disconnect, admin
    #[arg(long)]
    event: Option<String>,
    /// Part of the statement, upper and lower case alike
    #[arg(long)]
    text: Option<String>,
    /// Not before this time, RFC 3339 or the beginning of it
    #[arg(long)]
    since: Option<String>,
    /// Before this time
    #[arg(long)]
    until: Option<String>,
}

/// What stands behind the name of a policy that would have refused.
const OBSERVED: &str = " (observed)";

/// Whether a record is of a process in a cgroup or beneath it.
fn is_beneath(record: &Record, job: &str) -> bool {
    let cgroup = record.subject.process.as_ref().map(|process| process.cgroup.as_str()).unwrap_or_default();
    let rest = cgroup.strip_prefix(job.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Wanted {
    /// Parts that the line of a fitting record has: most lines need not be taken apart.
    pub(super) fn parts(&self) -> Vec<String> {
        let exact = [&self.agent, &self.human, &self.session, &self.verb, &self.decision, &self.event];
        let exact = exact.into_iter().flatten().filter_map(|value| serde_json::to_string(value).ok());
        // A relation's name may hold quotes, which JSON writes with a backslash.
        let relation = self.relation.iter().filter_map(|value| serde_json::to_string(value).ok());
        exact.chain(relation).chain(self.observed.then(|| OBSERVED.to_owned())).collect()
    }

    /// In words, for a receipt.
    pub(super) fn words(&self) -> String {
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

    pub(super) fn fits(&self, record: &Record) -> bool {
        let is =
            |wanted: &Option<String>, value: Option<&str>| wanted.as_deref().is_none_or(|wanted| value == Some(wanted));
        is(&self.agent, record.subject.agent.as_ref().map(|agent| agent.subject.as_str()))
            && is(&self.human, record.subject.agent.as_ref().and_then(|agent| agent.on_behalf_of.as_deref()))
            && self.job.as_ref().is_none_or(|job| is_beneath(record, job))
            && is(&self.session, Some(&record.subject.session))
            && is(&self.decision, record.decision.map(decision))
            && (!self.observed || record.policies.iter().any(|policy| policy.ends_with(OBSERVED)))
            && is(&self.event, Some(event(record.event)))
            && self.relation.as_ref().is_none_or(|wanted| record.relations.iter().any(|used| used.relation == *wanted))
            && self.verb.as_ref().is_none_or(|wanted| record.verbs.contains(wanted))
            && self.since.as_ref().is_none_or(|since| record.time >= *since)
            && self.until.as_ref().is_none_or(|until| record.time < *until)
            && self.text.as_ref().is_none_or(|text| {
                record
                    .statement
                    .as_ref()
                    .is_some_and(|statement| statement.to_lowercase().contains(&text.to_lowercase()))
            })
    }
}
