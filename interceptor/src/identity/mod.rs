//! Who is asking? From a process to a verified identity.
//!
//! What was seen about the process that dialled ([`Evidence`]) leads to its *subject token* (`source`); the token is
//! verified against the keys that its issuer publishes (`verify`, `keys`) and *exchanged* (RFC 8693, `exchange`) for
//! one that is meant for databases. The [`Identity`] is what the exchanged token says. Nothing that the agent itself claims
//! (user name, password, application name) plays a part, and there is no identity to fall back to: whoever cannot be
//! identified gets no connection.

mod actor;
mod attest;
mod caller;
mod cgroup;
mod claimed;
mod client;
mod enrolled;
mod evidence;
mod exchange;
mod http;
mod json;
mod keys;
mod lease;
mod memory;
mod pattern;
mod preset;
mod process;
mod reach;
mod recent;
mod request_url;
mod settings;
mod signin;
mod signing;
mod source;
mod sts;
mod verify;

#[cfg(test)]
mod tests;

pub use attest::AttestRule;
pub use caller::Caller;
pub use claimed::Claimed;
pub use enrolled::{EnrollError, Enrolled, Enrollee};
pub use evidence::{Ancestor, Dialled, Evidence, EvidenceError};
pub use exchange::ExchangeError;
pub use http::HttpError;
pub use keys::{IssuerState, KeyError};
pub use lease::{Ended, Lease};
pub use preset::Preset;
pub use reach::{Reached, ahead};
pub use settings::{
    ActorSettings, Algorithm, Delegation, EmbeddedSettings, ExchangeSettings, IssuerSettings, MappingRule,
    RequestUrlSettings, Settings, SettingsError, Source, SubjectRule,
};
pub use signin::{Begun, SignIn, SignInError, SignInSettings};
pub use source::SourceError;
pub use verify::TokenError;

use exchange::Exchange;
use memory::{Memory, Outcome};
use sha2::{Digest, Sha256};
use source::{Found, Sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;
use verify::{TOKEN_BYTES, Trust, Unverified, Verified};

/// Who an agent is, as its exchanged token says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    /// The acting party: the agent itself, also where it acts for a human.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// Claim `groups`, sorted, without repetitions.
    pub groups: Vec<String>,
    /// The other claims that are strings, numbers, truth values or lists of strings; a scope is split at its blanks.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// For whom it acts, if for somebody else: a human or a job.
    pub on_behalf_of: Option<String>,
    /// The groups of whoever it acts for, sorted, as far as the token says.
    pub on_behalf_of_groups: Vec<String>,
    /// Who has acted for them before and let this agent act, the latest first (RFC 8693 section 4.1).
    pub delegation: Vec<String>,
    /// When the exchanged token ends, in seconds since 1970.
    pub expires: u64,
}

/// Longer than any session, in seconds.
const DECADE: u64 = 10 * 365 * 24 * 60 * 60;

impl Identity {
    /// Somebody whom nobody vouches for. It has no issuer, which no token can say.
    pub(crate) fn nobody() -> Self {
        Self { subject: "unknown".to_owned(), expires: now() + DECADE, ..Self::default() }
    }

    /// Whether nobody vouches for it.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.issuer.is_empty()
    }

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
        for list in [&self.on_behalf_of_groups, &self.delegation] {
            add(&list.len().to_string());
            list.iter().for_each(|one| add(one));
        }
        for (name, values) in &self.claims {
            add(name);
            add(&values.len().to_string());
            values.iter().for_each(|value| add(value));
        }
        digest.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// The exchanged token itself, for databases that take it. Not to be seen in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Arc<str>);

impl Bearer {
    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bearer")
    }
}

