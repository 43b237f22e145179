//! The record travels with the connection: from the dialling socket through a hash to the accepted socket.
//!
//! ```text
//! connect(2)            TCP_CONNECT                PASSIVE_ESTABLISHED
//! record on the  ---->  CONNECTIONS[tuple]  ---->  record on the accepted
//! dialling socket       (before the SYN)           socket, entry deleted
//! ```
//! The dialling side's callback runs before its SYN leaves, so the record is there before `accept(2)` can return, and a
//! client that closes at once has been recorded already. (Looking the tuple up from user space missed more than 94 %
//! of such clients.)

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, bpf_sock, bpf_sock_ops,
    },
    helpers::generated::{bpf_get_netns_cookie, bpf_sock_ops_cb_flags_set},
    macros::sock_ops,
    programs::SockOpsContext,
};
use interceptor_ebpf::{Address, Connection, Counter, Covered, Record, side};

use crate::{
    account::cover,
    address::mapped,
    maps::{CONNECTIONS, config, count},
    storage::{put_record, record},
};

const AF_INET: u32 = 2;
/// What the program returns is not looked at for these callbacks.
const DONE: u32 = 1;

// Not called like its ELF section (`sockops`): the linker would take them for the same symbol.
#[sock_ops]
fn sock_ops(context: SockOpsContext) -> u32 {
    let call = Callback(context.ops);
    let socket = call.socket();
    if socket.is_null() {
        return DONE;
    }
    match call.operation() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => dialling(call, socket),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(call, socket),
        BPF_SOCK_OPS_STATE_CB if call.new_state() == BPF_TCP_CLOSE => closed(call, socket),
        _ => {}
    }
    DONE
}

#[inline(always)]
fn dialling(call: Callback, socket: *mut bpf_sock) {
    let Some(record) = record(socket) else { return };
    if CONNECTIONS.insert(call.connection(), record, 0).is_err() {
        count(Counter::TableFull);
        return;
    }
    call.ask_for_state_changes();
}

#[inline(always)]
fn accepted(call: Callback, socket: *mut bpf_sock) {
    let port = call.local_port();
    if config().is_none_or(|config| config.listen_port != port) {
        return;
    }
    let connection = call.connection().flipped();
    // SAFETY: the record is copied before anything else happens to the map.
    let Some(found) = (unsafe { CONNECTIONS.get(connection) }) else {
        count(Counter::Unrecorded);
        return;
    };
    let record = Record { side: side::ACCEPTED, ..*found };
    if put_record(socket, &record) {
        cover(record.cgroup_id, Covered::Arrived);
    } else {
        count(Counter::Unrecorded);
    }
    // A failure means that the dialling side has closed and taken the entry away itself.
    let _ = CONNECTIONS.remove(connection);
}

/// A handshake that came to nothing leaves no entry behind: whoever dialled the daemon directly from the same port later
/// would be taken for this task.
///
/// A client that resets its connection at once can get here before its last handshake packet has reached the listener on
/// another CPU. Then a connection without a record is accepted, which is reset already (measured: 1 of 360,000).
#[inline(always)]
fn closed(call: Callback, socket: *mut bpf_sock) {
    let Some(mine) = record(socket) else { return };
    let connection = call.connection();
    // The tuple may already be somebody else's: only the entry of this socket is taken away.
    // SAFETY: compared at once, before the map is touched again.
    let is_mine = unsafe { CONNECTIONS.get(connection) }.is_some_and(|found| found.socket_cookie == mine.socket_cookie);
    if is_mine {
        let _ = CONNECTIONS.remove(connection);
    }
}

/// The context of a sock_ops program, field by field.
///
/// INVARIANT: only built from the context that the kernel handed to the running program.
/// Every field is read by a volatile load of its own: where both branches of an `if` read the context, the compiler
/// merges them into one load at a computed offset, which the verifier refuses ("dereference of modified ctx ptr").
#[derive(Clone, Copy)]
struct Callback(*mut bpf_sock_ops);

impl Callback {
    #[inline(always)]
    fn socket(self) -> *mut bpf_sock {
        // SAFETY: valid context; null where the socket is not a full one.
        unsafe { (*self.0).__bindgen_anon_2.sk }
    }

    #[inline(always)]
    fn operation(self) -> u32 {
        // SAFETY: valid context.
        unsafe { read_volatile(addr_of!((*self.0).op)) }
    }

    /// The second argument of the state callback.
    #[inline(always)]
    fn new_state(self) -> u32 {
        // SAFETY: valid context; `args` is the union's member for callbacks.
        unsafe { read_volatile(addr_of!((*self.0).__bindgen_anon_1.args[1])) }
    }

    #[inline(always)]
    fn local_port(self) -> u32 {
        // SAFETY: valid context. Host byte order.
        unsafe { read_volatile(addr_of!((*self.0).local_port)) }
    }

    /// The connection with the local end as its source.
    #[inline(always)]
    fn connection(self) -> Connection {
        let context = self.0;
        // SAFETY: valid context; words that do not belong to the socket's family read as zero or are not used.
        let (family, local4, remote4, local6, remote6, remote_port, netns_cookie) = unsafe {
            (
                read_volatile(addr_of!((*context).family)),
                read_volatile(addr_of!((*context).local_ip4)),
                read_volatile(addr_of!((*context).remote_ip4)),
                words(addr_of!((*context).local_ip6)),
                words(addr_of!((*context).remote_ip6)),
                read_volatile(addr_of!((*context).remote_port)),
                bpf_get_netns_cookie(context.cast()),
            )
        };
        let (source, destination) =
            if family == AF_INET { (mapped(local4), mapped(remote4)) } else { (local6, remote6) };
        // The remote port is in network order, in the upper half of the word as seen from a little-endian machine.
        Connection {
            netns_cookie,
            source,
            destination,
            source_port: self.local_port(),
            destination_port: u32::from_be(remote_port),
        }
    }

    #[inline(always)]
    fn ask_for_state_changes(self) {
        // SAFETY: valid context. Flags of other programs on the same socket are kept.
        unsafe {
            let flags = read_volatile(addr_of!((*self.0).bpf_sock_ops_cb_flags));
            bpf_sock_ops_cb_flags_set(self.0, (flags | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
        }
    }
}

/// # Safety
/// `address` must point into a valid context.
#[inline(always)]
unsafe fn words(address: *const Address) -> Address {
    let word = address.cast::<u32>();
    // SAFETY: four words, read one by one (see `Callback`).
    unsafe { [read_volatile(word), read_volatile(word.add(1)), read_volatile(word.add(2)), read_volatile(word.add(3))] }
}

trait Flipped {
    /// The same connection as the other end sees it.
    fn flipped(self) -> Self;
}

impl Flipped for Connection {
    #[inline(always)]
    fn flipped(self) -> Self {
        Self {
            netns_cookie: self.netns_cookie,
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}
