//! `cargo xtask fuzz`: input made at random, for as long as one likes: half of the time statements against the analysis, half
//! bytes and conversations against the protocol. With `--guided` libFuzzer searches the latter, led by what code an input reaches;
//! `tests/fuzz/libfuzzer` is also what `cargo fuzz` takes, where there is a nightly compiler.

use crate::{
    setup::{self, Need, host},
    test::environment,
    workspace::{cargo, root, target},
};
use anyhow::{Context, Result, bail};
use std::{
    env::consts::ARCH,
    fs,
    process::{Command, ExitCode},
};

/// What libFuzzer is given: the targets, and folders of `tests/fuzz/corpus`.
const TARGETS: [&str; 5] = ["frames", "opening", "frontend", "backend", "session"];

/// Has the compiler count what is reached and note what is compared, for libFuzzer to see. These are options that `cargo fuzz`
/// gives too; its sanitizer, which needs a nightly compiler, is left out.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// How long and with what.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --seconds 3600\n  cargo xtask fuzz --seed 4711 --seconds 30\n  cargo xtask fuzz --guided --seconds 600"
)]
pub(crate) struct Options {
    /// How long, building not counted
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Begins where an earlier run began; every run says its own
    #[arg(long)]
    seed: Option<u64>,
    /// Let libFuzzer search the protocol's targets, in equal parts of the time; what it finds worth keeping stays in
    /// `target/libfuzzer`
    #[arg(long)]
    guided: bool,
}

pub(crate) fn fuzz(options: &Options) -> Result<ExitCode> {
    host::look()?;
    if options.guided {
        setup::ensure(&[Need::Build])?;
        return guided(options);
    }
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

fn guided(options: &Options) -> Result<ExitCode> {
    let place = target().join("libfuzzer");
    let triple = format!("{ARCH}-unknown-linux-gnu");
    // Named, so that what runs while building is not instrumented.
    let built = cargo()
        .args(["build", "--release", "--target", &triple, "--manifest-path"])
        .arg(root().join("tests/fuzz/libfuzzer/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &place)
        .env("RUSTFLAGS", INSTRUMENTED)
        .status()?;
    if !built.success() {
        bail!("libFuzzer's targets could not be built");
    }
    let seconds = options.seconds.div_ceil(TARGETS.len() as u64).max(1);
    let mut failed = Vec::new();
    for name in TARGETS {
        println!("{name}: {seconds} s");
        let found = place.join("corpus").join(name);
        fs::create_dir_all(&found).with_context(|| format!("cannot make `{}`", found.display()))?;
        let mut search = Command::new(place.join(&triple).join("release").join(name));
        search
            .arg(&found)
            .arg(root().join("tests/fuzz/corpus").join(name))
            .args([&format!("-max_total_time={seconds}"), "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/{name}-", place.display()));
        if let Some(seed) = options.seed {
            search.arg(format!("-seed={seed}"));
        }
        if !search.status()?.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "found something: {} (the input is in `{}`; it belongs into tests/fuzz/corpus)",
        failed.join(", "),
        place.display()
    );
    Ok(ExitCode::FAILURE)
}
