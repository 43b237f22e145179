//! Network namespaces other than the daemon's own: what was dialled in one is received in it, and dialled from it.
//!
//! A socket belongs for good to the namespace of the thread that makes it (`setns(2)`, `network_namespaces(7)`), so a thread
//! of its own goes there, makes it, and ends; no other thread of the daemon ever leaves home.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

use super::kernel::{netns_cookie, network_of_socket, owner_of_namespace};

/// Who made a namespace, and so who says where its packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Root of this host, or a container runtime.
    Host,
    /// Somebody within a user namespace: they can answer in any server's place.
    Other,
}

/// A network namespace. It lives at least as long as this value.
#[derive(Debug)]
pub struct Network {
    file: fs::File,
    cookie: u64,
    inode: u64,
    owner: Owner,
}

impl Network {
    /// The one that a process lives in.
    ///
    /// # Errors
    /// The kernel's: the process is gone, or we may not look or go there.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::enter(pid, || ()).map(|(network, ())| network)
    }

    /// The one that a process lives in, and what was done there meanwhile, by one thread and at once: somebody may wait for it.
    ///
    /// # Errors
    /// As above.
    pub fn enter<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> io::Result<(Self, T)> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")), work)
    }

    /// The daemon's own.
    ///
    /// # Errors
    /// As above.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"), || ()).map(|(network, ())| network)
    }

    /// The one that a socket belongs to.
    ///
    /// # Errors
    /// As above.
    pub fn of_socket(socket: BorrowedFd<'_>) -> io::Result<Self> {
        Self::of_file(network_of_socket(socket)?.into(), || ()).map(|(network, ())| network)
    }

    fn open<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<(Self, T)> {
        Self::of_file(fs::File::open(path)?, work)
    }

    fn of_file<T: Send>(file: fs::File, work: impl FnOnce() -> T + Send) -> io::Result<(Self, T)> {
        let inode = file.metadata()?.ino();
        let owner = owner_of_namespace(file.as_fd())?;
        let owner = if fs::File::from(owner).metadata()?.ino() == fs::metadata("/proc/self/ns/user")?.ino() {
            Owner::Host
        } else {
            Owner::Other
        };
        let mut network = Self { file, cookie: 0, inode, owner };
        let (cookie, done) = network.within(|| {
            let cookie = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| netns_cookie(socket.as_fd()));
            (cookie, work())
        })?;
        network.cookie = cookie?;
        Ok((network, done))
    }

    /// `SO_NETNS_COOKIE` of its sockets: never used twice while the machine runs.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Its number in `/proc/PID/ns/net`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Who made it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// A TCP socket that belongs to it, closed on exec and not blocking.
    ///
    /// # Errors
    /// The kernel's.
    pub fn socket(&self, domain: Domain) -> io::Result<Socket> {
        self.within(|| Socket::new(domain, Type::STREAM.cloexec().nonblocking(), Some(Protocol::TCP)))?
    }

    /// Does something there.
    ///
    /// # Errors
    /// If there is no thread to be had, or the kernel does not let it in.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let there = thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, || {
                setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            })?;
            there.join().map_err(|_| io::Error::other("the thread in the namespace has failed"))?
        })
    }
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.cookie == other.cookie
    }
}

impl Eq for Network {}

/// The numbers of all network namespaces that a process lives in. A namespace that is not among them, and that nobody has
/// opened, ends when we let go of it.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn inhabited_networks() -> io::Result<std::collections::HashSet<u64>> {
    let mut found = std::collections::HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_process = path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        // A process that has gone meanwhile lives nowhere. Threads may live elsewhere than their process, but what they do
        // there is heard of again.
        if is_process && let Ok(metadata) = fs::metadata(path.join("ns/net")) {
            found.insert(metadata.ino());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_network_is_the_hosts_and_inhabited() {
        let own = Network::own().expect("our own network");
        assert_eq!(own, Network::of_process(std::process::id()).expect("the same"));
        assert!(own.cookie() != 0 && inhabited_networks().expect("/proc").contains(&own.inode()));
        assert_eq!(own.owner(), Owner::Host);
    }
}
