//! Records of outcomes are written soon after, not at once: several of them in one piece.

use super::serve::Proxy;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an outcome may be known to the client and not be on record yet. It is written earlier, with whatever else has
/// to be.
const SOON: Duration = Duration::from_millis(5);

/// Has this thread write what has been sealed by then.
pub(super) fn settle_soon(proxy: &Proxy) {
    if proxy.settling.swap(true, Ordering::Relaxed) {
        return;
    }
    let (trail, settling) = (proxy.shared.trail.clone(), proxy.settling.clone());
    tokio::task::spawn_local(async move {
        tokio::time::sleep(SOON).await;
        settling.store(false, Ordering::Relaxed);
        if let Err(error) = trail.settle() {
            tracing::error!(%error, "outcomes could not be recorded");
        }
    });
}
