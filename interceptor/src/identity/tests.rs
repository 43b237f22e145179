//! The whole way from a process to an identity, against a small issuer that says what each test has it say.

use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    process::{Child, Command},
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    spawn,
    task::JoinSet,
};

/// An ES256 key made of one repeated byte, as PKCS #8.
fn key(seed: u8) -> EncodingKey {
    const PREFIX: [u8; 35] = [
        0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
    ];
    EncodingKey::from_ec_der(&[&PREFIX[..], &[seed; 32]].concat())
}

fn jwk(kid: &str, seed: u8) -> Value {
    let mut jwk =
        serde_json::to_value(Jwk::from_encoding_key(&key(seed), jsonwebtoken::Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

/// A token with any header and claims, as text, so that they can also be wrong JSON.
fn sign(header: &str, claims: &str, seed: u8) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key(seed), jsonwebtoken::Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

const HEADER: &str = r#"{"typ":"JWT","alg":"ES256","kid":"k"}"#;

struct Issuer {
    url: String,
    pages: Arc<Mutex<HashMap<String, (u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            pages: Arc::default(),
            asked: Arc::default(),
        };
        issuer.set("/.well-known/openid-configuration", 200, json!({"issuer": issuer.url, "jwks_uri": format!("{}/jwks", issuer.url), "token_endpoint": format!("{}/token", issuer.url)}));
        issuer.set("/jwks", 200, json!({"keys": [jwk("k", 1)]}));
        issuer.answer(issuer.claims("postgres"));
        let (pages, asked) = (Arc::clone(&issuer.pages), Arc::clone(&issuer.asked));
        spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                spawn(serve(socket, Arc::clone(&pages), Arc::clone(&asked)));
            }
        });
        issuer
    }

    fn set(&self, path: &str, status: u16, body: impl ToString) {
        self.pages.lock().unwrap().insert(path.to_owned(), (status, body.to_string()));
    }

    /// Has the token endpoint answer with a token of these claims.
    fn answer(&self, claims: Value) {
        let token = sign(HEADER, &claims.to_string(), 1);
        self.set("/token", 200, json!({"access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_type": "N_A", "expires_in": 300}));
    }

    fn claims(&self, audience: &str) -> Value {
        json!({"iss": self.url, "aud": audience, "sub": "agent:build-7", "groups": ["b", "a", "b"], "iat": now(), "nbf": now(), "exp": now() + 300})
    }

    fn token(&self) -> String {
        sign(HEADER, &self.claims("interceptor").to_string(), 1)
    }

    fn registrar(&self) -> Registrar {
        self.registrar_with("", "scope = 'read write'\n")
    }

    fn registrar_with(&self, first: &str, exchange: &str) -> Registrar {
        let text = format!(
            "{first}[[issuers]]\nurl = '{url}'\naudience = 'interceptor'\nalgorithms = ['ES256']\nallow_http = true\n[exchange]\nissuer = '{url}'\naudience = 'postgres'\n{exchange}",
            url = self.url
        );
        Registrar::new(toml::from_str(&text).unwrap()).unwrap()
    }

    fn asked(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap()
    }

    fn times(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.contains(path)).count()
    }
}

