//! Everything that is done to this project is a command here, and each does its own set-up.

mod bench;
mod ci;
mod dist;
mod docs;
mod fuzz;
mod issuer;
mod layers;
mod progress;
mod run;
mod setup;
mod test;
mod vm;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use setup::{Missing, Need};
use std::process::ExitCode;

/// Set up, run, test and check interceptor
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command as an agent against a demo database, through interceptor; without one, show the tour
    #[command(
        after_help = "Examples:\n  cargo xtask run\n  cargo xtask run -- psql -c 'select count(*) from orders'\n  cargo xtask run --as agent:ci --groups agents,deployers --policies policies/default -- python3 job.py"
    )]
    Run(run::Options),
    /// Run the tests, all of them or one kind
    Test {
        /// Which kind; without it, all
        kinds: Vec<test::Kind>,
    },
    /// Measure what interceptor costs: part by part, and the whole path beside direct and PgBouncer
    Bench(bench::Options),
    /// Try input made at random for as long as one likes
    Fuzz(fuzz::Options),
    /// Build what a host is given: a Debian package and a tarball
    Dist(dist::Options),
    /// Check everything that a change is checked for: format, lints, floor plan, documents, dependencies, tests
    Ci,
    /// Install whatever is missing to build, run and test
    Setup,
    /// Run the local OIDC issuer alone
    Issuer(issuer::Options),
    /// Become a command in a cgroup (used by `run` itself)
    #[command(hide = true)]
    Enter(run::Enter),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Test { kinds } => test::test(&kinds),
        Command::Bench(options) => bench::bench(&options),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Dist(options) => dist::dist(&options).map(|_| ExitCode::SUCCESS),
        Command::Ci => ci::ci(),
        Command::Setup => set_up(),
        Command::Issuer(options) => issuer::serve(&options),
        Command::Enter(enter) => run::enter(&enter),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            // What this machine lacks is told apart from what went wrong.
            if error.is::<Missing>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn set_up() -> Result<ExitCode> {
    setup::ensure(&Need::ALL)?;
    if let Err(missing) = setup::host::look() {
        eprintln!("xtask: to build and test is possible now; to run is not: {missing}");
        return Ok(ExitCode::from(2));
    }
    eprintln!("everything is here");
    Ok(ExitCode::SUCCESS)
}
