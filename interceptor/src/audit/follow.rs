//! Following a trail as it is written, by whoever passes it on: the trail itself is the buffer, so nothing is lost while the other
//! side is away, and nobody who writes waits.

use super::{archive, verify};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

/// Where somebody is who reads a trail.
pub struct Follower {
    dir: PathBuf,
    /// The last record that was handed out.
    seq: u64,
    segment: Option<(u32, BufReader<Box<dyn Read + Send>>)>,
    /// The beginning of a line whose end is not written yet.
    half: Vec<u8>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("dir", &self.dir).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Follower {
    /// Begins behind record `seq`; with 0, at the trail's beginning.
    pub fn behind(dir: PathBuf, seq: u64) -> Self {
        Self { dir, seq, segment: None, half: Vec::new() }
    }

    /// Begins behind what is there now.
    ///
    /// # Errors
    /// The trail cannot be read.
    pub fn at_end(dir: PathBuf) -> io::Result<Self> {
        let seq = match verify::tail(&dir)? {
            verify::Tail::At(head) | verify::Tail::Torn { head, .. } => head.seq,
            verify::Tail::Empty => 0,
            verify::Tail::Damaged(damage) => return Err(io::Error::new(io::ErrorKind::InvalidData, damage)),
        };
        Ok(Self::behind(dir, seq))
    }

    /// The number of the last record that was handed out.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whole records that have been written since, in order: at most so many, and no more than about `bytes`. None if there is
    /// nothing new.
    ///
    /// # Errors
    /// The trail cannot be read.
    pub fn next(&mut self, most: usize, bytes: usize) -> io::Result<Vec<String>> {
        let (mut lines, mut size) = (Vec::new(), 0);
        while lines.len() < most && size < bytes {
            let Some((number, reader)) = &mut self.segment else {
                match self.segment_of_next()? {
                    Some(number) => self.open(number)?,
                    None => break,
                }
                continue;
            };
            reader.read_until(b'\n', &mut self.half)?;
            if self.half.last() != Some(&b'\n') {
                // The end of what is there. A segment ends for good when the next one has begun.
                let (number, complete) = (*number, self.half.is_empty());
                if complete && self.has_segment(number + 1)? && !self.grew()? {
                    self.open(number + 1)?;
                    continue;
                }
                break;
            }
            let line = std::mem::take(&mut self.half);
            let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            let Some(seq) = seq_of(&line) else { continue };
            if seq > self.seq {
                self.seq = seq;
                size += line.len();
                lines.push(line);
            }
        }
        Ok(lines)
    }

    /// The segment that the next record stands in, or will: the last that begins no later.
    fn segment_of_next(&self) -> io::Result<Option<u32>> {
        let segments = verify::segments(&self.dir)?;
        for (number, file) in segments.iter().rev() {
            let mut first = String::new();
            BufReader::new(archive::open(file)?).read_line(&mut first)?;
            if seq_of(&first).is_some_and(|seq| seq <= self.seq + 1) {
                return Ok(Some(*number));
            }
        }
        Ok(segments.first().map(|(number, _)| *number))
    }

    fn has_segment(&self, number: u32) -> io::Result<bool> {
        Ok(verify::segments(&self.dir)?.iter().any(|(known, _)| *known == number))
    }

    /// Whether something was written between reaching the end and seeing the next segment.
    fn grew(&mut self) -> io::Result<bool> {
        match &mut self.segment {
            Some((_, reader)) => Ok(!reader.fill_buf()?.is_empty()),
            None => Ok(false),
        }
    }

    fn open(&mut self, number: u32) -> io::Result<()> {
        let segments = verify::segments(&self.dir)?;
        self.half.clear();
        self.segment = match segments.iter().find(|(known, _)| *known == number) {
            Some((number, file)) => Some((*number, BufReader::new(archive::open(file)?))),
            None => None,
        };
        Ok(())
    }
}

/// The number of a record, from the beginning of its line.
fn seq_of(line: &str) -> Option<u64> {
    let (_, behind) = line.split_once("\"seq\":")?;
    behind.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Event, Record, Subject};
    use super::super::{Settings, Trail};
    use super::*;
    use crate::scratch::Scratch;
    use std::sync::Arc;

    #[test]
    fn every_record_comes_once_also_across_segments_and_restarts() {
        let dir = Scratch::about("follow");
        let settings = Settings { segment_megabytes: 1, ..Settings::of(dir.to_owned()) };
        let trail = Trail::open(&settings).unwrap();
        let write = |count: u64| {
            for _ in 0..count {
                let mut record = Record::new(Event::Admin, Arc::new(Subject::default()));
                record.statement = Some("x".repeat(3000));
                trail.write(record).unwrap();
            }
        };
        let seqs = |lines: &[String]| lines.iter().map(|line| seq_of(line).unwrap()).collect::<Vec<_>>();
        let mut follower = Follower::behind(dir.to_owned(), 0);
        assert_eq!(follower.next(10, 1 << 20).unwrap(), Vec::<String>::new());
        write(5);
        assert_eq!(seqs(&follower.next(3, 1 << 20).unwrap()), [1, 2, 3]);
        assert_eq!(seqs(&follower.next(10, 1 << 20).unwrap()), [4, 5]);
        let mut late = Follower::at_end(dir.to_owned()).unwrap();
        // Three segments, the first of them compressed meanwhile.
        write(900);
        let mut all = Vec::new();
        loop {
            let lines = follower.next(100, 50_000).unwrap();
            if lines.is_empty() {
                break;
            }
            assert!(lines.len() <= 18, "by size: {}", lines.len());
            all.extend(seqs(&lines));
        }
        assert_eq!(all, (6..=905).collect::<Vec<_>>());
        assert!(verify::segments(&dir).unwrap().len() >= 3);
        assert_eq!(seqs(&late.next(2, 1 << 20).unwrap()), [6, 7]);
        // Somebody who comes back goes on where they were, in whichever segment that is.
        for at in [0, 1, 4, 350, 904] {
            assert_eq!(seqs(&Follower::behind(dir.to_owned(), at).next(1, 1).unwrap()), [at + 1]);
        }
        assert_eq!(Follower::behind(dir.to_owned(), 905).next(1, 1).unwrap(), Vec::<String>::new());
    }
}
