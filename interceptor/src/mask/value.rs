//! One value, one mask, one type.

use super::{Key, array, composite, detect};
use crate::policy::{Detector, Mask, MaskedOutput};
use crate::wire::Described;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Types by their OIDs, which are fixed for the server's own (`pg_type.dat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
    Jsonb,
    Uuid,
    /// Two, four or eight bytes.
    Integer(usize),
    Numeric,
    /// Days since 2000-01-01.
    Date,
    /// Microseconds since 2000-01-01.
    Timestamp,
    Bytes,
    Other,
}

fn kind(oid: u32) -> Kind {
    match oid {
        // text, varchar, bpchar, name, unknown
        25 | 1043 | 1042 | 19 | 705 => Kind::Text,
        114 => Kind::Json,
        3802 => Kind::Jsonb,
        2950 => Kind::Uuid,
        21 => Kind::Integer(2),
        23 => Kind::Integer(4),
        20 => Kind::Integer(8),
        1700 => Kind::Numeric,
        1082 => Kind::Date,
        1114 | 1184 => Kind::Timestamp,
        17 => Kind::Bytes,
        _ => Kind::Other,
    }
}

/// The wire type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of {
    /// `pg_type.oid`; 0 where it is not known.
    pub(super) type_oid: u32,
    /// Whether it comes in its type's binary form.
    pub(super) binary: bool,
}

impl Of {
    pub(super) fn column(column: &Described) -> Self {
        Self { type_oid: column.type_oid, binary: column.format == 1 }
    }
}

/// What a search through a value comes to.
pub(super) enum Searched {
    /// It may leave as it is.
    Nothing,
    /// This may.
    Cleaned(Vec<u8>),
    /// NULL leaves in its place.
    Hidden,
}

/// Types whose values are numbers, times, bits and bytes, and arrays of them: no text hides there.
fn is_other_than_text(oid: u32) -> bool {
    matches!(kind(oid), Kind::Uuid | Kind::Integer(_) | Kind::Numeric | Kind::Date | Kind::Timestamp | Kind::Bytes)
        // bool, oid, float4, float8, money, time, timetz, interval, bit, varbit
        || matches!(oid, 16 | 26 | 700 | 701 | 790 | 1083 | 1266 | 1186 | 1560 | 1562)
        // their arrays
        || matches!(oid, 1000 | 1028 | 1021 | 1022 | 791 | 1183 | 1270 | 1187 | 1561 | 1563)
        || array::element(oid).is_some_and(is_other_than_text)
}

/// Looks for what detectors find in texts and JSON, and in whatever may hold them: arrays, rows, ranges, and the types of
/// extensions and users, whose form is not known.
pub(super) fn searched(detectors: &BTreeSet<Detector>, of: Of, value: &[u8]) -> Searched {
    if detectors.is_empty() {
        return Searched::Nothing;
    }
    let Of { type_oid, binary } = of;
    let kind = kind(type_oid);
    if is_other_than_text(type_oid) {
        return Searched::Nothing;
    }
    let Some(cleaned) = detect::cleaned(detectors, value) else { return Searched::Nothing };
    match kind {
        Kind::Text => Searched::Cleaned(cleaned),
        // A mark in the place of a number would be no JSON.
        Kind::Json | Kind::Jsonb => {
            let text = if kind == Kind::Jsonb && binary { cleaned.get(1..).unwrap_or_default() } else { &cleaned };
            if serde_json::from_slice::<serde_json::Value>(text).is_ok() {
                Searched::Cleaned(cleaned)
            } else {
                Searched::Hidden
            }
        }
        // _text, _varchar, _bpchar, _name, _json, _jsonb: the mark needs no quotes in them.
        _ if !binary && matches!(type_oid, 1009 | 1015 | 1014 | 1003 | 199 | 3807) => Searched::Cleaned(cleaned),
        _ => Searched::Hidden,
    }
}

