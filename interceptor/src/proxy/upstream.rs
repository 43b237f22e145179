//! The database's side: which credential belongs to which database, dialling, and asking the catalogue questions.

use super::login::{self, LoginError};
use crate::redirect::bind_as;
use crate::wire::{Backend, Chunk, Frame, Splitter, TransactionStatus, cancel_request};
use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One `[[upstream]]` of the configuration file: how to log in where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `address:port` as agents dial it, or `*`.
    pub server: String,
    /// Name of the database, in which a `*` stands for anything.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// File with the role's password, readable by the daemon alone.
    pub password_file: PathBuf,
}

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("password file `{path}` cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others can read it.
    #[error("password file `{0}` can be read by others; make it 0600 and the daemon's own")]
    Exposed(PathBuf),
    /// There is nothing in it.
    #[error("password file `{0}` is empty")]
    Empty(PathBuf),
}

/// A role and its password.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

/// All credentials, read at start.
#[derive(Debug)]
pub struct Upstreams {
    entries: Vec<(Upstream, Credential)>,
}

impl Upstreams {
    /// Reads the password files.
    pub fn load(settings: &[Upstream]) -> Result<Self, CredentialError> {
        let entries = settings.iter().map(|upstream| Ok((upstream.clone(), credential(upstream)?)));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// The first entry that fits.
    pub(super) fn credential(&self, server: &SocketAddr, database: &str) -> Option<&Credential> {
        let server = server.to_string();
        let mut entries = self.entries.iter();
        entries
            .find(|(upstream, _)| fits(&upstream.server, &server) && fits(&upstream.database, database))
            .map(|(_, credential)| credential)
    }
}

/// Whether a value is what a pattern means, in which `*` stands for any characters.
fn fits(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((before, rest)) => value.strip_prefix(before).is_some_and(|behind| {
            behind
                .char_indices()
                .map(|(at, _)| at)
                .chain([behind.len()])
                .any(|at| fits(rest, behind.get(at..).unwrap_or_default()))
        }),
    }
}

fn credential(upstream: &Upstream) -> Result<Credential, CredentialError> {
    let path = &upstream.password_file;
    let unreadable = |source| CredentialError::Unreadable { path: path.clone(), source };
    let mode = std::fs::metadata(path).map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(CredentialError::Exposed(path.clone()));
    }
    let password = std::fs::read_to_string(path).map_err(unreadable)?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(CredentialError::Empty(path.clone()));
    }
    Ok(Credential { user: upstream.user.clone(), password })
}

/// A connection to the database that is ready for its first statement.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) stream: TcpStream,
    /// What has been read and not looked at.
    pub(super) buffer: BytesMut,
    pub(super) splitter: Splitter,
    /// Settings that the server reported, in order.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) pid: i32,
    pub(super) secret: Vec<u8>,
}

/// Connects to the database as if the agent did: from its own port where the kernel lets us, so that
/// `inet_client_port()` and the server's log show what they would have shown without us.
pub(super) async fn dial(server: SocketAddr, source: Option<SocketAddr>) -> io::Result<TcpStream> {
    if let Some(source) = source {
        match connect_from(server, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => tracing::debug!(%error, %source, "the agent's port cannot be used upstream, taking another"),
        }
    }
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_from(server: SocketAddr, source: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    // The agent's address as we see it is that of the loopback hop; only its port is the agent's own.
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], source.port()).into() } else { ([0u16; 8], source.port()).into() };
    bind_as(socket.as_fd(), any)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks a server to cancel what one of its processes is at. The connection is closed by the server when it has passed
/// the signal on, and only then does this return.
pub(super) async fn cancel(server: SocketAddr, pid: i32, secret: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&cancel_request(pid, secret)).await?;
    let mut nothing = [0; 1];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

impl Server {
    /// Dials and logs in.
    pub(super) async fn connect(
        address: SocketAddr,
        source: Option<SocketAddr>,
        credential: &Credential,
        parameters: &[(String, String)],
    ) -> Result<Self, LoginError> {
        let stream = dial(address, source).await.map_err(LoginError::Unreachable)?;
        login::log_in(stream, address, credential, parameters).await
    }

    /// The next whole message; for log-in and for questions, where nothing passes unseen.
    pub(super) async fn next(&mut self) -> Result<Frame, LoginError> {
        loop {
            match self
                .splitter
                .next(&mut self.buffer, |_| Some(16 << 20))
                .map_err(|error| LoginError::Protocol(error.to_string()))?
            {
                Some(Chunk::Whole(frame)) => return Ok(frame),
                Some(Chunk::Passing { .. } | Chunk::Skipped { .. }) => {
                    return Err(LoginError::Protocol("a message passed unseen".to_owned()));
                }
                None => {
                    if self.stream.read_buf(&mut self.buffer).await.map_err(LoginError::Lost)? == 0 {
                        return Err(LoginError::Lost(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Runs the daemon's own questions and hands each row on as it comes: the number of the question among those that
    /// yield rows, and the row's values as text. `None` from there is a row of an unknown shape.
    pub(super) async fn ask(
        &mut self,
        text: &str,
        mut each: impl FnMut(usize, &[Option<&str>]) -> Option<()>,
    ) -> Result<(), LoginError> {
        let mut query = BytesMut::with_capacity(text.len() + 6);
        query.put_u8(b'Q');
        query.put_u32(u32::try_from(text.len() + 5).unwrap_or_default());
        query.extend_from_slice(text.as_bytes());
        query.put_u8(0);
        self.stream.write_all(&query).await.map_err(LoginError::Lost)?;
        let mut shapes = 0_usize;
        loop {
            let frame = self.next().await?;
            if frame.tag() == b'D' {
                let question =
                    shapes.checked_sub(1).ok_or_else(|| LoginError::Protocol("a row without a shape".to_owned()))?;
                row(frame.body())
                    .and_then(|values| each(question, &values))
                    .ok_or_else(|| LoginError::Protocol("a row has an unknown shape".to_owned()))?;
                continue;
            }
            match Backend::decode(&frame).map_err(|error| LoginError::Protocol(error.to_string()))? {
                Backend::RowDescription { .. } => shapes += 1,
                Backend::ErrorResponse(fields) => return Err(LoginError::refused(&fields)),
                Backend::ReadyForQuery(TransactionStatus::Idle) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A DataRow in text format (54.7).
fn row(body: &[u8]) -> Option<Vec<Option<&str>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        match i32::from_be_bytes(*length) {
            -1 => values.push(None),
            length => {
                let (value, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                values.push(Some(std::str::from_utf8(value).ok()?));
                rest = behind;
            }
        }
    }
    rest.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_of_databases() {
        for (pattern, value, expected) in [
            ("*", "shop", true),
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("ci_*", "ci_42", true),
            ("ci_*", "ci", false),
            ("*_ro", "shop_ro", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
        ] {
            assert_eq!(fits(pattern, value), expected, "{pattern} {value}");
        }
    }
}
