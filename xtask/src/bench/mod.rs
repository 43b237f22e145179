//! `cargo xtask bench`: what interceptor costs.
//!
//! `parts` times frames, analysis, decisions and masks by themselves. `path` runs the same work directly, through PgBouncer
//! and through the real redirect, in turn, with everything on one CPU: then a ratio of speeds is a ratio of work, and what
//! else the machine does disturbs all of them alike. `connections` counts what each costs that comes, or only stays. `record`
//! writes a trail of some size, indexes and searches it; `fsync` runs the same work under each way of forcing the record to the
//! disk.

mod connections;
mod fsync;
mod path;
mod place;
mod server;
mod table;

use crate::{
    progress::openly,
    setup::{self, Need, host},
    workspace::cargo,
};
use anyhow::Result;
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Frames, analysis, decisions, masks (criterion)
    Parts,
    /// The whole path beside direct and PgBouncer
    Path,
    /// New connections at a rate, and idle ones
    Connections,
    /// Searching the record, with its index and without
    Record,
    /// Statements with `fsync` as `each`, `group` and `os`, side by side
    Fsync,
}

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench path --rounds 5 --json bench.json\n  cargo xtask bench path --only select,copy\n  cargo xtask bench connections\n  cargo xtask bench record --megabytes 2200\n  cargo xtask bench fsync --seconds 5"
)]
pub(crate) struct Options {
    /// Which; without it, all
    kinds: Vec<Kind>,
    /// Rounds of the whole path, each in another order; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each run in a round
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// Scenarios whose names begin so, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Size of the record that is searched; it is made for this, where cargo puts what benchmarks write
    #[arg(long, default_value_t = 512)]
    megabytes: u64,
    /// Where to write the figures of the whole path as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn bench(options: &Options) -> Result<ExitCode> {
    let wanted = |kind| options.kinds.is_empty() || options.kinds.contains(&kind);
    setup::ensure(&Need::ALL)?;
    if wanted(Kind::Parts) {
        openly(cargo().args(["bench", "--package", "interceptor", "--bench", "statement", "--bench", "session"]))?;
    }
    if wanted(Kind::Record) {
        let megabytes = options.megabytes.to_string();
        openly(cargo().args([
            "bench",
            "--package",
            "interceptor",
            "--bench",
            "record",
            "--",
            "--megabytes",
            &megabytes,
        ]))?;
    }
    if wanted(Kind::Fsync) {
        host::look()?;
        fsync::run(options)?;
    }
    if wanted(Kind::Path) {
        host::look()?;
        path::run(options)?;
    }
    if wanted(Kind::Connections) {
        host::look()?;
        connections::run()?;
    }
    Ok(ExitCode::SUCCESS)
}
