//! Log-ins that the client does itself, where the daemon has no credential: what client and server say to each other is
//! carried unchanged, all but the server's last word, which is the daemon's to say when it is ready too.
//!
//! Binding to the channel cannot pass, because the client's channel ends here: SCRAM-SHA-256-PLUS is taken out of what the
//! server offers. A client that could have done it says so (`y`), and a server with TLS then takes the missing offer for an
//! attack, rightly; that is found here first, so that somebody can be told what to do about it.
//!
//! The password, and MD5 of it, are carried only to a server that has shown by its certificate who it is, for the client believes
//! that it speaks to that one; unless the entry says `tls = "prefer"`, under which whatever the client would have done is done.

use super::login::{LoginError, authentication, begin, greet, mechanisms};
use super::route::Route;
use super::tls::{Connector, Stream, TlsError};
use super::upstream::{Credential, Server};
use crate::session::Session;
use crate::wire::{Chunk, Frame, Splitter};
use bytes::{BufMut, BytesMut};
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;

/// The client during its log-in.
pub(super) struct Client<'a> {
    pub(super) stream: &'a mut Stream,
    /// What it has sent and nobody has looked at.
    pub(super) buffer: &'a mut BytesMut,
    /// What it has to be told first.
    pub(super) hello: &'a mut BytesMut,
}

/// Steps that a log-in may have: SCRAM has three.
const MOST_STEPS: usize = 6;

/// Dials, and lets the client log in.
pub(super) async fn connect(
    route: &Route,
    source: Option<SocketAddr>,
    credential: &Credential,
    parameters: &[(String, String)],
    client: &mut Client<'_>,
) -> Result<Server, LoginError> {
    let stream = secured(route, source, &credential.tls).await?;
    let mut server = greet(stream, credential, parameters).await?;
    let proven = credential.tls.verifies();
    for step in 0..MOST_STEPS {
        let frame = server.next().await?;
        let (code, data) = authentication(&frame)?;
        match code {
            0 if step > 0 || proven || credential.tls.prefers() || route.is_own_loopback() => {
                begin(&mut server).await?;
                return Ok(server);
            }
            0 => return Err(LoginError::Unproven),
            3 | 5 if proven || credential.tls.prefers() => client.say(frame.bytes()).await?,
            3 | 5 => return Err(LoginError::Downgrade("a password over a connection that it is not sure of")),
            10 if mechanisms(data).contains(&SCRAM) => client.say(&offer()).await?,
            10 => return Err(LoginError::Uncarried("an authentication mechanism other than SCRAM-SHA-256")),
            11 => client.say(frame.bytes()).await?,
            12 => {
                client.say(frame.bytes()).await?;
                continue;
            }
            _ => return Err(LoginError::Uncarried("a kind of authentication that cannot be carried")),
        }
        let answer = client.answer().await?;
        if code == 10 && binds(answer.body()) && server.stream.certificate().is_some() {
            return Err(LoginError::Bound);
        }
        server.stream.send(answer.bytes()).await.map_err(LoginError::Lost)?;
    }
    Err(LoginError::Protocol("a log-in without end".to_owned()))
}

/// A connection with as much TLS as is asked for.
pub(super) async fn secured(route: &Route, source: Option<SocketAddr>, tls: &Connector) -> Result<Stream, LoginError> {
    let dialled = async |source| route.dial(source).await.map_err(LoginError::Unreachable);
    match (tls.secure(dialled(source).await?, route.address).await, tls.without_tls()) {
        (Err(TlsError::Handshake(_) | TlsError::Lost(_)), Some(clear)) => {
            // The first connection has the port still.
            Ok(clear.secure(dialled(None).await?, route.address).await?)
        }
        (stream, _) => Ok(stream?),
    }
}

pub(super) const SCRAM: &[u8] = b"SCRAM-SHA-256";

/// AuthenticationSASL with the one mechanism that can be carried.
pub(super) fn offer() -> BytesMut {
    let mut offer = BytesMut::new();
    offer.put_u8(b'R');
    offer.put_u32(u32::try_from(4 + 4 + SCRAM.len() + 2).unwrap_or_default());
    offer.put_u32(10);
    offer.extend_from_slice(SCRAM);
    offer.extend_from_slice(b"\0\0");
    offer
}

/// Whether a SASLInitialResponse says that its client could have bound the log-in to the channel (RFC 5802, 7 "gs2-cbind-flag").
fn binds(body: &[u8]) -> bool {
    let name = body.iter().position(|byte| *byte == 0).map_or(body.len(), |end| end + 1);
    body.get(name + 4..).is_some_and(|first| first.starts_with(b"y") || first.starts_with(b"p="))
}

impl Client<'_> {
    async fn say(&mut self, bytes: &[u8]) -> Result<(), LoginError> {
        let hello = std::mem::take(self.hello);
        if !hello.is_empty() {
            self.stream.send(&hello).await.map_err(LoginError::ClientLost)?;
        }
        self.stream.send(bytes).await.map_err(LoginError::ClientLost)
    }

    /// The client's next message, which has to be one that logs in.
    async fn answer(&mut self) -> Result<Frame, LoginError> {
        let mut splitter = Splitter::default();
        loop {
            let most = |tag| if tag == b'p' { Session::most_from_client(tag) } else { Some(0) };
            match splitter.next(self.buffer, most).map_err(|error| LoginError::Client(error.to_string()))? {
                Some(Chunk::Whole(frame)) if frame.tag() == b'p' => return Ok(frame),
                Some(Chunk::Whole(_) | Chunk::Passing { .. } | Chunk::Beginning(_) | Chunk::Skipped(_)) => {
                    return Err(LoginError::Client("something else than an answer to what it was asked".to_owned()));
                }
                None => {
                    if self.stream.read_buf(self.buffer).await.map_err(LoginError::ClientLost)? == 0 {
                        return Err(LoginError::ClientLost(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{binds, offer};

    #[test]
    fn what_is_offered_is_a_message() {
        assert_eq!(&offer()[..], b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
    }

    #[test]
    fn clients_that_could_bind() {
        let said = |flag: &str| [b"SCRAM-SHA-256\0\0\0\0\x20".as_slice(), flag.as_bytes(), b",,n=,r=x"].concat();
        for (flag, expected) in [("n", false), ("y", true), ("p=tls-server-end-point", true)] {
            assert_eq!(binds(&said(flag)), expected, "{flag}");
        }
        assert!(!binds(b""));
        assert!(!binds(b"SCRAM-SHA-256"));
    }
}
