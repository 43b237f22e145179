//! `connect(2)`: a captured task that dials a captured port is sent to the daemon, and who it was is written down.
//!
//! Runs for every way to open a TCP connection (blocking or not, MSG_FASTOPEN, TCP_FASTOPEN_CONNECT, io_uring, MPTCP):
//! all of them pass `pre_connect`, which an LSM's `socket_connect` does not see in all cases.

use core::{ffi::c_void, mem::zeroed};

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock_tuple},
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_set_retval, bpf_sk_lookup_tcp,
        bpf_sk_release,
    },
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use interceptor_ebpf::{Address, COMM_BYTES, Config, Counter, Covered, Record, Stream, flag, side, stage};

use crate::{
    account::cover,
    address::{LOOPBACK4, LOOPBACK6, SocketAddress, is_mapped, mapped, meant},
    maps::{config, count, is_target},
    namespace::{self, Prospect},
    storage::{delete_record, is_blessed, put_record, watch},
    task,
};

const PROCEED: i32 = 1;
const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;

#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    let call = SocketAddress(context.sock_addr);
    match judge(call, |call| call.ipv4()) {
        Verdict::Proceed => PROCEED,
        Verdict::Refuse => refuse(),
        Verdict::Redirect(listen_port) => {
            call.set_ipv4(mapped(LOOPBACK4));
            call.set_port(listen_port);
            PROCEED
        }
    }
}

#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    let call = SocketAddress(context.sock_addr);
    match judge(call, |call| call.ipv6()) {
        Verdict::Proceed => PROCEED,
        Verdict::Refuse => refuse(),
        Verdict::Redirect(listen_port) => {
            // Mapped stays mapped: an IPv6 socket that already carries IPv4 traffic cannot dial ::1.
            call.set_ipv6(if is_mapped(&call.ipv6()) { mapped(LOOPBACK4) } else { LOOPBACK6 });
            call.set_port(listen_port);
            PROCEED
        }
    }
}

enum Verdict {
    Proceed,
    Refuse,
    /// To the loopback address of the same family, on this port.
    Redirect(u16),
}

#[inline(always)]
fn judge(call: SocketAddress, address: impl Fn(SocketAddress) -> Address) -> Verdict {
    if !call.is_stream() {
        return Verdict::Proceed;
    }
    let Some(config) = config() else {
        return Verdict::Refuse;
    };
    if !task::is_captured(config) {
        delete_record(call.socket());
        return Verdict::Proceed;
    }
    // SAFETY: reads only the current task.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    cover(cgroup_id, Covered::Connects);
    if !is_target(config, call.port(), || meant(address(call))) {
        // A socket can be disconnected (AF_UNSPEC) and dialled elsewhere: what was true of its last connection is not of this one.
        delete_record(call.socket());
        if config.flags & flag::DETECT != 0 && !is_daemons(config, call.port(), meant(address(call))) {
            listen_in(call, cgroup_id);
        }
        return Verdict::Proceed;
    }
    count(Counter::Seen);
    cover(cgroup_id, Covered::Targets);
    let listen_port = config.listen_port as u16;
    let destination = address(call);
    // The record comes last, and only where the daemon is: a refused call leaves the socket as it was.
    if !is_received(call, is_mapped(&destination), listen_port) || !remember(call, destination) {
        count(Counter::Refused);
        cover(cgroup_id, Covered::Refused);
        return Verdict::Refuse;
    }
    count(Counter::Redirected);
    cover(cgroup_id, Covered::Redirected);
    Verdict::Redirect(listen_port)
}

/// Whether the daemon listens where the caller is, or is on its way there.
#[inline(always)]
fn is_received(call: SocketAddress, ipv4: bool, port: u16) -> bool {
    if daemon_listens(call, ipv4, port) {
        return true;
    }
    // SAFETY: valid context.
    let network = unsafe { bpf_get_netns_cookie(call.0.cast()) };
    match namespace::expect(network) {
        Prospect::Here => daemon_listens(call, ipv4, port),
        // The record is written and the address changed, but nothing goes out before the daemon listens: see `egress`.
        Prospect::Soon => true,
        Prospect::Never => false,
    }
}

