//! The guards at the kernel's security decisions (BPF LSM): which of them there are here, and why the others are not.

use std::{fs, os::unix::fs::MetadataExt};

use aya::programs::ProgramError;
use interceptor_ebpf::{GuardOffsets, program};

use super::btf;

/// Where the kernel lists whom it asks. (`/sys/kernel/security` is a file system of its own.)
const ASKED: &str = "/sys/kernel/security/lsm";

/// The security decision that a guard hangs on.
pub(super) fn hook(name: &str) -> Option<&'static str> {
    Some(match name {
        program::GUARD_UNIX => "unix_stream_connect",
        program::GUARD_RECEIVE => "file_receive",
        program::GUARD_TRACE => "ptrace_access_check",
        program::GUARD_WRITE => "inode_permission",
        program::GUARD_UNMOUNT => "sb_umount",
        program::GUARD_BPF => "bpf",
        program::GUARD_SOCKET => "socket_create",
        _ => return None,
    })
}

/// What the guards need to know; an error in words if this kernel's types are not as they expect.
pub(super) fn offsets() -> Result<GuardOffsets, String> {
    // Where the first process may not be looked at, it is somebody else's, and the host that we know is our own.
    let host = fs::metadata("/proc/1/ns/mnt").or_else(|_| fs::metadata("/proc/self/ns/mnt"));
    let host = host.map_err(|error| format!("cannot see the host's mounts: {error}"))?;
    let mut offsets = btf::guard_offsets().map_err(|error| error.to_string())?;
    offsets.host_mounts = u32::try_from(host.ino()).map_err(|error| error.to_string())?;
    Ok(offsets)
}

/// Whether the kernel asks programs at all: it may accept them, and be booted without.
pub(super) fn is_asked() -> Result<(), String> {
    let asked = fs::read_to_string(ASKED)
        .map_err(|error| format!("whether the kernel asks them cannot be seen in {ASKED}: {error}"))?;
    if asked.trim().split(',').any(|module| module == "bpf") {
        Ok(())
    } else {
        Err(format!("the kernel was booted without them: `bpf` is not in `lsm={}`", asked.trim()))
    }
}

/// What is said of guards that the settings do not want.
pub(super) const UNWANTED: &str = "`guards = false` in [capture]";

/// In a line, what the kernel said of a program that it has not accepted.
pub(super) fn words(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.to_string(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}
