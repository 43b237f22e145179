//! What the programs tell the daemon at once, through a ring buffer.

use crate::{Address, COMM_BYTES};

/// Room for some thousand events that nobody has read yet; what finds no room is not told, and counted.
pub const EVENTS_BYTES: usize = 1 << 18;

/// What has happened.
pub mod event {
    /// A captured task lives in a network namespace that the daemon does not listen in.
    pub const NAMESPACE: u32 = 1;
    /// A connection to another port began to speak PostgreSQL and was let through.
    pub const DETECTED: u32 = 2;
    /// The same, and it was stopped.
    pub const BLOCKED: u32 = 3;
    /// A packet to a captured port had dodged the connect hook and was dropped.
    pub const DROPPED: u32 = 4;
    /// A process was moved into a captured cgroup; it may have connections.
    pub const ENTERED: u32 = 5;
}

/// How it stands with a network namespace.
pub mod namespace {
    /// The daemon listens there.
    pub const OURS: u32 = 1;
    /// The daemon cannot come there: nobody waits for it.
    pub const CLOSED: u32 = 2;
}

/// One event. What does not apply is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// One of [`event`].
    pub kind: u32,
    /// The process, as the initial pid namespace numbers it.
    pub pid: u32,
    /// `SO_NETNS_COOKIE` of its network namespace.
    pub netns_cookie: u64,
    /// The cgroup v2 id of the task, or of the socket.
    pub cgroup_id: u64,
    /// `SO_COOKIE` of the socket.
    pub socket_cookie: u64,
    /// Where the connection or packet goes to.
    pub address: Address,
    /// Its port, in host byte order.
    pub port: u32,
    /// Keeps the size a multiple of eight without bytes that nobody wrote.
    pub reserved: u32,
    /// The thread's name.
    pub comm: [u8; COMM_BYTES],
}

const _: () = assert!(size_of::<Event>() == 72, "the event's size is part of the ABI");
