//! An entry: the record of a statement that is open until its outcome is known.

use super::record::{Event, Outcome, Record, Status, Subject};
use super::trail::{AuditError, Trail};
use std::sync::Arc;
use std::time::Instant;

/// A statement that is on record and has not ended yet. Dropping it records that nobody knows how it ended.
#[derive(Debug)]
pub struct Entry {
    trail: Arc<Trail>,
    subject: Arc<Subject>,
    seq: u64,
    opened: Instant,
    backend_pid: i32,
    ended: bool,
}

/// What is known when a statement has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: Status,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The error code.
    pub sqlstate: Option<String>,
    /// Rows sent to the client.
    pub rows: u64,
    /// Bytes of rows sent to the client.
    pub bytes: u64,
    /// Values that were masked.
    pub masked: u64,
    /// Rows written.
    pub affected: Option<u64>,
    /// The first rows, where they go on record.
    pub results: Option<Vec<Vec<Option<String>>>>,
}

impl Entry {
    /// Seals the record of a statement; only with the entry in hand, and the trail flushed, may the statement be sent.
    pub fn open(trail: &Arc<Trail>, record: Record, backend_pid: i32) -> Result<Self, AuditError> {
        let subject = record.subject.clone();
        let seq = trail.seal(record)?;
        Ok(Self { trail: trail.clone(), subject, seq, opened: Instant::now(), backend_pid, ended: false })
    }

    /// Number of the opening record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Closes the entry.
    pub fn close(mut self, ended: Ended) -> Result<(), AuditError> {
        self.ended = true;
        self.write(ended)
    }

    fn write(&self, ended: Ended) -> Result<(), AuditError> {
        let Ended { status, reason, sqlstate, rows, bytes, masked, affected, results } = ended;
        let duration = self.opened.elapsed().as_micros();
        let mut record = Record::new(Event::Outcome, self.subject.clone());
        record.outcome = Some(Outcome {
            status,
            reason,
            sqlstate,
            rows,
            bytes,
            masked,
            affected,
            duration_us: u64::try_from(duration).unwrap_or(u64::MAX),
            backend_pid: self.backend_pid,
            statement_seq: self.seq,
            results,
        });
        self.trail.seal(record).map(|_| ())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let ended = Ended {
            status: Status::Abandoned,
            reason: None,
            sqlstate: None,
            rows: 0,
            bytes: 0,
            masked: 0,
            affected: None,
            results: None,
        };
        if let Err(error) = self.write(ended) {
            tracing::error!(%error, seq = self.seq, "an abandoned statement could not be recorded");
        }
    }
}
