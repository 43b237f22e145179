//! Annotations: what Cedar keeps for us and does not look at.
//!
//! A typo in one would silently drop a limit, so that every annotation is checked when a set is loaded: unknown names,
//! malformed values and obligations on permits stop the load.

use super::approval::Approval;
use super::budget::{Allowance, Counted, Per};
use super::orders::Records;
use cedar_policy::{Effect, EntityTypeName, Policy, ResourceConstraint};
use std::collections::BTreeSet;

/// What lifts a forbid when it is met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obligation {
    /// The column's values are replaced before they leave.
    Mask(Mask),
    /// Rows that may leave.
    MaxRows(u64),
    /// Bytes that may leave.
    MaxBytes(u64),
    /// Rows that a write may touch.
    MaxAffected(u64),
    /// Time that the statement may take, in seconds.
    Timeout(u64),
    /// Somebody has to say yes.
    Approve(Approval),
    /// Whoever is asked sees what it changes before they say so.
    Preview,
    /// Values that look like one of these are replaced.
    Detect(BTreeSet<Detector>),
    /// So much over many statements.
    Allowance(Allowance),
}

/// Forms of values that can be told in any column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detector {
    /// Cloud and API keys, tokens, private keys.
    Secret,
    /// Addresses.
    Email,
    /// Account numbers, by their checksum.
    Iban,
    /// Card numbers, by their checksum.
    Card,
    /// US social security numbers.
    Ssn,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Secret, Self::Email, Self::Iban, Self::Card, Self::Ssn];

    /// The name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ssn => "ssn",
        }
    }
}

/// What stands in the place of a masked value, from the mildest to the strictest: where several policies mask a column,
/// the strictest of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mask {
    /// The last four characters.
    Last4,
    /// The first character of an address and its domain.
    Email,
    /// The first and the last character.
    Partial,
    /// Dates and numbers moved by an amount that is the same for the same column.
    Shift,
    /// A keyed hash, the same for the same value.
    Hash,
    /// A word that says so.
    Redact,
    /// NULL.
    Null,
}

impl Mask {
    const ALL: [Self; 7] = [Self::Null, Self::Redact, Self::Hash, Self::Partial, Self::Email, Self::Last4, Self::Shift];

    /// The name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Redact => "redact",
            Self::Hash => "hash",
            Self::Partial => "partial",
            Self::Email => "email",
            Self::Last4 => "last4",
            Self::Shift => "shift",
        }
    }
}

/// What a masked column may be used for besides being shown, counted and tested for NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Filter {
    /// Nothing: `WHERE email LIKE 'a%'` would tell it letter by letter.
    #[default]
    Nothing,
    /// Comparison with constants for equality, which confirms what is guessed.
    Equality,
    /// Conditions, joins and orders of any kind.
    Any,
}

