//! What has to be on the machine, and how it gets there. Only what is missing is installed.

mod bpf;
mod drivers;
pub(crate) mod host;
pub(crate) mod packages;
pub(crate) mod postgres;
pub(crate) mod regression;

pub(crate) use drivers::Drivers;

use anyhow::Result;

/// Something that this machine lacks: what, and what to do about it. Ends the program with status 2.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl std::fmt::Display for Missing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To compile the daemon and its kernel half.
    Build,
    /// A PostgreSQL server and its tools.
    Postgres,
    /// The drivers that tests connect with.
    Drivers,
}

impl Need {
    pub(crate) const ALL: [Self; 3] = [Self::Build, Self::Postgres, Self::Drivers];
}

/// Installs what is missing. Takes milliseconds where nothing is.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    packages::ensure(needs)?;
    if needs.contains(&Need::Build) {
        bpf::ensure()?;
    }
    if needs.contains(&Need::Drivers) {
        drivers::ensure()?;
        regression::ensure()?;
    }
    Ok(())
}
