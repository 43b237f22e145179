//! The account of one cgroup: what its tasks dialled and what became of it.

/// How many numbers an account has.
pub const COVERED: usize = 8;

/// The numbers, indexed by [`Covered`].
pub type Coverage = [u64; COVERED];

/// What is counted for a cgroup. `Targets = Redirected + Refused` at every moment but for calls that are under way.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// `connect(2)` of stream sockets, to anywhere.
    Connects = 0,
    /// ... to a captured port or address.
    Targets = 1,
    /// ... which was sent to the daemon.
    Redirected = 2,
    /// ... which failed: no listener of the daemon, or no memory for a record.
    Refused = 3,
    /// Redirected connections that were established, so that the daemon has them.
    Arrived = 4,
    /// Packets to a captured port that had dodged the connect hook.
    Dropped = 5,
    /// Connections elsewhere that began to speak PostgreSQL, and were let through.
    Detected = 6,
    /// ... and were stopped.
    Blocked = 7,
}
