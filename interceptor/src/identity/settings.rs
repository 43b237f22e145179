//! The section `[identity]` of the configuration file.

use super::{
    actor::Actors,
    attest::AttestRule,
    client::Client,
    exchange::{Endpoint, Exchange},
    http::{Http, Tls, allowed},
    keys::{Ages, Keys},
    preset::{Issuer, Preset},
    signing::SigningKey,
    sts::Sts,
    verify::Trust,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Where tokens are looked for, whose tokens count, and who exchanges them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where a subject token is looked for, in this order. The first place that has something decides: what is wrong there
    /// is a refusal, not a reason to look further.
    #[serde(default = "enrolled_and_environment")]
    pub sources: Vec<Source>,
    /// For the source `environment`: names of variables, in this order.
    #[serde(default = "agent_id_token")]
    pub environment_variables: Vec<String>,
    /// For the source `file`: absolute paths as the agent sees them; `{uid}` is replaced by its user id.
    #[serde(default = "run_agents")]
    pub files: Vec<String>,
    /// For the source `request_url`.
    #[serde(default)]
    pub request_url: RequestUrlSettings,
    /// What processes are by what is seen of them; if there are any, a process that none is about is nobody.
    #[serde(default)]
    pub attest: Vec<AttestRule>,
    /// How often a session is looked after while it has nothing to fear: whether its token's key is still published and
    /// what was enrolled is still there, in seconds.
    #[serde(default = "half_a_minute")]
    pub recheck_seconds: u64,
    /// Whose tokens are accepted. Without any nobody is known, which is for hosts that only observe.
    #[serde(default)]
    pub issuers: Vec<IssuerSettings>,
    /// Who turns them into tokens for databases.
    pub exchange: Option<ExchangeSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sources: enrolled_and_environment(),
            environment_variables: agent_id_token(),
            files: run_agents(),
            request_url: RequestUrlSettings::default(),
            attest: Vec::new(),
            recheck_seconds: half_a_minute(),
            issuers: Vec::new(),
            exchange: None,
        }
    }
}

/// A place where subject tokens are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// What was enrolled over the control socket for the process or its cgroup.
    Enrolled,
    /// A variable in the environment that the process was started with, or else an ancestor's in the same cgroup.
    Environment,
    /// A file, read as the process itself sees it.
    File,
    /// A URL and a token for it in the environment, where a CI system hands out identity tokens.
    RequestUrl,
}

/// For CI systems whose jobs ask for their tokens themselves (GitHub Actions): the daemon asks in their place.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestUrlSettings {
    /// The variable that has the URL.
    pub url_variable: String,
    /// The variable that has the bearer token for it.
    pub token_variable: String,
    /// Hosts that may be asked: names, or `*.` and the end of a name. The URL comes from the agent.
    pub hosts: Vec<String>,
    /// The audience that is asked for.
    pub audience: String,
    /// Whether plain HTTP is accepted, which it only ever is for a loopback address.
    pub allow_http: bool,
}

impl Default for RequestUrlSettings {
    fn default() -> Self {
        Self {
            url_variable: "ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(),
            token_variable: "ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(),
            hosts: vec!["*.actions.githubusercontent.com".to_owned()],
            audience: "interceptor".to_owned(),
            allow_http: false,
        }
    }
}

