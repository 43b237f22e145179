//! What the programs have counted since the maps were made, over all CPUs.

use aya::maps::{MapData, PerCpuArray};
use interceptor_ebpf::{Counter, map};

use super::RedirectError;

/// Sums since the programs were first attached; a new daemon goes on counting where the old one stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `connect(2)` by a captured task to a captured port.
    pub seen: u64,
    /// Of these, sent to the daemon.
    pub redirected: u64,
    /// Of these, failed with ECONNREFUSED: no listener of the daemon was there.
    pub refused: u64,
    /// Packets to a captured port that had dodged the connect hook.
    pub dropped: u64,
    /// `bind(2)` to the daemon's port by somebody else.
    pub bind_refused: u64,
    /// Connections to the daemon's port without a record, which the daemon closes.
    pub unrecorded: u64,
    /// Records that found no room because too many handshakes were under way.
    pub table_full: u64,
    /// `socket(2)` of a kind that agents get not (MPTCP, raw, SCTP, SMC).
    pub socket_refused: u64,
    /// Processes that could not be tagged, and cgroups made again that could not be named, because a table was full.
    pub untracked: u64,
    /// Connections to other ports that began to speak PostgreSQL, let through or stopped.
    pub detected: u64,
    /// Events and accounts that found no room.
    pub untold: u64,
    /// Connections that were held until the daemon had come to a new network namespace.
    pub waited: u64,
    /// What agents were refused by the guards at the kernel's security decisions.
    pub guard_refused: u64,
}

impl Counters {
    pub(super) fn read(map: &PerCpuArray<MapData, u64>) -> Result<Self, RedirectError> {
        let sum = |counter: Counter| -> Result<u64, RedirectError> {
            let slots = map.get(&(counter as u32), 0).map_err(RedirectError::map("read", map::COUNTERS))?;
            Ok(slots.iter().sum())
        };
        Ok(Self {
            seen: sum(Counter::Seen)?,
            redirected: sum(Counter::Redirected)?,
            refused: sum(Counter::Refused)?,
            dropped: sum(Counter::Dropped)?,
            bind_refused: sum(Counter::BindRefused)?,
            unrecorded: sum(Counter::Unrecorded)?,
            table_full: sum(Counter::TableFull)?,
            socket_refused: sum(Counter::SocketRefused)?,
            untracked: sum(Counter::Untracked)?,
            detected: sum(Counter::Detected)?,
            untold: sum(Counter::Untold)?,
            waited: sum(Counter::Waited)?,
            guard_refused: sum(Counter::GuardRefused)?,
        })
    }
}
