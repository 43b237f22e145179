//! The packets that open a connection and have no type byte: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest.
//!
//! Source: PostgreSQL 18 documentation, 54.7 "Message Formats"; limits from `src/backend/tcop/backend_startup.c`.

use super::cursor::{Cursor, Malformed};
use bytes::{BufMut, BytesMut};

/// PostgreSQL's own limit for these packets (MAX_STARTUP_PACKET_LENGTH), the length word included.
const MOST: usize = 10_000;
const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSSENC: i32 = 80_877_104;

/// What a connection opens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    GssEnc,
    /// Wants a statement of another connection cancelled.
    Cancel {
        /// The process id from BackendKeyData.
        pid: i32,
        /// The secret from BackendKeyData: 4 bytes in 3.0, up to 256 in 3.2.
        secret: Vec<u8>,
    },
    /// Wants a session.
    Startup(Startup),
}

/// A StartupMessage of major version 3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Startup {
    /// The minor version that was asked for.
    pub minor: u16,
    /// Parameters in the order sent, `_pq_.` options not among them.
    pub parameters: Vec<(String, String)>,
    /// Names of the `_pq_.` protocol options that were asked for; we know none.
    pub options: Vec<String>,
}

impl Startup {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why an opening packet is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The length word says nonsense: closed without an answer, whoever sent it does not speak our language.
    #[error("a start-up packet of {0} bytes")]
    Length(i32),
    /// A major version other than 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Version {
        /// The major version asked for.
        major: u16,
        /// The minor version asked for.
        minor: u16,
    },
    /// The bytes do not follow the layout.
    #[error("invalid startup packet layout: {0}")]
    Layout(&'static str),
    /// There cannot be a role of this name.
    #[error("there is no role of this name: {0}")]
    User(&'static str),
}

impl From<Malformed> for OpeningError {
    fn from(Malformed(rule): Malformed) -> Self {
        Self::Layout(rule)
    }
}

/// How many bytes the opening packet at the head of `buffer` has; `None` while the length word is incomplete.
pub fn opening_length(buffer: &[u8]) -> Result<Option<usize>, OpeningError> {
    let Some(word) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*word);
    match usize::try_from(length) {
        Ok(length) if (8..=MOST).contains(&length) => Ok(Some(length)),
        _ => Err(OpeningError::Length(length)),
    }
}

/// Reads one opening packet, its length word included.
pub fn decode_opening(packet: &[u8]) -> Result<Opening, OpeningError> {
    let mut cursor = Cursor::new(packet);
    cursor.i32()?;
    let opening = match cursor.i32()? {
        SSL => Opening::Ssl,
        GSSENC => Opening::GssEnc,
        CANCEL => {
            let pid = cursor.i32()?;
            let secret = cursor.rest().to_vec();
            if !(4..=256).contains(&secret.len()) {
                return Err(OpeningError::Layout("a cancel key has 4 to 256 bytes"));
            }
            Opening::Cancel { pid, secret }
        }
        version => {
            let [a, b, c, d] = version.to_be_bytes();
            let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            if major != 3 {
                return Err(OpeningError::Version { major, minor });
            }
            Opening::Startup(parameters(minor, &mut cursor)?)
        }
    };
    cursor.end()?;
    Ok(opening)
}

fn parameters(minor: u16, cursor: &mut Cursor<'_>) -> Result<Startup, OpeningError> {
    let mut startup = Startup { minor, ..Startup::default() };
    loop {
        let name = readable(cursor.c_bytes()?).map_err(OpeningError::Layout)?;
        if name.is_empty() {
            return Ok(startup);
        }
        let value = match readable(cursor.c_bytes()?) {
            Ok(value) => value,
            // A role that nobody has, as the server would say.
            Err(rule) if name == "user" => return Err(OpeningError::User(rule)),
            Err(rule) => return Err(OpeningError::Layout(rule)),
        };
        if let Some(option) = name.strip_prefix("_pq_.") {
            startup.options.push(format!("_pq_.{option}"));
        } else if startup.parameter(&name).is_some() {
            // PostgreSQL takes the last one, other parsers the first: two readers, two answers.
            return Err(OpeningError::Layout("a parameter is given twice"));
        } else {
            startup.parameters.push((name, value));
        }
    }
}

fn readable(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a parameter is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("a parameter holds control characters");
    }
    Ok(text.to_owned())
}

/// A StartupMessage of version 3.0, as the daemon sends it upstream.
pub fn startup_message<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> BytesMut {
    startup_of(0, parameters)
}

