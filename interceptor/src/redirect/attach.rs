//! Puts the programs in place, or renews those that are.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::Mutex,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, MapData, MapError},
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkbAttachType, Lsm, Program, ProgramError, links::FdLink},
};
use interceptor_ebpf::{Config, GUARD_OFFSETS, OFFSETS, PORT_WORDS, flag, map, port_bit, program, scope};

use super::{
    Detect, Redirect, RedirectError, Settings, Signs, Watch, btf, capture, cgroup,
    coverage::Accounts,
    detach::remove_version,
    guards,
    kernel::{ConfigBytes, GuardOffsetsBytes, OffsetsBytes, update_link},
    mounts::cgroup_mount,
    pins::Pins,
    unix_guard,
};

/// The object that `build.rs` has built from `interceptor-ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/interceptor-ebpf"));

impl Redirect {
    /// Puts the programs in force with these settings; captured connections are sent to `listen_port` on the loopback
    /// address of their family. If an earlier daemon left its programs in force they are replaced one by one in place, so
    /// that no connection passes or fails because of the change.
    ///
    /// # Errors
    /// If the settings contradict themselves, the process is not in the daemon's cgroup, or the kernel refuses. What was
    /// newly attached is then taken back; what was in force before stays in force.
    pub fn attach(settings: &Settings, listen_port: u16) -> Result<Self, RedirectError> {
        let mistakes = settings.mistakes();
        if !mistakes.is_empty() {
            return Err(RedirectError::Settings(mistakes.join("; ")));
        }
        let daemon_cgroup = cgroup::create(&settings.daemon_cgroup)?;
        if !cgroup::contains_us(&daemon_cgroup)? {
            return Err(RedirectError::NotInDaemonCgroup { path: daemon_cgroup });
        }
        let pins = Pins::of(&settings.instance)?;
        pins.create()?;
        let Loaded { mut object, mut absent } = load(Some(&pins))?;
        tell(&mut object, settings, &daemon_cgroup, listen_port)?;
        put_in_place(&mut object, &pins, &absent)?;
        capture::tag_residents(&mut object, settings)?;
        guard_unix(&object, &pins, &mut absent)?;
        put_guards_in_place(&mut object, settings, &pins, &mut absent)?;
        for version in pins.other_versions()? {
            remove_version(&version)?;
        }
        let watch = Watch::begin(&pins, &absent).map_err(RedirectError::file("read", pins.link("")))?;
        Ok(Self {
            records: take(&mut object, map::RECORDS)?,
            listeners: Mutex::new(take(&mut object, map::LISTENERS)?),
            counters: take(&mut object, map::COUNTERS)?,
            namespaces: Mutex::new(take(&mut object, map::NAMESPACES)?),
            alive: Mutex::new(take(&mut object, map::ALIVE)?),
            programs: Mutex::new(take(&mut object, map::PROGRAMS)?),
            targets: Mutex::new(take(&mut object, map::TARGETS)?),
            accounts: Mutex::new(Accounts {
                coverage: take(&mut object, map::COVERAGE)?,
                ended: take(&mut object, map::ENDED)?,
            }),
            config: Mutex::new(take(&mut object, map::CONFIG)?),
            tags: Mutex::new(take(&mut object, map::TAGS)?),
            signs: Mutex::new(Some(Signs::new(take(&mut object, map::EVENTS)?))),
            settings: settings.clone(),
            watch,
            absent,
        })
    }
}

