//! What happens before a session: the opening packets and the start-up parameters.

use super::tls::{Stream, Terminator};
use crate::sql::{Pinned, parameter_is_harmless, pinned};
use crate::wire::{Opening, OpeningError, Report, Speaker, SqlState, Startup, decode_opening, opening_length};
use bytes::BytesMut;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a connection turned out to be.
#[derive(Debug)]
pub(super) enum Greeted {
    /// A session is wanted.
    Startup(Startup),
    /// A statement of another session is to be cancelled.
    Cancel { pid: i32, secret: Vec<u8> },
}

/// Why a connection does not get as far as that.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    #[error("the client went away")]
    Gone(#[from] io::Error),
    #[error(transparent)]
    Opening(#[from] OpeningError),
    #[error("encryption was asked for more than once")]
    Again,
    /// It would be taken for part of what follows in TLS (CVE-2021-23214), or has been put there by somebody else.
    #[error("received unencrypted data after a request for encryption")]
    Stuffed,
    #[error("received a direct TLS connection without ALPN protocol `postgresql`")]
    NoAlpn,
    #[error("the TLS handshake with the client failed")]
    Handshake(#[source] io::Error),
}

/// What the first byte of a TLS connection is (RFC 8446, 5.1: a handshake record), and no start-up packet's is, whose
/// length it would be.
const HANDSHAKE: u8 = 0x16;

impl GreetingError {
    /// Whether nothing has been said that would be worth recording.
    pub(super) fn is_silent(&self) -> bool {
        match self {
            Self::Gone(_) => true,
            Self::Handshake(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// What the client is told; nothing where it does not speak the protocol.
    pub(super) fn report(&self) -> Option<Report> {
        match self {
            // Who does not say that it wants PostgreSQL's protocol may be a browser that is being used against us.
            Self::Gone(_) | Self::Opening(OpeningError::Length(_)) | Self::NoAlpn | Self::Handshake(_) => None,
            Self::Opening(OpeningError::Version { .. }) => {
                Some(Report::fatal(SqlState::FEATURE_NOT_SUPPORTED, self.to_string()))
            }
            Self::Opening(OpeningError::Layout(_)) | Self::Again | Self::Stuffed => {
                Some(Report::fatal(SqlState::PROTOCOL_VIOLATION, self.to_string()))
            }
            Self::Opening(OpeningError::User(_)) => {
                Some(Report::fatal(SqlState::INVALID_AUTHORIZATION, self.to_string()))
            }
        }
    }
}

/// A connection and what it turned out to be, or why not; without a connection where there is nobody to answer.
pub(super) struct Greeting {
    pub(super) stream: Option<Stream>,
    pub(super) buffer: BytesMut,
    pub(super) result: Result<Greeted, GreetingError>,
}

impl Greeting {
    fn over(stream: impl Into<Option<Stream>>, error: impl Into<GreetingError>) -> Self {
        Self { stream: stream.into(), buffer: BytesMut::new(), result: Err(error.into()) }
    }
}

/// Reads opening packets until one is more than a request for encryption. TLS may be asked for once, at once (a
/// connection that begins with its handshake) or by a packet, and GSSAPI once, which is declined; neither within TLS.
pub(super) async fn greet(mut stream: TcpStream, tls: Option<&Terminator>, dialled: IpAddr) -> Greeting {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Greeting::over(None, io::Error::from(io::ErrorKind::UnexpectedEof)),
        Ok(_) => {}
        Err(error) => return Greeting::over(None, error),
    }
    if let (HANDSHAKE, Some(tls)) = (first[0], tls) {
        return match tls.accept(stream, dialled).await {
            Ok(stream) if stream.wants_postgres() => encrypted(stream).await,
            Ok(stream) => Greeting::over(stream, GreetingError::NoAlpn),
            Err(error) => Greeting::over(None, GreetingError::Handshake(error)),
        };
    }
    let mut buffer = BytesMut::with_capacity(1024);
    let (mut ssl, mut gss) = (false, false);
    loop {
        let asked = match opening(&mut stream, &mut buffer).await {
            Ok(Opening::Ssl) => &mut ssl,
            Ok(Opening::GssEnc) => &mut gss,
            Ok(Opening::Cancel { pid, secret }) => {
                let result = Ok(Greeted::Cancel { pid, secret });
                return Greeting { stream: Some(Stream::Plain(stream)), buffer, result };
            }
            Ok(Opening::Startup(startup)) => {
                let result = Ok(Greeted::Startup(startup));
                return Greeting { stream: Some(Stream::Plain(stream)), buffer, result };
            }
            Err(error) => return Greeting::over(Stream::Plain(stream), error),
        };
        if std::mem::replace(asked, true) {
            return Greeting::over(Stream::Plain(stream), GreetingError::Again);
        }
        if !buffer.is_empty() {
            return Greeting::over(Stream::Plain(stream), GreetingError::Stuffed);
        }
        // GSSAPI may have been asked for and declined before.
        let accepted = tls.filter(|_| ssl);
        if let Err(error) = stream.write_all(if accepted.is_some() { b"S" } else { b"N" }).await {
            return Greeting::over(None, error);
        }
        if let Some(tls) = accepted {
            return match tls.accept(stream, dialled).await {
                Ok(stream) => encrypted(stream).await,
                Err(error) => Greeting::over(None, GreetingError::Handshake(error)),
            };
        }
    }
}

/// Within TLS there is nothing left to negotiate.
async fn encrypted(mut stream: Stream) -> Greeting {
    let mut buffer = BytesMut::with_capacity(1024);
    let result = match opening(&mut stream, &mut buffer).await {
        Ok(Opening::Ssl | Opening::GssEnc) => Err(GreetingError::Again),
        Ok(Opening::Cancel { pid, secret }) => Ok(Greeted::Cancel { pid, secret }),
        Ok(Opening::Startup(startup)) => Ok(Greeted::Startup(startup)),
        Err(error) => Err(error),
    };
    Greeting { stream: Some(stream), buffer, result }
}

async fn opening(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<Opening, GreetingError> {
    loop {
        if let Some(length) = opening_length(buffer)?
            && buffer.len() >= length
        {
            let packet = buffer.split_to(length);
            return Ok(decode_opening(&packet)?);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(GreetingError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// The protocol version that is spoken: what was asked for if we know it, else the newest that we know.
pub(super) fn negotiate(startup: &Startup, out: &mut BytesMut) -> u16 {
    let minor = startup.minor.min(2);
    if minor != startup.minor || !startup.options.is_empty() {
        out.negotiate(minor, &startup.options);
    }
    minor
}

/// What a client wants of its session, as far as it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The user it claims to be: decides nothing, is recorded.
    pub(super) user: String,
    pub(super) database: String,
    /// The name it gives itself; likewise.
    pub(super) application_name: Option<String>,
    /// Harmless settings, passed on.
    pub(super) settings: Vec<(String, String)>,
}

/// Longest name that the server keeps whole, in bytes (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

/// Takes start-up parameters apart: an allowlist, for each of them could change what statements mean.
pub(super) fn wishes(startup: &Startup) -> Result<Wishes, Report> {
    let user = startup.parameter("user").filter(|user| !user.is_empty());
    let Some(user) = user else {
        return Err(Report::fatal(
            SqlState::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    };
    let database = startup.parameter("database").filter(|database| !database.is_empty()).unwrap_or(user);
    // The server cuts both, and what was judged would not be what is connected to.
    if user.len() > LONGEST_NAME {
        return Err(Report::fatal(SqlState::INVALID_AUTHORIZATION, "user names have at most 63 bytes"));
    }
    if database.len() > LONGEST_NAME {
        return Err(Report::fatal(SqlState::INVALID_CATALOG_NAME, "database names have at most 63 bytes"));
    }
    let mut wishes = Wishes {
        user: user.to_owned(),
        database: database.to_owned(),
        application_name: startup.parameter("application_name").map(str::to_owned),
        settings: Vec::new(),
    };
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" | "application_name" => {}
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => return Err(refused("replication connections are not available")),
            "options" => {
                for (name, value) in options(value)? {
                    wishes.setting(&name, &value)?;
                }
            }
            // Clients in the C locale ask for SQL_ASCII, which is "no conversion"; they get UTF8 like everyone.
            "client_encoding" if value.eq_ignore_ascii_case("SQL_ASCII") => {}
            _ => wishes.setting(name, value)?,
        }
    }
    Ok(wishes)
}

impl Wishes {
    fn setting(&mut self, name: &str, value: &str) -> Result<(), Report> {
        match pinned(name, Some(value)) {
            Pinned::Kept => Ok(()),
            Pinned::Refused(why) => Err(refused(why)),
            Pinned::Free if parameter_is_harmless(name) => {
                self.settings.push((name.to_owned(), value.to_owned()));
                Ok(())
            }
            Pinned::Free => Err(refused(&format!("parameter \"{name}\" cannot be set at start-up"))),
        }
    }
}

fn refused(why: &str) -> Report {
    Report::fatal(SqlState::INSUFFICIENT_PRIVILEGE, why)
}

/// `-c name=value` and `--name=value`, separated by spaces, which a backslash escapes (libpq's `options`).
fn options(text: &str) -> Result<Vec<(String, String)>, Report> {
    let mut words = words(text).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(setting), _) => setting.to_owned(),
            (None, Some("")) => words.next().unwrap_or_default(),
            (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err(refused("only `-c name=value` is understood in `options`")),
        };
        let Some((name, value)) = setting.split_once('=') else {
            return Err(refused("only `-c name=value` is understood in `options`"));
        };
        // The server takes `-` for `_` here (`ParseLongOption`).
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for c in text.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            c if c.is_whitespace() && !escaped => words.extend(word.take()),
            c => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parameters: &[(&str, &str)], expected: &str) {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let said = match wishes(&Startup { minor: 0, parameters, options: Vec::new() }) {
            Ok(wishes) => format!("{}@{} {:?}", wishes.user, wishes.database, wishes.settings),
            Err(report) => format!("{} {}", report.code.as_str(), report.message),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn start_up_parameters_are_an_allowlist() {
        check(&[("user", "a")], "a@a []");
        check(&[("user", &"a".repeat(64))], "28000 user names have at most 63 bytes");
        check(&[("user", "a"), ("database", &"d".repeat(64))], "3D000 database names have at most 63 bytes");
        check(&[("database", "d")], "28000 no PostgreSQL user name specified in startup packet");
        check(&[("user", "a"), ("database", "d"), ("DateStyle", "ISO")], "a@d [(\"DateStyle\", \"ISO\")]");
        check(&[("user", "a"), ("client_encoding", "UTF8")], "a@a []");
        check(&[("user", "a"), ("client_encoding", "SQL_ASCII")], "a@a []");
        check(&[("user", "a"), ("client_encoding", "SJIS")], "42501 client_encoding is pinned to UTF8");
        check(
            &[("user", "a"), ("search_path", "hr")],
            "42501 search_path is set in a way that cannot be followed; use SET search_path = ... by itself",
        );
        check(&[("user", "a"), ("role", "postgres")], "42501 the role is pinned");
        check(&[("user", "a"), ("replication", "database")], "42501 replication connections are not available");
        check(&[("user", "a"), ("work_mem", "1GB")], "42501 parameter \"work_mem\" cannot be set at start-up");
        check(
            &[("user", "a"), ("options", "-c jit=off --statement-timeout=5s")],
            "a@a [(\"jit\", \"off\"), (\"statement_timeout\", \"5s\")]",
        );
        check(
            &[("user", "a"), ("options", "-csearch_path=hr")],
            "42501 search_path is set in a way that cannot be followed; use SET search_path = ... by itself",
        );
        check(
            &[("user", "a"), ("options", "-c search\\ _path=hr")],
            "42501 parameter \"search _path\" cannot be set at start-up",
        );
        check(&[("user", "a"), ("options", "-d 5")], "42501 only `-c name=value` is understood in `options`");
        check(&[("user", "a"), ("interceptor.agent", "x")], "42501 settings under `interceptor.` are the daemon's own");
    }
}
