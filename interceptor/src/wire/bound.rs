//! What parameters stand for: the part of Parse and Bind behind the names.

use super::cursor::{Cursor, Malformed};
use super::frame::Frame;

/// What follows the two names of a Parse (types of parameters) or a Bind (formats and values), byte for byte.
pub fn parameters(frame: &Frame) -> Option<&[u8]> {
    let mut cursor = Cursor::new(frame.body());
    cursor.c_bytes().ok()?;
    cursor.c_bytes().ok()?;
    matches!(frame.tag(), b'P' | b'B').then(|| cursor.rest())
}

/// The values in what [`parameters`] gives of a Bind, for people to read: text as it is, binary ones in hexadecimal, `None`
/// for NULL.
///
/// # Errors
/// Where it is no such thing.
pub fn values(parameters: &[u8]) -> Result<Vec<Option<String>>, Malformed> {
    let mut cursor = Cursor::new(parameters);
    let formats = (0..cursor.count()?).map(|_| cursor.i16()).collect::<Result<Vec<_>, _>>()?;
    // One format counts for all values (54.7 "Bind").
    let is_binary = |at: usize| match formats.as_slice() {
        [one] => *one == 1,
        each => each.get(at) == Some(&1),
    };
    let mut values = Vec::new();
    for at in 0..cursor.count()? {
        values.push(match cursor.i32()? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a value's length is negative"))?;
                Some(shown(cursor.take(length)?, is_binary(at)))
            }
        });
    }
    Ok(values)
}

fn shown(value: &[u8], binary: bool) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !binary => text.to_owned(),
        _ => {
            let digits = value.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
            ['\\', 'x'].into_iter().chain(digits).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parameters: &[u8], expected: &str) {
        let said = values(parameters).map_or_else(|error| error.to_string(), |values| format!("{values:?}"));
        assert_eq!(said, expected);
    }

    #[test]
    fn values_are_shown_by_their_format() {
        check(b"\0\0\0\0\0\0", "[]");
        check(b"\0\0\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\0", "[Some(\"ab\"), None]");
        check(b"\0\x01\0\x01\0\x01\0\0\0\x02a\x0f\0\0", "[Some(\"\\\\x610f\")]");
        check(b"\0\x02\0\0\0\x01\0\x02\0\0\0\x01a\0\0\0\x01a\0\0", "[Some(\"a\"), Some(\"\\\\x61\")]");
        check(b"\0\0\0\x01\0\0\0\x09a", "malformed message: it ends too early");
    }
}
