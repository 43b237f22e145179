//! TLS towards agents: each is shown a certificate for the database that it believes to be talking to.

use super::ALPN;
use super::authority::{Authority, AuthorityError};
use super::stream::Stream;
use rustls::ServerConfig;
use rustls::server::{Acceptor, NoServerSessionStorage};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

/// Certificates that are kept: their names come from clients, which have as many as they like.
const MOST: usize = 256;
/// How long they are used: much shorter than they are good for.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The CA and the certificates that it has signed.
#[derive(Debug)]
pub struct Terminator {
    authority: Authority,
    minted: Mutex<HashMap<Names, Minted>>,
}

/// What a certificate is for: the name that the client asks for, if any, and the address that it dialled.
type Names = (Option<String>, IpAddr);

#[derive(Debug)]
struct Minted {
    config: Arc<ServerConfig>,
    at: Instant,
}

impl Terminator {
    /// Starts with no certificates.
    pub fn new(authority: Authority) -> Self {
        Self { authority, minted: Mutex::default() }
    }

    /// Shakes hands. What has gone wrong has been said to the client as an alert.
    pub(in crate::proxy) async fn accept(&self, stream: TcpStream, dialled: IpAddr) -> io::Result<Stream> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        // rustls gives a name only if it can be one: letters, digits, `-`, `_` and dots, at most 253 of them.
        let name = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let config = self.config((name, dialled)).map_err(io::Error::other)?;
        let stream = start.into_stream(config).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }

    fn config(&self, names: Names) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = minted.get(&names)
            && found.at.elapsed() < KEPT
        {
            return Ok(found.config.clone());
        }
        if minted.len() >= MOST && !minted.contains_key(&names) {
            let oldest = minted.iter().min_by_key(|(_, minted)| minted.at).map(|(names, _)| names.clone());
            oldest.map(|names| minted.remove(&names));
        }
        let config = Arc::new(self.mint(&names)?);
        minted.insert(names, Minted { config: config.clone(), at: Instant::now() });
        Ok(config)
    }

    fn mint(&self, (name, dialled): &Names) -> Result<ServerConfig, AuthorityError> {
        let (chain, key) = self.authority.mint(name.as_deref(), *dialled)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |_| rcgen::Error::CouldNotParseKeyPair;
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(unusable)?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // As PostgreSQL has it: a session that is resumed has not seen the certificate for where it goes.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl Stream {
    /// Whether the client has said that it wants to speak PostgreSQL's protocol, and nothing else.
    pub(in crate::proxy) fn wants_postgres(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(ALPN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn certificates_are_kept_up_to_a_bound() {
        let folder = Scratch::about("minted");
        let terminator = Terminator::new(Authority::open(&folder.join("c"), &folder.join("k")).unwrap());
        let address: IpAddr = [10, 0, 0, 5].into();
        let config = |name: &str| terminator.config((Some(name.to_owned()), address)).unwrap();
        let first = config("a");
        assert!(Arc::ptr_eq(&first, &config("a")));
        assert!(!Arc::ptr_eq(&first, &config("b")));
        for number in 0..MOST {
            config(&format!("n{number}"));
        }
        assert_eq!(terminator.minted.lock().unwrap().len(), MOST);
        assert!(!Arc::ptr_eq(&first, &config("a")), "the oldest has made room");
    }
}
