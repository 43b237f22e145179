//! A cgroup that is removed and made again has another id. The settings name cgroups by path, so whoever makes one of that
//! path again (systemd does, whenever a slice was empty for a moment) makes the same one in the operator's eyes: it is known
//! again before `mkdir(2)` returns, and so before anybody can be in it.

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint, programs::BtfTracePointContext};
use interceptor_ebpf::{CGROUP_PATH_BYTES, Counter};

use crate::{
    kernel::Cgroup,
    maps::{CGROUPS, COVERAGE, ENDED, PATHS, count},
};

/// Arguments: cgroup, its path from the root of its hierarchy.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(context: BtfTracePointContext) -> i32 {
    let path: *const u8 = context.arg(1);
    let mut name = [0_u8; CGROUP_PATH_BYTES];
    // SAFETY: writes at most the size of `name`; what is not written stays NUL. A longer path is cut and so not found, and
    // the settings name none that long.
    let length = unsafe { bpf_probe_read_kernel_str(name.as_mut_ptr().cast(), CGROUP_PATH_BYTES as u32, path.cast()) };
    if length < 0 {
        return 0;
    }
    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "by value the name would lie on the stack of 512 bytes twice"
    )]
    // SAFETY: read at once.
    let Some(roles) = (unsafe { PATHS.get(&name) }) else {
        return 0;
    };
    let made = Cgroup(context.arg(0));
    if made.is_v2()
        && let Some(id) = made.id()
        && CGROUPS.insert(id, *roles, 0).is_err()
    {
        count(Counter::Untracked);
    }
    0
}

/// Arguments: as above. Without this the table would fill up with cgroups that are gone. Whose account is kept leaves its
/// name, for the record.
#[btf_tracepoint(function = "cgroup_rmdir")]
fn cgroup_rmdir(context: BtfTracePointContext) -> i32 {
    let gone = Cgroup(context.arg(0));
    if gone.is_v2()
        && let Some(id) = gone.id()
    {
        let _ = CGROUPS.remove(id);
        if COVERAGE.get_ptr(id).is_some() {
            let path: *const u8 = context.arg(1);
            let mut name = [0_u8; CGROUP_PATH_BYTES];
            // SAFETY: writes at most the size of `name`; a longer path is cut.
            unsafe { bpf_probe_read_kernel_str(name.as_mut_ptr().cast(), CGROUP_PATH_BYTES as u32, path.cast()) };
            #[expect(
                clippy::needless_borrows_for_generic_args,
                reason = "by value the name would lie on the stack of 512 bytes twice"
            )]
            let kept = ENDED.insert(&id, &name, 0);
            if kept.is_err() {
                count(Counter::Untold);
            }
        }
    }
    0
}
