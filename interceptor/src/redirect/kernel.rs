//! The system calls that no crate at hand wraps, and the promise that the ABI's types are plain bytes.
#![expect(unsafe_code, reason = "this is where the daemon talks to the kernel by pointer")]

use std::{
    ffi::CString,
    fs, io, mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        raw::c_long,
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    ptr,
};

use interceptor_ebpf::{CgroupPath, Config, Event, GuardOffsets, Offsets, ProgramFile, Record, Target};

/// A [`Record`] that aya may read out of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct RecordBytes(pub(super) Record);

// SAFETY: `repr(C)`, integers only, no padding (the ABI asserts the size), so every pattern of bytes is a value.
unsafe impl aya::Pod for RecordBytes {}

/// A [`Config`] that aya may write into a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct ConfigBytes(pub(super) Config);

// SAFETY: as above: three `u32`.
unsafe impl aya::Pod for ConfigBytes {}

/// A [`CgroupPath`] that aya may use as a key.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PathBytes(pub(super) CgroupPath);

// SAFETY: an array of bytes.
unsafe impl aya::Pod for PathBytes {}

/// [`Offsets`] that aya may write into the object.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct OffsetsBytes(pub(super) Offsets);

// SAFETY: `repr(C)`, nothing but `u32`.
unsafe impl aya::Pod for OffsetsBytes {}

/// [`GuardOffsets`] that aya may write into the object.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct GuardOffsetsBytes(pub(super) GuardOffsets);

// SAFETY: as above.
unsafe impl aya::Pod for GuardOffsetsBytes {}

/// A [`ProgramFile`] that aya may use as a key.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileBytes(pub(super) ProgramFile);

// SAFETY: `repr(C)`, two `u64`.
unsafe impl aya::Pod for FileBytes {}

/// A [`Target`] that aya may use as a key.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TargetBytes(pub(super) Target);

// SAFETY: `repr(C)`, five `u32`.
unsafe impl aya::Pod for TargetBytes {}

/// The event that a ring buffer's item is; `None` for one of another size.
pub(super) fn event_of(item: &[u8]) -> Option<Event> {
    // SAFETY: `repr(C)`, integers only, no padding (the ABI asserts the size); it is as long as said and need not be aligned.
    (item.len() == size_of::<Event>()).then(|| unsafe { ptr::read_unaligned(item.as_ptr().cast()) })
}

/// `SO_NETNS_COOKIE` of a socket (`asm-generic/socket.h`, since Linux 5.14).
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut size = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: the buffer is as long as said and outlives the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            ptr::from_mut(&mut cookie).cast(),
            ptr::from_mut(&mut size),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// The network namespace of a socket (`SIOCGSKNS` of `linux/sockios.h`).
pub(super) fn network_of_socket(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    // SAFETY: this request takes no argument and returns a new file descriptor.
    owned(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS as _) }.into())
}

/// A descriptor that came with a message, or that was there when this process began.
pub(super) fn owned_of(descriptor: i32) -> OwnedFd {
    // SAFETY: both are ours alone: the kernel has just made the one, and the other is taken once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// The user namespace that owns a namespace (`NS_GET_USERNS`, `ioctl_nsfs(2)`).
pub(super) fn owner_of_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: this request takes no argument and returns a new file descriptor.
    owned(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _) }.into())
}

/// What a pinned link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// Of the link.
    pub(super) program: u32,
    /// For programs of cgroups; 0 if the link is detached, and for all others.
    pub(super) cgroup_id: u64,
}

/// Source: `BPF_OBJ_GET`, `BPF_OBJ_GET_INFO_BY_FD` and `struct bpf_link_info` of `linux/bpf.h`.
pub(super) fn attached(pin: &Path) -> io::Result<Attached> {
    #[repr(C)]
    struct InfoByFd {
        fd: u32,
        size: u32,
        info: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct LinkInfo {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        /// `cgroup.cgroup_id` for links of cgroups; of `tracing` the attach type and target.
        first: u64,
        rest: [u64; 6],
    }
    const BPF_OBJ_GET_INFO_BY_FD: c_long = 15;
    const BPF_LINK_TYPE_CGROUP: u32 = 3;
    let link = object(pin)?;
    let mut info = LinkInfo::default();
    let ask = InfoByFd {
        fd: link.as_raw_fd().cast_unsigned(),
        size: size_of::<LinkInfo>() as u32,
        info: ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the attribute is as long as said, and the buffer that it points to is as long as it says.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, ptr::from_ref(&ask), mem::size_of_val(&ask)) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Attached { program: info.program, cgroup_id: if info.kind == BPF_LINK_TYPE_CGROUP { info.first } else { 0 } })
}

/// Loads a program that is written out. Its log is not asked for: the errno says enough.
///
/// Source: `BPF_PROG_LOAD` of `linux/bpf.h`.
pub(super) fn load_instructions(kind: u32, attach: u32, name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    load_program(kind, attach, name, instructions)
}

/// The programs at one hook of a cgroup.
pub(super) struct Attachments {
    /// Their numbers.
    pub(super) programs: Vec<u32>,
    /// Whether others may be attached beside them.
    pub(super) shared: bool,
}

/// Source: `BPF_PROG_QUERY` of `linux/bpf.h`.
pub(super) fn attachments(cgroup: BorrowedFd<'_>, hook: u32) -> io::Result<Attachments> {
    #[repr(C)]
    struct Query {
        target: u32,
        hook: u32,
        flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    const BPF_PROG_QUERY: c_long = 16;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    const MOST: usize = 64;
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        target: cgroup.as_raw_fd().cast_unsigned(),
        hook,
        flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
    };
    // SAFETY: the attribute is as long as said, and the room for ids as large as it says.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, ptr::from_mut(&mut query), mem::size_of_val(&query)) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let programs = ids.into_iter().take(query.count as usize).collect();
    Ok(Attachments { programs, shared: query.attach_flags & BPF_F_ALLOW_MULTI != 0 })
}