/// An issuer of subject tokens. What a preset says need not be said.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// A known kind of issuer.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// Its identifier, exactly as the tokens' `iss` and its discovery document spell it.
    #[serde(default)]
    pub url: Option<String>,
    /// What `aud` must be.
    pub audience: String,
    /// With what its tokens may be signed.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// What `typ` may be; a token without counts as `JWT` (RFC 7519 section 5.1). `["JWT"]` if nothing is said.
    #[serde(default)]
    pub types: Option<Vec<String>>,
    /// If there are any, `azp` must be one of them.
    #[serde(default)]
    pub authorized_parties: BTreeSet<String>,
    /// What every `sub` has to begin with.
    #[serde(default)]
    pub subject_prefix: Option<String>,
    /// Whether there has to be an `nbf`.
    #[serde(default)]
    pub nbf_required: Option<bool>,
    /// How long its tokens may be good for, from `iat` to `exp`; a day if nothing is said.
    #[serde(default)]
    pub max_lifetime_seconds: Option<u64>,
    /// Whose its tokens are, seen from the process.
    #[serde(default)]
    pub delegation: Option<Delegation>,
    /// Where its keys are, for issuers without a discovery document.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// CAs that vouch for it, in PEM; those that the host trusts if nothing is said.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP is accepted, which it only ever is for a loopback address.
    #[serde(default)]
    pub allow_http: bool,
    /// How long its keys are used without asking again.
    #[serde(default = "five_minutes")]
    pub jwks_fresh_seconds: u64,
    /// How long they are used at most, if it cannot be asked.
    #[serde(default = "an_hour")]
    pub jwks_max_stale_seconds: u64,
    /// How often at most an unknown key makes the daemon ask again.
    #[serde(default = "ten_seconds")]
    pub jwks_cooldown_seconds: u64,
}

/// What a token's subject is to the process that shows it, where rules attest what the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delegation {
    /// The process itself, or whoever says by `may_act` that it may act.
    #[default]
    Agent,
    /// The job or human that the process works for.
    Job,
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
    /// Who issues the exchanged tokens; the embedded service calls itself `urn:interceptor:sts` if nothing is said.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What `aud` of an exchanged token must be, and what is asked for.
    pub audience: String,
    /// A service within the daemon, where there is no other.
    #[serde(default)]
    pub embedded: Option<EmbeddedSettings>,
    /// Where to ask; without it, where the issuer's discovery document says.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// With what exchanged tokens may be signed; without it, as for the same issuer's subject tokens.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// As for issuers; without it, as for the same issuer's subject tokens.
    #[serde(default)]
    pub allow_http: Option<bool>,
    /// CAs that vouch for the endpoint, in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether the exchange may rename the agent.
    #[serde(default)]
    pub subject: SubjectRule,
    /// What is asked for, separated by blanks; an answer with more is refused.
    #[serde(default)]
    pub scope: String,
    /// The daemon's own name at the token endpoint.
    #[serde(default)]
    pub client_id: Option<String>,
    /// A file with the daemon's password there.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// A file with the key that the daemon signs assertions with instead (`private_key_jwt`).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// What the endpoint calls that key; its thumbprint if nothing is said.
    #[serde(default)]
    pub client_key_id: Option<String>,
    /// A file with the certificate that the daemon shows instead, and its key (mTLS), in PEM.
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// The daemon's word on who acts.
    #[serde(default)]
    pub actor: Option<ActorSettings>,
}

/// Actor tokens, which say which process acts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorSettings {
    /// Their `iss`, which the endpoint has to know.
    pub issuer: String,
    /// The key that signs them, in PEM.
    pub key_file: PathBuf,
    /// What the endpoint calls the key; its thumbprint if nothing is said.
    #[serde(default)]
    pub key_id: Option<String>,
    /// Their `aud`; the token endpoint's URL if nothing is said.
    #[serde(default)]
    pub audience: Option<String>,
}

/// The token service within the daemon.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// The key that signs its tokens, in PEM; made where there is none.
    pub key_file: PathBuf,
    /// How long its tokens are good for, and never longer than those that they are made from.
    #[serde(default = "a_quarter_of_an_hour")]
    pub lifetime_seconds: u64,
    /// Which tokens give which groups. A token that none is about is refused.
    pub rules: Vec<MappingRule>,
}

/// One `[[identity.exchange.embedded.rules]]`. Patterns: `*` stands for any characters but `/`, `**` for any, `{name}`, as
/// `*`, gives what it stands for a name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingRule {
    /// Whose tokens; anybody's if nothing is said.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Pattern of `sub`.
    pub subject: String,
    /// Patterns of further claims; of a list, one has to fit. Members of objects are named by a path of dots.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// What they give; `{name}` is what the pattern of the same name has matched.
    #[serde(default)]
    pub groups: Vec<String>,
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