/// What stands in a value's place; `None` for NULL. Of a row some fields are masked, and detectors look into the others.
pub(super) fn replaced(
    masked: &MaskedOutput,
    of: Of,
    value: &[u8],
    detectors: &BTreeSet<Detector>,
    key: &Key,
) -> Option<Vec<u8>> {
    let fields = match masked {
        MaskedOutput::Value { mask, salt } => return self::masked(*mask, of, value, *salt, key),
        MaskedOutput::Row(fields) => fields,
    };
    let field = |at: usize, type_oid: Option<u32>, value: &[u8]| {
        let field = fields.get(at)?;
        let of = Of { type_oid: type_oid.unwrap_or(field.type_oid), binary: of.binary };
        match &field.mask {
            Some(mask) => replaced(mask, of, value, detectors, key),
            None => match searched(detectors, of, value) {
                Searched::Nothing => Some(value.to_vec()),
                Searched::Cleaned(value) => Some(value),
                Searched::Hidden => None,
            },
        }
    };
    if of.binary {
        composite::map_binary(value, fields.len(), |at, type_oid, value| field(at, Some(type_oid), value))
    } else {
        composite::map_text(value, fields.len(), |at, value| field(at, None, value))
    }
}

/// A masked value; `None` for NULL. Arrays keep their shape, and each element is masked.
fn masked(mask: Mask, of: Of, value: &[u8], salt: u64, key: &Key) -> Option<Vec<u8>> {
    let Of { type_oid, binary } = of;
    let one = |oid: u32, value: &[u8]| scalar(mask, kind(oid), binary, value, salt, key);
    match array::element(type_oid) {
        None => one(type_oid, value),
        Some(_) if mask == Mask::Null => None,
        Some(element) if binary => array::map_binary(value, element, |value| one(element, value)),
        Some(element) => array::map_text(value, |value| one(element, value)),
    }
}

fn scalar(mask: Mask, kind: Kind, binary: bool, value: &[u8], salt: u64, key: &Key) -> Option<Vec<u8>> {
    match mask {
        Mask::Null => None,
        Mask::Redact => redacted(kind, binary),
        Mask::Hash => hashed(kind, binary, value, key),
        Mask::Shift => shifted(kind, binary, value, salt, key),
        Mask::Partial | Mask::Email | Mask::Last4 => match (kind, std::str::from_utf8(value)) {
            (Kind::Text, Ok(text)) => Some(part(mask, text).into_bytes()),
            _ => redacted(kind, binary),
        },
    }
}

fn redacted(kind: Kind, binary: bool) -> Option<Vec<u8>> {
    match kind {
        Kind::Text => Some(b"[redacted]".to_vec()),
        Kind::Json => Some(b"\"[redacted]\"".to_vec()),
        // Its binary form is the text behind a version.
        Kind::Jsonb if binary => Some(b"\x01\"[redacted]\"".to_vec()),
        Kind::Jsonb => Some(b"\"[redacted]\"".to_vec()),
        _ => None,
    }
}

/// The part of a text that a mask leaves. Short texts leave nothing: a part of them would be most of them.
fn part(mask: Mask, text: &str) -> String {
    let characters = text.chars().count();
    let first = text.chars().next().map(String::from).unwrap_or_default();
    match (mask, text.rsplit_once('@')) {
        (Mask::Email, Some((local, domain))) if !local.is_empty() => format!("{first}***@{domain}"),
        (Mask::Last4, _) if characters >= 8 => {
            let last: String = text.chars().skip(characters - 4).collect();
            format!("****{last}")
        }
        (Mask::Last4, _) => "****".to_owned(),
        _ if characters >= 6 => format!("{first}***{}", text.chars().last().map(String::from).unwrap_or_default()),
        _ => "***".to_owned(),
    }
}

