//! Frames: a tag, a length, a body; and how a stream of bytes is cut into them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// Bytes before a body: the tag and the length word.
pub const HEADER: usize = 5;

/// Longest message that is read past without being kept, in bytes: what is longer ends the connection at its header.
const LONGEST_SKIPPED: usize = 256 << 20;

/// Longest message that the server takes (`PQ_LARGE_MESSAGE_LIMIT` of its `libpq/libpq.h`), in bytes.
const LONGEST: usize = 0x3fff_ffff;

/// How much of the body of a message that passes all but its beginning is looked at, in bytes: more than two names.
const BEGINNING: usize = 4 << 10;

/// The head of a message: what it is and how long its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's type byte.
    pub tag: u8,
    /// The body's length in bytes, the length word itself not counted.
    pub body: usize,
}

impl Header {
    /// Reads the first five bytes of `buffer`; `None` while there are fewer.
    pub fn read(buffer: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(&[tag, a, b, c, d]) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
        // The length word counts itself and is signed: PostgreSQL refuses what is below four.
        let length = i32::from_be_bytes([a, b, c, d]);
        let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
        body.map(|body| Some(Self { tag, body })).ok_or(FrameError::Length { tag, length })
    }
}

/// Why a stream of bytes is no stream of frames (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length word that no message can have.
    #[error("message `{}` has the impossible length {length}", tag.escape_ascii())]
    Length {
        /// The type byte in front of it.
        tag: u8,
        /// The length word as sent.
        length: i32,
    },
    /// A message longer than its kind may be; found at the header, before anything is buffered.
    #[error("message `{}` has {body} bytes, at most {most} are accepted", tag.escape_ascii())]
    TooLong {
        /// The type byte.
        tag: u8,
        /// The body's announced length.
        body: usize,
        /// The limit for this kind.
        most: usize,
    },
}

/// One whole message, still in the bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
}

impl Frame {
    /// A Query of ours.
    pub fn query(text: &str) -> Self {
        Self::of(b'Q', &[text.as_bytes(), b"\0"])
    }

    /// A Parse of ours, that says nothing of parameters.
    pub fn parse(name: &str, text: &str) -> Self {
        Self::of(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"])
    }

    fn of(tag: u8, parts: &[&[u8]]) -> Self {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        let mut bytes = BytesMut::with_capacity(HEADER + body);
        bytes.put_u8(tag);
        bytes.put_u32(u32::try_from(body + 4).unwrap_or_default());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Self { bytes: bytes.freeze() }
    }

    /// The type byte.
    pub fn tag(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// Whether this is all of the message, and not only its beginning.
    pub fn is_whole(&self) -> bool {
        Header::read(&self.bytes).is_ok_and(|header| header.is_some_and(|header| header.body == self.body().len()))
    }

    /// What follows the header.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// Header and body, as received.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The next piece of a stream, see [`Splitter::next`].
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A message that somebody has to look at, whole.
    Whole(Frame),
    /// Bytes of messages that need no eyes; `started` of them began in this piece.
    Passing {
        /// The type byte that all of them share.
        tag: u8,
        /// Bytes at the beginning that belong to a message of an earlier piece.
        continued: usize,
        /// How many messages began in these bytes.
        started: u64,
        /// The bytes to forward.
        bytes: Bytes,
        /// Whether they end within a message, whose rest comes with the next piece.
        open: bool,
    },
    /// The beginning of a Bind that is too long to be taken whole; the rest comes as [`Chunk::Passing`].
    Beginning(Frame),
    /// A message that was longer than its kind may be and that could be skipped.
    Skipped(Skipped),
}

/// What is left of a message that was read past: enough to say afterwards which it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The type byte.
    pub tag: u8,
    /// The body's length.
    pub body: usize,
    /// The beginning of the statement.
    pub beginning: Vec<u8>,
    /// How long that was.
    pub length: usize,
    /// SHA-256 over all of it, in hexadecimal.
    pub digest: String,
}

/// Bytes of a skipped message that are kept.
const KEPT: usize = 64 << 10;

/// A message that is being read past.
#[derive(Debug)]
struct Skipping {
    header: Header,
    /// Bytes of the body that have not come yet.
    left: usize,
    /// Strings before the statement that have not ended yet.
    names: usize,
    /// Whether the statement has.
    ended: bool,
    beginning: Vec<u8>,
    length: usize,
    digest: Sha256,
}

impl Skipping {
    fn new(header: Header) -> Self {
        // A Parse begins with a name (54.7).
        let names = usize::from(header.tag == b'P');
        let (beginning, digest) = (Vec::new(), Sha256::new());
        Self { header, left: header.body, names, ended: false, beginning, length: 0, digest }
    }

