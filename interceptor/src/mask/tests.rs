//! Masks, written as what goes in and what comes out.

use super::*;
use crate::policy::{Mask, MaskedOutput};
use crate::wire::{Chunk, Frame, Splitter};
use std::collections::BTreeSet;

const TEXT: u32 = 25;

fn described(type_oid: u32, format: i16) -> Described {
    Described { table: 1, attribute: 1, type_oid, format }
}

fn frame(values: &[Option<&[u8]>]) -> Frame {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value);
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    whole(&body)
}

fn whole(body: &[u8]) -> Frame {
    let mut bytes = BytesMut::from(&b"D"[..]);
    bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    match Splitter::default().next(&mut bytes, |_| Some(usize::MAX)) {
        Ok(Some(Chunk::Whole(frame))) => frame,
        other => panic!("{other:?}"),
    }
}

fn one(mask: Mask, column: Described, value: &[u8]) -> String {
    let orders = Orders { masks: vec![Some(MaskedOutput::Value { mask, salt: 7 })], ..Orders::default() };
    let mut out = BytesMut::new();
    let key = Key::ephemeral();
    match row(&orders, &[column], &key, frame(&[Some(value)]).body(), &mut out) {
        Ok(_) => match out.get(11..) {
            Some(value) if !value.is_empty() => String::from_utf8_lossy(value).into_owned(),
            _ => "NULL".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(mask: Mask, value: &str, expected: &str) {
    assert_eq!(one(mask, described(TEXT, 0), value.as_bytes()), expected);
    assert_eq!(one(mask, described(TEXT, 1), value.as_bytes()), expected, "in binary");
}

#[test]
fn texts() {
    check(Mask::Null, "alice@corp.example", "NULL");
    check(Mask::Redact, "alice@corp.example", "[redacted]");
    check(Mask::Partial, "alice@corp.example", "a***e");
    check(Mask::Partial, "bob", "***");
    check(Mask::Partial, "", "***");
    check(Mask::Partial, "ängström", "ä***m");
    check(Mask::Email, "alice@corp.example", "a***@corp.example");
    check(Mask::Email, "no address", "n***s");
    check(Mask::Email, "@x", "***");
    check(Mask::Last4, "4111-1111-1111-1234", "****1234");
    check(Mask::Last4, "1234", "****");
    check(Mask::Shift, "2026-01-01", "[redacted]");
}

#[test]
fn other_types_stay_valid() {
    let int4 = |format| described(23, format);
    assert_eq!(one(Mask::Partial, int4(0), b"12345678"), "NULL");
    assert_eq!(one(Mask::Redact, int4(1), &7_i32.to_be_bytes()), "NULL");
    assert_eq!(one(Mask::Redact, described(3802, 1), b"\x01{}"), "\u{1}\"[redacted]\"");
    assert_eq!(one(Mask::Redact, described(114, 0), b"{}"), "\"[redacted]\"");
    assert!(one(Mask::Hash, described(2950, 1), &[0; 16]).len() >= 16);
    let moved: i64 = one(Mask::Shift, int4(0), b"1000").parse().unwrap();
    assert!((10..=10_000).contains(&(moved - 1000).abs()), "{moved}");
    assert_eq!(one(Mask::Shift, described(21, 1), &[0x7f]), "NULL");
    let date = one(Mask::Shift, described(1082, 0), b"2026-06-15");
    assert!(date.len() == 10 && date != "2026-06-15", "{date}");
    assert_eq!(one(Mask::Shift, described(1082, 0), b"15/06/2026"), "NULL");
    assert_eq!(one(Mask::Shift, described(1114, 0), b"2026-06-15 12:00:00.5").len(), 21);
    assert!(one(Mask::Shift, described(1700, 0), b"12.50").ends_with(".50"));
    // Of a type that is not known nothing is left.
    assert_eq!(one(Mask::Partial, described(16385, 0), b"alice@corp.example"), "NULL");
}

#[test]
fn arrays_are_masked_element_by_element() {
    let array = |oid, mask, value: &str| one(mask, described(oid, 0), value.as_bytes());
    assert_eq!(array(1009, Mask::Email, "{alice@corp.example,NULL}"), r#"{"a***@corp.example",NULL}"#);
    assert_eq!(array(1015, Mask::Redact, r#"{{"a b",c}}"#), r#"{{"[redacted]","[redacted]"}}"#);
    assert_eq!(array(1007, Mask::Redact, "{1,2}"), "{NULL,NULL}");
    assert_eq!(array(1009, Mask::Null, "{a}"), "NULL");
    assert_eq!(array(1009, Mask::Partial, "no array"), "NULL");
}

#[test]
fn a_hash_does_not_depend_on_the_format() {
    let key = Key::ephemeral();
    let hash = |oid, format, value: &[u8]| {
        let mask = MaskedOutput::Value { mask: Mask::Hash, salt: 0 };
        value::replaced(&mask, value::Of { type_oid: oid, binary: format == 1 }, value, &BTreeSet::new(), &key).unwrap()
    };
    assert_eq!(
        hash(23, 0, b"-42"),
        i32::from_be_bytes(hash(23, 1, &(-42_i32).to_be_bytes()).try_into().unwrap()).to_string().into_bytes()
    );
    assert_eq!(hash(17, 0, b"\\x0aff").len() - 2, hash(17, 1, b"\x0a\xff").len() * 2);
    assert_eq!(hash(17, 0, b"\\x0aff")[2..4], format!("{:02x}", hash(17, 1, b"\x0a\xff")[0]).into_bytes()[..]);
    assert_eq!(hash(3802, 0, b"{}"), hash(3802, 1, b"\x01{}")[1..]);
    let uuid = hash(2950, 0, b"00010203-0405-0607-0809-0a0b0c0d0e0f");
    let bytes: Vec<u8> = (0..16).collect();
    assert_eq!(&uuid[..2], &format!("{:02x}", hash(2950, 1, &bytes)[0]).into_bytes()[..]);
}

#[test]
fn a_hash_is_the_same_for_the_same_value_and_key() {
    let key = Key::ephemeral();
    let orders = Orders { masks: vec![Some(MaskedOutput::Value { mask: Mask::Hash, salt: 0 })], ..Orders::default() };
    let hash = |value: &[u8], key: &Key| {
        let mut out = BytesMut::new();
        row(&orders, &[described(TEXT, 0)], key, frame(&[Some(value)]).body(), &mut out).unwrap();
        out
    };
    assert_eq!(hash(b"a", &key), hash(b"a", &key));
    assert_ne!(hash(b"a", &key), hash(b"b", &key));
    assert_ne!(hash(b"a", &key), hash(b"a", &Key::ephemeral()));
}

#[test]
fn rows_that_are_not_what_was_announced_are_refused() {
    let orders =
        Orders { masks: vec![None, Some(MaskedOutput::Value { mask: Mask::Null, salt: 0 })], ..Orders::default() };
    let shape = [described(TEXT, 0), described(TEXT, 0)];
    let said = |frame: &Frame| {
        let mut out = BytesMut::new();
        match row(&orders, &shape, &Key::ephemeral(), frame.body(), &mut out) {
            Ok(masked) => format!("{masked} {}", out.escape_ascii()),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        said(&frame(&[Some(b"a"), Some(b"b")])),
        "1 D\\x00\\x00\\x00\\x0f\\x00\\x02\\x00\\x00\\x00\\x01a\\xff\\xff\\xff\\xff"
    );
    assert_eq!(
        said(&frame(&[Some(b"a"), None])),
        "0 D\\x00\\x00\\x00\\x0f\\x00\\x02\\x00\\x00\\x00\\x01a\\xff\\xff\\xff\\xff"
    );
    assert_eq!(said(&frame(&[Some(b"a")])), "malformed message: a row has another number of columns than announced");
    assert_eq!(said(&whole(b"\0\x02\0\0\0\x05ab")), "malformed message: a row ends too early");
    assert_eq!(said(&whole(b"\0\x02\0\0\0\x01a\xff\xff\xff\xffx")), "malformed message: bytes follow a row's end");
}
