//! Tells the programs whom to capture: cgroups by id and by path, and the processes that are in them already.

use std::{
    collections::HashMap,
    fs,
    hash::Hash,
    io,
    path::{Path, PathBuf},
    process,
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap as HashMapInKernel, MapData, MapError},
};
use interceptor_ebpf::{CGROUP_PATH_BYTES, map, role};

use super::{RedirectError, Settings, cgroup, kernel::PathBytes, mounts::cgroup_mount, settings::relative};

/// Names the cgroups of the settings, and forgets those of earlier settings. What is new goes in before what is old goes
/// out, so that nobody is let go of between.
pub(super) fn tell_cgroups(object: &mut Ebpf, settings: &Settings, daemon_cgroup: &Path) -> Result<(), RedirectError> {
    let mount = cgroup_mount()?;
    let mut named = vec![(daemon_cgroup.to_owned(), role::DAEMON)];
    for path in settings.cgroups.iter().flatten() {
        named.push((cgroup::create(path)?, role::CAPTURED));
    }
    for path in &settings.exempt {
        named.push((mount.join(relative(path)?), role::EXEMPT));
    }

    let mut by_path = HashMap::<PathBytes, u32>::new();
    let mut by_id = HashMap::<u64, u32>::new();
    for (cgroup, role) in named {
        *by_path.entry(path_bytes(&mount, &cgroup)?).or_default() |= role;
        // One that is not there yet is named by the programs when it is made.
        if let Some(id) = cgroup::id(&cgroup)? {
            *by_id.entry(id).or_default() |= role;
        }
    }
    // Paths first: a cgroup that is made again between the two is named by the programs.
    replace(hash(object, map::PATHS)?, map::PATHS, &by_path)?;
    replace(hash(object, map::CGROUPS)?, map::CGROUPS, &by_id)
}

/// Tags the processes that were in a captured cgroup before the programs were, as if they had just entered it, and takes
/// the tag off this process, in case somebody who is captured has started it.
pub(super) fn tag_residents(object: &mut Ebpf, settings: &Settings) -> Result<(), RedirectError> {
    let mount = cgroup_mount()?;
    let exempt = settings.exempt.iter().chain([&settings.daemon_cgroup]).map(|path| Ok(mount.join(relative(path)?)));
    let exempt = exempt.collect::<Result<Vec<_>, RedirectError>>()?;
    let mut tags = hash::<u32, u64>(object, map::TAGS)?;
    for path in settings.cgroups.iter().flatten() {
        for resident in residents(&mount.join(relative(path)?), &exempt)? {
            tags.insert(resident, 1, 0).map_err(RedirectError::map("write", map::TAGS))?;
        }
    }
    forget(&mut tags, map::TAGS, &process::id())
}

/// The processes in a cgroup and below, but for the exempt cgroups. One that comes or goes meanwhile is the programs' to see.
fn residents(cgroup: &Path, exempt: &[PathBuf]) -> Result<Vec<u32>, RedirectError> {
    if exempt.iter().any(|exempt| exempt == cgroup) {
        return Ok(Vec::new());
    }
    // A cgroup that has gone meanwhile has no processes.
    let Ok(procs) = fs::read_to_string(cgroup.join("cgroup.procs")) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<u32> = procs.lines().filter_map(|line| line.parse().ok()).collect();
    for below in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(residents(&below.path(), exempt)?);
        }
    }
    Ok(found)
}

/// The path from the root of the hierarchy, as the kernel's tracepoints give it.
fn path_bytes(mount: &Path, cgroup: &Path) -> Result<PathBytes, RedirectError> {
    let too_long = || RedirectError::CgroupPath { path: cgroup.to_owned() };
    let below = cgroup.strip_prefix(mount).map_err(|_| too_long())?;
    let path = Path::new("/").join(below).into_os_string().into_encoded_bytes();
    let mut bytes = [0; CGROUP_PATH_BYTES];
    // One NUL must remain, or a longer path that is cut would look the same.
    let room = bytes.get_mut(..path.len()).filter(|_| path.len() < CGROUP_PATH_BYTES).ok_or_else(too_long)?;
    room.copy_from_slice(&path);
    Ok(PathBytes(bytes))
}

fn replace<K: Pod + Eq + Hash, V: Pod>(
    mut kernel: HashMapInKernel<&mut MapData, K, V>,
    name: &'static str,
    wanted: &HashMap<K, V>,
) -> Result<(), RedirectError> {
    for (key, value) in wanted {
        kernel.insert(key, value, 0).map_err(RedirectError::map("write", name))?;
    }
    let known = kernel.keys().collect::<Result<Vec<_>, _>>().map_err(RedirectError::map("read", name))?;
    for key in known.iter().filter(|key| !wanted.contains_key(key)) {
        forget(&mut kernel, name, key)?;
    }
    Ok(())
}

/// Takes an entry out. The programs do that too, so it may be gone.
fn forget<K: Pod, V: Pod>(
    kernel: &mut HashMapInKernel<&mut MapData, K, V>,
    name: &'static str,
    key: &K,
) -> Result<(), RedirectError> {
    match kernel.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RedirectError::map("write", name)(error)),
    }
}

fn hash<'object, K: Pod, V: Pod>(
    object: &'object mut Ebpf,
    name: &'static str,
) -> Result<HashMapInKernel<&'object mut MapData, K, V>, RedirectError> {
    let data = object.map_mut(name).ok_or(RedirectError::Missing { name })?;
    HashMapInKernel::try_from(data).map_err(RedirectError::map("open", name))
}
