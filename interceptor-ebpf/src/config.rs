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

/// Whose connections are captured.
pub mod scope {
    /// Those of tasks below a cgroup that is named with [`super::role::CAPTURED`], and of tasks that carry a tag.
    pub const NAMED: u32 = 1;
    /// Everybody's, but for those below a cgroup with [`super::role::EXEMPT`] or [`super::role::DAEMON`].
    pub const HOST: u32 = 2;
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
}
