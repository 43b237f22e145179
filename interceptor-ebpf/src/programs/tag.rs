//! Once captured, always captured: a process that was in a captured cgroup carries a tag, which its children inherit and
//! which stays when it moves itself (or is started) elsewhere. Root can do that; the tag is why it does not help.
//!
//! Only where somebody is named: with the whole host captured and nobody named there is no elsewhere.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use interceptor_ebpf::{Config, Counter, event, flag};

use crate::{
    kernel::Task,
    maps::{TAGS, config, count},
    namespace,
    task::{self, Standing},
    tell::{about_current, tell},
};

/// Arguments: parent, child. The parent is the current task; the child is already in its cgroup, which need not be the
/// parent's (`CLONE_INTO_CGROUP`).
#[btf_tracepoint(function = "sched_process_fork")]
fn tag_fork(context: BtfTracePointContext) -> i32 {
    let Some(config) = naming() else { return 0 };
    let child = Task(context.arg(1));
    let Some(process) = child.process() else {
        return 0;
    };
    // A new thread is no new process.
    if process != task::process() && (task::standing(config) == Standing::Named || is_in_named(child, config)) {
        tag(process);
    }
    0
}

/// Arguments: the current task, and more. Whoever was named before the programs were there is tagged here, and whoever is
/// captured may be in another network namespace by now.
#[btf_tracepoint(function = "sched_process_exec")]
fn tag_exec(context: BtfTracePointContext) -> i32 {
    let Some(config) = config() else { return 0 };
    let standing = task::standing(config);
    if standing == Standing::Named && config.flags & flag::NAMES != 0 {
        tag(task::process());
    }
    if standing != Standing::Free
        && let Some(cookie) = Task(context.arg(0)).network()
    {
        namespace::announce(cookie);
    }
    0
}

/// Arguments: cgroup, its path, the task, whether all threads move. Also runs for v1 hierarchies, so the task is asked
/// where it is now, not the cgroup.
#[btf_tracepoint(function = "cgroup_attach_task")]
fn tag_attach(context: BtfTracePointContext) -> i32 {
    let Some(config) = naming() else { return 0 };
    let moved = Task(context.arg(2));
    if let Some(process) = moved.process()
        && is_in_named(moved, config)
        && !task::is_tagged(process)
    {
        tag(process);
        let mut entered = about_current(event::ENTERED, 0);
        entered.pid = process;
        tell(&entered);
    }
    0
}

/// Arguments: the task that ends, and more.
#[btf_tracepoint(function = "sched_process_exit")]
fn tag_exit(context: BtfTracePointContext) -> i32 {
    let ending = Task(context.arg(0));
    if let Some(process) = ending.process()
        && task::is_tagged(process)
        && ending.is_last()
    {
        let _ = TAGS.remove(process);
    }
    0
}

/// The configuration, if it names anybody.
#[inline(always)]
fn naming() -> Option<&'static Config> {
    config().filter(|config| config.flags & flag::NAMES != 0)
}

#[inline(always)]
fn is_in_named(task: Task, config: &Config) -> bool {
    task.cgroup().is_some_and(|cgroup| cgroup.is_named(config))
}

#[inline(always)]
fn tag(process: u32) {
    if TAGS.insert(process, 1, 0).is_err() {
        count(Counter::Untracked);
    }
}