    fn take(&mut self, mut piece: &[u8]) {
        self.left -= piece.len();
        while self.names > 0 {
            let Some(end) = memchr::memchr(0, piece) else { return };
            piece = piece.get(end + 1..).unwrap_or_default();
            self.names -= 1;
        }
        if self.ended {
            return;
        }
        if let Some(end) = memchr::memchr(0, piece) {
            piece = piece.get(..end).unwrap_or_default();
            self.ended = true;
        }
        self.length += piece.len();
        self.digest.update(piece);
        let room = KEPT - self.beginning.len();
        self.beginning.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn end(self) -> Skipped {
        let Self { header: Header { tag, body }, beginning, length, digest, .. } = self;
        let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Skipped { tag, body, beginning, length, digest }
    }
}

/// Cuts a stream into messages that are looked at and runs of bytes that are not.
///
/// A message of a passing kind is never buffered: its bytes go on as they come, so that one value of a gigabyte
/// costs no more memory than one of ten bytes.
#[derive(Debug, Default)]
pub struct Splitter {
    passing: Option<(u8, usize)>,
    skipping: Option<Box<Skipping>>,
}

impl Splitter {
    /// Takes the next piece off `buffer`; `None` when more bytes are needed.
    ///
    /// `most_of` gives the greatest body for a kind that is looked at, `None` for a kind that only passes.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        mut most_of: impl FnMut(u8) -> Option<usize>,
    ) -> Result<Option<Chunk>, FrameError> {
        if let Some(mut skipping) = self.skipping.take() {
            skipping.take(&buffer.split_to(skipping.left.min(buffer.len())));
            if skipping.left > 0 {
                self.skipping = Some(skipping);
                return Ok(None);
            }
            return Ok(Some(Chunk::Skipped(skipping.end())));
        }
        if let Some((tag, left)) = self.passing.take() {
            if buffer.is_empty() {
                self.passing = Some((tag, left));
                return Ok(None);
            }
            let now = left.min(buffer.len());
            if now < left {
                self.passing = Some((tag, left - now));
            }
            let bytes = buffer.split_to(now).freeze();
            return Ok(Some(Chunk::Passing { tag, continued: now, started: 0, bytes, open: now < left }));
        }
        let Some(header) = Header::read(buffer)? else { return Ok(None) };
        match most_of(header.tag) {
            None => Ok(Some(self.run(header, buffer)?)),
            Some(most) if header.body > most && header.body <= LONGEST && header.tag == b'B' => {
                let beginning = BEGINNING.min(header.body);
                if buffer.len() < HEADER + beginning {
                    return Ok(None);
                }
                self.passing = Some((header.tag, header.body - beginning)).filter(|(_, left)| *left > 0);
                Ok(Some(Chunk::Beginning(Frame { bytes: buffer.split_to(HEADER + beginning).freeze() })))
            }
            // A statement that is too long ends nothing but itself: it is read past, so that its sender gets to read why.
            Some(most) if header.body > most && header.body <= LONGEST_SKIPPED && matches!(header.tag, b'Q' | b'P') => {
                buffer.advance(HEADER);
                self.skipping = Some(Box::new(Skipping::new(header)));
                self.next(buffer, most_of)
            }
            Some(most) if header.body > most => Err(FrameError::TooLong { tag: header.tag, body: header.body, most }),
            Some(_) if buffer.len() < HEADER + header.body => {
                buffer.reserve(HEADER + header.body - buffer.len());
                Ok(None)
            }
            Some(_) => Ok(Some(Chunk::Whole(Frame { bytes: buffer.split_to(HEADER + header.body).freeze() }))),
        }
    }

