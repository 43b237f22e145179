//! The second net: TCP to a captured port that left a captured socket all the same has dodged the connect hook (by a raw
//! socket, by NAT inside a network namespace). This runs after the namespace's own NAT, on what really goes out. To other
//! ports, what is sent first is looked at.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use interceptor_ebpf::{COMM_BYTES, Config, Counter, Covered, Event, Stream, event, flag, side};

use crate::{
    account::cover,
    connect::listens,
    detect::{self, Heard},
    maps::{config, count, is_target},
    packet::{self, Packet, Segment},
    storage::{record, stream},
    task::{self, Standing},
    tell::tell,
};

const PASS: i32 = 1;
const DROP: i32 = 0;

#[cgroup_skb(egress)]
fn egress(context: SkBuffContext) -> i32 {
    let Some(config) = config() else { return PASS };
    match packet::read(&context) {
        Packet::Other => PASS,
        Packet::Unreadable => dodged(&context, config, None),
        Packet::Tcp(segment) if is_target(config, segment.port, || segment.destination(&context)) => {
            dodged(&context, config, Some(segment))
        }
        Packet::Tcp(segment) if u32::from(segment.port) == config.listen_port => held(&context, config, segment),
        Packet::Tcp(segment) if config.flags & flag::DETECT != 0 => listen_in(&context, config, segment),
        Packet::Tcp(_) => PASS,
    }
}

/// The first packet of a redirected connection goes nowhere before the daemon listens: it is lost, and sent again in a second.
#[inline(always)]
fn held(context: &SkBuffContext, config: &Config, segment: Segment) -> i32 {
    const SYN: u8 = 0x02;
    if context.load::<u8>(segment.at + 13).unwrap_or_default() & SYN == 0 {
        return PASS;
    }
    let redirected = socket(context).and_then(record).is_some_and(|record| record.side == side::DIALLING);
    if !redirected || listens(context.skb.skb.cast(), segment.is_ipv4(), config.listen_port as u16) {
        PASS
    } else {
        DROP
    }
}

/// What the kernel answers of its own accord, by a socket of its own (`tcp_v4_send_reset` and `tcp_v4_send_ack` in
/// `net/ipv4/tcp_ipv4.c`): that there is no such connection, or that its end was heard. It has been in the root cgroup since the
/// machine was started, and so among the captured where the whole host is; without its answers, connections of the daemon's own would
/// not end. Nothing is opened by them, and nothing carried.
#[inline(always)]
fn is_answer(context: &SkBuffContext, cgroup_id: u64, segment: Segment) -> bool {
    const ROOT: u64 = 1;
    const SYN: u8 = 0x02;
    const SOCK_RAW: u32 = 3;
    const IPPROTO_TCP: u32 = 6;
    let Some(socket) = socket(context) else { return false };
    // SAFETY: a whole socket, as the program's own type shows it.
    let (kind, protocol) = unsafe { ((*socket).type_, (*socket).protocol) };
    if cgroup_id != ROOT || kind != SOCK_RAW || protocol != IPPROTO_TCP {
        return false;
    }
    // RFC 9293, 3.1: the header's length in words in the upper half of a byte, the flags in the next one.
    let Ok([words, flags]) = context.load::<[u8; 2]>(segment.at + 12) else { return false };
    flags & SYN == 0 && context.len() as usize == segment.at + usize::from(words >> 4) * 4
}

#[inline(always)]
fn dodged(context: &SkBuffContext, config: &Config, segment: Option<Segment>) -> i32 {
    // The socket's cgroup, not the task's: packets also leave from timers and soft interrupts.
    let roles = task::collect(|level| {
        // SAFETY: valid context, a number.
        unsafe { bpf_skb_ancestor_cgroup_id(context.skb.skb, level) }
    });
    if task::of_roles(config, roles) == Standing::Free {
        return PASS;
    }
    // SAFETY: valid context.
    let (cgroup_id, socket_cookie) =
        unsafe { (bpf_skb_cgroup_id(context.skb.skb), bpf_get_socket_cookie(context.skb.skb.cast())) };
    if segment.is_some_and(|segment| is_answer(context, cgroup_id, segment)) {
        return PASS;
    }
    count(Counter::Dropped);
    cover(cgroup_id, Covered::Dropped);
    tell(&Event {
        kind: event::DROPPED,
        pid: 0,
        netns_cookie: 0,
        cgroup_id,
        socket_cookie,
        address: segment.map(|segment| segment.destination(context)).unwrap_or_default(),
        port: segment.map(|segment| u32::from(segment.port)).unwrap_or_default(),
        reserved: 0,
        comm: [0; COMM_BYTES],
    });
    DROP
}

/// Only sockets that the connect hook has marked are watched, so that who is captured is decided there.
#[inline(always)]
fn listen_in(context: &SkBuffContext, config: &Config, segment: Segment) -> i32 {
    let Some(watched) = watched(context) else { return PASS };
    let stops = config.flags & flag::BLOCK != 0;
    match detect::hear(context, segment.at, watched) {
        Heard::Nothing => PASS,
        Heard::PostgresBefore if stops => DROP,
        Heard::PostgresBefore => PASS,
        Heard::Postgres => {
            count(Counter::Detected);
            // SAFETY: storage of a socket that the packet holds.
            let (pid, cgroup_id, netns_cookie, socket_cookie) =
                unsafe { ((*watched).pid, (*watched).cgroup_id, (*watched).netns_cookie, (*watched).socket_cookie) };
            cover(cgroup_id, if stops { Covered::Blocked } else { Covered::Detected });
            tell(&Event {
                kind: if stops { event::BLOCKED } else { event::DETECTED },
                pid,
                netns_cookie,
                cgroup_id,
                socket_cookie,
                address: segment.destination(context),
                port: u32::from(segment.port),
                reserved: 0,
                comm: [0; COMM_BYTES],
            });
            if stops { DROP } else { PASS }
        }
    }
}

#[inline(always)]
fn socket(context: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: valid context; the union has this one member of pointer size. The verifier wants both checks.
    let socket: *mut bpf_sock = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    // SAFETY: as above.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return None;
    }
    Some(socket)
}

#[inline(always)]
fn watched(context: &SkBuffContext) -> Option<*mut Stream> {
    let found = stream(socket(context)?);
    (!found.is_null()).then_some(found)
}
