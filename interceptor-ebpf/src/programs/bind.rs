//! `bind(2)`: the daemon's port is the daemon's, also while it is down.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use interceptor_ebpf::Counter;

use crate::{
    address::SocketAddress,
    maps::{config, count},
    task,
};

const PROCEED: i32 = 1;
/// EPERM, as for a port below 1024.
const REFUSE: i32 = 0;

#[cgroup_sock_addr(bind4)]
fn bind4(context: SockAddrContext) -> i32 {
    judge(SocketAddress(context.sock_addr))
}

#[cgroup_sock_addr(bind6)]
fn bind6(context: SockAddrContext) -> i32 {
    judge(SocketAddress(context.sock_addr))
}

#[inline(always)]
fn judge(call: SocketAddress) -> i32 {
    let Some(config) = config() else {
        return PROCEED;
    };
    let port = u32::from(call.port());
    // Port 0 lets the kernel choose.
    if port == 0 || port != config.listen_port || !call.is_stream() || task::is_daemon() {
        return PROCEED;
    }
    count(Counter::BindRefused);
    REFUSE
}
