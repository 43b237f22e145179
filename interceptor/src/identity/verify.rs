//! Is this token to be believed?
//!
//! A token is read strictly, its issuer is looked up among the configured ones, the key among those that this issuer
//! publishes, and only then are its claims believed. The rules are RFC 8725's; `jsonwebtoken` checks the signature, the
//! claims are checked here, because a claim of the wrong type must be an error and not a claim that is not there.

use super::{
    http::Http,
    json,
    keys::{KeyError, Keys},
    settings::{Algorithm, IssuerSettings},
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
    #[error("its `typ` is neither `JWT` nor `at+jwt`")]
    Type,
    /// `none`, a shared secret or something else that is not accepted from this issuer.
    #[error("its algorithm `{}` is not accepted from this issuer", .0.escape_debug())]
    Algorithm(String),
    /// No `kid`.
    #[error("it does not name its key (`kid`)")]
    NoKey,
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
    /// Meant for somebody else.
    #[error("its audience is not exactly `{0}`")]
    Audience(String),
    /// Handed to a client that is not configured.
    #[error("its authorized party (`azp`) is not configured")]
    AuthorizedParty,
}

impl TokenError {
    pub(super) fn unavailable(&self) -> bool {
        matches!(self, Self::Key(KeyError::Unavailable(_)))
    }
}

/// A token that has been read and not yet believed.
#[derive(Debug)]
pub(super) struct Unverified<'token> {
    pub(super) issuer: String,
    algorithm: Algorithm,
    kid: String,
    claims: Map<String, Value>,
    message: &'token str,
    signature: &'token str,
}

/// What a believed token says.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) issuer: String,
    /// The acting party.
    pub(super) subject: String,
    /// For whom it acts.
    pub(super) on_behalf_of: Option<String>,
    pub(super) expires: u64,
    pub(super) claims: Map<String, Value>,
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
}

/// Whose tokens are believed, and which of them.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) authorized_parties: BTreeSet<String>,
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
        if !matches!(header.get("typ").and_then(Value::as_str), Some("JWT" | "at+jwt")) {
            return Err(TokenError::Type);
        }
        let algorithm = match header.get("alg").and_then(Value::as_str).unwrap_or_default() {
            "ES256" => Algorithm::Es256,
            "RS256" => Algorithm::Rs256,
            "EdDSA" => Algorithm::EdDsa,
            other => return Err(TokenError::Algorithm(other.to_owned())),
        };
        let kid = header.get("kid").and_then(Value::as_str).ok_or(TokenError::NoKey)?.to_owned();
        let claims = object("payload", &payload)?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenError::Claim("iss"))?.to_owned();
        Ok(Self { issuer, algorithm, kid, claims, message, signature })
    }
}

impl Trust {
    pub(super) fn subjects_of(issuer: &IssuerSettings, http: &Http) -> Self {
        Self {
            issuer: issuer.url.clone(),
            audience: issuer.audience.clone(),
            algorithms: issuer.algorithms.clone(),
            authorized_parties: issuer.authorized_parties.clone(),
            keys: Arc::new(Keys::new(&issuer.url, issuer.allow_http, http.clone())),
        }
    }

    pub(super) async fn verify(&self, token: Unverified<'_>, now: u64) -> Result<Verified, TokenError> {
        if token.issuer != self.issuer {
            return Err(TokenError::Issuer(token.issuer));
        }
        if !self.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm(token.algorithm.name().to_owned()));
        }
        let key = self.keys.find(&token.kid, token.algorithm).await?;
        let verified =
            jsonwebtoken::crypto::verify(token.signature, token.message.as_bytes(), &key, token.algorithm.jws());
        if !matches!(verified, Ok(true)) {
            return Err(TokenError::Signature);
        }
        let expires = self.check(&token.claims, now)?;
        let (subject, on_behalf_of) = parties(&token.claims)?;
        let Unverified { issuer, algorithm, kid, claims, .. } = token;
        Ok(Verified { issuer, subject, on_behalf_of, expires, claims, kid, algorithm })
    }

    /// Everything about the claims but whose they are; returns when the token ends.
    fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, TokenError> {
        let expires = time(claims, "exp")?.ok_or(TokenError::Claim("exp"))?;
        let issued = time(claims, "iat")?.ok_or(TokenError::Claim("iat"))?;
        let begins = time(claims, "nbf")?.unwrap_or(issued).max(issued);
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

    fn jws(self) -> jsonwebtoken::Algorithm {
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

/// Who acts, and for whom.
///
/// RFC 8693 section 4.1: where a token has an actor, `sub` is the party *on whose behalf* is acted, and `act.sub` the one
/// that acts now; deeper actors are history and decide nothing. The agent is the one that acts. Issuers that keep the agent
/// in `sub` name the human in a claim `on_behalf_of`; with both, they must agree.
fn parties(claims: &Map<String, Value>) -> Result<(String, Option<String>), TokenError> {
    let optional = |members: &Map<String, Value>, claim: &'static str| match members.get(claim) {
        None => Ok(None),
        Some(value) => name(value).map(str::to_owned).map(Some).ok_or(TokenError::Claim(claim)),
    };
    let subject = optional(claims, "sub")?.ok_or(TokenError::Claim("sub"))?;
    let named = optional(claims, "on_behalf_of")?;
    let Some(act) = claims.get("act") else { return Ok((subject, named)) };
    let act = act.as_object().ok_or(TokenError::Claim("act"))?;
    // The actor of another issuer may be anybody under that name.
    let foreign = act.get("iss").is_some_and(|issuer| claims.get("iss") != Some(issuer));
    if foreign || named.is_some_and(|named| named != subject) {
        return Err(TokenError::Claim("act"));
    }
    let actor = optional(act, "sub").ok().flatten().ok_or(TokenError::Claim("act"))?;
    Ok((actor, Some(subject)))
}

/// A point in time: an integer, as RFC 7519 would allow fractions but nobody needs them.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_u64().filter(|seconds| *seconds <= LATEST).map(Some).ok_or(TokenError::Claim(claim)),
    }
}
