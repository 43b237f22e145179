//! The user half of the kernel side: puts the programs in place, tells them what to capture, and reads for an accepted
//! socket who is at the other end.
//!
//! Order at start, which [`Redirect::attach`] cannot check in full:
//! 1. [`enter_daemon_cgroup`], before any socket is made: the whole exemption of the daemon is the cgroup it lives in;
//! 2. `bind(2)` on the loopback addresses (port 0 for a free one), not yet `listen(2)`;
//! 3. [`Redirect::attach`] with that port;
//! 4. [`Redirect::bless`] on each socket, then `listen(2)`. A listener that is up without its blessing would make the
//!    programs refuse connections that they hand to it while an older daemon still serves the same port.
//!
//! INVARIANT: enforcement outlives the daemon. Links and maps are pinned in the BPF file system and only [`detach()`]
//! takes them away; when nobody listens, captured connections fail with ECONNREFUSED. This room never judges, it
//! only selects and remembers.
//!
//! The only room with `unsafe`, all of it in `kernel`.

mod advise;
mod attach;
mod btf;
mod capture;
mod cgroup;
mod connections;
mod counters;
mod coverage;
mod detach;
mod dial;
mod error;
mod events;
mod guards;
mod handover;
mod in_force;
mod kernel;
mod mounts;
mod network;
mod origin;
mod pins;
mod probe;
mod settings;
mod unix_guard;
mod unix_peers;
mod watch;

pub use advise::advise;
pub use cgroup::{cgroup_path, enter_daemon_cgroup};
pub use connections::{Destroyed, destroy_connections, destroy_of};
pub use counters::Counters;
pub use coverage::Account;
pub use detach::detach;
pub use dial::{bind_as, wait_for_bytes};
pub use error::RedirectError;
pub use events::{Elsewhere, Sign, Signs};
pub use handover::{give, kept, store, take};
pub use in_force::Redirect;
pub use mounts::cgroup_mount;
pub use network::{Network, Owner, inhabited_networks};
pub use origin::Origin;
pub use probe::{Finding, probe};
pub use settings::{Detect, Settings};
pub use unix_peers::Inside;
pub use watch::Watch;
