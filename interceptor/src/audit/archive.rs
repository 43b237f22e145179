//! Full segments: compressed one by one, and read as if they were not.

use super::verify::segments;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What a compressed segment's name ends in, behind `.jsonl`.
pub(super) const SUFFIX: &str = ".gz";

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

/// Compresses the segments before one, on a thread that nobody waits for: a segment that stays as it is does no harm.
pub(super) fn compress_before(dir: &Path, number: u32) {
    // One after the other: whoever comes later finds done what was to be done.
    static AT_IT: Mutex<()> = Mutex::new(());
    let dir = dir.to_owned();
    let work = move || {
        let _one = AT_IT.lock().unwrap_or_else(PoisonError::into_inner);
        let full = segments(&dir).unwrap_or_default().into_iter();
        for (_, segment) in full.filter(|(other, path)| *other < number && !is_compressed(path)) {
            if let Err(error) = compress(&segment) {
                tracing::warn!(%error, segment = %segment.display(), "a full audit segment could not be compressed");
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("compress".to_owned()).spawn(work) {
        tracing::warn!(%error, "full audit segments are not compressed");
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
    let target = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(part)?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    io::copy(&mut File::open(segment)?, &mut encoder)?;
    encoder.finish()?.sync_all()
}
