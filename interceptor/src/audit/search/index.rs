//! The index: chunks in an SQLite file beside the trail.
//!
//! It only ever says what need *not* be read. Each chunk is tied to the one before and to the hash of its last record, and each
//! part to its chunk; what does not fit is not used. It can be thrown away at any time.

use super::super::chain::{hash, unseal};
use super::chunk::{self, Making, Malformed, Part, Spot};
use super::segment::{Lines, Place};
use super::terms::Terms;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its name in the trail's folder.
const FILE: &str = "search.index";
/// Of the layout; one of another is made anew.
const VERSION: i32 = 2;
/// How long somebody waits for another who writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an index is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// It is not of this trail, or not as it was made.
    #[error("the search index does not fit the record ({0})")]
    Unfit(&'static str),
    /// SQLite's answer.
    #[error("the search index cannot be used")]
    Database(#[from] rusqlite::Error),
    /// The trail or the index's file.
    #[error("the record cannot be read")]
    Trail(#[from] io::Error),
}

impl From<Malformed> for IndexError {
    fn from(_: Malformed) -> Self {
        Self::Unfit("a part of it is malformed")
    }
}

/// A chunk, without its parts.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: i64,
    /// Number of its first record, and how many there are.
    pub(super) first: u64,
    pub(super) records: u64,
    /// The earliest and the latest time in it.
    pub(super) from: String,
    pub(super) until: String,
    /// Where the record behind it begins.
    pub(super) end: Place,
    /// Hash of its last record.
    last: String,
    /// Over all of these and the seal of the chunk before.
    seal: Vec<u8>,
}

impl Head {
    /// Number of the record behind it.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(self.records)
    }

    fn sealed(&self, before: &[u8]) -> Vec<u8> {
        let Self { id, first, records, from, until, end: Place { segment, offset }, last, seal: _ } = self;
        let said = format!("{id}\n{first}\n{records}\n{from}\n{until}\n{segment}\n{offset}\n{last}\n");
        Sha256::new_with_prefix(before).chain_update(said).finalize().to_vec()
    }

    fn sealed_part(&self, part: Part, content: &[u8]) -> Vec<u8> {
        let said = format!("{}\n{}\n", self.last, part.number());
        Sha256::new_with_prefix(said).chain_update(content).finalize().to_vec()
    }
}

/// An open index.
#[derive(Debug)]
pub(super) struct Index {
    dir: PathBuf,
    database: Connection,
    pub(super) chunks: Vec<Head>,
}

impl Index {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// Opens the index of a trail for searching; `None` if there is none.
    ///
    /// # Errors
    /// It is not of this trail as it is now.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, IndexError> {
        if !Self::path(dir).try_exists()? {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let database = connect(dir, flags)?;
        if version(&database)? != VERSION {
            return Err(IndexError::Unfit("it is of another version"));
        }
        let mut index = Self { dir: dir.to_owned(), database, chunks: Vec::new() };
        let stood = index.load()?;
        if !stood || !index.is_of_trail()? {
            return Err(IndexError::Unfit("it is of another record, or of one that had gone further"));
        }
        Ok(Some(index))
    }

