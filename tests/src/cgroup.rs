//! Cgroups, as tests need them.

use interceptor::redirect::cgroup_mount;
use std::os::unix::fs::MetadataExt;

/// The number of the cgroup that a process is in.
#[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
pub fn cgroup_id(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process is there");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("it is in a cgroup v2");
    std::fs::metadata(cgroup_mount().expect("a mount").join(path)).expect("its folder").ino()
}
