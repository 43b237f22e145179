//! The actor token (RFC 8693 section 2.1): the daemon's word on which process it is that acts.

use super::{evidence::Evidence, now, settings::ActorSettings, signing::SigningKey};
use serde_json::json;
use std::sync::Arc;

/// For how long an actor token is good, in seconds: it is made for one request.
const LIFETIME: u64 = 60;

/// Signs actor tokens.
#[derive(Debug, Clone)]
pub(super) struct Actors {
    pub(super) issuer: String,
    /// Whom they are for; the token endpoint itself where nobody says.
    audience: Option<String>,
    key: Arc<SigningKey>,
}

impl Actors {
    pub(super) fn read(settings: &ActorSettings) -> Result<Self, String> {
        let key = SigningKey::read(&settings.key_file, settings.key_id.as_deref())?;
        Ok(Self { issuer: settings.issuer.clone(), audience: settings.audience.clone(), key: Arc::new(key) })
    }

    /// For an exchange within this process.
    pub(super) fn own(issuer: &str, key: Arc<SigningKey>) -> Self {
        Self { issuer: issuer.to_owned(), audience: None, key }
    }

    /// What was seen of a process, under the name that it acts by.
    pub(super) fn sign(&self, agent: &str, evidence: &Evidence, endpoint: &str) -> Result<String, String> {
        let now = now();
        self.key.sign(&json!({
            "iss": self.issuer,
            "sub": agent,
            "aud": self.audience.as_deref().unwrap_or(endpoint),
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
            "jti": format!("{:032x}", rand::random::<u128>()),
            "process": {
                "pid": evidence.pid,
                "start": evidence.start,
                "exe": evidence.exe,
                "cgroup": evidence.cgroup,
                "uid": evidence.uid,
                "gid": evidence.gid,
            },
        }))
    }
}
