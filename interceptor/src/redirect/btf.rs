//! Offsets of struct members, out of the running kernel's own description of its types.
//!
//! Format: `Documentation/bpf/btf.rst`. Only as much of it as member offsets need; every read is checked, because a
//! description that we misread would make the programs read the wrong memory.

use std::{fs, path::Path};

use interceptor_ebpf::{GuardOffsets, Offsets};

use super::RedirectError;

pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the tagging programs need to know.
pub(super) fn offsets() -> Result<Offsets, RedirectError> {
    let description = fs::read(Path::new(VMLINUX)).map_err(RedirectError::file("read", VMLINUX))?;
    let types = Types::parse(&description).ok_or(RedirectError::Btf { structure: "btf_header", member: "str_len" })?;
    let offset = |structure, member| types.offset(structure, member).ok_or(RedirectError::Btf { structure, member });
    Ok(Offsets {
        task_struct_tgid: offset("task_struct", "tgid")?,
        task_struct_signal: offset("task_struct", "signal")?,
        task_struct_cgroups: offset("task_struct", "cgroups")?,
        signal_struct_live: offset("signal_struct", "live")?,
        css_set_dfl_cgrp: offset("css_set", "dfl_cgrp")?,
        cgroup_level: offset("cgroup", "level")?,
        cgroup_ancestors: offset("cgroup", "ancestors")?,
        cgroup_kn: offset("cgroup", "kn")?,
        cgroup_root: offset("cgroup", "root")?,
        cgroup_root_hierarchy_id: offset("cgroup_root", "hierarchy_id")?,
        kernfs_node_id: offset("kernfs_node", "id")?,
        task_struct_mm: offset("task_struct", "mm")?,
        mm_struct_exe_file: offset("mm_struct", "exe_file")?,
        file_f_inode: offset("file", "f_inode")?,
        inode_i_ino: offset("inode", "i_ino")?,
        inode_i_sb: offset("inode", "i_sb")?,
        super_block_s_dev: offset("super_block", "s_dev")?,
        task_struct_nsproxy: offset("task_struct", "nsproxy")?,
        nsproxy_net_ns: offset("nsproxy", "net_ns")?,
        net_net_cookie: offset("net", "net_cookie")?,
    })
}

/// What the guards at security decisions need to know; where the host's mounts are is left out.
pub(super) fn guard_offsets() -> Result<GuardOffsets, RedirectError> {
    let description = fs::read(Path::new(VMLINUX)).map_err(RedirectError::file("read", VMLINUX))?;
    let types = Types::parse(&description).ok_or(RedirectError::Btf { structure: "btf_header", member: "str_len" })?;
    let offset = |structure, member| types.offset(structure, member).ok_or(RedirectError::Btf { structure, member });
    Ok(GuardOffsets {
        file_private_data: offset("file", "private_data")?,
        inode_i_mode: offset("inode", "i_mode")?,
        inode_i_private: offset("inode", "i_private")?,
        super_block_s_magic: offset("super_block", "s_magic")?,
        socket_sk: offset("socket", "sk")?,
        socket_type: offset("socket", "type")?,
        sock_common_skc_family: offset("sock_common", "skc_family")?,
        sock_common_skc_dport: offset("sock_common", "skc_dport")?,
        sock_common_skc_daddr: offset("sock_common", "skc_daddr")?,
        sock_common_skc_v6_daddr: offset("sock_common", "skc_v6_daddr")?,
        unix_sock_addr: offset("unix_sock", "addr")?,
        unix_sock_peer: offset("unix_sock", "peer")?,
        unix_address_len: offset("unix_address", "len")?,
        unix_address_name: offset("unix_address", "name")?,
        kernfs_node_parent: offset("kernfs_node", "parent").or_else(|_| offset("kernfs_node", "__parent"))?,
        kernfs_node_flags: offset("kernfs_node", "flags")?,
        kernfs_node_priv: offset("kernfs_node", "priv")?,
        task_struct_real_cred: offset("task_struct", "real_cred")?,
        cred_uid: offset("cred", "uid")?,
        vfsmount_mnt_sb: offset("vfsmount", "mnt_sb")?,
        mount_mnt: offset("mount", "mnt")?,
        mount_mnt_mounts: offset("mount", "mnt_mounts")?,
        mount_mnt_ns: offset("mount", "mnt_ns")?,
        mnt_namespace_ns: offset("mnt_namespace", "ns")?,
        ns_common_inum: offset("ns_common", "inum")?,
        host_mounts: 0,
    })
}

/// What the guard of Unix sockets needs to know.
pub(super) struct UnixSymbols {
    /// The number of the kernel function.
    pub(super) cast_to_kern_ctx: u32,
    /// Offsets in `struct bpf_sock_addr_kern`.
    pub(super) uaddr: u32,
    pub(super) uaddrlen: u32,
}

