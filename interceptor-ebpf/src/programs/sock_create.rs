//! `socket(2)`: agents get no socket of a kind that the connect hook does not see, or that looks different afterwards. And
//! whoever makes one for TCP is about to dial, maybe in a network namespace that the daemon does not know yet.

use aya_ebpf::{
    helpers::generated::{bpf_get_netns_cookie, bpf_set_retval},
    macros::cgroup_sock,
    programs::SockContext,
};
use interceptor_ebpf::{Counter, flag};

use crate::{
    maps::{config, count},
    namespace,
    task::{self, Standing},
};

const PROCEED: i32 = 1;
const REFUSE: i32 = 0;
const EPROTONOSUPPORT: i32 = 93;

/// Numbers of `linux/in.h` and `linux/socket.h`.
const SOCK_STREAM: u32 = 1;
const SOCK_RAW: u32 = 3;
const IPPROTO_SCTP: u32 = 132;
const IPPROTO_SMC: u32 = 256;
const IPPROTO_MPTCP: u32 = 262;

#[cgroup_sock(sock_create)]
fn sock_create(context: SockContext) -> i32 {
    // SAFETY: valid context.
    let (kind, protocol) = unsafe { ((*context.sock).type_, (*context.sock).protocol) };
    let unseen = kind == SOCK_RAW || matches!(protocol, IPPROTO_SCTP | IPPROTO_SMC | IPPROTO_MPTCP);
    if !unseen && kind != SOCK_STREAM {
        return PROCEED;
    }
    let Some(config) = config() else {
        return PROCEED;
    };
    // SAFETY: valid context.
    let network = unsafe { bpf_get_netns_cookie(context.sock.cast()) };
    if !unseen {
        if !namespace::is_ours(network) && task::is_captured(config) {
            namespace::announce(network);
        }
        return PROCEED;
    }
    match task::standing(config) {
        Standing::Free => PROCEED,
        // Where the whole host is captured, this would break ping and DHCP: only where it is asked for.
        Standing::Captured if config.flags & flag::STRICT == 0 => PROCEED,
        Standing::Captured | Standing::Named => {
            count(Counter::SocketRefused);
            // Programs that would like MPTCP fall back to TCP on exactly this errno.
            // SAFETY: takes a number.
            unsafe { bpf_set_retval(-EPROTONOSUPPORT) };
            REFUSE
        }
    }
}
