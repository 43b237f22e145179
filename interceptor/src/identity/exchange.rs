//! A token that says who an agent is becomes one that says what it is towards databases: OAuth 2.0 Token Exchange (RFC 8693).
//!
//! The answer is checked as strictly as the agent's own token. Whatever is wrong with it is the exchange's fault, not the
//! agent's, and there is nothing to fall back to.

use super::{
    Identity,
    http::{Answer, Http, HttpError, allowed},
    json, now,
    settings::SubjectRule,
    verify::{TokenError, Trust, Unverified, Verified, name},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Claims with a meaning of their own, which are not handed on to policies as the agent's claims.
const REGISTERED: [&str; 12] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "act", "may_act", "groups", "on_behalf_of"];

/// Why there is no exchanged token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExchangeError {
    /// The exchange does not want this agent.
    #[error("the token exchange refuses the agent's token: {0}")]
    Refused(String),
    /// The exchange does not want us, or has trouble of its own.
    #[error("the token exchange fails: {0}")]
    Fails(String),
    /// It cannot be reached.
    #[error("the token exchange is not available: {0}")]
    Http(#[source] HttpError),
    /// Its answer is not what was asked for.
    #[error("the token exchange gave a wrong answer: {0}")]
    Answer(String),
    /// The token that it gave is not to be believed.
    #[error("the token exchange gave a token that is refused: {0}")]
    Token(#[source] TokenError),
}

impl ExchangeError {
    pub(super) fn unavailable(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Fails(_) | Self::Http(_) | Self::Answer(_) | Self::Token(_) => true,
        }
    }
}

/// The daemon as the token endpoint knows it.
pub(super) struct Credential {
    client_id: String,
    client_secret: Option<String>,
}

/// The way to a token endpoint, and what is expected of its answers.
#[derive(Debug)]
pub(super) struct Exchange {
    trust: Trust,
    endpoint: Option<String>,
    credential: Option<Credential>,
    subject: SubjectRule,
    http: Http,
}

impl Exchange {
    pub(super) fn new(
        trust: Trust,
        endpoint: Option<String>,
        credential: Option<Credential>,
        subject: SubjectRule,
        http: Http,
    ) -> Self {
        Self { trust, endpoint, credential, subject, http }
    }

    /// Exchanges a token that has been verified.
    pub(super) async fn exchange(&self, token: &str, verified: &Verified) -> Result<Identity, ExchangeError> {
        // They are handed on as they stand: what is no good in the agent's token would look like the exchange's fault.
        groups(&verified.claims).map_err(|error| ExchangeError::Refused(error.to_string()))?;
        let answer = self.ask(token).await.map_err(ExchangeError::Http)?;
        let issued = read(&answer)?;
        let unverified = Unverified::read(&issued.token).map_err(ExchangeError::Token)?;
        let exchanged = self.trust.verify(unverified, now()).await.map_err(ExchangeError::Token)?;
        let expires = issued.expires.map_or(exchanged.expires, |expires| expires.min(exchanged.expires));
        // No leeway: what is issued now must not be over now.
        if expires <= now() {
            return Err(ExchangeError::Token(TokenError::Expired(now() - expires)));
        }
        if self.subject == SubjectRule::Same {
            same(verified, &exchanged)?;
        }
        identity(exchanged, expires).map_err(ExchangeError::Token)
    }

    async fn ask(&self, token: &str) -> Result<Answer, HttpError> {
        let url = match &self.endpoint {
            // Whether it may be asked was checked when the settings were read; HTTP is only ever allowed to loopback.
            Some(endpoint) => allowed(endpoint, true).map_err(|why| HttpError { url: endpoint.clone(), why })?,
            None => self.trust.keys.token_endpoint().await?,
        };
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", token),
            ("subject_token_type", JWT),
            ("audience", &self.trust.audience),
            ("requested_token_type", JWT),
        ];
        let login = match &self.credential {
            Some(Credential { client_id, client_secret: Some(secret) }) => {
                Some((form_encoded(client_id), form_encoded(secret)))
            }
            Some(Credential { client_id, client_secret: None }) => {
                form.push(("client_id", client_id));
                None
            }
            None => None,
        };
        self.http.post(url, &form, login.as_ref().map(|(name, password)| (name.as_str(), password.as_str()))).await
    }
}

