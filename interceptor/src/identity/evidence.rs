//! What was seen about a process that dialled: evidence, not identity.

use super::{
    cgroup,
    process::{Image, Process, Stat},
    recent::Recent,
};
use nix::{
    errno::Errno,
    time::{ClockId, clock_gettime},
};

/// How many ancestors are written down; a job that nests deeper is cut off at its oldest.
const ANCESTORS: usize = 64;

/// `USER_HZ`, the clock ticks of `/proc/PID/stat`: 100 a second on every architecture that Rust supports Linux on.
const TICK_NS: u64 = 1_000_000_000 / 100;

/// What was seen about the process that dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Evidence {
    /// The process (thread group).
    pub pid: u32,
    /// When it started, in clock ticks since boot: together with `pid` it names one process for good.
    pub start: u64,
    /// Where its program lies; `None` if that cannot be seen.
    pub image: Option<Image>,
    /// Its executable, as the kernel names it in our mount namespace.
    pub exe: String,
    /// The path of its cgroup in the v2 hierarchy.
    pub cgroup: String,
    /// The numbers of its cgroup and of those above it, its own first: unlike paths they never come back.
    pub cgroup_ids: Vec<u64>,
    /// The number of its network namespace.
    pub netns: u64,
    /// Real user id when it dialled.
    pub uid: u32,
    /// Real group id when it dialled.
    pub gid: u32,
    /// Its name, which it can set to anything.
    pub comm: String,
    /// Its ancestors up to the top process of the same cgroup, the parent first.
    pub ancestry: Vec<Ancestor>,
}

/// One of the processes that a process descends from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its executable.
    pub exe: String,
}

/// What a process descends from within a cgroup, while its parent is its parent.
#[derive(Debug, Clone)]
pub(super) struct Descent {
    parent: u32,
    ancestry: Vec<Ancestor>,
}

/// Who dialled, as the kernel noted it in `connect(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialled {
    /// The process (thread group).
    pub pid: u32,
    /// Its real user id.
    pub uid: u32,
    /// Its real group id.
    pub gid: u32,
    /// The number of its cgroup.
    pub cgroup_id: u64,
    /// When, by `CLOCK_MONOTONIC` in nanoseconds, as `bpf_ktime_get_ns` counts.
    pub at: u64,
}

/// Why there is no evidence. Each ends the connection: nobody is anonymous.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// It dialled and ended, or its parent has already reaped it.
    #[error("process {0} has ended since it dialled")]
    Gone(u32),
    /// Its number belongs to somebody else by now.
    #[error("process {0} started after the connection was dialled: the number has been used again")]
    Reused(u32),
    /// It has gone where another identity may be waiting.
    #[error("process {0} is not in the cgroup that it dialled from")]
    Moved(u32),
    /// `/proc` says something else than `Gone`.
    #[error("cannot read `{what}` of process {pid}: {}", .errno.desc())]
    Unreadable {
        /// The process.
        pid: u32,
        /// The file in `/proc/PID`.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The clocks cannot be compared.
    #[error("cannot read the clocks: {}", .0.desc())]
    Clock(Errno),
}

impl Evidence {
    /// Gathers what can be seen of the process that dialled.
    ///
    /// # Errors
    /// The process has ended or moved, its number has been used again, or `/proc` cannot be read.
    pub fn gather(dialled: &Dialled) -> Result<Self, EvidenceError> {
        Self::gather_with(dialled, None)
    }

    /// The same; the ancestors may be those of a moment ago, if the parent is still the same process.
    pub(super) fn gather_with(dialled: &Dialled, lately: Option<&Recent<Descent>>) -> Result<Self, EvidenceError> {
        let Dialled { pid, uid, gid, cgroup_id, at } = *dialled;
        let look = |what| move |errno| unreadable(pid, what, errno);
        let process = Process::open(pid).map_err(look("."))?;
        let before = process.stat().map_err(look("stat"))?;
        if before.start.saturating_mul(TICK_NS) > since_boot(at)? {
            return Err(EvidenceError::Reused(pid));
        }
        let cgroup = process.cgroup().map_err(look("cgroup"))?;
        let cgroup_ids = cgroup::lineage(&cgroup).map_err(look("cgroup"))?;
        if cgroup_ids.first() != Some(&cgroup_id) {
            return Err(EvidenceError::Moved(pid));
        }
        let exe = process.exe().map_err(look("exe"))?;
        let netns = process.network_namespace().map_err(look("ns/net"))?;
        let after = process.stat().map_err(look("stat"))?;
        if after.start != before.start {
            return Err(EvidenceError::Reused(pid));
        }
        let Stat { start, image, parent, .. } = before;
        let ancestry = Vec::new();
        let evidence = Self { pid, start, image, exe, cgroup, cgroup_ids, netns, uid, gid, comm: after.comm, ancestry };
        let known = lately.and_then(|lately| lately.get(&evidence));
        let ancestry = match known.filter(|known| known.parent == parent) {
            Some(Descent { ancestry, .. }) => ancestry,
            None => {
                let ancestry = ancestors(&before, &evidence.cgroup);
                lately.inspect(|lately| {
                    lately.keep(&evidence, Descent { parent, ancestry: ancestry.clone() });
                });
                ancestry
            }
        };
        Ok(Self { ancestry, ..evidence })
    }

