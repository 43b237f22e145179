//! Connections that were opened before their process was captured: the kernel is asked for them, and to end them.
//!
//! Source: `sock_diag(7)`, `linux/inet_diag.h`; ending one is `SOCK_DESTROY` (`CONFIG_INET_DIAG_DESTROY`), by which its
//! process gets ECONNABORTED.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Network, unix_peers::UnixSocket};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Where the connections went that were ended.
    pub ended: Vec<SocketAddr>,
    /// Where those go that could not be ended, and why.
    pub alive: Vec<(SocketAddr, String)>,
}

/// A TCP connection as the kernel describes it.
struct Connection {
    family: u8,
    /// `struct inet_diag_sockid`, by which the kernel finds it again.
    id: [u8; ID],
    remote: SocketAddr,
    cookie: u64,
    inode: u64,
}

const NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// Length of `struct nlmsghdr`, `struct inet_diag_sockid` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const ID: usize = 48;
const MESSAGE: usize = 72;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
/// ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE_WAIT and what else still carries data, as bits; not TIME_WAIT, CLOSE, LISTEN.
const OPEN: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8;

/// Ends those connections that some processes hold and that go to where `is_target` says. This process's own are left alone.
///
/// # Errors
/// If the kernel cannot be asked at all.
pub fn destroy_of(processes: &[u32], is_target: impl Fn(SocketAddr) -> bool + Sync) -> io::Result<Destroyed> {
    let mut by_network = HashMap::<u64, Vec<u32>>::new();
    for process in processes {
        // Who is gone has no connections.
        if let Ok(network) = fs::metadata(format!("/proc/{process}/ns/net")) {
            by_network.entry(network.ino()).or_default().push(*process);
        }
    }
    let mut result = Destroyed::default();
    for processes in by_network.into_values() {
        let Some(network) = processes.iter().find_map(|process| Network::of_process(*process).ok()) else { continue };
        // Seldom is there any; only then is looked who holds it, which takes longer.
        let mut there = open_to(&network, &is_target)?;
        leave_own(network.inode(), &mut there);
        if !there.is_empty() {
            // This process has opened and closed some meanwhile, and whose they were cannot be seen any more.
            let still = open_to(&network, &is_target)?;
            there.retain(|inode, cookie| still.get(inode) == Some(cookie));
        }
        if there.is_empty() {
            continue;
        }
        let held: HashSet<u64> = processes.iter().flat_map(|process| sockets_of(*process)).collect();
        let ended = destroy_connections(&network, |remote, inode, _| {
            there.contains_key(&inode) && held.contains(&inode) && is_target(remote)
        })?;
        result.ended.extend(ended.ended);
        result.alive.extend(ended.alive);
    }
    Ok(result)
}

/// A connection that has been looked up: its `SO_COOKIE`, and whether it is this process's own.
type Seen = (u64, bool);

/// Takes this process's own out. It has thousands, and is asked every second: whether a socket is one that this process has
/// opened does not change, so only those that have come since are looked up.
fn leave_own(network: u64, there: &mut HashMap<u64, u64>) {
    static SEEN: Mutex<BTreeMap<u64, HashMap<u64, Seen>>> = Mutex::new(BTreeMap::new());
    let mut networks = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = networks.entry(network).or_default();
    seen.retain(|inode, (cookie, _)| there.get(inode) == Some(cookie));
    if seen.len() < there.len() {
        // Its threads share their descriptors.
        let own = sockets_in(Path::new("/proc/self/fd"));
        for (inode, cookie) in there.iter() {
            seen.entry(*inode).or_insert_with(|| (*cookie, own.contains(inode)));
        }
    }
    there.retain(|inode, _| seen.get(inode).is_none_or(|(_, own)| !own));
    networks.retain(|_, seen| !seen.is_empty());
}

