//! Logging in upstream with a credential that the agent never sees.
//!
//! SCRAM-SHA-256 (RFC 5802, RFC 7677; 54.3 "SASL Authentication") and nothing weaker: a server that asks for a clear-text
//! or MD5 password gets none. A server that asks for nothing at all is believed on the loopback interface only, where
//! whoever could stand in its place owns the host.

use super::upstream::{Credential, Server};
use crate::wire::{Backend, ErrorFields, Splitter, startup_message};
use bytes::{BufMut, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Iterations of the key derivation that a server may ask for: PostgreSQL's default is the least, and beyond the most
/// it would be asking for our time rather than for proof.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Why there is no connection to the database.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum LoginError {
    #[error("the database server cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("the connection to the database server was lost")]
    Lost(#[source] io::Error),
    #[error("the database server refused: {message} ({sqlstate})")]
    Refused { sqlstate: String, message: String },
    #[error("the database server broke the protocol: {0}")]
    Protocol(String),
    #[error("the database server wants {0}, which is not given away")]
    Downgrade(&'static str),
    #[error("the database server could not prove that it knows the password")]
    Unproven,
}

impl LoginError {
    pub(super) fn refused(fields: &ErrorFields) -> Self {
        Self::Refused {
            sqlstate: fields.sqlstate().to_owned(),
            message: fields.get(b'M').unwrap_or_default().to_owned(),
        }
    }
}

pub(super) async fn log_in(
    stream: TcpStream,
    address: SocketAddr,
    credential: &Credential,
    parameters: &[(String, String)],
) -> Result<Server, LoginError> {
    let mut server = Server {
        stream,
        buffer: BytesMut::new(),
        splitter: Splitter::default(),
        parameters: Vec::new(),
        pid: 0,
        secret: Vec::new(),
    };
    let user = [("user", credential.user.as_str())];
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let hello = startup_message(user.into_iter().chain(parameters));
    server.stream.write_all(&hello).await.map_err(LoginError::Lost)?;
    authenticate(&mut server, address, credential).await?;
    loop {
        let frame = server.next().await?;
        match Backend::decode(&frame).map_err(|error| LoginError::Protocol(error.to_string()))? {
            Backend::ParameterStatus { name, value } => {
                let (name, value) = (name.to_owned(), value.to_owned());
                server.parameters.push((name, value));
            }
            Backend::BackendKeyData { pid, secret } => {
                let secret = secret.to_vec();
                (server.pid, server.secret) = (pid, secret);
            }
            Backend::NoticeResponse(_) => {}
            Backend::ErrorResponse(fields) => return Err(LoginError::refused(&fields)),
            Backend::ReadyForQuery(_) => break,
            _ => return Err(LoginError::Protocol(format!("message `{}` during log-in", frame.tag().escape_ascii()))),
        }
    }
    for (name, expected) in [("client_encoding", "UTF8"), ("standard_conforming_strings", "on")] {
        if !server.parameters.iter().any(|(reported, value)| reported == name && value == expected) {
            return Err(LoginError::Protocol(format!("{name} is not {expected}")));
        }
    }
    Ok(server)
}

async fn authenticate(server: &mut Server, address: SocketAddr, credential: &Credential) -> Result<(), LoginError> {
    let frame = server.next().await?;
    let (code, data) = authentication(&frame)?;
    match code {
        0 if address.ip().is_loopback() => Ok(()),
        0 => Err(LoginError::Unproven),
        10 if mechanisms(data).any(|mechanism| mechanism == SCRAM_SHA_256.as_bytes()) => {
            scram(server, credential).await
        }
        10 => Err(LoginError::Downgrade("an authentication mechanism other than SCRAM-SHA-256")),
        3 => Err(LoginError::Downgrade("the password in clear text")),
        5 => Err(LoginError::Downgrade("an MD5 password")),
        _ => Err(LoginError::Downgrade("an unknown kind of authentication")),
    }
}

fn authentication(frame: &crate::wire::Frame) -> Result<(i32, &[u8]), LoginError> {
    match Backend::decode(frame).map_err(|error| LoginError::Protocol(error.to_string()))? {
        Backend::Authentication { code, data } => Ok((code, data)),
        Backend::ErrorResponse(fields) => Err(LoginError::refused(&fields)),
        _ => Err(LoginError::Protocol(format!("message `{}` before authentication", frame.tag().escape_ascii()))),
    }
}

fn mechanisms(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}

async fn scram(server: &mut Server, credential: &Credential) -> Result<(), LoginError> {
    let mut scram = ScramSha256::new(credential.password.as_bytes(), ChannelBinding::unsupported());
    let mut first = BytesMut::new();
    first.extend_from_slice(SCRAM_SHA_256.as_bytes());
    first.put_u8(0);
    first.put_i32(i32::try_from(scram.message().len()).unwrap_or_default());
    first.extend_from_slice(scram.message());
    password(server, &first).await?;

    let challenge = expect(server, 11).await?;
    iterations(&challenge)?;
    // Deriving the key takes milliseconds of CPU: not on the thread that other sessions live on.
    let (mut scram, updated) = tokio::task::spawn_blocking(move || {
        let updated = scram.update(&challenge);
        (scram, updated)
    })
    .await
    .map_err(|error| LoginError::Protocol(error.to_string()))?;
    updated.map_err(|error| LoginError::Protocol(error.to_string()))?;
    password(server, scram.message()).await?;

    let proof = expect(server, 12).await?;
    scram.finish(&proof).map_err(|_| LoginError::Unproven)?;
    expect(server, 0).await?;
    Ok(())
}

async fn expect(server: &mut Server, expected: i32) -> Result<Vec<u8>, LoginError> {
    let frame = server.next().await?;
    let (code, data) = authentication(&frame)?;
    if code == expected {
        Ok(data.to_vec())
    } else {
        Err(LoginError::Protocol(format!("authentication step {code} instead of {expected}")))
    }
}

/// `i=` of the server's first message.
fn iterations(challenge: &[u8]) -> Result<(), LoginError> {
    let text = std::str::from_utf8(challenge)
        .map_err(|_| LoginError::Protocol("the SCRAM challenge is not text".to_owned()))?;
    let count = text.split(',').find_map(|part| part.strip_prefix("i=")).and_then(|count| count.parse().ok());
    match count {
        Some(count) if ITERATIONS.contains(&count) && text.len() < 1024 => Ok(()),
        _ => Err(LoginError::Protocol("the SCRAM challenge is out of bounds".to_owned())),
    }
}

/// SASLInitialResponse and SASLResponse share a type byte.
async fn password(server: &mut Server, body: &[u8]) -> Result<(), LoginError> {
    let mut message = BytesMut::with_capacity(5 + body.len());
    message.put_u8(b'p');
    message.put_u32(u32::try_from(body.len() + 4).unwrap_or_default());
    message.extend_from_slice(body);
    server.stream.write_all(&message).await.map_err(LoginError::Lost)
}
