//! For how long a session may go on as somebody: until the exchanged token ends, and no longer than the key that signed the
//! agent's own token is published, what was enrolled is there, and nobody has revoked it.

use super::{
    Bearer, Identity, Registrar, TokenError, Unidentified,
    enrolled::{Enrollment, Standing},
    evidence::Evidence,
    memory::{Digest256, Outcome},
};
use std::sync::Arc;
use tokio::sync::watch;

/// How long before its end an identity is renewed, in seconds: a statement that is judged now is sent a little later.
const AHEAD: u64 = 5;

/// How soon a renewal that failed is tried again while the identity still holds, in seconds.
const AGAIN: u64 = 1;

/// What the kernel says behind the name of a program whose file was replaced, by an update for example.
const DELETED: &str = " (deleted)";

/// A session's hold on its identity.
#[derive(Debug)]
pub struct Lease {
    pub(super) evidence: Evidence,
    pub(super) identity: Arc<Identity>,
    pub(super) token: Digest256,
    pub(super) enrollment: Option<Arc<Enrollment>>,
    pub(super) outcome: Outcome,
    /// When it is looked at next, in seconds since 1970.
    pub(super) next: u64,
    /// Somebody has revoked, or replaced, something.
    pub(super) revocations: watch::Receiver<()>,
}

/// Why a session may not go on as who it was. The text is for the audit; the agent learns only that it is not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Ended {
    /// The identity is over, and there is no other.
    #[error("the identity has expired, and there is no new one: {0}")]
    Expired(Unidentified),
    /// Somebody has revoked the token.
    #[error("the agent's token was revoked")]
    Revoked,
    /// What the token was enrolled for is not there any more.
    #[error("the cgroup or process that the token was enrolled for is gone")]
    Gone,
    /// The key that signed the agent's token cannot be relied on any more.
    #[error("the agent's token does not hold any more: {0}")]
    Unsigned(Unidentified),
    /// The process has become another program (execve(2)).
    #[error("the process runs `{}` now, and `{}` opened the session", .now.escape_debug(), .was.escape_debug())]
    Program {
        /// What it was.
        was: String,
        /// What it is.
        now: String,
    },
    /// The process would be somebody else now.
    #[error("the process is now `{}`, and the session was opened by `{}`", .now.escape_debug(), .was.escape_debug())]
    Another {
        /// Who opened the session.
        was: String,
        /// Who it would be.
        now: String,
    },
}

impl Ended {
    /// Whether the fault lies with an issuer, so that trying again later makes sense.
    #[must_use]
    pub fn unavailable(&self) -> bool {
        match self {
            Self::Unsigned(why) => why.unavailable(),
            Self::Expired(_) | Self::Revoked | Self::Gone | Self::Program { .. } | Self::Another { .. } => false,
        }
    }
}

impl Lease {
    /// Whether it has to be looked at before anything else is done as this agent; `now` in seconds since 1970.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.next || self.revocations.has_changed().unwrap_or(true)
    }

    /// When it has to be looked at at the latest, in seconds since 1970.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The exchanged token that it rests on.
    #[must_use]
    pub fn bearer(&self) -> Option<&Bearer> {
        match &self.outcome {
            Outcome::Known { bearer, .. } => Some(bearer),
            Outcome::Failed { .. } => None,
        }
    }

    /// Why whoever has it is nobody, if so.
    pub fn why_nobody(&self) -> Option<&Unidentified> {
        match &self.outcome {
            Outcome::Failed { why, .. } => Some(why),
            Outcome::Known { .. } => None,
        }
    }

    /// Waits until something has been revoked, or replaced, somewhere.
    pub async fn changed(&mut self) {
        if self.revocations.changed().await.is_err() {
            // The registrar is gone, and with it whoever could revoke.
            std::future::pending::<()>().await;
        }
        self.revocations.mark_changed();
    }
}

impl Registrar {
    /// Looks at a lease that is due. Gives the identity if the session goes on with a new one.
    ///
    /// # Errors
    /// The session may not go on.
    pub async fn renew(&self, lease: &mut Lease, now: u64) -> Result<Option<Arc<Identity>>, Ended> {
        lease.revocations.mark_unchanged();
        if lease.identity.is_nobody() {
            lease.next = lease.identity.expires;
            return Ok(None);
        }
        if self.memory.is_revoked(&lease.token) {
            return Err(Ended::Revoked);
        }
        let replaced = match lease.enrollment.as_ref().map(|enrollment| enrollment.standing()) {
            None | Some(Standing::Holds) => false,
            Some(Standing::Replaced) => true,
            Some(Standing::Revoked) => return Err(Ended::Revoked),
            Some(Standing::Gone) => return Err(Ended::Gone),
        };
        // Where it has ended, whoever has inherited the session is of the same job.
        if let Ok(exe) = lease.evidence.process().map_err(drop).and_then(|process| process.exe().map_err(drop))
            && exe.trim_end_matches(DELETED) != lease.evidence.exe.trim_end_matches(DELETED)
        {
            return Err(Ended::Program { was: lease.evidence.exe.clone(), now: exe });
        }
        let ahead = lease.identity.expires.saturating_sub(AHEAD);
        if now < ahead && !replaced {
            self.still_signed(&lease.outcome).await.map_err(Ended::Unsigned)?;
            lease.next = (now + self.settings().recheck_seconds).min(ahead);
            return Ok(None);
        }
        self.sources.in_environments.forget(&lease.evidence);
        match self.identify(&lease.evidence).await {
            // The leeway is for clocks that differ when a token is first shown, not for living on.
            Ok(found) if found.lease.outcome.token_is_over(now) => {
                Err(Ended::Expired(Unidentified::Token(TokenError::Expired(0))))
            }
            Ok(found) => {
                let (was, is) = (&lease.identity, &found.identity);
                if (&was.subject, &was.issuer, &was.on_behalf_of) != (&is.subject, &is.issuer, &is.on_behalf_of) {
                    let name = |identity: &Identity| match &identity.on_behalf_of {
                        Some(human) => format!("{} for {human}", identity.subject),
                        None => identity.subject.clone(),
                    };
                    return Err(Ended::Another { was: name(was), now: name(is) });
                }
                *lease = found.lease;
                // A token that lasts for seconds only must not have us exchange with every message.
                lease.next = lease.next.max(now + AGAIN).min(lease.identity.expires);
                Ok(Some(found.identity))
            }
            Err(_) if now < lease.identity.expires && !replaced => {
                lease.next = now + AGAIN;
                Ok(None)
            }
            Err(why) => Err(Ended::Expired(why)),
        }
    }
}
