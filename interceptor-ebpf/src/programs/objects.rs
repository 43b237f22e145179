//! What the guards look at: files, sockets, mounts, as the kernel keeps them.

use core::ptr::{addr_of, read_volatile};

use interceptor_ebpf::{Address, Config, GuardOffsets};

use crate::{
    address::mapped,
    kernel::{Cgroup, file_system_of, inode_of, read},
    maps::is_target,
};

/// Filled in by the loader, as [`crate::kernel`]'s.
#[unsafe(no_mangle)]
static GUARD_OFFSETS: GuardOffsets = GuardOffsets {
    file_private_data: u32::MAX,
    inode_i_mode: u32::MAX,
    inode_i_private: u32::MAX,
    super_block_s_magic: u32::MAX,
    socket_sk: u32::MAX,
    socket_type: u32::MAX,
    sock_common_skc_family: u32::MAX,
    sock_common_skc_dport: u32::MAX,
    sock_common_skc_daddr: u32::MAX,
    sock_common_skc_v6_daddr: u32::MAX,
    unix_sock_addr: u32::MAX,
    unix_sock_peer: u32::MAX,
    unix_address_len: u32::MAX,
    unix_address_name: u32::MAX,
    kernfs_node_parent: u32::MAX,
    kernfs_node_flags: u32::MAX,
    kernfs_node_priv: u32::MAX,
    task_struct_real_cred: u32::MAX,
    cred_uid: u32::MAX,
    vfsmount_mnt_sb: u32::MAX,
    mount_mnt: u32::MAX,
    mount_mnt_mounts: u32::MAX,
    mount_mnt_ns: u32::MAX,
    mnt_namespace_ns: u32::MAX,
    ns_common_inum: u32::MAX,
    host_mounts: u32::MAX,
};

/// An offset. Volatile, or the compiler would take the initial value for the last word.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a field of a static.
        unsafe { read_volatile(addr_of!(GUARD_OFFSETS.$field)) as usize }
    };
}

/// File systems that matter to the enforcement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Where links and maps are pinned.
    Pins,
    /// The v2 hierarchy of cgroups.
    Cgroups,
}

/// By the magic number of a `struct super_block`, as `linux/magic.h` has them.
#[inline(always)]
fn kind_of(file_system: *const u8) -> Option<Security> {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    match read(file_system, offset!(super_block_s_magic)) {
        Some(BPF_FS_MAGIC) => Some(Security::Pins),
        Some(CGROUP2_SUPER_MAGIC) => Some(Security::Cgroups),
        _ => None,
    }
}

/// `struct inode`.
#[derive(Clone, Copy)]
pub(crate) struct Inode(pub(crate) *const u8);

impl Inode {
    #[inline(always)]
    pub(crate) fn file_system(self) -> Option<Security> {
        file_system_of(self.0).and_then(kind_of)
    }

    /// The cgroup that it is, or is a file of; for inodes of that file system.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Option<Cgroup> {
        const KERNFS_DIR: u16 = 1;
        let node: *const u8 = read(self.0, offset!(inode_i_private))?;
        let flags: u16 = read(node, offset!(kernfs_node_flags))?;
        let folder = if flags & KERNFS_DIR != 0 { node } else { read(node, offset!(kernfs_node_parent))? };
        read(folder, offset!(kernfs_node_priv)).map(Cgroup)
    }
}

/// `struct file`.
#[derive(Clone, Copy)]
pub(crate) struct File(pub(crate) *const u8);

impl File {
    /// The stream socket that it is.
    #[inline(always)]
    pub(crate) fn socket(self) -> Option<Socket> {
        const S_IFMT: u16 = 0o170_000;
        const S_IFSOCK: u16 = 0o140_000;
        const SOCK_STREAM: u16 = 1;
        let mode: u16 = inode_of(self.0).and_then(|inode| read(inode, offset!(inode_i_mode)))?;
        if mode & S_IFMT != S_IFSOCK {
            return None;
        }
        let socket: *const u8 = read(self.0, offset!(file_private_data))?;
        if read::<u16>(socket, offset!(socket_type))? != SOCK_STREAM {
            return None;
        }
        read(socket, offset!(socket_sk)).map(Socket)
    }
}

