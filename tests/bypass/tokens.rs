//! The token cases: forged and stolen tokens, issuers that are down or lie, exchanges that answer what was not asked,
//! identities that end while somebody is in. Each is played for real: the token, key set, answer or process that the case
//! describes against the daemon's own proxy and a real server, and judged by the SQLSTATE that the client gets.
//!
//! A case with a header and claims is made from them; a case in words is played by what the words are about (`told`).
//! `INTERCEPTOR_TEST_CASES` names another file of cases, `INTERCEPTOR_TEST_ONLY` the beginning of their names.

mod gate;
mod idp;
mod keys;
mod told;

use gate::{Agent, Gate};
use idp::Idp;
use interceptor_tests::{Authority, Server};
use keys::Key;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What has come of an attempt: let in, or the SQLSTATE, with what was tried.
type Tried = (String, Result<(), String>);

/// What all cases are played on.
struct Stage {
    server: Server,
    idp: Idp,
    /// Asked by nobody who keeps to what is configured.
    evil: Idp,
    top: String,
}

impl Stage {
    fn set() -> Self {
        let authority = Authority::new("tokens");
        let sql = "create database shop\ncreate table public.marks (mark text)";
        let server = Server::start(&authority, &[], "host all all 127.0.0.0/8 trust\n", sql);
        let stage = Self {
            server,
            idp: Idp::start(),
            evil: Idp::start(),
            top: format!("interceptor-tokens-{:x}", rand::random::<u32>()),
        };
        stage.publish();
        stage
    }

    fn publish(&self) {
        self.idp.publish(&json!({"keys": [Key::K1.jwk("k1"), Key::K2.jwk("k2")]}));
    }

    /// The agent of the cases, by what is seen of it.
    fn agent(&self) -> Agent {
        Agent::start(&self.top, "build-7", &[])
    }

    /// Believes the issuer, attests what agents are, and exchanges within the daemon.
    fn gate(&self) -> Gate {
        self.gate_with("", "")
    }

    /// `first` and `issuer` are added to the section and to the issuer's.
    fn gate_with(&self, first: &str, issuer: &str) -> Gate {
        self.gate_by(&format!(
            "{first}{}{}{issuer}[exchange]\naudience = \"postgres\"\n[exchange.embedded]\nkey_file = \"@DIR@/sts.key\"\n\
             [[exchange.embedded.rules]]\nsubject = \"**\"\ngroups = [\"agents\"]\n",
            self.attest(),
            self.issuer(),
        ))
    }

    /// Exchanges at the issuer's own endpoint.
    fn gate_exchanging(&self, exchange: &str) -> Gate {
        let issuer = self.idp.issuer();
        self.gate_by(&format!(
            "{}{}[exchange]\nissuer = \"{issuer}\"\naudience = \"postgres\"\n{exchange}",
            self.attest(),
            self.issuer()
        ))
    }

    fn gate_by(&self, identity: &str) -> Gate {
        let sources = if identity.contains("sources") { "" } else { "sources = [\"file\"]\n" };
        Gate::open(self.server.address, &format!("{sources}files = [\"@DIR@/token\"]\n{identity}"))
    }

    fn attest(&self) -> String {
        format!("[[attest]]\nagent = \"agent:{{name}}\"\ncgroup = \"/{}/{{name}}\"\n", self.top)
    }

    fn issuer(&self) -> String {
        format!(
            "[[issuers]]\nurl = \"{}\"\naudience = \"pg-gateway\"\nalgorithms = [\"RS256\", \"ES256\"]\nallow_http = true\n\
             authorized_parties = [\"\", \"pg-gateway\"]\n",
            self.idp.issuer()
        )
    }

    /// Claims that are good, with some changed; null takes one out.
    fn claims(&self, changes: &[(&str, Value)]) -> Value {
        let mut claims = json!({
            "iss": self.idp.issuer(), "aud": "pg-gateway", "sub": "agent:build-7", "exp": now() + 300, "nbf": now() - 5,
            "iat": now() - 5, "jti": format!("{:x}", rand::random::<u64>()),
        });
        let members = claims.as_object_mut().unwrap();
        for (name, value) in changes {
            if value.is_null() {
                members.remove(*name);
            } else {
                members.insert((*name).to_owned(), value.clone());
            }
        }
        claims
    }

