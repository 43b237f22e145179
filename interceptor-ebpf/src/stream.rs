//! What is known of the first bytes that a captured task sends to a port that is not captured.
//!
//! They are read one by one as they go out, across packets: a start-up packet that is sent in pieces is one all the same.
//! Two things give PostgreSQL away: a start-up packet (protocol chapter 54.7: a length, then 3.x, or the code of SSLRequest,
//! GSSENCRequest or CancelRequest), and a TLS ClientHello that asks for the protocol `postgresql` (RFC 7301; direct TLS).

/// Storage of a socket that is watched.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Sequence number of the first byte.
    pub first: u32,
    /// How many bytes have been read.
    pub next: u32,
    /// One of [`stage`].
    pub stage: u32,
    /// Bytes that are still to be read, or passed over, in this stage.
    pub need: u32,
    /// The number that is being read.
    pub value: u32,
    /// Bytes left in the TLS record; between records, of its header.
    pub record: u32,
    /// Bytes left in the list of protocols.
    pub list: u32,
    /// Where in the present packet the byte is that is due.
    pub place: u32,
    /// Where the packet ends.
    pub end: u32,
    /// The process that dialled.
    pub pid: u32,
    /// Keeps the size a multiple of eight without bytes that nobody wrote.
    pub reserved: u32,
    /// The cgroup of the task that dialled.
    pub cgroup_id: u64,
    /// The network namespace that it dialled in.
    pub netns_cookie: u64,
    /// `SO_COOKIE` of the socket.
    pub socket_cookie: u64,
}

/// How far the reading has come.
pub mod stage {
    /// Nothing has been sent.
    pub const SYN: u32 = 0;
    /// The first byte says which of the two it may be.
    pub const FIRST: u32 = 1;
    /// The length of a start-up packet.
    pub const LENGTH: u32 = 2;
    /// Its code.
    pub const CODE: u32 = 3;
    /// ClientHello up to its session id.
    pub const HELLO: u32 = 4;
    /// Length of the session id.
    pub const SESSION: u32 = 5;
    /// Length of the cipher suites.
    pub const CIPHERS: u32 = 6;
    /// Length of the compression methods.
    pub const COMPRESSIONS: u32 = 7;
    /// Length of all extensions.
    pub const EXTENSIONS: u32 = 8;
    /// Type and length of an extension.
    pub const EXTENSION: u32 = 9;
    /// Length of the list of protocols.
    pub const PROTOCOLS: u32 = 10;
    /// Length of a protocol's name.
    pub const NAME: u32 = 11;
    /// A name of ten bytes.
    pub const LETTERS: u32 = 12;
    /// It is something else.
    pub const OTHER: u32 = 13;
    /// It is PostgreSQL.
    pub const FOUND: u32 = 14;
    /// Added to a stage: so many bytes are passed over first.
    pub const SKIP: u32 = 32;
}
