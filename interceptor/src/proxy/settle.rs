//! Records of outcomes are written soon after, not at once: several of them in one piece.
//!
//! A thread of its own waits for that. Timers of the workers would do, but a worker that waits with a timer costs more at
//! every statement than one that waits without.

use crate::audit::Trail;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long an outcome may be known to the client and not be on record yet. It is written earlier, with whatever else has
/// to be.
const SOON: Duration = Duration::from_millis(5);
/// How long what is written may not be forced to the disk yet (`fsync = "group"`): at 200 times a second that took a seventh
/// of what a small statement cost the daemon.
const GROUP: Duration = Duration::from_millis(20);
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
                force(trail);
            }
        }
    }
}

/// Runs as long as there is something to write for.
fn settle(settling: &Weak<Settling>, trail: &Weak<Trail>) {
    // Since when the disk may lack something.
    let mut unforced: Option<Instant> = None;
    loop {
        let rest = unforced.map_or(NOW_AND_THEN, |since| GROUP.saturating_sub(since.elapsed()));
        thread::park_timeout(rest);
        let (Some(settling), Some(trail)) = (settling.upgrade(), trail.upgrade()) else { return };
        if settling.due.load(Ordering::Acquire) {
            unforced.get_or_insert_with(Instant::now);
            thread::sleep(SOON);
            settling.due.store(false, Ordering::Release);
            write(&trail);
        }
        if unforced.is_some_and(|since| since.elapsed() >= GROUP) {
            unforced = None;
            force(&trail);
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
}

fn force(trail: &Trail) {
    if let Err(error) = trail.sync() {
        tracing::error!(%error, "the disk did not take the record; nothing runs until it does");
    }
}
