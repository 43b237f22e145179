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
    count(Counter::Dropped);
    // SAFETY: valid context.
    let (cgroup_id, socket_cookie) =
        unsafe { (bpf_skb_cgroup_id(context.skb.skb), bpf_get_socket_cookie(context.skb.skb.cast())) };
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
