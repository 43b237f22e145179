//! Writing the trail.

use super::chain::{GENESIS, hex, seal};
use super::record::{Decision, Event, Record, Subject};
use super::verify::{self, Checkpoint};
use super::{Fsync, Settings, archive, keys};
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::macros::format_description;

/// Records that the disk may not have yet are kept to be written anew, in bytes.
const MOST_UNSYNCED: usize = 8 << 20;
/// Records that are kept in memory at most before they are written, in bytes.
const PENDING: usize = 256 << 10;
/// Records and time between two signed checkpoints.
pub(super) const CHECKPOINT_RECORDS: u64 = 1000;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Why the record cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The folder cannot be used.
    #[error("audit folder `{path}` cannot be used; the daemon needs to own it")]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What is there does not add up; going on would hide it.
    #[error("audit trail in `{path}` is damaged: {damage}; move the folder away to start a new one")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        damage: String,
    },
    /// A record could not be written.
    #[error("audit record cannot be written")]
    Write(#[from] io::Error),
    /// A record could not be put into JSON.
    #[error("audit record cannot be encoded")]
    Encode(#[from] serde_json::Error),
    /// An earlier write failed half-way; nothing is written behind it.
    #[error("audit trail is closed after a failed write")]
    Closed,
}

impl AuditError {
    /// Whether there is no room left to write to.
    pub fn is_full(&self) -> bool {
        let full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        match self {
            Self::Folder { source, .. } | Self::Write(source) => full(source),
            Self::Damaged { .. } | Self::Encode(_) | Self::Closed => false,
        }
    }
}

/// The last record, named outside the chain so that its end cannot be cut off unseen.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: String,
}

/// An open trail. One per process; sharing it is what makes one order of all records.
#[derive(Debug)]
pub struct Trail {
    writer: Mutex<Writer>,
    /// Statements that were permitted, denied and held.
    decided: [AtomicU64; 3],
    untaken: Untaken,
}

/// Why the witness does not take checkpoints, while that is so.
type Untaken = Arc<Mutex<Option<String>>>;

#[derive(Debug)]
struct Writer {
    dir: PathBuf,
    fsync: Fsync,
    keeping: archive::Keeping,
    segment: File,
    number: u32,
    /// Bytes in the segment, and after how many a new one begins.
    size: u64,
    most: u64,
    /// How many of its bytes the disk has for sure, and those behind them (`fsync = "group"`).
    synced: u64,
    unsynced: Vec<u8>,
    /// Whole lines that are not in the segment yet.
    pending: Vec<u8>,
    head_file: File,
    /// What it names, once it has been written.
    named: Option<u64>,
    /// The last record, written or not; the last that is written; and the last that the disk has as surely as `fsync` says. Only
    /// the latter is named in `head` and signed: when the machine goes down, neither speaks of what is gone.
    head: Head,
    written: Head,
    synced_head: Head,
    key: SigningKey,
    checkpoints: File,
    /// Bytes of it that are whole checkpoints.
    signed_size: u64,
    witness: Option<File>,
    untaken: Untaken,
    since: u64,
    last: Instant,
    failed: Option<Failure>,
}

/// Why nothing can be written for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// A write broke off: the segment may end in half a line.
    Torn,
    /// The disk did not take what was written; asking it again would not tell (`fsync(2)`, "EIO").
    Lost,
}

