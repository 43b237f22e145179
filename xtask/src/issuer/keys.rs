//! The issuer's keys: one for each algorithm, and one that it does not publish.

use anyhow::{Context, Result, bail};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

/// What comes before the 32 bytes of a private key in PKCS #8 (RFC 5958): for P-256 with the structure of RFC 5915, and
/// for Ed25519 as in RFC 8410.
const P256: [u8; 35] = [
    0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3,
    1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
];
const ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

pub(super) struct Keys {
    es256: Key,
    eddsa: Key,
    foreign: Key,
}

/// A pair, and what it is called.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) private: EncodingKey,
    pub(super) public: DecodingKey,
    jwk: Value,
}

impl Keys {
    pub(super) fn new() -> Result<Self> {
        let mut keys = Self {
            es256: Key::new(Algorithm::ES256)?,
            eddsa: Key::new(Algorithm::EdDSA)?,
            foreign: Key::new(Algorithm::ES256)?,
        };
        // It claims to be the published one.
        keys.foreign.kid.clone_from(&keys.es256.kid);
        Ok(keys)
    }

    pub(super) fn of(&self, algorithm: Algorithm) -> Result<&Key> {
        match algorithm {
            Algorithm::ES256 => Ok(&self.es256),
            Algorithm::EdDSA => Ok(&self.eddsa),
            other => bail!("there is no key for {other:?}"),
        }
    }

    pub(super) fn named(&self, kid: &str) -> Option<&Key> {
        [&self.es256, &self.eddsa].into_iter().find(|key| key.kid == kid)
    }

    pub(super) fn foreign(&self) -> &Key {
        &self.foreign
    }

    pub(super) fn public(&self) -> Value {
        json!({"keys": [self.es256.jwk, self.eddsa.jwk]})
    }
}

impl Key {
    fn new(algorithm: Algorithm) -> Result<Self> {
        let private: [u8; 32] = rand::random();
        let (private, name) = match algorithm {
            Algorithm::EdDSA => (EncodingKey::from_ed_der(&[&ED25519[..], &private].concat()), "EdDSA"),
            _ => (EncodingKey::from_ec_der(&[&P256[..], &private].concat()), "ES256"),
        };
        let jwk = Jwk::from_encoding_key(&private, algorithm).context("cannot make a key")?;
        let public = DecodingKey::from_jwk(&jwk)?;
        let kid = format!("{}-{}", name.to_lowercase(), super::secret());
        let mut jwk = serde_json::to_value(jwk)?;
        let members = jwk.as_object_mut().context("a key is not an object")?;
        members.extend([
            ("kid".to_owned(), json!(kid)),
            ("use".to_owned(), json!("sig")),
            ("alg".to_owned(), json!(name)),
        ]);
        Ok(Self { kid, algorithm, private, public, jwk })
    }
}
