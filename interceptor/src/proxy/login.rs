//! Logging in upstream with a credential that the agent never sees.
//!
//! SCRAM-SHA-256, bound to the channel where there is TLS. The password itself, and MD5 of it, which is as good as it for
//! whoever gets hold of it, go only to a server that has shown by its certificate who it is. A server that asks for
//! nothing at all is believed if it has shown that, or on the loopback interface, where whoever could stand in its place
//! owns the host.

use super::route::Route;
use super::scram::{Binding, First, Keys, ScramError};
use super::secret::SecretError;
use super::tls::{Stream, TlsError, end_point};
use super::upstream::{Credential, Server};
use crate::identity::Bearer;
use crate::wire::{Backend, ErrorFields, Splitter, startup_message};
use bytes::{BufMut, BytesMut};
use postgres_protocol::authentication::md5_hash;
use std::io;
use std::sync::Arc;

/// Why there is no connection to the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    #[error("the database server cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("the connection to the database server was lost")]
    Lost(#[source] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the database server refused: {message} ({sqlstate})")]
    Refused { sqlstate: String, message: String },
    #[error("the database server broke the protocol: {0}")]
    Protocol(String),
    #[error("the database server wants {0}, which is not given away")]
    Downgrade(&'static str),
    #[error("the database server wants {0}")]
    Uncarried(&'static str),
    #[error("it was ended")]
    Stopped,
    #[error("the database server wants a password, and there is none")]
    Secret(#[from] SecretError),
    #[error("the database server does not take the agent's token: {0}")]
    Token(String),
    #[error("the database server asked for no proof and gave none, over a connection that proves nothing")]
    Unproven,
    #[error("the client binds its log-in to its own TLS connection, which ends here")]
    Bound,
    #[error("the client went away during its log-in")]
    ClientLost(#[source] io::Error),
    #[error("the client broke the protocol during its log-in: {0}")]
    Client(String),
    #[error("a catalogue that is read in the agent's own session cannot be read now")]
    NotNow,
    #[error(
        "the credential is not used in a network namespace that an agent may have made, where only a verified certificate tells who answers"
    )]
    Elsewhere,
    #[error(transparent)]
    Scram(#[from] ScramError),
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
    stream: Stream,
    route: &Route,
    credential: &Credential,
    parameters: &[(String, String)],
) -> Result<Server, LoginError> {
    let mut server = greet(stream, credential, parameters).await?;
    authenticate(&mut server, route, credential).await?;
    begin(&mut server).await?;
    Ok(server)
}

/// Says who wants to log in to what.
pub(super) async fn greet(
    stream: Stream,
    credential: &Credential,
    parameters: &[(String, String)],
) -> Result<Server, LoginError> {
    let mut server = Server {
        stream,
        // What a server says until it is ready, most of which comes at once.
        buffer: BytesMut::with_capacity(1024),
        splitter: Splitter::default(),
        parameters: Vec::new(),
        pid: 0,
        secret: Vec::new(),
    };
    let user = [("user", credential.user.as_str())];
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let hello = startup_message(user.into_iter().chain(parameters));
    server.stream.send(&hello).await.map_err(LoginError::Lost)?;
    Ok(server)
}

/// What a server says between letting somebody in and being ready.
pub(super) async fn begin(server: &mut Server) -> Result<(), LoginError> {
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
    Ok(())
}

async fn authenticate(server: &mut Server, route: &Route, credential: &Credential) -> Result<(), LoginError> {
    let frame = server.next().await?;
    let (code, data) = authentication(&frame)?;
    let proven = credential.tls.verifies();
    match code {
        0 if proven || route.is_own_loopback() => Ok(()),
        0 => Err(LoginError::Unproven),
        10 => match credential.bearer() {
            Some(bearer) if proven || route.is_own_loopback() => oauth(server, data, bearer).await,
            Some(_) => Err(LoginError::Downgrade("the agent's token over a connection that it is not sure of")),
            None => scram(server, data, route, credential).await,
        },
        3 if proven => {
            let secret = credential.password(route.address).await?;
            let text = [secret.text.as_bytes(), b"\0"].concat();
            password(server, &text).await?;
            expect(server, 0).await.map(drop)
        }
        3 => Err(LoginError::Downgrade("the password in clear text over a connection that it is not sure of")),
        5 if proven => {
            let salt = data.try_into().map_err(|_| LoginError::Protocol("an MD5 salt has 4 bytes".to_owned()))?;
            let secret = credential.password(route.address).await?;
            let hash = md5_hash(credential.user.as_bytes(), secret.text.as_bytes(), salt);
            password(server, &[hash.as_bytes(), b"\0"].concat()).await?;
            expect(server, 0).await.map(drop)
        }
        5 => Err(LoginError::Downgrade("an MD5 password over a connection that it is not sure of")),
        _ => Err(LoginError::Downgrade("an unknown kind of authentication")),
    }
}

pub(super) fn authentication(frame: &crate::wire::Frame) -> Result<(i32, &[u8]), LoginError> {
    match Backend::decode(frame).map_err(|error| LoginError::Protocol(error.to_string()))? {
        Backend::Authentication { code, data } => Ok((code, data)),
        Backend::ErrorResponse(fields) => Err(LoginError::refused(&fields)),
        _ => Err(LoginError::Protocol(format!("message `{}` before authentication", frame.tag().escape_ascii()))),
    }
}

pub(super) fn mechanisms(data: &[u8]) -> Vec<&[u8]> {
    data.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect()
}

/// OAUTHBEARER (RFC 7628): the token in the first message, and an end, or a reason that has to be acknowledged before the
/// error comes.
async fn oauth(server: &mut Server, offered: &[u8], bearer: &Bearer) -> Result<(), LoginError> {
    const MECHANISM: &str = "OAUTHBEARER";
    if !mechanisms(offered).contains(&MECHANISM.as_bytes()) {
        return Err(LoginError::Downgrade("an authentication mechanism other than OAUTHBEARER"));
    }
    let message = format!("n,,\x01auth=Bearer {}\x01\x01", bearer.token());
    let mut initial = BytesMut::new();
    initial.extend_from_slice(MECHANISM.as_bytes());
    initial.put_u8(0);
    initial.put_i32(i32::try_from(message.len()).unwrap_or_default());
    initial.extend_from_slice(message.as_bytes());
    password(server, &initial).await?;
    let frame = server.next().await?;
    match authentication(&frame)? {
        (0, _) => Ok(()),
        (11, reason) => {
            let reason = String::from_utf8_lossy(reason).escape_debug().take(200).collect();
            password(server, b"\x01").await?;
            Err(LoginError::Token(reason))
        }
        (code, _) => Err(LoginError::Protocol(format!("authentication step {code} after a token"))),
    }
}

async fn scram(server: &mut Server, offered: &[u8], route: &Route, credential: &Credential) -> Result<(), LoginError> {
    let secret = credential.password(route.address).await?;
    let end_point = server.stream.certificate().and_then(|certificate| end_point(certificate));
    let Some(binding) = Binding::choose(&mechanisms(offered), end_point) else {
        return Err(LoginError::Downgrade("an authentication mechanism other than SCRAM-SHA-256"));
    };
    let mechanism = binding.mechanism();
    let first = First::new(binding);
    let message = first.message();
    let mut initial = BytesMut::new();
    initial.extend_from_slice(mechanism.as_bytes());
    initial.put_u8(0);
    initial.put_i32(i32::try_from(message.len()).unwrap_or_default());
    initial.extend_from_slice(message.as_bytes());
    password(server, &initial).await?;

    let challenged = first.challenged(&expect(server, 11).await?)?;
    let (salt, iterations) = (challenged.salt.clone(), challenged.iterations);
    let known = secret.keys.find(&salt, iterations);
    let keys = match &known {
        Some(keys) => keys.clone(),
        None => {
            // Milliseconds of CPU: not on the thread that other sessions live on.
            let (secret, salt) = (secret.text.clone(), salt.clone());
            let derived = tokio::task::spawn_blocking(move || Keys::derive(&secret, &salt, iterations)).await;
            Arc::new(derived.map_err(|error| LoginError::Protocol(error.to_string()))?)
        }
    };
    let (answer, proving) = challenged.answer(&keys);
    password(server, answer.as_bytes()).await?;

    proving.verify(&expect(server, 12).await?)?;
    expect(server, 0).await?;
    if known.is_none() {
        secret.keys.keep(salt, iterations, keys);
    }
    tracing::debug!(mechanism, derived = known.is_none(), "logged in upstream");
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

/// PasswordMessage, SASLInitialResponse and SASLResponse share a type byte.
async fn password(server: &mut Server, body: &[u8]) -> Result<(), LoginError> {
    let mut message = BytesMut::with_capacity(5 + body.len());
    message.put_u8(b'p');
    message.put_u32(u32::try_from(body.len() + 4).unwrap_or_default());
    message.extend_from_slice(body);
    server.stream.send(&message).await.map_err(LoginError::Lost)
}