    /// Opens the index of a trail for adding to it, or makes one; what does not fit the trail is taken out.
    fn open_to_add(dir: &Path) -> Result<Self, IndexError> {
        let path = Self::path(dir);
        OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path)?;
        let database = connect(dir, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
        if version(&database)? != VERSION {
            database.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 DROP TABLE IF EXISTS chunks;
                 DROP TABLE IF EXISTS parts;
                 CREATE TABLE chunks (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, records INTEGER NOT NULL,
                     since TEXT NOT NULL, until TEXT NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
                     last TEXT NOT NULL, seal BLOB NOT NULL);
                 CREATE TABLE parts (id INTEGER PRIMARY KEY, seal BLOB NOT NULL, content BLOB NOT NULL);
                 PRAGMA user_version = {VERSION};
                 COMMIT"
            ))?;
        }
        let mut index = Self { dir: dir.to_owned(), database, chunks: Vec::new() };
        let mut fits = index.load()?;
        // A crash of the machine may take records back that the index has; so does what a disk did not take and was written
        // anew elsewhere.
        while !index.is_of_trail()? {
            fits = false;
            index.chunks.pop();
        }
        if !fits {
            tracing::warn!(index = %path.display(), chunks = index.chunks.len(), "the search index did not fit the record; it is made anew from here");
            let kept = index.chunks.last().map_or(0, |last| last.id);
            let transaction = index.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM chunks WHERE id > ?", [kept])?;
            transaction.execute("DELETE FROM parts WHERE id >= ?", [(kept + 1) << 6])?;
            transaction.commit()?;
        }
        Ok(index)
    }

    /// Reads the chunks, as far as each hangs on the one before; says whether all do.
    fn load(&mut self) -> Result<bool, IndexError> {
        self.chunks.clear();
        let mut query = self
            .database
            .prepare("SELECT id, first, records, since, until, segment, offset, last, seal FROM chunks ORDER BY id")?;
        let mut rows = query.query([])?;
        let (mut id, mut next, mut seal) = (1, None, Vec::new());
        while let Some(row) = rows.next()? {
            let head = Head {
                id: row.get(0)?,
                first: row.get::<_, i64>(1)?.cast_unsigned(),
                records: row.get::<_, i64>(2)?.cast_unsigned(),
                from: row.get(3)?,
                until: row.get(4)?,
                end: Place { segment: row.get(5)?, offset: row.get::<_, i64>(6)?.cast_unsigned() },
                last: row.get(7)?,
                seal: row.get(8)?,
            };
            let fits = head.id == id
                && next.is_none_or(|next| head.first == next)
                && (1..=chunk::RECORDS as u64).contains(&head.records)
                && head.sealed(&seal) == head.seal;
            if !fits {
                return Ok(false);
            }
            (id, next) = (id + 1, Some(head.next()));
            seal.clone_from(&head.seal);
            self.chunks.push(head);
        }
        Ok(true)
    }

    /// Whether it begins where the trail does, and the last record that it has stands in the trail where it says. With that
    /// all before it does, each record naming the one before.
    fn is_of_trail(&self) -> Result<bool, IndexError> {
        let (Some(first), Some(head)) = (self.chunks.first(), self.chunks.last()) else { return Ok(true) };
        let spots = |head| match self.spots(head) {
            Err(IndexError::Unfit(_)) => Ok(Vec::new()),
            other => other,
        };
        let begins = spots(first)?.first().map(|spot| spot.place);
        if begins.is_none() || begins != Lines::from(&self.dir, Place::START).next()?.map(|(place, _)| place) {
            return Ok(false);
        }
        let spots = spots(head)?;
        let Some(spot) = spots.last() else { return Ok(false) };
        let mut lines = Lines::from(&self.dir, spot.place);
        let Ok(Some((place, line))) = lines.next() else { return Ok(false) };
        let sealed = std::str::from_utf8(line).ok().and_then(unseal);
        let stands = sealed.is_some_and(|(json, sealed)| sealed == head.last && hash(&json) == sealed);
        Ok(place == spot.place && stands)
    }

    /// A part of a chunk, as it was made.
    pub(super) fn part(&self, head: &Head, part: Part) -> Result<Vec<u8>, IndexError> {
        let mut query = self.database.prepare("SELECT seal, content FROM parts WHERE id = ?")?;
        let found = query.query_row([(head.id << 6) + part.number()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        let (seal, content) = found.optional()?.ok_or(IndexError::Unfit("a part of it is missing"))?;
        if head.sealed_part(part, &content) == seal {
            Ok(content)
        } else {
            Err(IndexError::Unfit("a part of it is not as it was made"))
        }
    }

    /// Where the records of a chunk stand.
    pub(super) fn spots(&self, head: &Head) -> Result<Vec<Spot>, IndexError> {
        let records = usize::try_from(head.records).map_err(|_| Malformed)?;
        Ok(chunk::read_places(&self.part(head, Part::Places)?, records)?)
    }

    /// Adds a chunk, unless somebody else has added one meanwhile: then there is nothing to add it to.
    fn add(&mut self, made: Making, end: Place, last: String) -> Result<bool, IndexError> {
        let (before, id) =
            self.chunks.last().map_or((Vec::new(), 1), |head| (head.seal.clone(), head.id.saturating_add(1)));
        let (from, until) = (made.from.clone(), made.until.clone());
        let records = made.spots.len() as u64;
        let mut head = Head { id, first: made.first, records, from, until, end, last, seal: Vec::new() };
        head.seal = head.sealed(&before);
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let newest: Option<(i64, Vec<u8>)> = transaction
            .query_row("SELECT id, seal FROM chunks ORDER BY id DESC LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if newest.unwrap_or_default() != (id - 1, before) {
            return Ok(false);
        }
        {
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)")?;
            for (part, content) in made.parts() {
                insert.execute(params![(id << 6) + part.number(), head.sealed_part(part, &content), content])?;
            }
            let Head { id, first, records, from, until, end: Place { segment, offset }, last, seal } = &head;
            transaction.execute(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    id,
                    first.cast_signed(),
                    records.cast_signed(),
                    from,
                    until,
                    segment,
                    offset.cast_signed(),
                    last,
                    seal
                ],
            )?;
        }
        transaction.commit()?;
        self.chunks.push(head);
        Ok(true)
    }
}

