//! Much data in a row: fewer, larger reads.
//!
//! A server sends a result in blocks of 8 kB, and each of them would cost a wake-up, a read and a write here and a wake-up
//! at the client. After some full blocks in a row the socket is told to say so only when there is much; a short read, or a
//! moment in which nothing more comes, ends that. It takes a third of the CPU a byte, and the last piece comes a moment
//! later.

use super::tls::Reader;
use crate::redirect::wait_for_bytes;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::time::Instant;

/// What the server sends at once (`PQ_SEND_BUFFER_SIZE` in PostgreSQL's `pqcomm.c`).
const BLOCK: usize = 8192;
/// Full blocks in a row before reads are put off.
const IN_A_ROW: u32 = 6;
/// How much has to come then.
const MUCH: u32 = 128 << 10;
/// How long the last piece waits for more.
const MOMENT: Duration = Duration::from_millis(1);

/// Whether a socket is in the middle of much data.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    full: u32,
    /// Until when more is waited for.
    until: Option<Instant>,
}

impl Bulk {
    /// Notes a read.
    pub(super) fn read(&mut self, reader: &Reader<'_>, bytes: usize) {
        if bytes < BLOCK {
            self.full = 0;
            self.end(reader);
            return;
        }
        self.full = self.full.saturating_add(1);
        if self.full < IN_A_ROW {
            return;
        }
        if self.until.is_none() && !set(reader, MUCH) {
            return;
        }
        self.until = Some(Instant::now() + MOMENT);
    }

    /// When to take what there is.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The moment is over: whatever there is counts again.
    pub(super) fn end(&mut self, reader: &Reader<'_>) {
        if self.until.take().is_some() {
            self.full = 0;
            // The socket goes on as before where this fails, which it has no reason to after it worked once.
            set(reader, 1);
        }
    }
}

/// TLS records are taken apart elsewhere, where nobody would know how much of what has come has been handed on.
fn set(reader: &Reader<'_>, bytes: u32) -> bool {
    let Reader::Plain(half) = reader else { return false };
    match wait_for_bytes(half.as_ref().as_fd(), bytes) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "reads cannot be put off");
            false
        }
    }
}
