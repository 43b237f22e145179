//! `cargo xtask fuzz`: input made at random, for as long as one likes: half of the time statements against the analysis, half
//! bytes and conversations against the protocol. `tests/fuzz/libfuzzer` has the latter for `cargo fuzz`, which needs a nightly
//! compiler for its instrumentation.

use crate::{
    setup::{self, Need, host},
    test::environment,
    workspace::cargo,
};
use anyhow::Result;
use std::process::ExitCode;

/// How long and with what.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --seconds 3600\n  cargo xtask fuzz --seed 4711 --seconds 30"
)]
pub(crate) struct Options {
    /// How long, building not counted
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Begins where an earlier run began; every run says its own
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn fuzz(options: &Options) -> Result<ExitCode> {
    host::look()?;
    setup::ensure(&Need::ALL)?;
    let mut run = cargo();
    run.args(["test", "--release", "--package", "interceptor-tests", "--test", "fuzz", "--test", "mutate"])
        .args(["--", "--nocapture"])
        .envs(environment()?)
        .env("INTERCEPTOR_TEST_FUZZ_SECONDS", options.seconds.div_ceil(2).to_string());
    if let Some(seed) = options.seed {
        run.env("INTERCEPTOR_TEST_FUZZ_SEED", seed.to_string());
    }
    let ended = run.status()?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
