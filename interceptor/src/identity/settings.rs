//! The section `[identity]` of the configuration file.

use super::{
    exchange::{Credential, Exchange},
    http::{Http, allowed},
    keys::Keys,
    verify::Trust,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where tokens are looked for, whose tokens count, and who exchanges them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where a subject token is looked for, in this order. The first place that has something decides: what is wrong there
    /// is a refusal, not a reason to look further.
    #[serde(default = "environment")]
    pub sources: Vec<Source>,
    /// For the source `environment`: names of variables, in this order.
    #[serde(default = "agent_id_token")]
    pub environment_variables: Vec<String>,
    /// For the source `file`: absolute paths as the agent sees them; `{uid}` is replaced by its user id.
    #[serde(default = "run_agents")]
    pub files: Vec<String>,
    /// Whose tokens are accepted.
    pub issuers: Vec<IssuerSettings>,
    /// Who turns them into tokens for databases.
    pub exchange: ExchangeSettings,
}

/// A place where subject tokens are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A variable in the environment that the process was started with, or else an ancestor's in the same cgroup.
    Environment,
    /// A file, read as the process itself sees it.
    File,
}

/// An issuer of subject tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Its identifier, exactly as the tokens' `iss` and its discovery document spell it.
    pub url: String,
    /// What `aud` must be.
    pub audience: String,
    /// With what its tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// If there are any, `azp` must be one of them.
    #[serde(default)]
    pub authorized_parties: BTreeSet<String>,
    /// Whether plain HTTP is accepted, which it only ever is for a loopback address.
    #[serde(default)]
    pub allow_http: bool,
}

/// Signature algorithms. None with a shared secret: who can check such a token can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The token exchange (RFC 8693).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeSettings {
    /// Who issues the exchanged tokens.
    pub issuer: String,
    /// What `aud` of an exchanged token must be, and what is asked for.
    pub audience: String,
    /// Where to ask; without it, where the issuer's discovery document says.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// With what exchanged tokens may be signed; without it, as for the same issuer's subject tokens.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// As for issuers; without it, as for the same issuer's subject tokens.
    #[serde(default)]
    pub allow_http: Option<bool>,
    /// Whether the exchange may rename the agent.
    #[serde(default)]
    pub subject: SubjectRule,
    /// The daemon's own name at the token endpoint.
    #[serde(default)]
    pub client_id: Option<String>,
    /// A file with the daemon's password there.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
}

/// How an exchanged token's subject relates to the subject token's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectRule {
    /// It names the same agent (and the same human, if the subject token names one): another one would be a mix-up.
    #[default]
    Same,
    /// The exchange maps names by rules of its own.
    Mapped,
}

/// All that is wrong with the settings.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct SettingsError(pub Vec<String>);

