//! Dialling the database from the agent's own port.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::sys::socket::{SockaddrStorage, bind};

use super::kernel::{Repair, set_low_water, set_repair};

/// Has a socket count as readable only when so many bytes have come (`SO_RCVLOWAT`; tcp(7): the kernel looks at once
/// whether there are that many, and makes room for them).
///
/// # Errors
/// The kernel's.
pub fn wait_for_bytes(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    set_low_water(socket, i32::try_from(bytes).unwrap_or(i32::MAX))
}

/// Binds a fresh TCP socket to a source address whose port is in use by the agent's own connection to us, so that the
/// database sees the port (`inet_client_port()`) that it would have seen without us. Connect it afterwards.
///
/// A port can serve any number of connections as long as each goes to another address, but `bind(2)` refuses to share it
/// with a socket that did not agree to. A socket in repair mode (`TCP_REPAIR`, made for checkpoint and restore) is not
/// asked: `tcp_repair` in `net/ipv4/tcp.c` sets `SK_FORCE_REUSE`, and leaving the mode takes it back. Nothing is repaired.
///
/// # Errors
/// The kernel's, among them `EPERM` without `CAP_NET_ADMIN`. Best effort: on an error of this or of the `connect(2)` that
/// follows (`EADDRNOTAVAIL`: the very same connection is still being closed), take a new socket and any port.
pub fn bind_as(socket: BorrowedFd<'_>, source: SocketAddr) -> io::Result<()> {
    set_repair(socket, Repair::On)?;
    let bound = bind(socket.as_raw_fd(), &SockaddrStorage::from(source)).map_err(io::Error::from);
    // Also after a failure: a socket left in this mode would not send a single packet.
    set_repair(socket, Repair::Off)?;
    bound
}