/// A process that is known.
#[derive(Debug)]
pub struct Identified {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// For how long.
    pub lease: Lease,
    /// The token that says so to databases.
    pub bearer: Bearer,
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
    /// The token was taken back.
    #[error("the agent's token was revoked")]
    Revoked,
    /// The process was not seen.
    #[error("{0}")]
    Unseen(String),
    /// Rules say what processes are, and none is about this one.
    #[error("no [[identity.attest]] is about the process (`{}` in cgroup `{}`)", .exe.escape_debug(), .cgroup.escape_debug())]
    NotAttested {
        /// Its program.
        exe: String,
        /// Its cgroup.
        cgroup: String,
    },
}

impl Unidentified {
    /// Whether the fault lies with an issuer or the exchange, so that trying again later makes sense (57P03) and not with
    /// the agent (28000).
    #[must_use]
    pub fn unavailable(&self) -> bool {
        match self {
            Self::NoToken(_) | Self::Copied(_) | Self::Revoked | Self::Unseen(_) | Self::NotAttested { .. } => false,
            Self::Source(error) => error.unavailable(),
            Self::Token(error) => error.unavailable(),
            Self::Exchange(error) => error.unavailable(),
        }
    }
}

/// Turns evidence into identities; one for the whole daemon.
#[derive(Debug)]
pub struct Registrar {
    sources: Sources,
    issuers: Vec<Trust>,
    /// Absent where nobody's tokens are accepted.
    exchange: Option<Exchange>,
    memory: Memory,
    revocations: watch::Sender<()>,
}

