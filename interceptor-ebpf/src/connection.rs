//! The key under which a record waits between `connect(2)` and the accepted socket.

use crate::Address;

/// How many handshakes may be under way at once. The map is a plain hash on purpose: when it is full, a connection goes
/// without a record and the daemon closes it. (An LRU would drop somebody else's record instead.)
pub const CONNECTIONS_MAX: usize = 65536;

/// A connection as the dialling side sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `SO_NETNS_COOKIE`: every namespace has a loopback of its own.
    pub netns_cookie: u64,
    /// Source address.
    pub source: Address,
    /// Destination address, already rewritten.
    pub destination: Address,
    /// Source port, host byte order.
    pub source_port: u32,
    /// Destination port, host byte order.
    pub destination_port: u32,
}

const _: () = assert!(size_of::<Connection>() == 48, "hash keys must have no padding: its bytes would be compared");
