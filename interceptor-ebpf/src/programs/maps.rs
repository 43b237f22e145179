//! The maps. Shapes and names are the library's; the loader creates or reuses the pinned ones.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use interceptor_ebpf::{
    Address, CGROUPS_MAX, CONNECTIONS_MAX, COUNTERS as COUNTER_COUNT, COVERED_MAX, CgroupPath, Config, Connection,
    Counter, Coverage, EVENTS_BYTES, Event, NAMES_MAX, NAMESPACES_MAX, PORT_WORDS, ProgramFile, Record, Stream,
    TAGS_MAX, Target, flag, port_bit,
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

#[btf_map]
pub(crate) static USERS: HashMap<u32, u32, NAMES_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static PROGRAMS: HashMap<ProgramFile, u32, NAMES_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static TARGETS: HashMap<Target, u32, NAMES_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static NAMESPACES: HashMap<u64, u32, NAMESPACES_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static COVERAGE: HashMap<u64, Coverage, COVERED_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static ENDED: HashMap<u64, CgroupPath, COVERED_MAX, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static STREAMS: SkStorage<Stream> = SkStorage::new();
#[btf_map]
pub(crate) static ALIVE: Array<u64, 1> = Array::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();

/// The configuration. The map has its one entry from the moment it exists; `None` only satisfies the verifier.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Whether connections to this address are captured, by their port or as a whole.
#[inline(always)]
pub(crate) fn is_target(config: &Config, port: u16, address: impl FnOnce() -> Address) -> bool {
    let (word, bit) = port_bit(port);
    if PORTS.get(word).is_some_and(|ports| ports & bit != 0) {
        return true;
    }
    config.flags & flag::ADDRESSES != 0
        && TARGETS.get_ptr(Target { address: address(), port: u32::from(port) }).is_some()
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