    /// As many whole messages of one kind as stand at the beginning of `buffer`, and how many they are; `None` where there
    /// is none, or the next one is longer than `most` or has come in part: [`Splitter::next`] says what to do about those.
    pub fn whole_run(&mut self, buffer: &mut BytesMut, tag: u8, most: usize) -> Option<(u64, Bytes)> {
        if self.passing.is_some() || self.skipping.is_some() {
            return None;
        }
        let (mut end, mut count) = (0, 0);
        while let Ok(Some(header)) = Header::read(buffer.get(end..).unwrap_or_default())
            && header.tag == tag
            && header.body <= most
            && end + HEADER + header.body <= buffer.len()
        {
            end += HEADER + header.body;
            count += 1;
        }
        (count > 0).then(|| (count, buffer.split_to(end).freeze()))
    }

    /// As many messages of one passing kind as stand one behind the other, the last perhaps in part.
    fn run(&mut self, first: Header, buffer: &mut BytesMut) -> Result<Chunk, FrameError> {
        let (mut end, mut started, mut next) = (0, 0, Some(first));
        while let Some(header) = next.filter(|header| header.tag == first.tag) {
            started += 1;
            let whole = end + HEADER + header.body;
            if whole > buffer.len() {
                self.passing = Some((header.tag, whole - buffer.len()));
                end = buffer.len();
                break;
            }
            end = whole;
            next = Header::read(buffer.get(end..).unwrap_or_default())?;
        }
        let bytes = buffer.split_to(end).freeze();
        Ok(Chunk::Passing { tag: first.tag, continued: 0, started, bytes, open: self.passing.is_some() })
    }

    /// Forgets a half-passed message (the other side of the stream is gone).
    pub fn reset(&mut self) {
        self.passing = None;
    }

    /// Whether the stream stands between two messages.
    pub fn is_between(&self, buffer: &BytesMut) -> bool {
        self.passing.is_none() && !buffer.has_remaining()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn most(tag: u8) -> Option<usize> {
        if tag == b'D' { None } else { Some(100) }
    }

    #[test]
    fn what_is_skipped_can_be_told_afterwards() {
        let long = "x".repeat(200);
        let hash =
            |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
        for (frame, kept) in [
            (Frame::query(&long), long.as_bytes()),
            (Frame::parse("name", &long), long.as_bytes()),
            // Nothing ends it.
            (Frame::of(b'Q', &[long.as_bytes()]), long.as_bytes()),
            (Frame::of(b'P', &[long.as_bytes()]), b""),
        ] {
            for step in [1, 7, 64, 1000] {
                let (mut splitter, mut buffer, mut found) = (Splitter::default(), BytesMut::new(), None);
                for piece in frame.bytes().chunks(step) {
                    buffer.extend_from_slice(piece);
                    found = splitter.next(&mut buffer, most).unwrap().or(found);
                }
                let (tag, body) = (frame.tag(), frame.body().len());
                let (beginning, length, digest) = (kept.to_vec(), kept.len(), hash(kept));
                assert_eq!(found, Some(Chunk::Skipped(Skipped { tag, body, beginning, length, digest })), "{step}");
                assert!(splitter.is_between(&buffer));
            }
        }
    }

    /// Feeds `bytes` in pieces of `step` and writes down what comes out.
    fn cut(bytes: &[u8], step: usize) -> String {
        let (mut splitter, mut buffer, mut out) = (Splitter::default(), BytesMut::new(), String::new());
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match splitter.next(&mut buffer, most) {
                    Ok(None) => break,
                    Ok(Some(Chunk::Whole(frame))) => {
                        out += &format!("{}({}) ", frame.tag() as char, frame.body().escape_ascii());
                    }
                    Ok(Some(Chunk::Passing { tag, started, bytes, open, continued: _ })) => {
                        let more = if open { "..." } else { "" };
                        out += &format!("{}x{started}:{}{more} ", tag as char, bytes.len());
                    }
                    Ok(Some(Chunk::Beginning(frame))) => {
                        out += &format!("{}({})... ", frame.tag() as char, frame.body().len())
                    }
                    Ok(Some(Chunk::Skipped(Skipped { tag, body, .. }))) => out += &format!("{}-{body} ", tag as char),
                    Err(error) => return out + &error.to_string(),
                }
            }
        }
        out.trim_end().to_owned()
    }

