//! Full segments: compressed one by one, and read as if they were not.
//!
//! A compressed segment is a gzip file of many members (RFC 1952, 2.2), each of which holds the next [`BLOCK`] bytes and says
//! in a field of its header how long it is itself. Any gzip reads all of it; whoever wants one record reads one member.

use super::search;
use super::verify::segments;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What a compressed segment's name ends in, behind `.jsonl`.
pub(super) const SUFFIX: &str = ".gz";
/// Bytes of the segment in each member of its compressed form; the last has fewer.
pub(super) const BLOCK: usize = 256 << 10;
/// Of zlib's levels: 6, the default, takes more than twice as long for a tenth of the size.
const LEVEL: u32 = 2;
/// The lowest priority.
const LAST: i32 = 19;
/// The extra field of a member: our two letters, the length of what follows, and in it the length of the member.
const EXTRA: [u8; 8] = [b'I', b'C', 4, 0, 0, 0, 0, 0];
/// Where that length stands: behind ten bytes of header, the field's own length, the letters and their length.
const LENGTH: std::ops::Range<usize> = 16..20;

/// Opens a segment for reading, compressed or not.
pub(super) fn open(segment: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = match File::open(segment) {
        // It has been compressed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_compressed(segment) => {
            return open(Path::new(&format!("{}{SUFFIX}", segment.display())));
        }
        file => file?,
    };
    Ok(if is_compressed(segment) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

pub(super) fn is_compressed(segment: &Path) -> bool {
    segment.to_string_lossy().ends_with(SUFFIX)
}

/// What is done to segments that are full, on a thread that nobody waits for: one that stays as it is does no harm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    pub(super) compress: bool,
    pub(super) index: bool,
}

impl Keeping {
    /// Sees to the segments before one.
    pub(super) fn see_to(self, dir: &Path, number: u32) {
        // One after the other: whoever comes later finds done what was to be done.
        static AT_IT: Mutex<()> = Mutex::new(());
        if !self.compress && !self.index {
            return;
        }
        let dir = dir.to_owned();
        let work = move || {
            // Only when nobody else needs the CPU. For the kernel a thread is a process here (`setpriority(2)`, "BUGS").
            if let Err(error) = rustix::process::setpriority_process(None, LAST) {
                tracing::debug!(%error, "full audit segments are seen to at the priority of everything else");
            }
            let _one = AT_IT.lock().unwrap_or_else(PoisonError::into_inner);
            // Read while it is not compressed yet.
            if self.index
                && let Err(error) = search::index(&dir, |_| {})
            {
                tracing::warn!(%error, "the search index is not up to date");
            }
            if self.compress {
                compress_before(&dir, number);
            }
        };
        if let Err(error) = thread::Builder::new().name("segments".to_owned()).spawn(work) {
            tracing::warn!(%error, "full audit segments are neither indexed nor compressed");
        }
    }
}

fn compress_before(dir: &Path, number: u32) {
    let full = segments(dir).unwrap_or_default().into_iter();
    for (_, segment) in full.filter(|(other, path)| *other < number && !is_compressed(path)) {
        if let Err(error) = compress(&segment) {
            tracing::warn!(%error, segment = %segment.display(), "a full audit segment could not be compressed");
        }
    }
}

/// At every moment the segment is there whole: as it was until what takes its place is on the disk. Another process may be
/// at it too (`interceptor detach --audit`), so each writes a file of its own.
fn compress(segment: &Path) -> io::Result<()> {
    let name = segment.to_string_lossy();
    let part = format!("{name}{SUFFIX}.{}.part", std::process::id());
    let written = write_compressed(segment, Path::new(&part));
    if let Err(error) = written.and_then(|()| std::fs::rename(&part, format!("{name}{SUFFIX}"))) {
        // Half of it is of no use to anybody; that it could not be written is what matters.
        drop(std::fs::remove_file(&part));
        return Err(error);
    }
    if let Some(dir) = segment.parent() {
        File::open(dir)?.sync_all()?;
    }
    std::fs::remove_file(segment)
}

fn write_compressed(segment: &Path, part: &Path) -> io::Result<()> {
    let mut target = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(part)?;
    let mut segment = File::open(segment)?;
    let mut block = Vec::with_capacity(BLOCK);
    let mut first = true;
    loop {
        block.clear();
        (&mut segment).take(BLOCK as u64).read_to_end(&mut block)?;
        // Of an empty segment there is one member: a file without any is no gzip file.
        if block.is_empty() && !first {
            return target.sync_all();
        }
        target.write_all(&member(&block)?)?;
        first = false;
    }
}

fn member(block: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().extra(EXTRA).write(Vec::with_capacity(BLOCK / 4), Compression::new(LEVEL));
    encoder.write_all(block)?;
    let mut member = encoder.finish()?;
    let length = u32::try_from(member.len()).map_err(io::Error::other)?;
    if let Some(field) = member.get_mut(LENGTH) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    Ok(member)
}

/// Where the members of a compressed segment begin; `None` if some do not say how long they are.
pub(super) fn members(segment: &File) -> io::Result<Option<Vec<u64>>> {
    let (mut starts, mut at, end) = (Vec::new(), 0, segment.metadata()?.len());
    while at < end {
        let mut header = [0; LENGTH.end];
        match segment.read_exact_at(&mut header, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [0x1f, 0x8b, 8, 4, _, _, _, _, _, _, 8, 0, b'I', b'C', 4, 0, length @ ..] = header else { return Ok(None) };
        let length = u64::from(u32::from_le_bytes(length));
        if length <= LENGTH.end as u64 {
            return Ok(None);
        }
        starts.push(at);
        at += length;
    }
    Ok((at == end).then_some(starts))
}
