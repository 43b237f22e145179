//! Budgets: limits on what many statements take together.

use std::fmt;
use std::sync::Arc;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counted {
    /// Rows that leave.
    Rows,
    /// Bytes that leave.
    Bytes,
    /// Rows that are changed.
    Affected,
    /// Statements.
    Statements,
}

impl Counted {
    /// The annotation's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "max_rows",
            Self::Bytes => "max_bytes",
            Self::Affected => "max_affected",
            Self::Statements => "max_statements",
        }
    }

    /// In words.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Affected => "changed rows",
            Self::Statements => "statements",
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Per {
    /// One session.
    Session,
    /// All sessions of an agent in the last so many seconds.
    Seconds(u64),
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Session => f.write_str("session"),
            Self::Seconds(seconds) if seconds % 86_400 == 0 => write!(f, "{}d", seconds / 86_400),
            Self::Seconds(seconds) if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            Self::Seconds(seconds) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// `10000 per 1h` of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allowance {
    /// Of what.
    pub counted: Counted,
    /// How many.
    pub most: u64,
    /// Counted together over this.
    pub per: Per,
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} per {})", self.counted.name(), self.most, self.per)
    }
}

/// An allowance and the policy that gives it: all that the policy matches is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    /// The policy's id.
    pub policy: Arc<str>,
    /// How much of what.
    pub allowance: Allowance,
}
