//! Telling other systems what waits for a human, and taking an answer from them.
//!
//! A message is signed: `X-Interceptor-Signature: v1=HEX`, HMAC-SHA256 with the webhook's secret over
//! `X-Interceptor-Timestamp`, a full stop and the body. An answer is signed the same way. A link in a message leads to the
//! console and does nothing by itself, whoever opens it: chat tools look at links on their own.

mod answer;
mod template;

pub(super) use answer::answer;

use crate::approval::{Desk, Request, State};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// One `[[webhook]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What it is called here, and in the record where it answers.
    pub name: String,
    /// Where messages go: https, or http on a loopback address.
    pub url: Option<String>,
    /// File with that URL, where the URL itself is a secret.
    pub url_file: Option<PathBuf>,
    /// How a message looks.
    #[serde(default)]
    pub form: Form,
    /// File with the secret that messages and answers are signed with; 0600.
    pub secret_file: PathBuf,
    /// Where people reach the console, for the link in messages.
    pub console: Option<String>,
    /// Whether messages have the statement and its values, and not only who wants what of which relations.
    #[serde(default = "yes")]
    pub statement: bool,
    /// Whom whoever has the secret may speak for, and the groups that they are in. Without it answers need a token of the
    /// approver's own.
    #[serde(default)]
    pub approvers: BTreeMap<String, BTreeSet<String>>,
}

fn yes() -> bool {
    true
}

/// How a message looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The request as `approvals show --json` has it.
    #[default]
    Json,
    /// Blocks of Slack.
    Slack,
    /// An adaptive card for Teams.
    Teams,
}

/// A webhook that is ready.
#[derive(Debug)]
pub struct Webhook {
    name: String,
    url: String,
    form: Form,
    secret: Vec<u8>,
    console: Option<String>,
    statement: bool,
    approvers: BTreeMap<String, BTreeSet<String>>,
}

/// Messages that wait for a webhook; more are dropped, and the log says so.
const MOST_WAITING: usize = 1000;
/// How often a message is tried.
const TRIES: u32 = 8;
/// For one try.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often requests are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Reads secrets and URLs.
///
/// # Errors
/// What is wrong with the first that cannot be used.
pub fn load(settings: &[Settings]) -> io::Result<Vec<Arc<Webhook>>> {
    let mut names = BTreeSet::new();
    let wrong = |name: &str, why: &str| io::Error::other(format!("[[webhook]] `{name}`: {why}"));
    let each = settings.iter().map(|settings| {
        let Settings { name, url, url_file, form, secret_file, console, statement, approvers } = settings;
        if !names.insert(name.clone()) {
            return Err(wrong(name, "another one has this name"));
        }
        let url = match (url, url_file) {
            (Some(url), None) => url.clone(),
            (None, Some(file)) => secret(file).map_err(|error| wrong(name, &error.to_string()))?,
            (None, None) | (Some(_), Some(_)) => return Err(wrong(name, "it needs either `url` or `url_file`")),
        };
        if !is_allowed(&url) {
            return Err(wrong(name, "its URL is neither https nor http on a loopback address"));
        }
        let secret = secret(secret_file).map_err(|error| wrong(name, &error.to_string()))?.into_bytes();
        if secret.len() < 16 {
            return Err(wrong(name, "its secret has less than 16 bytes"));
        }
        Ok(Arc::new(Webhook {
            name: name.clone(),
            url,
            form: *form,
            secret,
            console: console.as_ref().map(|console| console.trim_end_matches('/').to_owned()),
            statement: *statement,
            approvers: approvers.clone(),
        }))
    });
    each.collect()
}

fn secret(file: &Path) -> io::Result<String> {
    let about = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", file.display()));
    let mode = std::fs::metadata(file).map_err(about)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!("`{}` may be read by others: chmod 0600", file.display())));
    }
    Ok(std::fs::read_to_string(file).map_err(about)?.trim().to_owned())
}

