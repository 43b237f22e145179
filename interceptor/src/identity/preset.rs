//! What is known of well-known issuers, so that a configuration need not say it.
//!
//! Sources: GitHub's "OpenID Connect reference", GitLab's "ID token authentication", Buildkite's "OIDC with Buildkite",
//! Kubernetes' "Service account token volume projection", SPIFFE's JWT-SVID specification.

use super::{
    http::allowed,
    settings::{Algorithm, Delegation, IssuerSettings, not_empty},
};
use serde::Deserialize;

/// Kinds of issuers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// GitHub Actions: `repo:ORG/REPO:...`; tokens of some minutes.
    GithubActions,
    /// GitLab CI/CD `id_tokens`; another instance than gitlab.com needs its `url`.
    Gitlab,
    /// `buildkite-agent oidc request-token`.
    Buildkite,
    /// Projected service account tokens of a cluster, whose issuer is its `url`. Those that pods get by default are extended
    /// to a year.
    Kubernetes,
    /// JWT-SVIDs of a trust domain, by the OIDC discovery provider that is its `url`: `subject_prefix` is the trust domain,
    /// `spiffe://example.org/`.
    Spiffe,
}

/// An issuer of which everything is known.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) types: Vec<String>,
    pub(super) subject_prefix: String,
    pub(super) nbf_required: bool,
    pub(super) longest: u64,
    pub(super) delegation: Delegation,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Preset {
    fn issuer(self) -> Issuer {
        let of = |url: &str, longest, delegation| Issuer {
            url: url.to_owned(),
            algorithms: vec![Algorithm::Rs256],
            types: vec!["JWT".to_owned()],
            subject_prefix: String::new(),
            nbf_required: true,
            longest,
            delegation,
        };
        match self {
            Self::GithubActions => of("https://token.actions.githubusercontent.com", DAY, Delegation::Job),
            Self::Gitlab => of("https://gitlab.com", DAY, Delegation::Job),
            Self::Buildkite => of("https://agent.buildkite.com", DAY, Delegation::Job),
            // `--service-account-extend-token-expiration`: a year and 7 seconds.
            Self::Kubernetes => of("", 365 * DAY + HOUR, Delegation::Job),
            Self::Spiffe => Issuer {
                algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
                types: vec!["JWT".to_owned(), "JOSE".to_owned()],
                nbf_required: false,
                ..of("", DAY, Delegation::Agent)
            },
        }
    }
}

impl IssuerSettings {
    /// Everything that is known of it, by itself or by its preset.
    pub(super) fn resolve(&self) -> Result<Issuer, Vec<String>> {
        let preset = self.preset.map(Preset::issuer);
        let mut issuer = preset.unwrap_or(Issuer {
            url: String::new(),
            algorithms: Vec::new(),
            types: vec!["JWT".to_owned()],
            subject_prefix: String::new(),
            nbf_required: true,
            longest: DAY,
            delegation: Delegation::Agent,
        });
        let set = |known: &mut String, said: &Option<String>| {
            if let Some(said) = said {
                known.clone_from(said);
            }
        };
        set(&mut issuer.url, &self.url);
        set(&mut issuer.subject_prefix, &self.subject_prefix);
        if let Some(algorithms) = &self.algorithms {
            issuer.algorithms.clone_from(algorithms);
        }
        if let Some(types) = &self.types {
            issuer.types.clone_from(types);
        }
        issuer.nbf_required = self.nbf_required.unwrap_or(issuer.nbf_required);
        issuer.longest = self.max_lifetime_seconds.unwrap_or(issuer.longest);
        issuer.delegation = self.delegation.unwrap_or(issuer.delegation);

        let mut mistakes = Vec::new();
        let mut say = |mistake: Result<(), String>| mistakes.extend(mistake.err());
        let name = if issuer.url.is_empty() { "an issuer" } else { &issuer.url };
        if issuer.url.is_empty() {
            say(Err("an issuer in identity.issuers has no url".to_owned()));
        } else {
            say(allowed(&issuer.url, self.allow_http).map(drop));
        }
        say(self.jwks_uri.as_ref().map_or(Ok(()), |uri| allowed(uri, self.allow_http).map(drop)));
        say(not_empty("audience", name, self.audience.is_empty()));
        say(not_empty("algorithms", name, issuer.algorithms.is_empty()));
        say(not_empty("types", name, issuer.types.is_empty()));
        // One issuer for everybody who has an account there: without this, anybody's jobs would be believed.
        let shared = match self.preset {
            Some(Preset::GithubActions) => Some("repo:acme/"),
            Some(Preset::Buildkite) => Some("organization:acme:"),
            Some(Preset::Gitlab) if self.url.is_none() => Some("project_path:acme/"),
            Some(Preset::Gitlab | Preset::Kubernetes | Preset::Spiffe) | None => None,
        };
        if let Some(example) = shared
            && issuer.subject_prefix.is_empty()
        {
            say(Err(format!(
                "subject_prefix of `{name}` is missing: it is everybody's issuer, so say whose jobs are meant, `{example}`"
            )));
        }
        let trust_domain = issuer.subject_prefix.strip_prefix("spiffe://").and_then(|rest| rest.strip_suffix('/'));
        if self.preset == Some(Preset::Spiffe) && trust_domain.is_none_or(str::is_empty) {
            say(Err(format!("subject_prefix of `{name}` is not a trust domain: `spiffe://example.org/`")));
        }
        if self.jwks_max_stale_seconds < self.jwks_fresh_seconds || self.jwks_fresh_seconds == 0 {
            say(Err(format!("jwks_fresh_seconds of `{name}` is 0 or more than its jwks_max_stale_seconds")));
        }
        if mistakes.is_empty() { Ok(issuer) } else { Err(mistakes) }
    }
}

