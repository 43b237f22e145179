//! Searching a trail of any size.
//!
//! What is wanted is read from the trail itself, by the place where it stands, and looked at again: an index beside it says
//! which records need not be read, up to where it has come; what is behind that is read from end to end. An index that does not
//! fit is not used, and whoever searches is told. For proof there is `verify`, which knows of no index.

mod chunk;
mod counts;
mod index;
mod segment;
mod terms;
mod wanted;

pub use counts::{Counts, Fired};
pub(super) use terms::Terms;
pub use wanted::Wanted;

use super::chain::{hash, unseal};
use index::{Head, Index, IndexError};
use segment::{Lines, Place};
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::Path;

/// How a search went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// Records that the index spoke for.
    pub indexed: u64,
    /// Why the index was not used, or not to its end.
    pub complaint: Option<String>,
    /// Records that fit and whose hash does not: they are not what was written, and not among what was found.
    pub changed: Vec<u64>,
}

/// What became of bringing an index up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// Records that are in it.
    pub records: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Brings the index of a trail up to date, or makes it. What is too little for another chunk stays outside and is read by each
/// search. `told` hears how many records are in it, as they come to be.
///
/// # Errors
/// The index cannot be written, or the trail not read.
pub fn index(dir: &Path, told: impl FnMut(u64)) -> io::Result<Indexed> {
    let records = index::catch_up(dir, told).map_err(io_error)?;
    Ok(Indexed { records, bytes: index::size(dir) })
}

/// Takes the index of a trail away; the next search makes it anew.
///
/// # Errors
/// It cannot be removed.
pub fn forget_index(dir: &Path) -> io::Result<()> {
    index::remove(dir)
}

/// Whether the index says of every record what it should: each chunk is made anew and compared. Gives what is wrong, if anything.
///
/// # Errors
/// The trail cannot be read.
pub fn check_index(dir: &Path) -> io::Result<Option<String>> {
    let check = || -> Result<(), IndexError> {
        let Some(index) = Index::open(dir)? else { return Ok(()) };
        let mut lines = Lines::from(dir, Place::START);
        for head in &index.chunks {
            let mut made = chunk::Making::new(head.first);
            for spot in index.spots(head)? {
                let Some((place, line)) = lines.next()? else { return Err(IndexError::Unfit("the record is shorter")) };
                let record = std::str::from_utf8(line).ok().and_then(|line| Terms::of(line).ok());
                let record = record.filter(|record| record.seq == head.first + made.spots.len() as u64);
                let Some(record) = record else { return Err(IndexError::Unfit("it has what is no record")) };
                if place != spot.place {
                    return Err(IndexError::Unfit("a record stands elsewhere"));
                }
                made.add(spot, &record);
            }
            if (&made.from, &made.until) != (&head.from, &head.until) {
                return Err(IndexError::Unfit("a time is another"));
            }
            for (part, content) in made.parts() {
                if index.part(head, part)? != content {
                    return Err(IndexError::Unfit("a part of it says something else than the record"));
                }
            }
        }
        Ok(())
    };
    match check() {
        Ok(()) => Ok(None),
        Err(IndexError::Trail(error)) => Err(error),
        Err(error) => Ok(Some(whole(&error))),
    }
}

/// Hands the lines of all records that are wanted to `visit`, in order, until it breaks off.
///
/// # Errors
/// The trail cannot be read to its end.
pub fn search(
    dir: &Path,
    wanted: &Wanted,
    use_index: bool,
    mut visit: impl FnMut(&str) -> ControlFlow<()>,
) -> io::Result<Searched> {
    let mut looking = Looking::new(dir, wanted, use_index);
    let chunks = looking.chunks();
    // The first record that has not been looked at yet.
    let mut next = 1;
    for head in &chunks {
        match looking.indexed(head, &mut visit) {
            Ok(Break(())) => return Ok(looking.searched),
            Ok(Continue(())) => next = head.next(),
            Err(error) => {
                looking.complain(&error);
                break;
            }
        }
    }
    looking.searched.indexed = next - 1;
    let whole = chunks.last().filter(|head| head.next() == next);
    let place = whole.map_or(Place::START, |head| head.end);
    let _ = looking.read(place, next, u64::MAX, &mut visit)?;
    Ok(looking.searched)
}

