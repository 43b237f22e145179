//! `@approve`: whose yes lifts a forbid.

use std::fmt;

/// So many of a group have to say yes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Approval {
    /// The group.
    pub group: String,
    /// How many of it.
    pub voices: u32,
    /// Whether whoever asks, or the human that it acts for, may be among them (`@self_approval("allow")`).
    pub own: bool,
}

/// More than anybody would ask, and a typo if somebody does.
const MOST_VOICES: u32 = 9;

impl Approval {
    /// `dba`, or `2 of dba`.
    pub(super) fn read(value: &str) -> Result<Self, String> {
        let (voices, group) = match value.split_once(" of ") {
            Some((voices, group)) => (voices.trim().parse().ok(), group.trim()),
            None => (Some(1), value.trim()),
        };
        match voices.filter(|voices| (1..=MOST_VOICES).contains(voices)) {
            Some(voices) if !group.is_empty() => Ok(Self { group: group.to_owned(), voices, own: false }),
            _ => Err(format!("`@approve(\"{value}\")` needs a group such as \"dba\", or so many of it: \"2 of dba\"")),
        }
    }
}

impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.voices {
            1 => write!(f, "{}", self.group),
            voices => write!(f, "{voices} of {}", self.group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let said = Approval::read(value).map_or_else(|mistake| mistake, |approval| approval.to_string());
        assert_eq!(said, expected);
    }

    #[test]
    fn groups_and_how_many_of_them() {
        check("dba", "dba");
        check("1 of dba", "dba");
        check("2 of dba", "2 of dba");
        check(
            "heads of finance",
            "`@approve(\"heads of finance\")` needs a group such as \"dba\", or so many of it: \"2 of dba\"",
        );
        check("1 of heads of finance", "heads of finance");
        check("0 of dba", "`@approve(\"0 of dba\")` needs a group such as \"dba\", or so many of it: \"2 of dba\"");
        check("", "`@approve(\"\")` needs a group such as \"dba\", or so many of it: \"2 of dba\"");
        check("2 of ", "`@approve(\"2 of \")` needs a group such as \"dba\", or so many of it: \"2 of dba\"");
    }
}
