//! The keys that an issuer publishes: discovery, the key set, and how long it is good for.
//!
//! Asked for when a token needs them, not at the start: an issuer that is down delays connections and nothing else. One
//! request at a time; the others wait for its result. A set that cannot be renewed is used for a while longer, but not
//! for ever: a key that was withdrawn must end some time even if somebody keeps us from hearing about it.

use super::{
    http::{Http, HttpError, allowed},
    json,
    settings::Algorithm,
};
use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use reqwest::Url;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// After this a set is asked for again: how long a withdrawn key may live on.
const FRESH: Duration = Duration::from_secs(300);

/// After this a set that could not be renewed is used no longer.
const STALE: Duration = Duration::from_secs(3600);

/// How often an unknown key may make us ask again. Whoever sends tokens with made-up keys must not be able to make us
/// flood the issuer.
const AGAIN: Duration = Duration::from_secs(10);

/// How soon after a failure the issuer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Why there is no key for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The issuer has no such key.
    #[error("its issuer has no key `{}`", .0.escape_debug())]
    Unknown(String),
    /// The key is for another algorithm.
    #[error("key `{}` is not for the token's algorithm", .0.escape_debug())]
    Algorithm(String),
    /// The issuer cannot be asked.
    #[error(transparent)]
    Unavailable(#[from] HttpError),
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    allow_http: bool,
    http: Http,
    set: ArcSwapOption<KeySet>,
    /// The last attempt to get a set; whoever holds this lock is the one that asks.
    attempt: Mutex<Option<Attempt>>,
}

struct KeySet {
    keys: BTreeMap<String, Key>,
    token_endpoint: Option<String>,
    loaded: Instant,
}

struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

struct Attempt {
    at: Instant,
    failure: Option<HttpError>,
}

impl Keys {
    pub(super) fn new(issuer: &str, allow_http: bool, http: Http) -> Self {
        Self { issuer: issuer.to_owned(), allow_http, http, set: ArcSwapOption::empty(), attempt: Mutex::new(None) }
    }

    /// The key `kid` if it is for `algorithm`.
    pub(super) async fn find(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
        let set = match self.set.load_full() {
            Some(set) if set.loaded.elapsed() < FRESH && set.keys.contains_key(kid) => set,
            _ => self.renewed(Some(kid)).await?,
        };
        match set.keys.get(kid) {
            Some(key) if key.algorithm == algorithm => Ok(key.key.clone()),
            Some(_) => Err(KeyError::Algorithm(kid.to_owned())),
            None => Err(KeyError::Unknown(kid.to_owned())),
        }
    }

    /// Where the issuer exchanges tokens, as its discovery document says.
    pub(super) async fn token_endpoint(&self) -> Result<Url, HttpError> {
        let set = match self.set.load_full() {
            Some(set) if set.loaded.elapsed() < FRESH => set,
            _ => self.renewed(None).await?,
        };
        let wrong = |why: &str| HttpError { url: self.issuer.clone(), why: why.to_owned() };
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
            && set.loaded.elapsed() < FRESH
            && kid.is_none_or(|kid| set.keys.contains_key(kid))
        {
            return Ok(Arc::clone(set));
        }
        let failure = match &*attempt {
            Some(Attempt { at, failure: Some(failure) }) if at.elapsed() < RETRY => Some(failure.clone()),
            Some(Attempt { at, failure: None }) if at.elapsed() < AGAIN => None,
            _ => match self.load().await {
                Ok(loaded) => {
                    let loaded = Arc::new(loaded);
                    self.set.store(Some(Arc::clone(&loaded)));
                    *attempt = Some(Attempt { at: Instant::now(), failure: None });
                    return Ok(loaded);
                }
                Err(failure) => {
                    tracing::warn!(issuer = %self.issuer, %failure, "cannot renew the keys of an issuer");
                    *attempt = Some(Attempt { at: Instant::now(), failure: Some(failure.clone()) });
                    Some(failure)
                }
            },
        };
        match (set, failure) {
            // Without an answer nobody knows whether a key that is not there is new or made up: that is the issuer's
            // fault and not the agent's.
            (Some(set), Some(failure)) if kid.is_some_and(|kid| !set.keys.contains_key(kid)) => Err(failure),
            (Some(set), _) if set.loaded.elapsed() < STALE => Ok(set),
            (_, Some(failure)) => Err(failure),
            (_, None) => Err(HttpError { url: self.issuer.clone(), why: "its keys are out of date".to_owned() }),
        }
    }

    async fn load(&self) -> Result<KeySet, HttpError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = self.object(&url).await?;
        let wrong = |why: String| HttpError { url: url.clone(), why };
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        match text("issuer") {
            Some(issuer) if issuer == self.issuer => {}
            // RFC 8414 section 3.3: else one issuer could vouch with another one's keys.
            issuer => {
                return Err(wrong(format!(
                    "it says that the issuer is `{}`, not `{}`",
                    issuer.unwrap_or_default().escape_debug(),
                    self.issuer
                )));
            }
        }
        let jwks = text("jwks_uri").ok_or_else(|| wrong("it names no jwks_uri".to_owned()))?;
        let keys = read(&self.object(&jwks).await?).map_err(|why| HttpError { url: jwks, why })?;
        Ok(KeySet { keys, token_endpoint: text("token_endpoint"), loaded: Instant::now() })
    }

    async fn object(&self, url: &str) -> Result<Map<String, Value>, HttpError> {
        let wrong = |why| HttpError { url: url.to_owned(), why };
        let answer = self.http.get(allowed(url, self.allow_http).map_err(wrong)?).await?;
        json::object(&answer.body).map_err(wrong)
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
