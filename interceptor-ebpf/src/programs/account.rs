//! What is counted for each cgroup.

use aya_ebpf::bindings::BPF_NOEXIST;
use interceptor_ebpf::{COVERED, Counter, Covered};

use crate::maps::{COVERAGE, count};

/// Adds one to the account of a cgroup.
#[inline(always)]
pub(crate) fn cover(cgroup_id: u64, what: Covered) {
    let account = match COVERAGE.get_ptr_mut(cgroup_id) {
        Some(account) => account,
        None => {
            // Somebody else may open the account at the same moment: theirs is kept.
            let _ = COVERAGE.insert(cgroup_id, [0; COVERED], BPF_NOEXIST.into());
            match COVERAGE.get_ptr_mut(cgroup_id) {
                Some(account) => account,
                None => return count(Counter::Untold),
            }
        }
    };
    // SAFETY: the slot has `COVERED` numbers, of which `what` is one.
    add_one(unsafe { account.cast::<u64>().add(what as usize) });
}

/// Atomically: two calls of one cgroup may run at once, on one CPU too. Rust has no such operation for this target.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn add_one(number: *mut u64) {
    // SAFETY: the caller's pointer is to a number in a map.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) number, in(reg) 1_u64) };
}

/// On the host it is only linted.
#[cfg(not(target_arch = "bpf"))]
fn add_one(number: *mut u64) {
    // SAFETY: as above.
    unsafe { *number += 1 };
}
