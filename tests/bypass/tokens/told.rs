//! Cases in words. Each play is about a class: what the words speak of is looked for in this order, and words that speak of
//! nothing known fail.

use super::gate::{Agent, Gate};
use super::idp::Reply;
use super::keys::{self, Key};
use super::{Stage, Tried, now};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use interceptor::identity::{Dialled, Evidence};
use interceptor_tests::cgroup_id;
use serde_json::{Value, json};
use std::time::Duration;

const HEADER: &str = r#"{"alg":"RS256","kid":"k1","typ":"JWT"}"#;
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Keys are asked for again after a second, and good for two more.
const IMPATIENT: &str = "jwks_fresh_seconds = 1\njwks_max_stale_seconds = 3\njwks_cooldown_seconds = 1\n";

impl Stage {
    pub(super) fn play_told(&self, case: &Value, words: &str) -> Vec<Tried> {
        let words = words.to_lowercase();
        let has = |word: &str| words.contains(word);
        let all = |these: &[&str]| these.iter().all(|word| has(word));
        let allow = case["expect"] == "allow";
        if has("jwks") || has("discovery") {
            return self.key_sets(&words, allow);
        }
        if has("exchange") || has("answer") || has("issued_token_type") || has("subject_token") || has("actor") {
            return self.exchange(case, &words, allow);
        }
        if has("jwks") || has("kid") || has("discovery") || has("key ") || has("keys") || has("rotat") {
            return self.key_sets(&words, allow);
        }
        if has("session") || has("expires") || has("refresh") || has("transaction") {
            return self.sessions(&words, allow);
        }
        if has("agent b") || has("agent a") || has("environment") || has("environ") || all(&["copied", "token"]) {
            return self.stolen(allow);
        }
        self.forms(&words)
    }

