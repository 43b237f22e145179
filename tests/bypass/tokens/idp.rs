//! An issuer that answers what a case has it answer, and remembers what it was asked.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) location: String,
    pub(super) body: String,
    /// Between two bytes.
    pub(super) pause: Duration,
    /// Before the first.
    pub(super) delay: Duration,
}

impl Reply {
    pub(super) fn json(body: &Value) -> Self {
        Self {
            status: 200,
            kind: "application/json",
            location: String::new(),
            body: body.to_string(),
            pause: Duration::ZERO,
            delay: Duration::ZERO,
        }
    }
}

#[derive(Debug, Default)]
struct Pages {
    replies: HashMap<String, Reply>,
    asked: Vec<String>,
    /// Connections are closed without a word.
    down: bool,
}

/// Listens on a loopback port as long as the process lives.
#[derive(Debug)]
pub(super) struct Idp {
    /// Without a path.
    pub(super) base: String,
    pages: Arc<Mutex<Pages>>,
}

impl Idp {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let idp = Self { base: format!("http://{}", listener.local_addr().unwrap()), pages: Arc::default() };
        let pages = Arc::clone(&idp.pages);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || drop(answer(stream, &pages)));
            }
        });
        idp
    }

    pub(super) fn issuer(&self) -> String {
        format!("{}/agents", self.base)
    }

    /// Discovery and keys as they should be.
    pub(super) fn publish(&self, keys: &Value) {
        let issuer = self.issuer();
        let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "token_endpoint": format!("{issuer}/token")});
        self.set("/.well-known/openid-configuration", Reply::json(&document));
        self.set("/jwks", Reply::json(keys));
        self.lock().down = false;
    }

    /// `path` below the issuer.
    pub(super) fn set(&self, path: &str, reply: Reply) {
        self.lock().replies.insert(format!("/agents{path}"), reply);
    }

    pub(super) fn down(&self) {
        self.lock().down = true;
    }

    /// How often a path was asked for since this was asked last.
    pub(super) fn asked(&self, path: &str) -> usize {
        let asked = std::mem::take(&mut self.lock().asked);
        asked.iter().filter(|asked| asked.contains(path)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap()
    }
}

fn answer(mut stream: TcpStream, pages: &Mutex<Pages>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    let path = loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break head.split(' ').nth(1).unwrap_or_default().to_owned();
        }
    };
    let reply = {
        let mut pages = pages.lock().unwrap();
        pages.asked.push(path.clone());
        if pages.down {
            return Ok(());
        }
        pages.replies.get(&path).cloned()
    };
    let Some(reply) = reply else { return stream.write_all(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n") };
    std::thread::sleep(reply.delay);
    let location = if reply.location.is_empty() { String::new() } else { format!("Location: {}\r\n", reply.location) };
    let head = format!(
        "HTTP/1.1 {} x\r\nContent-Type: {}\r\n{location}Content-Length: {}\r\n\r\n",
        reply.status,
        reply.kind,
        reply.body.len()
    );
    stream.write_all(head.as_bytes())?;
    if reply.pause.is_zero() {
        return stream.write_all(reply.body.as_bytes());
    }
    for byte in reply.body.as_bytes() {
        stream.write_all(&[*byte])?;
        std::thread::sleep(reply.pause);
    }
    Ok(())
}