fn connect(dir: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let database = Connection::open_with_flags(Index::path(dir), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    database.busy_timeout(PATIENCE)?;
    // Whoever reads what somebody else has written believes nothing in it; and nothing is put beside the trail but the index.
    database.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY")?;
    Ok(database)
}

fn version(database: &Connection) -> Result<i32, rusqlite::Error> {
    database.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Adds to the index of a trail all that makes up whole chunks, from where it ends. `told` hears how many records there are in
/// it, chunk by chunk. Gives that number.
///
/// # Errors
/// The index cannot be written; the trail cannot be read.
pub(super) fn catch_up(dir: &Path, mut told: impl FnMut(u64)) -> Result<u64, IndexError> {
    // Nothing is made for a trail that has not even one chunk.
    if !Index::path(dir).try_exists()? && !has_chunk(dir)? {
        return Ok(0);
    }
    let mut index = match Index::open_to_add(dir) {
        Err(IndexError::Database(error)) if is_broken(&error) => {
            tracing::warn!(%error, "the search index was broken; it is made anew");
            remove(dir)?;
            Index::open_to_add(dir)?
        }
        opened => opened?,
    };
    'anew: loop {
        let place = index.chunks.last().map_or(Place::START, |head| head.end);
        let mut lines = Lines::from(dir, place);
        let mut made = index.chunks.last().map(|head| Making::new(head.next()));
        while let Some((place, line)) = lines.next()? {
            // What is no record, or not the next one, is for a search to complain of; nothing behind it is indexed.
            let Ok(line) = std::str::from_utf8(line) else { break };
            let Some((json, sealed)) = unseal(line).filter(|(json, sealed)| hash(json) == *sealed) else { break };
            let Ok(record) = Terms::of(&json) else { break };
            let making = made.get_or_insert_with(|| Making::new(record.seq));
            if record.seq != making.first + making.spots.len() as u64 {
                break;
            }
            making.add(Spot { place, length: line.len() as u64 }, &record);
            if making.is_full() {
                let (sealed, last) = (sealed.to_owned(), record.seq);
                if let Some(full) = made.replace(Making::new(last + 1))
                    && !index.add(full, lines.place(), sealed)?
                {
                    index.load()?;
                    continue 'anew;
                }
                told(last);
            }
        }
        return Ok(index.chunks.last().map_or(0, |head| head.next() - 1));
    }
}

/// Whether there is so much that a chunk may come of it.
fn has_chunk(dir: &Path) -> io::Result<bool> {
    let mut lines = Lines::from(dir, Place::START);
    let mut bytes = 0;
    for _ in 0..chunk::RECORDS {
        match lines.next()? {
            Some((_, line)) => bytes += line.len(),
            None => return Ok(false),
        }
        if bytes as u64 >= chunk::BYTES {
            break;
        }
    }
    Ok(true)
}

/// Whether only making it anew helps: it is no database, or one with other things in it. Disks, locks and rights are not made
/// better by that.
fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    error.sqlite_error_code().is_none_or(|code| matches!(code, DatabaseCorrupt | NotADatabase | Unknown))
}

/// Takes the index away.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let path = Index::path(dir);
    for path in [path.clone(), PathBuf::from(format!("{}-journal", path.display()))] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Size of the index in bytes; 0 without one.
pub(super) fn size(dir: &Path) -> u64 {
    std::fs::metadata(Index::path(dir)).map_or(0, |file| file.size())
}
