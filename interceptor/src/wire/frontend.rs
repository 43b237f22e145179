//! What a client says after the greeting.

use super::cursor::{Cursor, Malformed};
use super::frame::Frame;

/// A client's message, borrowed from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frontend<'a> {
    /// Simple query: one or more statements.
    Query {
        /// The statements' text.
        text: &'a str,
    },
    /// Prepares a statement.
    Parse {
        /// The prepared statement's name, empty for the unnamed one.
        name: &'a str,
        /// The statement's text.
        text: &'a str,
    },
    /// Makes a portal of a prepared statement and parameter values. Of one that is not whole the names are all there is.
    Bind {
        /// The portal's name, empty for the unnamed one.
        portal: &'a str,
        /// The prepared statement's name.
        statement: &'a str,
    },
    /// Asks for the shape of a statement or a portal.
    Describe(Target<'a>),
    /// Runs a portal.
    Execute {
        /// The portal's name.
        portal: &'a str,
        /// Rows after which it is suspended, 0 for no limit.
        rows: i32,
    },
    /// Drops a prepared statement or a portal.
    Close(Target<'a>),
    /// Ends a batch of the extended protocol.
    Sync,
    /// Asks for what has been answered so far.
    Flush,
    /// Ends COPY FROM STDIN.
    CopyDone,
    /// Gives COPY FROM STDIN up.
    CopyFail,
    /// Says good-bye.
    Terminate,
    /// Calls a function by its OID, without any SQL: refused, nobody could judge it by its name.
    FunctionCall,
    /// A password nobody asked for.
    Password,
}

/// What Describe and Close point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a str),
    /// A portal.
    Portal(&'a str),
}

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It breaks the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A text or a name is not UTF-8, the one encoding that sessions here have.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    Encoding,
    /// A type byte that no client has.
    #[error("invalid frontend message type {0}")]
    Unknown(u8),
}

impl<'a> Frontend<'a> {
    /// Reads a frame; every byte of it has to be accounted for, unless it is the beginning of a Bind.
    pub fn decode(frame: &'a Frame) -> Result<Self, Unreadable> {
        let mut cursor = Cursor::new(frame.body());
        let message = match frame.tag() {
            b'Q' => Self::Query { text: text(&mut cursor)? },
            b'P' => {
                let (name, text) = (text(&mut cursor)?, text(&mut cursor)?);
                for _ in 0..cursor.count()? {
                    cursor.i32()?;
                }
                Self::Parse { name, text }
            }
            b'B' => {
                let (portal, statement) = (text(&mut cursor)?, text(&mut cursor)?);
                if frame.is_whole() {
                    bind_values(&mut cursor, formats)?;
                } else {
                    cursor.rest();
                }
                Self::Bind { portal, statement }
            }
            b'D' => Self::Describe(target(&mut cursor)?),
            b'C' => Self::Close(target(&mut cursor)?),
            b'E' => Self::Execute { portal: text(&mut cursor)?, rows: cursor.i32()? },
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'X' => Self::Terminate,
            b'c' => Self::CopyDone,
            b'f' => {
                cursor.c_bytes()?;
                Self::CopyFail
            }
            b'F' => {
                cursor.i32()?;
                bind_values(&mut cursor, Cursor::i16)?;
                Self::FunctionCall
            }
            b'p' => {
                cursor.rest();
                Self::Password
            }
            unknown => return Err(Unreadable::Unknown(unknown)),
        };
        cursor.end()?;
        Ok(message)
    }
}

/// Format codes, values and what is said of the result's format: looked at only for their lengths.
fn bind_values<'a, T>(
    cursor: &mut Cursor<'a>,
    results: impl FnOnce(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> Result<(), Malformed> {
    formats(cursor)?;
    for _ in 0..cursor.count()? {
        match cursor.i32()? {
            -1 => {}
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a value's length is negative"))?;
                cursor.take(length)?;
            }
        }
    }
    results(cursor).map(drop)
}

/// A code that is neither 0 nor 1 is for the server to refuse (22023).
fn formats(cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
    for _ in 0..cursor.count()? {
        cursor.i16()?;
    }
    Ok(())
}

fn target<'a>(cursor: &mut Cursor<'a>) -> Result<Target<'a>, Unreadable> {
    match cursor.u8()? {
        b'S' => Ok(Target::Statement(text(cursor)?)),
        b'P' => Ok(Target::Portal(text(cursor)?)),
        _ => Err(Malformed("a target is neither a statement nor a portal").into()),
    }
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Unreadable> {
    std::str::from_utf8(cursor.c_bytes()?).map_err(|_| Unreadable::Encoding)
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Chunk, Splitter};
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn frame(tag: u8, body: &[u8]) -> Frame {
        let mut bytes = BytesMut::from(&[tag][..]);
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        match Splitter::default().next(&mut bytes, |_| Some(usize::MAX)) {
            Ok(Some(Chunk::Whole(frame))) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(tag: u8, body: &[u8], expected: &str) {
        let frame = frame(tag, body);
        let said = match Frontend::decode(&frame) {
            Ok(message) => format!("{message:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn messages_are_eaten_whole_or_refused() {
        check(b'Q', b"select 1\0", "Query { text: \"select 1\" }");
        check(b'Q', b"select 1", "malformed message: a string has no end");
        check(b'Q', b"select 1\0Q\0\0\0\x05", "malformed message: bytes follow its end");
        check(b'Q', b"a\0\0", "malformed message: bytes follow its end");
        check(b'Q', b"\xff\0", "invalid byte sequence for encoding \"UTF8\"");
        check(b'P', b"s\0select $1\0\0\x01\0\0\0\x17", "Parse { name: \"s\", text: \"select $1\" }");
        check(b'P', b"s\0select $1\0\0\x02\0\0\0\x17", "malformed message: it ends too early");
        check(b'P', b"s\0select $1\0\xff\xff", "malformed message: it ends too early");
        check(b'B', b"p\0s\0\0\0\0\x01\0\0\0\x01a\0\0", "Bind { portal: \"p\", statement: \"s\" }");
        check(b'B', b"p\0s\0\0\0\0\x01\xff\xff\xff\xff\0\0", "Bind { portal: \"p\", statement: \"s\" }");
        check(b'B', b"p\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0", "malformed message: a value's length is negative");
        check(b'B', b"p\0s\0\0\x01\0\x02\0\0\0\0", "Bind { portal: \"p\", statement: \"s\" }");
        // As many parameters as the server takes.
        let many = [b"p\0s\0\0\0\x9c\x40".as_slice(), &[0xff; 4 * 40_000], b"\0\0"].concat();
        check(b'B', &many, "Bind { portal: \"p\", statement: \"s\" }");
        check(b'D', b"Ss\0", "Describe(Statement(\"s\"))");
        check(b'D', b"Xs\0", "malformed message: a target is neither a statement nor a portal");
        check(b'C', b"Pp\0", "Close(Portal(\"p\"))");
        check(b'E', b"p\0\0\0\0\x05", "Execute { portal: \"p\", rows: 5 }");
        check(b'S', b"", "Sync");
        check(b'S', b"x", "malformed message: bytes follow its end");
        check(b'F', b"\0\0\x06\x3e\0\0\0\x01\0\0\0\x01a\0\0", "FunctionCall");
        check(b'F', b"\0\0", "malformed message: it ends too early");
        check(b'!', b"", "invalid frontend message type 33");
    }

    proptest! {
        #[test]
        fn noise_never_panics(tag in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Frontend::decode(&frame(tag, &body));
        }
    }
}
