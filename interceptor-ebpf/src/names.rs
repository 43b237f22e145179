//! Names of maps and programs. The kernel keeps 15 characters of a name.

/// The read-only variable of the object that holds [`crate::Offsets`]; the loader fills it in.
pub const OFFSETS: &str = "OFFSETS";

/// The one that holds [`crate::GuardOffsets`].
pub const GUARD_OFFSETS: &str = "GUARD_OFFSETS";

/// Maps, as they are called in the object and in the pin folder.
pub mod map {
    /// Socket storage: a [`crate::Record`] on both ends of a redirected connection.
    pub const RECORDS: &str = "RECORDS";
    /// Socket storage: a non-zero `u64` on each listening socket of the daemon.
    pub const LISTENERS: &str = "LISTENERS";
    /// Hash from [`crate::Connection`] to [`crate::Record`], while the handshake lasts.
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// Array of [`crate::PORT_WORDS`] words: which ports are captured.
    pub const PORTS: &str = "PORTS";
    /// Hash from cgroup id to [`crate::role`] bits.
    pub const CGROUPS: &str = "CGROUPS";
    /// Hash from [`crate::CgroupPath`] to [`crate::role`] bits: the same cgroups by name, for when they are made again.
    pub const PATHS: &str = "PATHS";
    /// Hash from process (`u32`) to `u64`, which is always 1: who has been in a captured cgroup once.
    pub const TAGS: &str = "TAGS";
    /// Array of one [`crate::Config`].
    pub const CONFIG: &str = "CONFIG";
    /// Per-CPU array of `u64`, indexed by [`crate::Counter`].
    pub const COUNTERS: &str = "COUNTERS";

    /// Hash from user id to `u32`, which is always 1.
    pub const USERS: &str = "USERS";
    /// Hash from [`crate::ProgramFile`] to `u32`, which is always 1.
    pub const PROGRAMS: &str = "PROGRAMS";
    /// Hash from [`crate::Target`] to `u32`, which is always 1: addresses beside the captured ports.
    pub const TARGETS: &str = "TARGETS";
    /// Hash from network namespace (`SO_NETNS_COOKIE`) to one of [`crate::namespace`].
    pub const NAMESPACES: &str = "NAMESPACES";
    /// Hash from cgroup id to [`crate::Coverage`].
    pub const COVERAGE: &str = "COVERAGE";
    /// Hash from cgroup id to [`crate::CgroupPath`]: accounted for, and gone.
    pub const ENDED: &str = "ENDED";
    /// Socket storage: a [`crate::Stream`] on sockets whose first bytes are watched.
    pub const STREAMS: &str = "STREAMS";
    /// Ring buffer of [`crate::Event`].
    pub const EVENTS: &str = "EVENTS";

    /// Array of one `u64`: when the daemon last said that it lives and follows, `CLOCK_MONOTONIC` in nanoseconds.
    pub const ALIVE: &str = "ALIVE";

    /// All of them.
    pub const ALL: [&str; 18] = [
        RECORDS,
        LISTENERS,
        CONNECTIONS,
        PORTS,
        CGROUPS,
        PATHS,
        TAGS,
        CONFIG,
        COUNTERS,
        USERS,
        PROGRAMS,
        TARGETS,
        NAMESPACES,
        COVERAGE,
        ENDED,
        STREAMS,
        EVENTS,
        ALIVE,
    ];
}

/// Programs, as they are called in the object; their links are pinned under the same name.
pub mod program {
    /// Carries the record from the dialling socket to the accepted one.
    pub const SOCK_OPS: &str = "sock_ops";
    /// Tells an agent with an IPv4 socket whom it dialled.
    pub const GETPEERNAME4: &str = "getpeername4";
    /// Tells an agent with an IPv6 socket whom it dialled.
    pub const GETPEERNAME6: &str = "getpeername6";
    /// Keeps the daemon's port for the daemon, IPv4.
    pub const BIND4: &str = "bind4";
    /// Keeps the daemon's port for the daemon, IPv6.
    pub const BIND6: &str = "bind6";
    /// Refuses the kinds of socket that the other hooks do not see.
    pub const SOCK_CREATE: &str = "sock_create";
    /// Drops what dodged the connect hook.
    pub const EGRESS: &str = "egress";
    /// Redirects, IPv4.
    pub const CONNECT4: &str = "connect4";
    /// Redirects, IPv6 and IPv4-mapped.
    pub const CONNECT6: &str = "connect6";

    /// Keeps track of captured cgroups that are made again.
    pub const CGROUP_MKDIR: &str = "cgroup_mkdir";
    /// Forgets cgroups that are gone.
    pub const CGROUP_RMDIR: &str = "cgroup_rmdir";
    /// Tags the children of captured processes.
    pub const TAG_FORK: &str = "tag_fork";
    /// Tags captured processes that start another program.
    pub const TAG_EXEC: &str = "tag_exec";
    /// Tags processes that are moved into a captured cgroup.
    pub const TAG_ATTACH: &str = "tag_attach";
    /// Forgets processes that are gone.
    pub const TAG_EXIT: &str = "tag_exit";

    /// Refuses agents connections to PostgreSQL's Unix sockets, by the name that the server has bound.
    pub const GUARD_UNIX: &str = "guard_unix";
    /// Refuses agents connections to PostgreSQL that others have opened and hand to them.
    pub const GUARD_RECEIVE: &str = "guard_receive";
    /// Refuses agents to take over processes that are no agents.
    pub const GUARD_TRACE: &str = "guard_trace";
    /// Refuses agents to leave their cgroups, and to remove what is pinned.
    pub const GUARD_WRITE: &str = "guard_write";
    /// Refuses agents to unmount the file system of the pins.
    pub const GUARD_UNMOUNT: &str = "guard_unmount";
    /// Refuses agents to reach for programs, links and maps of others.
    pub const GUARD_BPF: &str = "guard_bpf";
    /// Refuses agents sockets that send frames past everything else.
    pub const GUARD_SOCKET: &str = "guard_socket";

    /// Those at the kernel's security decisions (BPF LSM): what a host does without where its kernel does not allow it.
    pub const GUARDS: [&str; 7] =
        [GUARD_UNIX, GUARD_RECEIVE, GUARD_TRACE, GUARD_WRITE, GUARD_UNMOUNT, GUARD_BPF, GUARD_SOCKET];

    /// Those that not every kernel allows. Without them nobody is let go, but who was named does not stay so elsewhere, and
    /// a first connection in a new network namespace is more often refused.
    pub const OPTIONAL: [&str; 6] = [CGROUP_MKDIR, CGROUP_RMDIR, TAG_FORK, TAG_EXEC, TAG_ATTACH, TAG_EXIT];

    /// All but the guards, in the order in which they are attached: who knows the captured and who carries the record come
    /// before who writes it, so that no connection is redirected that the daemon would then have to close.
    pub const ALL: [&str; 15] = [
        CGROUP_MKDIR,
        CGROUP_RMDIR,
        TAG_FORK,
        TAG_EXEC,
        TAG_ATTACH,
        TAG_EXIT,
        SOCK_OPS,
        GETPEERNAME4,
        GETPEERNAME6,
        BIND4,
        BIND6,
        SOCK_CREATE,
        CONNECT4,
        CONNECT6,
        EGRESS,
    ];
}