/// `struct sock`.
#[derive(Clone, Copy)]
pub(crate) struct Socket(pub(crate) *const u8);

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

impl Socket {
    #[inline(always)]
    fn family(self) -> Option<u16> {
        read(self.0, offset!(sock_common_skc_family))
    }

    /// Whether it is connected to PostgreSQL: at a captured address, or by a Unix socket of that name.
    #[inline(always)]
    pub(crate) fn leads_to_postgres(self, config: &Config) -> bool {
        match self.family() {
            Some(AF_UNIX) => read(self.0, offset!(unix_sock_peer)).is_some_and(|peer| Self(peer).is_postgres_by_name()),
            Some(AF_INET) => {
                self.leads_to_target(config, || read(self.0, offset!(sock_common_skc_daddr)).map_or([0; 4], mapped))
            }
            Some(AF_INET6) => {
                self.leads_to_target(config, || read(self.0, offset!(sock_common_skc_v6_daddr)).unwrap_or([0; 4]))
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn leads_to_target(self, config: &Config, address: impl FnOnce() -> Address) -> bool {
        let port = read::<u16>(self.0, offset!(sock_common_skc_dport)).map_or(0, u16::from_be);
        port != 0 && is_target(config, port, address)
    }

    /// Whether it is bound, in the file system or as an abstract name, to what PostgreSQL calls its sockets. A name that is changed
    /// afterwards, a link, and the path by which somebody comes there are of no matter.
    #[inline(always)]
    pub(crate) fn is_postgres_by_name(self) -> bool {
        const NAME: u64 = u64::from_be_bytes(*b".s.PGSQL");
        /// `struct sockaddr_un`: the family, then the path or name.
        const LONGEST: usize = 110;
        if self.family() != Some(AF_UNIX) {
            return false;
        }
        let Some(bound) = read::<*const u8>(self.0, offset!(unix_sock_addr)).filter(|bound| !bound.is_null()) else {
            return false;
        };
        let Some(length) = read::<i32>(bound, offset!(unix_address_len)) else { return false };
        // More than is there: what comes after is somebody else's, and not looked at.
        let Some(name) = read::<[u8; LONGEST]>(bound, offset!(unix_address_name)) else { return false };
        // The last eight bytes, as they go by.
        let mut seen = 0_u64;
        for (at, byte) in name.into_iter().enumerate() {
            if at as i32 >= length {
                break;
            }
            seen = seen << 8 | u64::from(byte);
            if seen == NAME {
                return true;
            }
        }
        false
    }
}

/// `struct vfsmount`.
#[derive(Clone, Copy)]
pub(crate) struct Mount(pub(crate) *const u8);

impl Mount {
    #[inline(always)]
    pub(crate) fn file_system(self) -> Option<Security> {
        read(self.0, offset!(vfsmount_mnt_sb)).and_then(kind_of)
    }

    /// The `struct mount` that it is a part of.
    #[inline(always)]
    fn whole(self) -> *const u8 {
        self.0.wrapping_sub(offset!(mount_mnt))
    }

    #[inline(always)]
    pub(crate) fn has_others_below(self) -> bool {
        // A list that leads to itself is empty.
        let list = self.whole().wrapping_add(offset!(mount_mnt_mounts));
        read::<*const u8>(list, 0).is_some_and(|first| first != list)
    }

    /// Whether it is a mount of the host's own namespace.
    #[inline(always)]
    pub(crate) fn is_the_hosts(self) -> bool {
        let number = read::<*const u8>(self.whole(), offset!(mount_mnt_ns))
            .and_then(|space| read::<u32>(space, offset!(mnt_namespace_ns) + offset!(ns_common_inum)));
        number.is_some_and(|number| number as usize == offset!(host_mounts))
    }
}

/// What a program is to be attached as, of the attributes of `BPF_PROG_ATTACH` and `BPF_LINK_CREATE`: the third word of both.
#[inline(always)]
pub(crate) fn attach_type(attributes: *const u8) -> Option<u32> {
    read(attributes, 8)
}

/// Whose a task is.
#[inline(always)]
pub(crate) fn user_of(task: *const u8) -> Option<u32> {
    read(task, offset!(task_struct_real_cred)).and_then(|credentials| read(credentials, offset!(cred_uid)))
}
