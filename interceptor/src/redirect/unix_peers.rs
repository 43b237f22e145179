//! Who talks to a Unix socket of PostgreSQL, whatever name led there.
//!
//! The hook that refuses goes by the name that is dialled (`unix_guard`); a link has another. But the server's end of each
//! connection carries the name that the server has bound, and the kernel tells whose socket is at the other end: so what
//! cannot be refused is seen. Source: `sock_diag(7)`, `linux/unix_diag.h`.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
};

use super::{
    Network,
    connections::{ask_unix, sockets_of},
};

/// An agent at PostgreSQL's Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inside {
    /// The process that holds it.
    pub pid: u32,
    /// The number of its socket, which is not used twice while it is open.
    pub inode: u64,
    /// The name that the server has bound, NULs and all else that is not text replaced.
    pub name: String,
}

/// A Unix socket as the kernel describes it.
pub(super) struct UnixSocket {
    pub(super) name: Vec<u8>,
    /// Whose socket is at the other end; 0 for nobody's.
    pub(super) peer: u64,
}

/// Which of these processes hold a connection to a socket with `.s.PGSQL.` in its name.
///
/// # Errors
/// If the kernel cannot be asked.
pub(super) fn inside(processes: &[u32]) -> io::Result<Vec<Inside>> {
    const NAME: &[u8] = b".s.PGSQL.";
    if processes.is_empty() {
        return Ok(Vec::new());
    }
    let mut by_network = HashMap::<u64, Vec<u32>>::new();
    for process in processes {
        if let Ok(network) = fs::metadata(format!("/proc/{process}/ns/net")) {
            by_network.entry(network.ino()).or_default().push(*process);
        }
    }
    // What is bound in the file system can be dialled from any network namespace, and is listed where it was bound.
    let home = Network::own()?;
    let mut peers = HashMap::<u64, String>::new();
    let elsewhere = by_network.iter().filter(|(inode, _)| **inode != home.inode());
    let elsewhere =
        elsewhere.filter_map(|(_, processes)| processes.iter().find_map(|pid| Network::of_process(*pid).ok()));
    for network in elsewhere.chain([Network::own()?]) {
        for socket in network.within(ask_unix)?? {
            if socket.peer != 0 && socket.name.windows(NAME.len()).any(|part| part == NAME) {
                peers.insert(socket.peer, String::from_utf8_lossy(&socket.name).replace('\0', "@"));
            }
        }
    }
    if peers.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = HashSet::new();
    for pid in processes {
        for inode in sockets_of(*pid) {
            if let Some(name) = peers.get(&inode) {
                found.insert(Inside { pid: *pid, inode, name: name.clone() });
            }
        }
    }
    Ok(found.into_iter().collect())
}
