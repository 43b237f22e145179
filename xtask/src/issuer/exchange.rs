//! The token endpoint: OAuth 2.0 Token Exchange (RFC 8693).

use super::{AUDIENCE, DATABASES, keys::Keys, now, secret};
use jsonwebtoken::{Header, Validation, decode, decode_header, encode};
use serde_json::{Map, Value, json};

pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Why there is no token, as RFC 6749 section 5.2 spells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: &'static str,
    pub(super) description: String,
}

/// Turns one of the issuer's own subject tokens into one for databases that says the same about the agent.
pub(super) fn exchange(issuer: &str, keys: &Keys, form: &[(String, String)], lifetime: u64) -> Result<Value, Refusal> {
    let field = |name: &'static str| {
        let mut values = form.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(refusal("invalid_request", format!("{name} stands twice"))),
            (value, None) => Ok(value.unwrap_or_default()),
        }
    };
    if field("grant_type")? != GRANT {
        return Err(refusal("unsupported_grant_type", "only token exchange is offered"));
    }
    if !matches!(field("subject_token_type")?, JWT | ID_TOKEN | ACCESS_TOKEN) {
        return Err(refusal("invalid_request", "subject_token_type is not a JWT"));
    }
    if field("audience")? != DATABASES {
        return Err(refusal("invalid_target", format!("audience is not `{DATABASES}`")));
    }
    let (issued, kind, typ) = match field("requested_token_type")? {
        "" | ACCESS_TOKEN => (ACCESS_TOKEN, "Bearer", "at+jwt"),
        JWT => (JWT, "N_A", "JWT"),
        _ => return Err(refusal("invalid_request", "requested_token_type is neither a JWT nor an access token")),
    };
    let mut claims = verified(issuer, keys, field("subject_token")?)?;
    let now = now();
    // Not beyond the token that it was made from: else an agent could live for ever by exchanging.
    let until = now.saturating_add_unsigned(lifetime).min(claims.get("exp").and_then(Value::as_i64).unwrap_or(now));
    claims.extend(
        [
            ("aud", json!(DATABASES)),
            ("iat", json!(now)),
            ("nbf", json!(now)),
            ("exp", json!(until)),
            ("jti", json!(secret())),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let fails = |error: jsonwebtoken::errors::Error| refusal("server_error", error.to_string());
    let key = keys.of(jsonwebtoken::Algorithm::ES256).map_err(|error| refusal("server_error", error.to_string()))?;
    let header = Header { typ: Some(typ.to_owned()), kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
    let token = encode(&header, &claims, &key.private).map_err(fails)?;
    Ok(
        json!({"access_token": token, "issued_token_type": issued, "token_type": kind, "expires_in": until.saturating_sub(now)}),
    )
}

fn verified(issuer: &str, keys: &Keys, token: &str) -> Result<Map<String, Value>, Refusal> {
    let wrong = |error: jsonwebtoken::errors::Error| {
        refusal("invalid_request", format!("the subject token is not accepted: {error}"))
    };
    let kid = decode_header(token).map_err(wrong)?.kid.unwrap_or_default();
    let key = keys
        .named(&kid)
        .ok_or_else(|| refusal("invalid_request", "the subject token is not signed with a key of this issuer"))?;
    let mut validation = Validation::new(key.algorithm);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = 0;
    decode::<Map<String, Value>>(token, &key.public, &validation).map(|token| token.claims).map_err(wrong)
}

fn refusal(error: &'static str, description: impl Into<String>) -> Refusal {
    Refusal { error, description: description.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::mint::{Signature, Wanted};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    const ISSUER: &str = "http://127.0.0.1:1";

    #[track_caller]
    fn check(wanted: &Wanted, change: (&str, &str), expected: Result<&str, &str>) {
        let keys = Keys::new().unwrap();
        let token = wanted.mint(ISSUER, &keys).unwrap();
        let form = [
            ("grant_type", GRANT),
            ("subject_token", &token),
            ("subject_token_type", JWT),
            ("audience", DATABASES),
            ("requested_token_type", JWT),
        ];
        let form =
            form.map(|(name, value)| (name.to_owned(), if name == change.0 { change.1 } else { value }.to_owned()));
        let answer = exchange(ISSUER, &keys, &form, 300);
        match (answer, expected) {
            (Ok(answer), Ok(subject)) => {
                let token = answer["access_token"].as_str().unwrap();
                let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
                let claims: Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!((&claims["sub"], &claims["aud"]), (&json!(subject), &json!(DATABASES)));
                assert!(claims["exp"].as_i64().unwrap() <= now() + 300);
            }
            (Err(refusal), Err(expected)) => {
                assert!(refusal.description.contains(expected) || refusal.error == expected, "{refusal:?}")
            }
            (answer, expected) => panic!("expected {expected:?}: {answer:?}"),
        }
    }

    #[test]
    fn only_a_good_token_for_the_daemon_is_exchanged() {
        let good = Wanted { subject: Some("agent:x".to_owned()), ..Wanted::default() };
        check(&good, ("", ""), Ok("agent:x"));
        check(
            &Wanted { algorithm: Some(jsonwebtoken::Algorithm::EdDSA), ..Wanted::default() },
            ("", ""),
            Ok("agent:demo"),
        );
        check(&good, ("grant_type", "password"), Err("unsupported_grant_type"));
        check(&good, ("audience", "elsewhere"), Err("invalid_target"));
        check(&good, ("subject_token_type", "x"), Err("not a JWT"));
        check(&good, ("requested_token_type", "x"), Err("requested_token_type"));
        check(&good, ("subject_token", "x"), Err("not accepted"));
        check(&Wanted { expires_in: Some(-5), ..Wanted::default() }, ("", ""), Err("ExpiredSignature"));
        check(&Wanted { audience: Some("other".to_owned()), ..Wanted::default() }, ("", ""), Err("InvalidAudience"));
        check(&Wanted { signature: Signature::Foreign, ..Wanted::default() }, ("", ""), Err("InvalidSignature"));
        check(&Wanted { signature: Signature::None, ..Wanted::default() }, ("", ""), Err("not accepted"));
    }
}
