//! Records of outcomes are written soon after, not at once: several of them in one piece.
//!
//! A thread of its own waits for that. Timers of the workers would do, but a worker that waits with a timer costs more at
//! every statement than one that waits without.

use crate::audit::Trail;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

/// How long an outcome may be known to the client and not be on record yet. It is written earlier, with whatever else has
/// to be.
const SOON: Duration = Duration::from_millis(5);
/// How often the thread looks whether there is still a trail.
const NOW_AND_THEN: Duration = Duration::from_secs(1);

/// Whoever writes what was put off.
#[derive(Debug, Default)]
pub struct Settling {
    due: AtomicBool,
    thread: OnceLock<Option<Thread>>,
}

impl Settling {
    /// Has what has been sealed by then written soon.
    pub(super) fn soon(self: &Arc<Self>, trail: &Arc<Trail>) {
        if self.due.swap(true, Ordering::AcqRel) {
            return;
        }
        let start = || {
            let (settling, trail) = (Arc::downgrade(self), Arc::downgrade(trail));
            let thread = thread::Builder::new().name("settle".to_owned()).spawn(move || settle(&settling, &trail));
            thread.map(|handle| handle.thread().clone()).ok()
        };
        match self.thread.get_or_init(start) {
            Some(thread) => thread.unpark(),
            // Without a thread nothing is put off.
            None => {
                self.due.store(false, Ordering::Release);
                write(trail);
            }
        }
    }
}

/// Runs as long as there is something to write for.
fn settle(settling: &Weak<Settling>, trail: &Weak<Trail>) {
    loop {
        thread::park_timeout(NOW_AND_THEN);
        let (Some(settling), Some(trail)) = (settling.upgrade(), trail.upgrade()) else { return };
        if settling.due.load(Ordering::Acquire) {
            thread::sleep(SOON);
            settling.due.store(false, Ordering::Release);
            write(&trail);
        }
        if let Err(error) = trail.tend() {
            tracing::error!(%error, "an audit checkpoint could not be signed");
        }
    }
}

fn write(trail: &Trail) {
    if let Err(error) = trail.settle() {
        tracing::error!(%error, "outcomes could not be recorded");
    }
    if let Err(error) = trail.sync() {
        tracing::error!(%error, "the disk did not take the record; nothing runs until it does");
    }
}
