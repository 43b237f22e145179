//! Cancel requests come on connections of their own, without a session and without a log-in.
//!
//! Agents get keys of ours, never the server's. A request counts only if it comes from the same agent, and only while
//! the session it names has the server at work, or waits for an approval: a late one must not hit the next statement.

use super::route::Route;
use super::tls::{Connector, TlsError};
use super::upstream::cancel;
use crate::identity::Identity;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a key stands for.
#[derive(Debug, Clone)]
struct Cancellable {
    identity: Arc<Identity>,
    target: Target,
    running: Arc<AtomicBool>,
    held: Slot,
}

/// What is told when a held statement is cancelled, while there is one.
type Slot = Arc<Mutex<Option<Arc<Notify>>>>;

/// What a cancel request is for.
#[derive(Debug)]
pub(super) enum Cancellation {
    /// What the server is at.
    Running(Target),
    /// A statement that the server has not seen.
    Held(Arc<Notify>),
}

/// A process of a database server, and how to reach it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) server: Route,
    pub(super) tls: Arc<Connector>,
    pub(super) pid: i32,
    pub(super) secret: Vec<u8>,
}

impl Target {
    /// Tells the server to stop what the process is at; returns when it has heard.
    pub(super) async fn stop(&self) -> Result<(), TlsError> {
        cancel(&self.server, &self.tls, self.pid, &self.secret).await
    }
}

/// All keys that are out.
#[derive(Debug, Default)]
pub struct Cancels {
    keys: Mutex<HashMap<(i32, Vec<u8>), Cancellable>>,
}

/// A session's key; gone with the session.
#[derive(Debug)]
pub(super) struct Key {
    cancels: Arc<Cancels>,
    pub(super) pid: i32,
    pub(super) secret: Vec<u8>,
    running: Arc<AtomicBool>,
    held: Slot,
    target: Target,
}

/// A held statement, as cancel requests find it.
#[derive(Debug)]
pub(super) struct Held {
    slot: Slot,
    cancelled: Arc<Notify>,
}

impl Cancels {
    /// A new key: 4 bytes for protocol 3.0, 32 for 3.2, whose clients take up to 256.
    pub(super) fn issue(self: &Arc<Self>, identity: Arc<Identity>, target: Target, minor: u16) -> Key {
        let ours = if minor >= 2 { rand::random::<[u8; 32]>().to_vec() } else { rand::random::<[u8; 4]>().to_vec() };
        let (running, held) = (Arc::new(AtomicBool::new(false)), Slot::default());
        let pid = target.pid;
        let cancellable =
            Cancellable { identity, target: target.clone(), running: running.clone(), held: held.clone() };
        self.lock().insert((pid, ours.clone()), cancellable);
        Key { cancels: self.clone(), pid, secret: ours, running, held, target }
    }

    /// What a request may cancel; `None` for an unknown key, another agent, or a session that is idle.
    pub(super) fn find(&self, pid: i32, secret: &[u8], identity: &Identity) -> Option<Cancellation> {
        let found = self.lock().get(&(pid, secret.to_vec())).cloned()?;
        let same = found.identity.subject == identity.subject && found.identity.issuer == identity.issuer;
        if !same {
            return None;
        }
        if let Some(cancelled) = lock(&found.held).clone() {
            return Some(Cancellation::Held(cancelled));
        }
        found.running.load(Ordering::Acquire).then_some(Cancellation::Running(found.target))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(i32, Vec<u8>), Cancellable>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    /// Tells the server itself to stop what the session is at; returns when it has heard.
    pub(super) async fn stop_server(&self) -> Result<(), TlsError> {
        self.target.stop().await
    }

    /// From now on until it is dropped, cancel requests are for a held statement.
    pub(super) fn hold(&self) -> Held {
        let cancelled = Arc::new(Notify::new());
        *lock(&self.held) = Some(cancelled.clone());
        Held { slot: self.held.clone(), cancelled }
    }

    /// Notes whether the server is at work.
    pub(super) fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Release);
    }
}

impl Held {
    /// Waits for a cancel request.
    pub(super) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *lock(&self.slot) = None;
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Arc<Notify>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Key {
    fn drop(&mut self) {
        self.cancels.lock().remove(&(self.pid, std::mem::take(&mut self.secret)));
    }
}
