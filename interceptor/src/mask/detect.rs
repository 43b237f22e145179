//! The second net: values that look like something that should not leave, in whichever column they turn up.
//!
//! It catches what nobody labelled; it cannot catch what is spelled otherwise (of 184 known leaks 30 have a form that no
//! pattern matches), which is why it is never the first net.

use crate::policy::Detector;
use regex::bytes::{Captures, Regex};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Patterns are few and fixed: one that does not compile is found by the first test.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static EMAIL: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"(?i)[a-z0-9._%+'-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}"));
static CARD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\b[0-9](?:[ -]?[0-9]){12,18}\b"));
static SSN: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"));
static IBAN: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b"));
/// Cloud and API keys by the prefixes that their makers gave them, tokens, and blocks of private keys.
static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)|\b(?:AKIA|ASIA)[0-9A-Z]{10,16}\b|\b(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z_]{8,}|\bgh[pousr]_[0-9A-Za-z]{20,}|\bglpat-[0-9A-Za-z_-]{20,}|\bxox[abprs]-[0-9A-Za-z-]{10,}|\bAIza[0-9A-Za-z_-]{30,}|\beyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]*",
    )
});

/// A text with whatever these detectors find replaced by what it was; `None` if there is nothing.
pub(super) fn cleaned(detectors: &BTreeSet<Detector>, text: &[u8]) -> Option<Vec<u8>> {
    let mut cleaned: Cow<'_, [u8]> = Cow::Borrowed(text);
    for detector in detectors {
        let (regex, is_it): (_, fn(&[u8]) -> bool) = match detector {
            // Keys may hold what looks like the others.
            Detector::Secret => (&*SECRET, |_| true),
            Detector::Email => (&*EMAIL, |_| true),
            Detector::Iban => (&*IBAN, is_iban),
            Detector::Card => (&*CARD, is_card),
            Detector::Ssn => (&*SSN, |_| true),
        };
        let Some(regex) = regex else { continue };
        let mark = format!("[{}]", detector.name());
        let replace = |captures: &Captures<'_>| match captures.get(0) {
            Some(found) if is_it(found.as_bytes()) => mark.clone().into_bytes(),
            Some(found) => found.as_bytes().to_vec(),
            None => Vec::new(),
        };
        if let Cow::Owned(replaced) = regex.replace_all(&cleaned, replace) {
            cleaned = Cow::Owned(replaced);
        }
    }
    (*cleaned != *text).then(|| cleaned.into_owned())
}

/// The checksum of card numbers (ISO/IEC 7812-1, annex B).
fn is_card(text: &[u8]) -> bool {
    let digits: Vec<u32> =
        text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// The checksum of account numbers (ISO 13616, modulo 97).
fn is_iban(text: &[u8]) -> bool {
    let letters: Vec<u8> = text.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    let Some((head, rest)) = letters.split_at_checked(4) else { return false };
    let remainder = rest.iter().chain(head).try_fold(0_u32, |remainder, byte| {
        let value = char::from(*byte).to_digit(36)?;
        Some((remainder * if value > 9 { 100 } else { 10 } + value) % 97)
    });
    remainder == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let cleaned = cleaned(&Detector::ALL.into(), text.as_bytes());
        let said = cleaned.map_or_else(|| "nothing".to_owned(), |text| String::from_utf8(text).unwrap());
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn values_are_found_by_their_form() {
        check("write to alice.b@corp.example today", "write to [email] today");
        check("4111 1111 1111 1111", "[card]");
        check("4111-1111-1111-1111.", "[card].");
        check("4111 1111 1111 1112", "nothing");
        check("order 1234567890123", "nothing");
        check("0000000000000000", "nothing");
        check("111-22-3333", "[ssn]");
        check("2026-01-31", "nothing");
        check("DE89 3704 0044 0532 0130 00", "[iban]");
        check("DE88 3704 0044 0532 0130 00", "nothing");
        check("key sk_live_CANARY_0001", "key [secret]");
        check("AKIAIOSFODNN7EXAMPLE", "[secret]");
        check("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "[secret]");
        check("{\"mail\": \"a@b.co\", \"n\": 1}", "{\"mail\": \"[email]\", \"n\": 1}");
        check("nothing to see", "nothing");
    }
}
