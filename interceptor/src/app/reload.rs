//! Policies are read again when their folder changes. A broken folder keeps the old set in force and says so, loudly and
//! on record.

use super::note;
use crate::policy::PolicySet;
use crate::proxy::Proxy;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Looking is cheap (a few small files) and works for every way of replacing a folder, symlinks and mounts included.
const EVERY: Duration = Duration::from_millis(500);

/// The thread that looks.
pub(super) struct Reload {
    thread: JoinHandle<()>,
}

impl Reload {
    pub(super) fn start(proxy: Arc<Proxy>, folder: PathBuf, stop: watch::Receiver<bool>) -> Result<Self> {
        let look = move || {
            let (mut broken, mut seen) = (None, None);
            while !*stop.borrow() {
                std::thread::sleep(EVERY);
                look(&proxy, &folder, &mut broken, &mut seen);
            }
        };
        let thread = std::thread::Builder::new()
            .name("policies".to_owned())
            .spawn(look)
            .context("the policy thread cannot be started")?;
        Ok(Self { thread })
    }

    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the policy thread has failed");
        }
    }
}

/// `broken` is what was wrong the last time, so that it is said once and not twice a second, and `seen` the digest of what
/// was.
fn look(proxy: &Proxy, folder: &Path, broken: &mut Option<String>, seen: &mut Option<String>) {
    // Reading a set as policies takes milliseconds; whether it is the same is told by its text.
    if let Ok(digest) = PolicySet::digest_of(folder) {
        if digest == proxy.policies.load().digest() {
            *broken = None;
            *seen = None;
            return;
        }
        if seen.replace(digest.clone()) == Some(digest) {
            return;
        }
    }
    let text = match PolicySet::load(folder) {
        Ok(set) => {
            *broken = None;
            let text = format!("policies reloaded: {} policies, set {}", set.len(), set.digest());
            tracing::info!(policies = set.len(), digest = set.digest(), "policies reloaded");
            proxy.policies.store(Arc::new(set));
            text
        }
        Err(error) => {
            let text = format!("policies not reloaded, the old set stays in force: {error}");
            if broken.as_ref() == Some(&text) {
                return;
            }
            tracing::error!(%error, "policies not reloaded, the old set stays in force");
            *broken = Some(text.clone());
            text
        }
    };
    if let Err(error) = note(&proxy.shared.trail, &text) {
        tracing::error!(%error, "a change of policies could not be recorded");
    }
}
