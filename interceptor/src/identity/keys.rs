//! The keys that an issuer publishes: discovery, the key set, and how long it is good for.
//!
//! An issuer that is down delays connections of its own agents and nothing else: it is asked once at the start, and then
//! when a token needs it. One request at a time; the others wait for its result, and where they have a set that still holds,
//! not for long. A set that cannot be renewed is used for a while longer, but not for ever: a key that was withdrawn must end
//! some time even if somebody keeps us from hearing about it. An answer that is not to be believed (another issuer's
//! document, a secret among the keys) never replaces a set that was.

use super::{
    http::{Http, HttpError, allowed},
    json,
    settings::Algorithm,
};
use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long a set is good for, and how often it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    /// After this a set is asked for again: how long a withdrawn key may live on.
    pub(super) fresh: Duration,
    /// After this a set that could not be renewed is used no longer.
    pub(super) stale: Duration,
    /// How often an unknown key may make us ask again. Whoever sends tokens with made-up keys must not be able to make us
    /// flood the issuer.
    pub(super) again: Duration,
}

/// How long somebody waits for a newer set who has one that still holds.
const PATIENCE: Duration = Duration::from_millis(500);

/// How soon after a failure the issuer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Why there is no key for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The issuer has no such key.
    #[error("its issuer has no key `{}`", .0.escape_debug())]
    Unknown(String),
    /// The token names no key, and the issuer has not exactly one.
    #[error("it does not name its key (`kid`), and its issuer has several")]
    Unnamed,
    /// The key is for another algorithm.
    #[error("key `{}` is not for the token's algorithm", .0.escape_debug())]
    Algorithm(String),
    /// The issuer cannot be asked, or says what is not to be believed.
    #[error(transparent)]
    Unavailable(#[from] HttpError),
}

impl KeyError {
    /// Whether asking again later may help.
    pub(super) fn unavailable(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Unnamed | Self::Algorithm(_) => false,
            Self::Unavailable(error) => !error.mistaken,
        }
    }
}

/// What is known of an issuer, for people to read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct IssuerState {
    /// Its identifier.
    pub url: String,
    /// `ready`, `stale` (its keys could not be renewed and are still used) or `down` (it has no keys that may be used).
    pub state: String,
    /// How many keys it has that can be used.
    pub keys: usize,
    /// How old they are, in seconds.
    pub age: Option<u64>,
    /// Why it could not be asked, if the last attempt failed.
    pub failure: Option<String>,
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    jwks_uri: Option<String>,
    allow_http: bool,
    ages: Ages,
    http: Http,
    set: ArcSwapOption<KeySet>,
    /// The last attempt to get a set; whoever holds this lock is the one that asks.
    attempt: Mutex<Option<Attempt>>,
    /// Why the last attempt failed.
    failure: ArcSwapOption<HttpError>,
}

struct KeySet {
    keys: BTreeMap<String, Key>,
    token_endpoint: Option<String>,
    loaded: Instant,
    /// What the issuer's clock said then, in seconds since 1970.
    date: Option<i64>,
    /// Our own, which nobody has to be asked for.
    own: bool,
}

struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

struct Attempt {
    at: Instant,
    failure: Option<HttpError>,
}

impl KeySet {
    /// The key of a name; without one, the only key that there is.
    fn key(&self, kid: Option<&str>) -> Result<&Key, KeyError> {
        match kid {
            Some(kid) => self.keys.get(kid).ok_or_else(|| KeyError::Unknown(kid.to_owned())),
            None if self.keys.len() == 1 => self.keys.values().next().ok_or(KeyError::Unnamed),
            None => Err(KeyError::Unnamed),
        }
    }

    fn has(&self, kid: Option<&str>) -> bool {
        kid.is_none_or(|kid| self.keys.contains_key(kid))
    }

    fn younger_than(&self, age: Duration) -> bool {
        self.own || self.loaded.elapsed() < age
    }
}

