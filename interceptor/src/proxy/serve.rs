//! From an accepted socket to a greeting: where it comes from and what it wants.

use super::Limits;
use super::arrival::Arrival;
use super::cancel::Cancels;
use super::catalogs::Catalogs;
use super::greeting::{Greeting, greet};
use super::leaked::LeakedRoles;
use super::live::{Live, Waiting};
use super::settle::Settling;
use super::tasks::TaskCount;
use super::tls::{Stream, Terminator};
use super::upstream::Upstreams;
use crate::identity::{Dialled, Registrar};
use crate::policy::{Mode, PolicySet};
use crate::redirect::{Network, Origin, Redirect, RedirectError};
use crate::session::Shared;
use crate::sql::Readings;
use crate::wire::{Report, Speaker, SqlState};
use arc_swap::{ArcSwap, Guard};
use bytes::BytesMut;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// Who is at the other end of an accepted socket. The kernel half knows; tests without one bring their own.
pub trait Origins: Send + Sync {
    /// `None` for a connection that nobody redirected here.
    fn origin(&self, socket: BorrowedFd<'_>) -> Result<Option<Origin>, RedirectError>;
}

impl Origins for Redirect {
    fn origin(&self, socket: BorrowedFd<'_>) -> Result<Option<Origin>, RedirectError> {
        Self::origin(self, socket)
    }
}

/// Everything that all connections share.
pub struct Proxy {
    /// Where connections come from.
    pub origins: Arc<dyn Origins>,
    /// Who agents are.
    pub registrar: Registrar,
    /// The policies in force; replaced as a whole.
    pub policies: ArcSwap<PolicySet>,
    /// What can be changed while the daemon runs.
    pub tunables: ArcSwap<Tunables>,
    /// Snapshots of databases.
    pub catalogs: Catalogs,
    /// Statements that have been read before.
    pub readings: Readings,
    /// TLS for agents that ask for it; absent where there is none.
    pub tls: Option<Terminator>,
    /// Cancel keys.
    pub cancels: Arc<Cancels>,
    /// What sessions share among themselves.
    pub shared: Shared,
    /// Writes the records of outcomes.
    pub settling: Arc<Settling>,
    /// The sessions that are open.
    pub live: Live,
    /// Connections that have not become sessions yet.
    pub waiting: Waiting,
}

/// What a new reading of the configuration changes for whatever comes next.
#[derive(Debug)]
pub struct Tunables {
    /// What denials do.
    pub mode: Mode,
    /// Credentials.
    pub upstreams: Upstreams,
    /// Roles whose credentials are known to have leaked.
    pub leaked: LeakedRoles,
    /// What is put up with.
    pub limits: Limits,
}

impl Proxy {
    /// As it is now.
    pub fn tuned(&self) -> Guard<Arc<Tunables>> {
        self.tunables.load()
    }

    /// Whether policies are only observed.
    pub fn observes(&self) -> bool {
        self.tuned().mode == Mode::Observe
    }

    /// Has something else hold from now on. Where policies begin to be enforced, sessions end that began without: who they
    /// are, and how what they say is read, was never asked. Gives how many.
    pub fn tune(&self, tunables: Tunables) -> usize {
        let enforced = tunables.mode == Mode::Enforce;
        let was = self.tunables.swap(Arc::new(tunables));
        if enforced && was.mode == Mode::Observe { self.live.kill(|_| true).len() } else { 0 }
    }
}

/// Connections of one thread that may be on their way in, besides the sessions.
const WAITING: usize = 4096;

/// A listener, and where it is.
#[derive(Debug)]
pub struct Door {
    /// What agents are sent to.
    pub listener: TcpListener,
    /// `None` for the daemon's own.
    pub network: Option<Arc<Network>>,
    /// Says when nobody can come here any more.
    pub closing: watch::Receiver<bool>,
}

/// Accepts at home until the daemon stops, each connection a task on this very thread, then waits for them to end.
pub async fn serve(proxy: Arc<Proxy>, listener: TcpListener, stop: watch::Receiver<bool>) {
    serve_at(proxy, Door { listener, network: None, closing: stop.clone() }, stop).await;
}

/// The same, anywhere.
pub async fn serve_at(proxy: Arc<Proxy>, door: Door, mut stop: watch::Receiver<bool>) {
    let Door { listener, network, mut closing } = door;
    let running = TaskCount::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if running.count() >= proxy.tuned().limits.connections.saturating_add(WAITING) => {
                    tracing::warn!(%peer, "closed a connection: too many are open or have not said who they are");
                    drop(stream);
                }
                Ok((stream, peer)) => {
                    let (proxy, stop, task) = (proxy.clone(), stop.clone(), running.enter());
                    let network = network.clone();
                    tokio::task::spawn_local(async move {
                        connection(&proxy, (stream, network), peer, stop).await;
                        drop(task);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: give sessions a moment to end.
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            _ = stop.changed() => break,
            _ = closing.changed() => break,
        }
    }
    drop(listener);
    running.done().await;
}

async fn connection(
    proxy: &Proxy,
    (stream, network): (TcpStream, Option<Arc<Network>>),
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    let origin = match proxy.origins.origin(stream.as_fd()) {
        Ok(Some(origin)) => origin,
        Ok(None) => return tracing::warn!(%peer, "closed a connection that nobody redirected here"),
        Err(error) => return tracing::error!(%error, %peer, "closed a connection whose origin cannot be read"),
    };
    let Some(place) = proxy.waiting.enter(origin.cgroup_id) else {
        // Without reading what it wants: that is what there are too many of.
        let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many connections of this agent at once");
        say(&mut Stream::Plain(stream), Some(report)).await;
        return tracing::warn!(
            pid = origin.pid,
            "closed a connection: its cgroup has too many that are not sessions yet"
        );
    };
    // At once, while the process is still there: clients that give up quickly are identified as well.
    let evidence = proxy.registrar.evidence(&Dialled {
        pid: origin.pid,
        uid: origin.uid,
        gid: origin.gid,
        cgroup_id: origin.cgroup_id,
        at: origin.dialled_at,
    });
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "the client went away");
    }
    let greeting = Box::pin(greet(stream, proxy.tls.as_ref(), origin.destination.ip()));
    let Greeting { stream, buffer, result } = match timeout(proxy.tuned().limits.login(), greeting).await {
        Ok(greeting) => greeting,
        Err(_) => return tracing::debug!("a client said nothing for too long"),
    };
    let tls = stream.as_ref().and_then(Stream::tls);
    let arrival = Arrival::new(proxy, peer, (origin, network), evidence, tls);
    match (result, stream) {
        (Ok(greeted), Some(stream)) => {
            // Boxed, so that what this takes is given back before the session, which may last.
            if let Some(begun) = Box::pin(arrival.answer(greeted, stream, buffer, stop, place)).await {
                Box::pin(begun.run()).await;
            }
        }
        (Ok(_), None) => {}
        (Err(error), stream) => {
            tracing::debug!(%error, "no session came of a connection");
            let report = arrival.not_greeted(&error);
            if let Some(mut stream) = stream {
                say(&mut stream, report).await;
            }
        }
    }
}

/// The last words before the connection is closed.
pub(super) async fn say(stream: &mut Stream, report: Option<Report>) {
    let Some(report) = report else { return };
    let mut out = BytesMut::new();
    out.error(&report);
    let said = async {
        stream.send(&out).await?;
        stream.close().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "the client did not hear why it was refused");
    }
}