#[cfg(test)]
mod tests {
    use super::IssuerSettings;

    #[track_caller]
    fn check(entry: &str, expected: &str) {
        let settings: IssuerSettings = toml::from_str(&format!("audience = 'interceptor'\n{entry}")).unwrap();
        let found = match settings.resolve() {
            Ok(issuer) => format!(
                "{} {:?} {:?} {:?} {} {} {:?}",
                issuer.url,
                issuer.algorithms,
                issuer.types,
                issuer.subject_prefix,
                issuer.nbf_required,
                issuer.longest,
                issuer.delegation
            ),
            Err(mistakes) => mistakes.join("; "),
        };
        assert!(found.contains(expected), "{entry}: {found}");
    }

    #[test]
    fn what_is_known_of_issuers() {
        check("preset = 'github-actions'", "it is everybody's issuer, so say whose jobs are meant, `repo:acme/`");
        check(
            "preset = 'github-actions'\nsubject_prefix = 'repo:acme/'",
            "https://token.actions.githubusercontent.com [Rs256] [\"JWT\"] \"repo:acme/\" true 86400 Job",
        );
        check("preset = 'gitlab'", "`project_path:acme/`");
        check(
            "preset = 'gitlab'\nurl = 'https://gitlab.acme.example'",
            "https://gitlab.acme.example [Rs256] [\"JWT\"] \"\" true",
        );
        check("preset = 'buildkite'", "`organization:acme:`");
        check("preset = 'kubernetes'", "has no url");
        check("preset = 'kubernetes'\nurl = 'https://kubernetes.default.svc'", "31539600 Job");
        check("preset = 'spiffe'\nurl = 'https://oidc.example.org'", "is not a trust domain");
        check(
            "preset = 'spiffe'\nurl = 'https://oidc.example.org'\nsubject_prefix = 'spiffe://example.org'",
            "is not a trust domain",
        );
        check(
            "preset = 'spiffe'\nurl = 'https://oidc.example.org'\nsubject_prefix = 'spiffe://example.org/'",
            "[Rs256, Es256] [\"JWT\", \"JOSE\"] \"spiffe://example.org/\" false 86400 Agent",
        );
        check(
            "preset = 'kubernetes'\nurl = 'https://k.example'\nalgorithms = ['ES256']\nmax_lifetime_seconds = 60",
            "[Es256]",
        );
        check(
            "url = 'https://i.example'\nalgorithms = ['ES256']\njwks_fresh_seconds = 10\njwks_max_stale_seconds = 5",
            "jwks_fresh_seconds",
        );
    }
}