fn is_allowed(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

impl Webhook {
    /// HMAC-SHA256 over timestamp and body, in hexadecimal behind the version of this form.
    fn sign(&self, timestamp: u64, body: &[u8]) -> String {
        let mac = self.mac(&timestamp.to_string(), body).finalize().into_bytes();
        format!("v1={}", mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }

    /// Whether somebody who has the secret has signed this.
    fn is_signed(&self, timestamp: &str, signature: &str, body: &[u8]) -> bool {
        let Some(hex) = signature.strip_prefix("v1=").filter(|hex| hex.len() == 64 && hex.is_ascii()) else {
            return false;
        };
        let byte = |at: usize| hex.get(2 * at..2 * at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        let Some(given) = (0..32).map(byte).collect::<Option<Vec<_>>>() else { return false };
        // Takes the same time whatever is wrong.
        self.mac(timestamp, body).verify_slice(&given).is_ok()
    }
}

/// Tells webhooks what happens, until the daemon stops.
pub async fn run(webhooks: Vec<Arc<Webhook>>, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    if webhooks.is_empty() {
        return;
    }
    let mut senders = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for webhook in webhooks {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        senders.push((webhook.clone(), sender));
        tasks.spawn(deliver(webhook, receiver));
    }
    let (mut seen, mut changes) = (HashMap::new(), 0);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.changed() => break,
        }
        let now = desk.changes();
        if now == changes {
            continue;
        }
        changes = now;
        for (what, request) in news(&mut seen, desk.list(unix())) {
            for (webhook, sender) in &senders {
                let body = template::body(webhook, what, &request);
                if sender.try_send(body).is_err() {
                    tracing::error!(webhook = webhook.name, id = request.id, "a message is dropped: too many wait");
                }
            }
        }
    }
    tasks.abort_all();
}

/// What has happened since it was looked at last, in words of the record.
fn news(seen: &mut HashMap<String, (State, usize)>, requests: Vec<Request>) -> Vec<(&'static str, Request)> {
    let mut news = Vec::new();
    let mut known = HashMap::new();
    for request in requests {
        let before = seen.get(&request.id).copied();
        let now = (request.state, request.voices.len());
        known.insert(request.id.clone(), now);
        if before == Some(now) {
            continue;
        }
        if before.is_none() {
            news.push(("asked", request.clone()));
        }
        let what = match request.state {
            State::Open if request.voices.is_empty() => continue,
            State::Open => "seconded",
            State::Approved => "approved",
            State::Used => "used",
            State::Denied => "denied",
            State::Expired => "expired",
            State::Withdrawn => "withdrawn",
        };
        news.push((what, request));
    }
    *seen = known;
    news
}

async fn deliver(webhook: Arc<Webhook>, mut waiting: mpsc::Receiver<Vec<u8>>) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        // Nobody is told what nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("interceptor/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(webhook = webhook.name, %error, "the webhook cannot be used"),
    };
    while let Some(body) = waiting.recv().await {
        for attempt in 0..TRIES {
            let timestamp = unix();
            let sent = client
                .post(&webhook.url)
                .header("content-type", "application/json")
                .header("x-interceptor-timestamp", timestamp.to_string())
                .header("x-interceptor-signature", webhook.sign(timestamp, &body))
                .body(body.clone())
                .send()
                .await;
            let why = match sent {
                Ok(answer) if answer.status().is_success() => break,
                Ok(answer) => {
                    let status = answer.status();
                    if status.is_client_error() && !matches!(status.as_u16(), 408 | 429) {
                        // Sent again it would be refused again.
                        tracing::error!(webhook = webhook.name, %status, "a message was refused");
                        break;
                    }
                    format!("the answer is {status}")
                }
                Err(error) => error.without_url().to_string(),
            };
            if attempt + 1 == TRIES {
                tracing::error!(webhook = webhook.name, why, "a message could not be delivered");
                break;
            }
            tracing::warn!(webhook = webhook.name, why, "a message is tried again");
            // 1 s, 2 s, 4 s ... 64 s, and a bit, so that not all daemons come at once.
            let jitter = u64::from(rand::random::<u8>());
            tokio::time::sleep(Duration::from_millis((1000 << attempt) + jitter)).await;
        }
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn webhook(form: Form) -> Webhook {
        Webhook {
            name: "chat".into(),
            url: "https://hooks.example/x".into(),
            form,
            secret: b"0123456789abcdef".to_vec(),
            console: Some("https://console.example".into()),
            statement: true,
            approvers: BTreeMap::new(),
        }
    }

    #[test]
    fn only_the_secret_signs() {
        let webhook = webhook(Form::Json);
        // From Python's hmac.new(b"0123456789abcdef", b"17.{}", "sha256").hexdigest().
        let signed = webhook.sign(17, b"{}");
        assert!(webhook.is_signed("17", &signed, b"{}"));
        for (timestamp, signature, body) in [
            ("18", signed.as_str(), "{}"),
            ("17", signed.as_str(), "{} "),
            ("17", "v1=00", "{}"),
            ("17", "", "{}"),
            ("17", signed.trim_start_matches("v1="), "{}"),
            ("17", &signed.replace("v1=", "v0="), "{}"),
        ] {
            assert!(!webhook.is_signed(timestamp, signature, body.as_bytes()), "{timestamp} {signature} {body}");
        }
    }

    #[test]
    fn messages_go_where_nobody_listens_in() {
        for (url, expected) in [
            ("https://hooks.example/x", true),
            ("http://127.0.0.1:8000/", true),
            ("http://[::1]:8000/", true),
            ("http://localhost/", true),
            ("http://hooks.example/", false),
            ("http://127.0.0.1.evil.example/", false),
            ("ftp://127.0.0.1/", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(url), expected, "{url}");
        }
    }
}
