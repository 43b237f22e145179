//! Signing tokens, right ones and wrong ones.

use super::{AUDIENCE, DAY, keys::Keys, now, secret};
use anyhow::Result;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a token shall say. Everything can be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    /// `sub`; `agent:demo` if there is none.
    pub(crate) subject: Option<String>,
    /// `groups`
    pub(crate) groups: Vec<String>,
    /// `aud`; the daemon's if there is none.
    pub(crate) audience: Option<String>,
    /// Seconds from now to `exp`, negative for a token that has expired; a day if there is none.
    pub(crate) expires_in: Option<i64>,
    /// Further claims, or other values for the ones above; null takes a claim out.
    pub(crate) claims: Map<String, Value>,
    /// The same for the header.
    pub(crate) header: Map<String, Value>,
    /// With which of the issuer's keys: ES256 if there is none.
    pub(crate) algorithm: Option<Algorithm>,
    /// Who signs.
    pub(crate) signature: Signature,
}

/// Who signs a token.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Signature {
    /// The issuer.
    #[default]
    Own,
    /// Somebody else, who says that it was the issuer.
    Foreign,
    /// Nobody: `alg` is `none`.
    None,
}

impl Wanted {
    pub(super) fn mint(&self, issuer: &str, keys: &Keys) -> Result<String> {
        let now = now();
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!(issuer)),
            ("sub".to_owned(), json!(self.subject.as_deref().unwrap_or("agent:demo"))),
            ("aud".to_owned(), json!(self.audience.as_deref().unwrap_or(AUDIENCE))),
            ("groups".to_owned(), json!(self.groups)),
            // An expired token was issued before it expired.
            ("nbf".to_owned(), json!(now.min(now.saturating_add(self.expires_in.unwrap_or(DAY))))),
            ("iat".to_owned(), json!(now.min(now.saturating_add(self.expires_in.unwrap_or(DAY))))),
            ("exp".to_owned(), json!(now.saturating_add(self.expires_in.unwrap_or(DAY)))),
            ("jti".to_owned(), json!(secret())),
        ]);
        change(&mut claims, &self.claims);
        let key = match self.signature {
            Signature::Own => keys.of(self.algorithm.unwrap_or(Algorithm::ES256))?,
            Signature::Foreign | Signature::None => keys.foreign(),
        };
        let mut header = Map::from_iter([
            ("typ".to_owned(), json!("JWT")),
            ("alg".to_owned(), json!(key.algorithm)),
            ("kid".to_owned(), json!(key.kid)),
        ]);
        if matches!(self.signature, Signature::None) {
            header.insert("alg".to_owned(), json!("none"));
        }
        change(&mut header, &self.header);
        let encode = |members: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = match self.signature {
            Signature::None => String::new(),
            Signature::Own | Signature::Foreign => {
                jsonwebtoken::crypto::sign(message.as_bytes(), &key.private, key.algorithm)?
            }
        };
        Ok(format!("{message}.{signature}"))
    }
}

fn change(members: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
}