impl Settings {
    pub(super) fn check(&self) -> Result<(Vec<Trust>, Exchange), SettingsError> {
        let mut mistakes = self.source_mistakes();
        let mut say = |mistake: Result<(), String>| mistakes.extend(mistake.err());
        let http = Http::new();
        say(http.as_ref().map(drop).map_err(ToString::to_string));

        if self.issuers.is_empty() {
            say(Err("identity.issuers is empty: name at least one issuer, or nobody can connect".to_owned()));
        }
        for (index, issuer) in self.issuers.iter().enumerate() {
            say(allowed(&issuer.url, issuer.allow_http).map(drop));
            say(not_empty("audience", &issuer.url, issuer.audience.is_empty()));
            say(not_empty("algorithms", &issuer.url, issuer.algorithms.is_empty()));
            if self.issuers.iter().take(index).any(|other| other.url == issuer.url) {
                say(Err(format!("issuer `{}` is named twice in identity.issuers", issuer.url)));
            }
        }

        let same = self.issuers.iter().find(|issuer| issuer.url == self.exchange.issuer);
        let allow_http = self.exchange.allow_http.or(same.map(|issuer| issuer.allow_http)).unwrap_or_default();
        let algorithms = self.exchange.algorithms.as_ref().or(same.map(|issuer| &issuer.algorithms));
        say(allowed(&self.exchange.issuer, allow_http).map(drop));
        say(self.exchange.token_endpoint.as_ref().map_or(Ok(()), |url| allowed(url, allow_http).map(drop)));
        say(not_empty("audience", "identity.exchange", self.exchange.audience.is_empty()));
        say(not_empty("algorithms", "identity.exchange", algorithms.is_none_or(Vec::is_empty)));
        let credential =
            Credential::read(self.exchange.client_id.as_deref(), self.exchange.client_secret_file.as_deref());
        say(credential.as_ref().map(drop).map_err(Clone::clone));

        let (Ok(http), Ok(credential), Some(algorithms), true) = (http, credential, algorithms, mistakes.is_empty())
        else {
            return Err(SettingsError(mistakes));
        };
        let issuers: Vec<_> = self.issuers.iter().map(|issuer| Trust::subjects_of(issuer, &http)).collect();
        let keys = issuers.iter().find(|trust| trust.issuer == self.exchange.issuer).map_or_else(
            || Arc::new(Keys::new(&self.exchange.issuer, allow_http, http.clone())),
            |trust| Arc::clone(&trust.keys),
        );
        let trust = Trust {
            issuer: self.exchange.issuer.clone(),
            audience: self.exchange.audience.clone(),
            algorithms: algorithms.clone(),
            authorized_parties: BTreeSet::new(),
            keys,
        };
        let exchange =
            Exchange::new(trust, self.exchange.token_endpoint.clone(), credential, self.exchange.subject, http);
        Ok((issuers, exchange))
    }

    fn source_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.sources.is_empty() {
            mistakes.push("identity.sources is empty: name `environment`, `file` or both".to_owned());
        }
        if self.sources.contains(&Source::Environment) {
            if self.environment_variables.is_empty() {
                mistakes.push("identity.environment_variables is empty".to_owned());
            }
            let wrong = self.environment_variables.iter().filter(|name| name.is_empty() || name.contains(['=', '\0']));
            mistakes.extend(
                wrong.map(|name| format!("`{name}` in identity.environment_variables is not the name of a variable")),
            );
        }
        if self.sources.contains(&Source::File) {
            if self.files.is_empty() {
                mistakes.push("identity.files is empty".to_owned());
            }
            mistakes.extend(self.files.iter().filter_map(|path| file_mistake(path)));
        }
        mistakes
    }

    /// The sources as the audit names them when none has a token.
    pub(super) fn sources_in_words(&self) -> String {
        let places = self.sources.iter().flat_map(|source| match source {
            Source::Environment => {
                self.environment_variables.iter().map(|name| format!("variable `{name}`")).collect::<Vec<_>>()
            }
            Source::File => self.files.iter().map(|path| format!("file `{path}`")).collect(),
        });
        places.collect::<Vec<_>>().join(", ")
    }
}

fn file_mistake(template: &str) -> Option<String> {
    let without = template.replace("{uid}", "0");
    if !Path::new(&without).is_absolute() {
        Some(format!("`{template}` in identity.files is not an absolute path"))
    } else if without.contains(['{', '}', '\0']) {
        Some(format!("`{template}` in identity.files has a placeholder other than `{{uid}}`"))
    } else {
        None
    }
}

fn not_empty(what: &str, whose: &str, empty: bool) -> Result<(), String> {
    if empty { Err(format!("{what} of `{whose}` is missing")) } else { Ok(()) }
}

fn environment() -> Vec<Source> {
    vec![Source::Environment]
}

fn agent_id_token() -> Vec<String> {
    vec!["AGENT_ID_TOKEN".to_owned()]
}

fn run_agents() -> Vec<String> {
    vec!["/run/agents/{uid}/token".to_owned()]
}
