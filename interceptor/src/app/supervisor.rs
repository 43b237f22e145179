//! What a supervisor is told: that the daemon is ready, that it lives, that it ends (`sd_notify(3)`).

use crate::redirect::store;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The socket of whoever has started the daemon and wants to know; nobody otherwise.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Supervisor {
    /// From `NOTIFY_SOCKET`: a path, or an abstract name behind `@`.
    pub(super) fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes() {
                [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
                path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
            };
            Some((UnixDatagram::unbound().ok()?, address.ok()?))
        });
        Self { socket }
    }

    /// Best effort: a supervisor that does not listen is no reason to stop.
    pub(super) fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::debug!(%error, state, "the supervisor does not listen");
        }
    }

    /// Gives it copies of our listeners, to keep for the daemon that it starts next (`FDSTORE=1` of `sd_notify(3)`).
    pub(super) fn keep(&self, sockets: &[BorrowedFd<'_>]) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = store(socket.as_fd(), address, sockets)
        {
            tracing::debug!(%error, "the supervisor does not keep our listeners");
        }
    }

    /// How often it wants to hear that the daemon lives: half of what `WATCHDOG_USEC` allows.
    pub(super) fn period(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let allowed = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        Some(Duration::from_micros(allowed) / 2).filter(|period| !period.is_zero())
    }
}
