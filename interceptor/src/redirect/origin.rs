//! Who is at the other end of an accepted socket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use interceptor_ebpf::{Record, side};

/// Where an agent meant to go and who it was, as the kernel saw it at the moment of `connect(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address that the agent dialled. IPv4-mapped addresses are given as IPv4; a link-local address has its scope only
    /// if the agent's socket was bound to a device.
    pub destination: SocketAddr,
    /// The process, as the initial pid namespace numbers it.
    pub pid: u32,
    /// The thread within it.
    pub thread: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// The cgroup v2 of the process at that moment; see [`super::cgroup_path`].
    pub cgroup_id: u64,
    /// The network namespace that it dialled in, as `SO_NETNS_COOKIE` names it.
    pub netns_cookie: u64,
    /// `CLOCK_MONOTONIC` at that moment, in nanoseconds.
    pub dialled_at: u64,
    /// The thread's name, which it chooses itself: for people to read, not to decide by.
    pub comm: String,
}

impl Origin {
    /// `None` if the record is not of an accepted socket or its port is none: then it says nothing about this connection.
    pub(super) fn of(record: &Record) -> Option<Self> {
        if record.side != side::ACCEPTED {
            return None;
        }
        let name = record.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            destination: destination(record)?,
            pid: record.pid,
            thread: record.thread,
            uid: record.uid,
            gid: record.gid,
            cgroup_id: record.cgroup_id,
            netns_cookie: record.netns_cookie,
            dialled_at: record.dialled_at,
            comm: String::from_utf8_lossy(name).into_owned(),
        })
    }
}

fn destination(record: &Record) -> Option<SocketAddr> {
    match address_of(record.address, record.port)? {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => {
            Some(SocketAddrV6::new(*address.ip(), address.port(), 0, record.device).into())
        }
        address => Some(address),
    }
}

/// IPv4-mapped addresses as IPv4.
pub(super) fn address_of(address: interceptor_ebpf::Address, port: u32) -> Option<SocketAddr> {
    let port = u16::try_from(port).ok()?;
    Some(SocketAddr::new(Ipv6Addr::from(bytes(address)).to_canonical(), port))
}

/// As the programs see it.
pub(super) fn target_of(address: SocketAddr) -> interceptor_ebpf::Target {
    let octets = match address.ip() {
        IpAddr::V4(ipv4) => ipv4.to_ipv6_mapped().octets(),
        IpAddr::V6(ipv6) => ipv6.octets(),
    };
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    interceptor_ebpf::Target { address: words, port: address.port().into() }
}

/// The words are in network byte order, so their bytes in memory are the address.
fn bytes(words: interceptor_ebpf::Address) -> [u8; 16] {
    let [first, second, third, fourth] = words.map(|word| u128::from(u32::from_be(word)));
    (first << 96 | second << 64 | third << 32 | fourth).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(address: &str, side: u32) -> Record {
        let address = target_of(SocketAddr::new(address.parse().expect("an address"), 0)).address;
        Record {
            socket_cookie: 1,
            netns_cookie: 2,
            cgroup_id: 3,
            dialled_at: 4,
            pid: 5,
            thread: 6,
            uid: 7,
            gid: 8,
            address,
            port: 5432,
            side,
            device: 9,
            reserved: 0,
            comm: *b"psql\0\0\0\0\0\0\0\0\0\0\0\0",
        }
    }

    #[test]
    fn the_destination_is_the_address_that_was_dialled() {
        #[track_caller]
        fn check(address: &str, expected: &str) {
            let origin = Origin::of(&record(address, side::ACCEPTED)).expect("an origin");
            assert_eq!((origin.destination.to_string().as_str(), origin.comm.as_str()), (expected, "psql"));
        }
        check("10.1.2.3", "10.1.2.3:5432");
        check("::ffff:10.1.2.3", "10.1.2.3:5432");
        check("2001:db8::7", "[2001:db8::7]:5432");
        check("fe80::1", "[fe80::1%9]:5432");
    }

    #[test]
    fn a_record_of_the_dialling_side_is_nobodys_origin() {
        assert_eq!(Origin::of(&record("10.1.2.3", side::DIALLING)), None);
    }
}