fn load_program(kind: u32, attach: u32, name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct ProgramLoad {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach: u32,
        types: u32,
        function_size: u32,
        functions: u64,
        function_count: u32,
        line_size: u32,
        lines: u64,
        line_count: u32,
        attach_function: u32,
        attach_program: u32,
        relocations: u32,
    }
    const BPF_PROG_LOAD: c_long = 5;
    let mut load = ProgramLoad {
        kind,
        count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach,
        ..ProgramLoad::default()
    };
    for (slot, byte) in load.name.iter_mut().take(15).zip(name.bytes()) {
        *slot = byte;
    }
    // SAFETY: the attribute is as long as said; instructions and licence outlive the call.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, ptr::from_ref(&load), mem::size_of_val(&load)) })
}

/// Source: `BPF_LINK_CREATE` of `linux/bpf.h`.
pub(super) fn link_to_cgroup(program: &OwnedFd, cgroup: BorrowedFd<'_>, attach: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: c_long = 28;
    let create = [program.as_raw_fd().cast_unsigned(), cgroup.as_raw_fd().cast_unsigned(), attach, 0];
    // SAFETY: program, target, attach type and flags are the first four words of the attribute, which is as long as said.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, create.as_ptr(), mem::size_of_val(&create)) })
}

/// Source: `BPF_OBJ_PIN` of `linux/bpf.h`.
pub(super) fn pin_object(object: &OwnedFd, pin: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Pin {
        path: u64,
        fd: u32,
        flags: u32,
    }
    const BPF_OBJ_PIN: c_long = 6;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let ask = Pin { path: path.as_ptr() as u64, fd: object.as_raw_fd().cast_unsigned(), flags: 0 };
    // SAFETY: the attribute is as long as said, and the path it points to lives until the call is over.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, ptr::from_ref(&ask), mem::size_of_val(&ask)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens what is pinned.
fn object(pin: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct ObjectGet {
        path: u64,
        fd: u32,
        flags: u32,
    }
    const BPF_OBJ_GET: c_long = 7;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the attribute is as long as said, and the path it points to lives until the call is over.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, ptr::from_ref(&get), mem::size_of_val(&get)) })
}

/// Puts another program behind a pinned link, in place: at no moment is there none. aya 0.14 cannot do this for links of
/// cgroup programs. `ENOLINK` says that what it was attached to is gone.
///
/// Source: `BPF_OBJ_GET` and `BPF_LINK_UPDATE` of `linux/bpf.h`.
pub(super) fn update_link(pin: &Path, program: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct LinkUpdate {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    const BPF_LINK_UPDATE: c_long = 29;

    let link = object(pin)?;
    let update = LinkUpdate {
        link: link.as_raw_fd().cast_unsigned(),
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: the attribute is as long as said and holds two open file descriptors.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_UPDATE, ptr::from_ref(&update), mem::size_of_val(&update)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens a cgroup by its id. `ESTALE` says that it is gone.
///
/// Source: `open_by_handle_at(2)`; the kind of handle is `FILEID_KERNFS` of `linux/exportfs.h`, its content the id.
pub(super) fn open_cgroup(mount: impl AsFd, cgroup_id: u64) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct FileHandle {
        bytes: u32,
        kind: i32,
        id: [u8; 8],
    }
    const FILEID_KERNFS: i32 = 0xfe;

    let handle = FileHandle { bytes: 8, kind: FILEID_KERNFS, id: cgroup_id.to_ne_bytes() };
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the handle has the layout of `struct file_handle` with the eight bytes that it says it has.
    let folder =
        unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount.as_fd().as_raw_fd(), ptr::from_ref(&handle), flags) };
    owned(folder)
}

/// The path that an open file has in this mount namespace.
pub(super) fn path_of(file: OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether the system's clock is kept in step by somebody (`STA_UNSYNC` of adjtimex(2)).
pub(super) fn clock_is_kept() -> io::Result<bool> {
    // SAFETY: all zeroes are a `struct timex`, and one that changes nothing.
    let mut state: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes within the struct that it is given.
    match unsafe { libc::adjtimex(&raw mut state) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(state.status & libc::STA_UNSYNC == 0),
    }
}

/// Whether a TCP socket is in repair mode (`TCP_REPAIR` of `linux/tcp.h`).
#[derive(Clone, Copy)]
pub(super) enum Repair {
    On,
    /// Without the window probe that `0` would send: `TCP_REPAIR_OFF_NO_WP`.
    Off,
}

pub(super) fn set_repair(socket: BorrowedFd<'_>, repair: Repair) -> io::Result<()> {
    let value: libc::c_int = match repair {
        Repair::On => 1,
        Repair::Off => -1,
    };
    // SAFETY: the value is as long as said and outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            ptr::from_ref(&value).cast(),
            mem::size_of_val(&value) as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many bytes have to have come before a socket counts as readable (`SO_RCVLOWAT`, socket(7)).
pub(super) fn set_low_water(socket: BorrowedFd<'_>, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is as long as said and outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            ptr::from_ref(&bytes).cast(),
            mem::size_of_val(&bytes) as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The file descriptor that a system call returned.
fn owned(returned: c_long) -> io::Result<OwnedFd> {
    match i32::try_from(returned) {
        // SAFETY: the kernel has just given it to us and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