/// The same bytes for the same value, whichever format it comes in.
fn canonical(kind: Kind, binary: bool, value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let hex = |text: &[u8]| -> Option<Vec<u8>> {
        let digits: Vec<u8> = text.iter().filter_map(|byte| Some(char::from(*byte).to_digit(16)? as u8)).collect();
        Some(digits.chunks(2).map(|two| two.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
    };
    Some(match kind {
        Kind::Integer(_) => Cow::Owned(read_integer(value, binary)?.to_string().into_bytes()),
        Kind::Jsonb if binary => Cow::Borrowed(value.get(1..)?),
        Kind::Uuid if !binary => Cow::Owned(hex(value)?),
        // `bytea_output = escape` has no prefix and stays as it is.
        Kind::Bytes if !binary && value.starts_with(b"\\x") => Cow::Owned(hex(value.get(2..)?)?),
        _ => Cow::Borrowed(value),
    })
}

fn hashed(kind: Kind, binary: bool, value: &[u8], key: &Key) -> Option<Vec<u8>> {
    let digest = key.digest("hash", &canonical(kind, binary, value)?);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let number = u64::from_be_bytes(digest.get(..8)?.try_into().ok()?);
    match kind {
        Kind::Text => Some(hex(digest.get(..16)?).into_bytes()),
        Kind::Json => Some(format!("\"{}\"", hex(digest.get(..16)?)).into_bytes()),
        Kind::Jsonb => {
            let text = format!("\"{}\"", hex(digest.get(..16)?)).into_bytes();
            Some(if binary { [vec![1], text].concat() } else { text })
        }
        Kind::Uuid if binary => Some(digest.get(..16)?.to_vec()),
        Kind::Uuid => {
            let hex = hex(digest.get(..16)?);
            let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
            let text = format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
            Some(text.into_bytes())
        }
        Kind::Integer(size) => integer((number >> (65 - 8 * size as u32)) as i64, size, binary),
        Kind::Bytes if binary => Some(digest.to_vec()),
        Kind::Bytes => Some(format!("\\x{}", hex(&digest)).into_bytes()),
        Kind::Numeric | Kind::Date | Kind::Timestamp | Kind::Other => None,
    }
}

fn integer(number: i64, size: usize, binary: bool) -> Option<Vec<u8>> {
    if !binary {
        return Some(number.to_string().into_bytes());
    }
    number.to_be_bytes().get(8 - size..).map(<[u8]>::to_vec)
}

fn read_integer(value: &[u8], binary: bool) -> Option<i64> {
    if !binary {
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    match value.len() {
        2 => Some(i16::from_be_bytes(value.try_into().ok()?).into()),
        4 => Some(i32::from_be_bytes(value.try_into().ok()?).into()),
        8 => Some(i64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// Dates and numbers keep their distances: all of a column move by one amount. What would leave its type's range is NULL.
fn shifted(kind: Kind, binary: bool, value: &[u8], salt: u64, key: &Key) -> Option<Vec<u8>> {
    let digest = key.digest("shift", &salt.to_be_bytes());
    let number = u32::from_be_bytes(digest.get(..4)?.try_into().ok()?);
    let sign = if digest.get(4)? & 1 == 0 { 1 } else { -1 };
    // A month to two years; ten to ten thousand.
    let (days, amount) = (sign * i64::from(30 + number % 700), sign * i64::from(10 + number % 9990));
    match kind {
        Kind::Integer(size) => {
            let moved = read_integer(value, binary)?.checked_add(amount)?;
            let most = i64::MAX >> (64 - 8 * size as u32);
            (-most..=most).contains(&moved).then(|| integer(moved, size, binary)).flatten()
        }
        Kind::Numeric if !binary => {
            let text = std::str::from_utf8(value).ok()?;
            let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
            let moved = whole.parse::<i64>().ok()?.checked_add(amount)?;
            let fraction = fraction.map(|fraction| format!(".{fraction}")).unwrap_or_default();
            Some(format!("{moved}{fraction}").into_bytes())
        }
        Kind::Date if binary => integer(read_integer(value, true)?.checked_add(days)?, 4, true),
        Kind::Timestamp if binary => integer(read_integer(value, true)?.checked_add(days * 86_400_000_000)?, 8, true),
        Kind::Date | Kind::Timestamp => {
            // ISO style only: what other styles mean is a setting's secret.
            let text = std::str::from_utf8(value).ok()?;
            let (day, rest) = text.split_at_checked(10)?;
            let format = time::macros::format_description!("[year]-[month]-[day]");
            let moved = time::Date::parse(day, format).ok()?.checked_add(time::Duration::days(days))?;
            Some(format!("{}{rest}", moved.format(format).ok()?).into_bytes())
        }
        Kind::Text | Kind::Json | Kind::Jsonb => redacted(kind, binary),
        Kind::Numeric | Kind::Uuid | Kind::Bytes | Kind::Other => None,
    }
}
