//! Reading the kernel's own structs, by offsets that the loader has filled in.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::helpers::bpf_probe_read_kernel;
use interceptor_ebpf::{Config, Offsets, ProgramFile};

use crate::task::{self, Standing};

/// Filled in by the loader before the programs are verified; `0xff...` would be a read that fails.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    task_struct_tgid: u32::MAX,
    task_struct_signal: u32::MAX,
    task_struct_cgroups: u32::MAX,
    signal_struct_live: u32::MAX,
    css_set_dfl_cgrp: u32::MAX,
    cgroup_level: u32::MAX,
    cgroup_ancestors: u32::MAX,
    cgroup_kn: u32::MAX,
    cgroup_root: u32::MAX,
    cgroup_root_hierarchy_id: u32::MAX,
    kernfs_node_id: u32::MAX,
    task_struct_mm: u32::MAX,
    mm_struct_exe_file: u32::MAX,
    file_f_inode: u32::MAX,
    inode_i_ino: u32::MAX,
    inode_i_sb: u32::MAX,
    super_block_s_dev: u32::MAX,
    task_struct_nsproxy: u32::MAX,
    nsproxy_net_ns: u32::MAX,
    net_net_cookie: u32::MAX,
};

/// An offset. Volatile, or the compiler would take the initial value for the last word.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a field of a static.
        unsafe { read_volatile(addr_of!(OFFSETS.$field)) as usize }
    };
}

/// `struct task_struct`.
#[derive(Clone, Copy)]
pub(crate) struct Task(pub(crate) *const u8);

impl Task {
    /// The process that the task is a thread of.
    #[inline(always)]
    pub(crate) fn process(self) -> Option<u32> {
        read(self.0, offset!(task_struct_tgid))
    }

    /// Whether this is the end of the process's last thread. (The main thread may end long before.)
    #[inline(always)]
    pub(crate) fn is_last(self) -> bool {
        read(self.0, offset!(task_struct_signal)).and_then(|signal| read::<i32>(signal, offset!(signal_struct_live)))
            == Some(0)
    }

    /// The file that it runs.
    #[inline(always)]
    pub(crate) fn program(self) -> Option<ProgramFile> {
        let memory = read(self.0, offset!(task_struct_mm))?;
        let inode = inode_of(read(memory, offset!(mm_struct_exe_file))?)?;
        let device: u32 = read(file_system_of(inode)?, offset!(super_block_s_dev))?;
        Some(ProgramFile { inode: read(inode, offset!(inode_i_ino))?, device: u64::from(device) })
    }

    /// `SO_NETNS_COOKIE` of its network namespace. `None` also for a task that is about to be gone.
    #[inline(always)]
    pub(crate) fn network(self) -> Option<u64> {
        let namespaces = read(self.0, offset!(task_struct_nsproxy))?;
        let network = read(namespaces, offset!(nsproxy_net_ns))?;
        read(network, offset!(net_net_cookie))
    }

    /// Its cgroup in the v2 hierarchy.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Option<Cgroup> {
        let sets = read(self.0, offset!(task_struct_cgroups))?;
        read(sets, offset!(css_set_dfl_cgrp)).map(Cgroup)
    }
}

/// `struct cgroup`.
#[derive(Clone, Copy)]
pub(crate) struct Cgroup(pub(crate) *const u8);

impl Cgroup {
    /// The id that `bpf_get_current_cgroup_id` would give.
    #[inline(always)]
    pub(crate) fn id(self) -> Option<u64> {
        let node = read(self.0, offset!(cgroup_kn))?;
        read(node, offset!(kernfs_node_id))
    }

    /// Whether it is of the v2 hierarchy, which has number 0. Ids of v1 hierarchies overlap with v2's.
    #[inline(always)]
    pub(crate) fn is_v2(self) -> bool {
        read(self.0, offset!(cgroup_root)).and_then(|root| read::<i32>(root, offset!(cgroup_root_hierarchy_id)))
            == Some(0)
    }

    /// Whether tasks in it are agents.
    #[inline(always)]
    pub(crate) fn is_named(self, config: &Config) -> bool {
        task::of_roles(config, self.roles()) == Standing::Named
    }

    /// Its roles and those of every cgroup above.
    #[inline(always)]
    pub(crate) fn roles(self) -> u32 {
        let Some(depth) = read::<i32>(self.0, offset!(cgroup_level)) else {
            return 0;
        };
        task::collect(|level| {
            if level > depth {
                return 0;
            }
            read(self.0, offset!(cgroup_ancestors) + level as usize * size_of::<u64>())
                .and_then(|ancestor| Self(ancestor).id())
                .unwrap_or(0)
        })
    }
}

/// The inode of a `struct file`.
#[inline(always)]
pub(crate) fn inode_of(file: *const u8) -> Option<*const u8> {
    read(file, offset!(file_f_inode))
}

/// The `struct super_block` of an inode.
#[inline(always)]
pub(crate) fn file_system_of(inode: *const u8) -> Option<*const u8> {
    read(inode, offset!(inode_i_sb))
}

/// Reads a field. The pointers are the kernel's own, but nothing keeps what they lead to alive; a read that fails is `None`.
#[inline(always)]
pub(crate) fn read<T: Copy>(start: *const u8, offset: usize) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(start.wrapping_add(offset).cast::<T>()) }.ok()
}