async fn serve(
    mut socket: TcpStream,
    pages: Arc<Mutex<HashMap<String, (u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    while !whole(&request) {
        if socket.read_buf(&mut request).await.unwrap_or_default() == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(request);
    let (status, body) = pages.lock().unwrap().get(&path).cloned().unwrap_or((404, "{}".to_owned()));
    if path == "/token" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nLocation: /jwks\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    drop(socket.write_all(answer.as_bytes()).await);
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// What would be seen of a process in a cgroup, whose number and those above it are made of its path.
pub(super) fn evidence_in(cgroup: &str) -> Evidence {
    let number = |path: &str| path.bytes().fold(7_u64, |number, byte| number.wrapping_mul(31) + u64::from(byte));
    let paths = std::iter::successors(Some(cgroup), |path| path.rsplit_once('/').map(|(above, _)| above));
    Evidence {
        pid: 1,
        image: None,
        start: 1,
        exe: "/usr/bin/agent".to_owned(),
        cgroup: cgroup.to_owned(),
        cgroup_ids: paths.map(number).collect(),
        netns: 1,
        uid: 1000,
        gid: 1000,
        comm: "agent".to_owned(),
        ancestry: Vec::new(),
    }
}

impl Registrar {
    /// As if a process in a cgroup of its own had the token.
    async fn identify_token(&self, token: &str) -> Result<Arc<Identity>, Unidentified> {
        self.identify_token_in(token, "/ci/job").await.map(|found| found.identity)
    }

    async fn identify_token_in(&self, token: &str, cgroup: &str) -> Result<Identified, Unidentified> {
        let found = Found { token: token.to_owned(), enrollment: None, beside: None };
        self.identify_by(found, &evidence_in(cgroup)).await
    }
}

#[track_caller]
fn text<T: std::fmt::Debug>(result: Result<T, Unidentified>) -> String {
    result.map_or_else(|why| why.to_string(), |found| format!("accepted: {found:?}"))
}

#[tokio::test]
async fn a_good_token_becomes_an_identity() {
    let issuer = Issuer::start().await;
    let mut claims = issuer.claims("postgres");
    claims["repository"] = "acme/app".into();
    claims["scope"] = "read write".into();
    claims["teams"] = json!(["x", "y"]);
    claims["run"] = 17.into();
    claims["nested"] = json!({"x": 1});
    issuer.answer(claims);
    let identity = issuer.registrar().identify_token(&issuer.token()).await.unwrap();
    assert_eq!(
        (identity.subject.as_str(), identity.issuer.as_str(), &identity.on_behalf_of),
        ("agent:build-7", issuer.url.as_str(), &None)
    );
    assert_eq!(identity.groups, ["a", "b"]);
    let claims: Vec<_> = identity
        .claims
        .iter()
        .map(|(claim, values)| format!("{claim}={}", values.iter().cloned().collect::<Vec<_>>().join(",")))
        .collect();
    assert_eq!(claims, ["nested.x=1", "repository=acme/app", "run=17", "scope=read,write", "teams=x,y"]);
    let request = issuer.asked().iter().find(|asked| asked.contains("/token")).unwrap().clone();
    for part in [
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange",
        "audience=postgres",
        "subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt",
    ] {
        assert!(request.contains(part), "{request}");
    }
}

#[test]
fn a_fingerprint_is_about_what_is_said_and_not_until_when() {
    let identity = Identity {
        subject: "a".to_owned(),
        issuer: "i".to_owned(),
        groups: vec!["g".to_owned()],
        claims: BTreeMap::new(),
        on_behalf_of: None,
        on_behalf_of_groups: vec![],
        delegation: vec![],
        expires: 1,
    };
    assert_eq!(identity.fingerprint(), Identity { expires: 2, ..identity.clone() }.fingerprint());
    for other in [
        Identity { subject: "b".to_owned(), ..identity.clone() },
        Identity { groups: vec![], ..identity.clone() },
        Identity { on_behalf_of: Some(String::new()), ..identity.clone() },
        Identity { claims: BTreeMap::from([("c".to_owned(), BTreeSet::new())]), ..identity.clone() },
    ] {
        assert_ne!(identity.fingerprint(), other.fingerprint(), "{other:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_to_be_believed_is_refused() {
    let issuer = Issuer::start().await;
    let registrar = issuer.registrar();
    let good = issuer.claims("interceptor");
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        sign(HEADER, &claims.to_string(), 1)
    };
    let without = |claim: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        sign(HEADER, &claims.to_string(), 1)
    };
    let header = |header: &str| sign(header, &good.to_string(), 1);
    let token = issuer.token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    // 64 bytes leave four bits of the last sign over: A, Q, g or w. The next letter decodes to the same bytes.
    let last = signature.chars().last().map(|last| char::from(last as u8 + 1)).unwrap();
    let twice = good.to_string().replacen('{', r#"{"sub":"agent:root","#, 1);
    for (token, expected) in [
        (token.clone(), "accepted"),
        (with("aud", json!(["interceptor"])), "accepted"),
        (with("exp", json!(now() - 20)), "accepted"),
        (with("nbf", json!(now() + 20)), "accepted"),
        (with("email", json!("admin@corp.example")), "accepted"),
        (header(r#"{"alg":"ES256","kid":"k"}"#), "accepted"),
        (header(r#"{"typ":"JWT","alg":"ES256"}"#), "accepted"),
        (with("may_act", json!({"sub": "agent:other"})), "does not let the process act"),
        (with("exp", json!(now() + 86_500)), "longer than this issuer's tokens may be"),
        (with("cnf", json!({"jkt": "x"})), "has `cnf`, so that it is not for whoever bears it"),
        (with("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})), "has `events`"),
        (without("nbf"), "claim `nbf`"),
        (header(r#"{"typ":"at+jwt","alg":"ES256","kid":"k"}"#), "its `typ` is `at+jwt`"),
        (header(r#"{"typ":"jwt","alg":"ES256","kid":"k"}"#), "its `typ` is `jwt`"),
        (header(r#"{"typ":7,"alg":"ES256","kid":"k"}"#), "its `typ` is `7`"),
        (header(r#"{"typ":"JWT","alg":"ES256","kid":7}"#), "claim `kid`"),
        (String::new(), "not a signed JWT"),
        ("password".to_owned(), "not a signed JWT"),
        (format!("{message}."), "not a signed JWT"),
        (format!("{token}="), "not a signed JWT"),
        (format!("{token} "), "not a signed JWT"),
        (format!("x.{token}"), "not a signed JWT"),
        (format!("{message}.{}{last}", &signature[..signature.len() - 1]), "not a signed JWT"),
        ("x".repeat(9000), "longer than 8192 bytes"),
        (header(r#"{"typ":"JWT","alg":"none","kid":"k"}"#), "algorithm `none` is not accepted"),
        (header(r#"{"typ":"JWT","alg":"HS256","kid":"k"}"#), "algorithm `HS256` is not accepted"),
        (header(r#"{"typ":"JWT","alg":"RS256","kid":"k"}"#), "algorithm `RS256` is not accepted"),
        (header(r#"{"typ":"JWT","alg":"es256","kid":"k"}"#), "algorithm `es256` is not accepted"),
        (header(r#"{"typ":"JWT","kid":"k"}"#), "algorithm `` is not accepted"),
        (header(r#"{"typ":"logout+jwt","alg":"ES256","kid":"k"}"#), "its `typ` is `logout+jwt`"),
        (header(r#"{"typ":"JWT","alg":"ES256","kid":"k","jku":"http://evil/"}"#), "has `jku`"),
        (header(r#"{"typ":"JWT","alg":"ES256","kid":"k","jwk":{}}"#), "has `jwk`"),
        (header(r#"{"typ":"JWT","alg":"ES256","kid":"k","b64":false,"crit":["b64"]}"#), "has `crit`"),
        (header(r#"{"typ":"JWT","alg":"ES256","kid":"k","kid":"l"}"#), "member `kid` stands twice"),
        (header("[]"), "its header cannot be read"),
        (sign(HEADER, &twice, 1), "member `sub` stands twice"),
        (sign(HEADER, "x", 1), "its payload cannot be read"),
        (sign(HEADER, &good.to_string(), 2), "its signature is wrong"),
        (without("iss"), "claim `iss`"),
        (with("iss", json!("http://127.0.0.1:1")), "is not configured"),
        (with("iss", json!(format!("{}/", issuer.url))), "is not configured"),
        (without("exp"), "claim `exp`"),
        (with("exp", json!("9999999999")), "claim `exp`"),
        (with("exp", json!(1e308)), "claim `exp`"),
        (with("exp", json!(-1)), "claim `exp`"),
        (with("exp", json!(u64::MAX)), "claim `exp`"),
        (with("exp", json!(null)), "claim `exp`"),
        (with("exp", json!(now() - 31)), "it expired 3"),
        (without("iat"), "claim `iat`"),
        (with("iat", json!(now() + 60)), "it is not valid before"),
        (with("nbf", json!(now() + 60)), "it is not valid before"),
        (with("nbf", json!("0")), "claim `nbf`"),
        (without("aud"), "its audience is not exactly `interceptor`"),
        (with("aud", json!("postgres")), "its audience is not exactly `interceptor`"),
        (with("aud", json!(["interceptor", "other"])), "its audience is not exactly `interceptor`"),
        (with("aud", json!("Interceptor")), "its audience is not exactly `interceptor`"),
        (without("sub"), "claim `sub`"),
        (with("sub", json!("")), "claim `sub`"),
        (with("sub", json!("agent:x\n{\"event\":\"allow\"}")), "claim `sub`"),
        (with("sub", json!("agent:\u{202e}x")), "claim `sub`"),
        (with("act", json!("x")), "claim `act`"),
        (with("act", json!({"sub": "x", "iss": "https://other"})), "claim `act`"),
    ] {
        let found = text(registrar.identify_token(&token).await);
        assert!(found.contains(expected), "expected {expected}: {found}\n{token}");
    }
    assert_eq!(issuer.times("/jwks"), 1, "the keys are asked for once");
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_the_exchanges_fault() {
    let issuer = Issuer::start().await;
    let token = |claims: Value| sign(HEADER, &claims.to_string(), 1);
    let good = || issuer.claims("postgres");
    let with = |claim: &str, value: Value| {
        let mut claims = good();
        claims[claim] = value;
        token(claims)
    };
    const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
    let answer = |token: String, issued: &str, kind: &str| json!({"access_token": token, "issued_token_type": issued, "token_type": kind});
    for (status, body, expected, unavailable) in [
        (200, answer(token(good()), JWT, "Bearer"), "accepted", false),
        (200, answer(token(good()), ACCESS, "bearer"), "accepted", false),
        (200, answer(token(good()), ACCESS, "N_A"), "token_type does not go with", false),
        (
            200,
            answer(token(good()), "urn:ietf:params:oauth:token-type:saml2", "Bearer"),
            "issued_token_type is not what",
            false,
        ),
        (200, json!({"access_token": token(good()), "token_type": "Bearer"}), "issued_token_type is not what", false),
        (200, json!({"issued_token_type": JWT, "token_type": "Bearer"}), "no access_token", false),
        (
            200,
            json!({"access_token": token(good()), "issued_token_type": JWT, "token_type": "N_A", "expires_in": "x"}),
            "expires_in",
            false,
        ),
        (
            200,
            json!({"access_token": token(good()), "issued_token_type": JWT, "token_type": "N_A", "expires_in": 0}),
            "expired",
            false,
        ),
        (200, answer(with("aud", json!("interceptor")), JWT, "N_A"), "audience is not exactly `postgres`", false),
        (200, answer(with("iss", json!("http://127.0.0.1:1")), JWT, "N_A"), "is not configured", false),
        (200, answer(with("exp", json!(now() - 1)), JWT, "N_A"), "expired", false),
        (200, answer(with("sub", json!("agent:other")), JWT, "N_A"), "about somebody else", false),
        (200, answer(with("groups", json!("admins")), JWT, "N_A"), "claim `groups`", false),
        (200, answer(with("groups", json!(["a", 1])), JWT, "N_A"), "claim `groups`", false),
        (200, answer(sign(HEADER, &good().to_string(), 2), JWT, "N_A"), "signature is wrong", false),
        (200, json!([1]), "not a JSON object", true),
        (
            400,
            json!({"error": "invalid_request", "error_description": "subject\u{1b}[2J"}),
            r"refuses the agent's token: 400 invalid_request subject\u{1b}[2J",
            false,
        ),
        (400, json!({"error": "invalid_target"}), "refuses the agent's token", false),
        (403, json!({"error": "access_denied"}), "refuses the agent's token", false),
        (401, json!({"error": "invalid_client"}), "the token exchange fails: 401 invalid_client", true),
        (500, json!({}), "the token exchange fails: 500", true),
        (307, json!({}), "the token exchange fails: 307", true),
    ] {
        issuer.set("/token", status, &body);
        let result = issuer.registrar().identify_token(&issuer.token()).await;
        let why = result.as_ref().err().is_some_and(Unidentified::unavailable);
        let found = text(result);
        assert!(found.contains(expected), "expected {expected}: {found}\n{body}");
        assert_eq!(why, unavailable, "{found}");
    }
}

#[tokio::test]
async fn whoever_acts_for_a_human_is_the_agent_and_the_human_is_named() {
    let issuer = Issuer::start().await;
    let subject = |claims: &[(&str, Value)], audience: &str| {
        let mut all = issuer.claims(audience);
        claims.iter().for_each(|(claim, value)| all[*claim] = value.clone());
        all
    };
    let agent = || ("act", json!({"sub": "agent:build-7", "act": {"sub": "agent:before"}}));
    let maria = || ("sub", json!("user:maria"));
    let same = "agent:build-7 for user:maria";
    for (token, exchanged, expected) in [
        (vec![], vec![maria(), agent()], same),
        (vec![maria(), agent()], vec![maria(), agent()], same),
        (vec![], vec![("on_behalf_of", json!("user:maria"))], same),
        (vec![maria(), agent()], vec![("on_behalf_of", json!("user:maria"))], same),
        (vec![], vec![maria(), agent(), ("on_behalf_of", json!("user:bob"))], "claim `act`"),
        (vec![], vec![("on_behalf_of", json!(["user:maria"]))], "claim `on_behalf_of`"),
        (vec![maria(), agent()], vec![], "about somebody else"),
        (vec![maria(), agent()], vec![maria()], "about somebody else"),
        (vec![maria()], vec![], "about somebody else"),
    ] {
        issuer.answer(subject(&exchanged, "postgres"));
        let token = sign(HEADER, &subject(&token, "interceptor").to_string(), 1);
        let found = issuer.registrar().identify_token(&token).await;
        let found = found.map_or_else(
            |why| why.to_string(),
            |who| format!("{} for {}", who.subject, who.on_behalf_of.clone().unwrap_or_default()),
        );
        assert!(found.contains(expected), "expected {expected}: {found}");
    }
}

const ATTEST: &str = "[[attest]]\nagent = 'agent:{job}'\ncgroup = '/ci/{job}'\n";

#[tokio::test]
async fn a_token_and_what_was_seen_of_the_process_have_to_agree() {
    let issuer = Issuer::start().await;
    let maria = || ("sub", json!("user:maria"));
    let act = |agent: &str| ("act", json!({"sub": agent}));
    let may_act = |agent: &str| ("may_act", json!({"sub": agent}));
    for (delegation, claims, cgroup, expected) in [
        ("agent", vec![], "/ci/build-7", "agent:build-7 for nobody"),
        ("agent", vec![], "/ci/build-8", "does not let the process act, which is attested as `agent:build-8`"),
        ("agent", vec![], "/elsewhere", "no [[identity.attest]] is about the process"),
        ("agent", vec![maria(), act("agent:build-7")], "/ci/build-7", "agent:build-7 for user:maria"),
        ("agent", vec![maria(), act("agent:other")], "/ci/build-7", "does not let the process act"),
        ("agent", vec![maria(), may_act("agent:build-7")], "/ci/build-7", "agent:build-7 for user:maria"),
        ("agent", vec![maria(), may_act("agent:other")], "/ci/build-7", "does not let the process act"),
        ("agent", vec![maria()], "/ci/build-7", "does not let the process act"),
        ("job", vec![maria()], "/ci/build-7", "agent:build-7 for user:maria"),
        ("job", vec![maria(), act("agent:other")], "/ci/build-7", "does not let the process act"),
        ("job", vec![maria(), may_act("agent:other")], "/ci/build-7", "does not let the process act"),
    ] {
        let url = &issuer.url;
        let text = format!(
            "{ATTEST}[[issuers]]\nurl = '{url}'\naudience = 'interceptor'\nalgorithms = ['ES256']\nallow_http = true\ndelegation = '{delegation}'\n[exchange]\nissuer = '{url}'\naudience = 'postgres'\n"
        );
        let registrar = Registrar::new(toml::from_str(&text).unwrap()).unwrap();
        let mut subject = issuer.claims("interceptor");
        claims.iter().for_each(|(claim, value)| subject[*claim] = value.clone());
        let mut answer = issuer.claims("postgres");
        if subject["sub"] == "user:maria" {
            answer["sub"] = "user:maria".into();
            answer["act"] = json!({"sub": "agent:build-7"});
        }
        issuer.answer(answer);
        let found = registrar.identify_token_in(&sign(HEADER, &subject.to_string(), 1), cgroup).await;
        let found = found.map_or_else(
            |why| why.to_string(),
            |found| {
                let who = &found.identity;
                format!("{} for {}", who.subject, who.on_behalf_of.as_deref().unwrap_or("nobody"))
            },
        );
        assert!(found.contains(expected), "expected {expected}: {found}\n{claims:?}");
    }
}

#[tokio::test]
async fn the_embedded_service_says_what_its_rules_say() {
    let issuer = Issuer::start().await;
    let folder = std::env::temp_dir().join(format!("interceptor-sts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let url = &issuer.url;
    let text = format!(
        "{ATTEST}[[issuers]]\nurl = '{url}'\naudience = 'interceptor'\nalgorithms = ['ES256']\nallow_http = true\ndelegation = 'job'\n\
         [exchange]\naudience = 'postgres'\n[exchange.embedded]\nkey_file = '{}'\nlifetime_seconds = 60\n\
         [[exchange.embedded.rules]]\nsubject = 'agent:*'\ngroups = ['agents']\n\
         [[exchange.embedded.rules]]\nsubject = 'repo:acme/{{repo}}'\nclaims = {{ ref = 'refs/heads/main', 'kubernetes.io.ns' = 'ci' }}\ngroups = ['deployers', 'repo-{{repo}}']\n",
        folder.join("key").display()
    );
    let registrar = Registrar::new(toml::from_str(&text).unwrap()).unwrap();
    let token = |claims: Value| {
        let mut all = issuer.claims("interceptor");
        claims.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        sign(HEADER, &all.to_string(), 1)
    };
    let who = |token: String| {
        let registrar = &registrar;
        async move {
            let found = registrar.identify_token_in(&token, "/ci/build-7").await;
            found.map_or_else(
                |why| format!("{} {why}", why.unavailable()),
                |found| {
                    let who = &found.identity;
                    assert!(who.expires <= now() + 60);
                    assert_eq!(who.issuer, "urn:interceptor:sts");
                    let human = who.on_behalf_of.as_deref().unwrap_or("nobody");
                    format!("{} for {human} in {:?}, theirs {:?}", who.subject, who.groups, who.on_behalf_of_groups)
                },
            )
        }
    };
    // What the token itself says of groups is not handed on.
    assert_eq!(who(token(json!({"groups": ["dba"]}))).await, "agent:build-7 for nobody in [\"agents\"], theirs []");
    let job = json!({"sub": "repo:acme/app", "ref": "refs/heads/main", "kubernetes.io": {"ns": "ci"}, "groups": ["x"]});
    assert_eq!(
        who(token(job.clone())).await,
        "agent:build-7 for repo:acme/app in [\"deployers\", \"repo-app\"], theirs [\"x\"]"
    );
    let mut branch = job;
    branch["ref"] = "refs/heads/other".into();
    assert!(
        who(token(branch)).await.starts_with("false the token exchange refuses the agent's token: 400 access_denied")
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn more_than_was_asked_for_is_not_taken() {
    let issuer = Issuer::start().await;
    let answer = |scope: Value| {
        let token = sign(HEADER, &issuer.claims("postgres").to_string(), 1);
        json!({"access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_type": "N_A", "scope": scope})
    };
    for (scope, expected) in [
        (json!("read"), "accepted"),
        (json!("read write"), "accepted"),
        (json!("read admin"), "the scope `admin` was not asked for"),
        (json!(["read"]), "scope is not a text"),
    ] {
        issuer.set("/token", 200, answer(scope));
        let found = text(issuer.registrar().identify_token(&issuer.token()).await);
        assert!(found.contains(expected), "expected {expected}: {found}");
    }
    issuer.set("/token", 200, answer(json!("read")));
    let found = text(issuer.registrar_with("", "").identify_token(&issuer.token()).await);
    assert!(found.contains("was not asked for"), "nothing was asked for: {found}");
}

#[tokio::test]
async fn the_daemon_says_who_it_is_and_who_acts() {
    let issuer = Issuer::start().await;
    let folder = std::env::temp_dir().join(format!("interceptor-client-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = |name: &str| {
        let path = folder.join(name);
        signing::SigningKey::read_or_make(&path).unwrap();
        path.display().to_string()
    };
    let text = format!(
        "client_id = 'interceptor'\nclient_key_file = '{}'\nclient_key_id = 'k1'\n[exchange.actor]\nissuer = 'https://host-7.example'\nkey_file = '{}'\n",
        key("client"),
        key("actor")
    );
    issuer.registrar_with("", &text).identify_token(&issuer.token()).await.unwrap();
    let request = issuer.asked().iter().find(|asked| asked.contains("/token")).unwrap().clone();
    std::fs::remove_dir_all(folder).unwrap();
    let field = |name: &str| {
        let form = request.split("\r\n\r\n").nth(1).unwrap();
        form.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default().to_owned()
    };
    let claims = |token: &str| {
        let part = |at: usize| URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap();
        (serde_json::from_slice::<Value>(&part(0)).unwrap(), serde_json::from_slice::<Value>(&part(1)).unwrap())
    };
    assert_eq!(field("client_assertion_type"), "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer");
    let (header, assertion) = claims(&field("client_assertion"));
    assert_eq!(
        (&header["kid"], &assertion["iss"], &assertion["sub"]),
        (&json!("k1"), &json!("interceptor"), &json!("interceptor"))
    );
    assert_eq!(assertion["aud"], issuer.url);
    let (_, actor) = claims(&field("actor_token"));
    assert_eq!((&actor["sub"], &actor["iss"]), (&json!("agent:build-7"), &json!("https://host-7.example")));
    assert_eq!(actor["process"]["cgroup"], "/ci/job");
    assert_eq!(field("actor_token_type"), "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt");
}

#[tokio::test]
async fn the_daemon_asks_for_a_jobs_token_where_it_may() {
    let issuer = Issuer::start().await;
    let settings = |hosts: &str| {
        format!(
            "sources = ['request_url']\nrequest_url = {{ hosts = ['{hosts}'], allow_http = true, audience = 'interceptor' }}\n"
        )
    };
    issuer.set("/idtoken?api-version=2&audience=interceptor", 200, json!({"count": 1, "value": issuer.token()}));
    let job = |url: &str, bearer: &str| {
        let mut job = Command::new("sleep");
        job.arg("60").env("ACTIONS_ID_TOKEN_REQUEST_URL", url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", bearer);
        Agent(job.spawn().unwrap())
    };
    let good = format!("{}/idtoken?api-version=2", issuer.url);
    let registrar = issuer.registrar_with(&settings("127.0.0.1"), "");
    let agent = job(&good, "secret-of-the-job");
    for _ in 0..3 {
        let found = registrar.identify(&evidence(agent.0.id())).await.unwrap();
        assert_eq!(found.identity.subject, "agent:build-7");
    }
    assert_eq!(issuer.times("/idtoken"), 1, "what was fetched is kept");
    assert!(issuer.asked().iter().any(|asked| asked.contains("authorization: Bearer secret-of-the-job")));
    let elsewhere = Evidence { cgroup_ids: vec![42, 1], ..evidence_in("/ci/other") };
    let stolen = Found { token: issuer.token(), enrollment: None, beside: Some("secret-of-the-job".to_owned()) };
    assert!(
        text(registrar.identify_by(stolen, &elsewhere).await).contains("another job's"),
        "nor is the secret good elsewhere"
    );

    for (hosts, url, bearer, expected) in [
        ("*.ci.example", good.as_str(), "x", "host `127.0.0.1` is not in identity.request_url.hosts"),
        ("127.0.0.1", "ftp://127.0.0.1/", "x", "is not an https URL"),
        ("127.0.0.1", "https://user:pw@127.0.0.1/", "x", "has a user name or password"),
        ("127.0.0.1", &format!("{good}&audience=other"), "x", "its query has an audience already"),
        ("127.0.0.1", "nonsense", "x", "are not a URL and a token for it"),
        ("127.0.0.1", &good, "a b", "are not a URL and a token for it"),
        ("127.0.0.1", &format!("{}/nothing", issuer.url), "x", "the answer is 404"),
    ] {
        let agent = job(url, bearer);
        let why = issuer.registrar_with(&settings(hosts), "").identify(&evidence(agent.0.id())).await.unwrap_err();
        assert!(why.to_string().contains(expected) && !why.unavailable(), "expected {expected}: {why}");
    }
}

/// A token endpoint that says nothing delays whoever needs it, and nobody else.
#[tokio::test]
async fn a_service_that_hangs_delays_only_those_who_need_it() {
    let issuer = Issuer::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("token_endpoint = 'http://{}/token'\n", silent.local_addr().unwrap());
    let registrar = Arc::new(issuer.registrar());
    registrar.identify_token(&issuer.token()).await.unwrap();
    let hanging = Arc::new(issuer.registrar_with("", &endpoint));
    let begun = Instant::now();
    let waiting = {
        let (hanging, token) = (Arc::clone(&hanging), issuer.token());
        spawn(async move { hanging.identify_token(&token).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The same daemon, another token, which is known already.
    let known = Outcome::Known {
        identity: Arc::new(Identity { expires: now() + 300, ..Identity::default() }),
        bearer: Bearer("x".into()),
        until: now() + 300,
        token_expires: now() + 300,
        issuer: issuer.url.clone(),
        kid: Some("k".to_owned()),
        algorithm: Algorithm::Es256,
    };
    *hanging.memory.place("known", None, now()).lock().await = Some(known);
    hanging.identify_token("known").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let why = waiting.await.unwrap().unwrap_err();
    assert!(why.unavailable() && begun.elapsed() < Duration::from_secs(7), "{why} after {:?}", begun.elapsed());
}

/// RFC 8705: whoever shows no certificate of the right CA does not get as far as asking.
#[tokio::test]
async fn the_daemon_shows_its_certificate() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let signer = rcgen::Issuer::from_params(&ca, &ca_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &signer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let (certificate, key) = issue("127.0.0.1");
    let server = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = server.with_client_cert_verifier(verifier.build().unwrap()).with_single_cert(
        vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
    );
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}/token", listener.local_addr().unwrap());
    let issuer = Issuer::start().await;
    let pages = Arc::clone(&issuer.pages);
    spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut request = Vec::new();
            while !whole(&request) {
                if socket.read_buf(&mut request).await.unwrap_or_default() == 0 {
                    break;
                }
            }
            assert!(String::from_utf8_lossy(&request).contains("client_id=interceptor"));
            let (_, body) = pages.lock().unwrap().get("/token").cloned().unwrap();
            let head =
                format!("HTTP/1.1 200 x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            drop(socket.write_all(format!("{head}{body}").as_bytes()).await);
            drop(socket.shutdown().await);
        }
    });
    let folder = std::env::temp_dir().join(format!("interceptor-mtls-{:x}", rand::random::<u64>()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = issue("interceptor.example");
    std::fs::write(folder.join("client.pem"), certificate + &key).unwrap();
    std::fs::write(folder.join("ca.pem"), &ca_pem).unwrap();
    let settings = |certificate: bool| {
        let folder = folder.display();
        let shown =
            if certificate { format!("client_certificate_file = '{folder}/client.pem'\n") } else { String::new() };
        format!("token_endpoint = '{endpoint}'\nca_file = '{folder}/ca.pem'\nclient_id = 'interceptor'\n{shown}")
    };
    issuer.registrar_with("", &settings(true)).identify_token(&issuer.token()).await.unwrap();
    let why = issuer.registrar_with("", &settings(false)).identify_token(&issuer.token()).await.unwrap_err();
    assert!(why.unavailable(), "{why}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_lease_ends_with_what_it_rests_on() {
    let issuer = Issuer::start().await;
    let registrar = issuer.registrar_with("recheck_seconds = 1\n", "");
    let token = issuer.token();
    let mut lease = registrar.identify_token_in(&token, "/ci/job").await.unwrap().lease;
    assert!(!lease.is_due(now()) && lease.is_due(now() + 2));
    assert!(registrar.renew(&mut lease, now()).await.unwrap().is_none());
    // By then nothing has a token: the process that was seen is made up.
    let expires = lease.identity.expires;
    assert!(registrar.renew(&mut lease, expires - 1).await.unwrap().is_none(), "it still holds");
    let ended = registrar.renew(&mut lease, expires).await.unwrap_err();
    assert!(ended.to_string().contains("has expired") && !ended.unavailable(), "{ended}");
    registrar.memory.revoke(&token, now() + 300, now());
    registrar.revocations.send_replace(());
    assert!(lease.is_due(now()), "somebody has revoked something");
    let ended = registrar.renew(&mut lease, now()).await.unwrap_err();
    assert_eq!(ended.to_string(), "the agent's token was revoked");
    let found = text(registrar.identify_token(&token).await);
    assert_eq!(found, "the agent's token was revoked");
}

#[tokio::test]
async fn connections_at_the_same_time_share_one_exchange() {
    let issuer = Issuer::start().await;
    let registrar = Arc::new(issuer.registrar());
    let token = issuer.token();
    let mut burst = JoinSet::new();
    for _ in 0..20 {
        let (registrar, token) = (Arc::clone(&registrar), token.clone());
        burst.spawn(async move { registrar.identify_token(&token).await.unwrap() });
    }
    assert_eq!(burst.join_all().await.len(), 20);
    assert_eq!((issuer.times("/token"), issuer.times("/jwks")), (1, 1));
    let mut claims = issuer.claims("postgres");
    claims["exp"] = (now() + 9).into();
    issuer.answer(claims);
    let other = sign(
        HEADER,
        &{
            let mut claims = issuer.claims("interceptor");
            claims["jti"] = 1.into();
            claims
        }
        .to_string(),
        1,
    );
    registrar.identify_token(&other).await.unwrap();
    registrar.identify_token(&other).await.unwrap();
    assert_eq!(issuer.times("/token"), 3, "what is about to end is not handed out again");
}

#[tokio::test]
async fn an_issuer_that_is_down_is_asked_again_and_nobody_is_let_in_meanwhile() {
    let issuer = Issuer::start().await;
    let registrar = issuer.registrar();
    let token = issuer.token();
    for (status, body, expected) in [
        (500, "{}".to_owned(), "the answer is 500"),
        (302, "{}".to_owned(), "the answer is 302"),
        (200, "x".to_owned(), "expected value"),
        (200, format!("{{\"issuer\":\"{}\"}}", "x".repeat(1 << 20)), "longer than 1048576 bytes"),
        (
            200,
            json!({"issuer": "https://idp.example", "jwks_uri": format!("{}/jwks", issuer.url)}).to_string(),
            "it says that the issuer is `https://idp.example`",
        ),
        (
            200,
            json!({"issuer": issuer.url, "jwks_uri": "http://192.0.2.1/jwks"}).to_string(),
            "plain HTTP to another machine",
        ),
    ] {
        issuer.set("/.well-known/openid-configuration", status, body);
        let why = issuer.registrar().identify_token(&token).await.unwrap_err();
        // A document about somebody else is not a matter of time.
        let later = !expected.starts_with("it says");
        assert!(why.unavailable() == later && why.to_string().contains(expected), "expected {expected}: {why}");
    }
    issuer.set("/.well-known/openid-configuration", 503, "{}");
    assert!(registrar.identify_token(&token).await.unwrap_err().unavailable());
    issuer.set("/.well-known/openid-configuration", 200, json!({"issuer": issuer.url, "jwks_uri": format!("{}/jwks", issuer.url), "token_endpoint": format!("{}/token", issuer.url)}));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    registrar.identify_token(&token).await.unwrap();
    let nobody = Issuer { url: "http://127.0.0.1:1".to_owned(), pages: Arc::default(), asked: Arc::default() };
    let why = nobody.registrar().identify_token(&nobody.token()).await.unwrap_err();
    assert!(why.unavailable() && why.to_string().contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn made_up_keys_do_not_make_us_flood_the_issuer() {
    let issuer = Issuer::start().await;
    let registrar = issuer.registrar();
    registrar.identify_token(&issuer.token()).await.unwrap();
    for number in 0..50 {
        let header = format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{number}' OR 1=1"}}"#);
        let why =
            registrar.identify_token(&sign(&header, &issuer.claims("interceptor").to_string(), 1)).await.unwrap_err();
        assert!(!why.unavailable() && why.to_string().contains("its issuer has no key"), "{why}");
    }
    assert_eq!(issuer.times("/jwks"), 1);
    registrar.identify_token(&issuer.token()).await.unwrap();
}

/// A process with a token somewhere, which ends with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn evidence(pid: u32) -> Evidence {
    std::thread::sleep(Duration::from_millis(100));
    let cgroup = process::Process::open(pid).unwrap().cgroup().unwrap();
    let cgroup_id = cgroup::lineage(&cgroup).unwrap()[0];
    Evidence::gather(&Dialled { pid, uid: 0, gid: 0, cgroup_id, at: u64::MAX / 2 }).unwrap()
}

#[tokio::test]
async fn the_token_is_in_the_environment_or_in_an_ancestors() {
    let issuer = Issuer::start().await;
    let registrar = issuer.registrar();
    let agent = Agent(Command::new("sleep").arg("60").env("AGENT_ID_TOKEN", issuer.token()).spawn().unwrap());
    registrar.identify(&evidence(agent.0.id())).await.unwrap();

    let parent = Agent(
        Command::new("sh")
            .args(["-c", "env -i sleep 60 & wait"])
            .env("AGENT_ID_TOKEN", issuer.token())
            .spawn()
            .unwrap(),
    );
    std::thread::sleep(Duration::from_millis(100));
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.0.id())).unwrap();
    let child: u32 = children.trim().parse().unwrap();
    let result = registrar.identify(&evidence(child)).await;
    drop(Command::new("kill").arg(child.to_string()).status());
    result.unwrap();

    let stranger = Agent(Command::new("sleep").arg("60").spawn().unwrap());
    assert_eq!(
        text(registrar.identify(&evidence(stranger.0.id())).await),
        "no token found in what is enrolled, variable `AGENT_ID_TOKEN`"
    );
    let wrong = Agent(Command::new("sleep").arg("60").env("AGENT_ID_TOKEN", "x").spawn().unwrap());
    assert!(text(registrar.identify(&evidence(wrong.0.id())).await).contains("not a signed JWT"));
    let moved = vec![42, 1];
    let other = Evidence { cgroup: "/elsewhere".to_owned(), cgroup_ids: moved, ..evidence(agent.0.id()) };
    assert!(text(registrar.identify(&other).await).contains("has moved to another cgroup"));
}

#[track_caller]
fn check_settings(section: &str, expected: &str) {
    let found = toml::from_str::<Settings>(section)
        .map_err(|error| error.to_string())
        .and_then(|settings| Registrar::new(settings).map_err(|error| error.to_string()));
    let found = found.map_or_else(|error| error, |_| "accepted".to_owned());
    assert!(found.contains(expected), "expected {expected}: {found}\n{section}");
}

#[test]
fn mistakes_in_the_settings_stop_the_start() {
    let issuer = "[[issuers]]\nurl = 'https://idp.example'\naudience = 'interceptor'\nalgorithms = ['ES256']\n";
    let exchange = "[exchange]\nissuer = 'https://idp.example'\naudience = 'postgres'\n";
    let both = format!("{issuer}{exchange}");
    check_settings(&both, "accepted");
    check_settings(&format!("sources = ['environment', 'file']\n{both}"), "accepted");
    check_settings(&both.replace("ES256", "HS256"), "unknown variant `HS256`");
    check_settings(&both.replace("ES256", "none"), "unknown variant `none`");
    check_settings(&both.replace("'ES256'", ""), "algorithms of `https://idp.example` is missing");
    check_settings(&format!("{both}colour = 1\n"), "unknown field `colour`");
    check_settings(&format!("issuers = []\n{exchange}algorithms = ['ES256']\n"), "identity.issuers is empty");
    check_settings("", "accepted");
    check_settings(issuer, "identity.exchange is missing");
    check_settings(&format!("{issuer}{both}"), "named twice");
    check_settings(&both.replace("https", "http"), "plain HTTP: use https");
    check_settings(&format!("sources = []\n{both}"), "identity.sources is empty");
    check_settings(&format!("sources = ['file']\nfiles = ['token']\n{both}"), "not an absolute path");
    check_settings(&format!("sources = ['file']\nfiles = ['/run/{{pid}}']\n{both}"), "placeholder other than `{uid}`");
    check_settings(
        &format!("{both}client_id = 'x'\nclient_secret_file = '/nonexistent'\n"),
        "cannot read client_secret_file `/nonexistent`",
    );
    check_settings(
        &both.replace("[exchange]\nissuer = 'https://idp.example'", "[exchange]\nissuer = 'https://sts.example'"),
        "algorithms of `identity.exchange` is missing",
    );
    check_settings(
        &both.replace("audience = 'postgres'", "audience = 'postgres'\ntoken_endpoint = 'http://192.0.2.1/token'"),
        "plain HTTP",
    );
    let several = format!("sources = []\n{}", both.replace("https", "ftp"));
    check_settings(&several, "identity.sources is empty");
    check_settings(&several, "`ftp://idp.example` is not an https URL");
}
