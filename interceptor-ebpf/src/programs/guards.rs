//! The guards: at the kernel's security decisions (BPF LSM), where connections pass that no hook of a cgroup sees, and where root
//! could take the enforcement away. Only agents are refused anything: not the host, and not the daemon.
//!
//! Not every kernel allows them, so nothing else relies on them.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interceptor_ebpf::{Config, Counter, flag, role};

use crate::{
    kernel::Task,
    maps::{config, count},
    objects::{File, Inode, Mount, Security, Socket, attach_type},
    task::{self, Standing},
};

const ALLOW: i32 = 0;
const EPERM: i32 = -1;
const EACCES: i32 = -13;
const EPROTONOSUPPORT: i32 = -93;
const ECONNREFUSED: i32 = -111;

/// Arguments: the socket that dials, the listener that it has found, the new socket at the listener's end. Whatever link or
/// path has led there, the listener has the name that the server has bound.
#[lsm(hook = "unix_stream_connect")]
fn guard_unix(context: LsmContext) -> i32 {
    let Some(config) = config() else { return ALLOW };
    if Socket(context.arg(1)).is_postgres_by_name() && is_as_agent(config) {
        return refuse(ECONNREFUSED);
    }
    ALLOW
}

/// Argument: a file that comes with a message, or is taken from another process (`pidfd_getfd`). A connection to PostgreSQL that
/// came by us leads to the daemon's port, so one that leads to the database is somebody else's.
#[lsm(hook = "file_receive")]
fn guard_receive(context: LsmContext) -> i32 {
    let Some(config) = config() else { return ALLOW };
    let Some(socket) = File(context.arg(0)).socket() else { return ALLOW };
    if socket.leads_to_postgres(config) && is_as_agent(config) {
        return refuse(EACCES);
    }
    ALLOW
}

/// Arguments: the task that is looked into, and how. Reading (`ps`) is as it was; attaching leads to its descriptors and memory.
#[lsm(hook = "ptrace_access_check")]
fn guard_trace(context: LsmContext) -> i32 {
    const ATTACH: u32 = 2;
    let Some(config) = config() else { return ALLOW };
    let mode: u32 = context.arg(1);
    if mode & ATTACH != 0
        && task::standing(config) == Standing::Named
        && task::standing_of(config, Task(context.arg(0))) != Standing::Named
    {
        return refuse(EPERM);
    }
    ALLOW
}

/// Arguments: the inode, and what is to be done to it. Asked for every step of every path, so what is cheap comes first.
#[lsm(hook = "inode_permission")]
fn guard_write(context: LsmContext) -> i32 {
    const WRITE_OR_APPEND: i32 = 2 | 8;
    let mask: i32 = context.arg(1);
    if mask & WRITE_OR_APPEND == 0 {
        return ALLOW;
    }
    let Some(config) = config() else { return ALLOW };
    let inode = Inode(context.arg(0));
    let may = match inode.file_system() {
        Some(Security::Pins) => task::standing(config) != Standing::Named,
        Some(Security::Cgroups) => task::standing(config) != Standing::Named || may_arrange(config, inode),
        _ => true,
    };
    if may { ALLOW } else { refuse(EACCES) }
}

/// Whether an agent may make and fill this cgroup. Below those that make agents of their tasks it may, as container runtimes do.
/// One that is an agent for another reason stays one everywhere but in exempt cgroups.
#[inline(always)]
fn may_arrange(config: &Config, inode: Inode) -> bool {
    let Some(cgroup) = inode.cgroup() else { return false };
    let roles = cgroup.roles();
    if roles & (role::EXEMPT | role::DAEMON) != 0 {
        return false;
    }
    roles & role::CAPTURED != 0 || task::of_roles(config, task::roles()) != Standing::Named
}

/// Arguments: the mount, and how. Pins go with the last mount of their file system; and what is unmounted lazily takes along what
/// is mounted below, which in a mount namespace of one's own is nobody else's business.
#[lsm(hook = "sb_umount")]
fn guard_unmount(context: LsmContext) -> i32 {
    const DETACH: i32 = 2;
    let Some(config) = config() else { return ALLOW };
    let flags: i32 = context.arg(1);
    let mount = Mount(context.arg(0));
    let guarded = mount.file_system() == Some(Security::Pins)
        || flags & DETACH != 0 && mount.has_others_below() && mount.is_the_hosts();
    if guarded && task::standing(config) == Standing::Named {
        return refuse(EPERM);
    }
    ALLOW
}

/// Arguments: the command, and its attributes. What reaches for others' objects is refused, and what is put at a hook of cgroups,
/// where it would have the last word on addresses: but for what keeps devices from containers.
#[lsm(hook = "bpf")]
fn guard_bpf(context: LsmContext) -> i32 {
    const OBJ_GET: i32 = 7;
    const PROG_ATTACH: i32 = 8;
    const PROG_DETACH: i32 = 9;
    const PROG_GET_FD_BY_ID: i32 = 13;
    const MAP_GET_FD_BY_ID: i32 = 14;
    const LINK_CREATE: i32 = 28;
    const LINK_UPDATE: i32 = 29;
    const LINK_GET_FD_BY_ID: i32 = 30;
    const LINK_DETACH: i32 = 34;
    const BPF_CGROUP_DEVICE: u32 = 6;
    let Some(config) = config() else { return ALLOW };
    let guarded = match context.arg::<i32>(0) {
        OBJ_GET | PROG_DETACH | PROG_GET_FD_BY_ID | MAP_GET_FD_BY_ID | LINK_UPDATE | LINK_GET_FD_BY_ID
        | LINK_DETACH => true,
        PROG_ATTACH | LINK_CREATE => attach_type(context.arg(1)) != Some(BPF_CGROUP_DEVICE),
        _ => false,
    };
    if guarded && task::standing(config) == Standing::Named {
        return refuse(EPERM);
    }
    ALLOW
}

/// Arguments: family, type, protocol, whether the kernel makes it for itself. What `sock_create` does not see because it is no
/// socket of the Internet's: frames by hand, which no other program of ours looks at, and SMC.
#[lsm(hook = "socket_create")]
fn guard_socket(context: LsmContext) -> i32 {
    const AF_PACKET: i32 = 17;
    const AF_SMC: i32 = 43;
    const AF_XDP: i32 = 44;
    let Some(config) = config() else { return ALLOW };
    let (family, by_kernel): (i32, i32) = (context.arg(0), context.arg(3));
    if by_kernel == 0 && matches!(family, AF_PACKET | AF_SMC | AF_XDP) && is_as_agent(config) {
        return refuse(EPROTONOSUPPORT);
    }
    ALLOW
}

/// Whether the current task is an agent, or everybody who is captured is to be treated as one.
#[inline(always)]
fn is_as_agent(config: &Config) -> bool {
    match task::standing(config) {
        Standing::Free => false,
        Standing::Captured => config.flags & flag::STRICT != 0,
        Standing::Named => true,
    }
}

#[inline(always)]
fn refuse(errno: i32) -> i32 {
    count(Counter::GuardRefused);
    errno
}
