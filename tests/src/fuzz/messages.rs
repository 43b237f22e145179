//! Messages of either side: a decoder eats a whole message or refuses it.

use super::message;
use bytes::BytesMut;
use interceptor::wire::{Backend, Chunk, Frame, Frontend, Splitter, described, parameters, values};

/// The first byte is the type, the rest the body.
pub(super) fn frontend(data: &[u8]) {
    let Some((tag, body)) = data.split_first() else { return };
    let frame = frame(*tag, body);
    let (_, _) = (parameters(&frame), values(frame.body()));
    if Frontend::decode(&frame).is_ok() && *tag != b'p' {
        for more in [b"\0", b"x"] {
            let longer = self::frame(*tag, &[body, more].concat());
            assert!(Frontend::decode(&longer).is_err(), "`{}` with a byte too many", tag.escape_ascii());
        }
        if let Some((_, shorter)) = body.split_last() {
            let shorter = self::frame(*tag, shorter);
            assert!(Frontend::decode(&shorter).is_err(), "`{}` with a byte too few", tag.escape_ascii());
        }
    }
}

/// Likewise.
pub(super) fn backend(data: &[u8]) {
    let Some((tag, body)) = data.split_first() else { return };
    let frame = frame(*tag, body);
    let decoded = Backend::decode(&frame);
    if let Ok(Backend::RowDescription { columns }) = &decoded {
        match described(&frame) {
            Ok(columns_again) => assert_eq!(columns_again.len(), *columns),
            Err(error) => panic!("read once, and not a second time: {error}"),
        }
    }
    // What is passed on without being looked into has no length of its own.
    let open = matches!(tag, b'R' | b'K' | b't' | b'A' | b'v');
    if decoded.is_ok() && !open {
        let longer = self::frame(*tag, &[body, b"x"].concat());
        assert!(Backend::decode(&longer).is_err(), "`{}` with a byte too many", tag.escape_ascii());
    }
}

fn frame(tag: u8, body: &[u8]) -> Frame {
    let mut buffer = BytesMut::from(message(tag, body).as_slice());
    match Splitter::default().next(&mut buffer, |_| Some(usize::MAX)) {
        Ok(Some(Chunk::Whole(frame))) => frame,
        other => panic!("a whole message is {other:?}"),
    }
}
