//! What the kernel half tells at once: agents in network namespaces where nobody listens yet, PostgreSQL on other ports,
//! packets that dodged the hook, processes that became agents with connections open.
//!
//! A namespace is entered as soon as it is heard of, because somebody is about to dial: until we listen there they are
//! refused. It is let go of when no process lives there.

use super::succession::{Elsewhere, Estate};
use super::{BACKLOG, bind_pair, note};
use crate::proxy::{Door, Proxy};
use crate::redirect::{self, Network, Redirect, Sign, Signs, destroy_connections, inhabited_networks};
use anyhow::{Context, Result};
use socket2::Socket;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// A listener in another namespace, on its way to the thread that serves it.
pub(super) struct Opened {
    socket: Socket,
    network: Arc<Network>,
    closing: watch::Receiver<bool>,
}

impl Opened {
    /// Only within the runtime that serves it.
    pub(super) fn door(self) -> std::io::Result<Door> {
        let listener = TcpListener::from_std(self.socket.into())?;
        Ok(Door { listener, network: Some(self.network), closing: self.closing })
    }
}

/// How many namespaces are listened in at once; `NAMESPACES_MAX` of the kernel half is some more.
const MOST: usize = 4000;
/// How often is looked whether namespaces are inhabited.
const SWEEP: Duration = Duration::from_secs(5);
/// For how long a namespace that could not be entered is left alone.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the same is said again.
const REPEAT: Duration = Duration::from_secs(10);

