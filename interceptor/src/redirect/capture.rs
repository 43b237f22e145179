//! Tells the programs whom to capture: cgroups by id and by path, and the processes that are in them already.

use std::{
    borrow::BorrowMut,
    collections::HashMap,
    fs,
    hash::Hash,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap as HashMapInKernel, MapData, MapError},
};
use interceptor_ebpf::{CGROUP_PATH_BYTES, ProgramFile, map, role};
use nix::{
    sys::stat::{major, minor},
    unistd::User,
};

use super::{
    Detect, RedirectError, Settings, cgroup,
    kernel::{FileBytes, PathBytes, TargetBytes},
    mounts::cgroup_mount,
    origin::target_of,
    settings::relative,
};

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
    replace(&mut hash(object, map::PATHS)?, map::PATHS, &by_path)?;
    replace(&mut hash(object, map::CGROUPS)?, map::CGROUPS, &by_id)
}

/// Names users, programs and addresses. Addresses that were captured because PostgreSQL was heard there stay so for as long as
/// that is asked for.
pub(super) fn tell_names(object: &mut Ebpf, settings: &Settings) -> Result<(), RedirectError> {
    let users = users(settings)?.into_iter().map(|user| (user, 1)).collect();
    replace(&mut hash::<u32, u32>(object, map::USERS)?, map::USERS, &users)?;
    replace(&mut hash(object, map::PROGRAMS)?, map::PROGRAMS, &programs(settings))?;
    let mut targets: HashMap<TargetBytes, u32> =
        settings.addresses.iter().map(|address| (TargetBytes(target_of(*address)), 1)).collect();
    let mut known = hash::<TargetBytes, u32>(object, map::TARGETS)?;
    if settings.detect == Detect::Block {
        for entry in known.iter() {
            let (target, why) = entry.map_err(RedirectError::map("read", map::TARGETS))?;
            if why == LEARNED {
                targets.entry(target).or_insert(LEARNED);
            }
        }
    }
    replace(&mut known, map::TARGETS, &targets)
}

/// Why an address is captured: because PostgreSQL was heard there.
pub(super) const LEARNED: u32 = 2;

fn users(settings: &Settings) -> Result<Vec<u32>, RedirectError> {
    let number = |user: &String| {
        let by_name = || User::from_name(user).ok().flatten().map(|user| user.uid.as_raw());
        user.parse().ok().or_else(by_name).ok_or_else(|| {
            RedirectError::Settings(format!("`{user}` in `users` is nobody on this host: write a name or a number"))
        })
    };
    settings.users.iter().map(number).collect()
}