/// The lines of the latest records that are wanted, the latest first: at most so many, and whether there are more.
///
/// # Errors
/// The trail cannot be read to its end.
pub fn search_latest(
    dir: &Path,
    wanted: &Wanted,
    use_index: bool,
    most: usize,
) -> io::Result<(Vec<String>, bool, Searched)> {
    let mut looking = Looking::new(dir, wanted, use_index);
    let mut chunks = looking.chunks();
    let mut found = Vec::new();
    // What the index does not have comes last in the trail, so first here.
    let (place, next) = chunks.last().map_or((Place::START, 1), |head| (head.end, head.next()));
    latest_of(&mut found, most, |visit| looking.read(place, next, u64::MAX, visit))?;
    while let Some(head) = chunks.pop()
        && found.len() <= most
    {
        let mut of_chunk = Vec::new();
        let looked = looking.indexed(&head, &mut |line| {
            of_chunk.push(line.to_owned());
            Continue(())
        });
        match looked {
            Ok(_) => {
                looking.searched.indexed += head.records;
                found.extend(of_chunk.into_iter().rev());
            }
            Err(error) => {
                looking.complain(&error);
                latest_of(&mut found, most, |visit| looking.read(Place::START, 1, head.next(), visit))?;
                break;
            }
        }
    }
    let more = found.len() > most;
    found.truncate(most);
    Ok((found, more, looking.searched))
}

/// What the records of a trail come to, from a time on (seconds since 1970, a whole minute) or all of them; what the index knows is not
/// read.
///
/// # Errors
/// The trail cannot be read to its end.
pub fn count(dir: &Path, since: Option<i64>, use_index: bool) -> io::Result<(Counts, Searched)> {
    let wanted = Wanted::default();
    let mut looking = Looking::new(dir, &wanted, use_index);
    let mut counts = Counts::default();
    let is_in = |time: &str| since.is_none_or(|since| counts::seconds(time).is_none_or(|time| time >= since));
    let mut last = None;
    for head in looking.chunks() {
        let counted = match (is_in(&head.from), is_in(&head.until)) {
            (true, true) => looking.counts(&head),
            (false, false) => Ok(Counts::default()),
            // The time is somewhere in it.
            _ => looking.read_counts(head.first, head.next(), looking.start(&head), &is_in),
        };
        match counted {
            Ok(counted) => counts.append(counted),
            Err(error) => {
                looking.complain(&error);
                break;
            }
        }
        looking.searched.indexed += head.records;
        last = Some(head);
    }
    let (from, place) = last.map_or((1, Ok(Place::START)), |head| (head.next(), Ok(head.end)));
    counts.append(looking.read_counts(from, u64::MAX, place, &is_in).map_err(io_error)?);
    Ok((counts, looking.searched))
}

/// Keeps the last of what comes, one more than `most` altogether, and turns it around.
fn latest_of<T>(
    found: &mut Vec<String>,
    most: usize,
    look: impl FnOnce(&mut dyn FnMut(&str) -> ControlFlow<()>) -> io::Result<T>,
) -> io::Result<()> {
    let room = (most + 1).saturating_sub(found.len());
    let mut last = VecDeque::new();
    look(&mut |line| {
        if last.len() == room {
            last.pop_front();
        }
        last.push_back(line.to_owned());
        Continue(())
    })?;
    found.extend(last.into_iter().rev().take(room));
    Ok(())
}

/// One search.
struct Looking<'a> {
    dir: &'a Path,
    wanted: &'a Wanted,
    needles: Vec<String>,
    index: Option<Index>,
    lines: Lines,
    searched: Searched,
}

impl<'a> Looking<'a> {
    fn new(dir: &'a Path, wanted: &'a Wanted, use_index: bool) -> Self {
        let lines = Lines::from(dir, Place::START);
        let needles = wanted.needles();
        let mut looking = Self { dir, wanted, needles, index: None, lines, searched: Searched::default() };
        if use_index {
            match Index::open(dir) {
                Ok(index) => looking.index = index,
                Err(error) => looking.complain(&error),
            }
        }
        looking
    }

    fn chunks(&self) -> Vec<Head> {
        self.index.as_ref().map(|index| index.chunks.clone()).unwrap_or_default()
    }

