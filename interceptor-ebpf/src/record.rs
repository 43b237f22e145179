//! The record: who dialled what. It is written once, in `connect(2)`, and only ever copied afterwards.

/// An address as four words in network byte order; IPv4 as `::ffff:a.b.c.d`.
pub type Address = [u32; 4];

/// `TASK_COMM_LEN` of `linux/sched.h`, the closing NUL included.
pub const COMM_BYTES: usize = 16;

/// Which end of the redirected connection a record's socket is.
///
/// The same record lies on both ends, and the getpeername hooks also run inside `accept(2)`: without this the daemon
/// would be told that its peer is the database.
pub mod side {
    /// The agent's socket, which called `connect(2)`.
    pub const DIALLING: u32 = 0;
    /// The daemon's socket, which came out of `accept(2)`.
    pub const ACCEPTED: u32 = 1;
}

/// Who dialled what, as the kernel saw it at the moment of `connect(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// `SO_COOKIE` of the socket that dialled.
    pub socket_cookie: u64,
    /// `SO_NETNS_COOKIE` of the network namespace that it dialled in.
    pub netns_cookie: u64,
    /// The cgroup v2 id of the task that dialled.
    pub cgroup_id: u64,
    /// `CLOCK_MONOTONIC` at that moment, in nanoseconds.
    pub dialled_at: u64,
    /// The process (in the kernel's words: the thread group), as the initial pid namespace numbers it.
    pub pid: u32,
    /// The thread within it.
    pub thread: u32,
    /// Real user id, as the initial user namespace numbers it.
    pub uid: u32,
    /// Real group id, as the initial user namespace numbers it.
    pub gid: u32,
    /// Where it meant to go. "Any address" is already replaced by the loopback address that the kernel would have taken.
    pub address: Address,
    /// The port it meant, in host byte order.
    pub port: u32,
    /// One of [`side`].
    pub side: u32,
    /// `bound_dev_if` of the socket, 0 if it was not bound to a device: the scope of a link-local address.
    pub device: u32,
    /// Keeps the size a multiple of eight without bytes that nobody wrote.
    pub reserved: u32,
    /// The thread's name; whoever runs there can set it to anything.
    pub comm: [u8; COMM_BYTES],
}

const _: () = assert!(size_of::<Record>() == 96, "the record's size is part of the ABI");
