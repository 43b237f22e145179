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

use interceptor_ebpf::{CgroupPath, Config, Offsets, Record};

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

// SAFETY: as above: two `u32`.
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

/// Puts another program behind a pinned link, in place: at no moment is there none. aya 0.14 cannot do this for links of
/// cgroup programs. `ENOLINK` says that what it was attached to is gone.
///
/// Source: `BPF_OBJ_GET` and `BPF_LINK_UPDATE` of `linux/bpf.h`.
pub(super) fn update_link(pin: &Path, program: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct ObjectGet {
        path: u64,
        fd: u32,
        flags: u32,
    }
    #[repr(C)]
    struct LinkUpdate {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    const BPF_OBJ_GET: c_long = 7;
    const BPF_LINK_UPDATE: c_long = 29;

    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the attribute is as long as said, and the path it points to lives until the call is over.
    let link = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, ptr::from_ref(&get), mem::size_of_val(&get)) };
    let link = owned(link)?;
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
