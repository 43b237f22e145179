//! A token that says who an agent is becomes one that says what it is towards databases: OAuth 2.0 Token Exchange (RFC 8693).
//!
//! The answer is checked as strictly as the agent's own token. Whatever is wrong with it is the exchange's fault, not the
//! agent's, and there is nothing to fall back to: whoever has that token is not let in.

use super::{
    Identity,
    actor::Actors,
    client::{Client, Proof},
    evidence::Evidence,
    http::{Answer, Http, HttpError, allowed},
    json, now,
    settings::SubjectRule,
    sts::{GRANT, JWT, Sts},
    verify::{Party, TokenError, Trust, Unverified, Verified, name},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// How deep members of objects are looked for in claims.
const DEPTH: usize = 4;

/// Claims with a meaning of their own, which are not handed on to policies as the agent's claims.
pub(super) const REGISTERED: [&str; 13] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "azp",
    "act",
    "may_act",
    "groups",
    "on_behalf_of",
    "on_behalf_of_groups",
];

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
    Http(HttpError),
    /// Its answer is not what was asked for.
    #[error("the token exchange gave a wrong answer: {0}")]
    Answer(String),
    /// The token that it gave is not to be believed.
    #[error("the token exchange gave a token that is refused: {0}")]
    Token(TokenError),
}

impl ExchangeError {
    pub(super) fn unavailable(&self) -> bool {
        match self {
            // What was answered is not to be believed, and would not be the next time.
            Self::Refused(_) | Self::Answer(_) => false,
            Self::Token(error) => error.unavailable(),
            Self::Fails(_) | Self::Http(_) => true,
        }
    }
}

/// Who exchanges.
#[derive(Debug)]
pub(super) enum Endpoint {
    /// A service somewhere else; where nobody says where, its discovery document does.
    Remote(Option<String>),
    /// Ours.
    Embedded(Box<Sts>),
}

/// The way to a token endpoint, and what is expected of its answers.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) trust: Trust,
    pub(super) endpoint: Endpoint,
    pub(super) client: Client,
    pub(super) actors: Option<Actors>,
    pub(super) scope: BTreeSet<String>,
    pub(super) subject: SubjectRule,
    pub(super) http: Http,
}

impl Exchange {
    /// Exchanges a token that has been verified, for the party that acts by it. Also gives the exchanged token, for
    /// databases that take it themselves.
    pub(super) async fn exchange(
        &self,
        token: &str,
        party: &Party,
        evidence: &Evidence,
    ) -> Result<(Identity, String), ExchangeError> {
        let answer = self.ask(token, &party.agent, evidence).await?;
        let issued = read(&answer)?;
        self.not_wider(issued.scope.as_deref().unwrap_or_default())?;
        let unverified = Unverified::read(&issued.token).map_err(ExchangeError::Token)?;
        let exchanged = self.trust.verify(unverified, now()).await.map_err(ExchangeError::Token)?;
        self.not_wider(exchanged.claims.get("scope").and_then(Value::as_str).unwrap_or_default())?;
        let expires = issued.expires.map_or(exchanged.expires, |expires| expires.min(exchanged.expires));
        // No leeway: what is issued now must not be over now.
        if expires <= now() {
            return Err(ExchangeError::Token(TokenError::Expired(now() - expires)));
        }
        if self.subject == SubjectRule::Same {
            same(party, &exchanged)?;
        }
        Ok((identity(exchanged, expires).map_err(ExchangeError::Token)?, issued.token))
    }

    /// Section 2.2.1: the scope has to be there if it is another than was asked for; more than that is not taken.
    fn not_wider(&self, scope: &str) -> Result<(), ExchangeError> {
        match scope.split(' ').find(|one| !one.is_empty() && !self.scope.contains(*one)) {
            None => Ok(()),
            Some(one) => Err(ExchangeError::Answer(format!(
                "the scope `{}` was not asked for (identity.exchange.scope says what is)",
                one.escape_debug()
            ))),
        }
    }