impl Obligation {
    /// As it stands in a policy: name and value.
    pub fn show(&self) -> String {
        match self {
            Self::Mask(how) => format!("mask({})", how.name()),
            Self::MaxRows(most) => format!("max_rows({most})"),
            Self::MaxBytes(most) => format!("max_bytes({most})"),
            Self::MaxAffected(most) => format!("max_affected({most})"),
            Self::Timeout(seconds) => format!("timeout({seconds}s)"),
            Self::Approve(approval) if approval.own => format!("approve({approval}, self_approval)"),
            Self::Approve(approval) => format!("approve({approval})"),
            Self::Preview => "preview".to_owned(),
            Self::Allowance(allowance) => allowance.to_string(),
            Self::Detect(kinds) => {
                format!("detect({})", kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// The annotations of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) obligations: Vec<Obligation>,
    pub(super) filter: Filter,
    /// Whether matches are recorded and not carried out.
    pub(super) observes: bool,
    /// What of the statements that it has to do with goes on record.
    pub(super) records: Records,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
}

impl Annotations {
    /// Its mask, if it has one.
    pub(super) fn mask(&self) -> Option<Mask> {
        self.obligations.iter().find_map(|obligation| match obligation {
            Obligation::Mask(mask) => Some(*mask),
            _ => None,
        })
    }
}

/// Reads a policy's annotations; each mistake is one line.
pub(super) fn read(policy: &Policy) -> Result<Annotations, Vec<String>> {
    let (mut annotations, mut mistakes) = (Annotations::default(), Vec::new());
    let is_permit = policy.effect() == Effect::Permit;
    let (mut filter, mut own) = (None, false);
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
                "filter" => match value {
                    "none" => filter = Some(Filter::Nothing),
                    "equality" => filter = Some(Filter::Equality),
                    "any" => filter = Some(Filter::Any),
                    _ => mistakes.push(format!("`@filter(\"{value}\")` is not one of none, equality, any")),
                },
                "mode" if is_permit => {
                    mistakes.push("`@mode` stands on a permit; what is only observed is a forbid".to_owned());
                }
                "mode" => match value {
                    "observe" => annotations.observes = true,
                    "enforce" => {}
                    _ => mistakes.push(format!("`@mode(\"{value}\")` is not one of enforce, observe")),
                },
                // Accepting what is not done would drop it silently.
                "audit" => match records(value) {
                    Some(records) => annotations.records = records,
                    None => mistakes.push(format!("`@audit(\"{value}\")` is not one of binds, results, or both with a comma or bar between them")),
                },
                "self_approval" => match value {
                    "allow" => own = true,
                    _ => mistakes.push(format!("`@self_approval(\"{value}\")` can only be \"allow\"; leave it out for no")),
                },
                unknown => mistakes.push(format!("unknown annotation `@{unknown}`; known are @id, @reason, @hint, @mode, @audit, @mask, @filter, @max_rows, @max_bytes, @max_affected, @max_statements, @timeout, @approve, @self_approval, @preview and @detect")),
            },
        }
    }
    let mut asks = false;
    for obligation in &mut annotations.obligations {
        if let Obligation::Approve(approval) = obligation {
            approval.own = own;
            asks = true;
        }
    }
    if own && !asks {
        mistakes.push("`@self_approval` says whose yes counts; it stands beside `@approve`".to_owned());
    }
    if annotations.obligations.contains(&Obligation::Preview) && !asks {
        mistakes.push("`@preview` is for whoever is asked; it stands beside `@approve`".to_owned());
    }
    match (filter, annotations.mask()) {
        (Some(_), None) => {
            mistakes.push("`@filter` says what a masked column may be used for; it stands beside `@mask`".to_owned())
        }
        (Some(filter), Some(_)) => annotations.filter = filter,
        (None, _) => {}
    }
    if annotations.mask().is_some() && !may_be_column(policy) {
        mistakes.push(
            "`@mask` is for columns: write `resource is PG::Column` or `resource in PG::Relation::\"...\"`".to_owned(),
        );
    }
    if mistakes.is_empty() { Ok(annotations) } else { Err(mistakes) }
}

/// `binds`, `results`, or both.
fn records(value: &str) -> Option<Records> {
    value.split([',', '|']).try_fold(Records::default(), |records, word| match word.trim() {
        "binds" => Some(Records { binds: true, ..records }),
        "results" => Some(Records { results: true, ..records }),
        _ => None,
    })
}

/// Whether the policy's scope can hold a column.
fn may_be_column(policy: &Policy) -> bool {
    let is_column = |name: &EntityTypeName| name.basename() == "Column";
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::In(_) => true,
        ResourceConstraint::Eq(uid) => is_column(uid.type_name()),
        ResourceConstraint::Is(name) | ResourceConstraint::IsIn(name, _) => is_column(&name),
    }
}

/// `None` for what is no obligation.
fn obligation(name: &str, value: &str) -> Option<Result<Obligation, String>> {
    let number = |counted: Counted, make: fn(u64) -> Obligation| match (value.parse(), allowance(counted, value)) {
        (Ok(most), _) => Ok(make(most)),
        (Err(_), Some(allowance)) => Ok(Obligation::Allowance(allowance)),
        (Err(_), None) => Err(format!(
            "`@{name}(\"{value}\")` needs a whole number, or one such as \"1000 per 1h\" or \"1000 per session\""
        )),
    };
    Some(match name {
        "mask" => match Mask::ALL.into_iter().find(|mask| mask.name() == value) {
            Some(mask) => Ok(Obligation::Mask(mask)),
            None => {
                let names: Vec<_> = Mask::ALL.iter().map(|mask| mask.name()).collect();
                Err(format!("`@mask(\"{value}\")` is not one of {}", names.join(", ")))
            }
        },
        "max_rows" => number(Counted::Rows, Obligation::MaxRows),
        "max_bytes" => number(Counted::Bytes, Obligation::MaxBytes),
        "max_affected" => number(Counted::Affected, Obligation::MaxAffected),
        "max_statements" => allowance(Counted::Statements, value).map(Obligation::Allowance).ok_or_else(|| {
            format!(
                "`@{name}(\"{value}\")` needs a number over a time, such as \"1000 per 1h\" or \"1000 per session\""
            )
        }),
        "timeout" => seconds(value)
            .map(Obligation::Timeout)
            .ok_or_else(|| format!("`@timeout(\"{value}\")` needs a time such as \"30s\" or \"5m\"")),
        "approve" => Approval::read(value).map(Obligation::Approve),
        // Cedar gives an annotation without a value an empty one.
        "preview" if value.is_empty() => Ok(Obligation::Preview),
        "preview" => Err(format!("`@preview(\"{value}\")` takes no value: write `@preview`")),
        "detect" => {
            let kinds = value.split(',').map(|name| {
                let found = Detector::ALL.into_iter().find(|kind| kind.name() == name.trim());
                found.ok_or_else(|| {
                    let names: Vec<_> = Detector::ALL.iter().map(|kind| kind.name()).collect();
                    format!("`@detect` does not know `{}`; it knows {}", name.trim(), names.join(", "))
                })
            });
            kinds.collect::<Result<_, _>>().map(Obligation::Detect)
        }
        _ => return None,
    })
}

