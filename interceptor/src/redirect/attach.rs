//! Puts the programs in place, or renews those that are.

use std::{
    fmt, fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, MapData, MapError, PerCpuArray, SkStorage},
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError, links::FdLink},
};
use interceptor_ebpf::{Config, OFFSETS, PORT_WORDS, map, port_bit, program, scope};

use super::{
    Counters, Origin, RedirectError, Settings, btf, capture, cgroup,
    detach::remove_version,
    kernel::{ConfigBytes, OffsetsBytes, RecordBytes, update_link},
    mounts::cgroup_mount,
    pins::Pins,
};

/// The object that `build.rs` has built from `interceptor-ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/interceptor-ebpf"));

/// The redirection, in force. Dropping it changes nothing in the kernel: see [`super::detach()`].
pub struct Redirect {
    records: SkStorage<MapData, RecordBytes>,
    listeners: Mutex<SkStorage<MapData, u64>>,
    counters: PerCpuArray<MapData, u64>,
}

impl fmt::Debug for Redirect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redirect").finish_non_exhaustive()
    }
}

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
        let mut object = load(Some(&pins))?;
        tell(&mut object, settings, &daemon_cgroup, listen_port)?;
        put_in_place(&mut object, &pins)?;
        capture::tag_residents(&mut object, settings)?;
        for version in pins.other_versions()? {
            remove_version(&version)?;
        }
        Ok(Self {
            records: take(&mut object, map::RECORDS)?,
            listeners: Mutex::new(take(&mut object, map::LISTENERS)?),
            counters: take(&mut object, map::COUNTERS)?,
        })
    }

    /// Marks a listening socket as the daemon's own: captured connections are only sent to sockets that carry this mark.
    /// It goes with the socket. Bless it before `listen(2)`.
    ///
    /// # Errors
    /// If this is no socket, or the kernel has no memory for the mark.
    pub fn bless(&self, listener: BorrowedFd<'_>) -> Result<(), RedirectError> {
        const BLESSED: u64 = 1;
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(&listener.as_raw_fd(), BLESSED, 0).map_err(RedirectError::map("write", map::LISTENERS))
    }

    /// Who is at the other end of an accepted socket. `None` if the connection was not redirected here: somebody has
    /// dialled this port directly, and the connection must be closed.
    ///
    /// # Errors
    /// If this is no socket. The connection must be closed then, too.
    pub fn origin(&self, accepted: BorrowedFd<'_>) -> Result<Option<Origin>, RedirectError> {
        match self.records.get(&accepted.as_raw_fd(), 0) {
            Ok(RecordBytes(record)) => Ok(Origin::of(&record)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(RedirectError::map("read", map::RECORDS)(error)),
        }
    }

    /// What the programs have counted.
    ///
    /// # Errors
    /// If the kernel does not let us read the map.
    pub fn counters(&self) -> Result<Counters, RedirectError> {
        Counters::read(&self.counters)
    }
}

/// Loads maps and programs into the kernel. With pins, maps that an earlier daemon left there are used again.
pub(super) fn load(pins: Option<&Pins>) -> Result<Ebpf, RedirectError> {
    let types = Btf::from_sys_fs().map_err(|error| RedirectError::Object(Box::new(error.into())))?;
    let offsets = OffsetsBytes(btf::offsets()?);
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&types)).override_global(OFFSETS, &offsets, true);
    for map in pins.iter().flat_map(|_| map::ALL) {
        if let Some(pins) = pins {
            loader.map_pin_path(map, pins.map(map));
        }
    }
    let mut object = loader.load(OBJECT).map_err(|error| RedirectError::Object(Box::new(error)))?;
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
        loaded.map_err(|source| RedirectError::Program { program: name, source: Box::new(source) })?;
    }
    Ok(object)
}

/// Writes the settings into the maps. Programs of an earlier daemon follow at once, so whoever is captured by the old
/// and the new settings is captured at every moment between: what is new goes in before what is old goes out.
fn tell(object: &mut Ebpf, settings: &Settings, daemon_cgroup: &Path, listen_port: u16) -> Result<(), RedirectError> {
    capture::tell_cgroups(object, settings, daemon_cgroup)?;
    let scope = if settings.cgroups.is_some() { scope::NAMED } else { scope::HOST };
    let mut config = array::<ConfigBytes>(object, map::CONFIG)?;
    let value = ConfigBytes(Config { scope, listen_port: listen_port.into() });
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
fn put_in_place(object: &mut Ebpf, pins: &Pins) -> Result<(), RedirectError> {
    let mount = cgroup_mount()?;
    let root = fs::File::open(&mount).map_err(RedirectError::file("open", mount))?;
    let mut attached = Vec::<PathBuf>::new();
    for name in program::ALL {
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
        return replace(program, pin);
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

/// Links of tracepoints cannot be updated. The new program runs beside the old one for a moment, which is harmless: both
/// write the same into the same maps.
fn replace(program: &mut BtfTracePoint, pin: &Path) -> Result<Placed, Box<dyn std::error::Error + Send + Sync>> {
    let beside = pin.with_file_name(format!("{}_new", pin.file_name().unwrap_or_default().display()));
    let placed = if pin.exists() { Placed::Renewed } else { Placed::Attached };
    let id = program.attach()?;
    let link = FdLink::from(program.take_link(id)?);
    // What an attempt left behind that was killed at this very point.
    let _ = fs::remove_file(&beside);
    link.pin(&beside)?;
    fs::rename(&beside, pin)?;
    Ok(placed)
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