/// Inodes and `SO_COOKIE`s of connections that go to where `is_target` says.
fn open_to(network: &Network, is_target: impl Fn(SocketAddr) -> bool + Sync) -> io::Result<HashMap<u64, u64>> {
    network.within(|| {
        let mut found = HashMap::new();
        for family in [AF_INET, AF_INET6] {
            // One that is being closed is no file any more, and nobody's.
            let connections = open_connections(family)?.into_iter().filter(|one| one.inode != 0);
            found.extend(connections.filter(|one| is_target(one.remote)).map(|one| (one.inode, one.cookie)));
        }
        Ok(found)
    })?
}

/// Ends those connections of a network namespace that `select` picks by remote address, inode and `SO_COOKIE`.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn destroy_connections(
    network: &Network,
    select: impl Fn(SocketAddr, u64, u64) -> bool + Sync,
) -> io::Result<Destroyed> {
    network.within(|| {
        let mut result = Destroyed::default();
        for family in [AF_INET, AF_INET6] {
            for connection in open_connections(family)? {
                if select(connection.remote, connection.inode, connection.cookie) {
                    match destroy(connection.family, &connection.id) {
                        Ok(()) => result.ended.push(connection.remote),
                        // It has ended by itself.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => result.alive.push((connection.remote, error.to_string())),
                    }
                }
            }
        }
        Ok(result)
    })?
}

/// Whether this kernel ends connections: it is asked to end one that there is not.
pub(super) fn can_destroy() -> io::Result<()> {
    match destroy(AF_INET, &[0; ID]) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Err(error),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// The inodes of a process's sockets, those of threads with descriptors of their own included.
pub(super) fn sockets_of(process: u32) -> HashSet<u64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.flat_map(|task| sockets_in(&task.path().join("fd"))).collect()
}

fn sockets_in(descriptors: &Path) -> HashSet<u64> {
    let descriptors = fs::read_dir(descriptors).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| socket_inode(&descriptor.path())).collect()
}

fn socket_inode(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// All connected Unix sockets of this network namespace, with what they are called and who is at the other end.
pub(super) fn ask_unix() -> io::Result<Vec<UnixSocket>> {
    const AF_UNIX: u8 = 1;
    const ESTABLISHED: u32 = 1 << 1;
    const SHOW_NAME: u32 = 1;
    const SHOW_PEER: u32 = 4;
    const NAME: u16 = 0;
    const PEER: u16 = 2;
    /// Length of `struct unix_diag_msg`.
    const BEFORE: usize = 16;
    let mut body = vec![AF_UNIX, 0, 0, 0];
    for word in [ESTABLISHED, 0, SHOW_NAME | SHOW_PEER, 0, 0] {
        body.extend(word.to_ne_bytes());
    }
    let socket = request(SOCK_DIAG_BY_FAMILY, DUMP, &body)?;
    let mut found = Vec::new();
    loop {
        let answer = receive(&socket)?;
        for (kind, body) in messages(&answer) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error_of(body)),
                _ => {}
            }
            let mut unix = UnixSocket { name: Vec::new(), peer: 0 };
            for (kind, value) in attributes(body.get(BEFORE..).unwrap_or_default()) {
                match kind {
                    NAME => unix.name = value.to_owned(),
                    PEER => unix.peer = number(value, 0).unwrap_or_default().into(),
                    _ => {}
                }
            }
            found.push(unix);
        }
    }
}

/// Kind and value of each attribute of a message (`linux/netlink.h`, `struct nlattr`).
fn attributes(mut body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const HEADER: usize = 4;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*body.first_chunk()?));
        let kind = u16::from_ne_bytes(*body.get(2..)?.first_chunk()?);
        let value = body.get(HEADER..length)?;
        body = body.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn ask(kind: u16, flags: u16, family: u8, id: &[u8; ID]) -> io::Result<Socket> {
    let mut body = vec![family, TCP, 0, 0];
    body.extend(OPEN.to_ne_bytes());
    body.extend(id);
    request(kind, flags, &body)
}

fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::from(NETLINK), Type::RAW.cloexec(), Some(Protocol::from(NETLINK_SOCK_DIAG)))?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((REQUEST | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    // Not connected, so it goes to the kernel.
    socket.send(&request)?;
    Ok(socket)
}

fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 64 << 10];
    let length = (&mut &*socket).read(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn open_connections(family: u8) -> io::Result<Vec<Connection>> {
    let socket = ask(SOCK_DIAG_BY_FAMILY, DUMP, family, &[0; ID])?;
    let mut found = Vec::new();
    loop {
        let answer = receive(&socket)?;
        for (kind, body) in messages(&answer) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error_of(body)),
                _ => found.extend(connection(body)),
            }
        }
    }
}

fn destroy(family: u8, id: &[u8; ID]) -> io::Result<()> {
    let socket = ask(SOCK_DESTROY, ACK, family, id)?;
    let answer = receive(&socket)?;
    match messages(&answer).next() {
        Some((NLMSG_ERROR, body)) if number(body, 0) == Some(0) => Ok(()),
        Some((NLMSG_ERROR, body)) => Err(error_of(body)),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Kind and body of each message.
fn messages(mut answer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = number(answer, 0)? as usize;
        let message = answer.get(..length).filter(|message| message.len() >= HEADER)?;
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        Some((kind, message.get(HEADER..)?))
    })
}

fn connection(body: &[u8]) -> Option<Connection> {
    let body: &[u8; MESSAGE] = body.first_chunk()?;
    let id: [u8; ID] = *body.get(4..)?.first_chunk()?;
    // sport, dport | source | destination | interface | cookie
    let port = u16::from_be_bytes(*id.get(2..)?.first_chunk()?);
    let octets: [u8; 16] = *id.get(20..)?.first_chunk()?;
    let ip = match *body.first()? {
        AF_INET => IpAddr::from(*octets.first_chunk::<4>()?),
        _ => IpAddr::from(octets).to_canonical(),
    };
    let cookie = u64::from(number(&id, 40)?) | u64::from(number(&id, 44)?) << 32;
    Some(Connection {
        family: *body.first()?,
        id,
        remote: SocketAddr::new(ip, port),
        cookie,
        inode: number(body, 68)?.into(),
    })
}

fn error_of(body: &[u8]) -> io::Error {
    io::Error::from_raw_os_error(number(body, 0).map_or(libc::EIO, |code| code.cast_signed().wrapping_neg()))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_are_found_with_their_inode_and_remote_address() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a listener");
            let remote = listener.local_addr().expect("its address");
            let stream = TcpStream::connect(remote).expect("a connection");
            let family = if remote.is_ipv4() { AF_INET } else { AF_INET6 };
            let found = open_connections(family).expect("the kernel answers");
            let own = sockets_of(std::process::id());
            let ours: Vec<_> = found.iter().filter(|connection| connection.remote == remote).collect();
            assert_eq!(ours.len(), 1, "{address}");
            assert!(ours.iter().all(|connection| own.contains(&connection.inode)));
            drop(stream);
        }
    }

    #[test]
    fn what_is_ours_is_left_out_as_often_as_it_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let _stream = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let own = *sockets_of(std::process::id()).iter().next().expect("a socket");
        let (others, one_more) = (u64::MAX, u64::MAX - 1);
        // No namespace has this number, so that nobody else asks about it.
        let left = |there: &[(u64, u64)]| {
            let mut there = there.iter().copied().collect();
            leave_own(7, &mut there);
            let mut left: Vec<_> = there.into_keys().collect();
            left.sort_unstable();
            left
        };
        assert_eq!(left(&[(own, 1), (others, 2)]), [others]);
        assert_eq!(left(&[(own, 1), (others, 2)]), [others], "as it was seen");
        assert_eq!(left(&[(own, 1), (others, 2), (one_more, 3)]), [one_more, others]);
        assert_eq!(left(&[(own, 1), (one_more, 3)]), [one_more]);
        assert_eq!(left(&[(others, 9), (one_more, 3)]), [one_more, others], "a number that is used again");
        assert_eq!(left(&[]), Vec::<u64>::new());
    }
}
