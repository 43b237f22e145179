//! The daemon as the token endpoint knows it: client authentication by a secret, a signed assertion or a certificate.

use super::{now, settings::ExchangeSettings, signing::SigningKey};
use serde_json::json;
use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path};

/// For how long an assertion is good, in seconds.
const ASSERTION: u64 = 60;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who the daemon is towards the token endpoint.
pub(super) enum Client {
    /// Nobody in particular.
    Public(Option<String>),
    /// `client_secret_basic` (RFC 6749 section 2.3.1).
    Secret { id: String, secret: String },
    /// `private_key_jwt` (RFC 7523, OpenID Connect Core section 9).
    Key { id: String, key: Box<SigningKey> },
    /// `tls_client_auth` (RFC 8705): the certificate is shown when the connection is made.
    Certificate { id: String },
}

/// What goes into a request.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) fields: Vec<(&'static str, String)>,
    /// For HTTP Basic.
    pub(super) login: Option<(String, String)>,
}

impl Client {
    pub(super) fn read(settings: &ExchangeSettings) -> Result<Self, String> {
        let ways = [
            settings.client_secret_file.is_some(),
            settings.client_key_file.is_some(),
            settings.client_certificate_file.is_some(),
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err("identity.exchange has more than one of client_secret_file, client_key_file and client_certificate_file".to_owned());
        }
        let Some(id) = settings.client_id.clone() else {
            return if ways.contains(&true) {
                Err("identity.exchange has a client credential but no client_id".to_owned())
            } else {
                Ok(Self::Public(None))
            };
        };
        if let Some(path) = &settings.client_secret_file {
            return Ok(Self::Secret { id, secret: secret(path)? });
        }
        if let Some(path) = &settings.client_key_file {
            let key = SigningKey::read(path, settings.client_key_id.as_deref())?;
            return Ok(Self::Key { id, key: Box::new(key) });
        }
        if settings.client_certificate_file.is_some() {
            return Ok(Self::Certificate { id });
        }
        Ok(Self::Public(Some(id)))
    }

    /// The proof for `issuer`, which is the audience of an assertion: the endpoint's URL would let one server use what is
    /// meant for another (draft-ietf-oauth-rfc7523bis, section 4).
    pub(super) fn proof(&self, issuer: &str) -> Result<Proof, String> {
        let mut proof = Proof::default();
        match self {
            Self::Public(None) => {}
            Self::Public(Some(id)) | Self::Certificate { id } => proof.fields.push(("client_id", id.clone())),
            Self::Secret { id, secret } => proof.login = Some((form_encoded(id), form_encoded(secret))),
            Self::Key { id, key } => {
                let now = now();
                let jti = format!("{:032x}", rand::random::<u128>());
                let claims = json!({
                    "iss": id, "sub": id, "aud": issuer, "jti": jti, "iat": now, "nbf": now, "exp": now + ASSERTION,
                });
                proof.fields.push(("client_assertion_type", JWT_BEARER.to_owned()));
                proof.fields.push(("client_assertion", key.sign(&claims)?));
                // RFC 7521 section 4.2: allowed beside the assertion, and some endpoints look for it first.
                proof.fields.push(("client_id", id.clone()));
            }
        }
        Ok(proof)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Public(_) => "Public",
            Self::Secret { .. } => "Secret",
            Self::Key { .. } => "Key",
            Self::Certificate { .. } => "Certificate",
        })
    }
}

fn secret(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot read client_secret_file `{}`: {error}", path.display());
    if fs::metadata(path).map_err(unreadable)?.mode() & 0o077 != 0 {
        return Err(format!("client_secret_file `{}` can be read by others; make it 0600", path.display()));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
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
