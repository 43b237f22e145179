//! Rows as values: some of their fields are masked, the others stay.

use bytes::{Buf, BufMut};

/// Replaces the fields of a row in its binary form (`record_send`: how many, then each with its type's OID and its length).
/// `None` if it is not of that form or has another number of fields.
pub(super) fn map_binary(
    value: &[u8],
    count: usize,
    replace: impl Fn(usize, u32, &[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut rest = value;
    if usize::try_from(rest.try_get_i32().ok()?).ok()? != count {
        return None;
    }
    let mut out = Vec::with_capacity(value.len());
    out.put_i32(i32::try_from(count).ok()?);
    for at in 0..count {
        let type_oid = rest.try_get_u32().ok()?;
        out.put_u32(type_oid);
        let replaced = match rest.try_get_i32().ok()? {
            -1 => None,
            length => {
                let (field, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                rest = behind;
                replace(at, type_oid, field)
            }
        };
        match replaced {
            Some(field) => {
                out.put_i32(i32::try_from(field.len()).ok()?);
                out.extend(field);
            }
            None => out.put_i32(-1),
        }
    }
    rest.is_empty().then_some(out)
}

/// Replaces the fields of a row in its text form (8.16.6 "Composite Type Input and Output Syntax"), as `record_out` writes
/// it: NULL is nothing at all, quotes and backslashes are doubled. `None` if it is not of that form or has another number of
/// fields.
pub(super) fn map_text(
    value: &[u8],
    count: usize,
    replace: impl Fn(usize, &[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut rest = value.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut out = Vec::with_capacity(value.len());
    out.push(b'(');
    for at in 0..count {
        if at > 0 {
            rest = rest.strip_prefix(b",")?;
            out.push(b',');
        }
        let (field, behind) = text_field(rest)?;
        rest = behind;
        if let Some(field) = field.and_then(|field| replace(at, &field)) {
            quote(&field, &mut out);
        }
    }
    out.push(b')');
    rest.is_empty().then_some(out)
}

/// A field, `None` for NULL, and what follows it.
fn text_field(text: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
        let (field, behind) = text.split_at_checked(end)?;
        let is_plain = !field.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'(' | b')'));
        return is_plain.then(|| ((!field.is_empty()).then(|| field.to_vec()), behind));
    };
    let mut field = Vec::new();
    loop {
        let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (plain, behind) = rest.split_at_checked(at)?;
        field.extend_from_slice(plain);
        match behind {
            [b'"', b'"', behind @ ..] => {
                field.push(b'"');
                rest = behind;
            }
            [b'"', behind @ ..] => return Some((Some(field), behind)),
            [b'\\', byte, behind @ ..] => {
                field.push(*byte);
                rest = behind;
            }
            _ => return None,
        }
    }
}

/// As `record_out` quotes.
fn quote(field: &[u8], out: &mut Vec<u8>) {
    let special =
        |byte: &u8| matches!(byte, b'"' | b'\\' | b'(' | b')' | b',') || byte.is_ascii_whitespace() || *byte == 11;
    if !field.is_empty() && !field.iter().any(special) {
        return out.extend_from_slice(field);
    }
    out.push(b'"');
    for byte in field {
        if matches!(byte, b'"' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second field is replaced, a third that says so is gone.
    fn star(at: usize, field: &[u8]) -> Option<Vec<u8>> {
        match (at, field) {
            (1, field) => Some([b"<", field, b">"].concat()),
            (_, b"gone") => None,
            (_, field) => Some(field.to_vec()),
        }
    }

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let said = map_text(value.as_bytes(), 3, star).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(said.as_deref().unwrap_or("no row of three"), expected, "{value}");
    }

    #[test]
    fn fields_of_the_text_form() {
        check("(1,b,c)", "(1,<b>,c)");
        check("(,,)", "(,,)");
        check("(1,,gone)", "(1,,)");
        check(r#"(1,"",c)"#, "(1,<>,c)");
        check(r#"(1,"a ""b"" \\ , )",c)"#, r#"(1,"<a ""b"" \\ , )>",c)"#);
        check(r#"("a b",b,"c,""d""")"#, r#"("a b",<b>,"c,""d""")"#);
        check("(1,b)", "no row of three");
        check("(1,b,c,d)", "no row of three");
        check("(1,b,c", "no row of three");
        check("1,b,c", "no row of three");
        check(r#"(1,"b,c)"#, "no row of three");
        check(r#"(1,b"x,c)"#, "no row of three");
        check(r#"(1,"b"x,c)"#, "no row of three");
        check("()", "no row of three");
        check("", "no row of three");
    }

    fn binary(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut value = Vec::new();
        value.put_i32(i32::try_from(fields.len()).unwrap());
        for field in fields {
            value.put_u32(25);
            match field {
                Some(field) => {
                    value.put_i32(i32::try_from(field.len()).unwrap());
                    value.extend_from_slice(field);
                }
                None => value.put_i32(-1),
            }
        }
        value
    }

    #[test]
    fn fields_of_the_binary_form() {
        let star = |at: usize, type_oid: u32, field: &[u8]| (type_oid == 25).then(|| star(at, field)).flatten();
        let value = binary(&[Some(b"a"), Some(b"b"), None]);
        assert_eq!(map_binary(&value, 3, star), Some(binary(&[Some(b"a"), Some(b"<b>"), None])));
        assert_eq!(map_binary(&binary(&[None, None, Some(b"gone")]), 3, star), Some(binary(&[None, None, None])));
        assert_eq!(map_binary(&value, 2, star), None, "fewer fields");
        assert_eq!(map_binary(&value, 4, star), None, "more fields");
        assert_eq!(map_binary(&value[..value.len() - 1], 3, star), None, "cut");
        assert_eq!(map_binary(&[value.as_slice(), b"x"].concat(), 3, star), None, "longer");
    }
}