/// `1000 per 1h` or `1000 per session`.
fn allowance(counted: Counted, value: &str) -> Option<Allowance> {
    let (most, per) = value.split_once(" per ")?;
    let per = match per.trim() {
        "session" => Per::Session,
        time => Per::Seconds(seconds(time).filter(|seconds| *seconds > 0)?),
    };
    Some(Allowance { counted, most: most.trim().parse().ok()?, per })
}

fn seconds(value: &str) -> Option<u64> {
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
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
        check(
            "@max_rows(\"ten\")",
            "forbid",
            "refused: `@max_rows(\"ten\")` needs a whole number, or one such as \"1000 per 1h\" or \"1000 per session\"",
        );
        check("@max_rows(\"1000 per 2h\")", "forbid", "max_rows(1000 per 2h)");
        check("@max_bytes(\"1000 per session\")", "forbid", "max_bytes(1000 per session)");
        check("@max_statements(\"50 per 1d\")", "forbid", "max_statements(50 per 1d)");
        check(
            "@max_statements(\"50\")",
            "forbid",
            "refused: `@max_statements(\"50\")` needs a number over a time, such as \"1000 per 1h\" or \"1000 per session\"",
        );
        check(
            "@max_rows(\"1000 per 0s\")",
            "forbid",
            "refused: `@max_rows(\"1000 per 0s\")` needs a whole number, or one such as \"1000 per 1h\" or \"1000 per session\"",
        );
        check("@timeout(\"5\")", "forbid", "refused: `@timeout(\"5\")` needs a time such as \"30s\" or \"5m\"");
        check(
            "@max_rows(\"10\")",
            "permit",
            "refused: `@max_rows` stands on a permit; obligations are annotations on forbids",
        );
        check("@mode(\"observe\")", "forbid", "");
        check("@approve(\"dba\")", "forbid", "approve(dba)");
        check("@approve(\"2 of dba\")", "forbid", "approve(2 of dba)");
        check("@detect(\"card, email\")", "forbid", "detect(email,card)");
        check(
            "@detect(\"phone\")",
            "forbid",
            "refused: `@detect` does not know `phone`; it knows secret, email, iban, card, ssn",
        );
        check("@mode(\"off\")", "forbid", "refused: `@mode(\"off\")` is not one of enforce, observe");
        check("@mask(\"null\") @filter(\"equality\")", "forbid", "mask(null)");
        check(
            "@filter(\"any\")",
            "forbid",
            "refused: `@filter` says what a masked column may be used for; it stands beside `@mask`",
        );
        check("@audit(\"binds\")", "permit", "");
        check(
            "@audit(\"rows\")",
            "permit",
            "refused: `@audit(\"rows\")` is not one of binds, results, or both with a comma or bar between them",
        );
        check("@approve(\"dba\") @preview", "forbid", "approve(dba), preview");
        check(
            "@approve(\"dba\") @preview(\"yes\")",
            "forbid",
            "refused: `@preview(\"yes\")` takes no value: write `@preview`",
        );
        check("@preview", "forbid", "refused: `@preview` is for whoever is asked; it stands beside `@approve`");
        check("@approve(\"dba\") @self_approval(\"allow\")", "forbid", "approve(dba, self_approval)");
        check(
            "@approve(\"dba\") @self_approval(\"yes\")",
            "forbid",
            "refused: `@self_approval(\"yes\")` can only be \"allow\"; leave it out for no",
        );
        check(
            "@self_approval(\"allow\")",
            "forbid",
            "refused: `@self_approval` says whose yes counts; it stands beside `@approve`",
        );
        check(
            "@maxrow(\"10\")",
            "forbid",
            "refused: unknown annotation `@maxrow`; known are @id, @reason, @hint, @mode, @audit, @mask, @filter, @max_rows, @max_bytes, @max_affected, @max_statements, @timeout, @approve, @self_approval, @preview and @detect",
        );
    }
}