    async fn ask(&self, token: &str, agent: &str, evidence: &Evidence) -> Result<Answer, ExchangeError> {
        let url = match &self.endpoint {
            // Whether it may be asked was checked when the settings were read; HTTP is only ever allowed to loopback.
            Endpoint::Remote(Some(endpoint)) => Some(
                allowed(endpoint, true).map_err(|why| ExchangeError::Http(HttpError::unreachable(endpoint, why)))?,
            ),
            Endpoint::Remote(None) => Some(self.trust.keys.token_endpoint().await.map_err(ExchangeError::Http)?),
            Endpoint::Embedded(_) => None,
        };
        let endpoint = url.as_ref().map_or_else(|| self.trust.issuer.clone(), ToString::to_string);
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", token),
            ("subject_token_type", JWT),
            ("audience", &self.trust.audience),
            ("requested_token_type", JWT),
        ];
        let scope = self.scope.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        let actor = self.actors.as_ref().map(|actors| actors.sign(agent, evidence, &endpoint)).transpose();
        let actor = actor.map_err(ExchangeError::Fails)?;
        if let Some(actor) = &actor {
            form.extend([("actor_token", actor.as_str()), ("actor_token_type", JWT)]);
        }
        match (&self.endpoint, url) {
            (Endpoint::Remote(_), Some(url)) => {
                let Proof { fields, login } = self.client.proof(&self.trust.issuer).map_err(ExchangeError::Fails)?;
                form.extend(fields.iter().map(|(name, value)| (*name, value.as_str())));
                let login = login.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
                self.http.post(url, &form, login).await.map_err(ExchangeError::Http)
            }
            (Endpoint::Embedded(sts), _) => Ok(sts.answer(&form).await),
            (Endpoint::Remote(_), None) => Err(ExchangeError::Fails("it has no endpoint".to_owned())),
        }
    }
}

struct Issued {
    token: String,
    expires: Option<u64>,
    scope: Option<String>,
}

fn read(answer: &Answer) -> Result<Issued, ExchangeError> {
    let wrong = |why: &str| ExchangeError::Answer(why.to_owned());
    // Not even an answer: whoever stands there is in trouble.
    let members = json::object(&answer.body).map_err(ExchangeError::Fails)?;
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
    let scope = match members.get("scope") {
        None => None,
        Some(scope) => Some(scope.as_str().ok_or_else(|| wrong("scope is not a text"))?.to_owned()),
    };
    Ok(Issued { token: token.to_owned(), expires, scope })
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

/// An exchange that hands one agent the token of another, drops that somebody only acts *for* a human, or who acted before,
/// is mixed up.
fn same(party: &Party, exchanged: &Verified) -> Result<(), ExchangeError> {
    let is = exchanged.party();
    let human = party.on_behalf_of.is_none() || party.on_behalf_of == is.on_behalf_of;
    // A token without actors keeps the agent in `sub`, and history nowhere.
    let chain = exchanged.actors.is_empty() || is.before.ends_with(&party.before);
    if party.agent == is.agent && human && chain {
        Ok(())
    } else {
        Err(ExchangeError::Answer("the token is about somebody else than the agent (where the exchange maps names, set identity.exchange.subject to `mapped`)".to_owned()))
    }
}

pub(super) fn identity(exchanged: Verified, expires: u64) -> Result<Identity, TokenError> {
    let Party { agent, on_behalf_of, before } = exchanged.party();
    let groups: Vec<_> = list(&exchanged.claims, "groups")?.unwrap_or_default().into_iter().collect();
    // Where `sub` is the human (section 4.1), the token's groups are the human's, and are lent to the agent.
    let theirs = list(&exchanged.claims, "on_behalf_of_groups")?.map(|groups| groups.into_iter().collect());
    let lent = if exchanged.actors.is_empty() { Vec::new() } else { groups.clone() };
    Ok(Identity {
        subject: agent,
        issuer: exchanged.issuer,
        groups,
        claims: attributes(&exchanged.claims),
        on_behalf_of_groups: if on_behalf_of.is_some() { theirs.unwrap_or(lent) } else { Vec::new() },
        on_behalf_of,
        delegation: before,
        expires,
    })
}

fn list(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<BTreeSet<String>>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::Array(list)) => {
            let names = list.iter().map(|group| name(group).map(str::to_owned));
            names.collect::<Option<_>>().map(Some).ok_or(TokenError::Claim(claim))
        }
        Some(_) => Err(TokenError::Claim(claim)),
    }
}

/// The claims that are not registered ones, as sets of texts. Members of objects are named by a path of dots.
pub(super) fn attributes(claims: &Map<String, Value>) -> BTreeMap<String, BTreeSet<String>> {
    let mut attributes = BTreeMap::new();
    for (claim, value) in claims.iter().filter(|(claim, _)| !REGISTERED.contains(&claim.as_str())) {
        add(&mut attributes, claim.clone(), value, DEPTH);
    }
    attributes
}

fn add(attributes: &mut BTreeMap<String, BTreeSet<String>>, claim: String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if depth > 0 => {
            members.iter().for_each(|(name, value)| add(attributes, format!("{claim}.{name}"), value, depth - 1));
        }
        value => {
            if let Some(values) = values(&claim, value) {
                // What is named by a path must not change what a claim says.
                attributes.entry(claim).or_insert(values);
            }
        }
    }
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
