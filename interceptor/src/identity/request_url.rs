//! Tokens that a CI system hands out over HTTP to whoever knows a secret of the job (GitHub Actions: "Requesting the JWT
//! using environment variables"). The job need not fetch its token: the daemon does, with what stands in the job's
//! environment. The URL comes from the agent, so only configured hosts are asked.

use super::{
    http::{Http, HttpError, allowed_with_query},
    json, now,
    settings::RequestUrlSettings,
    verify::TOKEN_BYTES,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A fetched token is not used again in its last seconds.
const MARGIN: u64 = 30;

/// Above this many, those that are over are thrown out.
const MANY: usize = 1024;

/// The pair in an environment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) url: String,
    pub(super) bearer: String,
}

/// A token and until when it is used, which is read from it without believing it.
type Fetched = Arc<tokio::sync::Mutex<Option<(String, u64)>>>;

/// Fetches, and keeps what was fetched.
#[derive(Debug)]
pub(super) struct Requests {
    settings: RequestUrlSettings,
    http: Http,
    /// By the hash of the pair; whoever holds the lock is the one that asks.
    fetched: Mutex<HashMap<[u8; 32], Fetched>>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pair")
    }
}

impl Requests {
    pub(super) fn new(settings: RequestUrlSettings, http: Http) -> Self {
        Self { settings, http, fetched: Mutex::default() }
    }

    pub(super) async fn fetch(&self, pair: &Pair) -> Result<String, HttpError> {
        let place = {
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            if fetched.len() >= MANY {
                let over = |token: &Option<(String, u64)>| token.as_ref().is_none_or(|(_, until)| *until <= now());
                fetched.retain(|_, place| {
                    Arc::strong_count(place) > 1 || place.try_lock().is_ok_and(|token| !over(&token))
                });
            }
            let key = Sha256::digest(format!("{}\0{}", pair.url, pair.bearer)).into();
            Arc::clone(fetched.entry(key).or_default())
        };
        let mut place = place.lock().await;
        if let Some((token, until)) = place.as_ref()
            && now() < *until
        {
            return Ok(token.clone());
        }
        let token = self.ask(pair).await?;
        *place = Some((token.clone(), expiry(&token).unwrap_or_default().saturating_sub(MARGIN)));
        Ok(token)
    }

    async fn ask(&self, pair: &Pair) -> Result<String, HttpError> {
        // Nothing of what the agent wrote is repeated but the host.
        let wrong = |why: String| HttpError::mistaken(&self.settings.url_variable, why);
        let mut url = allowed_with_query(&pair.url, self.settings.allow_http).map_err(wrong)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if !self.settings.hosts.iter().any(|allowed| is_host(allowed, &host)) {
            return Err(wrong(format!("host `{}` is not in identity.request_url.hosts", host.escape_debug())));
        }
        if url.query_pairs().any(|(name, _)| name == "audience") {
            return Err(wrong("its query has an audience already".to_owned()));
        }
        url.query_pairs_mut().append_pair("audience", &self.settings.audience);
        let answer = self.http.get_as(url, &pair.bearer).await?;
        let at = |why: String| HttpError { url: host.clone(), why, mistaken: !answer.status.is_server_error() };
        if answer.status.as_u16() != 200 {
            return Err(at(format!("the answer is {}", answer.status)));
        }
        let members = json::object(&answer.body).map_err(at)?;
        let token = members.get("value").and_then(Value::as_str).filter(|token| token.len() <= TOKEN_BYTES);
        token.map(str::to_owned).ok_or_else(|| at("the answer has no token".to_owned()))
    }
}

fn is_host(allowed: &str, host: &str) -> bool {
    match allowed.strip_prefix('*') {
        Some(end) => host.strip_suffix(end).is_some_and(|label| !label.is_empty()),
        None => allowed.eq_ignore_ascii_case(host),
    }
}

/// For keeping it, nothing else.
fn expiry(token: &str) -> Option<u64> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    json::object(&payload).ok()?.get("exp")?.as_u64()
}

/// A bearer token's characters (RFC 6750 section 2.1); anything else could change the request.
pub(super) fn is_bearer(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= TOKEN_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// Whether a URL can be read at all; its host is looked at when it is asked.
pub(super) fn is_url(text: &str) -> bool {
    text.len() <= TOKEN_BYTES && Url::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{is_bearer, is_host};

    #[test]
    fn hosts_are_allowed_whole() {
        for (allowed, host, expected) in [
            ("*.actions.githubusercontent.com", "vstoken.actions.githubusercontent.com", true),
            ("*.actions.githubusercontent.com", "a.b.actions.githubusercontent.com", true),
            ("*.actions.githubusercontent.com", "actions.githubusercontent.com", false),
            ("*.actions.githubusercontent.com", "evilactions.githubusercontent.com", false),
            ("*.actions.githubusercontent.com", "x.actions.githubusercontent.com.evil.example", false),
            ("token.example", "TOKEN.example", true),
            ("token.example", "a.token.example", false),
        ] {
            assert_eq!(is_host(allowed, host), expected, "{allowed} {host}");
        }
        assert!(is_bearer("abc.DEF-_~+/="));
        assert!(!is_bearer("a\r\nHost: x") && !is_bearer("") && !is_bearer("a b"));
    }
}
