//! Who may say yes.

use super::Settings;
use super::request::{Asked, NotKept, State, Voice};
use std::collections::BTreeSet;

/// Somebody at the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    /// Who a verified token says.
    Person {
        /// Its subject.
        subject: String,
        /// Who vouches for it.
        issuer: String,
        /// Its groups.
        groups: BTreeSet<String>,
        /// For whom it acts, if for somebody else.
        on_behalf_of: Option<String>,
    },
    /// Root of this host, by the socket's own word.
    LocalRoot {
        /// The cgroup of the process that says so; `None` where the kernel does not say.
        cgroup: Option<String>,
    },
}

/// Why somebody's word does not count.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// There is none.
    #[error("there is no request `{0}`; `interceptor approvals list` shows those that are known")]
    NoSuch(String),
    /// Too late.
    #[error("request {id} is {state} already")]
    Decided {
        /// Which.
        id: String,
        /// What it is.
        state: State,
    },
    /// Four eyes are two people's.
    #[error("`{0}` is who asks, or whom the agent acts for: somebody else has to approve it")]
    Own(String),
    /// An agent that acts for somebody.
    #[error("a token that says `{agent}` acts for `{human}` approves nothing: people approve for themselves")]
    ActsForAnother {
        /// Who acts.
        agent: String,
        /// For whom.
        human: String,
    },
    /// In none of the groups.
    #[error("`{by}` is not in {groups}, which has to approve it")]
    WrongGroup {
        /// Who.
        by: String,
        /// Those that would count.
        groups: String,
    },
    /// Root without a token.
    #[error(
        "root of this host is nobody's approver here: show a token (--token-file), set `local_root = true` in [approval], or \
         break the glass with a reason (--break-glass)"
    )]
    NotRoot,
    /// An agent that is root approves nothing.
    #[error("whoever asks cannot approve it: this process is in `{0}` as the agent is")]
    SameCgroup(String),
    /// Only root breaks the glass.
    #[error(
        "only root of this host breaks the glass, without a token, and where `break_glass` in [approval] is not false"
    )]
    NoGlass,
    /// Words are needed.
    #[error("breaking the glass needs a reason")]
    NoReason,
    /// Nobody counts twice.
    #[error("`{0}` has approved it already; somebody else has to as well")]
    Again(String),
    /// It cannot be put on record, and so is not done.
    #[error("it cannot be put on record, and so is not done: {0}")]
    Unrecorded(NotKept),
}

impl Approver {
    /// How it is called in the record and towards agents.
    pub fn name(&self) -> &str {
        match self {
            Self::Person { subject, .. } => subject,
            Self::LocalRoot { .. } => "local:root",
        }
    }

    /// Whether it is a process beside the one that asks, or one that hides where it is.
    pub(super) fn is_with(&self, asked: &Asked) -> bool {
        match self {
            Self::Person { .. } => false,
            Self::LocalRoot { cgroup: None } => true,
            Self::LocalRoot { cgroup: Some(mine) } => {
                let beneath = |rest: &str| rest.is_empty() || (asked.cgroup != "/" && rest.starts_with('/'));
                // Above as well: whoever makes cgroups for others starts what asks in them.
                let above = |rest: &str| mine != "/" && rest.starts_with('/');
                mine.strip_prefix(asked.cgroup.as_str()).is_some_and(beneath)
                    || asked.cgroup.strip_prefix(mine.as_str()).is_some_and(above)
            }
        }
    }

    /// Its yes to a request, if that counts.
    pub(super) fn voice(&self, asked: &Asked, settings: &Settings, comment: Option<&str>) -> Result<Voice, Unable> {
        let comment = comment.map(str::to_owned);
        match self {
            Self::LocalRoot { .. } if !settings.local_root => Err(Unable::NotRoot),
            Self::LocalRoot { .. } if self.is_with(asked) => Err(Unable::SameCgroup(asked.cgroup.clone())),
            // One voice, in whatever group.
            Self::LocalRoot { .. } => Ok(Voice {
                by: self.name().to_owned(),
                issuer: None,
                groups: asked.needs.keys().cloned().collect(),
                comment,
            }),
            Self::Person { subject, issuer, groups, on_behalf_of } => {
                if let Some(human) = on_behalf_of {
                    return Err(Unable::ActsForAnother { agent: subject.clone(), human: human.clone() });
                }
                // Whoever the issuer is: two issuers may know the same human.
                let is = |name: &str| name.eq_ignore_ascii_case(subject);
                let own = is(&asked.agent) || asked.on_behalf_of.as_deref().is_some_and(is);
                if own && !settings.self_approval && !asked.self_approval {
                    return Err(Unable::Own(subject.clone()));
                }
                let counted: BTreeSet<String> =
                    asked.needs.keys().filter(|group| groups.contains(*group)).cloned().collect();
                if counted.is_empty() {
                    let groups = asked.needs.keys().map(|group| format!("`{group}`")).collect::<Vec<_>>().join(" or ");
                    return Err(Unable::WrongGroup { by: subject.clone(), groups });
                }
                Ok(Voice { by: subject.clone(), issuer: Some(issuer.clone()), groups: counted, comment })
            }
        }
    }
}
