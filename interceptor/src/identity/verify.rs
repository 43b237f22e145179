//! Is this token to be believed?
//!
//! A token is read strictly, its issuer is looked up among the configured ones, the key among those that this issuer
//! publishes, and only then are its claims believed. The rules are RFC 8725's; `jsonwebtoken` checks the signature, the
//! claims are checked here, because a claim of the wrong type must be an error and not a claim that is not there.

use super::{
    json,
    keys::{KeyError, Keys},
    settings::{Algorithm, Delegation},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, sync::Arc};

/// The longest token that is looked at.
pub(super) const TOKEN_BYTES: usize = 8 << 10;

/// How far the clocks of issuer and daemon may be apart (RFC 7519 section 4.1.4 grants "some small leeway").
pub(super) const LEEWAY: u64 = 30;

/// The last second of the year 9999: beyond it a time is a mistake or an attempt at overflow.
const LATEST: u64 = 253_402_300_799;

/// The longest name of a subject or a group, as in OpenID Connect.
const NAME_BYTES: usize = 255;

/// Header parameters that would have us take keys from the token itself, or read it otherwise than we do.
const DANGEROUS: [&str; 9] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"];

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_BYTES`].
    #[error("it is longer than {TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a JWS in compact form.
    #[error("it is not a signed JWT: three parts in base64url without padding")]
    Shape,
    /// A part is not what it should be.
    #[error("its {part} cannot be read: {why}")]
    Json {
        /// `header` or `payload`.
        part: &'static str,
        /// What the reader said.
        why: String,
    },
    /// One of [`DANGEROUS`].
    #[error("its header has `{0}`, which is never accepted")]
    Header(&'static str),
    /// Another kind of token.
    #[error("its `typ` is `{}`, which is not accepted from this issuer", .0.escape_debug())]
    Type(String),
    /// `none`, a shared secret or something else that is not accepted from this issuer.
    #[error("its algorithm `{}` is not accepted from this issuer", .0.escape_debug())]
    Algorithm(String),
    /// An issuer that nobody configured.
    #[error("its issuer `{}` is not configured", .0.escape_debug())]
    Issuer(String),
    /// No key to verify with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Somebody else signed it, or it was changed.
    #[error("its signature is wrong")]
    Signature,
    /// A claim that must be there is not, or it has the wrong type.
    #[error("its claim `{0}` is missing or not of the right kind")]
    Claim(&'static str),
    /// Over.
    #[error("it expired {0} seconds ago")]
    Expired(u64),
    /// `nbf` or `iat` in the future.
    #[error("it is not valid before {0} seconds from now")]
    NotYet(u64),
    /// Good for longer than this issuer's tokens may be.
    #[error("it is good for {0} seconds, longer than this issuer's tokens may be")]
    TooLongLived(u64),
    /// The issuer speaks for others than this subject.
    #[error("its subject does not begin with `{0}`")]
    Subject(String),
    /// Meant for somebody else.
    #[error("its audience is not exactly `{0}`")]
    Audience(String),
    /// Good only for whoever proves to have a key (RFC 7800), or no token of anybody's at all (RFC 8417).
    #[error("it has `{0}`, so that it is not for whoever bears it")]
    NotABearers(&'static str),
    /// Handed to a client that is not configured.
    #[error("its authorized party (`azp`) is not configured")]
    AuthorizedParty,
    /// It is about somebody else, and does not say that this agent may act.
    #[error("it is `{}`'s, and does not let the process act, which is {}", .subject.escape_debug(), who(.agent.as_deref()))]
    Actor {
        /// Who the token says that acts.
        subject: String,
        /// What the process is by what was seen of it.
        agent: Option<String>,
    },
}

fn who(agent: Option<&str>) -> String {
    agent.map_or_else(
        || "attested by no [[identity.attest]]".to_owned(),
        |agent| format!("attested as `{}`", agent.escape_debug()),
    )
}

impl TokenError {
    pub(super) fn unavailable(&self) -> bool {
        matches!(self, Self::Key(error) if error.unavailable())
    }
}

/// A token that has been read and not yet believed.
#[derive(Debug)]
pub(super) struct Unverified<'token> {
    pub(super) issuer: String,
    algorithm: Algorithm,
    /// `JWT` where there is none (RFC 7519 section 5.1).
    typ: String,
    kid: Option<String>,
    claims: Map<String, Value>,
    message: &'token str,
    signature: &'token str,
}

/// What a believed token says.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) issuer: String,
    /// `sub`: who acts, or for whom is acted where there are actors.
    pub(super) named: String,
    /// The chain of `act`, the one that acts now first.
    pub(super) actors: Vec<String>,
    /// Claim `on_behalf_of`, of issuers that keep the agent in `sub`.
    behind: Option<String>,
    /// `may_act.sub`
    may_act: Option<String>,
    pub(super) expires: u64,
    pub(super) claims: Map<String, Value>,
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
}

/// Who acts, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) agent: String,
    pub(super) on_behalf_of: Option<String>,
    /// Who acted before, the latest first.
    pub(super) before: Vec<String>,
}

impl Verified {
    /// Who acts by the token alone.
    pub(super) fn party(&self) -> Party {
        match self.actors.split_first() {
            Some((agent, before)) => {
                Party { agent: agent.clone(), on_behalf_of: Some(self.named.clone()), before: before.to_vec() }
            }
            None => Party { agent: self.named.clone(), on_behalf_of: self.behind.clone(), before: Vec::new() },
        }
    }

    /// Who acts where the process is known to be `attested` by what was seen of it. It has to be the token's own agent, or
    /// one that the token lets act (RFC 8693 sections 4.1 and 4.4), or its issuer's tokens are for jobs and let whoever runs
    /// in them.
    pub(super) fn party_of(&self, attested: Option<&str>, delegation: Delegation) -> Result<Party, TokenError> {
        let own = self.party();
        let stranger =
            |agent: Option<&str>| TokenError::Actor { subject: own.agent.clone(), agent: agent.map(str::to_owned) };
        match (attested, &self.may_act) {
            (None, None) => Ok(own),
            // Whom it lets act, nobody has seen.
            (None, Some(_)) if self.actors.is_empty() => Err(stranger(None)),
            (None, Some(_)) => Ok(own),
            (Some(attested), _) if attested == own.agent => Ok(own),
            (Some(attested), Some(may_act)) if attested == may_act => Ok(self.acting(attested)),
            (Some(attested), None) if delegation == Delegation::Job && self.actors.is_empty() => {
                Ok(self.acting(attested))
            }
            (Some(attested), _) => Err(stranger(Some(attested))),
        }
    }

    fn acting(&self, agent: &str) -> Party {
        Party { agent: agent.to_owned(), on_behalf_of: Some(self.named.clone()), before: self.actors.clone() }
    }
}

/// Whose tokens are believed, and which of them.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) types: Vec<String>,
    pub(super) authorized_parties: BTreeSet<String>,
    pub(super) subject_prefix: String,
    pub(super) nbf_required: bool,
    pub(super) longest: u64,
    pub(super) delegation: Delegation,
    /// Whether tokens that are bound to a key are believed: those that were made for the daemon itself.
    pub(super) bound: bool,
    pub(super) keys: Arc<Keys>,
}

impl<'token> Unverified<'token> {
    pub(super) fn read(token: &'token str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Shape)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Shape)?;
        // The engine refuses padding, foreign characters and spare bits that are set, in the signature too: else the same
        // token could be spelled in several ways.
        let decode =
            |part: &str| URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty()).ok_or(TokenError::Shape);
        let (header, payload, _) = (decode(header)?, decode(payload)?, decode(signature)?);
        let object = |part, bytes: &[u8]| json::object(bytes).map_err(|why| TokenError::Json { part, why });

        let header = object("header", &header)?;
        if let Some(name) = DANGEROUS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(TokenError::Header(name));
        }
        let typ = match header.get("typ") {
            None => "JWT",
            Some(typ) => typ.as_str().ok_or_else(|| TokenError::Type(typ.to_string()))?,
        };
        let algorithm = match header.get("alg").and_then(Value::as_str).unwrap_or_default() {
            "ES256" => Algorithm::Es256,
            "RS256" => Algorithm::Rs256,
            "EdDSA" => Algorithm::EdDsa,
            other => return Err(TokenError::Algorithm(other.to_owned())),
        };
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(TokenError::Claim("kid"))?.to_owned()),
        };
        let claims = object("payload", &payload)?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenError::Claim("iss"))?.to_owned();
        Ok(Self { issuer, algorithm, typ: typ.to_owned(), kid, claims, message, signature })
    }
}

impl Trust {
    pub(super) async fn verify(&self, token: Unverified<'_>, now: u64) -> Result<Verified, TokenError> {
        if token.issuer != self.issuer {
            return Err(TokenError::Issuer(token.issuer));
        }
        if !self.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm(token.algorithm.name().to_owned()));
        }
        if !self.types.contains(&token.typ) {
            return Err(TokenError::Type(token.typ));
        }
        let key = self.keys.find(token.kid.as_deref(), token.algorithm).await?;
        let verified =
            jsonwebtoken::crypto::verify(token.signature, token.message.as_bytes(), &key, token.algorithm.jws());
        if !matches!(verified, Ok(true)) {
            return Err(TokenError::Signature);
        }
        let expires = self.check(&token.claims, now)?;
        let Parties { named, actors, behind, may_act } = parties(&token.claims)?;
        if !named.starts_with(&self.subject_prefix) {
            return Err(TokenError::Subject(self.subject_prefix.clone()));
        }
        let Unverified { issuer, algorithm, kid, claims, .. } = token;
        Ok(Verified { issuer, named, actors, behind, may_act, expires, claims, kid, algorithm })
    }

    /// Everything about the claims but whose they are; returns when the token ends.
    fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, TokenError> {
        let expires = time(claims, "exp")?.ok_or(TokenError::Claim("exp"))?;
        let issued = time(claims, "iat")?.ok_or(TokenError::Claim("iat"))?;
        let not_before = time(claims, "nbf")?;
        if self.nbf_required && not_before.is_none() {
            return Err(TokenError::Claim("nbf"));
        }
        let begins = not_before.unwrap_or(issued).max(issued);
        if expires.saturating_sub(issued) > self.longest {
            return Err(TokenError::TooLongLived(expires.saturating_sub(issued)));
        }
        if now >= expires + LEEWAY {
            return Err(TokenError::Expired(now - expires));
        }
        if begins > now + LEEWAY {
            return Err(TokenError::NotYet(begins - now));
        }
        // A token for several services can be carried from any of them to us.
        let audience = match claims.get("aud") {
            Some(Value::Array(list)) if list.len() == 1 => list.first(),
            other => other,
        };
        if audience.and_then(Value::as_str) != Some(&self.audience) {
            return Err(TokenError::Audience(self.audience.clone()));
        }
        let others = if self.bound { &["events"][..] } else { &["events", "cnf"] };
        if let Some(claim) = others.iter().find(|claim| claims.contains_key(**claim)) {
            return Err(TokenError::NotABearers(claim));
        }
        let party = claims.get("azp").and_then(Value::as_str).unwrap_or_default();
        if !self.authorized_parties.is_empty() && !self.authorized_parties.contains(party) {
            return Err(TokenError::AuthorizedParty);
        }
        Ok(expires)
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn jws(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// A name of somebody, fit to be written into records and shown to people: no controls, no signs that reorder text.
pub(super) fn name(value: &Value) -> Option<&str> {
    let plain = |sign: char| {
        !sign.is_control()
            && !matches!(sign, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    value.as_str().filter(|name| !name.is_empty() && name.len() <= NAME_BYTES && name.chars().all(plain))
}

/// How many may have acted one for another.
const CHAIN: usize = 8;

struct Parties {
    named: String,
    actors: Vec<String>,
    behind: Option<String>,
    may_act: Option<String>,
}

/// Who acts, and for whom.
///
/// RFC 8693 section 4.1: where a token has an actor, `sub` is the party *on whose behalf* is acted, and `act.sub` the one
/// that acts now; deeper actors are history and decide nothing. The agent is the one that acts. Issuers that keep the agent
/// in `sub` name the human in a claim `on_behalf_of`; with both, they must agree.
fn parties(claims: &Map<String, Value>) -> Result<Parties, TokenError> {
    let optional = |members: &Map<String, Value>, claim: &'static str| match members.get(claim) {
        None => Ok(None),
        Some(value) => name(value).map(str::to_owned).map(Some).ok_or(TokenError::Claim(claim)),
    };
    // The party of another issuer may be anybody under that name.
    let party = |value: &Value, claim: &'static str, decides: bool| {
        let members = value.as_object().ok_or(TokenError::Claim(claim))?;
        let foreign = decides && members.get("iss").is_some_and(|issuer| claims.get("iss") != Some(issuer));
        let named = optional(members, "sub").ok().flatten();
        named.filter(|_| !foreign).ok_or(TokenError::Claim(claim))
    };
    let named = optional(claims, "sub")?.ok_or(TokenError::Claim("sub"))?;
    let behind = optional(claims, "on_behalf_of")?;
    let may_act = claims.get("may_act").map(|value| party(value, "may_act", true)).transpose()?;
    let (mut actors, mut next) = (Vec::new(), claims.get("act"));
    while let Some(act) = next {
        if actors.len() == CHAIN {
            return Err(TokenError::Claim("act"));
        }
        actors.push(party(act, "act", actors.is_empty())?);
        next = act.get("act");
    }
    if !actors.is_empty() && behind.as_ref().is_some_and(|behind| *behind != named) {
        return Err(TokenError::Claim("act"));
    }
    Ok(Parties { named, actors, behind, may_act })
}

/// A point in time: an integer, as RFC 7519 would allow fractions but nobody needs them.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_u64().filter(|seconds| *seconds <= LATEST).map(Some).ok_or(TokenError::Claim(claim)),
    }
}