/// Those that are there. A file that is replaced is another one: who keeps watch names it again.
pub(super) fn programs(settings: &Settings) -> HashMap<FileBytes, u32> {
    let file = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        let (major, minor) = (major(metadata.dev()), minor(metadata.dev()));
        Some((FileBytes(ProgramFile { inode: metadata.ino(), device: major << 20 | minor }), 1))
    };
    settings.executables.iter().filter_map(file).collect()
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
    for resident in people(settings, &exempt)? {
        tags.insert(resident, 1, 0).map_err(RedirectError::map("write", map::TAGS))?;
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

/// The processes of the users and programs that are named, but for those in exempt cgroups.
fn people(settings: &Settings, exempt: &[PathBuf]) -> Result<Vec<u32>, RedirectError> {
    if settings.users.is_empty() && settings.executables.is_empty() {
        return Ok(Vec::new());
    }
    let (mount, users) = (cgroup_mount()?, users(settings)?);
    let is_named = |process: &Path| {
        let own = own_cgroup(process).map(|own| mount.join(own));
        own.is_some_and(|own| !exempt.iter().any(|exempt| own.starts_with(exempt)))
            && is_person(settings, &users, process)
    };
    let processes = fs::read_dir("/proc").map_err(RedirectError::file("read", "/proc"))?.flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let numbers = processes.filter_map(number);
    Ok(numbers.filter(|pid| is_named(Path::new(&format!("/proc/{pid}")))).collect())
}

/// Whether the settings name a process as it stands now, by the rules of the programs (`task::standing`); `None` where it cannot be
/// looked at.
pub(super) fn is_named(settings: &Settings, process: u32) -> Option<bool> {
    let process = PathBuf::from(format!("/proc/{process}"));
    let own = own_cgroup(&process)?;
    let is_within = |path: &PathBuf| relative(path).is_ok_and(|path| own.starts_with(path));
    if settings.exempt.iter().chain([&settings.daemon_cgroup]).any(is_within) {
        return Some(false);
    }
    let in_cgroup = settings.cgroups.iter().flatten().any(is_within);
    Some(in_cgroup || is_person(settings, &users(settings).ok()?, &process))
}

/// The path of a process's cgroup below the mount: the v2 hierarchy is the one with number 0 and no controllers, cgroups(7).
fn own_cgroup(process: &Path) -> Option<PathBuf> {
    let cgroups = fs::read_to_string(process.join("cgroup")).ok()?;
    cgroups.lines().find_map(|line| line.strip_prefix("0::/")).map(PathBuf::from)
}

fn is_person(settings: &Settings, users: &[u32], process: &Path) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
    let exe = fs::metadata(process.join("exe")).map(|file| (file.dev(), file.ino())).ok();
    let is_program = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| Some((file.dev(), file.ino())) == exe);
    uid.is_some_and(|uid| users.contains(&uid)) || settings.executables.iter().any(is_program)
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

pub(super) fn replace<K: Pod + Eq + Hash, V: Pod>(
    kernel: &mut HashMapInKernel<impl BorrowMut<MapData>, K, V>,
    name: &'static str,
    wanted: &HashMap<K, V>,
) -> Result<(), RedirectError> {
    for (key, value) in wanted {
        kernel.insert(key, value, 0).map_err(RedirectError::map("write", name))?;
    }
    let known = kernel.keys().collect::<Result<Vec<_>, _>>().map_err(RedirectError::map("read", name))?;
    for key in known.iter().filter(|key| !wanted.contains_key(key)) {
        forget(kernel, name, key)?;
    }
    Ok(())
}

/// Takes an entry out. The programs do that too, so it may be gone.
pub(super) fn forget<K: Pod, V: Pod>(
    kernel: &mut HashMapInKernel<impl BorrowMut<MapData>, K, V>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_is_told_by_where_it_is_whose_and_what_it_runs() {
        let own = own_cgroup(Path::new("/proc/self")).unwrap();
        let exe = fs::read_link("/proc/self/exe").unwrap();
        let user = nix::unistd::getuid().to_string();
        let within = own.join("further");
        let elsewhere = PathBuf::from("interceptor-nowhere");
        let settings = || Settings { daemon_cgroup: elsewhere.clone(), ..Settings::default() };
        for (what, settings, expected) in [
            ("the whole host", settings(), false),
            ("its cgroup", Settings { cgroups: Some(vec![own.clone()]), ..settings() }, true),
            ("one below it", Settings { cgroups: Some(vec![within]), ..settings() }, false),
            ("another", Settings { cgroups: Some(vec![elsewhere.clone()]), ..settings() }, false),
            ("its user", Settings { users: vec![user.clone()], ..settings() }, true),
            ("its program", Settings { executables: vec![exe.clone()], ..settings() }, true),
            ("another program", Settings { executables: vec!["/bin/true".into()], ..settings() }, false),
            ("its user, exempt", Settings { users: vec![user], exempt: vec![own.clone()], ..settings() }, false),
            (
                "its program, the daemon's cgroup",
                Settings { executables: vec![exe], daemon_cgroup: own, ..settings() },
                false,
            ),
        ] {
            assert_eq!(is_named(&settings, process::id()), Some(expected), "{what}");
        }
        // Numbers end at 2^22.
        assert_eq!(is_named(&settings(), 1 << 23), None);
    }
}
