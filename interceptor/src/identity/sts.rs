//! A security token service within the daemon, for hosts that have no other: the same requests, the same answers, the same
//! checks of them (RFC 8693), without the network.
//!
//! It believes the issuers that the daemon believes, and mints short-lived tokens for databases. Rules map claims of the
//! subject token to groups; no rule, no token. What the subject token says of groups itself is not handed on: an issuer of
//! job tokens knows nothing of this host's databases.

use super::{
    exchange::{REGISTERED, attributes},
    http::Answer,
    now, pattern,
    settings::{EmbeddedSettings, MappingRule, SubjectRule},
    signing::SigningKey,
    verify::{LEEWAY, Party, TokenError, Trust, Unverified, Verified, name},
};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Claims of the subject token that mean something else in the new one, besides [`REGISTERED`].
const OWN: [&str; 2] = ["scope", "nonce"];

fn is_own(claim: &str) -> bool {
    REGISTERED.contains(&claim) || OWN.contains(&claim)
}

/// The service.
#[derive(Debug)]
pub(super) struct Sts {
    pub(super) issuer: String,
    audience: String,
    lifetime: u64,
    rules: Vec<MappingRule>,
    subjects: Vec<Trust>,
    /// For the daemon's own actor tokens.
    actors: Trust,
    key: Arc<SigningKey>,
}

/// Why there is no token, as RFC 6749 section 5.2 spells it.
struct Refusal {
    error: &'static str,
    description: String,
}

impl Sts {
    pub(super) fn new(
        issuer: String,
        audience: String,
        settings: &EmbeddedSettings,
        subjects: Vec<Trust>,
        actors: Trust,
        key: Arc<SigningKey>,
    ) -> Self {
        let (lifetime, rules) = (settings.lifetime_seconds, settings.rules.clone());
        Self { issuer, audience, lifetime, rules, subjects, actors, key }
    }

    /// Answers a request as a token endpoint does.
    pub(super) async fn answer(&self, form: &[(&str, &str)]) -> Answer {
        let (status, body) = match self.exchange(form).await {
            Ok(body) => (StatusCode::OK, body),
            Err(Refusal { error, description }) => {
                let status = if error == "temporarily_unavailable" {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::BAD_REQUEST
                };
                (status, json!({"error": error, "error_description": description}))
            }
        };
        Answer { status, date: None, body: body.to_string().into_bytes() }
    }

