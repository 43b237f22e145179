//! Who is let in: by a link that is good once, or by signing in; and who is in.

use super::Settings;
use crate::approval::Approver;
use crate::identity::{Begun, SignIn};
use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a link is good, in seconds.
const LINK: u64 = 60;
/// How long somebody stays in, in seconds, unless their token ends before.
const STAY: u64 = 8 * 3600;
/// How long somebody may take to sign in, in seconds.
const SIGN_IN: u64 = 600;
/// Of each so many at the same time.
const MOST: usize = 1000;

const COOKIE: &str = "interceptor";
const SIGN_IN_COOKIE: &str = "interceptor-sign-in";

/// The door to the console.
#[derive(Debug)]
pub struct Console {
    settings: Settings,
    address: Option<SocketAddr>,
    pub(super) sign_in: Option<SignIn>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// Links that nobody has used, by SHA-256 of what they end in.
    links: HashMap<[u8; 32], (Approver, u64)>,
    /// Who is in, by SHA-256 of their cookie.
    visitors: HashMap<[u8; 32], Visitor>,
    /// Sign-ins under way, by SHA-256 of their browser's cookie.
    begun: HashMap<[u8; 32], (Begun, u64)>,
}

/// Somebody who is in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) who: Approver,
    /// Told once, to the page that has let them in, which keeps it where only pages of this very origin can read it. Cookies
    /// are sent to every port of a host (RFC 6265, 8.5), so that one alone opens nothing.
    pub(super) csrf: String,
    pub(super) until: u64,
}

/// A link that lets its holder in, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    /// With the secret behind `#`, which browsers send nowhere.
    pub url: String,
    /// How long it is good, in seconds.
    pub seconds: u64,
}

impl Console {
    pub(super) fn new(settings: Settings, address: Option<SocketAddr>) -> io::Result<Self> {
        let sign_in = settings.sign_in.clone().map(SignIn::new).transpose().map_err(io::Error::other)?;
        Ok(Self { settings, address, sign_in, book: Mutex::default() })
    }

    /// Whether a browser means this very place.
    pub(super) fn is_host(&self, host: &str) -> bool {
        self.settings.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
            || self.address.is_some_and(|address| {
                let port = address.port();
                [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")]
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(host))
            })
    }

    /// Whether a request comes from a page of this host.
    pub(super) fn is_origin(&self, origin: &str, host: &str) -> bool {
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(host)
    }

    /// Whether somebody sees everything.
    pub(super) fn is_operator(&self, who: &Approver) -> bool {
        match who {
            Approver::LocalRoot { .. } => true,
            Approver::Person { groups, on_behalf_of, .. } => {
                on_behalf_of.is_none() && groups.iter().any(|group| self.settings.operators.contains(group))
            }
        }
    }

