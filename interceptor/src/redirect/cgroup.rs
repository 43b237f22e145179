//! Cgroups by path and by id. The id is the inode number of the folder, which is also what the programs see
//! (`bpf_get_current_cgroup_id(2)`); a folder that is removed and made again has another one.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, Map, MapData};
use interceptor_ebpf::{map, role};

use super::{RedirectError, Settings, kernel, mounts::cgroup_mount, pins::Pins, settings::relative};

/// Creates the daemon's cgroup and moves this process, all threads of it, into it. Returns its path.
///
/// Call it before any socket exists: a socket belongs for good to the cgroup that it was created in.
///
/// # Errors
/// If there is no cgroup v2 hierarchy, or the kernel does not let this process make or enter the cgroup (not root, or
/// the cgroup has controllers enabled for its children and may hold no processes itself).
pub fn enter_daemon_cgroup(settings: &Settings) -> Result<PathBuf, RedirectError> {
    let cgroup = create(&settings.daemon_cgroup)?;
    let procs = cgroup.join("cgroup.procs");
    // Programs of an earlier daemon may be in force. If the cgroup was removed meanwhile, the new one has an id that they do
    // not know, and they would not let this daemon take its port.
    if let (Some(mut known), Some(id)) = (pinned_cgroups(settings)?, id(&cgroup)?) {
        known.insert(id, role::DAEMON, 0).map_err(RedirectError::map("write", map::CGROUPS))?;
    }
    // "0" is the writing process itself, whatever its number is in this pid namespace: cgroups(7).
    fs::write(&procs, "0").map_err(|source| RedirectError::File {
        action: "enter",
        path: procs,
        hint: ": be root, and name a cgroup whose `cgroup.subtree_control` is empty",
        source,
    })?;
    Ok(cgroup)
}

/// The path of a cgroup below the mount, with a leading slash as in `/proc/PID/cgroup`. `None` if it is gone, or without
/// the right to open files by handle (`CAP_DAC_READ_SEARCH`).
#[must_use]
pub fn cgroup_path(cgroup_id: u64) -> Option<PathBuf> {
    let mount = cgroup_mount().ok()?;
    let folder = fs::File::open(&mount).ok()?;
    let path = kernel::open_cgroup(&folder, cgroup_id).and_then(kernel::path_of).ok()?;
    Some(Path::new("/").join(path.strip_prefix(mount).ok()?))
}

/// The cgroup at a path below the mount, created if it is not there.
pub(super) fn create(path: &Path) -> Result<PathBuf, RedirectError> {
    let cgroup = cgroup_mount()?.join(relative(path)?);
    fs::create_dir_all(&cgroup).map_err(|source| RedirectError::File {
        action: "create",
        path: cgroup.clone(),
        hint: ": be root, in the host's cgroup namespace",
        source,
    })?;
    Ok(cgroup)
}

/// The id of the cgroup whose folder this is; `None` if there is none.
pub(super) fn id(cgroup: &Path) -> Result<Option<u64>, RedirectError> {
    match fs::metadata(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(|metadata| Some(metadata.ino())).map_err(RedirectError::file("read", cgroup)),
    }
}

/// Whether this process is in `cgroup` or below.
pub(super) fn contains_us(cgroup: &Path) -> Result<bool, RedirectError> {
    const OWN: &str = "/proc/self/cgroup";
    let table = fs::read_to_string(OWN).map_err(RedirectError::file("read", OWN))?;
    // The v2 hierarchy is the one with number 0 and no controllers: cgroups(7).
    let Some(own) = table.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Ok(false);
    };
    Ok(cgroup_mount()?.join(own).starts_with(cgroup))
}

fn pinned_cgroups(settings: &Settings) -> Result<Option<HashMap<MapData, u64, u32>>, RedirectError> {
    let pin = Pins::of(&settings.instance)?.map(map::CGROUPS);
    match fs::metadata(&pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(RedirectError::file("read", &pin))?,
    };
    let failed = RedirectError::map("read", map::CGROUPS);
    let data = MapData::from_pin(&pin).map_err(&failed)?;
    HashMap::try_from(Map::from_map_data(data).map_err(&failed)?).map(Some).map_err(&failed)
}
