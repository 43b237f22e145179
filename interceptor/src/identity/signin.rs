//! A human at a browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), OpenID Connect Core section 3.1.
//!
//! What comes back is an ID token, which is verified like every other token ([`super::Registrar::person`]): its issuer is one of
//! `[[identity.issuers]]`, and its audience, which is the client's own id, is what is configured there.

use super::http::{self, Http, HttpError, allowed, allowed_with_query};
use super::{Identity, Registrar, Unidentified, json};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Where people sign in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInSettings {
    /// One of `[[identity.issuers]]`.
    pub issuer: String,
    /// What the daemon is registered as there; the audience of the tokens that it gets.
    pub client_id: String,
    /// File with the client's secret, for issuers that ask for one.
    pub client_secret_file: Option<PathBuf>,
    /// Asked for besides `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether the issuer may be asked without TLS, on a loopback address.
    #[serde(default)]
    pub allow_http: bool,
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The issuer does not answer, or not as it should.
    #[error(transparent)]
    Issuer(#[from] HttpError),
    /// The issuer says no.
    #[error("the issuer gives no token: {0}")]
    Refused(String),
    /// The token is for another sign-in.
    #[error("the token is not for this sign-in")]
    Nonce,
    /// The token is not to be trusted.
    #[error(transparent)]
    Token(#[from] Unidentified),
    /// The client's secret.
    #[error("the client's secret cannot be read: {0}")]
    Secret(std::io::Error),
}

/// A sign-in that has begun: kept here, and tied to the browser, until the issuer sends it back.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Comes back with the code.
    pub state: String,
    verifier: String,
    nonce: String,
}

/// The way to an issuer and back.
#[derive(Debug)]
pub struct SignIn {
    settings: SignInSettings,
    http: Http,
}

impl SignIn {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// Where the host has no CAs to trust.
    pub fn new(settings: SignInSettings) -> Result<Self, HttpError> {
        Ok(Self { settings, http: Http::new(&http::Tls::default())? })
    }

    /// Where the browser has to go.
    ///
    /// # Errors
    /// Where the issuer does not say.
    pub async fn begin(&self, back: &str) -> Result<(String, Begun), SignInError> {
        let document = self.discover().await?;
        let mut url = allowed_with_query(&text(&document, "authorization_endpoint")?, self.settings.allow_http)
            .map_err(|why| HttpError::mistaken(&self.settings.issuer, why))?;
        let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let begun = Begun { state: random(), verifier: random(), nonce: random() };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&begun.verifier));
        let mut scopes = vec!["openid"];
        scopes.extend(self.settings.scopes.iter().map(String::as_str));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &begun.state)
            .append_pair("nonce", &begun.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok((url.into(), begun))
    }

    /// Who has signed in.
    ///
    /// # Errors
    /// Why nobody has.
    pub async fn finish(
        &self,
        registrar: &Registrar,
        begun: &Begun,
        code: &str,
        back: &str,
    ) -> Result<Identity, SignInError> {
        let document = self.discover().await?;
        let endpoint = allowed(&text(&document, "token_endpoint")?, self.settings.allow_http)
            .map_err(|why| HttpError::mistaken(&self.settings.issuer, why))?;
        let secret = match &self.settings.client_secret_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(SignInError::Secret)?.trim().to_owned()),
            None => None,
        };
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("client_id", &self.settings.client_id),
            ("code_verifier", &begun.verifier),
        ];
        let login = secret.as_deref().map(|secret| (self.settings.client_id.as_str(), secret));
        let answer = self.http.post(endpoint.clone(), &form, login).await?;
        let answer = json::object(&answer.body).map_err(|why| HttpError::mistaken(endpoint, why))?;
        let Some(token) = answer.get("id_token").and_then(Value::as_str) else {
            let error = answer.get("error").and_then(Value::as_str).unwrap_or("no id_token");
            return Err(SignInError::Refused(error.escape_debug().to_string()));
        };
        let identity = registrar.person(token).await?;
        let is_own = identity.claims.get("nonce").is_some_and(|nonce| nonce.iter().eq([&begun.nonce]));
        if !is_own || identity.issuer != self.settings.issuer {
            return Err(SignInError::Nonce);
        }
        Ok(identity)
    }

    async fn discover(&self) -> Result<serde_json::Map<String, Value>, HttpError> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let place = allowed(&url, self.settings.allow_http).map_err(|why| HttpError::mistaken(&url, why))?;
        let answer = self.http.get(place).await?;
        let document = json::object(&answer.body).map_err(|why| HttpError::mistaken(&url, why))?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(HttpError::mistaken(url, format!("it does not say that the issuer is `{issuer}`")));
        }
        Ok(document)
    }
}

fn text(document: &serde_json::Map<String, Value>, name: &str) -> Result<String, HttpError> {
    let text = document.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| HttpError::mistaken("the discovery document", format!("it names no {name}")))
}
