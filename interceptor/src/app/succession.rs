//! One daemon after the other. The older gives its listeners away, ends its sessions in order and goes; the newer waits for
//! that, because there is one trail and one control socket, and then serves whoever has dialled meanwhile.
//!
//! A supervisor that keeps descriptors (`FileDescriptorStoreMax=` of systemd) does the same for a restart.

use super::supervisor::Supervisor;
use crate::identity::Caller;
use crate::redirect::{Network, Redirect, give, kept, take};
use anyhow::{Context, Result};
use socket2::Socket;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What an older daemon has left: all of one port.
#[derive(Debug, Default)]
pub(super) struct Heritage {
    /// Listeners of our own network namespace.
    pub(super) listeners: Vec<Socket>,
    /// Those of others.
    pub(super) elsewhere: Vec<Elsewhere>,
}

/// Listeners of another network namespace.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) network: Arc<Network>,
    pub(super) sockets: Vec<Socket>,
}

impl Heritage {
    /// From a daemon that runs, which is gone when this returns, or from the supervisor. `port` is what is asked for, 0 for any:
    /// what listens elsewhere is let go of.
    pub(super) fn take(control: &Path, port: u16, patience: Duration) -> Result<Self> {
        let sockets = match UnixStream::connect(path(control)) {
            Ok(older) => succeed(older, patience).context("the daemon that runs does not make way")?,
            Err(_) => kept().into_iter().map(Socket::from).collect(),
        };
        Self::sort(sockets, port)
    }

    fn sort(sockets: Vec<Socket>, port: u16) -> Result<Self> {
        let own = Network::own()?;
        let mut heritage = Self::default();
        let mut port = port;
        for socket in sockets {
            let address = socket.local_addr().ok().and_then(|address| address.as_socket());
            let Some(address) = address.filter(|address| address.ip().is_loopback()) else { continue };
            if !socket.is_listener().unwrap_or(false) || (port != 0 && address.port() != port) {
                continue;
            }
            port = address.port();
            socket.set_cloexec(true)?;
            let network = Network::of_socket(socket.as_fd())?;
            if network == own {
                heritage.listeners.push(socket);
                continue;
            }
            match heritage.elsewhere.iter_mut().find(|known| *known.network == network) {
                Some(known) => known.sockets.push(socket),
                None => heritage.elsewhere.push(Elsewhere { network: Arc::new(network), sockets: vec![socket] }),
            }
        }
        // Round-robin over threads has to give each thread one of each family.
        heritage.listeners.sort_by_key(|socket| socket.local_addr().is_ok_and(|address| address.is_ipv6()));
        Ok(heritage)
    }
}

fn succeed(mut older: UnixStream, patience: Duration) -> Result<Vec<Socket>> {
    older.set_read_timeout(Some(Duration::from_secs(5)))?;
    let sockets = take(&older)?;
    tracing::info!(listeners = sockets.len(), "the daemon that ran has handed over and ends its sessions");
    // Nothing more is said; it closes when it is gone.
    older.set_read_timeout(Some(patience))?;
    let ended = older.read(&mut [0]).context("it still runs")?;
    anyhow::ensure!(ended == 0, "it says something unexpected");
    Ok(sockets)
}

fn path(control: &Path) -> PathBuf {
    let mut name = control.as_os_str().to_owned();
    name.push(".handover");
    name.into()
}

/// All listeners that there are, for whoever comes next.
#[derive(Debug, Default)]
pub(super) struct Estate {
    sockets: std::sync::Mutex<Vec<(u64, OwnedFd)>>,
    /// Whether they have been given away: then nothing is to be closed in the kernel.
    given: AtomicBool,
}

impl Estate {
    /// One more, of the namespace with this cookie.
    pub(super) fn add(&self, netns_cookie: u64, socket: &Socket) -> std::io::Result<()> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        self.lock().push((netns_cookie, copy));
        Ok(())
    }

    /// Those of a namespace that is let go of.
    pub(super) fn remove(&self, netns_cookie: u64) {
        self.lock().retain(|(cookie, _)| *cookie != netns_cookie);
    }

    pub(super) fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }

    /// The supervisor keeps them for a daemon that it starts later.
    pub(super) fn keep_with(&self, supervisor: &Supervisor) {
        let sockets = self.lock();
        let sockets = sockets.iter().map(|(_, socket)| socket.as_fd()).collect::<Vec<_>>();
        supervisor.keep(&sockets);
    }

    fn give(&self, to: &UnixStream) -> std::io::Result<()> {
        let sockets = self.lock();
        give(to, &sockets.iter().map(|(_, socket)| socket.as_fd()).collect::<Vec<_>>())?;
        self.given.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Our own copies, so that nobody is sent to a socket that nobody serves.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, OwnedFd)>> {
        self.sockets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whom a newer daemon asks. Gone with the daemon.
#[derive(Debug)]
pub(super) struct Heir {
    path: PathBuf,
}

impl Heir {
    /// Waits for a newer daemon, gives it everything, and then calls `stop`. The connection stays open until this process ends.
    ///
    /// Agents are turned away: with the listeners they could stand in the daemon's place. (Others have to be root to get here.)
    pub(super) fn expect(
        control: &Path,
        estate: Arc<Estate>,
        redirect: Arc<Redirect>,
        stop: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let path = path(control);
        // What a daemon that was killed has left.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&path).with_context(|| format!("`{}` cannot be bound", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let wait = move || {
            let mut newer = Vec::new();
            for stream in listener.incoming().flatten() {
                let caller = Caller::of(&stream);
                // In this order: whoever has ended is no agent any more, by its number.
                if !caller.as_ref().is_some_and(|caller| !redirect.is_agent(caller.pid()) && caller.lives()) {
                    let pid = caller.map(|caller| caller.pid());
                    tracing::warn!(
                        pid,
                        "an agent, or somebody who has ended, has asked for the daemon's listeners and got none"
                    );
                    continue;
                }
                match estate.give(&stream) {
                    Ok(()) => {
                        tracing::info!("handed over to a newer daemon");
                        stop();
                        newer.push(stream);
                    }
                    Err(error) => tracing::warn!(%error, "a newer daemon did not take over"),
                }
            }
        };
        std::thread::Builder::new().name("heir".to_owned()).spawn(wait)?;
        Ok(Self { path })
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}
