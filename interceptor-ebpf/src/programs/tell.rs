//! Telling the daemon at once.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_comm};
use interceptor_ebpf::{COMM_BYTES, Counter, Event};

use crate::{
    maps::{EVENTS, count},
    task,
};

/// An event about the current task.
#[inline(always)]
pub(crate) fn about_current(kind: u32, netns_cookie: u64) -> Event {
    let mut comm = [0_u8; COMM_BYTES];
    // SAFETY: reads only the current task; `comm` is as long as said, and stays NUL-filled if the helper fails.
    let cgroup_id = unsafe {
        bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_BYTES as u32);
        bpf_get_current_cgroup_id()
    };
    Event {
        kind,
        pid: task::process(),
        netns_cookie,
        cgroup_id,
        socket_cookie: 0,
        address: [0; 4],
        port: 0,
        reserved: 0,
        comm,
    }
}

/// Tells the daemon, if there is room.
#[inline(always)]
pub(crate) fn tell(event: &Event) {
    match EVENTS.reserve_untyped::<Event>(0) {
        Some(mut slot) => {
            slot.write(*event);
            slot.submit(0);
        }
        None => count(Counter::Untold),
    }
}
