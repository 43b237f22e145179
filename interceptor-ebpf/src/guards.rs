//! Where the fields are that only the guards read: a kernel that lacks one of them does without the guards, not without us.

/// Byte offsets of fields in the kernel's structs, named `<struct>_<field>`; and what else the guards are told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub struct GuardOffsets {
    pub file_private_data: u32,
    pub inode_i_mode: u32,
    pub inode_i_private: u32,
    pub super_block_s_magic: u32,
    pub socket_sk: u32,
    pub socket_type: u32,
    pub sock_common_skc_family: u32,
    pub sock_common_skc_dport: u32,
    pub sock_common_skc_daddr: u32,
    pub sock_common_skc_v6_daddr: u32,
    pub unix_sock_addr: u32,
    pub unix_sock_peer: u32,
    pub unix_address_len: u32,
    pub unix_address_name: u32,
    /// Called `__parent` by newer kernels.
    pub kernfs_node_parent: u32,
    pub kernfs_node_flags: u32,
    pub kernfs_node_priv: u32,
    pub task_struct_real_cred: u32,
    pub cred_uid: u32,
    pub vfsmount_mnt_sb: u32,
    pub mount_mnt: u32,
    pub mount_mnt_mounts: u32,
    pub mount_mnt_ns: u32,
    pub mnt_namespace_ns: u32,
    pub ns_common_inum: u32,
    /// The number of the mount namespace that the host itself lives in.
    pub host_mounts: u32,
}
