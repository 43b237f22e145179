//! Where a database is: an address, and the network namespace that it is an address of.

use crate::redirect::{Network, Owner, bind_as};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// A database that the network has cut off says nothing, not even that it has gone: after this long without a word from its kernel
/// the session ends, and what was under way is on record as unknown.
const UNREACHABLE: Duration = Duration::from_secs(30);

/// How its kernel is asked.
const ASK: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);

/// The same address in another namespace is another database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) address: SocketAddr,
    /// `None` for the daemon's own.
    pub(super) network: Option<Arc<Network>>,
}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        self.network.as_ref().map(|network| network.cookie()).hash(state);
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}

impl From<SocketAddr> for Route {
    fn from(address: SocketAddr) -> Self {
        Self { address, network: None }
    }
}

impl Route {
    /// Whether nothing but this host's own kernel is in between. The loopback of another namespace is somebody else's.
    pub(super) fn is_own_loopback(&self) -> bool {
        self.network.is_none() && self.address.ip().is_loopback()
    }

    /// Whether agents can say who answers there: whoever made a namespace says where its packets go.
    pub(super) fn is_of_an_agents_making(&self) -> bool {
        self.network.as_ref().is_some_and(|network| network.owner() == Owner::Other)
    }

    /// Connects as if the agent did: from its own port where the kernel lets us, so that `inet_client_port()` and the
    /// server's log show what they would have shown without us.
    pub(super) async fn dial(&self, source: Option<SocketAddr>) -> io::Result<TcpStream> {
        if let Some(source) = source {
            match self.connect_from(source).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    tracing::debug!(%error, %source, "the agent's port cannot be used upstream, taking another");
                }
            }
        }
        self.connect(self.socket()?).await
    }

    async fn connect_from(&self, source: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket()?;
        // The agent's address as we see it is that of the loopback hop; only its port is the agent's own.
        let any: SocketAddr = if self.address.is_ipv4() {
            ([0, 0, 0, 0], source.port()).into()
        } else {
            ([0u16; 8], source.port()).into()
        };
        bind_as(socket.as_fd(), any)?;
        self.connect(socket).await
    }

    async fn connect(&self, socket: Socket) -> io::Result<TcpStream> {
        let stream = TcpSocket::from_std_stream(socket.into()).connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn socket(&self) -> io::Result<Socket> {
        let domain = Domain::for_address(self.address);
        let socket = match &self.network {
            Some(network) => network.socket(domain)?,
            None => Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?,
        };
        socket.set_tcp_keepalive(&ASK)?;
        socket.set_tcp_user_timeout(Some(UNREACHABLE))?;
        Ok(socket)
    }
}
