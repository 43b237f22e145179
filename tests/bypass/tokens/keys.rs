//! The keys of the cases: K1 (RSA) and K2 (P-256) are the issuer's, KA is the attacker's. Made for these tests and good for
//! nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;

const K1: &[u8] = include_bytes!("keys/k1.pem");
const K1_PUBLIC: &[u8] = include_bytes!("keys/k1.pub.pem");
const K2: &[u8] = include_bytes!("keys/k2.pem");
const KA: &[u8] = include_bytes!("keys/ka.pem");
const SMALL: &[u8] = include_bytes!("keys/small.pem");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    K1,
    K2,
    Attacker,
    /// 512 bits.
    Small,
}

impl Key {
    fn encoding(self) -> EncodingKey {
        match self {
            Self::K1 => EncodingKey::from_rsa_pem(K1).unwrap(),
            Self::K2 => EncodingKey::from_ec_pem(K2).unwrap(),
            Self::Attacker => EncodingKey::from_rsa_pem(KA).unwrap(),
            Self::Small => EncodingKey::from_rsa_pem(SMALL).unwrap(),
        }
    }

    fn own(self) -> Algorithm {
        if self == Self::K2 { Algorithm::ES256 } else { Algorithm::RS256 }
    }

    pub(super) fn jwk(self, kid: &str) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.encoding(), self.own()).unwrap()).unwrap();
        jwk["kid"] = kid.into();
        jwk
    }

    /// A signature of a message; by the key's own algorithm where the named one is none of its kind.
    fn sign(self, message: &str, named: &str) -> String {
        let algorithm = match (self, named) {
            (Self::K2, _) => Algorithm::ES256,
            (_, "PS256") => Algorithm::PS256,
            (_, "PS512") => Algorithm::PS512,
            (_, "RS384") => Algorithm::RS384,
            (_, "RS512") => Algorithm::RS512,
            (_, _) => Algorithm::RS256,
        };
        crypto::sign(message.as_bytes(), &self.encoding(), algorithm).unwrap()
    }
}

/// Tokens for a header and claims, signed as the case says: several where it names several ways.
pub(super) fn signed(header: &str, claims: &str, alg: &str, how: &str) -> Vec<String> {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let with = |signature: &str| format!("{message}.{signature}");
    let hmac = |secret: &[u8]| {
        let algorithm = match alg {
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            _ => Algorithm::HS256,
        };
        with(&crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret), algorithm).unwrap())
    };
    let bytes = |bytes: &[u8]| with(&URL_SAFE_NO_PAD.encode(bytes));
    let how = how.to_ascii_lowercase();
    let has = |word: &str| how.contains(word);
    if has("none") || has("empty third") || has("no signature") {
        return vec![with("")];
    }
    if has("hmac") || has("hs256") {
        let public = String::from_utf8_lossy(K1_PUBLIC);
        let der: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
        let modulus = Key::K1.jwk("k1")["n"].as_str().unwrap().to_owned();
        return vec![
            hmac(K1_PUBLIC),
            hmac(public.trim_end().as_bytes()),
            hmac(&der),
            hmac(modulus.as_bytes()),
            hmac(&URL_SAFE_NO_PAD.decode(&modulus).unwrap()),
            hmac(Key::K1.jwk("k1").to_string().as_bytes()),
            hmac(b""),
        ];
    }
    if has("zero") || has("r=s=0") || has("r = s = 0") || has("r=0") {
        return vec![bytes(&[0; 64]), bytes(&[0x30, 6, 2, 1, 0, 2, 1, 0])];
    }
    if has("der ") {
        let raw = URL_SAFE_NO_PAD.decode(Key::K2.sign(&message, alg)).unwrap();
        return vec![bytes(&der(&raw))];
    }
    let key = if has("attacker") || has("ka") || has("foreign") {
        Key::Attacker
    } else if has("k2") || (alg == "ES256" && !has("k1")) {
        Key::K2
    } else {
        Key::K1
    };
    vec![with(&key.sign(&message, alg))]
}

pub(super) fn signed_by(key: Key, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{message}.{}", key.sign(&message, ""))
}

/// `r || s` as a SEQUENCE of two INTEGERs (X.690).
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |part: &[u8]| {
        let part: Vec<u8> = part.iter().copied().skip_while(|byte| *byte == 0).collect();
        let pad = part.first().is_none_or(|byte| byte & 0x80 != 0);
        let content = if pad { [&[0], &part[..]].concat() } else { part };
        [&[2, content.len() as u8], &content[..]].concat()
    };
    let (r, s) = raw.split_at(raw.len() / 2);
    let content = [integer(r), integer(s)].concat();
    [&[0x30, content.len() as u8], &content[..]].concat()
}
