//! Cancel requests come on connections of their own, without a session and without a log-in.
//!
//! Agents get keys of ours, never the server's. A request counts only if it comes from the same agent, and only while
//! the session it names has the server at work: a late one must not hit the next statement.

use super::upstream::cancel;
use crate::identity::Identity;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a key stands for.
#[derive(Debug, Clone)]
pub(super) struct Cancellable {
    identity: Arc<Identity>,
    pub(super) server: SocketAddr,
    pub(super) pid: i32,
    pub(super) secret: Vec<u8>,
    running: Arc<AtomicBool>,
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
    server: SocketAddr,
    server_secret: Vec<u8>,
}

impl Cancels {
    /// A new key: 4 bytes for protocol 3.0, 32 for 3.2, whose clients take up to 256.
    pub(super) fn issue(
        self: &Arc<Self>,
        identity: Arc<Identity>,
        server: SocketAddr,
        pid: i32,
        secret: Vec<u8>,
        minor: u16,
    ) -> Key {
        let ours = if minor >= 2 { rand::random::<[u8; 32]>().to_vec() } else { rand::random::<[u8; 4]>().to_vec() };
        let running = Arc::new(AtomicBool::new(false));
        let target = Cancellable { identity, server, pid, secret: secret.clone(), running: running.clone() };
        self.lock().insert((pid, ours.clone()), target);
        Key { cancels: self.clone(), pid, secret: ours, running, server, server_secret: secret }
    }

    /// What a request may cancel; `None` for an unknown key, another agent, or a session that is idle.
    pub(super) fn find(&self, pid: i32, secret: &[u8], identity: &Identity) -> Option<Cancellable> {
        let target = self.lock().get(&(pid, secret.to_vec())).cloned()?;
        let same = target.identity.subject == identity.subject && target.identity.issuer == identity.issuer;
        (same && target.running.load(Ordering::Acquire)).then_some(target)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(i32, Vec<u8>), Cancellable>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    /// Tells the server itself to stop what the session is at; returns when it has heard.
    pub(super) async fn stop_server(&self) -> io::Result<()> {
        cancel(self.server, self.pid, &self.server_secret).await
    }

    /// Notes whether the server is at work.
    pub(super) fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Release);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.cancels.lock().remove(&(self.pid, std::mem::take(&mut self.secret)));
    }
}
