//! What the kernel half and the daemon agree on: the shapes and names of everything that both touch.
//!
//! No standard library and no dependencies, because the same file is compiled for the BPF target and for the host.
//! The programs themselves are the binary of this crate, behind the feature `programs`.
//!
//! INVARIANT: a change to the layout or the meaning of anything here raises [`ABI_VERSION`]. Pinned maps outlive the
//! daemon, and a new daemon must never read an old daemon's bytes as its own.

#![no_std]

mod config;
mod connection;
mod counters;
mod coverage;
mod events;
mod guards;
mod names;
mod offsets;
mod record;
mod stream;

pub use config::{
    CGROUP_DEPTH, CGROUP_PATH_BYTES, CGROUPS_MAX, COVERED_MAX, CgroupPath, Config, NAMES_MAX, NAMESPACES_MAX,
    PORT_WORDS, ProgramFile, TAGS_MAX, Target, flag, port_bit, role, scope,
};
pub use connection::{CONNECTIONS_MAX, Connection};
pub use counters::{COUNTERS, Counter};
pub use coverage::{COVERED, Coverage, Covered};
pub use events::{EVENTS_BYTES, Event, event, namespace};
pub use guards::GuardOffsets;
pub use names::{GUARD_OFFSETS, OFFSETS, map, program};
pub use offsets::Offsets;
pub use record::{Address, COMM_BYTES, Record, side};
pub use stream::{Stream, stage};

/// Names the folder that links and maps are pinned in (`.../<instance>/v<ABI_VERSION>`).
pub const ABI_VERSION: u32 = 3;
