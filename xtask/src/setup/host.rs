//! What the machine itself must offer; nothing of this can be installed, though a mount can be made up for.

use super::Missing;
use nix::{
    mount::{self, MsFlags},
    unistd::geteuid,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the kernel's file systems are.
#[derive(Debug)]
pub(crate) struct Host {
    /// The mount of cgroup v2.
    pub(crate) cgroup: PathBuf,
}

/// Looks whether the daemon can run here; all that is missing in one sentence.
pub(crate) fn look() -> Result<Host, Missing> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroup = mounted(&mounts, "cgroup2");
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("root is needed to attach programs to the kernel: run it again as root");
    }
    if cgroup.is_none() {
        missing.push("cgroup v2 is not mounted: `mount -t cgroup2 none /sys/fs/cgroup` (or another folder)");
    }
    if mounted(&mounts, "bpf").is_none() && !mount_bpf() {
        missing.push("the BPF file system is not mounted: `mount -t bpf bpf /sys/fs/bpf`");
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing.push(
            "the kernel has no type information: use one with CONFIG_DEBUG_INFO_BTF, as distributions' kernels are",
        );
    }
    match cgroup {
        Some(cgroup) if missing.is_empty() => Ok(Host { cgroup }),
        _ => Err(Missing(missing.join("; "))),
    }
}

/// Mounts the BPF file system where systemd does it, for machines that have none; `false` if that cannot be done.
fn mount_bpf() -> bool {
    geteuid().is_root()
        && mount::mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), None::<&str>)
            .inspect(|()| eprintln!("mounted the BPF file system at /sys/fs/bpf"))
            .is_ok()
}

/// Where a file system of this type is mounted. In hybrid layouts cgroup v2 is not where one would expect it.
fn mounted(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, place, found) = (fields.next()?, fields.next()?, fields.next()?);
        (found == kind).then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::mounted;
    use std::path::PathBuf;

    #[test]
    fn a_mount_is_found_by_its_type() {
        let mounts = "cgroup /sys/fs/cgroup/pids cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mounted(mounts, "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mounted(mounts, "bpf"), None);
        assert_eq!(mounted("", "bpf"), None);
    }
}