/// The longest that tokens may be good for if nothing is said, in seconds.
const DAY: u64 = 24 * 3600;

/// What the embedded service calls itself if nothing is said.
const EMBEDDED: &str = "urn:interceptor:sts";

impl Settings {
    pub(super) fn check(&self) -> Result<(Vec<Trust>, Option<Exchange>), SettingsError> {
        let mut mistakes = self.source_mistakes();
        mistakes.extend(self.attest.iter().filter_map(AttestRule::mistake));
        if self.recheck_seconds == 0 {
            mistakes.push("identity.recheck_seconds is 0".to_owned());
        }
        let mut issuers: Vec<(Issuer, Trust)> = Vec::new();
        for settings in &self.issuers {
            let known = settings.resolve().and_then(|issuer| {
                let trust = subjects_of(settings, &issuer).map_err(|why| vec![why])?;
                Ok((issuer, trust))
            });
            match known {
                Ok((issuer, _)) if issuers.iter().any(|(other, _)| other.url == issuer.url) => {
                    mistakes.push(format!("issuer `{}` is named twice in identity.issuers", issuer.url));
                }
                Ok(known) => issuers.push(known),
                Err(more) => mistakes.extend(more),
            }
        }
        let http_allowed = self.issuers.iter().map(|issuer| issuer.allow_http);
        let exchange = match &self.exchange {
            Some(settings) if self.issuers.is_empty() => settings
                .check(&issuers, http_allowed)
                .and(Err(vec!["identity.issuers is empty: whose tokens are to be exchanged?".to_owned()])),
            Some(settings) => settings.check(&issuers, http_allowed).map(Some),
            None if self.issuers.is_empty() => Ok(None),
            None => Err(vec![
                "identity.exchange is missing: who turns agents' tokens into tokens for databases?".to_owned(),
            ]),
        };
        match (exchange, mistakes.is_empty()) {
            (Ok(exchange), true) => Ok((issuers.into_iter().map(|(_, trust)| trust).collect(), exchange)),
            (exchange, _) => {
                mistakes.extend(exchange.err().unwrap_or_default());
                Err(SettingsError(mistakes))
            }
        }
    }

    fn source_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.sources.is_empty() {
            mistakes.push(
                "identity.sources is empty: name some of `enrolled`, `environment`, `file`, `request_url`".to_owned(),
            );
        }
        let not_variables = |names: &[String], of: &str| {
            let wrong = names.iter().filter(|name| name.is_empty() || name.contains(['=', '\0']));
            wrong.map(|name| format!("`{name}` in identity.{of} is not the name of a variable")).collect::<Vec<_>>()
        };
        if self.sources.contains(&Source::Environment) {
            if self.environment_variables.is_empty() {
                mistakes.push("identity.environment_variables is empty".to_owned());
            }
            mistakes.extend(not_variables(&self.environment_variables, "environment_variables"));
        }
        if self.sources.contains(&Source::File) {
            if self.files.is_empty() {
                mistakes.push("identity.files is empty".to_owned());
            }
            mistakes.extend(self.files.iter().filter_map(|path| file_mistake(path)));
        }
        if self.sources.contains(&Source::RequestUrl) {
            let RequestUrlSettings { url_variable, token_variable, hosts, .. } = &self.request_url;
            mistakes.extend(not_variables(&[url_variable.clone(), token_variable.clone()], "request_url"));
            if hosts.is_empty() {
                mistakes.push("identity.request_url.hosts is empty".to_owned());
            }
            let wrong = hosts.iter().filter(|host| {
                let name = host.strip_prefix("*.").unwrap_or(host);
                name.is_empty() || name.contains(['*', '/', ':']) || (host.starts_with("*.") && !name.contains('.'))
            });
            mistakes.extend(wrong.map(|host| {
                format!("`{host}` in identity.request_url.hosts is neither a name nor `*.` and the end of one")
            }));
        }
        mistakes
    }

    /// The sources as the audit names them when none has a token.
    pub(super) fn sources_in_words(&self) -> String {
        let places = self.sources.iter().flat_map(|source| match source {
            Source::Enrolled => vec!["what is enrolled".to_owned()],
            Source::Environment => {
                self.environment_variables.iter().map(|name| format!("variable `{name}`")).collect::<Vec<_>>()
            }
            Source::File => self.files.iter().map(|path| format!("file `{path}`")).collect(),
            Source::RequestUrl => vec![format!("what variable `{}` leads to", self.request_url.url_variable)],
        });
        places.collect::<Vec<_>>().join(", ")
    }
}

