//! Arrays: their elements are masked one by one, their shape stays.

use bytes::{Buf, BufMut};

/// The type of an array's elements, for arrays of the server's own types (`pg_type.dat`, `typarray`).
pub(super) fn element(oid: u32) -> Option<u32> {
    Some(match oid {
        1009 => 25,   // text
        1015 => 1043, // varchar
        1014 => 1042, // bpchar
        1003 => 19,   // name
        199 => 114,   // json
        3807 => 3802, // jsonb
        2951 => 2950, // uuid
        1005 => 21,   // smallint
        1007 => 23,   // integer
        1016 => 20,   // bigint
        1231 => 1700, // numeric
        1182 => 1082, // date
        1115 => 1114, // timestamp
        1185 => 1184, // timestamptz
        1001 => 17,   // bytea
        _ => return None,
    })
}

/// Most dimensions that an array has (`MAXDIM` in PostgreSQL's `c.h`).
const MOST_DIMENSIONS: usize = 6;

/// Replaces the elements of an array in its binary form (`array_send`: dimensions, whether there are NULLs, the elements'
/// type, then length and lower bound of each dimension, then the elements). `None` if it is not of that form.
pub(super) fn map_binary(value: &[u8], of: u32, replace: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut rest = value;
    let dimensions = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    rest.try_get_i32().ok()?;
    if rest.try_get_u32().ok()? != of || dimensions > MOST_DIMENSIONS {
        return None;
    }
    let (bounds, mut rest) = rest.split_at_checked(dimensions * 8)?;
    let (mut elements, mut has_null) = (Vec::with_capacity(value.len()), false);
    while !rest.is_empty() {
        let replaced = match rest.try_get_i32().ok()? {
            -1 => None,
            length => {
                let (element, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                rest = behind;
                replace(element)
            }
        };
        match replaced {
            Some(element) => {
                elements.put_i32(i32::try_from(element.len()).ok()?);
                elements.extend(element);
            }
            None => {
                has_null = true;
                elements.put_i32(-1);
            }
        }
    }
    let mut out = Vec::with_capacity(elements.len() + 12 + bounds.len());
    out.put_i32(i32::try_from(dimensions).ok()?);
    out.put_i32(has_null.into());
    out.put_u32(of);
    out.extend_from_slice(bounds);
    out.extend(elements);
    Some(out)
}

/// Replaces the elements of an array in its text form (8.15.6 "Array Input and Output Syntax"). `None` if it is not of that
/// form.
pub(super) fn map_text(value: &[u8], replace: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    // Bounds other than 1 stand in front: `[0:1]={a,b}`.
    let start = if value.first() == Some(&b'[') { value.windows(2).position(|two| two == b"={")? + 1 } else { 0 };
    let (bounds, body) = value.split_at_checked(start)?;
    let mut out = bounds.to_vec();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = body.get(at) {
        match byte {
            b'{' => {
                depth += 1;
                out.push(b'{');
                at += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1)?;
                out.push(b'}');
                at += 1;
            }
            b',' => {
                out.push(b',');
                at += 1;
            }
            _ => {
                let (element, behind) = text_element(body, at)?;
                at = behind;
                match element.and_then(|element| replace(&element)) {
                    Some(element) => quote(&element, &mut out),
                    None => out.extend_from_slice(b"NULL"),
                }
            }
        }
        if depth == 0 {
            break;
        }
    }
    (depth == 0 && at == body.len() && at > 0).then_some(out)
}

/// An element, `None` for NULL, and where it ends.
fn text_element(body: &[u8], mut at: usize) -> Option<(Option<Vec<u8>>, usize)> {
    let mut element = Vec::new();
    if body.get(at) == Some(&b'"') {
        at += 1;
        loop {
            match body.get(at)? {
                b'"' => return Some((Some(element), at + 1)),
                b'\\' => {
                    element.push(*body.get(at + 1)?);
                    at += 2;
                }
                byte => {
                    element.push(*byte);
                    at += 1;
                }
            }
        }
    }
    loop {
        match body.get(at)? {
            b',' | b'{' | b'}' => break,
            b'"' => return None,
            b'\\' => {
                element.push(*body.get(at + 1)?);
                at += 2;
            }
            byte => {
                element.push(*byte);
                at += 1;
            }
        }
    }
    let is_null = element.eq_ignore_ascii_case(b"NULL");
    Some(((!is_null).then_some(element), at))
}

fn quote(element: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn star(element: &[u8]) -> Option<Vec<u8>> {
        (element != b"gone").then(|| [b"<", element, b">"].concat())
    }

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let said = map_text(value.as_bytes(), star).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(said.as_deref().unwrap_or("no array"), expected, "{value}");
    }

    #[test]
    fn elements_of_the_text_form() {
        check("{}", "{}");
        check("{a,b}", r#"{"<a>","<b>"}"#);
        check("{NULL,gone,\"NULL\"}", r#"{NULL,NULL,"<NULL>"}"#);
        check(r#"{"a,b","c\"d","e\\f",""}"#, r#"{"<a,b>","<c\"d>","<e\\f>","<>"}"#);
        check("{{a,b},{c,d}}", r#"{{"<a>","<b>"},{"<c>","<d>"}}"#);
        check("[0:1]={a,b}", r#"[0:1]={"<a>","<b>"}"#);
        check("{a", "no array");
        check("{a}b", "no array");
        check("a", "no array");
        check("", "no array");
        check("{a\"b}", "no array");
        check("[0:1]", "no array");
    }

    fn binary(dimensions: i32, oid: u32, elements: &[Option<&[u8]>]) -> Vec<u8> {
        let mut value = Vec::new();
        value.put_i32(dimensions);
        value.put_i32(0);
        value.put_u32(oid);
        for _ in 0..dimensions {
            value.put_i32(i32::try_from(elements.len()).unwrap());
            value.put_i32(1);
        }
        for element in elements {
            match element {
                Some(element) => {
                    value.put_i32(i32::try_from(element.len()).unwrap());
                    value.extend_from_slice(element);
                }
                None => value.put_i32(-1),
            }
        }
        value
    }

    #[test]
    fn elements_of_the_binary_form() {
        let value = binary(1, 25, &[Some(b"a"), None, Some(b"bc")]);
        let mut expected = binary(1, 25, &[Some(b"<a>"), None, Some(b"<bc>")]);
        expected[7] = 1;
        assert_eq!(map_binary(&value, 25, star), Some(expected));
        assert_eq!(map_binary(&binary(0, 25, &[]), 25, star), Some(binary(0, 25, &[])));
        assert_eq!(map_binary(&value, 1043, star), None, "another type");
        assert_eq!(map_binary(&value[..value.len() - 1], 25, star), None, "cut");
        assert_eq!(map_binary(&binary(7, 25, &[]), 25, star), None, "too many dimensions");
    }
}