/// Whether this is the daemon's own port, which nobody else can take: it closes what comes without a record.
#[inline(always)]
fn is_daemons(config: &Config, port: u16, destination: Address) -> bool {
    u32::from(port) == config.listen_port && (destination == mapped(LOOPBACK4) || destination == LOOPBACK6)
}

/// Watches what is sent first to a port that is not captured.
#[inline(always)]
fn listen_in(call: SocketAddress, cgroup_id: u64) {
    // SAFETY: valid context.
    let (socket_cookie, netns_cookie) =
        unsafe { (bpf_get_socket_cookie(call.0.cast()), bpf_get_netns_cookie(call.0.cast())) };
    let fresh = Stream {
        first: 0,
        next: 0,
        stage: stage::SYN,
        need: 0,
        value: 0,
        record: 0,
        list: 0,
        place: 0,
        end: 0,
        pid: task::process(),
        reserved: 0,
        cgroup_id,
        netns_cookie,
        socket_cookie,
    };
    watch(call.socket(), &fresh);
}

/// Whether a listener *of the daemon* is up in the caller's network namespace.
#[inline(always)]
fn daemon_listens(call: SocketAddress, ipv4: bool, port: u16) -> bool {
    listens(call.0.cast(), ipv4, port)
}

/// The same for the context of any program that may look sockets up. While the daemon is down, anybody might sit on its port;
/// the token tells them apart.
#[inline(always)]
pub(crate) fn listens(context: *mut c_void, ipv4: bool, port: u16) -> bool {
    // SAFETY: the tuple is plain integers; the reference that the look-up takes is given back on every path, which the
    // verifier insists on.
    unsafe {
        let mut tuple: bpf_sock_tuple = zeroed();
        let size = if ipv4 {
            tuple.__bindgen_anon_1.ipv4.daddr = LOOPBACK4;
            tuple.__bindgen_anon_1.ipv4.dport = port.to_be();
            size_of_val(&tuple.__bindgen_anon_1.ipv4)
        } else {
            tuple.__bindgen_anon_1.ipv6.daddr = LOOPBACK6;
            tuple.__bindgen_anon_1.ipv6.dport = port.to_be();
            size_of_val(&tuple.__bindgen_anon_1.ipv6)
        };
        let listener = bpf_sk_lookup_tcp(context, &mut tuple, size as u32, BPF_F_CURRENT_NETNS as i64 as u64, 0);
        if listener.is_null() {
            return false;
        }
        let blessed = is_blessed(listener);
        bpf_sk_release(listener.cast());
        blessed
    }
}

/// Writes down who dials what. `false` if there was no memory: then nobody gets through without a record.
#[inline(always)]
fn remember(call: SocketAddress, destination: Address) -> bool {
    let socket = call.socket();
    if socket.is_null() {
        return false;
    }
    let mut comm = [0_u8; COMM_BYTES];
    // SAFETY: helpers that read the current task or the context; `comm` is as long as said, and stays NUL-filled if the
    // helper fails.
    let (ids, users) = unsafe {
        bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_BYTES as u32);
        (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid())
    };
    // SAFETY: as above; `socket` is the context's and not null.
    let record = unsafe {
        Record {
            socket_cookie: bpf_get_socket_cookie(call.0.cast()),
            netns_cookie: bpf_get_netns_cookie(call.0.cast()),
            cgroup_id: bpf_get_current_cgroup_id(),
            dialled_at: bpf_ktime_get_ns(),
            pid: (ids >> 32) as u32,
            thread: ids as u32,
            uid: users as u32,
            gid: (users >> 32) as u32,
            address: meant(destination),
            port: u32::from(call.port()),
            side: side::DIALLING,
            device: (*socket).bound_dev_if,
            reserved: 0,
            comm,
        }
    };
    put_record(socket, &record)
}

/// Reads to the caller like a server that is down, which drivers know how to report. Without it the errno would be EPERM.
#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: takes a number.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}