    fn token(&self, changes: &[(&str, Value)]) -> String {
        keys::signed_by(Key::K1, r#"{"alg":"RS256","kid":"k1","typ":"JWT"}"#, &self.claims(changes).to_string())
    }

    /// Shows a token as the agent of the cases.
    fn show(&self, gate: &Gate, agent: &Agent, token: &str) -> Result<(), String> {
        gate.token(token.as_bytes());
        gate.connect(agent).map(drop)
    }

    /// Names of the cases' world in this one's.
    fn here(&self, text: &str) -> String {
        text.replace("https://idp.test", &self.idp.base)
            .replace("http://evil", &self.evil.base)
            .replace("https://evil", &self.evil.base)
            .replace("http://169.254.169.254", &self.evil.base)
    }

    /// A case with a header and claims.
    fn play_made(&self, case: &Value, input: &Map<String, Value>) -> Vec<Tried> {
        let header = input.get("header").cloned().unwrap_or_else(|| json!({"alg": "RS256", "kid": "k1", "typ": "JWT"}));
        let header = self.members(&header).remove(0);
        let how = input.get("sign").and_then(Value::as_str).unwrap_or("K1");
        let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default().to_owned();
        let payloads = match input.get("payload") {
            Some(Value::String(raw)) => vec![self.here(raw)],
            payload => self.members(payload.unwrap_or(&Value::Null)).iter().map(text).collect::<Vec<_>>(),
        };
        let header = text(&header);
        let (gate, agent) = (self.gate(), self.agent());
        let mut tried = Vec::new();
        for payload in payloads {
            for token in keys::signed(&header, &payload, &alg, how) {
                let came = self.show(&gate, &agent, &token);
                let why = case["expect"] == "allow" && came.is_ok();
                let came = if why { self.judge_identity(&gate, input) } else { came };
                tried.push((format!("{} {}", shortened(&header), shortened(&payload)), came));
            }
        }
        tried.push((
            "nobody else is asked".to_owned(),
            if self.evil.asked("/") == 0 { tried_nothing(case) } else { Err("somebody was asked".to_owned()) },
        ));
        tried
    }

    /// Who was let in: the agent that acts, for whoever the token says, with mapped groups only.
    fn judge_identity(&self, gate: &Gate, input: &Map<String, Value>) -> Result<(), String> {
        let claim = |name: &str| input.get("payload").and_then(|payload| payload.get(name));
        let subject = claim("sub").and_then(Value::as_str).unwrap_or_default();
        let actor = claim("act").and_then(|act| act.get("sub")).and_then(Value::as_str);
        let record = gate.record();
        let connect = record.lines().rfind(|line| line.contains("\"event\":\"connect\"")).unwrap_or_default();
        let record: Value = serde_json::from_str(connect).unwrap_or_default();
        let agent = &record["agent"];
        let expected = match actor {
            Some(actor) => json!({"subject": actor, "on_behalf_of": subject, "groups": ["agents"]}),
            None => json!({"subject": "agent:build-7", "groups": ["agents"]}),
        };
        let same = expected.as_object().unwrap().iter().all(|(name, value)| agent[name] == *value);
        if same { Ok(()) } else { Err(format!("let in as {agent}")) }
    }

    /// Members with the words of the cases put into values; several where a value stands for several.
    fn members(&self, value: &Value) -> Vec<Map<String, Value>> {
        let mut all = vec![Map::new()];
        for (name, value) in value.as_object().into_iter().flatten() {
            let values = self.values(name, value);
            all = all
                .into_iter()
                .flat_map(|members| {
                    values.iter().map(move |value| {
                        let mut members = members.clone();
                        members.insert(name.clone(), value.clone());
                        members
                    })
                })
                .collect();
        }
        all
    }

    fn values(&self, name: &str, value: &Value) -> Vec<Value> {
        let text = match value {
            Value::String(text) => text,
            // RFC 7519 wants a number; these are not one that can be a time.
            Value::Number(number) if matches!(name, "exp" | "nbf" | "iat") && number.as_f64() == Some(1e308) => {
                let two_to_the_64: Value = serde_json::from_str("18446744073709551616").unwrap();
                return vec![value.clone(), json!(-1), two_to_the_64, json!(1.5), json!(null), json!([]), json!({})];
            }
            Value::Object(_) => {
                return self.members(value).into_iter().map(Value::Object).collect();
            }
            other => return vec![other.clone()],
        };
        if let Some(offset) = text.strip_prefix("now") {
            let offset = offset.replace(' ', "");
            let seconds: i64 = if offset.is_empty() { 0 } else { offset.trim_start_matches('+').parse().unwrap_or(0) };
            return vec![json!(now().saturating_add_signed(seconds))];
        }
        if let Some((quoted, "string" | "string)")) = text.split_once(" (") {
            return vec![json!(quoted.trim_matches('"'))];
        }
        if let Some((text, "string)")) = text.rsplit_once(" (") {
            return vec![json!(text.trim_matches('"'))];
        }
        if let Some((what, rest)) = text.split_once(" repeated ") {
            let times = rest.split(' ').next().and_then(|times| times.parse().ok()).unwrap_or(1_000_000);
            return vec![json!(what.repeat(times))];
        }
        match (name, text.as_str()) {
            ("jwk", _) => vec![Key::Attacker.jwk("k1")],
            ("x5c", _) => vec![json!([text])],
            _ => vec![json!(self.here(text))],
        }
    }
}

/// Where there is nothing to be let in for, nothing says that it was.
fn tried_nothing(case: &Value) -> Result<(), String> {
    if case["expect"] == "allow" {
        return Ok(());
    }
    let code = case["sqlstate"].get(0).and_then(Value::as_str).unwrap_or("28000");
    Err(code.to_owned())
}

fn text(members: &Map<String, Value>) -> String {
    serde_json::to_string(members).unwrap()
}

fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What is wrong with how a case was answered.
fn judge(case: &Value, tried: &[Tried]) -> Vec<String> {
    let id = case["id"].as_str().unwrap_or_default();
    let codes: Vec<_> = case["sqlstate"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let also: Vec<_> = case["also_ok"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let expect = case["expect"].as_str().unwrap_or_default();
    let fits = |came: &Result<(), String>| match came {
        Ok(()) => expect == "allow" || also.contains(&"allow"),
        Err(code) => expect != "allow" && (codes.contains(&code.as_str()) || codes.is_empty() && code.len() == 5),
    };
    let wrong = tried.iter().filter(|(_, came)| !fits(came));
    let mut wrong: Vec<_> =
        wrong.map(|(what, came)| format!("{id}: expected {expect} {codes:?}, got {came:?}: {what}")).collect();
    if tried.is_empty() {
        wrong.push(format!("{id}: nothing was tried"));
    }
    wrong
}

#[test]
fn no_token_gets_what_it_is_after() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass/attacks/cases.jsonl");
    play(&std::env::var_os("INTERCEPTOR_TEST_CASES").map_or(shipped, Into::into));
}

/// Relatives of the cases, and what must be let in.
#[test]
fn no_relative_of_a_case_does_either() {
    play(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass/tokens/further.jsonl"));
}

fn play(file: &Path) {
    let only = std::env::var("INTERCEPTOR_TEST_ONLY").unwrap_or_default();
    let text = std::fs::read_to_string(file).unwrap();
    let cases = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let cases =
        cases.filter(|case| case["kind"] == "token" && case["id"].as_str().unwrap_or_default().starts_with(&only));
    let stage = Stage::set();
    let (mut played, mut wrong) = (0, Vec::new());
    for case in cases {
        let tried = match &case["input"] {
            Value::Object(input) => stage.play_made(&case, input),
            input => stage.play_told(&case, input.as_str().unwrap_or_default()),
        };
        wrong.extend(judge(&case, &tried));
        played += 1;
        stage.publish();
    }
    println!("{played} token cases played, {} things wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played > 0 || !only.is_empty(), "there are no token cases");
}