impl Keys {
    pub(super) fn new(issuer: &str, jwks_uri: Option<String>, allow_http: bool, ages: Ages, http: Http) -> Self {
        Self {
            issuer: issuer.to_owned(),
            jwks_uri,
            allow_http,
            ages,
            http,
            set: ArcSwapOption::empty(),
            attempt: Mutex::new(None),
            failure: ArcSwapOption::empty(),
        }
    }

    /// The key of an issuer within this process.
    pub(super) fn own(issuer: &str, kid: &str, algorithm: Algorithm, key: DecodingKey, http: Http) -> Self {
        let ages = Ages { fresh: Duration::MAX, stale: Duration::MAX, again: Duration::MAX };
        let own = Self::new(issuer, None, false, ages, http);
        let keys = BTreeMap::from([(kid.to_owned(), Key { algorithm, key })]);
        own.set.store(Some(Arc::new(KeySet {
            keys,
            token_endpoint: None,
            loaded: Instant::now(),
            date: None,
            own: true,
        })));
        own
    }

    /// The key `kid`, or the only one, if it is for `algorithm`.
    pub(super) async fn find(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, KeyError> {
        let set = match self.set.load_full() {
            Some(set) if set.younger_than(self.ages.fresh) && set.has(kid) => set,
            Some(set) if set.younger_than(self.ages.stale) && set.has(kid) => self.renewed_or(set).await,
            _ => self.renewed(kid).await?,
        };
        let key = set.key(kid)?;
        if key.algorithm == algorithm {
            Ok(key.key.clone())
        } else {
            Err(KeyError::Algorithm(kid.unwrap_or_default().to_owned()))
        }
    }

    /// A newer set if it can be had soon, else this one. The request goes on meanwhile.
    async fn renewed_or(self: &Arc<Self>, set: Arc<KeySet>) -> Arc<KeySet> {
        let keys = Arc::clone(self);
        let renewal = tokio::spawn(async move { keys.renewed(None).await });
        match tokio::time::timeout(PATIENCE, renewal).await {
            Ok(Ok(Ok(renewed))) => renewed,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => set,
        }
    }

    /// Asks once, so that the first agent need not wait and people see whether it can be asked.
    pub(super) async fn warm(&self) {
        // What is wrong stands in the state and in the log.
        let _state = self.renewed(None).await;
    }

    pub(super) fn state(&self) -> IssuerState {
        let set = self.set.load_full();
        let failure = self.failure.load_full().map(|failure| failure.to_string());
        let state = match &set {
            Some(set) if failure.is_none() && set.younger_than(self.ages.stale) => "ready",
            Some(set) if set.younger_than(self.ages.stale) => "stale",
            _ => "down",
        };
        IssuerState {
            url: self.issuer.clone(),
            state: state.to_owned(),
            keys: set.as_ref().map_or(0, |set| set.keys.len()),
            age: set.map(|set| set.loaded.elapsed().as_secs()),
            failure,
        }
    }

    /// Asks whatever is known, and keeps nothing of it: how many keys there are, and what its clock says, in seconds since 1970.
    /// `None` where nobody has to be asked.
    pub(super) async fn ask(&self) -> Option<Result<(usize, Option<i64>), HttpError>> {
        if self.set.load().as_ref().is_some_and(|set| set.own) {
            return None;
        }
        Some(self.load().await.map(|set| (set.keys.len(), set.date)))
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the issuer exchanges tokens, as its discovery document says.
    pub(super) async fn token_endpoint(self: &Arc<Self>) -> Result<Url, HttpError> {
        let set = match self.set.load_full() {
            Some(set) if set.younger_than(self.ages.fresh) => set,
            Some(set) if set.younger_than(self.ages.stale) => self.renewed_or(set).await,
            _ => self.renewed(None).await?,
        };
        let wrong = |why: &str| HttpError::unreachable(&self.issuer, why);
        let endpoint = set.token_endpoint.as_deref().ok_or_else(|| {
            wrong("its discovery document names no token_endpoint: set identity.exchange.token_endpoint")
        })?;
        allowed(endpoint, self.allow_http).map_err(|why| wrong(&why))
    }

    /// A set that is as new as may be had: with `kid` in it, or asked for so lately that asking again must wait.
    async fn renewed(&self, kid: Option<&str>) -> Result<Arc<KeySet>, HttpError> {
        let mut attempt = self.attempt.lock().await;
        // Somebody may have renewed it while we waited.
        let set = self.set.load_full();
        if let Some(set) = &set
            && set.younger_than(self.ages.fresh)
            && set.has(kid)
        {
            return Ok(Arc::clone(set));
        }
        let failure = match &*attempt {
            Some(Attempt { at, failure: Some(failure) }) if at.elapsed() < RETRY => Some(failure.clone()),
            Some(Attempt { at, failure: None }) if at.elapsed() < self.ages.again.min(self.ages.fresh) => None,
            _ => match self.load().await {
                Ok(loaded) => {
                    let loaded = Arc::new(loaded);
                    self.set.store(Some(Arc::clone(&loaded)));
                    self.failure.store(None);
                    *attempt = Some(Attempt { at: Instant::now(), failure: None });
                    return Ok(loaded);
                }
                Err(failure) => {
                    tracing::warn!(issuer = %self.issuer, %failure, "cannot renew the keys of an issuer");
                    self.failure.store(Some(Arc::new(failure.clone())));
                    *attempt = Some(Attempt { at: Instant::now(), failure: Some(failure.clone()) });
                    Some(failure)
                }
            },
        };
        match (set, failure) {
            // Without an answer nobody knows whether a key that is not there is new or made up: that is the issuer's
            // fault and not the agent's.
            (Some(set), Some(failure)) if !set.has(kid) => Err(failure),
            (Some(set), _) if set.younger_than(self.ages.stale) => Ok(set),
            (_, Some(failure)) => Err(failure),
            (_, None) => Err(HttpError::unreachable(&self.issuer, "its keys are out of date")),
        }
    }

    async fn load(&self) -> Result<KeySet, HttpError> {
        let (jwks, token_endpoint) = match &self.jwks_uri {
            Some(uri) => (uri.clone(), None),
            None => self.discover().await?,
        };
        let (set, date) = self.object(&jwks).await?;
        let keys = read(&set).map_err(|why| HttpError::mistaken(jwks, why))?;
        Ok(KeySet { keys, token_endpoint, loaded: Instant::now(), date, own: false })
    }

    /// OpenID Connect Discovery 1.0, section 4: where the keys are and where tokens are exchanged.
    async fn discover(&self) -> Result<(String, Option<String>), HttpError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let (document, _) = self.object(&url).await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        match text("issuer") {
            Some(issuer) if issuer == self.issuer => {}
            // RFC 8414 section 3.3: else one issuer could vouch with another one's keys.
            issuer => {
                let said = issuer.unwrap_or_default();
                let why = format!("it says that the issuer is `{}`, not `{}`", said.escape_debug(), self.issuer);
                return Err(HttpError::mistaken(url, why));
            }
        }
        let jwks = text("jwks_uri").ok_or_else(|| HttpError::mistaken(url, "it names no jwks_uri"))?;
        Ok((jwks, text("token_endpoint")))
    }

    async fn object(&self, url: &str) -> Result<(Map<String, Value>, Option<i64>), HttpError> {
        let wrong = |why| HttpError::unreachable(url, why);
        let answer = self.http.get(allowed(url, self.allow_http).map_err(wrong)?).await?;
        Ok((json::object(&answer.body).map_err(wrong)?, answer.date))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The keys of a set that can be used to verify. Others are left out: a set may well hold keys for other purposes. But a
/// secret among public keys, or two keys of one name, is a set that somebody has made a grave mistake in.
fn read(set: &Map<String, Value>) -> Result<BTreeMap<String, Key>, String> {
    let mut keys = BTreeMap::new();
    for jwk in set.get("keys").and_then(Value::as_array).ok_or("it has no list of keys")? {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("kty") == Some("oct") || jwk.get("d").is_some() {
            return Err("it publishes a secret key".to_owned());
        }
        let Some(kid) = text("kid") else { continue };
        let Some(key) = usable(jwk) else { continue };
        if keys.insert(kid.to_owned(), key).is_some() {
            return Err(format!("it has two keys `{}`", kid.escape_debug()));
        }
    }
    if keys.is_empty() { Err("it has no key that can be used".to_owned()) } else { Ok(keys) }
}

/// One key, one algorithm: what the key is decides which, and its own `alg`, `use` and `key_ops` may not say otherwise.
fn usable(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| text(name).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    let (algorithm, name, key) = match (text("kty")?, text("crv")) {
        ("EC", Some("P-256")) => {
            let point =
                [vec![4], bytes("x").filter(|x| x.len() == 32)?, bytes("y").filter(|y| y.len() == 32)?].concat();
            (Algorithm::Es256, "ES256", DecodingKey::from_ec_der(&point))
        }
        ("OKP", Some("Ed25519")) => {
            (Algorithm::EdDsa, "EdDSA", DecodingKey::from_ed_der(&bytes("x").filter(|x| x.len() == 32)?))
        }
        ("RSA", None) => {
            let modulus = bytes("n")?;
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            // 2048 bits is RFC 7518's minimum; above 8192 a signature takes milliseconds to check.
            if !(256..=1024).contains(&significant) {
                return None;
            }
            (Algorithm::Rs256, "RS256", DecodingKey::from_rsa_raw_components(&modulus, &bytes("e")?))
        }
        _ => return None,
    };
    let alg = jwk.get("alg").is_none_or(|alg| alg == name);
    let purpose = jwk.get("use").is_none_or(|purpose| purpose == "sig");
    let operations = jwk
        .get("key_ops")
        .is_none_or(|list| list.as_array().is_some_and(|list| list.iter().any(|one| one == "verify")));
    (alg && purpose && operations).then_some(Key { algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::read;
    use serde_json::{Value, json};

    const X: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[track_caller]
    fn check(keys: Value, expected: Result<&[&str], &str>) {
        let set = json!({ "keys": keys });
        let found = read(set.as_object().unwrap()).map(|keys| keys.into_keys().collect::<Vec<_>>());
        assert_eq!(
            found.as_ref().map(|keys| keys.iter().map(String::as_str).collect()).map_err(String::as_str),
            expected.map(Vec::from),
            "{keys}",
            keys = set
        );
    }

    #[test]
    fn only_keys_that_verify_are_taken() {
        let good = json!({"kid": "a", "kty": "EC", "crv": "P-256", "x": X, "y": X});
        check(
            json!([good, {"kid": "b", "kty": "OKP", "crv": "Ed25519", "x": X, "alg": "EdDSA", "use": "sig", "key_ops": ["verify"]}]),
            Ok(&["a", "b"]),
        );
        for other in [
            json!({"kid": "b", "kty": "EC", "crv": "P-384", "x": X, "y": X}),
            json!({"kid": "b", "kty": "EC", "crv": "P-256", "x": X, "y": "AAAA"}),
            json!({"kid": "b", "kty": "EC", "crv": "P-256", "x": X, "y": X, "alg": "ES384"}),
            json!({"kid": "b", "kty": "EC", "crv": "P-256", "x": X, "y": X, "use": "enc"}),
            json!({"kid": "b", "kty": "EC", "crv": "P-256", "x": X, "y": X, "key_ops": ["sign"]}),
            json!({"kid": "b", "kty": "EC", "crv": "P-256", "x": X, "y": X, "key_ops": "verify"}),
            json!({"kid": "b", "kty": "RSA", "n": X, "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-256", "x": X, "y": X}),
            json!({"kid": "b", "kty": "new"}),
            json!("b"),
        ] {
            check(json!([good, other]), Ok(&["a"]));
        }
        check(json!([good, good]), Err("it has two keys `a`"));
        check(json!([good, {"kid": "s", "kty": "oct", "k": "c2VjcmV0"}]), Err("it publishes a secret key"));
        check(
            json!([good, {"kid": "s", "kty": "EC", "crv": "P-256", "x": X, "y": X, "d": X}]),
            Err("it publishes a secret key"),
        );
        check(json!([]), Err("it has no key that can be used"));
        check(json!({}), Err("it has no list of keys"));
    }
}
