//! Network namespaces: each has a loopback of its own, where the daemon has to listen before anybody can be sent there.
//!
//! It is told of a namespace as early as can be seen: when a captured task in it starts a program or makes a socket. Who
//! dials sooner than the daemon is there is held: the first packet is lost (`egress`), and TCP sends it again a second later.

use core::{ffi::c_void, ptr::addr_of_mut};

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_loop};
use interceptor_ebpf::{Counter, event, namespace};

use crate::{
    maps::{ALIVE, NAMESPACES, count},
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

/// What is to be done with who dials where the daemon does not listen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It has come meanwhile.
    Here,
    /// It is on its way: what is sent is held back until then.
    Soon,
    /// It does not come, or should be here and is not.
    Never,
}

/// Tells the daemon, and waits for it as long as it usually takes.
#[inline(always)]
pub(crate) fn expect(cookie: u64) -> Prospect {
    const ROUNDS: u32 = 100_000;
    /// Nanoseconds. Usual are some hundred microseconds.
    const LONGEST: u64 = 1_000_000;
    if NAMESPACES.get_ptr(cookie).is_some() || !daemon_lives() {
        return Prospect::Never;
    }
    tell(&about_current(event::NAMESPACE, cookie));
    count(Counter::Waited);
    // SAFETY: takes nothing.
    let until = unsafe { bpf_ktime_get_ns() } + LONGEST;
    let mut waiting = Waiting { cookie, until };
    let callback: unsafe extern "C" fn(u32, *mut Waiting) -> i64 = round;
    // SAFETY: the callback is of the shape that the helper calls, and what it is given outlives the call.
    unsafe { bpf_loop(ROUNDS, callback as *mut c_void, addr_of_mut!(waiting).cast(), 0) };
    if is_ours(cookie) { Prospect::Here } else { Prospect::Soon }
}

/// Whether the daemon has said so lately. It says it five times a second.
#[inline(always)]
fn daemon_lives() -> bool {
    const LATELY: u64 = 3_000_000_000;
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    ALIVE.get(0).is_some_and(|said| now.saturating_sub(*said) < LATELY)
}

/// What a round is given.
#[repr(C)]
struct Waiting {
    cookie: u64,
    until: u64,
}

/// One look, and about a microsecond until the next. 1 ends the loop.
unsafe extern "C" fn round(_number: u32, waiting: *mut Waiting) -> i64 {
    // SAFETY: `expect` has just made it.
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
