//! One line of the trail and how it hangs on the one before.

use sha2::{Digest, Sha256};

/// What the first record hangs on.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH: &str = ",\"hash\":\"";

/// Closes a record: `json` is a whole object, the hash goes in as its last member.
pub(super) fn seal(json: &str) -> (String, String) {
    let open = json.strip_suffix('}').unwrap_or(json);
    let hash = hash(json);
    (format!("{open}{HASH}{hash}\"}}\n"), hash)
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
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}