    /// The process again, if it is still the one that this is about.
    pub(super) fn process(&self) -> Result<Process, EvidenceError> {
        let process = Process::open(self.pid).map_err(|errno| unreadable(self.pid, ".", errno))?;
        let start = process.stat().map_err(|errno| unreadable(self.pid, "stat", errno))?.start;
        if start == self.start { Ok(process) } else { Err(EvidenceError::Reused(self.pid)) }
    }
}

/// Ancestors that end while we look are left out: they are shown to people and to policies, and decide nothing here.
pub(super) fn ancestors(stat: &Stat, cgroup: &str) -> Vec<Ancestor> {
    let mut ancestors = Vec::new();
    let mut next = Process::parent_in_cgroup(stat, cgroup).ok().flatten();
    while let Some((parent, stat)) = next
        && ancestors.len() < ANCESTORS
    {
        let Ok(exe) = parent.exe() else { break };
        ancestors.push(Ancestor { pid: parent.pid, start: stat.start, exe });
        next = Process::parent_in_cgroup(&stat, cgroup).ok().flatten();
    }
    ancestors
}

fn unreadable(pid: u32, what: &'static str, errno: Errno) -> EvidenceError {
    match errno {
        Errno::ENOENT | Errno::ESRCH => EvidenceError::Gone(pid),
        errno => EvidenceError::Unreadable { pid, what, errno },
    }
}

/// From the clock of `bpf_ktime_get_ns`, which stands still while the machine sleeps, to the one that start times are
/// counted in, which does not. A sleep between dialling and now makes the result too late, never too early, so that an
/// honest process is not refused for it.
fn since_boot(monotonic_ns: u64) -> Result<u64, EvidenceError> {
    let now = |clock| {
        let time = clock_gettime(clock).map_err(EvidenceError::Clock)?;
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or_default();
        Ok(seconds * 1_000_000_000 + nanoseconds)
    };
    // In this order, so that what passes between the two readings counts for the process, as the sleep does.
    let monotonic = now(ClockId::CLOCK_MONOTONIC)?;
    Ok(monotonic_ns.saturating_add(now(ClockId::CLOCK_BOOTTIME)?.saturating_sub(monotonic)))
}

#[cfg(test)]
mod tests {
    use super::{Dialled, Evidence, EvidenceError, cgroup};
    use std::{
        process::{Command, Stdio, id},
        thread::sleep,
        time::Duration,
    };

    fn now() -> u64 {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    }

    /// By a child of ours, which is in our cgroup.
    fn dialled(pid: u32, at: u64) -> Dialled {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        Dialled { pid, uid: 7, gid: 8, cgroup_id: cgroup::lineage(path).unwrap()[0], at }
    }

    #[test]
    fn a_process_is_known_by_what_the_kernel_says() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(50));
        let evidence = Evidence::gather(&dialled(child.id(), now())).unwrap();
        let elsewhere = Dialled { cgroup_id: 1 << 60, ..dialled(child.id(), now()) };
        assert_eq!(Evidence::gather(&elsewhere), Err(EvidenceError::Moved(child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((evidence.pid, evidence.uid, evidence.gid), (child.id(), 7, 8));
        assert_eq!(evidence.comm, "sleep");
        assert!(evidence.exe.starts_with('/'), "{}", evidence.exe);
        assert!(evidence.cgroup.starts_with('/'), "{}", evidence.cgroup);
        assert_eq!(evidence.ancestry.first().map(|parent| parent.pid), Some(id()));
        assert_eq!(evidence.process().map(|_| ()), Err(EvidenceError::Gone(child.id())), "it has ended");
    }

    #[test]
    fn a_process_that_is_younger_than_the_connection_is_refused() {
        let before = now();
        // Start times are counted in hundredths of a second.
        sleep(Duration::from_millis(30));
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let evidence = Evidence::gather(&dialled(child.id(), before));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(evidence, Err(EvidenceError::Reused(child.id())));
    }

    #[test]
    fn a_process_that_has_ended_is_refused() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(Evidence::gather(&dialled(child.id(), now())), Err(EvidenceError::Gone(child.id())));
        let mut zombie = Command::new("true").spawn().unwrap();
        sleep(Duration::from_millis(50));
        let evidence = Evidence::gather(&dialled(zombie.id(), now()));
        zombie.wait().unwrap();
        assert_eq!(evidence, Err(EvidenceError::Gone(zombie.id())), "a zombie has no executable");
    }
}
