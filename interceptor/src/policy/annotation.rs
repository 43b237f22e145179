//! Annotations: what Cedar keeps for us and does not look at.
//!
//! A typo in one would silently drop a limit, so that every annotation is checked when a set is loaded: unknown names,
//! malformed values and obligations on permits stop the load.

use cedar_policy::{Effect, Policy};

/// What lifts a forbid when it is met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obligation {
    /// The column's values are replaced before they leave.
    Mask(String),
    /// Rows that may leave.
    MaxRows(u64),
    /// Bytes that may leave.
    MaxBytes(u64),
    /// Rows that a write may touch.
    MaxAffected(u64),
    /// Time that the statement may take, in seconds.
    Timeout(u64),
    /// Somebody of this group has to say yes.
    Approve(String),
    /// Values that look like one of these are replaced.
    Detect(String),
}

impl Obligation {
    /// As it stands in a policy: name and value.
    pub fn show(&self) -> String {
        match self {
            Self::Mask(how) => format!("mask({how})"),
            Self::MaxRows(most) => format!("max_rows({most})"),
            Self::MaxBytes(most) => format!("max_bytes({most})"),
            Self::MaxAffected(most) => format!("max_affected({most})"),
            Self::Timeout(seconds) => format!("timeout({seconds}s)"),
            Self::Approve(group) => format!("approve({group})"),
            Self::Detect(kinds) => format!("detect({kinds})"),
        }
    }
}

/// The annotations of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) obligations: Vec<Obligation>,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
}

const MASKS: &[&str] = &["null", "redact", "hash", "partial", "email", "last4", "shift"];

/// Reads a policy's annotations; each mistake is one line.
pub(super) fn read(policy: &Policy) -> Result<Annotations, Vec<String>> {
    let (mut annotations, mut mistakes) = (Annotations::default(), Vec::new());
    let is_permit = policy.effect() == Effect::Permit;
    for (name, value) in policy.annotations() {
        match obligation(name, value) {
            Some(Ok(_)) if is_permit => mistakes.push(format!("`@{name}` stands on a permit; obligations are annotations on forbids")),
            Some(Ok(obligation)) => annotations.obligations.push(obligation),
            Some(Err(mistake)) => mistakes.push(mistake),
            None => match name {
                "id" => {}
                "reason" | "hint" if is_permit => {
                    mistakes.push(format!("`@{name}` stands on a permit; it is what an agent reads when a forbid refuses"));
                }
                "reason" => annotations.reason = Some(value.to_owned()),
                "hint" => annotations.hint = Some(value.to_owned()),
                // Accepting what is not done would drop it silently.
                "filter" | "preview" | "audit" | "mode" => {
                    mistakes.push(format!("`@{name}` is not supported by this version; remove it"));
                }
                unknown => mistakes.push(format!("unknown annotation `@{unknown}`; known are @id, @reason, @hint, @mask, @max_rows, @max_bytes, @max_affected, @timeout, @approve and @detect")),
            },
        }
    }
    if mistakes.is_empty() { Ok(annotations) } else { Err(mistakes) }
}

/// `None` for what is no obligation.
fn obligation(name: &str, value: &str) -> Option<Result<Obligation, String>> {
    let number = |make: fn(u64) -> Obligation| {
        value.parse().map(make).map_err(|_| format!("`@{name}(\"{value}\")` needs a whole number"))
    };
    let text = |make: fn(String) -> Obligation| match value {
        "" => Err(format!("`@{name}` needs a value")),
        _ => Ok(make(value.to_owned())),
    };
    Some(match name {
        "mask" if MASKS.contains(&value) => Ok(Obligation::Mask(value.to_owned())),
        "mask" => Err(format!("`@mask(\"{value}\")` is not one of {}", MASKS.join(", "))),
        "max_rows" => number(Obligation::MaxRows),
        "max_bytes" => number(Obligation::MaxBytes),
        "max_affected" => number(Obligation::MaxAffected),
        "timeout" => seconds(value)
            .map(Obligation::Timeout)
            .ok_or_else(|| format!("`@timeout(\"{value}\")` needs a time such as \"30s\" or \"5m\"")),
        "approve" => text(Obligation::Approve),
        "detect" => text(Obligation::Detect),
        _ => return None,
    })
}

fn seconds(value: &str) -> Option<u64> {
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(annotations: &str, effect: &str, expected: &str) {
        let policy = Policy::parse(None, format!("{annotations} {effect} (principal, action, resource);")).unwrap();
        let said = match read(&policy) {
            Ok(read) => {
                let mut said: Vec<_> = read.obligations.iter().map(Obligation::show).collect();
                said.extend(read.reason);
                said.extend(read.hint);
                said.join(", ")
            }
            Err(mistakes) => format!("refused: {}", mistakes.join("; ")),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn annotations_are_read_or_refused() {
        check("@id(\"x\")", "permit", "");
        check("@reason(\"no\") @hint(\"ask\")", "forbid", "no, ask");
        check("@mask(\"partial\")", "forbid", "mask(partial)");
        check(
            "@mask(\"blur\")",
            "forbid",
            "refused: `@mask(\"blur\")` is not one of null, redact, hash, partial, email, last4, shift",
        );
        check("@max_rows(\"10\") @timeout(\"5m\")", "forbid", "max_rows(10), timeout(300s)");
        check("@max_rows(\"ten\")", "forbid", "refused: `@max_rows(\"ten\")` needs a whole number");
        check("@timeout(\"5\")", "forbid", "refused: `@timeout(\"5\")` needs a time such as \"30s\" or \"5m\"");
        check(
            "@max_rows(\"10\")",
            "permit",
            "refused: `@max_rows` stands on a permit; obligations are annotations on forbids",
        );
        check("@mode(\"observe\")", "forbid", "refused: `@mode` is not supported by this version; remove it");
        check(
            "@maxrow(\"10\")",
            "forbid",
            "refused: unknown annotation `@maxrow`; known are @id, @reason, @hint, @mask, @max_rows, @max_bytes, @max_affected, @timeout, @approve and @detect",
        );
    }
}
