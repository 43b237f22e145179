//! Rows that pass: not kept and not looked into, but their lengths have to add up.
//!
//! A row with more fields than were described carries what nobody has judged, and clients have crashed over lengths that
//! cannot be. This follows the fields' lengths through however many pieces a row comes in, at the cost of reading them.

use super::cursor::Malformed;
use bytes::{BufMut, Bytes, BytesMut};

/// Longest message that a PostgreSQL server can make (`MaxAllocSize`), in bytes.
const MOST: usize = 0x3fff_ffff;

const CUT: &str = "a row ends within a field";
const LEFT_OVER: &str = "bytes follow a row's last field";

/// Where in a run of DataRow messages we are.
#[derive(Debug, Default)]
pub struct Rows {
    /// How many fields each has, once that is known.
    columns: Option<u16>,
    /// The bytes of a word that the last piece has ended in.
    word: [u8; 5],
    have: usize,
    at: At,
    /// What is left of the row, of its fields, and of the value.
    row: usize,
    fields: u16,
    value: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Header,
    Count,
    Fields,
}

impl Rows {
    /// The server has said how many fields its rows have.
    pub fn describe(&mut self, columns: usize) {
        self.columns = u16::try_from(columns).ok();
    }

    /// Whether it has.
    pub fn is_described(&self) -> bool {
        self.columns.is_some()
    }

    /// Follows the next piece.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        loop {
            // Nearly all rows come in one piece.
            while let (At::Header, 0, Some((row, rest))) = (self.at, self.have, whole(bytes)) {
                self.whole_row(row)?;
                bytes = rest;
            }
            let skipped = self.value.min(bytes.len());
            self.value -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            match self.at {
                At::Header => {
                    let Some([_, a, b, c, d]) = self.take(&mut bytes) else { return Ok(()) };
                    let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(0);
                    self.row = length.checked_sub(6).ok_or(Malformed("a row is too short"))?;
                    if length > MOST {
                        return Err(Malformed("a row is longer than any server can make it"));
                    }
                    self.at = At::Count;
                }
                At::Count => {
                    let Some(word) = self.take(&mut bytes) else { return Ok(()) };
                    self.fields = self.counted(u16::from_be_bytes(word))?;
                    // Each has a length at least.
                    if self.row < 4 * usize::from(self.fields) {
                        return Err(Malformed(CUT));
                    }
                    self.at = At::Fields;
                }
                At::Fields if self.fields == 0 => self.at = At::Header,
                At::Fields => {
                    let Some(word) = self.take(&mut bytes) else { return Ok(()) };
                    self.row = self.row.checked_sub(4).ok_or(Malformed(CUT))?;
                    self.fields -= 1;
                    match i32::from_be_bytes(word) {
                        -1 => {}
                        length => {
                            self.value =
                                usize::try_from(length).map_err(|_| Malformed("a field's length is negative"))?;
                            self.row = self.row.checked_sub(self.value).ok_or(Malformed(CUT))?;
                        }
                    }
                }
            }
            if self.at == At::Fields && self.fields == 0 {
                if self.row != 0 {
                    return Err(Malformed(LEFT_OVER));
                }
                self.at = At::Header;
            }
        }
    }

    /// A row's body.
    fn whole_row(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let (count, mut rest) = body.split_first_chunk::<2>().ok_or(Malformed("a row is too short"))?;
        let fields = self.counted(u16::from_be_bytes(*count))?;
        for _ in 0..fields {
            let (word, behind) = rest.split_first_chunk::<4>().ok_or(Malformed(CUT))?;
            let length = i32::from_be_bytes(*word);
            rest = behind;
            if length != -1 {
                let length = usize::try_from(length).map_err(|_| Malformed("a field's length is negative"))?;
                rest = rest.get(length..).ok_or(Malformed(CUT))?;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(Malformed(LEFT_OVER)) }
    }

    fn counted(&mut self, fields: u16) -> Result<u16, Malformed> {
        if *self.columns.get_or_insert(fields) == fields {
            Ok(fields)
        } else {
            Err(Malformed("a row has another number of fields than was described"))
        }
    }

    /// The next word, put together from two pieces if it has to be; `None` while it is not whole.
    fn take<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        if self.have == 0
            && let Some((word, rest)) = bytes.split_first_chunk::<N>()
        {
            *bytes = rest;
            return Some(*word);
        }
        while self.have < N {
            let (byte, rest) = bytes.split_first()?;
            *self.word.get_mut(self.have)? = *byte;
            self.have += 1;
            *bytes = rest;
        }
        self.have = 0;
        self.word.first_chunk::<N>().copied()
    }
}

