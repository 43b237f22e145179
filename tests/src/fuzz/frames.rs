//! The frame decoder: however a stream comes in pieces, the same messages come out and no byte is lost or invented.

use bytes::BytesMut;
use interceptor::wire::{Chunk, FrameError, Skipped, Splitter};

/// The first byte says how large the pieces are; the rest is the stream.
pub(super) fn frames(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else { return };
    let whole = cut(stream, stream.len().max(1));
    let pieces = cut(stream, usize::from(*step).max(1));
    assert_eq!(whole.ended, pieces.ended, "in pieces of {step}");
    // What came with the bytes that end the connection may or may not have been given out before.
    if whole.ended.is_none() {
        assert_eq!(whole.messages, pieces.messages, "in pieces of {step}");
    }
    for cut in [whole, pieces] {
        let expected = stream.get(..cut.passed.len() + cut.left).unwrap_or_default();
        if cut.skipped == 0 && cut.ended.is_none() {
            assert_eq!([cut.passed.as_slice(), cut.rest.as_slice()].concat(), expected, "bytes are lost or invented");
        }
    }
}

#[derive(Default)]
struct Cut {
    /// Messages as far as they are the same however they come: tag and body of whole ones, tag and total length of others.
    messages: Vec<(u8, Vec<u8>)>,
    passed: Vec<u8>,
    skipped: usize,
    rest: Vec<u8>,
    left: usize,
    ended: Option<FrameError>,
}

/// `D` passes unseen, `Q`, `P` and `B` may be skipped, others are taken whole or refused.
fn most(tag: u8) -> Option<usize> {
    match tag {
        b'D' | b'd' => None,
        b'Q' | b'P' | b'B' => Some(64),
        _ => Some(256),
    }
}

fn cut(stream: &[u8], step: usize) -> Cut {
    let (mut splitter, mut buffer, mut cut) = (Splitter::default(), BytesMut::new(), Cut::default());
    'stream: for piece in stream.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match splitter.next(&mut buffer, most) {
                Ok(None) => break,
                Ok(Some(Chunk::Whole(frame))) => {
                    cut.passed.extend_from_slice(frame.bytes());
                    cut.messages.push((frame.tag(), frame.body().to_vec()));
                }
                Ok(Some(Chunk::Passing { tag, continued, started, bytes, .. })) => {
                    assert!(continued <= bytes.len(), "more continues than there is");
                    assert!(started > 0 || continued == bytes.len(), "bytes that belong to no message");
                    cut.passed.extend_from_slice(&bytes);
                    match cut.messages.last_mut() {
                        Some((last, passed)) if *last == tag && tag.is_ascii_alphabetic() => {
                            passed.extend_from_slice(&bytes)
                        }
                        Some(_) | None => cut.messages.push((tag, bytes.to_vec())),
                    }
                }
                Ok(Some(Chunk::Beginning(frame))) => {
                    cut.passed.extend_from_slice(frame.bytes());
                    cut.messages.push((frame.tag(), frame.bytes().to_vec()));
                }
                Ok(Some(Chunk::Skipped(Skipped { tag, body, .. }))) => {
                    cut.skipped += 1;
                    cut.messages.push((tag, body.to_be_bytes().to_vec()));
                }
                Err(error) => {
                    cut.ended = Some(error);
                    break 'stream;
                }
            }
        }
    }
    cut.left = buffer.len();
    cut.rest = buffer.to_vec();
    cut
}
