//! The maps. Shapes and names are the library's; the loader creates or reuses the pinned ones.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray, SkStorage},
    macros::btf_map,
};
use interceptor_ebpf::{
    CGROUPS_MAX, CONNECTIONS_MAX, COUNTERS as COUNTER_COUNT, CgroupPath, Config, Connection, Counter, PORT_WORDS,
    Record, TAGS_MAX, port_bit,
};

/// Entries are allocated when needed: preallocated, 65,536 handshakes would hold 12 MB for a handful.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub(crate) static RECORDS: SkStorage<Record> = SkStorage::new();
#[btf_map]
pub(crate) static LISTENERS: SkStorage<u64> = SkStorage::new();
#[btf_map]
pub(crate) static CONNECTIONS: HashMap<Connection, Record, CONNECTIONS_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static PORTS: Array<u64, PORT_WORDS> = Array::new();
#[btf_map]
pub(crate) static CGROUPS: HashMap<u64, u32, CGROUPS_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static PATHS: HashMap<CgroupPath, u32, CGROUPS_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static TAGS: HashMap<u32, u64, TAGS_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, COUNTER_COUNT> = PerCpuArray::new();

/// The configuration. The map has its one entry from the moment it exists; `None` only satisfies the verifier.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Whether connections to `port` are captured.
#[inline(always)]
pub(crate) fn is_captured(port: u16) -> bool {
    let (word, bit) = port_bit(port);
    PORTS.get(word).is_some_and(|ports| ports & bit != 0)
}

/// The roles of one cgroup, 0 if it is not named.
#[inline(always)]
pub(crate) fn roles_of(cgroup_id: u64) -> u32 {
    // SAFETY: the reference is read at once and not kept across another call on this map.
    unsafe { CGROUPS.get(cgroup_id) }.map_or(0, |roles| *roles)
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot is this CPU's own and lives as long as the map; programs of these types are not preempted by
        // one another on the same slot in a way that could do more than lose a count.
        unsafe { *slot += 1 };
    }
}
