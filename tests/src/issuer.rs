//! A running `cargo xtask issuer`.

use crate::environment;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A local OIDC issuer, stopped when it is dropped.
#[derive(Debug)]
pub struct Issuer {
    process: Child,
    /// Its identifier.
    pub url: String,
    secret: String,
}

impl Issuer {
    /// Starts one on a free port.
    #[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
    pub fn start() -> Self {
        let mut process = Command::new(environment("XTASK"))
            .args(["issuer"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the issuer starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it is");
        let said: Value = serde_json::from_str(&line).expect("in JSON");
        let get = |name: &str| said.get(name).and_then(Value::as_str).expect("as promised").to_owned();
        Self { process, url: get("url"), secret: get("secret") }
    }

    /// A subject token; `wanted` as the issuer's own help says.
    #[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
    pub fn token(&self, wanted: &Value) -> String {
        let address = self.url.strip_prefix("http://").expect("a loopback address");
        let body = wanted.to_string();
        let mut stream = TcpStream::connect(address).expect("the issuer listens");
        write!(
            stream,
            "POST /admin/tokens HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.secret,
            body.len()
        )
        .expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let said: Value = serde_json::from_str(body).expect("with JSON");
        said.get("token").and_then(Value::as_str).expect("a token").to_owned()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        // Only this very child; that it may have ended by itself does not matter here.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}