    async fn exchange(&self, form: &[(&str, &str)]) -> Result<Value, Refusal> {
        let field = |name: &str| {
            let mut values = form.iter().filter(|(field, _)| *field == name).map(|(_, value)| *value);
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(refusal("invalid_request", format!("{name} stands twice"))),
                (value, None) => Ok(value.unwrap_or_default()),
            }
        };
        if field("grant_type")? != GRANT {
            return Err(refusal("unsupported_grant_type", "only token exchange is offered"));
        }
        if field("subject_token_type")? != JWT || field("requested_token_type")? != JWT {
            return Err(refusal("invalid_request", "tokens are JWTs here"));
        }
        if field("audience")? != self.audience {
            return Err(refusal("invalid_target", format!("the audience is not `{}`", self.audience)));
        }
        let (subject, trust) = self.subject(field("subject_token")?).await?;
        let party = match field("actor_token")? {
            "" => subject.party(),
            actor if field("actor_token_type")? == JWT => {
                let actor = verified(&self.actors, actor).await?;
                subject.party_of(Some(&actor.named), trust.delegation).map_err(|error| denied(&error))?
            }
            _ => return Err(refusal("invalid_request", "actor_token_type is not a JWT's")),
        };
        self.mint(&subject, &party)
    }

    async fn subject(&self, token: &str) -> Result<(Verified, &Trust), Refusal> {
        let unverified = Unverified::read(token).map_err(|error| denied(&error))?;
        let trust = self.subjects.iter().find(|trust| trust.issuer == unverified.issuer);
        let trust = trust.ok_or_else(|| refusal("invalid_request", "the issuer is not configured"))?;
        Ok((verified(trust, token).await?, trust))
    }

    fn mint(&self, subject: &Verified, party: &Party) -> Result<Value, Refusal> {
        let groups = groups(&self.rules, subject).ok_or_else(|| {
            refusal("access_denied", "no rule of identity.exchange.embedded is about this token's subject and claims")
        })?;
        let now = now();
        // Not beyond the token that it was made from: else an agent could live for ever by exchanging.
        // One that is over by our clock and was believed for the leeway is believed for what is left of it.
        let over = if subject.expires <= now { LEEWAY } else { 0 };
        let until = (now + self.lifetime).min(subject.expires + over);
        let mut claims: Map<String, Value> =
            subject.claims.iter().filter(|(claim, _)| !is_own(claim)).map(clone).collect();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", json!(self.issuer));
        set("aud", json!(self.audience));
        set("iat", json!(now));
        set("nbf", json!(now));
        set("exp", json!(until));
        set("jti", json!(format!("{:032x}", rand::random::<u128>())));
        set("groups", json!(groups));
        set("subject_issuer", json!(subject.issuer));
        match &party.on_behalf_of {
            None => {
                set("sub", json!(party.agent));
            }
            Some(behind) => {
                set("sub", json!(behind));
                set("act", act(&party.agent, &party.before));
                // The human's own groups, where the issuer knows them.
                let theirs = subject.claims.get("groups").and_then(Value::as_array);
                let theirs = theirs.into_iter().flatten().filter_map(name).collect::<BTreeSet<_>>();
                set("on_behalf_of_groups", json!(theirs));
            }
        }
        let token = self.key.sign(&Value::Object(claims)).map_err(|why| refusal("server_error", why))?;
        Ok(json!({
            "access_token": token,
            "issued_token_type": JWT,
            "token_type": "N_A",
            "expires_in": until.saturating_sub(now),
        }))
    }

    /// Whether it may rename agents: by its rules only groups are mapped.
    pub(super) const SUBJECTS: SubjectRule = SubjectRule::Same;
}

fn clone((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// The chain of actors, the one that acts now outermost.
fn act(agent: &str, before: &[String]) -> Value {
    match before.split_first() {
        Some((next, rest)) => json!({"sub": agent, "act": act(next, rest)}),
        None => json!({"sub": agent}),
    }
}

async fn verified(trust: &Trust, token: &str) -> Result<Verified, Refusal> {
    let unverified = Unverified::read(token).map_err(|error| denied(&error))?;
    trust.verify(unverified, now()).await.map_err(|error| denied(&error))
}

fn denied(error: &TokenError) -> Refusal {
    refusal(if error.unavailable() { "temporarily_unavailable" } else { "invalid_request" }, error.to_string())
}

fn refusal(error: &'static str, description: impl Into<String>) -> Refusal {
    Refusal { error, description: description.into() }
}

/// The groups of all rules that fit; `None` if none fits.
fn groups(rules: &[MappingRule], subject: &Verified) -> Option<BTreeSet<String>> {
    let said = attributes(&subject.claims);
    let mut fits = false;
    let mut groups = BTreeSet::new();
    for rule in rules {
        let mut found = BTreeMap::new();
        let issuer = rule.issuer.as_ref().is_none_or(|issuer| *issuer == subject.issuer);
        if issuer
            && pattern::matches(&rule.subject, &subject.named, &mut found)
            && rule.claims.iter().all(|(claim, wanted)| {
                let values = said.get(claim).into_iter().flatten();
                let mut values = values.map(|value| pattern::matches(wanted, value, &mut found));
                values.any(|fits| fits)
            })
        {
            fits = true;
            groups.extend(rule.groups.iter().map(|group| pattern::fill(group, &found)));
        }
    }
    fits.then_some(groups)
}