/// The body of a row at the beginning of `bytes`, if all of it is there, and what is behind.
fn whole(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([_, a, b, c, d], behind) = bytes.split_first_chunk::<5>()?;
    let body = usize::try_from(i32::from_be_bytes([*a, *b, *c, *d])).ok()?.checked_sub(4)?;
    behind.split_at_checked(body)
}

/// The values of a DataRow's body (54.7), `None` for NULL; `None` where it is no such thing.
pub fn values_of_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        values.push(match i32::from_be_bytes(*length) {
            -1 => None,
            length => {
                let (value, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                rest = behind;
                Some(value)
            }
        });
    }
    rest.is_empty().then_some(values)
}

/// The other way round; `None` for more, or longer ones, than a row can have.
pub fn row_of_values(values: &[Option<&str>]) -> Option<Bytes> {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(values.len()).ok()?);
    for value in values {
        match value {
            None => body.put_i32(-1),
            Some(value) => {
                body.put_i32(i32::try_from(value.len()).ok()?);
                body.extend_from_slice(value.as_bytes());
            }
        }
    }
    Some(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows the bytes in pieces of every length.
    #[track_caller]
    fn check(columns: Option<usize>, bytes: &[u8], expected: &str) {
        for step in 1..=bytes.len() {
            let mut rows = Rows::default();
            if let Some(columns) = columns {
                rows.describe(columns);
            }
            let said = match bytes.chunks(step).try_for_each(|piece| rows.follow(piece)) {
                Ok(()) if rows.at == At::Header && rows.have == 0 && rows.value == 0 => "between rows".to_owned(),
                Ok(()) => "within a row".to_owned(),
                Err(error) => error.0.to_owned(),
            };
            assert_eq!(said, expected, "in pieces of {step}");
        }
    }

    #[test]
    fn lengths_of_rows_add_up() {
        let row = b"D\0\0\0\x10\0\x02\0\0\0\x02ab\xff\xff\xff\xff";
        check(Some(2), row, "between rows");
        check(None, &[row.as_slice(), row].concat(), "between rows");
        check(Some(0), b"D\0\0\0\x06\0\0D\0\0\0\x06\0\0", "between rows");
        check(Some(1), row, "a row has another number of fields than was described");
        check(
            None,
            &[row.as_slice(), b"D\0\0\0\x06\0\0"].concat(),
            "a row has another number of fields than was described",
        );
        check(Some(1), b"D\0\0\0\x0a\0\x01\xff\xff\xff\xfe", "a field's length is negative");
        check(Some(1), b"D\0\0\0\x0b\0\x01\0\0\0\x02x", "a row ends within a field");
        check(Some(1), b"D\0\0\0\x09\0\x01\0\0\0", "a row ends within a field");
        check(Some(1), b"D\0\0\0\x09\0\x01\0\0\0\0", "a row ends within a field");
        check(Some(1), b"D\0\0\0\x0b\0\x01\xff\xff\xff\xffx", "bytes follow a row's last field");
        check(Some(0), b"D\0\0\0\x07\0\0x", "bytes follow a row's last field");
        check(Some(1), b"D\0\0\0\x04", "a row is too short");
        check(Some(1), b"D\x7f\xff\xff\xf0", "a row is longer than any server can make it");
        check(Some(65535), b"D\0\0\0\x06\xff\xff", "a row ends within a field");
        check(None, b"D\0\0\0\x10\0\x01\0\0\0\x06ab", "within a row");
    }
}
