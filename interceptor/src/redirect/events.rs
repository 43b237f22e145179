//! What the programs tell at once.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use interceptor_ebpf::{Event, event};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{kernel::event_of, origin::address_of};

/// Something that the daemon should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A captured process lives in a network namespace where we do not listen.
    Namespace {
        /// The process.
        pid: u32,
        /// The namespace.
        netns_cookie: u64,
    },
    /// A captured process speaks PostgreSQL on a port that is not captured.
    Detected(Elsewhere),
    /// A packet to a captured port had dodged the connect hook and was dropped.
    Dropped {
        /// The cgroup of its socket.
        cgroup_id: u64,
        /// Where it went to; absent where that could not be read.
        destination: Option<SocketAddr>,
    },
    /// A process was moved into a captured cgroup; it may have connections.
    Entered {
        /// The process.
        pid: u32,
    },
}

/// A connection that speaks PostgreSQL past us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The process that dialled.
    pub pid: u32,
    /// Its cgroup.
    pub cgroup_id: u64,
    /// The namespace that it dialled in.
    pub netns_cookie: u64,
    /// `SO_COOKIE` of the socket.
    pub socket_cookie: u64,
    /// Where its packets go to.
    pub destination: SocketAddr,
    /// Whether they are stopped.
    pub blocked: bool,
}

/// The stream of signs. There is one, and it goes on where an earlier daemon has stopped.
pub struct Signs(RingBuf<MapData>);

impl std::fmt::Debug for Signs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Signs").finish()
    }
}

impl Signs {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The next one; `None` when `patience` is over. What is of another build is left out.
    ///
    /// # Errors
    /// If the kernel does not let us wait.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<Sign>> {
        let until = Instant::now() + patience;
        loop {
            while let Some(item) = self.0.next() {
                if let Some(sign) = event_of(&item).and_then(|event| sign(&event)) {
                    return Ok(Some(sign));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn sign(event: &Event) -> Option<Sign> {
    let Event { kind, pid, netns_cookie, cgroup_id, socket_cookie, address, port, .. } = *event;
    let destination = address_of(address, port);
    Some(match kind {
        event::NAMESPACE => Sign::Namespace { pid, netns_cookie },
        event::DETECTED | event::BLOCKED => Sign::Detected(Elsewhere {
            pid,
            cgroup_id,
            netns_cookie,
            socket_cookie,
            destination: destination?,
            blocked: kind == event::BLOCKED,
        }),
        event::DROPPED => Sign::Dropped { cgroup_id, destination: destination.filter(|to| to.port() != 0) },
        event::ENTERED => Sign::Entered { pid },
        _ => return None,
    })
}