    /// Where the browser comes back to.
    pub(super) fn back(&self, host: &str) -> String {
        let scheme =
            if self.settings.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) { "https" } else { "http" };
        format!("{scheme}://{host}/sign-in/back")
    }

    /// A link for somebody; `None` where too many are out, or nobody listens where a browser could come.
    pub fn link(&self, who: Approver, now: u64) -> Option<Link> {
        let address = match (self.settings.hosts.first(), self.address) {
            (_, Some(address)) => format!("http://{address}"),
            (Some(host), None) => format!("https://{host}"),
            (None, None) => return None,
        };
        let mut book = self.book(now);
        if book.links.len() >= MOST {
            return None;
        }
        let secret = secret();
        book.links.insert(hash(&secret), (who, now + LINK));
        Some(Link { url: format!("{address}/#enter={secret}"), seconds: LINK })
    }

    /// Uses a link up.
    pub(super) fn enter(&self, secret: &str, now: u64) -> Option<Approver> {
        self.book(now).links.remove(&hash(secret)).map(|(who, _)| who)
    }

    /// Lets somebody in; the cookie that they come with from then on, and what their page has to show besides.
    pub(super) fn admit(&self, who: Approver, until: Option<u64>, now: u64) -> Option<(String, String)> {
        let mut book = self.book(now);
        if book.visitors.len() >= MOST {
            return None;
        }
        let (cookie, page) = (secret(), secret());
        let until = until.unwrap_or(u64::MAX).min(now + STAY);
        book.visitors.insert(hash(&cookie), Visitor { who, csrf: page.clone(), until });
        let left = until.saturating_sub(now);
        Some((format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={left}"), page))
    }

    /// Who comes with these cookies.
    pub(super) fn visitor(&self, headers: &HeaderMap, now: u64) -> Option<Visitor> {
        let cookie = cookie(headers, COOKIE)?;
        self.book(now).visitors.get(&hash(&cookie)).cloned()
    }

    /// Somebody leaves.
    pub(super) fn leave(&self, headers: &HeaderMap, now: u64) -> String {
        if let Some(cookie) = cookie(headers, COOKIE) {
            self.book(now).visitors.remove(&hash(&cookie));
        }
        format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// Keeps a sign-in that has begun; the cookie that ties it to its browser. Not `Strict`, for it is another site that
    /// sends the browser back.
    pub(super) fn begin(&self, begun: Begun, now: u64) -> Option<String> {
        let mut book = self.book(now);
        if book.begun.len() >= MOST {
            return None;
        }
        let cookie = secret();
        book.begun.insert(hash(&cookie), (begun, now + SIGN_IN));
        Some(format!("{SIGN_IN_COOKIE}={cookie}; Path=/sign-in; HttpOnly; SameSite=Lax; Max-Age={SIGN_IN}"))
    }

    /// The sign-in that a browser has begun, once.
    pub(super) fn begun(&self, headers: &HeaderMap, now: u64) -> Option<Begun> {
        let cookie = cookie(headers, SIGN_IN_COOKIE)?;
        self.book(now).begun.remove(&hash(&cookie)).map(|(begun, _)| begun)
    }

    fn book(&self, now: u64) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.links.retain(|_, (_, until)| *until > now);
        book.visitors.retain(|_, visitor| visitor.until > now);
        book.begun.retain(|_, (_, until)| *until > now);
        book
    }
}

/// 256 bits that nobody guesses.
fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Looked up by their hash, secrets are not told letter by letter by how long that takes.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn console() -> Console {
        let settings = Settings { hosts: vec!["console.example".into()], ..Settings::default() };
        Console::new(settings, Some("127.0.0.1:8432".parse().unwrap())).unwrap()
    }

    fn root() -> Approver {
        Approver::LocalRoot { cgroup: None }
    }

    #[test]
    fn only_this_host_is_meant() {
        for (host, expected) in [
            ("127.0.0.1:8432", true),
            ("localhost:8432", true),
            ("LOCALHOST:8432", true),
            ("[::1]:8432", true),
            ("console.example", true),
            ("127.0.0.1", false),
            ("127.0.0.1:80", false),
            ("evil.example:8432", false),
            ("127.0.0.1:8432.evil.example", false),
            ("", false),
        ] {
            assert_eq!(console().is_host(host), expected, "{host}");
        }
        assert!(console().is_origin("http://127.0.0.1:8432", "127.0.0.1:8432"));
        for origin in ["null", "", "http://evil.example", "http://127.0.0.1:8433", "file://127.0.0.1:8432"] {
            assert!(!console().is_origin(origin, "127.0.0.1:8432"), "{origin}");
        }
    }

    #[test]
    fn a_link_is_good_once_and_for_a_minute() {
        let console = console();
        let secret_of = |link: Link| link.url.split_once('=').unwrap().1.to_owned();
        let link = secret_of(console.link(root(), 0).unwrap());
        assert_eq!(console.enter("made up", 0), None);
        assert_eq!(console.enter(&link, 0), Some(root()));
        assert_eq!(console.enter(&link, 0), None);
        let late = secret_of(console.link(root(), 0).unwrap());
        assert_eq!(console.enter(&late, LINK), None);
    }

    #[test]
    fn whoever_is_in_leaves_with_their_token() {
        let console = console();
        let (cookie, _) = console.admit(root(), Some(100), 0).unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict; Max-Age=100"), "{cookie}");
        let mut headers = HeaderMap::new();
        let pair = format!("other=1; {}", cookie.split(';').next().unwrap());
        headers.insert(header::COOKIE, HeaderValue::from_str(&pair).unwrap());
        assert!(console.visitor(&headers, 99).is_some());
        assert!(console.visitor(&headers, 100).is_none());
        let (cookie, _) = console.admit(root(), None, 0).unwrap();
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie.split(';').next().unwrap()).unwrap());
        assert!(console.visitor(&headers, 0).is_some());
        console.leave(&headers, 0);
        assert!(console.visitor(&headers, 0).is_none());
    }
}
