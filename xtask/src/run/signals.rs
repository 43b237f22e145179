//! The signals that end a run.

use anyhow::Result;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::signal::unix::{self, SignalKind};

pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

/// One that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Came(pub(super) Signal);

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Came {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        };
        Came(signal)
    }
}

impl Came {
    /// The exit status of somebody who ends by it, as shells have it.
    pub(super) fn status(self) -> u8 {
        u8::try_from(128 + self.0 as i32).unwrap_or(u8::MAX)
    }
}

/// Sends a signal to a process of ours, which may have ended meanwhile.
pub(super) fn send(pid: u32, signal: Signal) {
    let Ok(number) = i32::try_from(pid) else { return };
    match kill(Pid::from_raw(number), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => eprintln!("xtask: cannot send {signal} to process {pid}: {}", errno.desc()),
    }
}
