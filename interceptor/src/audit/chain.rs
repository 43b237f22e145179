//! One line of the trail and how it hangs on the one before.

use sha2::{Digest, Sha256};

/// What the first record hangs on.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH: &str = ",\"hash\":\"";

/// Closes a record that begins at `start` of `lines` and lacks its brace: the hash of the whole object goes in as its last
/// member.
pub(super) fn seal(lines: &mut Vec<u8>, start: usize) -> String {
    let mut digest = Sha256::new();
    digest.update(lines.get(start..).unwrap_or_default());
    digest.update(b"}");
    let hash = hex(&digest.finalize());
    lines.extend_from_slice(HASH.as_bytes());
    lines.extend_from_slice(hash.as_bytes());
    lines.extend_from_slice(b"\"}\n");
    hash
}

/// Takes a line apart into the record as it was hashed and its hash; `None` if it is no sealed record.
pub(super) fn unseal(line: &str) -> Option<(String, &str)> {
    let at = line.rfind(HASH)?;
    let hash = line.get(at + HASH.len()..)?.strip_suffix("\"}")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| (format!("{}}}", line.get(..at).unwrap_or_default()), hash))
}

/// SHA-256 in hexadecimal.
pub fn hash(json: &str) -> String {
    hex(&Sha256::digest(json))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect();
    // Nothing but digits.
    String::from_utf8(digits).unwrap_or_default()
}
