//! The second net: TCP to a captured port that left a captured socket all the same has dodged the connect hook (by a raw
//! socket, by NAT inside a network namespace). This runs after the namespace's own NAT, on what really goes out.

use aya_ebpf::{helpers::generated::bpf_skb_ancestor_cgroup_id, macros::cgroup_skb, programs::SkBuffContext};
use interceptor_ebpf::Counter;

use crate::{
    maps::{config, count, is_captured},
    task,
};

const PASS: i32 = 1;
const DROP: i32 = 0;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;

#[cgroup_skb(egress)]
fn egress(context: SkBuffContext) -> i32 {
    match destination(&context) {
        Destination::Elsewhere => PASS,
        Destination::Unreadable => judge(&context),
        Destination::Port(port) if is_captured(port) => judge(&context),
        Destination::Port(_) => PASS,
    }
}

#[inline(always)]
fn judge(context: &SkBuffContext) -> i32 {
    let Some(config) = config() else { return PASS };
    // The socket's cgroup, not the task's: packets also leave from timers and soft interrupts.
    let roles = task::collect(|level| {
        // SAFETY: valid context, a number.
        unsafe { bpf_skb_ancestor_cgroup_id(context.skb.skb, level) }
    });
    if !task::captures(config, roles) {
        return PASS;
    }
    count(Counter::Dropped);
    DROP
}

enum Destination {
    /// Not TCP, or a later fragment (without the first one it is worth nothing).
    Elsewhere,
    Port(u16),
    /// TCP, or something that may hide it, with a header that cannot be read. The kernel's own TCP never looks like this.
    Unreadable,
}

#[inline(always)]
fn destination(context: &SkBuffContext) -> Destination {
    // SAFETY: valid context. The field has 32 bits of which the low 16 are the ethertype in network order.
    match u16::from_be(unsafe { (*context.skb.skb).protocol } as u16) {
        ETH_P_IP => destination4(context),
        ETH_P_IPV6 => destination6(context),
        _ => Destination::Elsewhere,
    }
}

#[inline(always)]
fn destination4(context: &SkBuffContext) -> Destination {
    // RFC 791: version and header length, service, total length | identification, flags and fragment offset | ttl, protocol.
    let Ok([first, _, _, _, _, _, fragment_high, fragment_low, _, protocol]) = context.load::<[u8; 10]>(0) else {
        return Destination::Unreadable;
    };
    if protocol != IPPROTO_TCP {
        return Destination::Elsewhere;
    }
    if u16::from_be_bytes([fragment_high & 0x1f, fragment_low]) != 0 {
        return Destination::Elsewhere;
    }
    port(context, usize::from(first & 0x0f) * 4)
}

#[inline(always)]
fn destination6(context: &SkBuffContext) -> Destination {
    const HEADER: usize = 40;
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    // RFC 8200: the next header is the seventh byte.
    let Ok(next) = context.load::<u8>(6) else {
        return Destination::Unreadable;
    };
    match next {
        IPPROTO_TCP => port(context, HEADER),
        // The kernel's own TCP only sends these when a program asks for options by hand; walking the chain is not worth
        // what it would cost, and a raw socket may put TCP behind any of them.
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => behind_one(context, HEADER, next),
        _ => Destination::Elsewhere,
    }
}

/// One extension header deep; a chain of several in front of TCP counts as unreadable.
#[inline(always)]
fn behind_one(context: &SkBuffContext, at: usize, kind: u8) -> Destination {
    const FRAGMENT: u8 = 44;
    const NO_TCP: [u8; 3] = [17, 58, 59];
    let Ok([next, length, offset_high, offset_low]) = context.load::<[u8; 4]>(at) else {
        return Destination::Unreadable;
    };
    if kind == FRAGMENT && u16::from_be_bytes([offset_high, offset_low]) & 0xfff8 != 0 {
        return Destination::Elsewhere;
    }
    let size = if kind == FRAGMENT { 8 } else { (usize::from(length) + 1) * 8 };
    match next {
        IPPROTO_TCP => port(context, at + size),
        _ if NO_TCP.contains(&next) => Destination::Elsewhere,
        _ => Destination::Unreadable,
    }
}

#[inline(always)]
fn port(context: &SkBuffContext, tcp: usize) -> Destination {
    match context.load::<u16>(tcp + 2) {
        Ok(port) => Destination::Port(u16::from_be(port)),
        Err(_) => Destination::Unreadable,
    }
}