/// `None` on kernels that do not have them.
pub(super) fn unix_symbols() -> Option<UnixSymbols> {
    let description = fs::read(Path::new(VMLINUX)).ok()?;
    let types = Types::parse(&description)?;
    Some(UnixSymbols {
        cast_to_kern_ctx: types.function("bpf_cast_to_kern_ctx")?,
        uaddr: types.offset("bpf_sock_addr_kern", "uaddr")?,
        uaddrlen: types.offset("bpf_sock_addr_kern", "uaddrlen")?,
    })
}

/// The types of a description, by their number (0 is `void`, which is not in the list).
struct Types<'description> {
    types: Vec<Type<'description>>,
    strings: &'description [u8],
}

#[derive(Clone, Copy)]
struct Type<'description> {
    name: u32,
    /// Kind, number of members, and whether member offsets are packed with bit field sizes.
    info: u32,
    /// What follows the fixed part.
    body: &'description [u8],
}

/// `BTF_KIND_*` of `linux/btf.h`.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
    /// The highest that we know; of an unknown one we would not know the size.
    pub(super) const LAST: u32 = ENUM64;
}

impl Type<'_> {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// Name, type and byte offset of each member; bit fields are left out.
    fn members(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        let packed = self.info >> 31 != 0;
        self.body.chunks_exact(12).filter_map(move |member| {
            let (name, kind, offset) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            let (bits, width) = if packed { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            (width == 0 && bits % 8 == 0).then_some((name, kind, bits / 8))
        })
    }
}

impl<'description> Types<'description> {
    fn parse(description: &'description [u8]) -> Option<Self> {
        const MAGIC: u32 = 0xeb9f;
        if word(description, 0)? & 0xffff != MAGIC {
            return None;
        }
        let sections = description.get(word(description, 4)? as usize..)?;
        let section = |at: usize| -> Option<&'description [u8]> {
            let (start, length) = (word(description, at)? as usize, word(description, at + 4)? as usize);
            sections.get(start..start.checked_add(length)?)
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        let mut types = Vec::new();
        while !rest.is_empty() {
            let mut found = Type { name: word(rest, 0)?, info: word(rest, 4)?, body: &[] };
            let members = (found.info & 0xffff) as usize;
            let length = match found.kind() {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => members * 12,
                kind::ENUM | kind::FUNC_PROTO => members * 8,
                0 | kind::LAST.. => return None,
                _ => 0,
            };
            (found.body, rest) = rest.get(12..)?.split_at_checked(length)?;
            types.push(found);
        }
        Some(Self { types, strings })
    }

    /// The number of a function.
    fn function(&self, name: &str) -> Option<u32> {
        let at = self.types.iter().position(|found| found.kind() == kind::FUNC && self.is_called(found.name, name))?;
        u32::try_from(at + 1).ok()
    }

    /// The byte offset of a member of a struct, also inside its unnamed structs and unions.
    fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        self.types
            .iter()
            .filter(|found| found.kind() == kind::STRUCT && self.is_called(found.name, structure))
            .find_map(|found| self.offset_in(found, member, 0))
    }

    fn offset_in(&self, found: &Type<'_>, member: &str, depth: u32) -> Option<u32> {
        const DEEPEST: u32 = 8;
        found.members().find_map(|(name, number, offset)| {
            if name != 0 {
                return self.is_called(name, member).then_some(offset);
            }
            let inner = self.types.get(number.checked_sub(1)? as usize)?;
            let nested = matches!(inner.kind(), kind::STRUCT | kind::UNION) && depth < DEEPEST;
            Some(offset + nested.then(|| self.offset_in(inner, member, depth + 1)).flatten()?)
        })
    }

    fn is_called(&self, name: u32, wanted: &str) -> bool {
        let from = self.strings.get(name as usize..).unwrap_or_default();
        from.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct s { int a; struct { int b; union { int c; }; }; int d:3; };`
    fn description() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0c\0d\0";
        let (s, a, b, c, d) = (1, 3, 5, 7, 9);
        let structure = |members: u32| kind::STRUCT << 24 | members;
        let types: Vec<u32> = [
            vec![0, kind::INT << 24, 4, 32],
            vec![0, kind::UNION << 24 | 1, 4, c, 1, 0],
            vec![0, structure(2), 8, b, 1, 0, 0, 2, 32],
            vec![s, structure(3) | 1 << 31, 16, a, 1, 0, 0, 3, 32, d, 1, 3 << 24 | 96],
        ]
        .concat();
        let header = [24, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32];
        let mut bytes = 0x0001_eb9f_u32.to_ne_bytes().to_vec();
        bytes.extend(header.iter().chain(&types).flat_map(|word: &u32| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_unnamed_structs() {
        let bytes = description();
        let types = Types::parse(&bytes).expect("a description");
        for (member, expected) in [("a", Some(0)), ("b", Some(4)), ("c", Some(8)), ("d", None), ("s", None)] {
            assert_eq!(types.offset("s", member), expected, "{member}");
        }
        assert_eq!(types.offset("t", "a"), None);
    }

    #[test]
    fn a_description_that_is_cut_short_is_refused() {
        let bytes = description();
        for length in 0..bytes.len() {
            assert!(bytes.get(..length).is_none_or(|cut| Types::parse(cut).is_none()), "{length} bytes");
        }
    }
}
