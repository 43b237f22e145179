//! Whose call is this? Decided by the current task: its place in the cgroup tree, its user, its program, and what it was.
//!
//! The one place where that is decided. Never by port or mark.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
};
use interceptor_ebpf::{CGROUP_DEPTH, Config, flag, role, scope};

use crate::{
    kernel::Task,
    maps::{PROGRAMS, TAGS, USERS, roles_of},
    objects::user_of,
};

/// How a task stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Left alone.
    Free,
    /// Captured because the whole host is.
    Captured,
    /// An agent: captured because the settings name its cgroup, user or program, or because they did once.
    Named,
}

/// How the current task stands. A tag is stronger than an exemption: it is there for processes that move themselves to
/// another cgroup.
#[inline(always)]
pub(crate) fn standing(config: &Config) -> Standing {
    if config.flags & flag::NAMES != 0 && is_tagged(process()) {
        return Standing::Named;
    }
    match of_roles(config, roles()) {
        Standing::Free if config.flags & (flag::USERS | flag::PROGRAMS) == 0 => Standing::Free,
        Standing::Named => Standing::Named,
        other => by_person(config, other),
    }
}

/// How another task stands, by the same rules.
#[inline(always)]
pub(crate) fn standing_of(config: &Config, task: Task) -> Standing {
    if config.flags & flag::NAMES != 0 && task.process().is_some_and(is_tagged) {
        return Standing::Named;
    }
    let roles = task.cgroup().map_or(0, |cgroup| cgroup.roles());
    let otherwise = of_roles(config, roles);
    if otherwise == Standing::Named || roles & (role::EXEMPT | role::DAEMON) != 0 {
        return otherwise;
    }
    if is_person(config, || user_of(task.0), || task) { Standing::Named } else { otherwise }
}

/// Whether the current task's connections are captured.
#[inline(always)]
pub(crate) fn is_captured(config: &Config) -> bool {
    standing(config) != Standing::Free
}

/// A user or program that is named makes an agent of whoever is not exempt.
#[inline(always)]
fn by_person(config: &Config, otherwise: Standing) -> Standing {
    if roles() & (role::EXEMPT | role::DAEMON) != 0 {
        return otherwise;
    }
    // SAFETY: reads only the current task.
    let user = || Some(unsafe { bpf_get_current_uid_gid() } as u32);
    // SAFETY: as above.
    let current = || Task(unsafe { bpf_get_current_task() } as *const u8);
    if is_person(config, user, current) { Standing::Named } else { otherwise }
}

#[inline(always)]
fn is_person(config: &Config, user: impl FnOnce() -> Option<u32>, task: impl FnOnce() -> Task) -> bool {
    config.flags & flag::USERS != 0 && user().is_some_and(|user| USERS.get_ptr(user).is_some())
        || config.flags & flag::PROGRAMS != 0
            && task().program().is_some_and(|program| PROGRAMS.get_ptr(program).is_some())
}

/// The current task's process.
#[inline(always)]
pub(crate) fn process() -> u32 {
    // SAFETY: reads only the current task.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Whether a process was named once, or descends from one that was.
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
pub(crate) fn of_roles(config: &Config, roles: u32) -> Standing {
    if roles & (role::EXEMPT | role::DAEMON) != 0 {
        return Standing::Free;
    }
    if roles & role::CAPTURED != 0 {
        return Standing::Named;
    }
    match config.scope {
        scope::HOST => Standing::Captured,
        scope::NAMED => Standing::Free,
        // The daemon has not spoken yet: the programs are attached after the configuration is written.
        _ => Standing::Free,
    }
}

/// The roles of the current task: those of its cgroup and of every cgroup above.
#[inline(always)]
pub(crate) fn roles() -> u32 {
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
