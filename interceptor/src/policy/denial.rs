//! A statement may not run: what was refused, and why in the agent's terms.

use super::annotation::Obligation;
use crate::sql::Missing;

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

impl Denial {
    /// What the record says where it is not carried out.
    pub fn observed(&self) -> Vec<String> {
        let why = match &self.kind {
            DenialKind::Policy if self.policies.is_empty() => Some("no permit"),
            DenialKind::Policy => None,
            DenialKind::Opaque => Some("unreadable"),
            DenialKind::Missing(_) => Some("unknown name"),
        };
        self.policies.iter().map(String::as_str).chain(why).map(|what| format!("{what} (observed)")).collect()
    }
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
    pub(super) fn new(kind: DenialKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reason: None, hint: None, policies: Vec::new(), obligations: Vec::new() }
    }
}
