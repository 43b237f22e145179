//! What the daemon tells the programs: which ports, whose tasks, and where to send them.

/// How many levels of the cgroup tree are looked at, from the root down. The kernel's own default has no limit; trees in
/// use have less than ten. A named cgroup deeper than this would be missed, so the daemon refuses to name one.
pub const CGROUP_DEPTH: u32 = 64;

/// How many cgroups can be named.
pub const CGROUPS_MAX: usize = 4096;

/// The longest path of a cgroup that can be named, its closing NUL included.
pub const CGROUP_PATH_BYTES: usize = 256;

/// The path of a cgroup from the root of the hierarchy, with a leading slash, filled up with NULs.
pub type CgroupPath = [u8; CGROUP_PATH_BYTES];

/// How many processes can carry a tag. One that finds no room is still captured while it stays in its cgroup.
pub const TAGS_MAX: usize = 65536;

/// The captured ports are a bitmap of 65,536 bits in words of 64.
pub const PORT_WORDS: usize = 1024;

/// The word of the bitmap that holds `port`, and its bit in it.
#[must_use]
pub const fn port_bit(port: u16) -> (u32, u64) {
    ((port >> 6) as u32, 1 << (port & 63))
}

/// How many users, programs and addresses can be named, each.
pub const NAMES_MAX: usize = 4096;

/// How many network namespaces the daemon can listen in.
pub const NAMESPACES_MAX: usize = 4096;

/// How many cgroups are accounted for at once; those that have ended make room when the daemon has recorded them.
pub const COVERED_MAX: usize = 65536;

/// Whose connections are captured. *Named* tasks are those below a cgroup with [`super::role::CAPTURED`], of a user or
/// program that is named, and those that carry a tag because they were named once.
pub mod scope {
    /// Those of named tasks.
    pub const NAMED: u32 = 1;
    /// Everybody's, but for those below a cgroup with [`super::role::EXEMPT`] or [`super::role::DAEMON`].
    pub const HOST: u32 = 2;
}

/// What else the settings ask for, as bits.
pub mod flag {
    /// Somebody is named, so that tags mean something.
    pub const NAMES: u32 = 1;
    /// There are users in the table.
    pub const USERS: u32 = 2;
    /// There are programs in the table.
    pub const PROGRAMS: u32 = 4;
    /// There are addresses in the table.
    pub const ADDRESSES: u32 = 8;
    /// Sockets that the hooks do not see are refused to everybody who is captured, not just to the named.
    pub const STRICT: u32 = 16;
    /// Start-up packets of PostgreSQL on other ports are reported.
    pub const DETECT: u32 = 32;
    /// ... and their connections are stopped.
    pub const BLOCK: u32 = 64;
}

/// A program's file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramFile {
    /// Its number in its file system.
    pub inode: u64,
    /// The file system, as the kernel counts devices: `major << 20 | minor`.
    pub device: u64,
}

/// An address that PostgreSQL is dialled at, port included.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub address: crate::Address,
    /// In host byte order.
    pub port: u32,
}

/// What a named cgroup is, as bits: a task has the roles of every cgroup above it.
pub mod role {
    /// Its tasks are agents.
    pub const CAPTURED: u32 = 1;
    /// Its tasks are left alone although a cgroup above them is captured, or the host is.
    pub const EXEMPT: u32 = 2;
    /// The daemon lives here: left alone, and alone in being allowed to take the listening port.
    pub const DAEMON: u32 = 4;
}

/// The one entry of the configuration map. All zero, as before the daemon's first word, captures nobody.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// One of [`scope`].
    pub scope: u32,
    /// The daemon's port on the loopback addresses, in host byte order.
    pub listen_port: u32,
    /// Bits of [`flag`].
    pub flags: u32,
}
