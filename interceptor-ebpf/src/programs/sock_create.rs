//! `socket(2)`: agents get no socket of a kind that the connect hook does not see, or that looks different afterwards.

use aya_ebpf::{helpers::generated::bpf_set_retval, macros::cgroup_sock, programs::SockContext};
use interceptor_ebpf::{Counter, scope};

use crate::{
    maps::{config, count},
    task,
};

const PROCEED: i32 = 1;
const REFUSE: i32 = 0;
const EPROTONOSUPPORT: i32 = 93;

/// Numbers of `linux/in.h` and `linux/socket.h`.
const SOCK_RAW: u32 = 3;
const IPPROTO_SCTP: u32 = 132;
const IPPROTO_SMC: u32 = 256;
const IPPROTO_MPTCP: u32 = 262;

#[cgroup_sock(sock_create)]
fn sock_create(context: SockContext) -> i32 {
    // SAFETY: valid context.
    let (kind, protocol) = unsafe { ((*context.sock).type_, (*context.sock).protocol) };
    if kind != SOCK_RAW && !matches!(protocol, IPPROTO_SCTP | IPPROTO_SMC | IPPROTO_MPTCP) {
        return PROCEED;
    }
    let Some(config) = config() else {
        return PROCEED;
    };
    // Only for tasks that were named as agents: where the whole host is captured, this would break ping.
    if config.scope != scope::NAMED || !task::is_captured(config) {
        return PROCEED;
    }
    count(Counter::SocketRefused);
    // Programs that would like MPTCP fall back to TCP on exactly this errno.
    // SAFETY: takes a number.
    unsafe { bpf_set_retval(-EPROTONOSUPPORT) };
    REFUSE
}