fn subjects_of(settings: &IssuerSettings, issuer: &Issuer) -> Result<Trust, String> {
    let ages = Ages {
        fresh: Duration::from_secs(settings.jwks_fresh_seconds),
        stale: Duration::from_secs(settings.jwks_max_stale_seconds),
        again: Duration::from_secs(settings.jwks_cooldown_seconds),
    };
    let http = Http::new(&Tls { ca: pem(settings.ca_file.as_deref())?, identity: None });
    let http = http.map_err(|error| error.to_string())?;
    Ok(Trust {
        issuer: issuer.url.clone(),
        audience: settings.audience.clone(),
        algorithms: issuer.algorithms.clone(),
        types: issuer.types.clone(),
        authorized_parties: settings.authorized_parties.clone(),
        subject_prefix: issuer.subject_prefix.clone(),
        nbf_required: issuer.nbf_required,
        longest: issuer.longest,
        delegation: issuer.delegation,
        bound: false,
        keys: Arc::new(Keys::new(&issuer.url, settings.jwks_uri.clone(), settings.allow_http, ages, http)),
    })
}

impl ExchangeSettings {
    fn check(
        &self,
        issuers: &[(Issuer, Trust)],
        http_allowed: impl Iterator<Item = bool>,
    ) -> Result<Exchange, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut say = |mistake: Result<(), String>| mistakes.extend(mistake.err());
        say(not_empty("audience", "identity.exchange", self.audience.is_empty()));
        let scope = self.scope.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        if let Some(embedded) = &self.embedded {
            say(self
                .token_endpoint
                .as_ref()
                .map_or(Ok(()), |_| Err("identity.exchange has both `embedded` and a token_endpoint".to_owned())));
            say(not_empty("rules", "identity.exchange.embedded", embedded.rules.is_empty()));
            if embedded.lifetime_seconds == 0 || embedded.lifetime_seconds > DAY {
                say(Err("identity.exchange.embedded.lifetime_seconds is not between 1 and 86400".to_owned()));
            }
            if !mistakes.is_empty() {
                return Err(mistakes);
            }
            return self.embedded(embedded, issuers, scope).map_err(|why| vec![why]);
        }
        let Some(issuer) = &self.issuer else {
            say(Err("identity.exchange names no issuer, and no `embedded` service either".to_owned()));
            return Err(mistakes);
        };
        let same = issuers.iter().position(|(known, _)| known.url == *issuer);
        let http = same.and_then(|at| http_allowed.into_iter().nth(at));
        let same = same.and_then(|at| issuers.get(at)).map(|(_, trust)| trust);
        let allow_http = self.allow_http.or(http).unwrap_or_default();
        let algorithms = self.algorithms.as_ref().or(same.map(|trust| &trust.algorithms));
        say(allowed(issuer, allow_http).map(drop));
        say(self.token_endpoint.as_ref().map_or(Ok(()), |url| allowed(url, allow_http).map(drop)));
        say(not_empty("algorithms", "identity.exchange", algorithms.is_none_or(Vec::is_empty)));
        let client = Client::read(self);
        say(client.as_ref().map(drop).map_err(Clone::clone));
        let actors = self.actor.as_ref().map(Actors::read).transpose();
        say(actors.as_ref().map(drop).map_err(Clone::clone));
        let http = self.http();
        say(http.as_ref().map(drop).map_err(Clone::clone));
        let (Ok(client), Ok(actors), Ok(http), Some(algorithms), true) =
            (client, actors, http, algorithms, mistakes.is_empty())
        else {
            return Err(mistakes);
        };
        let keys = same.map_or_else(
            || {
                let ages = Ages {
                    fresh: Duration::from_secs(five_minutes()),
                    stale: Duration::from_secs(an_hour()),
                    again: Duration::from_secs(ten_seconds()),
                };
                Arc::new(Keys::new(issuer, None, allow_http, ages, http.clone()))
            },
            |trust| Arc::clone(&trust.keys),
        );
        let trust = exchanged(issuer, &self.audience, algorithms.clone(), keys);
        let endpoint = Endpoint::Remote(self.token_endpoint.clone());
        Ok(Exchange { trust, endpoint, client, actors, scope, subject: self.subject, http })
    }

    fn http(&self) -> Result<Http, String> {
        let tls = Tls { ca: pem(self.ca_file.as_deref())?, identity: pem(self.client_certificate_file.as_deref())? };
        Http::new(&tls).map_err(|error| error.to_string())
    }

    fn embedded(
        &self,
        settings: &EmbeddedSettings,
        issuers: &[(Issuer, Trust)],
        scope: BTreeSet<String>,
    ) -> Result<Exchange, String> {
        let issuer = self.issuer.as_deref().unwrap_or(EMBEDDED);
        if issuers.iter().any(|(known, _)| known.url == issuer) {
            return Err(format!(
                "identity.exchange.issuer `{issuer}` is one of identity.issuers: the embedded service is another"
            ));
        }
        let key = Arc::new(SigningKey::read_or_make(&settings.key_file)?);
        let http = Http::new(&Tls::default()).map_err(|error| error.to_string())?;
        let keys = Arc::new(Keys::own(issuer, &key.kid, key.algorithm, key.public()?, http.clone()));
        let trust = exchanged(issuer, &self.audience, vec![key.algorithm], keys);
        // An actor token is for the service, not for databases, so that neither can stand in for the other.
        let actors = Trust { audience: issuer.to_owned(), types: vec!["JWT".to_owned()], ..trust.clone() };
        let subjects = issuers.iter().map(|(_, trust)| trust.clone()).collect();
        let sts = Sts::new(issuer.to_owned(), self.audience.clone(), settings, subjects, actors, key.clone());
        Ok(Exchange {
            trust,
            endpoint: Endpoint::Embedded(Box::new(sts)),
            client: Client::Public(None),
            actors: Some(Actors::own(issuer, key)),
            scope,
            subject: Sts::SUBJECTS,
            http,
        })
    }
}

