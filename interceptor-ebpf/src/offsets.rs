//! Where the fields are that the tagging programs read. Programs in Rust have no relocations against the kernel's types
//! (CO-RE), so the loader looks the offsets up in the running kernel's BTF and writes them into the object.

/// Byte offsets of fields in the kernel's structs, named `<struct>_<field>`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub struct Offsets {
    pub task_struct_tgid: u32,
    pub task_struct_signal: u32,
    pub task_struct_cgroups: u32,
    pub signal_struct_live: u32,
    pub css_set_dfl_cgrp: u32,
    pub cgroup_level: u32,
    pub cgroup_ancestors: u32,
    pub cgroup_kn: u32,
    pub cgroup_root: u32,
    pub cgroup_root_hierarchy_id: u32,
    pub kernfs_node_id: u32,
    pub task_struct_mm: u32,
    pub mm_struct_exe_file: u32,
    pub file_f_inode: u32,
    pub inode_i_ino: u32,
    pub inode_i_sb: u32,
    pub super_block_s_dev: u32,
    pub task_struct_nsproxy: u32,
    pub nsproxy_net_ns: u32,
    pub net_net_cookie: u32,
}