    #[track_caller]
    fn check(bytes: &[u8], step: usize, expected: &str) {
        assert_eq!(cut(bytes, step), expected);
    }

    #[test]
    fn a_stream_is_cut_into_messages() {
        check(b"", 1, "");
        check(b"Z\0\0\0\x05I", 100, "Z(I)");
        check(b"Z\0\0\0\x05I", 1, "Z(I)");
        check(b"S\0\0\0\x04H\0\0\0\x04", 7, "S() H()");
        check(b"D\0\0\0\x06abD\0\0\0\x06cdZ\0\0\0\x05I", 100, "Dx2:14 Z(I)");
        check(b"D\0\0\0\x06abD\0\0\0\x06cdZ\0\0\0\x05I", 6, "Dx1:6... Dx0:1 Dx1:5... Dx0:2 Z(I)");
        check(b"Q\0\0\0\x03", 5, "message `Q` has the impossible length 3");
        check(b"Q\xff\xff\xff\xff", 5, "message `Q` has the impossible length -1");
        check(b"C\0\0\x01\0", 5, "message `C` has 252 bytes, at most 100 are accepted");
        let long = [b"Q\0\0\x01\0".as_slice(), &[b'x'; 252], b"Z\0\0\0\x05I"].concat();
        check(&long, 1000, "Q-252 Z(I)");
        check(&long, 7, "Q-252 Z(I)");
        let long = [b"B\0\0\x20\0".as_slice(), &[b'x'; 8188], b"Z\0\0\0\x05I"].concat();
        check(&long, 10_000, "B(4096)... Bx0:4092 Z(I)");
        check(&long, 4000, "B(4096)... Bx0:3899... Bx0:193 Z(I)");
        check(&[b"B\0\0\0\xff".as_slice(), &[b'x'; 251]].concat(), 100, "B(251)...");
        check(b"B\x40\0\0\x04", 5, "message `B` has 1073741824 bytes, at most 100 are accepted");
        check(b"D\0\0\0\x06abD\0\0\0\x01", 100, "message `D` has the impossible length 1");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_invented(
            messages in prop::collection::vec((prop::sample::select(vec![b'D', b'C']), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            step in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            for (tag, body) in &messages {
                bytes.push(*tag);
                bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
                bytes.extend_from_slice(body);
            }
            let (mut splitter, mut buffer, mut seen, mut count) = (Splitter::default(), BytesMut::new(), Vec::new(), 0);
            for piece in bytes.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(chunk) = splitter.next(&mut buffer, most).unwrap() {
                    match chunk {
                        Chunk::Whole(frame) => { count += 1; seen.extend_from_slice(frame.bytes()); }
                        Chunk::Passing { started, bytes, .. } => { count += started; seen.extend_from_slice(&bytes); }
                        Chunk::Beginning(_) | Chunk::Skipped(_) => panic!("nothing here is too long"),
                    }
                }
            }
            prop_assert_eq!(&seen, &bytes);
            prop_assert_eq!(count, messages.len() as u64);
            prop_assert!(splitter.is_between(&buffer));
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            cut(&bytes, step);
        }
    }
}
