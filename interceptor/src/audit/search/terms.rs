//! What a record can be found by.

use serde::Deserialize;
use std::borrow::Cow;

/// Members that records are searched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Agent,
    Human,
    Job,
    Session,
    Relation,
    Verb,
    Decision,
    Event,
    Policy,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Agent,
        Self::Human,
        Self::Job,
        Self::Session,
        Self::Relation,
        Self::Verb,
        Self::Decision,
        Self::Event,
        Self::Policy,
    ];
}

/// As much of a record as is searched by. Read from its line by itself, several times as fast as all of it.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Terms<'a> {
    pub(in super::super) seq: u64,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow)]
    session: Cow<'a, str>,
    agent: Option<Agent>,
    process: Option<Process>,
    pub(super) statement: Option<String>,
    pub(super) verbs: Vec<String>,
    pub(super) relations: Vec<Relation>,
    pub(super) decision: Option<String>,
    pub(super) policies: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Agent {
    subject: String,
    on_behalf_of: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Process {
    cgroup: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Relation {
    pub(super) relation: String,
}

impl Terms<'_> {
    pub(in super::super) fn of(line: &str) -> Result<Terms<'_>, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// Its values of a kind; each kind always has the same ones for the same record.
    pub(super) fn values(&self, kind: Kind) -> Vec<&str> {
        match kind {
            Kind::Agent => self.agent.iter().map(|agent| agent.subject.as_str()).collect(),
            Kind::Human => self.agent.iter().filter_map(|agent| agent.on_behalf_of.as_deref()).collect(),
            // Who has none is beneath the root.
            Kind::Job => vec![self.process.as_ref().map(|process| process.cgroup.as_str()).unwrap_or_default()],
            Kind::Session => vec![&self.session],
            Kind::Relation => self.relations.iter().map(|used| used.relation.as_str()).collect(),
            Kind::Verb => self.verbs.iter().map(String::as_str).collect(),
            Kind::Decision => self.decision.iter().map(String::as_str).collect(),
            Kind::Event => vec![&self.event],
            Kind::Policy => self.policies.iter().map(String::as_str).collect(),
        }
    }
}
