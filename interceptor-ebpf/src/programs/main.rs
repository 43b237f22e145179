//! The programs. Each file is one hook; what they share is at the end of the list.
//!
//! They select and remember, they never judge: which statements are allowed is not known here. All hang at the root of
//! the cgroup v2 tree and look at the *current task*, because a hook at the agent's own cgroup would follow the socket's
//! cgroup, which is the one it was created in: a socket made before joining, or handed over, would slip through.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod bind;
mod cgroup;
mod connect;
mod egress;
mod getpeername;
mod guards;
mod sock_create;
mod sock_ops;
mod tag;

mod account;
mod address;
mod detect;
mod kernel;
mod maps;
mod namespace;
mod objects;
mod packet;
mod storage;
mod task;
mod tell;

/// `bpf_get_netns_cookie` and the storage helpers are only lent to programs under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: nothing here panics, and the verifier would not accept the loop if something could.
    loop {}
}
