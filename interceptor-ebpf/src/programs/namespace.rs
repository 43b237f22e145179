//! Network namespaces: each has a loopback of its own, where the daemon has to listen before anybody can be sent there.
//!
//! It is told of a namespace as early as can be seen: when a captured task in it starts a program or makes a socket. Who
//! dials sooner than the daemon is there waits for a moment, once for each namespace.

use core::{ffi::c_void, ptr::addr_of_mut};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop},
};
use interceptor_ebpf::{Counter, event, namespace};

use crate::{
    maps::{NAMESPACES, count},
    tell::{about_current, tell},
};

/// Whether the daemon listens there.
#[inline(always)]
pub(crate) fn is_ours(cookie: u64) -> bool {
    // SAFETY: read at once.
    unsafe { NAMESPACES.get(cookie) }.is_some_and(|state| *state == namespace::OURS)
}

/// Tells the daemon that a captured task lives there, unless it knows.
#[inline(always)]
pub(crate) fn announce(cookie: u64) {
    if !is_ours(cookie) {
        tell(&about_current(event::NAMESPACE, cookie));
    }
}

/// Waits until the daemon listens there, for as long as it usually takes and some more. `false` if it did not come.
#[inline(always)]
pub(crate) fn wait(cookie: u64) -> bool {
    const ROUNDS: u32 = 100_000;
    /// Nanoseconds. Usual are some hundred microseconds.
    const LONGEST: u64 = 5_000_000;
    if NAMESPACES.get_ptr(cookie).is_some() {
        // There already, or waited for in vain.
        return is_ours(cookie);
    }
    tell(&about_current(event::NAMESPACE, cookie));
    count(Counter::Waited);
    // SAFETY: takes nothing.
    let until = unsafe { bpf_ktime_get_ns() } + LONGEST;
    let mut waiting = Waiting { cookie, until };
    let callback: unsafe extern "C" fn(u32, *mut Waiting) -> i64 = round;
    // SAFETY: the callback is of the shape that the helper calls, and what it is given outlives the call.
    unsafe { bpf_loop(ROUNDS, callback as *mut c_void, addr_of_mut!(waiting).cast(), 0) };
    let _ = NAMESPACES.insert(cookie, namespace::WAITED, BPF_NOEXIST.into());
    is_ours(cookie)
}

/// What a round is given.
#[repr(C)]
struct Waiting {
    cookie: u64,
    until: u64,
}

/// One look, and about a microsecond until the next. 1 ends the loop.
unsafe extern "C" fn round(_number: u32, waiting: *mut Waiting) -> i64 {
    // SAFETY: `wait` has just made it.
    let (cookie, until) = unsafe { ((*waiting).cookie, (*waiting).until) };
    if is_ours(cookie) {
        return 1;
    }
    let mut now = 0;
    for _ in 0..16 {
        // SAFETY: takes nothing.
        now = unsafe { bpf_ktime_get_ns() };
    }
    (now > until).into()
}
