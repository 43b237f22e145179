//! Which records somebody wants to see.

use crate::audit;
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
    /// connect, statement, outcome, approval, refusal, disconnect, admin, coverage
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

/// How records are looked for.
#[derive(Debug, Args)]
pub(in crate::cli) struct Means {
    /// Read the record from end to end instead of asking its search index
    #[arg(long)]
    pub(super) no_index: bool,
}

impl Wanted {
    pub(super) fn query(&self) -> audit::Wanted {
        let Self { agent, human, job, session, relation, verb, decision, observed, event, text, since, until } = self;
        audit::Wanted {
            agent: agent.clone(),
            human: human.clone(),
            job: job.clone(),
            session: session.clone(),
            relation: relation.clone(),
            verb: verb.clone(),
            decision: decision.clone(),
            observed: *observed,
            event: event.clone(),
            text: text.clone(),
            since: since.clone(),
            until: until.clone(),
            parts: false,
        }
    }
}