/// Starts the thread that listens to the kernel half.
pub(super) fn follow(
    proxy: Arc<Proxy>,
    redirect: Arc<Redirect>,
    port: u16,
    workers: Vec<mpsc::UnboundedSender<Opened>>,
    (estate, inherited): (Arc<Estate>, Vec<Elsewhere>),
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>> {
    let mut signs = redirect.signs().context("the kernel half is listened to already")?;
    let own = Network::own().context("the daemon's own network namespace cannot be read")?;
    // The others that an earlier daemon listened in it took with it.
    redirect.receive_only_in(inherited.iter().map(|elsewhere| &*elsewhere.network).chain([&own]))?;
    let mut follower = Follower {
        proxy,
        redirect,
        port,
        workers,
        estate,
        known: HashMap::new(),
        failed: HashMap::new(),
        said: HashMap::new(),
        swept: Instant::now(),
    };
    for Elsewhere { network, sockets } in inherited {
        let followed = follower.serve(network, sockets)?;
        follower.known.insert(followed.network.cookie(), followed);
    }
    std::thread::Builder::new()
        .name("follower".to_owned())
        .spawn(move || follower.run(&mut signs, &stop))
        .context("the thread that follows agents cannot be started")
}

struct Follower {
    proxy: Arc<Proxy>,
    redirect: Arc<Redirect>,
    port: u16,
    workers: Vec<mpsc::UnboundedSender<Opened>>,
    estate: Arc<Estate>,
    known: HashMap<u64, Followed>,
    failed: HashMap<u64, Instant>,
    /// When something was said last.
    said: HashMap<String, Instant>,
    swept: Instant,
}

struct Followed {
    network: Arc<Network>,
    closing: watch::Sender<bool>,
}

impl Follower {
    fn run(&mut self, signs: &mut Signs, stop: &watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(error) = self.redirect.live() {
                tracing::error!(%error, "the kernel half cannot be told that the daemon lives");
            }
            match signs.next(Duration::from_millis(200)) {
                Ok(Some(sign)) => self.heed(sign),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the kernel half cannot be listened to: agents in new namespaces are refused");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            if self.swept.elapsed() > SWEEP {
                self.sweep();
            }
        }
        if self.estate.is_given() {
            return;
        }
        // Nobody is sent any more to where nobody will accept.
        for followed in self.known.values() {
            if let Err(error) = self.redirect.receive_in(&followed.network, false) {
                tracing::warn!(%error, "a network namespace could not be let go of");
            }
        }
    }

    fn heed(&mut self, sign: Sign) {
        match sign {
            Sign::Namespace { pid, netns_cookie } => self.enter(pid, netns_cookie),
            Sign::Detected(elsewhere) => self.detected(&elsewhere),
            Sign::Dropped { cgroup_id, destination } => {
                let to =
                    destination.map_or_else(|| "an unreadable packet".to_owned(), |to| format!("a packet to {to}"));
                self.say(&format!("{to} from cgroup {cgroup_id} had dodged the connect hook and was dropped"));
            }
            Sign::Entered { pid } => self.end_earlier_connections(Some(pid)),
        }
    }

    fn enter(&mut self, pid: u32, netns_cookie: u64) {
        let failed_lately = self.failed.get(&netns_cookie).is_some_and(|at| at.elapsed() < AGAIN);
        if self.known.contains_key(&netns_cookie) || failed_lately {
            return;
        }
        match self.open(pid, netns_cookie) {
            Ok(Some(followed)) => {
                tracing::debug!(pid, netns_cookie, "listening in one more network namespace");
                self.known.insert(netns_cookie, followed);
            }
            // The process is elsewhere by now, or gone.
            Ok(None) => {}
            Err(error) => {
                self.failed.insert(netns_cookie, Instant::now());
                if let Err(error) = self.redirect.close_in(netns_cookie) {
                    tracing::warn!(%error, "agents may wait in vain");
                }
                self.say(&format!(
                    "the network namespace of process {pid} cannot be listened in, so agents there are refused: {error:#}"
                ));
            }
        }
    }

    fn open(&self, pid: u32, netns_cookie: u64) -> Result<Option<Followed>> {
        anyhow::ensure!(self.known.len() < MOST, "too many namespaces");
        let Ok((network, sockets)) = Network::enter(pid, || bind_pair(self.port)) else { return Ok(None) };
        if network.cookie() != netns_cookie {
            return Ok(None);
        }
        let network = Arc::new(network);
        let sockets = sockets.context("its loopback address")?;
        for socket in &sockets {
            self.redirect.bless(socket.as_fd())?;
            socket.listen(BACKLOG)?;
        }
        self.redirect.receive_in(&network, true)?;
        self.serve(network, sockets).map(Some)
    }

    /// Has a thread serve what comes there.
    fn serve(&self, network: Arc<Network>, sockets: Vec<Socket>) -> Result<Followed> {
        let (closing, closes) = watch::channel(false);
        let turn = self.known.len() % self.workers.len().max(1);
        for socket in sockets {
            self.estate.add(network.cookie(), &socket)?;
            let opened = Opened { socket, network: network.clone(), closing: closes.clone() };
            if let Some(worker) = self.workers.get(turn) {
                worker.send(opened).ok().context("the daemon is about to stop")?;
            }
        }
        Ok(Followed { network, closing })
    }

    /// Lets go of namespaces that nobody lives in: they last as long as we listen there.
    fn sweep(&mut self) {
        self.swept = Instant::now();
        self.failed.retain(|_, at| at.elapsed() < AGAIN);
        self.said.retain(|_, at| at.elapsed() < REPEAT);
        if let Err(error) = self.redirect.forget_closed() {
            tracing::warn!(%error, "namespaces that could not be entered could not be forgotten");
        }
        if self.known.is_empty() {
            return;
        }
        let inhabited = match inhabited_networks() {
            Ok(inhabited) => inhabited,
            Err(error) => return tracing::error!(%error, "nobody knows which namespaces are inhabited"),
        };
        let (redirect, estate) = (&self.redirect, &self.estate);
        self.known.retain(|cookie, followed| {
            if inhabited.contains(&followed.network.inode()) {
                return true;
            }
            if let Err(error) = redirect.receive_in(&followed.network, false) {
                tracing::warn!(%error, cookie, "a network namespace could not be let go of");
            }
            estate.remove(*cookie);
            followed.closing.send_replace(true);
            tracing::debug!(cookie, "let go of a network namespace that nobody lives in");
            false
        });
    }

    fn detected(&mut self, elsewhere: &redirect::Elsewhere) {
        let redirect::Elsewhere { pid, cgroup_id, socket_cookie, destination, blocked, netns_cookie } = *elsewhere;
        if !blocked {
            return self.record(&format!(
                "process {pid} of cgroup {cgroup_id} speaks PostgreSQL with {destination}, which is not captured: add it to \
                 [capture]"
            ));
        }
        if let Err(error) = self.redirect.learn(destination) {
            tracing::error!(%error, %destination, "an address where PostgreSQL was heard could not be captured");
        }
        let network = match self.known.get(&netns_cookie) {
            Some(followed) => Ok(followed.network.clone()),
            None => Network::own().map(Arc::new),
        };
        // Its packets do not go out any more; this is so that its process hears of it.
        let ended = network.and_then(|network| destroy_connections(&network, |_, _, cookie| cookie == socket_cookie));
        if let Err(error) = ended {
            tracing::debug!(%error, "the connection could not be ended, it will time out");
        }
        self.record(&format!(
            "process {pid} of cgroup {cgroup_id} began to speak PostgreSQL with {destination} and was stopped; the address is \
             captured from now on"
        ));
    }

    fn end_earlier_connections(&mut self, of: Option<u32>) {
        match self.redirect.end_stray_connections(of) {
            Ok(destroyed) => {
                for remote in destroyed.ended {
                    self.record(&format!(
                        "a connection to {remote} was ended: it was opened before its process was an agent"
                    ));
                }
                for (remote, why) in destroyed.alive {
                    self.record(&format!(
                        "a connection to {remote} goes on past the daemon, because it was opened before its process was an \
                         agent and cannot be ended: {why}"
                    ));
                }
            }
            Err(error) => tracing::error!(%error, "nobody knows whether agents have connections from before"),
        }
    }

    /// In the log, once in a while.
    fn say(&mut self, text: &str) -> bool {
        let now = Instant::now();
        let lately = self.said.get(text).is_some_and(|at| at.elapsed() < REPEAT);
        if !lately {
            tracing::warn!("{text}");
            self.said.insert(text.to_owned(), now);
        }
        !lately
    }

    /// In the log and on record.
    fn record(&mut self, text: &str) {
        if self.say(text)
            && let Err(error) = note(&self.proxy.shared.trail, text)
        {
            tracing::error!(%error, "what was seen of an agent could not be recorded");
        }
    }
}

/// Ends what agents have opened before the programs were in place.
pub(super) fn end_earlier_connections(proxy: &Proxy, redirect: &Redirect) -> Result<()> {
    let destroyed = redirect.end_stray_connections(None)?;
    for remote in destroyed.ended {
        note(
            &proxy.shared.trail,
            &format!("a connection to {remote} was ended: it was opened before the daemon was there"),
        )?;
    }
    for (remote, why) in destroyed.alive {
        tracing::error!(%remote, %why, "an agent's connection goes on past the daemon");
        let text = format!(
            "a connection to {remote} goes on past the daemon, because it was opened before and cannot be ended: {why}"
        );
        note(&proxy.shared.trail, &text)?;
    }
    Ok(())
}
