//! Socket storage from any kind of program: aya-ebpf 0.2's own type only takes the context of a sock_addr program.

use core::{
    ffi::c_void,
    ptr::{addr_of, null_mut},
};

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
};
use interceptor_ebpf::{Record, Stream};

use crate::maps::{LISTENERS, RECORDS, STREAMS};

/// The record on a socket.
#[inline(always)]
pub(crate) fn record(socket: *mut bpf_sock) -> Option<&'static Record> {
    // SAFETY: see `get`; records are written once before anybody else can see the socket, and read afterwards.
    unsafe { get(addr_of!(RECORDS).cast(), socket, 0).cast::<Record>().as_ref() }
}

/// Puts a record on a socket, over an older one. `false` if there is no memory for it.
#[inline(always)]
pub(crate) fn put_record(socket: *mut bpf_sock, record: &Record) -> bool {
    // SAFETY: see `get`; what comes back is null or this socket's own slot of the right size.
    match unsafe { get(addr_of!(RECORDS).cast(), socket, BPF_SK_STORAGE_GET_F_CREATE.into()).cast::<Record>().as_mut() }
    {
        Some(slot) => {
            *slot = *record;
            true
        }
        None => false,
    }
}

/// Takes the record off a socket; nothing happens if there is none.
#[inline(always)]
pub(crate) fn delete_record(socket: *mut bpf_sock) {
    // SAFETY: the map is a socket storage, the socket is the context's.
    unsafe { bpf_sk_storage_delete(addr_of!(RECORDS).cast_mut().cast(), socket.cast()) };
}

/// What is known of the first bytes of a socket that is watched; null if it is not.
#[inline(always)]
pub(crate) fn stream(socket: *mut bpf_sock) -> *mut Stream {
    // SAFETY: see `get`.
    unsafe { get(addr_of!(STREAMS).cast(), socket, 0).cast() }
}

/// Watches a socket from its next connection on.
#[inline(always)]
pub(crate) fn watch(socket: *mut bpf_sock, stream: &Stream) {
    // SAFETY: see `get`; what comes back is null or this socket's own slot of the right size.
    let slot = unsafe { get(addr_of!(STREAMS).cast(), socket, BPF_SK_STORAGE_GET_F_CREATE.into()).cast::<Stream>() };
    // SAFETY: as above.
    if let Some(slot) = unsafe { slot.as_mut() } {
        *slot = *stream;
    }
}

/// Whether a listening socket carries the daemon's token.
#[inline(always)]
pub(crate) fn is_blessed(socket: *mut bpf_sock) -> bool {
    // SAFETY: see `get`; the caller holds a reference on the socket.
    unsafe { get(addr_of!(LISTENERS).cast(), socket, 0).cast::<u64>().as_ref() }.is_some_and(|token| *token != 0)
}

/// # Safety
/// `map` must be one of the socket storage maps above, `socket` come from a context or a look-up whose reference is held.
#[inline(always)]
unsafe fn get(map: *const c_void, socket: *mut bpf_sock, flags: u64) -> *mut c_void {
    // SAFETY: the caller's promise; the verifier checks the same.
    unsafe { bpf_sk_storage_get(map.cast_mut(), socket.cast(), null_mut(), flags) }
}
