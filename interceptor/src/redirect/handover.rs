//! Listeners go from one daemon to the next: whoever dials in between waits in their queue, and is not refused.
//!
//! `unix(7)`, SCM_RIGHTS: a message of one byte carries so many descriptors; a message of another byte is the last.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use socket2::Socket;

use super::kernel::owned_of;

/// `SCM_MAX_FD` of the kernel is 253.
const AT_ONCE: usize = 200;
const MORE: u8 = b'+';
const LAST: u8 = b'.';

/// Gives copies of sockets to whoever is at the other end.
///
/// # Errors
/// The kernel's.
pub fn give(to: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    for some in sockets.chunks(AT_ONCE) {
        let raw: Vec<_> = some.iter().map(AsRawFd::as_raw_fd).collect();
        send(to, MORE, &[ControlMessage::ScmRights(&raw)])?;
    }
    send(to, LAST, &[])
}

fn send(to: &UnixStream, byte: u8, with: &[ControlMessage<'_>]) -> io::Result<()> {
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&[byte])], with, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Takes the sockets that [`give`] gives.
///
/// # Errors
/// The kernel's, or that something else came.
pub fn take(from: &UnixStream) -> io::Result<Vec<Socket>> {
    let mut taken = Vec::new();
    loop {
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([i32; AT_ONCE]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let length = message.bytes;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                taken.extend(descriptors.into_iter().map(|descriptor| Socket::from(owned_of(descriptor))));
            }
        }
        match (length, byte) {
            (1, [MORE]) => {}
            (1, [LAST]) => return Ok(taken),
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Gives copies of sockets to a supervisor, to be kept for the next daemon.
///
/// # Errors
/// The kernel's.
pub fn store(by: BorrowedFd<'_>, at: &SocketAddr, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let to = match (at.as_pathname(), at.as_abstract_name()) {
        (Some(path), _) => UnixAddr::new(path)?,
        (None, Some(name)) => UnixAddr::new_abstract(name)?,
        (None, None) => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    for some in sockets.chunks(AT_ONCE) {
        let raw: Vec<_> = some.iter().map(AsRawFd::as_raw_fd).collect();
        let said = [IoSlice::new(b"FDSTORE=1\nFDNAME=interceptor")];
        sendmsg(by.as_raw_fd(), &said, &[ControlMessage::ScmRights(&raw)], MsgFlags::MSG_NOSIGNAL, Some(&to))?;
    }
    Ok(())
}

/// What the supervisor has kept of an earlier daemon (`sd_listen_fds(3)`: LISTEN_PID, LISTEN_FDS, from descriptor 3 on). Takes
/// them once.
#[must_use]
pub fn kept() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    static TAKEN: std::sync::Once = std::sync::Once::new();
    let mut kept = Vec::new();
    TAKEN.call_once(|| {
        if number("LISTEN_PID") == Some(std::process::id()) {
            let count = number("LISTEN_FDS").unwrap_or_default().min(4096);
            kept = (3..3 + count.cast_signed()).map(owned_of).collect();
        }
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn sockets_are_given_in_any_number() {
        for count in [0, 1, 450] {
            let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect::<Vec<_>>();
            let (here, there) = UnixStream::pair().expect("a pair");
            let given = listeners.iter().map(AsFd::as_fd).collect::<Vec<_>>();
            std::thread::scope(|scope| {
                scope.spawn(|| give(&here, &given).expect("they are given"));
                let taken = take(&there).expect("they are taken");
                let port = |socket: &Socket| socket.local_addr().ok()?.as_socket().map(|address| address.port());
                let ports = listeners.iter().map(|listener| listener.local_addr().ok().map(|address| address.port()));
                assert!(taken.iter().map(port).eq(ports), "{count}");
            });
        }
    }
}
