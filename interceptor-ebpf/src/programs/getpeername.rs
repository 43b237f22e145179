//! `getpeername(2)`: the agent sees the address that it dialled, as it would without us.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use interceptor_ebpf::{Record, side};

use crate::{
    address::{SocketAddress, is_mapped},
    storage::record,
};

/// The program cannot refuse here: any other value is rejected at load time.
const PROCEED: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    let call = SocketAddress(context.sock_addr);
    if let Some(record) = dialled(call) {
        // An IPv6 socket turned into an IPv4 one (IPV6_ADDRFORM) has a mapped record, which looks just the same.
        if is_mapped(&record.address) {
            call.set_ipv4(record.address);
            call.set_port(record.port as u16);
        }
    }
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(context: SockAddrContext) -> i32 {
    let call = SocketAddress(context.sock_addr);
    if let Some(record) = dialled(call) {
        call.set_ipv6(record.address);
        call.set_port(record.port as u16);
    }
    PROCEED
}

/// The record of a socket that dialled. The hook also runs inside `accept(2)` and for the daemon's accepted sockets,
/// which must see the agent as their peer.
#[inline(always)]
fn dialled(call: SocketAddress) -> Option<&'static Record> {
    record(call.socket()).filter(|record| record.side == side::DIALLING)
}