impl Registrar {
    /// Checks the settings. No issuer is asked yet: one that is down delays connections, not the start.
    ///
    /// # Errors
    /// All mistakes in the settings, at once.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let (issuers, exchange) = settings.check()?;
        let http = http::Http::new(&http::Tls::default()).map_err(|error| SettingsError(vec![error.to_string()]))?;
        let sources = Sources {
            enrollments: enrolled::Enrollments::default(),
            requests: request_url::Requests::new(settings.request_url.clone(), http),
            readers: source::Readers::default(),
            in_environments: recent::Recent::of(std::time::Duration::from_secs(10)),
            settings: Arc::new(settings),
        };
        Ok(Self { sources, issuers, exchange, memory: Memory::default(), revocations: watch::Sender::new(()) })
    }

    /// Asks each issuer for its keys, so that the first agent need not wait.
    pub async fn warm(&self) {
        for trust in self.issuers.iter().chain(self.exchange.as_ref().map(|exchange| &exchange.trust)) {
            trust.keys.warm().await;
        }
    }

    /// How it stands with the issuers.
    pub fn issuers(&self) -> Vec<IssuerState> {
        self.keys().map(|keys| keys.state()).collect()
    }

    /// Asks all issuers, at once, whether they answer.
    pub async fn reach(&self) -> Vec<Reached> {
        let asked: Vec<_> =
            self.keys().cloned().map(|keys| tokio::spawn(async move { reach::issuer(&keys).await })).collect();
        let mut reached = Vec::new();
        for one in asked {
            reached.extend(one.await);
        }
        reached
    }

    fn keys(&self) -> impl Iterator<Item = &Arc<keys::Keys>> {
        let exchanger = self.exchange.as_ref().map(|exchange| &exchange.trust);
        let exchanger = exchanger.filter(|trust| !self.issuers.iter().any(|known| known.issuer == trust.issuer));
        self.issuers.iter().chain(exchanger).map(|trust| &trust.keys)
    }

    fn settings(&self) -> &Settings {
        &self.sources.settings
    }

    /// Finds, verifies and exchanges the token of the process that was seen.
    ///
    /// # Errors
    /// Why there is no identity; see [`Unidentified::unavailable`].
    pub async fn identify(&self, evidence: &Evidence) -> Result<Identified, Unidentified> {
        match self.sources.find(evidence).await? {
            Some(found) => self.identify_by(found, evidence).await,
            None => Err(Unidentified::NoToken(self.settings().sources_in_words())),
        }
    }

    /// Whoever it was that could not be identified, where policies are only observed: a principal without any rights, for as
    /// long as the session lasts. There is no token, so no credential of the daemon's may be used for it.
    pub fn nobody(&self, evidence: Option<&Evidence>, why: Unidentified) -> Identified {
        let identity = Arc::new(Identity::nobody());
        let lease = Lease {
            evidence: evidence.cloned().unwrap_or_default(),
            identity: identity.clone(),
            token: Default::default(),
            enrollment: None,
            outcome: Outcome::Failed { why, at: Instant::now() },
            next: identity.expires,
            revocations: self.revocations.subscribe(),
        };
        Identified { identity, lease, bearer: Bearer("".into()) }
    }

    /// What can be seen of a process that has dialled. Who opens many connections is not asked each time who its ancestors are.
    ///
    /// # Errors
    /// As [`Evidence::gather`].
    pub fn evidence(&self, dialled: &Dialled) -> Result<Evidence, EvidenceError> {
        Evidence::gather_with(dialled, Some(&self.memory.ancestries))
    }

    /// What a process says about its work; can be made up.
    pub async fn claimed(&self, evidence: &Evidence) -> Arc<Claimed> {
        if let Some(claimed) = self.memory.claims.get(evidence) {
            return claimed;
        }
        let claimed = Arc::new(source::claimed(&self.sources.readers, evidence).await);
        self.memory.claims.keep(evidence, claimed.clone());
        claimed
    }

    /// Who a token says that somebody at the control socket is: verified as agents' tokens are, and not exchanged, because
    /// nothing is done at a database with it.
    ///
    /// # Errors
    /// Why the token is not to be trusted.
    pub async fn person(&self, token: &str) -> Result<Identity, Unidentified> {
        let (verified, _) = self.verify(token.trim()).await?;
        let expires = verified.expires;
        exchange::identity(verified, expires).map_err(Unidentified::Token)
    }

    /// Registers a token for a cgroup or a process: from now on it is theirs, and nobody else's.
    ///
    /// # Errors
    /// The token is not to be trusted or belongs to another job, or there is nothing to bind it to.
    pub async fn enroll(&self, enrollee: &Enrollee, token: &str) -> Result<Enrolled, EnrollError> {
        if !self.settings().sources.contains(&Source::Enrolled) {
            return Err(EnrollError::NotASource);
        }
        let token = token.trim();
        let place = enrolled::Place::find(enrollee)?;
        let (verified, _) = self.verify(token).await?;
        if self.memory.is_revoked(&Sha256::digest(token).into()) {
            return Err(Unidentified::Revoked.into());
        }
        let home = self.memory.at_home(token, verified.expires, &place.cgroup, &place.cgroup_ids, now());
        home.map_err(Unidentified::Copied)?;
        let party = verified.party();
        let put = self.sources.enrollments.put(place, token, &party.agent, &verified.issuer, verified.expires);
        // Sessions by what was enrolled there before look again.
        self.revocations.send_replace(());
        put
    }

    /// Takes back what was enrolled: the tokens are refused from now on, and sessions by them end.
    ///
    /// # Errors
    /// Nothing is enrolled there.
    pub fn revoke(&self, enrollee: &Enrollee) -> Result<Vec<Enrolled>, EnrollError> {
        let taken = self.sources.enrollments.take(enrollee);
        if taken.is_empty() {
            return Err(EnrollError::Nothing);
        }
        for enrollment in &taken {
            self.memory.revoke(&enrollment.token, enrollment.info.expires, now());
        }
        self.revocations.send_replace(());
        Ok(taken.iter().map(|enrollment| enrollment.info.clone()).collect())
    }

    /// What is enrolled.
    pub fn enrolled(&self) -> Vec<Enrolled> {
        self.sources.enrollments.list()
    }

    /// What is enrolled for whoever calls: it is a job then.
    pub fn enrolled_for(&self, caller: &Caller) -> Option<Enrolled> {
        self.sources.enrollments.of_caller(&caller.line()?, &caller.cgroup_ids()?)
    }

    async fn identify_by(&self, found: Found, evidence: &Evidence) -> Result<Identified, Unidentified> {
        let Found { token, enrollment, beside } = found;
        if token.len() > TOKEN_BYTES {
            return Err(Unidentified::Token(TokenError::TooLong));
        }
        let digest = Sha256::digest(&token).into();
        if self.memory.is_revoked(&digest) {
            return Err(Unidentified::Revoked);
        }
        let attested = attest::attest(&self.settings().attest, evidence);
        if attested.is_none() && !self.settings().attest.is_empty() {
            return Err(Unidentified::NotAttested { exe: evidence.exe.clone(), cgroup: evidence.cgroup.clone() });
        }
        let place = self.memory.place(&token, attested.as_deref(), now());
        let mut place = place.lock().await;
        let outcome = match place.as_ref() {
            Some(outcome) if outcome.holds(now()) && self.still_signed(outcome).await.is_ok() => outcome.clone(),
            _ => place.insert(self.establish(&token, attested.as_deref(), evidence).await).clone(),
        };
        drop(place);
        match &outcome {
            Outcome::Known { identity, bearer, token_expires, .. } => {
                for secret in std::iter::once(&token).chain(&beside) {
                    let home = self.memory.at_home_of(secret, *token_expires, evidence, now());
                    home.map_err(Unidentified::Copied)?;
                }
                let (identity, bearer) = (identity.clone(), bearer.clone());
                let lease = Lease {
                    evidence: evidence.clone(),
                    identity: identity.clone(),
                    token: digest,
                    enrollment,
                    next: now().saturating_add(self.settings().recheck_seconds).min(identity.expires.saturating_sub(5)),
                    outcome,
                    revocations: self.revocations.subscribe(),
                };
                Ok(Identified { identity, lease, bearer })
            }
            Outcome::Failed { why, .. } => Err(why.clone()),
        }
    }

    /// A key that its issuer has withdrawn takes the tokens with it that it signed.
    async fn still_signed(&self, outcome: &Outcome) -> Result<(), Unidentified> {
        match outcome {
            Outcome::Failed { .. } => Ok(()),
            Outcome::Known { issuer, kid, algorithm, .. } => {
                let found = self.trust(issuer)?.keys.find(kid.as_deref(), *algorithm).await;
                found.map(drop).map_err(|error| Unidentified::Token(error.into()))
            }
        }
    }

    async fn establish(&self, token: &str, attested: Option<&str>, evidence: &Evidence) -> Outcome {
        match self.verify_and_exchange(token, attested, evidence).await {
            Ok((verified, identity, bearer)) => Outcome::Known {
                until: Outcome::until(&identity, verified.expires),
                token_expires: verified.expires,
                identity: Arc::new(identity),
                bearer: Bearer(bearer.into()),
                issuer: verified.issuer,
                kid: verified.kid,
                algorithm: verified.algorithm,
            },
            Err(why) => Outcome::Failed { why, at: Instant::now() },
        }
    }

    async fn verify_and_exchange(
        &self,
        token: &str,
        attested: Option<&str>,
        evidence: &Evidence,
    ) -> Result<(Verified, Identity, String), Unidentified> {
        let (verified, trust) = self.verify(token).await?;
        let party = verified.party_of(attested, trust.delegation).map_err(Unidentified::Token)?;
        let exchange =
            self.exchange.as_ref().ok_or_else(|| Unidentified::Token(TokenError::Issuer(verified.issuer.clone())))?;
        let (identity, bearer) = exchange.exchange(token, &party, evidence).await?;
        Ok((verified, identity, bearer))
    }

    async fn verify(&self, token: &str) -> Result<(Verified, &Trust), Unidentified> {
        let unverified = Unverified::read(token).map_err(Unidentified::Token)?;
        let trust = self.trust(&unverified.issuer)?;
        Ok((trust.verify(unverified, now()).await.map_err(Unidentified::Token)?, trust))
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
