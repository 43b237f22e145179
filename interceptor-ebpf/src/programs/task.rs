//! Whose call is this? Decided by the current task's place in the cgroup tree, never by port, user or mark.

use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_pid_tgid};
use interceptor_ebpf::{CGROUP_DEPTH, Config, role, scope};

use crate::maps::{TAGS, roles_of};

/// Whether the current task's connections are captured. A tag is stronger than an exemption: it is there for processes
/// that move themselves to another cgroup.
#[inline(always)]
pub(crate) fn is_captured(config: &Config) -> bool {
    captures(config, roles()) || (config.scope == scope::NAMED && is_tagged(process()))
}

/// The current task's process.
#[inline(always)]
pub(crate) fn process() -> u32 {
    // SAFETY: reads only the current task.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Whether a process has been in a captured cgroup once, or descends from one that was.
#[inline(always)]
pub(crate) fn is_tagged(process: u32) -> bool {
    TAGS.get_ptr(process).is_some()
}

/// Whether the current task lives below the daemon's cgroup.
#[inline(always)]
pub(crate) fn is_daemon() -> bool {
    roles() & role::DAEMON != 0
}

/// What the roles of all cgroups above a task or a socket mean for it.
#[inline(always)]
pub(crate) fn captures(config: &Config, roles: u32) -> bool {
    if roles & (role::EXEMPT | role::DAEMON) != 0 {
        return false;
    }
    match config.scope {
        scope::HOST => true,
        scope::NAMED => roles & role::CAPTURED != 0,
        // The daemon has not spoken yet: the programs are attached after the configuration is written.
        _ => false,
    }
}

/// The roles of the current task: those of its cgroup and of every cgroup above.
#[inline(always)]
fn roles() -> u32 {
    collect(|level| {
        // SAFETY: takes a number, reads only the current task.
        unsafe { bpf_get_current_ancestor_cgroup_id(level) }
    })
}

/// Walks from the root down until `ancestor` says that there is no deeper level.
#[inline(always)]
pub(crate) fn collect(ancestor: impl Fn(i32) -> u64) -> u32 {
    let mut roles = 0;
    for level in 0..CGROUP_DEPTH as i32 {
        let cgroup_id = ancestor(level);
        if cgroup_id == 0 {
            break;
        }
        roles |= roles_of(cgroup_id);
    }
    roles
}