impl Trail {
    /// Opens the trail of a folder or starts one.
    pub fn open(settings: &Settings) -> Result<Self, AuditError> {
        let dir = &settings.dir;
        let unusable = |source| AuditError::Folder { path: dir.clone(), source };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        let segments = verify::segments(dir).map_err(unusable)?;
        let number = segments.last().map_or(1, |(number, file)| *number + u32::from(archive::is_compressed(file)));
        let damaged = |damage: String| AuditError::Damaged { path: dir.clone(), damage };
        let mut dropped = None;
        let head = match verify::tail(dir).map_err(unusable)? {
            verify::Tail::Empty => Head { seq: 0, hash: GENESIS.to_owned() },
            verify::Tail::At(head) => head,
            verify::Tail::Torn { head, file, keep } => {
                // The daemon or the machine died within a write: what is not a whole line was never acted upon.
                let torn = OpenOptions::new().write(true).open(&file).map_err(unusable)?;
                let whole = torn.metadata().map_err(unusable)?.len();
                torn.set_len(keep).map_err(unusable)?;
                tracing::warn!(file = %file.display(), "dropped a half-written audit record");
                dropped = Some(whole - keep);
                head
            }
            verify::Tail::Damaged(damage) => return Err(damaged(damage)),
        };
        let key = keys::open(dir).map_err(unusable)?;
        let signed = last_signed(&dir.join("checkpoints.jsonl")).map_err(unusable)?;
        let checkpoints = append(&dir.join("checkpoints.jsonl")).map_err(unusable)?;
        let segment = append(&segment_path(dir, number)).map_err(unusable)?;
        // Who wrote what is there may have died before the disk had it; from here on it counts as there.
        segment.sync_all().map_err(unusable)?;
        let size = segment.metadata().map_err(unusable)?.len();
        let since = head.seq.saturating_sub(signed);
        // A service is given them by whoever follows the checkpoints.
        let witness = settings.witness.as_deref().filter(|_| settings.witness_url().is_none());
        let untaken = Untaken::default();
        let mut writer = Writer {
            dir: dir.clone(),
            fsync: settings.fsync,
            keeping: archive::Keeping { compress: settings.compress, index: settings.index },
            segment,
            number,
            size,
            most: u64::from(settings.segment_megabytes) << 20,
            synced: size,
            unsynced: Vec::new(),
            pending: Vec::new(),
            head_file: OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .mode(0o600)
                .open(dir.join("head"))
                .map_err(unusable)?,
            named: None,
            written: head.clone(),
            synced_head: head.clone(),
            head,
            key,
            signed_size: checkpoints.metadata().map_err(unusable)?.len(),
            checkpoints,
            witness: witness.map(append).transpose().map_err(unusable)?,
            untaken: untaken.clone(),
            // Daemons before this one may have died before they signed.
            since,
            last: Instant::now(),
            failed: None,
        };
        if let Some(bytes) = dropped {
            writer
                .note(format!("recovered: {bytes} bytes of a half-written record were dropped from the trail's end"))?;
        }
        writer.write_head()?;
        writer.keeping.see_to(dir, writer.number);
        Ok(Self { writer: Mutex::new(writer), decided: Default::default(), untaken })
    }

    /// Writes a record and returns its number. When this returns, the record is written; when it fails, nothing may
    /// happen that the record speaks of.
    pub fn write(&self, record: Record) -> Result<u64, AuditError> {
        let mut writer = self.lock();
        let seq = writer.seal(record)?;
        writer.flush()?;
        writer.write_head()?;
        Ok(seq)
    }