/// Exchanged tokens are access tokens or plain ones; where they say nothing of `nbf`, `iat` is as good.
fn exchanged(issuer: &str, audience: &str, algorithms: Vec<Algorithm>, keys: Arc<Keys>) -> Trust {
    Trust {
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        algorithms,
        types: vec!["JWT".to_owned(), "at+jwt".to_owned()],
        authorized_parties: BTreeSet::new(),
        subject_prefix: String::new(),
        nbf_required: false,
        longest: DAY,
        delegation: Delegation::Agent,
        bound: true,
        keys,
    }
}

fn pem(path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    path.map(|path| fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))).transpose()
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

pub(super) fn not_empty(what: &str, whose: &str, empty: bool) -> Result<(), String> {
    if empty { Err(format!("{what} of `{whose}` is missing")) } else { Ok(()) }
}

fn enrolled_and_environment() -> Vec<Source> {
    vec![Source::Enrolled, Source::Environment]
}

fn agent_id_token() -> Vec<String> {
    vec!["AGENT_ID_TOKEN".to_owned()]
}

fn run_agents() -> Vec<String> {
    vec!["/run/agents/{uid}/token".to_owned()]
}

fn ten_seconds() -> u64 {
    10
}

fn half_a_minute() -> u64 {
    30
}

fn five_minutes() -> u64 {
    300
}

fn a_quarter_of_an_hour() -> u64 {
    900
}

fn an_hour() -> u64 {
    3600
}
