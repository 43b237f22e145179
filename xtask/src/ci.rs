//! `cargo xtask ci`: everything that a change is checked for. All of it runs, so that one look shows all that is wrong.

use crate::{
    docs, layers,
    progress::{openly, quietly, step},
    setup::{self, Need},
    test,
    workspace::{cargo, root, tools},
};
use anyhow::{Result, bail};
use std::{
    process::{Command, ExitCode},
    time::Instant,
};

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 6] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("layers", layers::check),
    ("docs", docs::check),
    ("deny", deny),
    ("test", all_tests),
];

pub(crate) fn ci() -> Result<ExitCode> {
    setup::ensure(&Need::ALL)?;
    let mut results = Vec::new();
    for (name, check) in CHECKS {
        eprintln!("== {name}");
        let since = Instant::now();
        let result = check();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        results.push((name, result.is_ok(), since.elapsed().as_secs()));
    }
    for (name, good, seconds) in &results {
        println!("{} {name} ({seconds} s)", if *good { "ok    " } else { "FAILED" });
    }
    Ok(if results.iter().all(|(_, good, _)| *good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fmt() -> Result<()> {
    openly(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    openly(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // The programs have no panic handler to unwind with; on the host that is said by the profile.
    let mut kernel = cargo();
    kernel.args([
        "clippy",
        "--quiet",
        "--package",
        "interceptor-ebpf",
        "--features",
        "programs",
        "--",
        "-D",
        "warnings",
    ]);
    openly(kernel.env("CARGO_PROFILE_DEV_PANIC", "abort"))
}

/// Licences, sources and duplicates are judged from what is here. Advisories are not: their database comes from the
/// network, and a check that passes because it could not look would be worse than none. `cargo deny check advisories`
/// does it where there is a network.
fn deny() -> Result<()> {
    let program = tools().join("bin/cargo-deny");
    if !program.is_file() {
        step("building cargo-deny (a few minutes, once)", || {
            // Unoptimised: it is built in half the time and runs for a second.
            quietly(cargo().args(["install", "--locked", "--debug", "cargo-deny", "--root"]).arg(tools())).map(drop)
        })?;
    }
    openly(Command::new(program).current_dir(root()).args(["--workspace", "check", "bans", "licenses", "sources"]))
}

fn all_tests() -> Result<()> {
    if test::test(&[])? == ExitCode::SUCCESS { Ok(()) } else { bail!("some tests failed") }
}