    /// Gives a record its place in the chain and returns its number. It is written with the next [`Trail::flush`]: until
    /// then nothing may happen that it speaks of.
    pub fn seal(&self, record: Record) -> Result<u64, AuditError> {
        if record.event == Event::Statement {
            // What is written ahead of time (`Record::facts`) are facts of permits.
            let at = match record.decision {
                Some(Decision::Permit) | None => 0,
                Some(Decision::Deny) => 1,
                Some(Decision::Hold) => 2,
            };
            if let Some(count) = self.decided.get(at) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.lock().seal(record)
    }

    /// Statements since the start that were permitted, denied and held.
    pub fn decided(&self) -> [u64; 3] {
        self.decided.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Writes all that has been sealed, by whomever. When this returns, what those records speak of may happen.
    pub fn flush(&self) -> Result<(), AuditError> {
        self.lock().flush()
    }

    /// Writes all that has been sealed and names the last record in `head`.
    pub fn settle(&self) -> Result<(), AuditError> {
        let mut writer = self.lock();
        writer.flush()?;
        writer.write_head()
    }

    /// Forces what has been written to the disk, where that is not done at each write (`fsync = "group"`). The trail is not
    /// held meanwhile.
    ///
    /// # Errors
    /// If the disk does not take it: from then on nothing is written until it can be written anew.
    pub fn sync(&self) -> Result<(), AuditError> {
        let (file, size, number, written) = {
            let writer = self.lock();
            if writer.unsynced.is_empty() || writer.failed.is_some() {
                return Ok(());
            }
            (writer.segment.try_clone()?, writer.size, writer.number, writer.written.clone())
        };
        let result = file.sync_data();
        let mut writer = self.lock();
        // A segment that has ended meanwhile was forced to the disk when it ended.
        if writer.number == number && writer.failed.is_none() {
            match result {
                Ok(()) => {
                    writer.has_synced(size, written);
                    // Here nobody waits for the disk: what is signed now need not be forced to it by whoever asks later.
                    if writer.since >= CHECKPOINT_RECORDS / 2 {
                        return writer.sign(None);
                    }
                    return writer.write_head();
                }
                Err(error) => {
                    writer.failed = Some(Failure::Lost);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Signs how far the trail has come, if that is due: records that nothing follows are signed as well. And goes on behind a
    /// failure, if the disk lets us, whether somebody asks for a record or not.
    ///
    /// # Errors
    /// As for a write.
    pub fn tend(&self) -> Result<(), AuditError> {
        let mut writer = self.lock();
        if writer.failed.is_some() {
            writer.flush()?;
        }
        if writer.since > 0 && writer.last.elapsed() >= CHECKPOINT_EVERY { writer.checkpoint() } else { Ok(()) }
    }

    /// Signs how far the trail has come.
    pub fn checkpoint(&self) -> Result<(), AuditError> {
        self.lock().checkpoint()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every further write fail, as on a full disk.
    #[cfg(test)]
    pub(crate) fn break_for_test(&self) {
        let mut writer = self.lock();
        if let Ok(full) = OpenOptions::new().write(true).open("/dev/full") {
            writer.segment = full;
        }
    }

    /// Lets the disk refuse what is written from now on, until it is written anew. Files that are no files cannot be forced
    /// to a disk.
    #[cfg(test)]
    pub(crate) fn break_disk_for_test(&self) {
        let mut writer = self.lock();
        if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
            writer.segment = null;
        }
    }

    /// Has another key sign from here on; the old one says so. Gives the new public key in hex.
    ///
    /// # Errors
    /// Files cannot be written: the old key stays.
    pub fn rotate_key(&self) -> Result<String, AuditError> {
        let mut writer = self.lock();
        writer.note("the signing key is handed on".to_owned())?;
        let dir = writer.dir.clone();
        let (next, public) = keys::prepare(&dir)?;
        writer.settle()?;
        writer.sign(Some(public.clone()))?;
        keys::hand_on(&dir, &public)?;
        writer.key = next;
        Ok(public)
    }

    /// Why nothing can be written, if that is so.
    pub fn failure(&self) -> Option<&'static str> {
        self.lock().failed.map(|failure| match failure {
            Failure::Torn => "a write broke off",
            Failure::Lost => "the disk did not take what was written",
        })
    }

    /// Says that the witness does not take checkpoints, or that it does.
    pub fn witness_fails(&self, why: Option<String>) {
        *self.untaken.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why the witness does not take checkpoints, if that is so.
    pub fn witness_failure(&self) -> Option<String> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many bytes of records the disk may not have yet.
    pub fn unsynced(&self) -> u64 {
        let state = self.lock();
        u64::try_from(state.unsynced.len() + state.pending.len()).unwrap_or(u64::MAX)
    }

    /// Number of the last record.
    pub fn seq(&self) -> u64 {
        self.lock().head.seq
    }
}

/// How far the trail has been signed, by the last whole line; half a line behind it (the machine died within the write) goes.
fn last_signed(checkpoints: &Path) -> io::Result<u64> {
    let bytes = match std::fs::read(checkpoints) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < bytes.len() {
        OpenOptions::new().write(true).open(checkpoints)?.set_len(whole as u64)?;
        tracing::warn!(file = %checkpoints.display(), "dropped a half-written audit checkpoint");
    }
    let mut lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    let last =
        lines.rfind(|line| !line.is_empty()).and_then(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    // One that cannot be read is for `audit verify` to complain about.
    Ok(last.and_then(|last| last.get("seq")?.as_u64()).unwrap_or_default())
}

impl Drop for Trail {
    fn drop(&mut self) {
        if let Err(error) = self.checkpoint() {
            tracing::error!(%error, "the last audit checkpoint could not be signed");
        }
    }
}

impl Writer {
    fn seal(&mut self, record: Record) -> Result<u64, AuditError> {
        // Behind a failed write nothing piles up, and behind a great many records they are written.
        if self.failed.is_some() || self.pending.len() >= PENDING {
            self.flush()?;
        }
        self.add(record)
    }

    /// Gives a record its place.
    fn add(&mut self, mut record: Record) -> Result<u64, AuditError> {
        record.seq = self.head.seq + 1;
        record.time = now();
        record.prev.clone_from(&self.head.hash);
        let start = self.pending.len();
        if let Err(error) = record.write(&mut self.pending) {
            self.pending.truncate(start);
            return Err(error.into());
        }
        let hash = seal(&mut self.pending, start);
        self.head = Head { seq: record.seq, hash };
        self.since += 1;
        Ok(record.seq)
    }

    fn flush(&mut self) -> Result<(), AuditError> {
        let recovered = self.failed.map(|failure| self.reopen(failure)).transpose()?;
        if self.pending.is_empty() && recovered.is_none() {
            return Ok(());
        }
        if self.size >= self.most {
            self.rotate()?;
        }
        self.append()?;
        if let Some(text) = recovered {
            // Only now: what cannot be written yet does not pile up.
            self.add(of_its_own(text))?;
            self.append()?;
        }
        // With `group` that would wait for the disk: whoever tends the trail does it.
        let late = self.fsync != Fsync::Group && self.last.elapsed() >= CHECKPOINT_EVERY;
        if late || self.since >= CHECKPOINT_RECORDS {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Writes what is pending, in one piece.
    fn append(&mut self) -> io::Result<()> {
        if self.fsync == Fsync::Group && self.unsynced.len() >= MOST_UNSYNCED {
            // The disk does not keep up: it is waited for.
            self.segment.sync_data().inspect_err(|_| self.failed = Some(Failure::Lost))?;
            self.has_synced(self.size, self.written.clone());
        }
        self.segment.write_all(&self.pending).inspect_err(|_| self.failed = Some(Failure::Torn))?;
        let written = self.size + self.pending.len() as u64;
        match self.fsync {
            Fsync::Each => {
                self.segment.sync_data().inspect_err(|_| self.failed = Some(Failure::Lost))?;
                self.synced = written;
            }
            Fsync::Group => self.unsynced.extend_from_slice(&self.pending),
            Fsync::Os => self.synced = written,
        }
        self.size = written;
        self.written.clone_from(&self.head);
        if self.fsync != Fsync::Group {
            self.synced_head.clone_from(&self.head);
        }
        self.pending.clear();
        Ok(())
    }

    /// The disk has the segment up to here, which is up to that record.
    fn has_synced(&mut self, size: u64, last: Head) {
        let taken = usize::try_from(size.saturating_sub(self.synced)).unwrap_or(usize::MAX).min(self.unsynced.len());
        self.unsynced.drain(..taken);
        if size >= self.synced {
            (self.synced, self.synced_head) = (size, last);
        }
    }

    /// Goes on behind a failure, if the disk lets us. Half a line is cut off. What the disk may not have is cut off too, and
    /// written anew into the next segment. Says what was done.
    fn reopen(&mut self, failure: Failure) -> Result<String, AuditError> {
        let closed = |_| AuditError::Closed;
        let keep = match failure {
            Failure::Torn => self.size,
            Failure::Lost => self.synced,
        };
        let segment = append(&segment_path(&self.dir, self.number)).map_err(closed)?;
        segment.set_len(keep).map_err(closed)?;
        self.segment = segment;
        if failure == Failure::Lost {
            let again = std::mem::take(&mut self.unsynced);
            let next = append(&segment_path(&self.dir, self.number + 1)).map_err(closed)?;
            let written = next.set_len(0).and_then(|()| (&next).write_all(&again)).and_then(|()| next.sync_all());
            if written.is_err() {
                self.unsynced = again;
                return Err(AuditError::Closed);
            }
            self.number += 1;
            self.segment = next;
            self.size = again.len() as u64;
            self.synced = self.size;
            self.synced_head.clone_from(&self.written);
        }
        self.failed = None;
        Ok(match failure {
            Failure::Torn => "recovered: a write of the trail had broken off; it was made anew".to_owned(),
            Failure::Lost => {
                let (bytes, number) = (self.size, self.number);
                format!(
                    "recovered: the disk had refused what was written; {bytes} bytes were written anew into segment {number}"
                )
            }
        })
    }

    fn rotate(&mut self) -> Result<(), AuditError> {
        self.segment.sync_all().inspect_err(|_| self.failed = Some(Failure::Lost))?;
        self.has_synced(self.size, self.written.clone());
        self.segment = append(&segment_path(&self.dir, self.number + 1))?;
        self.number += 1;
        (self.size, self.synced) = (0, 0);
        self.keeping.see_to(&self.dir, self.number);
        Ok(())
    }

    fn note(&mut self, text: String) -> Result<(), AuditError> {
        self.seal(of_its_own(text))?;
        self.flush()
    }

    fn write_head(&mut self) -> Result<(), AuditError> {
        // Of one length always, so that one write replaces the whole of it.
        let Head { seq, hash } = &self.synced_head;
        if self.named == Some(*seq) {
            return Ok(());
        }
        let head = format!("{{\"seq\":{seq:>20},\"hash\":\"{hash}\"}}\n");
        self.named = None;
        self.head_file.write_all_at(head.as_bytes(), 0)?;
        self.named = Some(*seq);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), AuditError> {
        if self.since == 0 {
            return Ok(());
        }
        self.settle()?;
        // That may have been the time for it.
        if self.since == 0 { Ok(()) } else { self.sign(None) }
    }

    /// Writes all that there is, and waits until the disk has it.
    fn settle(&mut self) -> Result<(), AuditError> {
        if !self.pending.is_empty() || self.failed.is_some() {
            self.flush()?;
        }
        if self.fsync == Fsync::Group && !self.unsynced.is_empty() {
            self.segment.sync_data().inspect_err(|_| self.failed = Some(Failure::Lost))?;
            self.has_synced(self.size, self.written.clone());
        }
        Ok(())
    }

    /// Signs how far the trail has come, and which key signs from here on if it is another.
    fn sign(&mut self, next: Option<String>) -> Result<(), AuditError> {
        self.last = Instant::now();
        let Head { seq, hash } = self.synced_head.clone();
        self.write_head()?;
        let signature = self.key.sign(verify::statement(seq, &hash, next.as_deref()).as_bytes());
        let checkpoint = Checkpoint {
            seq,
            hash,
            time: now(),
            key: hex(self.key.verifying_key().as_bytes()),
            next,
            signature: hex(&signature.to_bytes()),
        };
        let mut line = serde_json::to_string(&checkpoint)?;
        line.push('\n');
        // Half a checkpoint that a failed write has left is cut off before the next one.
        if self.checkpoints.metadata()?.len() != self.signed_size {
            self.checkpoints.set_len(self.signed_size)?;
        }
        self.checkpoints.write_all(line.as_bytes())?;
        self.signed_size += line.len() as u64;
        self.since = self.head.seq.saturating_sub(checkpoint.seq);
        if let Some(witness) = &mut self.witness {
            // The trail itself stands; that nobody else has seen it is for `audit verify --witness` to say.
            let failed = witness.write_all(line.as_bytes()).err();
            if let Some(error) = &failed {
                tracing::error!(%error, "the witness did not take a checkpoint");
            }
            let why = failed.map(|error| format!("the witness did not take the last checkpoint: {error}"));
            *self.untaken.lock().unwrap_or_else(PoisonError::into_inner) = why;
        }
        Ok(())
    }
}

/// A record of the trail's own.
fn of_its_own(text: String) -> Record {
    let mut record = Record::new(Event::Admin, Arc::new(Subject::default()));
    record.statement = Some(text);
    record
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

pub(super) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("audit-{number:06}.jsonl"))
}

/// RFC 3339 with microseconds. All but those is written out once in a second.
fn now() -> String {
    thread_local! {
        static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let now = OffsetDateTime::now_utc();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now.unix_timestamp() {
            let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].");
            (*second, *text) = (now.unix_timestamp(), now.format(format).unwrap_or_default());
        }
        let mut whole = String::with_capacity(text.len() + 7);
        whole.push_str(text);
        let mut rest = now.microsecond();
        for scale in [100_000, 10_000, 1000, 100, 10, 1] {
            whole.push(char::from_digit(rest / scale, 10).unwrap_or('0'));
            rest %= scale;
        }
        whole.push('Z');
        whole
    })
}
