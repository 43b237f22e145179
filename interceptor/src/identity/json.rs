//! JSON in which every member has one meaning.
//!
//! Where a name stands twice, one reader takes the first and another the last; whoever signs, checks and uses a token must
//! not be able to disagree about it (RFC 8725 section 2.6 gives this as a class of attack). So a repeated name is an error,
//! at every level. Depth is limited by `serde_json` (128).

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::fmt;

/// Reads one JSON object from all of `bytes`.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice::<Strict>(bytes).map_err(|error| error.to_string())?.0 {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("not a JSON object".to_owned())
        }
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("member `{}` stands twice", name.escape_debug())));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::object;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let read =
            object(text.as_bytes()).map_or_else(|error| error, |members| serde_json::to_string(&members).unwrap());
        assert!(read.starts_with(expected), "{text}: {read}");
    }

    #[test]
    fn a_member_stands_once() {
        check(r#"{"a":1,"b":[{"a":null},"x",true,-1,1.5]}"#, r#"{"a":1,"b":[{"a":null},"x",true,-1,1.5]}"#);
        check(r#"{"a":1,"a":1}"#, "member `a` stands twice");
        check(r#"{"a":1,"\u0061":2}"#, "member `a` stands twice");
        check(r#"{"act":{"sub":"x","sub":"y"}}"#, "member `sub` stands twice");
        check(r#"[{"a":1}]"#, "not a JSON object");
        check(r#"{"a":1} {}"#, "trailing characters");
        check(&"[".repeat(10_000), "recursion limit exceeded");
        check("", "EOF while parsing");
    }
}
