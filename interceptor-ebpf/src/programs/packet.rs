//! IP packets on their way out, as far as we read them.

use aya_ebpf::programs::SkBuffContext;
use interceptor_ebpf::Address;

use crate::address::mapped;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;

/// What a packet is to us.
pub(crate) enum Packet {
    /// Not TCP, or a later fragment (without the first one it is worth nothing).
    Other,
    Tcp(Segment),
    /// TCP, or something that may hide it, with a header that cannot be read. The kernel's own TCP never looks like this.
    Unreadable,
}

/// A TCP segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// Where its header begins.
    pub(crate) at: usize,
    /// Host byte order.
    pub(crate) port: u16,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Four,
    Six,
}

impl Segment {
    #[inline(always)]
    pub(crate) fn is_ipv4(self) -> bool {
        self.version == Version::Four
    }

    /// Where it goes to; all zero if that cannot be read, which no target is.
    #[inline(always)]
    pub(crate) fn destination(self, context: &SkBuffContext) -> Address {
        match self.version {
            Version::Four => context.load::<u32>(16).map(mapped).unwrap_or_default(),
            Version::Six => context.load::<Address>(24).unwrap_or_default(),
        }
    }
}

#[inline(always)]
pub(crate) fn read(context: &SkBuffContext) -> Packet {
    // SAFETY: valid context. The field has 32 bits of which the low 16 are the ethertype in network order.
    match u16::from_be(unsafe { (*context.skb.skb).protocol } as u16) {
        ETH_P_IP => version4(context),
        ETH_P_IPV6 => version6(context),
        _ => Packet::Other,
    }
}

#[inline(always)]
fn version4(context: &SkBuffContext) -> Packet {
    // RFC 791: version and header length, service, total length | identification, flags and fragment offset | ttl, protocol.
    let Ok([first, _, _, _, _, _, fragment_high, fragment_low, _, protocol]) = context.load::<[u8; 10]>(0) else {
        return Packet::Unreadable;
    };
    if protocol != IPPROTO_TCP {
        return Packet::Other;
    }
    if u16::from_be_bytes([fragment_high & 0x1f, fragment_low]) != 0 {
        return Packet::Other;
    }
    segment(context, usize::from(first & 0x0f) * 4, Version::Four)
}

#[inline(always)]
fn version6(context: &SkBuffContext) -> Packet {
    const HEADER: usize = 40;
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    // RFC 8200: the next header is the seventh byte.
    let Ok(next) = context.load::<u8>(6) else {
        return Packet::Unreadable;
    };
    match next {
        IPPROTO_TCP => segment(context, HEADER, Version::Six),
        // The kernel's own TCP only sends these when a program asks for options by hand; walking the chain is not worth
        // what it would cost, and a raw socket may put TCP behind any of them.
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => behind_one(context, HEADER, next),
        _ => Packet::Other,
    }
}

/// One extension header deep; a chain of several in front of TCP counts as unreadable.
#[inline(always)]
fn behind_one(context: &SkBuffContext, at: usize, kind: u8) -> Packet {
    const FRAGMENT: u8 = 44;
    const NO_TCP: [u8; 3] = [17, 58, 59];
    let Ok([next, length, offset_high, offset_low]) = context.load::<[u8; 4]>(at) else {
        return Packet::Unreadable;
    };
    if kind == FRAGMENT && u16::from_be_bytes([offset_high, offset_low]) & 0xfff8 != 0 {
        return Packet::Other;
    }
    let size = if kind == FRAGMENT { 8 } else { (usize::from(length) + 1) * 8 };
    match next {
        IPPROTO_TCP => segment(context, at + size, Version::Six),
        _ if NO_TCP.contains(&next) => Packet::Other,
        _ => Packet::Unreadable,
    }
}

#[inline(always)]
fn segment(context: &SkBuffContext, at: usize, version: Version) -> Packet {
    match context.load::<u16>(at + 2) {
        Ok(port) => Packet::Tcp(Segment { at, port: u16::from_be(port), version }),
        Err(_) => Packet::Unreadable,
    }
}