impl Credential {
    pub(super) fn read(client_id: Option<&str>, secret_file: Option<&Path>) -> Result<Option<Self>, String> {
        let client_secret = secret_file.map(secret).transpose()?;
        match (client_id, client_secret) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("identity.exchange has a client_secret_file but no client_id".to_owned()),
            (Some(id), client_secret) => Ok(Some(Self { client_id: id.to_owned(), client_secret })),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credential").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

fn secret(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read client_secret_file `{}`: {error}", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        Err(format!("client_secret_file `{}` is empty", path.display()))
    } else {
        Ok(secret.to_owned())
    }
}

/// RFC 6749 section 2.3.1: name and password are form-encoded before they go into HTTP Basic.
fn form_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

struct Issued {
    token: String,
    expires: Option<u64>,
}

fn read(answer: &Answer) -> Result<Issued, ExchangeError> {
    let wrong = |why: &str| ExchangeError::Answer(why.to_owned());
    let members = json::object(&answer.body).map_err(|why| wrong(&why))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if answer.status.as_u16() != 200 {
        return Err(refusal(answer, &members));
    }
    let token = text("access_token").ok_or_else(|| wrong("no access_token"))?;
    match (text("issued_token_type"), text("token_type").map(str::to_ascii_lowercase).as_deref()) {
        // Section 2.2.1: `N_A` is for tokens that are no access tokens.
        (Some(JWT), Some("bearer" | "n_a")) | (Some(ACCESS_TOKEN), Some("bearer")) => {}
        (Some(JWT | ACCESS_TOKEN), _) => return Err(wrong("token_type does not go with issued_token_type")),
        _ => return Err(wrong("issued_token_type is not what was asked for")),
    }
    let expires = match members.get("expires_in") {
        None => None,
        Some(seconds) => {
            Some(now().saturating_add(seconds.as_u64().ok_or_else(|| wrong("expires_in is not a number of seconds"))?))
        }
    };
    Ok(Issued { token: token.to_owned(), expires })
}

/// What RFC 6749 section 5.2 and RFC 8693 section 2.2.2 say about the agent's token, in difference to what they say about us.
fn refusal(answer: &Answer, members: &Map<String, Value>) -> ExchangeError {
    let text = |name: &str| {
        members.get(name).and_then(Value::as_str).unwrap_or_default().chars().take(200).collect::<String>()
    };
    let (error, description) = (text("error"), text("error_description"));
    let words = format!("{} {} {}", answer.status.as_u16(), error.escape_debug(), description.escape_debug());
    let words = words.trim_end().to_owned();
    match (answer.status.as_u16(), error.as_str()) {
        (
            400 | 401 | 403,
            "invalid_request" | "invalid_grant" | "invalid_target" | "invalid_scope" | "access_denied",
        ) => ExchangeError::Refused(words),
        _ => ExchangeError::Fails(words),
    }
}

/// An exchange that hands one agent the token of another, or drops that somebody only acts *for* a human, is mixed up.
fn same(subject: &Verified, exchanged: &Verified) -> Result<(), ExchangeError> {
    let human = subject.on_behalf_of.is_none() || subject.on_behalf_of == exchanged.on_behalf_of;
    if subject.subject == exchanged.subject && human {
        Ok(())
    } else {
        Err(ExchangeError::Answer("the token is about somebody else than the agent (where the exchange maps names, set identity.exchange.subject to `mapped`)".to_owned()))
    }
}

pub(super) fn identity(exchanged: Verified, expires: u64) -> Result<Identity, TokenError> {
    let Verified { issuer, subject, on_behalf_of, claims, .. } = exchanged;
    let groups = groups(&claims)?.into_iter().collect();
    Ok(Identity { subject, issuer, groups, claims: attributes(&claims), on_behalf_of, expires })
}

fn groups(claims: &Map<String, Value>) -> Result<BTreeSet<String>, TokenError> {
    match claims.get("groups") {
        None => Ok(BTreeSet::new()),
        Some(Value::Array(list)) => {
            let names = list.iter().map(|group| name(group).map(str::to_owned));
            names.collect::<Option<_>>().ok_or(TokenError::Claim("groups"))
        }
        Some(_) => Err(TokenError::Claim("groups")),
    }
}

fn attributes(claims: &Map<String, Value>) -> BTreeMap<String, BTreeSet<String>> {
    let own = claims.iter().filter(|(claim, _)| !REGISTERED.contains(&claim.as_str()));
    own.filter_map(|(claim, value)| Some((claim.clone(), values(claim, value)?))).collect()
}

/// A claim as a set of texts; `None` for those that have structure, which a policy could not compare.
fn values(claim: &str, value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::String(scope) if claim == "scope" => {
            Some(scope.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect())
        }
        Value::String(text) => Some(BTreeSet::from([text.clone()])),
        Value::Bool(_) | Value::Number(_) => Some(BTreeSet::from([value.to_string()])),
        Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Object(_) => None,
    }
}