    /// What the records of a chunk come to, as its index says.
    fn counts(&self, head: &Head) -> Result<Counts, IndexError> {
        let Some(index) = &self.index else { return Err(IndexError::Unfit("it is gone")) };
        let counts = Counts::read(&index.part(head, chunk::Part::Counts)?).ok_or(chunk::Malformed)?;
        if counts.records == head.records { Ok(counts) } else { Err(chunk::Malformed.into()) }
    }

    /// Where a chunk begins.
    fn start(&self, head: &Head) -> Result<Place, IndexError> {
        let Some(index) = &self.index else { return Err(IndexError::Unfit("it is gone")) };
        Ok(index.spots(head)?.first().ok_or(chunk::Malformed)?.place)
    }

    /// The same of records that are read, from one to before another, beginning at a place.
    fn read_counts(
        &mut self,
        from: u64,
        until: u64,
        place: Result<Place, IndexError>,
        is_in: &dyn Fn(&str) -> bool,
    ) -> Result<Counts, IndexError> {
        let mut counts = Counts::default();
        let _ = self.read(place?, from, until, &mut |line| {
            if let Ok(record) = Terms::of(line)
                && is_in(&record.time)
            {
                counts.add(&record);
            }
            Continue(())
        })?;
        Ok(counts)
    }

    fn complain(&mut self, error: &IndexError) {
        let why = whole(error);
        self.searched.complaint =
            Some(format!("{why}; the record is read without it, `interceptor audit index --rebuild` makes it anew"));
    }

    /// Looks at the records of a chunk that its index does not exclude.
    fn indexed(
        &mut self,
        head: &Head,
        visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let Some(index) = &self.index else { return Err(IndexError::Unfit("it is gone")) };
        if !self.wanted.overlaps(&head.from, &head.until) {
            return Ok(Continue(()));
        }
        let records = usize::try_from(head.records).unwrap_or_default();
        let candidates = chunk::candidates(self.wanted, records, |part| index.part(head, part))?;
        if candidates.is_empty() {
            return Ok(Continue(()));
        }
        let spots = index.spots(head)?;
        // All are read before any is handed out: a chunk whose records are not where it says is looked at anew.
        let mut found = Vec::new();
        for at in candidates {
            let spot = spots.get(at).ok_or(chunk::Malformed)?;
            self.lines.seek(spot.place);
            let unfit = IndexError::Unfit("a record is not where it says");
            let Some((place, line)) = self.lines.next()? else { return Err(unfit) };
            let Some(line) = std::str::from_utf8(line).ok().filter(|_| place == spot.place) else { return Err(unfit) };
            if !stands(line) {
                return Err(unfit);
            }
            if self.needles.iter().all(|needle| memchr::memmem::find(line.as_bytes(), needle.as_bytes()).is_some()) {
                let record = Terms::of(line).map_err(io::Error::from)?;
                if record.seq != head.first + at as u64 {
                    return Err(unfit);
                }
                if self.wanted.fits(&record) {
                    found.push(line.to_owned());
                }
            }
        }
        for line in &found {
            if visit(line).is_break() {
                return Ok(Break(()));
            }
        }
        Ok(Continue(()))
    }

    /// Reads everything from a place on, and looks at the records from `from` to before `until`.
    fn read(
        &mut self,
        place: Place,
        from: u64,
        until: u64,
        visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let damaged = |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let needles: Vec<_> = self.needles.iter().map(memchr::memmem::Finder::new).collect();
        let mut lines = Lines::from(self.dir, place);
        while let Some((_, line)) = lines.next()? {
            if !needles.iter().all(|needle| needle.find(line).is_some()) {
                continue;
            }
            let line = std::str::from_utf8(line).map_err(io::Error::other)?;
            let record = Terms::of(line).map_err(damaged)?;
            if record.seq >= until {
                break;
            }
            if record.seq < from || !self.wanted.fits(&record) {
                continue;
            }
            if !stands(line) {
                self.searched.changed.push(record.seq);
            } else if visit(line).is_break() {
                return Ok(Break(()));
            }
        }
        Ok(Continue(()))
    }
}

/// Whether a line is what was written, by its own hash.
fn stands(line: &str) -> bool {
    unseal(line).is_some_and(|(json, sealed)| hash(&json) == sealed)
}

/// An error and what it came from, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

fn io_error(error: IndexError) -> io::Error {
    match error {
        IndexError::Trail(error) => error,
        other => io::Error::other(whole(&other)),
    }
}

#[cfg(test)]
mod tests;
