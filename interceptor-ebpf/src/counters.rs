//! What the programs count, per CPU.

/// Index into the counter map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `connect(2)` by a captured task to a captured port.
    Seen = 0,
    /// ... which was sent to the daemon.
    Redirected = 1,
    /// ... which failed with ECONNREFUSED because no listener of the daemon was there, or no record could be written.
    Refused = 2,
    /// Packets to a captured port that had dodged the hook.
    Dropped = 3,
    /// `bind(2)` to the daemon's port by somebody else.
    BindRefused = 4,
    /// Connections accepted on the daemon's port without a record: dialled directly, or the connection table was full.
    Unrecorded = 5,
    /// Records that found no room in the connection table.
    TableFull = 6,
    /// `socket(2)` of a kind that agents get not (MPTCP, raw, SCTP, SMC).
    SocketRefused = 7,
    /// Processes that could not be tagged, and cgroups made again that could not be named, because a table was full.
    Untracked = 8,
    /// Connections to other ports that began to speak PostgreSQL, let through or stopped.
    Detected = 9,
    /// Events that found no room in the ring buffer, and cgroups that found none in the account.
    Untold = 10,
    /// Connections that were held until the daemon had come to a new network namespace.
    Waited = 11,
    /// What agents were refused by the guards of the kernel's security decisions.
    GuardRefused = 12,
}

/// How many there are.
pub const COUNTERS: usize = 13;
