//! Cgroups by what names them for good.
//!
//! A path comes back when a runner makes the same folder for its next job; the number of a folder (its inode, which is what
//! `bpf_get_current_cgroup_id` gives) does not. So whatever is bound to a cgroup is bound to the number.

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::{
        stat::{Mode, fstat, stat},
        statfs::{CGROUP2_SUPER_MAGIC, fstatfs},
    },
};
use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

/// How deep a hierarchy may be before its top is no longer looked at.
const DEPTH: usize = 64;

/// Of how many cgroups it is kept what they stand in.
const LINEAGES: usize = 4096;

/// A cgroup that is held on to: its number cannot come to mean another one, and it shows when it is gone.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// Its number.
    pub(super) id: u64,
    /// As `/proc/PID/cgroup` spells it.
    pub(super) path: String,
    folder: OwnedFd,
}

impl Cgroup {
    /// Opens one by its path below the mount, with or without the mount in front.
    pub(super) fn open(path: &str) -> Result<Self, Errno> {
        let mount = mount()?;
        let whole = Path::new(path);
        let below = whole.strip_prefix(mount).unwrap_or(whole);
        let below = below.strip_prefix("/").unwrap_or(below);
        if below.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(Errno::EINVAL);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = nix::fcntl::open(&mount.join(below), flags, Mode::empty())?;
        if fstatfs(&folder)?.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(Errno::ENOTSUP);
        }
        let id = fstat(&folder)?.st_ino;
        Ok(Self { id, path: format!("/{}", below.display()), folder })
    }

    /// Whether it is still there. The folder of one that was removed has no files any more.
    pub(super) fn is_there(&self) -> bool {
        openat(&self.folder, "cgroup.procs", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
    }
}

/// The numbers of a cgroup and of those above it, its own first.
///
/// Those above are asked for once: a cgroup stays where it was made (`rename` moves none in the v2 hierarchy), and none above it
/// goes before it does.
pub(super) fn lineage(path: &str) -> Result<Vec<u64>, Errno> {
    static KNOWN: Mutex<BTreeMap<u64, (String, Vec<u64>)>> = Mutex::new(BTreeMap::new());
    let mount = mount()?;
    let mut folder = mount.join(path.trim_start_matches('/'));
    let own = stat(&folder)?.st_ino;
    if let Some((at, numbers)) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&own)
        && at == path
    {
        return Ok(numbers.clone());
    }
    let mut numbers = vec![own];
    while folder != *mount && numbers.len() < DEPTH && folder.pop() {
        numbers.push(stat(&folder)?.st_ino);
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= LINEAGES {
        // Numbers grow: the oldest cgroup is the likeliest to be gone.
        known.pop_first();
    }
    known.insert(own, (path.to_owned(), numbers.clone()));
    Ok(numbers)
}

/// Where the v2 hierarchy is mounted, whole.
fn mount() -> Result<&'static PathBuf, Errno> {
    static MOUNT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(mount) = MOUNT.get() {
        return Ok(mount);
    }
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|_| Errno::EIO)?;
    let found = table.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        (after.starts_with("cgroup2 ") && root == "/" && !place.contains('\\')).then(|| PathBuf::from(place))
    });
    Ok(MOUNT.get_or_init(|| found.unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"))))
}

#[cfg(test)]
mod tests {
    use super::{Cgroup, lineage, mount};
    use std::fs;

    #[test]
    fn a_cgroup_that_comes_back_is_another_one() {
        let name = format!("/interceptor-cgroup-{}", std::process::id());
        let folder = mount().unwrap().join(&name[1..]);
        if fs::create_dir(&folder).is_err() {
            // Making cgroups takes root.
            assert!(!nix::unistd::geteuid().is_root(), "a cgroup could not be made");
            return;
        }
        let first = Cgroup::open(&name).unwrap();
        assert_eq!(Cgroup::open(folder.to_str().unwrap()).unwrap().id, first.id);
        assert_eq!(lineage(&name).unwrap(), [first.id, lineage("/").unwrap()[0]]);
        assert!(first.is_there());
        fs::remove_dir(&folder).unwrap();
        assert!(!first.is_there());
        fs::create_dir(&folder).unwrap();
        let second = Cgroup::open(&name).unwrap();
        fs::remove_dir(&folder).unwrap();
        assert_ne!(first.id, second.id);
        assert!(Cgroup::open("/../etc").is_err());
        assert!(Cgroup::open("/proc").is_err(), "not below the mount");
    }
}
