//! Who has opened a connection over a Unix socket, held so that it cannot end and leave its number to somebody else unseen.

use super::{cgroup::lineage, process::Process};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, sockopt},
};
use std::os::fd::AsFd;

/// A process at the other end of a Unix socket.
#[derive(Debug)]
pub struct Caller {
    process: Process,
    start: u64,
}

impl Caller {
    /// Who has connected, going by the kernel; `None` where it has ended or cannot be seen from here.
    pub fn of(socket: impl AsFd) -> Option<Self> {
        let number = getsockopt(&socket, sockopt::PeerCredentials).ok()?.pid();
        // 0: in no pid namespace of ours.
        let process = Process::open(u32::try_from(number).ok().filter(|pid| *pid != 0)?).ok()?;
        let start = process.stat().ok().filter(|stat| !stat.ending)?.start;
        // The number may have come to mean another process before it was opened; a pidfd is of the one that has connected
        // (since Linux 6.5). While that one has not ended, the number is its own.
        match getsockopt(&socket, sockopt::PeerPidfd) {
            Ok(connected) => {
                let mut ended = [PollFd::new(connected.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ended, PollTimeout::ZERO) != Ok(0) {
                    return None;
                }
            }
            // A kernel that does not know it; from one that does, any other answer is that it is gone.
            Err(Errno::ENOPROTOOPT) => {}
            Err(_) => return None,
        }
        Some(Self { process, start })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Whether it lives. What was asked about it before is about a living process then.
    ///
    /// Whoever is asked for by number lets go of a process as it ends: without this question an agent's child could connect, end,
    /// and leave the connection to its parent.
    pub fn lives(&self) -> bool {
        self.process.stat().is_ok_and(|stat| stat.start == self.start && !stat.ending)
    }

    /// The path of its cgroup in the v2 hierarchy.
    pub fn cgroup(&self) -> Option<String> {
        self.process.cgroup().ok()
    }

    /// The numbers of its cgroup and of those above it.
    pub(super) fn cgroup_ids(&self) -> Option<Vec<u64>> {
        lineage(&self.cgroup()?).ok()
    }

    /// It and its ancestors in its cgroup, the closest first, each by its number and its start.
    pub(super) fn line(&self) -> Option<Vec<(u32, u64)>> {
        let own = self.process.stat().ok()?;
        let cgroup = self.cgroup()?;
        let mut line = vec![(self.process.pid, self.start)];
        line.extend(super::evidence::ancestors(&own, &cgroup).iter().map(|ancestor| (ancestor.pid, ancestor.start)));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::Caller;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};

    #[test]
    fn a_caller_is_known_while_it_lives() {
        let path = std::env::temp_dir().join(format!("interceptor-caller-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let own = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let caller = Caller::of(&accepted).unwrap();
        assert_eq!(caller.pid(), std::process::id());
        assert!(caller.lives());
        assert!(caller.cgroup().is_some() && caller.line().unwrap()[0].0 == std::process::id());
        drop(own);

        // Somebody who connects, is accepted, and ends; the connection lives on in a child.
        let script = "import os, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nsys.stdin.readline()\n\
                      if os.fork() == 0: sys.stdin.readline()";
        let mut child = Command::new("python3").args(["-c", script]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let caller = Caller::of(&accepted).unwrap();
        assert_eq!(caller.pid(), child.id());
        assert!(caller.lives());
        let mut words = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut words, b"go\n").unwrap();
        // Not reaped yet: a zombie does not live.
        let ended = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !caller.lives()
        });
        assert!(ended);
        assert!(Caller::of(&accepted).is_none(), "ended before it was looked at");
        child.wait().unwrap();
        assert!(!caller.lives());
        std::fs::remove_file(&path).unwrap();
    }
}