/// What a client has opened with, to be said once more; its protocol options are named and have no value.
pub fn startup_again(startup: &Startup) -> BytesMut {
    let options = startup.options.iter().map(|name| (name.as_str(), ""));
    startup_of(
        startup.minor,
        startup.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(options),
    )
}

fn startup_of<'a>(minor: u16, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> BytesMut {
    let mut packet = BytesMut::new();
    packet.put_u32(0);
    packet.put_u32(3 << 16 | u32::from(minor));
    for (name, value) in parameters {
        for text in [name, value] {
            // A NUL would start a parameter of the sender's choice.
            packet.extend(text.bytes().filter(|byte| *byte != 0));
            packet.put_u8(0);
        }
    }
    packet.put_u8(0);
    let length = packet.len() as u32;
    if let Some(word) = packet.first_chunk_mut::<4>() {
        *word = length.to_be_bytes();
    }
    packet
}

/// An SSLRequest, as the daemon sends it upstream.
pub fn ssl_request() -> BytesMut {
    let mut packet = BytesMut::with_capacity(8);
    packet.put_u32(8);
    packet.put_i32(SSL);
    packet
}

/// A CancelRequest, as the daemon sends it upstream.
pub fn cancel_request(pid: i32, secret: &[u8]) -> BytesMut {
    let mut packet = BytesMut::with_capacity(12 + secret.len());
    packet.put_u32(12 + secret.len() as u32);
    packet.put_i32(CANCEL);
    packet.put_i32(pid);
    packet.extend_from_slice(secret);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = (8 + rest.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let length = match opening_length(bytes) {
            Ok(Some(length)) if length == bytes.len() => length,
            Ok(other) => panic!("length {other:?} of {}", bytes.len()),
            Err(error) => return assert_eq!(error.to_string(), expected),
        };
        let said = match decode_opening(&bytes[..length]) {
            Ok(opening) => format!("{opening:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn opening_packets() {
        check(&packet(80_877_103, b""), "Ssl");
        check(&packet(80_877_104, b""), "GssEnc");
        check(&packet(80_877_103, b"x"), "invalid startup packet layout: bytes follow its end");
        check(&packet(80_877_102, b"\0\0\0\x07abcd"), "Cancel { pid: 7, secret: [97, 98, 99, 100] }");
        check(&packet(80_877_102, b"\0\0\0\x07abc"), "invalid startup packet layout: a cancel key has 4 to 256 bytes");
        check(
            &packet(3 << 16, b"user\0bob\0\0"),
            "Startup(Startup { minor: 0, parameters: [(\"user\", \"bob\")], options: [] })",
        );
        check(
            &packet(3 << 16 | 2, b"user\0bob\0_pq_.x\0\x31\0\0"),
            "Startup(Startup { minor: 2, parameters: [(\"user\", \"bob\")], options: [\"_pq_.x\"] })",
        );
        check(&packet(2 << 16, b"\0"), "unsupported frontend protocol 2.0: server supports 3.0 to 3.2");
        check(&packet(3 << 16, b"user\0bob\0"), "invalid startup packet layout: a string has no end");
        check(&packet(3 << 16, b"user\0bob\0\0x"), "invalid startup packet layout: bytes follow its end");
        check(&packet(3 << 16, b"user\0a\0user\0b\0\0"), "invalid startup packet layout: a parameter is given twice");
        check(
            &packet(3 << 16, b"database\0a\nb\0\0"),
            "invalid startup packet layout: a parameter holds control characters",
        );
        check(&packet(3 << 16, b"database\0\xff\0\0"), "invalid startup packet layout: a parameter is not UTF-8");
        check(
            &packet(3 << 16, b"user\0a\nb\0\0"),
            "there is no role of this name: a parameter holds control characters",
        );
        check(&packet(3 << 16, b"user\0\xff\0\0"), "there is no role of this name: a parameter is not UTF-8");
        check(b"\0\0\0\x07abc", "a start-up packet of 7 bytes");
        check(b"\x7f\xff\xff\xff", "a start-up packet of 2147483647 bytes");
        check(b"GET / HTTP", "a start-up packet of 1195725856 bytes");
    }

    #[test]
    fn what_we_send_is_what_we_read() {
        let sent = startup_message([("user", "a"), ("application_name", "b\0c")]);
        let Ok(Opening::Startup(read)) = decode_opening(&sent) else { panic!("not a start-up") };
        assert_eq!(read.parameters, [("user".into(), "a".into()), ("application_name".into(), "bc".into())]);
        assert_eq!(decode_opening(&ssl_request()), Ok(Opening::Ssl));
        assert_eq!(
            decode_opening(&cancel_request(5, b"1234")),
            Ok(Opening::Cancel { pid: 5, secret: b"1234".to_vec() })
        );
    }
}
