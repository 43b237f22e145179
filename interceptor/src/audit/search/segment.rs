//! A segment as bytes that can be read from anywhere, compressed or not, and a trail as lines from any of them on.

use super::super::{archive, trail, verify};
use archive::BLOCK;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where a line stands, as if no segment were compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

impl Place {
    /// The beginning of a trail, also of one whose first segments were moved away.
    pub(super) const START: Self = Self { segment: 0, offset: 0 };
}

/// An open segment, and its block that was read last.
struct Segment {
    number: u32,
    form: Form,
    at: u64,
    block: Vec<u8>,
}

enum Form {
    Plain(File),
    /// Where each member begins.
    Members(File, Vec<u64>),
    /// One gzip stream: what is before a block has to be read first. And the block that it comes to next.
    Stream(PathBuf, Option<Box<(MultiGzDecoder<File>, u64)>>),
}

impl Segment {
    /// `None` where there is no such segment.
    fn open(dir: &Path, number: u32) -> io::Result<Option<Self>> {
        let plain = trail::segment_path(dir, number);
        let compressed = PathBuf::from(format!("{}{}", plain.display(), archive::SUFFIX));
        // The second time: it has been compressed since.
        for path in [&plain, &compressed, &plain] {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let form = if !archive::is_compressed(path) {
                Form::Plain(file)
            } else if let Some(starts) = archive::members(&file)? {
                Form::Members(file, starts)
            } else {
                Form::Stream(path.clone(), None)
            };
            return Ok(Some(Self { number, form, at: u64::MAX, block: Vec::new() }));
        }
        Ok(None)
    }

    /// What there is from an offset on, of the block that it is in; nothing behind the end.
    fn from(&mut self, offset: u64) -> io::Result<&[u8]> {
        let at = offset / BLOCK as u64;
        let within = usize::try_from(offset % BLOCK as u64).unwrap_or_default();
        // The last block of the last segment grows.
        let grows = matches!(self.form, Form::Plain(_)) && self.block.len() < BLOCK && within >= self.block.len();
        if self.at != at || grows {
            self.at = u64::MAX;
            self.read(at)?;
            self.at = at;
        }
        Ok(self.block.get(within..).unwrap_or_default())
    }

    fn read(&mut self, at: u64) -> io::Result<()> {
        self.block.clear();
        match &mut self.form {
            Form::Plain(file) => {
                self.block.resize(BLOCK, 0);
                let mut read = 0;
                while let Some(rest) = self.block.get_mut(read..).filter(|rest| !rest.is_empty()) {
                    match file.read_at(rest, at * BLOCK as u64 + read as u64)? {
                        0 => break,
                        more => read += more,
                    }
                }
                self.block.truncate(read);
            }
            Form::Members(file, starts) => {
                let index = usize::try_from(at).map_err(io::Error::other)?;
                let Some(start) = starts.get(index) else { return Ok(()) };
                let end = starts.get(index + 1).copied().map_or_else(|| file.metadata().map(|file| file.len()), Ok)?;
                let mut member = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
                file.read_exact_at(&mut member, *start)?;
                MultiGzDecoder::new(member.as_slice()).take(BLOCK as u64 + 1).read_to_end(&mut self.block)?;
                let last = index + 1 == starts.len();
                if self.block.len() > BLOCK || (self.block.len() < BLOCK && !last) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a member has another length than its place",
                    ));
                }
            }
            Form::Stream(path, reader) => {
                if reader.as_ref().is_none_or(|open| open.1 > at) {
                    *reader = Some(Box::new((MultiGzDecoder::new(File::open(path)?), 0)));
                }
                let Some((decoder, next)) = reader.as_deref_mut() else { return Ok(()) };
                while *next <= at {
                    self.block.clear();
                    decoder.take(BLOCK as u64).read_to_end(&mut self.block)?;
                    *next += 1;
                }
            }
        }
        Ok(())
    }
}

/// The segment that follows another.
fn next_segment(dir: &Path, behind: u32) -> io::Result<Option<u32>> {
    Ok(verify::segments(dir)?.into_iter().map(|(number, _)| number).find(|number| *number > behind))
}

/// A trail's lines, from anywhere on.
pub(super) struct Lines {
    dir: PathBuf,
    segment: Option<Segment>,
    /// Where the next line begins.
    next: Place,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn from(dir: &Path, next: Place) -> Self {
        Self { dir: dir.to_owned(), segment: None, next, line: Vec::new() }
    }

    /// Goes on elsewhere.
    pub(super) fn seek(&mut self, next: Place) {
        self.next = next;
    }

    pub(super) fn place(&self) -> Place {
        self.next
    }

    /// The next line without its end, and where it stands; `None` at the end of what is there. Half a line at the very end
    /// is no line: whoever writes has not come to its end.
    ///
    /// # Errors
    /// The trail cannot be read, or a segment that others follow ends in half a line.
    pub(super) fn next(&mut self) -> io::Result<Option<(Place, &[u8])>> {
        loop {
            let Some(place) = self.read()? else {
                // A segment ends for good when the next one has begun; what was written before that is read first.
                let Some(number) = next_segment(&self.dir, self.next.segment)? else { return Ok(None) };
                if let Some(place) = self.read()? {
                    return Ok(Some((place, &self.line)));
                }
                if !self.line.is_empty() {
                    let text = format!("segment {} ends in half a line", self.next.segment);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                self.next = Place { segment: number, offset: 0 };
                continue;
            };
            return Ok(Some((place, &self.line)));
        }
    }

    fn read(&mut self) -> io::Result<Option<Place>> {
        self.line.clear();
        if self.segment.as_ref().is_none_or(|segment| segment.number != self.next.segment) {
            self.segment = Segment::open(&self.dir, self.next.segment)?;
        }
        let Some(segment) = &mut self.segment else { return Ok(None) };
        loop {
            let bytes = segment.from(self.next.offset + self.line.len() as u64)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                continue;
            };
            self.line.extend_from_slice(bytes.get(..end).unwrap_or_default());
            let place = self.next;
            self.next.offset += self.line.len() as u64 + 1;
            return Ok(Some(place));
        }
    }
}
