//! Who is asking? From a process to a verified identity.
//!
//! What was seen about the process that dialled ([`Evidence`]) leads to its *subject token* (`source`); the token is
//! verified against the keys that its issuer publishes (`verify`, `keys`) and *exchanged* (RFC 8693, `exchange`) for
//! one that is meant for databases. The [`Identity`] is what the exchanged token says. Nothing that the agent itself claims
//! (user name, password, application name) plays a part, and there is no identity to fall back to: whoever cannot be
//! identified gets no connection.

mod evidence;
mod exchange;
mod http;
mod json;
mod keys;
mod memory;
mod process;
mod settings;
mod source;
mod verify;

#[cfg(test)]
mod tests;

pub use evidence::{Ancestor, Evidence, EvidenceError, cgroup_of};
pub use exchange::ExchangeError;
pub use http::HttpError;
pub use keys::KeyError;
pub use settings::{Algorithm, ExchangeSettings, IssuerSettings, Settings, SettingsError, Source, SubjectRule};
pub use source::SourceError;
pub use verify::TokenError;

use exchange::Exchange;
use memory::{Memory, Outcome};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use verify::{TOKEN_BYTES, Trust, Unverified, Verified};

/// Who an agent is, as its exchanged token says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The acting party: the agent itself, also where it acts for a human.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// Claim `groups`, sorted, without repetitions.
    pub groups: Vec<String>,
    /// The other claims that are strings, numbers, truth values or lists of strings; a scope is split at its blanks.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// For whom it acts, if for somebody else.
    pub on_behalf_of: Option<String>,
    /// When the exchanged token ends, in seconds since 1970.
    pub expires: u64,
}

impl Identity {
    /// A number that stays the same across exchanges (and restarts) as long as the token says the same about the agent:
    /// the key under which decisions are remembered. When the token ends is not part of it.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            // Lengths first, or ("ab", "c") and ("a", "bc") would be the same.
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        };
        add(&self.subject);
        add(&self.issuer);
        add(if self.on_behalf_of.is_some() { "for" } else { "own" });
        add(self.on_behalf_of.as_deref().unwrap_or_default());
        add(&self.groups.len().to_string());
        self.groups.iter().for_each(|group| add(group));
        for (name, values) in &self.claims {
            add(name);
            add(&values.len().to_string());
            values.iter().for_each(|value| add(value));
        }
        digest.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// Why a process has no identity. The text is for the audit; the agent learns only that it is not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unidentified {
    /// No configured source has a token.
    #[error("no token found in {0}")]
    NoToken(String),
    /// A source has something, but it cannot be read as a token.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The subject token is not to be trusted.
    #[error("the token is refused: {0}")]
    Token(TokenError),
    /// The token could not be exchanged.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The token belongs to another job.
    #[error("the agent's token was seen first in the cgroup `{}`, which is another job's", .0.escape_debug())]
    Copied(String),
}

impl Unidentified {
    /// Whether the fault lies with an issuer or the exchange, so that trying again later makes sense (57P03) and not with
    /// the agent (28000).
    #[must_use]
    pub fn unavailable(&self) -> bool {
        match self {
            Self::NoToken(_) | Self::Source(_) | Self::Copied(_) => false,
            Self::Token(error) => error.unavailable(),
            Self::Exchange(error) => error.unavailable(),
        }
    }
}

/// Turns evidence into identities; one for the whole daemon.
#[derive(Debug)]
pub struct Registrar {
    settings: Arc<Settings>,
    issuers: Vec<Trust>,
    exchange: Exchange,
    memory: Memory,
}

impl Registrar {
    /// Checks the settings. No issuer is asked yet: one that is down delays connections, not the start.
    ///
    /// # Errors
    /// All mistakes in the settings, at once.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let (issuers, exchange) = settings.check()?;
        Ok(Self { settings: Arc::new(settings), issuers, exchange, memory: Memory::default() })
    }

    /// Finds, verifies and exchanges the token of the process that was seen.
    ///
    /// # Errors
    /// Why there is no identity; see [`Unidentified::unavailable`].
    pub async fn identify(&self, evidence: &Evidence) -> Result<Arc<Identity>, Unidentified> {
        match source::find(evidence.clone(), Arc::clone(&self.settings)).await? {
            Some(token) => self.identify_token(&token, &evidence.cgroup).await,
            None => Err(Unidentified::NoToken(self.settings.sources_in_words())),
        }
    }

    /// Who a token says that somebody at the control socket is: verified as agents' tokens are, and not exchanged, because
    /// nothing is done at a database with it.
    ///
    /// # Errors
    /// Why the token is not to be trusted.
    pub async fn person(&self, token: &str) -> Result<Identity, Unidentified> {
        let unverified = Unverified::read(token.trim()).map_err(Unidentified::Token)?;
        let verified = self.trust(&unverified.issuer)?.verify(unverified, now()).await.map_err(Unidentified::Token)?;
        let expires = verified.expires;
        exchange::identity(verified, expires).map_err(Unidentified::Token)
    }

    async fn identify_token(&self, token: &str, cgroup: &str) -> Result<Arc<Identity>, Unidentified> {
        if token.len() > TOKEN_BYTES {
            return Err(Unidentified::Token(TokenError::TooLong));
        }
        let place = self.memory.place(token, now());
        let mut place = place.lock().await;
        let outcome = match place.as_ref() {
            Some(outcome) if outcome.holds(now()) && self.still_signed(outcome).await => outcome.clone(),
            _ => place.insert(self.establish(token).await).clone(),
        };
        match outcome {
            Outcome::Known { identity, token_expires, .. } => {
                self.memory.at_home(token, token_expires, cgroup, now()).map_err(Unidentified::Copied)?;
                Ok(identity)
            }
            Outcome::Failed { why, .. } => Err(why),
        }
    }

    /// A key that its issuer has withdrawn takes the tokens with it that it signed.
    async fn still_signed(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Failed { .. } => true,
            Outcome::Known { issuer, kid, algorithm, .. } => match self.trust(issuer) {
                Ok(trust) => trust.keys.find(kid, *algorithm).await.is_ok(),
                Err(_) => false,
            },
        }
    }

    async fn establish(&self, token: &str) -> Outcome {
        match self.verify_and_exchange(token).await {
            Ok((verified, identity)) => Outcome::Known {
                until: Outcome::until(&identity, verified.expires),
                token_expires: verified.expires,
                identity: Arc::new(identity),
                issuer: verified.issuer,
                kid: verified.kid,
                algorithm: verified.algorithm,
            },
            Err(why) => Outcome::Failed { why, at: Instant::now() },
        }
    }

    async fn verify_and_exchange(&self, token: &str) -> Result<(Verified, Identity), Unidentified> {
        let unverified = Unverified::read(token).map_err(Unidentified::Token)?;
        let verified = self.trust(&unverified.issuer)?.verify(unverified, now()).await.map_err(Unidentified::Token)?;
        let identity = self.exchange.exchange(token, &verified).await?;
        Ok((verified, identity))
    }

    fn trust(&self, issuer: &str) -> Result<&Trust, Unidentified> {
        let trust = self.issuers.iter().find(|trust| trust.issuer == issuer);
        trust.ok_or_else(|| Unidentified::Token(TokenError::Issuer(issuer.to_owned())))
    }
}

/// Seconds since 1970. A clock before that makes every token look not yet valid, which is the safe side.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
