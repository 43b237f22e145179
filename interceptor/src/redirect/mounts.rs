//! Where the cgroup v2 tree and the BPF file system are. Neither has a fixed place: with a hybrid layout the v2 tree is
//! somewhere below the v1 trees.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::RedirectError;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The mount point of the cgroup v2 hierarchy.
///
/// # Errors
/// If none is mounted in this mount namespace, or `/proc` cannot be read.
pub fn cgroup_mount() -> Result<PathBuf, RedirectError> {
    find("cgroup2", None, "cgroup v2 hierarchy", "mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// The mount point of the BPF file system, the usual one first: an unmounted bpffs takes its pins and our enforcement
/// with it, and the one at the usual place is the least likely to go.
pub(super) fn bpf_mount() -> Result<PathBuf, RedirectError> {
    find("bpf", Some(Path::new("/sys/fs/bpf")), "BPF file system", "mount -t bpf bpf /sys/fs/bpf")
}

fn find(kind: &str, usual: Option<&Path>, what: &'static str, remedy: &'static str) -> Result<PathBuf, RedirectError> {
    let table = fs::read_to_string(MOUNTINFO).map_err(RedirectError::file("read", MOUNTINFO))?;
    let mut found: Vec<PathBuf> = table.lines().filter_map(|line| whole(line, kind)).collect();
    if let Some(at) = found.iter().position(|place| Some(place.as_path()) == usual) {
        return Ok(found.swap_remove(at));
    }
    found.into_iter().next().ok_or(RedirectError::NotMounted { what, remedy })
}

/// The mount point, if the line (`proc_pid_mountinfo(5)`) mounts the whole of a file system of this kind.
fn whole(line: &str, kind: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != kind {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    (root == "/").then(|| PathBuf::from(unescape(place)))
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(place.to_owned(), |place, (escape, character)| place.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_mounts_of_the_right_kind_count() {
        #[track_caller]
        fn check(line: &str, expected: Option<&str>) {
            assert_eq!(whole(line, "cgroup2"), expected.map(PathBuf::from));
        }
        check(
            "35 24 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw",
            Some("/sys/fs/cgroup/unified"),
        );
        check("35 24 0:30 / /mnt/with\\040space rw - cgroup2 none rw", Some("/mnt/with space"));
        check("36 24 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", None);
        check("35 24 0:30 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw", None);
        check("nonsense", None);
    }
}
