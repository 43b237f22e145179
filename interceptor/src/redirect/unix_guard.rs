//! PostgreSQL's Unix sockets: an agent that connects to a path or name with `.s.PGSQL` in it is refused.
//!
//! The hook (`cgroup/connect_unix`, Linux 6.7) is one that neither aya 0.14 nor a Rust program can use: what is dialled is only
//! to be had through a kernel function (`bpf_cast_to_kern_ctx`). So this one program is written out, instruction by
//! instruction. Who is an agent is not decided here: whoever carries a tag.
//!
//! It goes by what was dialled, so a link of another name leads past it. What is sure is a socket that agents may not
//! open (`unix_socket_permissions`, `unix_socket_directories`), which `interceptor doctor` looks at.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    path::Path,
};

use super::{
    btf,
    kernel::{link_to_cgroup, load_instructions, pin_object, update_link},
};

/// What its link is pinned as.
pub(super) const NAME: &str = "connect_unix";

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` and `BPF_CGROUP_UNIX_CONNECT` of `linux/bpf.h`.
const KIND: u32 = 18;
const ATTACH: u32 = 49;

/// Loads it without attaching it, to see whether this kernel can.
pub(super) fn probe(tags: BorrowedFd<'_>) -> io::Result<()> {
    load_instructions(KIND, ATTACH, NAME, &instructions(tags)?).map(drop)
}

/// Puts it in force at the root cgroup, or in the place of an earlier daemon's.
pub(super) fn put_in_place(tags: BorrowedFd<'_>, root: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let program = load_instructions(KIND, ATTACH, NAME, &instructions(tags)?)?;
    match update_link(pin, &program) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let link = link_to_cgroup(&program, root, ATTACH)?;
            pin_object(&link, pin)
        }
        other => other,
    }
}

/// `opcode, destination | source << 4, offset, immediate` as `struct bpf_insn` lays them out.
fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers = u64::from(destination | source << 4) << 8;
    let immediate = u64::from(immediate.cast_unsigned()) << 32;
    u64::from(opcode) | registers | u64::from(offset.cast_unsigned()) << 16 | immediate
}

fn instructions(tags: BorrowedFd<'_>) -> io::Result<Vec<u64>> {
    const MOV: u8 = 0xbf;
    const MOV_IMMEDIATE: u8 = 0xb7;
    const ADD_IMMEDIATE: u8 = 0x07;
    const SHIFT_LEFT: u8 = 0x67;
    const SHIFT_RIGHT: u8 = 0x77;
    const OR: u8 = 0x4f;
    const LOAD_64: u8 = 0x79;
    const LOAD_32: u8 = 0x61;
    const LOAD_8: u8 = 0x71;
    const STORE_32: u8 = 0x63;
    const ZERO_64: u8 = 0x7a;
    const WIDE: u8 = 0x18;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const IF_EQUAL: u8 = 0x15;
    const IF_SAME: u8 = 0x1d;
    const IF_AT_MOST: u8 = 0xb5;
    const MAP_FD: u8 = 1;
    const KERNEL_FUNCTION: u8 = 2;
    // Helpers, by number.
    const MAP_LOOKUP_ELEM: i32 = 1;
    const GET_CURRENT_PID_TGID: i32 = 14;
    const PROBE_READ_KERNEL: i32 = 113;
    const SET_RETVAL: i32 = 187;
    /// `struct sockaddr_un`: the family, then the path or name.
    const LONGEST: i32 = 110;
    const PATH: i16 = 2;
    const BUFFER: i16 = -128;

    let missing = || io::Error::new(io::ErrorKind::Unsupported, "the kernel has no `bpf_cast_to_kern_ctx`");
    let symbols = btf::unix_symbols().ok_or_else(missing)?;
    let offset = |offset: u32| i16::try_from(offset).map_err(io::Error::other);
    let mut program = vec![
        instruction(MOV, 6, 1, 0, 0),
        instruction(CALL, 0, 0, 0, GET_CURRENT_PID_TGID),
        instruction(SHIFT_RIGHT, 0, 0, 0, 32),
        instruction(STORE_32, 10, 0, -136, 0),
        instruction(MOV, 2, 10, 0, 0),
        instruction(ADD_IMMEDIATE, 2, 0, 0, -136),
        instruction(WIDE, 1, MAP_FD, 0, tags.as_raw_fd()),
        0,
        instruction(CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
    ];
    // To the end, where everybody else passes; filled in below.
    let not_an_agent = program.len();
    program.push(0);
    program.extend([
        instruction(MOV, 1, 6, 0, 0),
        instruction(CALL, 0, KERNEL_FUNCTION, 0, symbols.cast_to_kern_ctx.cast_signed()),
        instruction(LOAD_64, 7, 0, offset(symbols.uaddr)?, 0),
        instruction(LOAD_32, 8, 0, offset(symbols.uaddrlen)?, 0),
    ]);
    program.extend((0..16).map(|word| instruction(ZERO_64, 10, 0, BUFFER + word * 8, 0)));
    program.extend([
        instruction(MOV, 2, 8, 0, 0),
        instruction(IF_AT_MOST, 2, 0, 1, LONGEST),
        instruction(MOV_IMMEDIATE, 2, 0, 0, LONGEST),
        instruction(MOV, 1, 10, 0, 0),
        instruction(ADD_IMMEDIATE, 1, 0, 0, BUFFER.into()),
        instruction(MOV, 3, 7, 0, 0),
        instruction(CALL, 0, 0, 0, PROBE_READ_KERNEL),
    ]);
    // The last eight bytes, as they go by.
    let wanted = u64::from_be_bytes(*b".s.PGSQL");
    let halves = [wanted & 0xffff_ffff, wanted >> 32].map(|half| u32::try_from(half).unwrap_or_default().cast_signed());
    program.extend([instruction(WIDE, 9, 0, 0, halves[0]), instruction(0, 0, 0, 0, halves[1])]);
    program.push(instruction(MOV_IMMEDIATE, 8, 0, 0, 0));
    let mut found = Vec::new();
    for place in PATH..PATH + 108 {
        program.extend([
            instruction(LOAD_8, 1, 10, BUFFER + place, 0),
            instruction(SHIFT_LEFT, 8, 0, 0, 8),
            instruction(OR, 8, 1, 0, 0),
        ]);
        found.push(program.len());
        program.push(0);
    }
    let pass = program.len();
    program.extend([instruction(MOV_IMMEDIATE, 0, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)]);
    let refuse = program.len();
    program.extend([
        instruction(MOV_IMMEDIATE, 1, 0, 0, -libc::ECONNREFUSED),
        instruction(CALL, 0, 0, 0, SET_RETVAL),
        instruction(MOV_IMMEDIATE, 0, 0, 0, 0),
        instruction(EXIT, 0, 0, 0, 0),
    ]);
    let jump = |from: usize, to: usize| i16::try_from(to - from - 1).map_err(io::Error::other);
    let mut fill = |at: usize, with: u64| program.get_mut(at).map(|slot| *slot = with);
    fill(not_an_agent, instruction(IF_EQUAL, 0, 0, jump(not_an_agent, pass)?, 0));
    for at in found {
        fill(at, instruction(IF_SAME, 8, 9, jump(at, refuse)?, 0));
    }
    Ok(program)
}