/// What the kernel has accepted.
pub(super) struct Loaded {
    pub(super) object: Ebpf,
    /// Programs that it has not, of those that need not be, and its words.
    pub(super) absent: Vec<(&'static str, String)>,
}

/// Loads maps and programs into the kernel. With pins, maps that an earlier daemon left there are used again.
pub(super) fn load(pins: Option<&Pins>) -> Result<Loaded, RedirectError> {
    let types = Btf::from_sys_fs().map_err(|error| RedirectError::Object(Box::new(error.into())))?;
    let offsets = OffsetsBytes(btf::offsets()?);
    let mut loader = EbpfLoader::new();
    // Guards that would not know where to look are not loaded.
    let guards = guards::offsets();
    let for_guards = GuardOffsetsBytes(guards.clone().unwrap_or_default());
    loader.btf(Some(&types)).override_global(OFFSETS, &offsets, true).override_global(GUARD_OFFSETS, &for_guards, true);
    for map in pins.iter().flat_map(|_| map::ALL) {
        if let Some(pins) = pins {
            loader.map_pin_path(map, pins.map(map));
        }
    }
    let mut object = loader.load(OBJECT).map_err(|error| RedirectError::Object(Box::new(error)))?;
    let mut absent = Vec::new();
    // All programs before the first is attached: what the verifier refuses must not leave half of them in force.
    for name in program::ALL {
        let loaded = match object.program_mut(name) {
            Some(Program::CgroupSockAddr(program)) => program.load(),
            Some(Program::CgroupSock(program)) => program.load(),
            Some(Program::CgroupSkb(program)) => program.load(),
            Some(Program::SockOps(program)) => program.load(),
            Some(Program::BtfTracePoint(program)) => program.load(tracepoint(name), &types),
            _ => return Err(RedirectError::Missing { name }),
        };
        match loaded {
            Ok(()) => {}
            Err(error) if program::OPTIONAL.contains(&name) => absent.push((name, error.to_string())),
            Err(source) => return Err(RedirectError::Program { program: name, source: Box::new(source) }),
        }
    }
    for name in program::GUARDS {
        let (Some(Program::Lsm(program)), Some(hook)) = (object.program_mut(name), guards::hook(name)) else {
            return Err(RedirectError::Missing { name });
        };
        let loaded = match &guards {
            Err(why) => Err(why.clone()),
            Ok(_) => program.load(hook, &types).map_err(|error| guards::words(&error)),
        };
        let loaded = loaded.and_then(|()| guards::is_asked());
        absent.extend(loaded.err().map(|why| (name, why)));
    }
    Ok(Loaded { object, absent })
}

/// Writes the settings into the maps. Programs of an earlier daemon follow at once, so whoever is captured by the old
/// and the new settings is captured at every moment between: what is new goes in before what is old goes out.
fn tell(object: &mut Ebpf, settings: &Settings, daemon_cgroup: &Path, listen_port: u16) -> Result<(), RedirectError> {
    capture::tell_cgroups(object, settings, daemon_cgroup)?;
    capture::tell_names(object, settings)?;
    let scope = if settings.captures_host() { scope::HOST } else { scope::NAMED };
    let flags = [
        (settings.names_anybody(), flag::NAMES),
        (!settings.users.is_empty(), flag::USERS),
        (!settings.executables.is_empty(), flag::PROGRAMS),
        // What was learned may stand in the table.
        (!settings.addresses.is_empty() || settings.detect == Detect::Block, flag::ADDRESSES),
        (settings.strict, flag::STRICT),
        (settings.detect != Detect::Off, flag::DETECT),
        (settings.detect == Detect::Block, flag::BLOCK),
    ];
    let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
    let mut config = array::<ConfigBytes>(object, map::CONFIG)?;
    let value = ConfigBytes(Config { scope, listen_port: listen_port.into(), flags });
    config.set(0, value, 0).map_err(RedirectError::map("write", map::CONFIG))?;

    let mut words = vec![0_u64; PORT_WORDS];
    for port in &settings.ports {
        let (word, bit) = port_bit(*port);
        if let Some(word) = words.get_mut(word as usize) {
            *word |= bit;
        }
    }
    let mut ports = array::<u64>(object, map::PORTS)?;
    for (index, word) in (0..).zip(words) {
        ports.set(index, word, 0).map_err(RedirectError::map("write", map::PORTS))?;
    }
    Ok(())
}

/// Attaches every program, or puts it behind the link that is pinned already. All or, of the new ones, none.
fn put_in_place(object: &mut Ebpf, pins: &Pins, absent: &[(&'static str, String)]) -> Result<(), RedirectError> {
    let mount = cgroup_mount()?;
    let root = fs::File::open(&mount).map_err(RedirectError::file("open", mount))?;
    let mut attached = Vec::<PathBuf>::new();
    let is_there = |name: &&str| absent.iter().all(|(absent, _)| absent != name);
    for name in program::ALL.into_iter().filter(is_there) {
        let pin = pins.link(name);
        let program = object.program_mut(name).ok_or(RedirectError::Missing { name })?;
        match renew_or_attach(program, &pin, &root) {
            Ok(Placed::Renewed) => {}
            Ok(Placed::Attached) => attached.push(pin),
            Err(source) => {
                for pin in attached {
                    // The first error is the one to report; a pin that stays refuses connections, which errs on the safe side.
                    let _ = fs::remove_file(pin);
                }
                return Err(RedirectError::Attach { program: name, source });
            }
        }
    }
    Ok(())
}

/// The guard of Unix sockets, where the kernel has the hook. It goes by tags, and so needs those who give them.
fn guard_unix(object: &Ebpf, pins: &Pins, absent: &mut Vec<(&'static str, String)>) -> Result<(), RedirectError> {
    let mount = cgroup_mount()?;
    let root = fs::File::open(&mount).map_err(RedirectError::file("open", mount))?;
    if let Err(error) = unix_guard::put_in_place(tags(object)?, root.as_fd(), &pins.link(unix_guard::NAME)) {
        absent.push((unix_guard::NAME, error.to_string()));
    }
    Ok(())
}

/// The guards at security decisions that were loaded. One that cannot be put in its place is done without, like one that was not.
fn put_guards_in_place(
    object: &mut Ebpf,
    settings: &Settings,
    pins: &Pins,
    absent: &mut Vec<(&'static str, String)>,
) -> Result<(), RedirectError> {
    if !settings.guards {
        absent.retain(|(name, _)| !program::GUARDS.contains(name));
        for name in program::GUARDS {
            match fs::remove_file(pins.link(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RedirectError::file("remove", pins.link(name))(error));
                }
                _ => absent.push((name, guards::UNWANTED.to_owned())),
            }
        }
        return Ok(());
    }
    for name in program::GUARDS {
        if absent.iter().any(|(absent, _)| *absent == name) {
            continue;
        }
        let Some(Program::Lsm(program)) = object.program_mut(name) else {
            return Err(RedirectError::Missing { name });
        };
        absent.extend(replace(&pins.link(name), || guard(program)).err().map(|error| (name, error.to_string())));
    }
    Ok(())
}

/// The table of tags.
pub(super) fn tags(object: &Ebpf) -> Result<BorrowedFd<'_>, RedirectError> {
    match object.map(map::TAGS) {
        Some(aya::maps::Map::HashMap(data)) => Ok(data.fd().as_fd()),
        _ => Err(RedirectError::Missing { name: map::TAGS }),
    }
}

enum Placed {
    Renewed,
    Attached,
}

fn renew_or_attach(
    program: &mut Program,
    pin: &Path,
    root: &fs::File,
) -> Result<Placed, Box<dyn std::error::Error + Send + Sync>> {
    if let Program::BtfTracePoint(program) = program {
        return replace(pin, || trace(program));
    }
    match update_link(pin, program.fd()?) {
        Ok(()) => return Ok(Placed::Renewed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // The cgroup that it hung on is gone; the pin is an empty shell.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => fs::remove_file(pin)?,
        Err(error) => return Err(error.into()),
    }
    attach(program, root.as_fd())?.pin(pin)?;
    Ok(Placed::Attached)
}

/// Links of tracepoints and guards cannot be updated. The new program runs beside the old one for a moment, which is harmless:
/// both write the same into the same maps, and refuse the same.
fn replace(
    pin: &Path,
    attach: impl FnOnce() -> Result<FdLink, ProgramError>,
) -> Result<Placed, Box<dyn std::error::Error + Send + Sync>> {
    let beside = pin.with_file_name(format!("{}_new", pin.file_name().unwrap_or_default().display()));
    let placed = if pin.exists() { Placed::Renewed } else { Placed::Attached };
    let link = attach()?;
    // What an attempt left behind that was killed at this very point.
    let _ = fs::remove_file(&beside);
    link.pin(&beside)?;
    fs::rename(&beside, pin)?;
    Ok(placed)
}

fn trace(program: &mut BtfTracePoint) -> Result<FdLink, ProgramError> {
    let id = program.attach()?;
    Ok(program.take_link(id)?.into())
}

fn guard(program: &mut Lsm) -> Result<FdLink, ProgramError> {
    let id = program.attach()?;
    Ok(program.take_link(id)?.into())
}

/// The tracepoint that a program listens to.
fn tracepoint(name: &str) -> &str {
    match name {
        program::TAG_FORK => "sched_process_fork",
        program::TAG_EXEC => "sched_process_exec",
        program::TAG_ATTACH => "cgroup_attach_task",
        program::TAG_EXIT => "sched_process_exit",
        same => same,
    }
}

/// The mode is ignored for links: several programs of several tools run side by side, whatever is asked for.
fn attach(program: &mut Program, root: BorrowedFd<'_>) -> Result<FdLink, Box<dyn std::error::Error + Send + Sync>> {
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    let link = match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(root, MODE)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupSock(program) => {
            let id = program.attach(root, MODE)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupSkb(program) => {
            let id = program.attach(root, CgroupSkbAttachType::Egress, MODE)?;
            program.take_link(id)?.try_into()?
        }
        Program::SockOps(program) => {
            let id = program.attach(root, MODE)?;
            program.take_link(id)?.try_into()?
        }
        _ => return Err(ProgramError::UnexpectedProgramType.into()),
    };
    Ok(link)
}

fn array<'object, T: aya::Pod>(
    object: &'object mut Ebpf,
    name: &'static str,
) -> Result<Array<&'object mut MapData, T>, RedirectError> {
    let data = object.map_mut(name).ok_or(RedirectError::Missing { name })?;
    Array::try_from(data).map_err(RedirectError::map("open", name))
}

fn take<T: TryFrom<aya::maps::Map, Error = MapError>>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<T, RedirectError> {
    let map = object.take_map(name).ok_or(RedirectError::Missing { name })?;
    T::try_from(map).map_err(RedirectError::map("open", name))
}
