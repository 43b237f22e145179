//! Addresses as the hooks see them.

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use interceptor_ebpf::Address;

/// The third word of `::ffff:a.b.c.d`.
const MAPPED: u32 = 0xffff_u32.to_be();
/// 127.0.0.1, and the last word of `::ffff:127.0.0.1`.
pub(crate) const LOOPBACK4: u32 = 0x7f00_0001_u32.to_be();
/// ::1.
pub(crate) const LOOPBACK6: Address = [0, 0, 0, 1_u32.to_be()];

/// Four bytes of IPv4 in the form of a record.
#[inline(always)]
pub(crate) const fn mapped(ipv4: u32) -> Address {
    [0, 0, MAPPED, ipv4]
}

/// Whether this is IPv4 in the clothes of IPv6.
#[inline(always)]
pub(crate) const fn is_mapped(address: &Address) -> bool {
    let [first, second, third, _] = *address;
    first == 0 && second == 0 && third == MAPPED
}

/// "Any address" as a destination means this host; the kernel would put the loopback address there a moment after the
/// hook (`tcp_v6_connect`, `ip_route_output_key_hash`), and that is what a direct client sees as its peer.
#[inline(always)]
pub(crate) const fn meant(address: Address) -> Address {
    match address {
        [0, 0, 0, 0] => LOOPBACK6,
        [0, 0, MAPPED, 0] => mapped(LOOPBACK4),
        other => other,
    }
}

/// The context of a `cgroup_sock_addr` program, field by field.
///
/// INVARIANT: only built from the context that the kernel handed to the running program, so the pointer is valid for as
/// long as the program runs. The verifier checks every access again at load time.
#[derive(Clone, Copy)]
pub(crate) struct SocketAddress(pub(crate) *mut bpf_sock_addr);

impl SocketAddress {
    /// The socket of the call.
    #[inline(always)]
    pub(crate) fn socket(self) -> *mut bpf_sock {
        // SAFETY: valid context; the union has this one member of pointer size.
        unsafe { (*self.0).__bindgen_anon_1.sk }
    }

    /// Whether it is a stream socket: TCP, or MPTCP and SMC on their way to falling back to it.
    #[inline(always)]
    pub(crate) fn is_stream(self) -> bool {
        const SOCK_STREAM: u32 = 1;
        // SAFETY: valid context.
        unsafe { (*self.0).type_ == SOCK_STREAM }
    }

    /// The port, host byte order.
    #[inline(always)]
    pub(crate) fn port(self) -> u16 {
        // SAFETY: valid context. The field has 32 bits of which the low 16 are the port in network order.
        u16::from_be(unsafe { (*self.0).user_port } as u16)
    }

    #[inline(always)]
    pub(crate) fn set_port(self, port: u16) {
        // SAFETY: valid context; the hooks that call this may write the port.
        unsafe { (*self.0).user_port = u32::from(port.to_be()) };
    }

    /// The IPv4 address in the form of a record.
    #[inline(always)]
    pub(crate) fn ipv4(self) -> Address {
        // SAFETY: valid context of an IPv4 hook.
        mapped(unsafe { (*self.0).user_ip4 })
    }

    #[inline(always)]
    pub(crate) fn set_ipv4(self, [_, _, _, ipv4]: Address) {
        // SAFETY: valid context of an IPv4 hook that may write the address.
        unsafe { (*self.0).user_ip4 = ipv4 };
    }

    #[inline(always)]
    pub(crate) fn ipv6(self) -> Address {
        let context = self.0;
        // SAFETY: valid context of an IPv6 hook. Volatile, because the compiler would otherwise merge neighbouring words
        // into one load of a width that the verifier refuses.
        unsafe {
            [
                read_volatile(addr_of!((*context).user_ip6[0])),
                read_volatile(addr_of!((*context).user_ip6[1])),
                read_volatile(addr_of!((*context).user_ip6[2])),
                read_volatile(addr_of!((*context).user_ip6[3])),
            ]
        }
    }

    #[inline(always)]
    pub(crate) fn set_ipv6(self, [first, second, third, fourth]: Address) {
        let context = self.0;
        // SAFETY: valid context of an IPv6 hook that may write the address. Volatile, because the compiler would otherwise
        // call memcpy on the context, which the verifier refuses.
        unsafe {
            write_volatile(addr_of_mut!((*context).user_ip6[0]), first);
            write_volatile(addr_of_mut!((*context).user_ip6[1]), second);
            write_volatile(addr_of_mut!((*context).user_ip6[2]), third);
            write_volatile(addr_of_mut!((*context).user_ip6[3]), fourth);
        }
    }
}