    /// What a token looks like on the outside.
    fn forms(&self, words: &str) -> Vec<Tried> {
        let has = |word: &str| words.contains(word);
        let (gate, agent) = (self.gate(), self.agent());
        let token = self.token(&[]);
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut tokens: Vec<Vec<u8>> = Vec::new();
        let mut add = |token: String| tokens.push(token.into_bytes());
        if has("whose payload is a jwt") || has("nested token") || has("nested jwt") {
            let inner = format!(
                "{}.{}.",
                URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
                URL_SAFE_NO_PAD.encode(self.claims(&[]).to_string())
            );
            add(keys::signed_by(Key::K1, HEADER, &inner));
            add(keys::signed_by(Key::K1, r#"{"alg":"RS256","kid":"k1","typ":"JWT","cty":"JWT"}"#, &inner));
            add(keys::signed_by(Key::K1, HEADER, &json!(inner).to_string()));
        } else if has("deep") {
            add(keys::signed_by(Key::K1, HEADER, &format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))));
            // What fits into a token.
            let depth = 1_500;
            let claims = self.claims(&[]).to_string();
            let nested = format!("{}1{}", "{\"a\":".repeat(depth / 2), "}".repeat(depth / 2));
            add(keys::signed_by(Key::K1, HEADER, &claims.replacen('{', &format!("{{\"x\":{nested},"), 1)));
        } else if has("last char") || has("spare bits") || has("canonical") {
            // 256 bytes leave two characters' worth of spare bits in the last one.
            for last in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']) {
                let other = format!("{}{last}", &signature[..signature.len() - 1]);
                let same = |text: &str| {
                    let lenient = base64::engine::GeneralPurposeConfig::new()
                        .with_decode_allow_trailing_bits(true)
                        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
                    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
                    engine.decode(text).unwrap()
                };
                if other != signature && same(&other) == same(signature) {
                    add(format!("{message}.{other}"));
                }
            }
        } else if has(" 00 ") || has("nul") {
            tokens.push([&token.as_bytes()[..20], b"\0", &token.as_bytes()[20..]].concat());
        } else if has("mb") || has("long") || has("size") {
            add("eyJhbGciOiJSUzI1NiJ9".repeat(10 << 20 >> 4));
            add(format!("{token}{}", "A".repeat(10 << 20)));
        } else if has("segment") || has("jwe") || has("parts") || has("dots") {
            add(format!("{token}.{signature}"));
            add(format!("{token}..{signature}"));
            add(message.to_owned());
            add(format!("{}.{}.a.b.c", token, signature));
            add("..".to_owned());
            add(format!(".{token}"));
        } else if has("padding") || has("base64") || has("= ") || has("'='") {
            add(format!("{token}="));
            add(format!("{token}=="));
            add(format!("{message}.{}", signature.replace('-', "+").replace('_', "/")));
            add(format!("{}=.{}", token.split('.').next().unwrap(), token.split_once('.').unwrap().1));
        } else if has("space") || has("newline") || has("whitespace") || has("crlf") || has("tab") {
            for white in [" ", "\n", "\r\n", "\t", "\u{a0}"] {
                add(format!("{}{white}{}", &token[..40], &token[40..]));
            }
        } else if has("bearer") {
            add(format!("Bearer {token}"));
        } else if has("empty") {
            add(String::new());
        } else if has("duplicate") || has("twice") {
            let claims = self.claims(&[]).to_string();
            for twice in [
                r#"{"sub":"agent:root","#,
                r#"{"aud":"other","#,
                r#"{"exp":99999999999,"#,
                r#"{"\u0073ub":"agent:root","#,
            ] {
                add(keys::signed_by(Key::K1, HEADER, &claims.replacen('{', twice, 1)));
            }
            add(keys::signed_by(Key::K1, r#"{"alg":"none","alg":"RS256","kid":"k1"}"#, &claims));
        } else if has("utf-8") || has("utf8") || has("bom") {
            tokens.push([b"\xef\xbb\xbf", token.as_bytes()].concat());
            tokens.push([token.as_bytes(), b"\xff"].concat());
        }
        let mut tried = Vec::new();
        for token in tokens {
            gate.token(&token);
            let shown = format!(
                "{} bytes: {}",
                token.len(),
                String::from_utf8_lossy(&token).chars().take(60).collect::<String>()
            );
            tried.push((shown, gate.connect(&agent).map(drop)));
        }
        tried
    }

    /// Keys that are not what they should be, and issuers that do not answer.
    fn key_sets(&self, words: &str, allow: bool) -> Vec<Tried> {
        let has = |word: &str| words.contains(word);
        let agent = self.agent();
        let good = json!({"keys": [Key::K1.jwk("k1"), Key::K2.jwk("k2")]});
        let mut tried = Vec::new();
        let mut note = |what: &str, came: Result<(), String>| tried.push((what.to_owned(), came));
        // Whatever else holds must hold too; only its failure is worth a line.
        let must = |what: &str, came: Result<(), String>| assert_eq!(came, Ok(()), "{words}: {what}");
        if has("random kid") || has("unknown kid") || has("flood") || has("made-up") {
            let gate = self.gate();
            must("a known key", self.show(&gate, &agent, &self.token(&[])));
            self.idp.asked("");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let pid = agent.pid();
            let dialled = Dialled { pid, uid: 0, gid: 0, cgroup_id: cgroup_id(pid), at: u64::MAX };
            let evidence = Evidence::gather(&dialled).unwrap();
            for number in 0..1000 {
                let header = format!(r#"{{"alg":"RS256","kid":"random-{number}","typ":"JWT"}}"#);
                gate.token(keys::signed_by(Key::K2, &header, &self.claims(&[]).to_string()).as_bytes());
                assert!(runtime.block_on(gate.proxy.registrar.identify(&evidence)).is_err());
            }
            let header = r#"{"alg":"RS256","kid":"random","typ":"JWT"}"#;
            note("another", self.show(&gate, &agent, &keys::signed_by(Key::K1, header, &self.claims(&[]).to_string())));
            assert!(self.idp.asked("/jwks") <= 1, "the issuer was asked again and again");
            must("a known key still", self.show(&gate, &agent, &self.token(&[])));
        } else if has("down at start") || has("no cache") {
            self.idp.down();
            let gate = self.gate();
            note("nobody answers", self.show(&gate, &agent, &self.token(&[])));
            let state = gate.proxy.registrar.issuers();
            assert!(state.iter().any(|issuer| issuer.state == "down" && issuer.failure.is_some()), "{state:?}");
            self.idp.publish(&good);
            std::thread::sleep(Duration::from_millis(1100));
            must("recovered", self.show(&gate, &agent, &self.token(&[])));
        } else if has("stale") || has("older than") || has("younger") || has("cache") {
            let gate = self.gate_with("", IMPATIENT);
            must("at first", self.show(&gate, &agent, &self.token(&[])));
            self.idp.down();
            std::thread::sleep(Duration::from_millis(1500));
            let within = self.show(&gate, &agent, &self.token(&[]));
            if allow {
                note("within its time", within);
            } else {
                must("within its time", within);
                std::thread::sleep(Duration::from_secs(2));
                note("beyond its time", self.show(&gate, &agent, &self.token(&[])));
            }
        } else if has("issuer differs") || has("discovery") {
            let document = json!({"issuer": format!("{}/others", self.idp.base), "jwks_uri": format!("{}/jwks", self.idp.issuer())});
            self.idp.set("/.well-known/openid-configuration", Reply::json(&document));
            note("another issuer", self.show(&self.gate(), &agent, &self.token(&[])));
            let document =
                json!({"issuer": format!("{}/", self.idp.issuer()), "jwks_uri": format!("{}/jwks", self.idp.issuer())});
            self.idp.set("/.well-known/openid-configuration", Reply::json(&document));
            note("one more slash", self.show(&self.gate(), &agent, &self.token(&[])));
        } else if has("removed") || has("revoked") || has("withdrawn") {
            let gate = self.gate_with("recheck_seconds = 1\n", IMPATIENT);
            gate.token(self.token(&[]).as_bytes());
            let mut client = gate.connect(&agent).unwrap();
            self.idp.publish(&json!({"keys": [Key::K2.jwk("k2")]}));
            std::thread::sleep(Duration::from_secs(2));
            note("the session that runs", client.query("select 1").map(drop));
            note("a new connection", gate.connect(&agent).map(drop));
        } else if has("rotat") || has("new key") || has("new kid") {
            let gate = self.gate_with("", "jwks_cooldown_seconds = 1\n");
            must("the old key", self.show(&gate, &agent, &self.token(&[])));
            self.idp.publish(&json!({"keys": [Key::Attacker.jwk("k3"), Key::K1.jwk("k1")]}));
            std::thread::sleep(Duration::from_millis(1100));
            let new = r#"{"alg":"RS256","kid":"k3","typ":"JWT"}"#;
            let came = self.show(&gate, &agent, &keys::signed_by(Key::Attacker, new, &self.claims(&[]).to_string()));
            if allow {
                note("the new key", came);
            } else {
                note(
                    "the old name with the new key",
                    self.show(&gate, &agent, &keys::signed_by(Key::Attacker, HEADER, &self.claims(&[]).to_string())),
                );
            }
        } else if has("same kid") || has("two keys") || has("duplicate") || has("oct") || has("private") {
            let secret = json!({"kty": "oct", "kid": "k1", "k": "c2VjcmV0", "alg": "HS256"});
            let hmac = keys::signed(r#"{"alg":"HS256","kid":"k1"}"#, &self.claims(&[]).to_string(), "HS256", "hmac");
            for set in [
                json!({"keys": [Key::K1.jwk("k1"), secret]}),
                json!({"keys": [secret, Key::K1.jwk("k1")]}),
                json!({"keys": [Key::K1.jwk("k1"), Key::Attacker.jwk("k1")]}),
                json!({"keys": [secret]}),
            ] {
                self.idp.publish(&set);
                note(&format!("{set}"), self.show(&self.gate(), &agent, &self.token(&[])));
                for token in &hmac {
                    note("signed with what is public", self.show(&self.gate(), &agent, token));
                }
            }
            // The old set is kept.
            self.idp.publish(&good);
            let gate = self.gate_with("", IMPATIENT);
            must("at first", self.show(&gate, &agent, &self.token(&[])));
            self.idp.publish(&json!({"keys": [Key::Attacker.jwk("k1"), Key::Attacker.jwk("k1")]}));
            std::thread::sleep(Duration::from_millis(1200));
            must("the old set", self.show(&gate, &agent, &self.token(&[])));
            let forged = keys::signed_by(Key::Attacker, HEADER, &self.claims(&[]).to_string());
            note("the new set's key", self.show(&gate, &agent, &forged));
        } else if has("use=enc") || has("key_ops") || has("512") || has("small") || has("weak") {
            let with = |name: &str, value: Value| {
                let mut key = Key::K1.jwk("k1");
                key[name] = value;
                key
            };
            for key in [
                with("use", json!("enc")),
                with("key_ops", json!(["sign"])),
                with("key_ops", json!([])),
                with("alg", json!("RS512")),
                with("alg", json!("RSA-OAEP")),
            ] {
                self.idp.publish(&json!({"keys": [key]}));
                note(&format!("alone: {key}"), self.show(&self.gate(), &agent, &self.token(&[])));
                self.idp.publish(&json!({"keys": [key, Key::K2.jwk("k2")]}));
                note(&format!("beside another: {key}"), self.show(&self.gate(), &agent, &self.token(&[])));
            }
            self.idp.publish(&json!({"keys": [Key::Small.jwk("k1"), Key::K2.jwk("k2")]}));
            let small = keys::signed_by(Key::Small, HEADER, &self.claims(&[]).to_string());
            note("512 bits", self.show(&self.gate(), &agent, &small));
        } else if has("301")
            || has("html")
            || has("100 mb")
            || has("byte per second")
            || has("tls")
            || has("hangs")
            || has("slow")
        {
            let issuer = self.idp.issuer();
            let good = Reply::json(&good);
            let odd = [
                ("a redirect", Reply { status: 301, location: format!("{}/jwks", self.evil.base), ..good.clone() }),
                (
                    "a redirect to where it is",
                    Reply { status: 302, location: format!("{issuer}/jwks2"), ..good.clone() },
                ),
                ("HTML", Reply { kind: "text/html", ..good.clone() }),
                ("HTML that says it is JSON", Reply { body: "<html>".to_owned(), ..good.clone() }),
                (
                    "100 MB",
                    Reply { body: format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(100 << 20)), ..good.clone() },
                ),
                ("a byte per second", Reply { pause: Duration::from_secs(1), ..good.clone() }),
                ("an error", Reply { status: 500, ..good.clone() }),
            ];
            self.idp.set("/jwks2", good);
            for (what, reply) in odd {
                self.publish();
                let kept = self
                    .gate_with("", "jwks_fresh_seconds = 1\njwks_max_stale_seconds = 60\njwks_cooldown_seconds = 1\n");
                must("at first", self.show(&kept, &agent, &self.token(&[])));
                self.idp.set("/jwks", reply);
                note(what, self.show(&self.gate(), &agent, &self.token(&[])));
                std::thread::sleep(Duration::from_millis(1100));
                must(&format!("the old set, in spite of {what}"), self.show(&kept, &agent, &self.token(&[])));
            }
            assert_eq!(self.evil.asked("/"), 0, "a redirect was followed");
            let gate = self.gate_by(&format!(
                "{}[[issuers]]\nurl = \"{}/agents\"\naudience = \"pg-gateway\"\nalgorithms = [\"RS256\"]\n[exchange]\naudience = \"postgres\"\n\
                 [exchange.embedded]\nkey_file = \"@DIR@/sts.key\"\n[[exchange.embedded.rules]]\nsubject = \"**\"\n",
                self.attest(),
                untrusted()
            ));
            let url = gate.proxy.registrar.issuers()[0].url.clone();
            note(
                "a certificate that nobody vouches for",
                self.show(&gate, &agent, &self.token(&[("iss", json!(url))])),
            );
        }
        tried
    }

    /// What becomes of sessions.
    fn sessions(&self, words: &str, allow: bool) -> Vec<Tried> {
        let has = |word: &str| words.contains(word);
        let agent = self.agent();
        let gate = self.gate_with("recheck_seconds = 1\n", "");
        // The leeway for clocks is the issuer's token's; the exchanged one ends with the second.
        let brief = |seconds: u64, sub: &str| self.token(&[("exp", json!(now() + seconds)), ("sub", json!(sub))]);
        gate.token(brief(3, "agent:build-7").as_bytes());
        let mut client = gate.connect(&agent).unwrap();
        let mut tried = Vec::new();
        let mut note = |what: &str, came: Result<String, String>| tried.push((what.to_owned(), came.map(drop)));
        let mark = format!("{:x}", rand::random::<u64>());
        if has("another sub") || has("other sub") || has("different sub") || has("identity switch") {
            gate.token(brief(300, "agent:build-8").as_bytes());
            std::thread::sleep(Duration::from_secs(4));
            note("somebody else's", client.query("select 1"));
            // Where nothing attests what the process is, the token alone says who it is.
            let unattested = self.gate_by(&format!(
                "recheck_seconds = 1\n{}[exchange]\naudience = \"postgres\"\n[exchange.embedded]\nkey_file = \"@DIR@/sts.key\"\n\
                 [[exchange.embedded.rules]]\nsubject = \"**\"\n",
                self.issuer()
            ));
            unattested.token(brief(3, "agent:build-7").as_bytes());
            let mut client = unattested.connect(&agent).unwrap();
            unattested.token(brief(300, "agent:build-8").as_bytes());
            std::thread::sleep(Duration::from_secs(4));
            note("somebody else's, by the token alone", client.query("select 1"));
        } else if has("transaction") {
            client.query("begin").unwrap();
            client.query(&format!("create table t_{mark} (x int)")).unwrap();
            std::thread::sleep(Duration::from_secs(4));
            note("commit", client.query("commit"));
            self.is_undone(&gate, &agent, &mark);
        } else if has("statement") && !has("idle") {
            let long = client.query("select pg_sleep(4)");
            assert!(long.is_ok() || long == Err("28000".to_owned()), "{long:?}");
            note("the next one", client.query("select 1"));
        } else if allow || has("same sub") || has("refreshed") {
            gate.token(brief(300, "agent:build-7").as_bytes());
            std::thread::sleep(Duration::from_secs(4));
            note("a refreshed token", client.query("select 1"));
            note("and again", client.query("select 1"));
        } else {
            std::thread::sleep(Duration::from_secs(4));
            note("after its end", client.query("select 1"));
            // A refreshed token that is there before the next statement extends the session.
            gate.token(brief(3, "agent:build-7").as_bytes());
            let mut client = gate.connect(&agent).unwrap();
            gate.token(brief(300, "agent:build-7").as_bytes());
            std::thread::sleep(Duration::from_secs(4));
            assert_eq!(client.query("select 'still'"), Ok("still".to_owned()));
            // An open transaction is rolled back.
            gate.token(brief(3, "agent:build-7").as_bytes());
            let mut client = gate.connect(&agent).unwrap();
            client.query("begin").unwrap();
            client.query(&format!("create table t_{mark} (x int)")).unwrap();
            std::thread::sleep(Duration::from_secs(4));
            note("within a transaction", client.query("commit"));
            self.is_undone(&gate, &agent, &mark);
        }
        tried
    }

    fn is_undone(&self, gate: &Gate, agent: &Agent, mark: &str) {
        gate.token(self.token(&[]).as_bytes());
        let mut client = gate.connect(agent).unwrap();
        let found = client.query(&format!("select count(*) from pg_tables where tablename = 't_{mark}'"));
        assert_eq!(found, Ok("0".to_owned()), "the transaction was committed");
    }

    /// A token of one agent with another one.
    fn stolen(&self, allow: bool) -> Vec<Tried> {
        let of_b = self.token(&[("sub", json!("agent:build-8"))]);
        let environment = "sources = [\"enrolled\", \"environment\"]\n";
        let a = Agent::start(&self.top, "build-7", &[("AGENT_ID_TOKEN", &of_b)]);
        let b = Agent::start(&self.top, "build-8", &[("AGENT_ID_TOKEN", &of_b)]);
        let mut tried = Vec::new();
        let attested = self.gate_with(environment, "");
        if allow {
            tried.push(("its own".to_owned(), attested.connect(&b).map(drop)));
            return tried;
        }
        tried.push(("before its owner".to_owned(), attested.connect(&a).map(drop)));
        assert!(attested.connect(&b).is_ok(), "the owner is let in");
        tried.push(("after its owner".to_owned(), attested.connect(&a).map(drop)));
        // Where nothing attests what processes are, it belongs to the cgroup that it was seen in first.
        let unattested = self.gate_by(&format!(
            "{environment}{}[exchange]\naudience = \"postgres\"\n[exchange.embedded]\nkey_file = \"@DIR@/sts.key\"\n\
             [[exchange.embedded.rules]]\nsubject = \"**\"\n",
            self.issuer()
        ));
        assert!(unattested.connect(&b).is_ok(), "the owner is let in");
        tried.push(("seen elsewhere".to_owned(), unattested.connect(&a).map(drop)));
        tried
    }

    /// What the token endpoint says.
    fn exchange(&self, case: &Value, words: &str, allow: bool) -> Vec<Tried> {
        let has = |word: &str| words.contains(word);
        let agent = self.agent();
        let issued = |changes: &[(&str, Value)]| {
            let changes = [&[("aud", json!("postgres"))], changes].concat();
            self.token(&changes)
        };
        let answer = |token: String| json!({"access_token": token, "issued_token_type": JWT, "token_type": "N_A", "expires_in": 300});
        let with = |name: &str, value: Value| {
            let mut answer = answer(issued(&[]));
            if value.is_null() {
                answer.as_object_mut().unwrap().remove(name);
            } else {
                answer[name] = value;
            }
            Reply::json(&answer)
        };
        let good = || Reply::json(&answer(issued(&[])));
        let because = case["why"].as_str().unwrap_or_default().to_lowercase();
        let mut replies: Vec<(&str, Reply)> = Vec::new();
        let mut settings = "scope = \"read\"\n";
        let mut subject = self.token(&[]);
        if allow {
            replies.push(("what was asked for", good()));
        } else if has("issued_token_type") || has("token_type") {
            let access = "urn:ietf:params:oauth:token-type:access_token";
            let mut not_a_bearer = answer(issued(&[]));
            not_a_bearer["issued_token_type"] = access.into();
            replies.push(("no issued_token_type", with("issued_token_type", Value::Null)));
            replies.push((
                "another issued_token_type",
                with("issued_token_type", json!("urn:ietf:params:oauth:token-type:saml2")),
            ));
            replies.push(("N_A for an access token", Reply::json(&not_a_bearer)));
            replies.push(("no token_type", with("token_type", Value::Null)));
            replies.push(("another token_type", with("token_type", json!("mac"))));
        } else if has("scope") {
            replies.push(("more than was asked for", with("scope", json!("read admin"))));
            replies.push(("something else", with("scope", json!("admin"))));
            replies.push(("in the token", Reply::json(&answer(issued(&[("scope", json!("read admin"))])))));
        } else if has("aud") {
            replies.push(("for somebody else", Reply::json(&answer(issued(&[("aud", json!("other"))])))));
            replies.push(("for several", Reply::json(&answer(issued(&[("aud", json!(["postgres", "other"]))])))));
            replies.push(("for nobody", Reply::json(&answer(issued(&[("aud", Value::Null)])))));
            replies.push(("the agent's own token", Reply::json(&answer(self.token(&[])))));
        } else if has("500")
            || has("timeout")
            || has("down")
            || has("slow")
            || has("hangs")
            || has("html")
            || has("redirect")
            || has("unreachable")
            || has("fault")
        {
            replies.push(("an error", Reply { status: 500, ..good() }));
            replies.push(("HTML", Reply { kind: "text/html", ..good() }));
            replies
                .push(("a redirect", Reply { status: 307, location: format!("{}/token", self.evil.base), ..good() }));
            replies.push(("silence", Reply { delay: Duration::from_secs(7), ..good() }));
            replies.push(("no JSON", Reply { body: "{".to_owned(), ..good() }));
        } else if has("expire") || has("lifetime") {
            replies.push(("over", Reply::json(&answer(issued(&[("exp", json!(now() - 1))])))));
            replies.push(("expires_in 0", with("expires_in", json!(0))));
            replies.push(("expires_in a text", with("expires_in", json!("300"))));
        } else if has("error") || has("invalid_grant") || has("denied") || has("invalid_target") {
            for error in ["invalid_grant", "invalid_request", "invalid_target", "access_denied"] {
                let body =
                    json!({"error": error, "access_token": issued(&[]), "issued_token_type": JWT, "token_type": "N_A"});
                replies.push((error, Reply { status: 400, ..Reply::json(&body) }));
            }
        } else if has("act") || has("subject") || has("sub ") || has("b ") || because.contains("agent") {
            settings = "";
            replies.push(("somebody else's", Reply::json(&answer(issued(&[("sub", json!("agent:build-8"))])))));
            let maria = [("sub", json!("user:maria")), ("act", json!({"sub": "agent:other"}))];
            replies.push(("another actor", Reply::json(&answer(issued(&maria)))));
            replies.push(("the actor lost", Reply::json(&answer(issued(&[("sub", json!("user:maria"))])))));
            if has("subject_token") || has("of b") || has("from a") {
                subject = self.token(&[("sub", json!("agent:build-8"))]);
            }
        } else if has("sign") || has("foreign") {
            let forged =
                keys::signed_by(Key::Attacker, HEADER, &self.claims(&[("aud", json!("postgres"))]).to_string());
            replies.push(("signed by somebody else", Reply::json(&answer(forged))));
        }
        let mut tried = Vec::new();
        for (what, reply) in replies {
            self.idp.set("/token", reply);
            tried.push((what.to_owned(), self.show(&self.gate_exchanging(settings), &agent, &subject)));
        }
        assert_eq!(self.evil.asked("/"), 0, "a redirect was followed");
        tried
    }
}

/// An HTTPS server with a certificate of its own making.
fn untrusted() -> String {
    let authority = interceptor_tests::Authority::new("nobody");
    let (certificate, key) = authority.issue("127.0.0.1", &["127.0.0.1"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = std::sync::Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
        }
    });
    url
}
