//! `cargo xtask test`: all tests, or one kind of them, counted.

use crate::{
    dist,
    progress::name,
    setup::{self, Drivers, Missing, Need, host, postgres},
    vm::{self, Init},
    workspace::{cargo, myself, target},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

/// Tests by what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Beside the code; nothing
    Unit,
    /// The protocol, over sockets in the process; nothing
    Protocol,
    /// Against a PostgreSQL server; root
    Postgres,
    /// Attached to this machine's kernel; root
    Kernel,
    /// Every known way around us; root and a PostgreSQL server
    Bypass,
    /// Bytes made at random against the protocol, some seconds of them; nothing
    Mutate,
    /// Statements made at random, some seconds of them; root and a PostgreSQL server
    Fuzz,
    /// The shipped policies and their examples; nothing
    Policies,
    /// The guards that not every kernel allows, on Debian's kernel in a virtual machine, for some minutes; root. Only if asked for
    Vm,
    /// The package's life under systemd, in such a machine, for some minutes; root. Only if asked for
    Systemd,
}

const ALL: [Kind; 8] =
    [Kind::Unit, Kind::Policies, Kind::Protocol, Kind::Mutate, Kind::Kernel, Kind::Postgres, Kind::Bypass, Kind::Fuzz];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Protocol => "protocol",
            Self::Postgres => "postgres",
            Self::Kernel => "kernel",
            Self::Bypass => "bypass",
            Self::Fuzz => "fuzz",
            Self::Mutate => "mutate",
            Self::Policies => "policies",
            Self::Vm => "vm",
            Self::Systemd => "systemd",
        }
    }

    fn needs_host(self) -> bool {
        matches!(self, Self::Postgres | Self::Kernel | Self::Bypass | Self::Fuzz)
    }

    fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::Unit => vec![
                "--package",
                "interceptor",
                "--package",
                "xtask",
                "--package",
                "interceptor-ebpf",
                "--lib",
                "--bins",
            ],
            other => vec!["--package", "interceptor-tests", "--test", other.name()],
        }
    }
}

/// How a run ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

pub(crate) fn test(kinds: &[Kind]) -> Result<ExitCode> {
    let kinds = if kinds.is_empty() { ALL.to_vec() } else { kinds.to_vec() };
    if kinds.iter().any(|kind| kind.needs_host()) {
        host::look()
            .map_err(|Missing(what)| Missing(format!("{what} (`cargo xtask test unit` needs none of that)")))?;
    }
    setup::ensure(&Need::ALL)?;
    let offered = offered()?;
    let environment = environment()?;
    let mut total = Count::default();
    for kind in kinds {
        if matches!(kind, Kind::Vm | Kind::Systemd) {
            let count = in_a_machine(kind, &environment)?;
            total.passed += count.passed;
            total.failed += count.failed;
            continue;
        }
        if kind != Kind::Unit && !offered.contains(kind.name()) {
            eprintln!("there are no tests `{name}`: tests/Cargo.toml has no [[test]] of this name", name = kind.name());
            total.failed += 1;
            continue;
        }
        let mut run = cargo();
        run.args(["test", "--no-fail-fast"]).args(kind.arguments()).envs(environment.iter().cloned());
        let count = counted(&mut run, |_| ())?;
        total.passed += count.passed;
        total.failed += count.failed;
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests that are ignored where guards may not be had, or systemd is not the first process.
fn in_a_machine(kind: Kind, environment: &[(String, OsString)]) -> Result<Count> {
    let mut environment = environment.to_vec();
    let (init, target, tests) = if kind == Kind::Systemd {
        let package = dist::dist(&dist::Options { out: Some(target().join("tmp/systemd")), debug: true })?;
        environment.push(("INTERCEPTOR_TEST_PACKAGE".to_owned(), package.into_os_string()));
        (Init::Systemd, "postgres", "package::systemd")
    } else {
        (Init::Alone, "kernel", "guards::")
    };
    let command = format!("{} {tests} --ignored --test-threads=1 --color never", vm::program(target)?.display());
    let mut end = None;
    let count = counted(&mut vm::machine(init, &command, &environment)?, |line| end = end.or_else(|| vm::ended(line)))?;
    match end {
        Some(true) => Ok(count),
        Some(false) => Ok(Count { failed: count.failed.max(1), ..count }),
        None => bail!("the virtual machine has ended before its tests"),
    }
}

/// What tests find things by.
pub(crate) fn environment() -> Result<Vec<(String, OsString)>> {
    let mut build = cargo();
    crate::progress::openly(build.args(["build", "--quiet", "--package", "interceptor"]))?;
    let drivers = Drivers::new();
    let bin = postgres::binaries().context("PostgreSQL's programs are not there any more")?;
    Ok([
        ("BIN", target().join("debug/interceptor").into_os_string()),
        ("XTASK", myself()?.into_os_string()),
        ("PG_BIN", bin.into_os_string()),
        ("PYTHON", drivers.python.into_os_string()),
        ("NODE_PATH", drivers.node_path.into_os_string()),
        ("JDBC", drivers.jdbc.into_os_string()),
        ("BROWSER", drivers.browser.into_os_string()),
        ("REGRESSION", setup::regression::folder().into_os_string()),
    ]
    .map(|(name, value)| (format!("INTERCEPTOR_TEST_{name}"), value))
    .to_vec())
}

/// The names of the test targets that there are.
fn offered() -> Result<BTreeSet<String>> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = crate::progress::quietly(&mut metadata)?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let list = |value: &serde_json::Value, name: &str| {
        value.get(name).and_then(|list| list.as_array()).cloned().unwrap_or_default()
    };
    let tests = list(&metadata, "packages")
        .into_iter()
        .filter(|package| package.get("name").is_some_and(|name| name == "interceptor-tests"));
    let targets = tests.flat_map(|package| list(&package, "targets"));
    let tests = targets.filter(|target| list(target, "kind").iter().any(|kind| kind == "test"));
    Ok(tests.filter_map(|target| target.get("name")?.as_str().map(str::to_owned)).collect())
}

/// Runs tests, shows what they print, and counts. What does not compile, or dies, is a failure too.
fn counted(run: &mut Command, mut look: impl FnMut(&str)) -> Result<Count> {
    let mut child = run.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", name(run)))?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            look(&line);
            if let Some(more) = summary(&line) {
                count.passed += more.passed;
                count.failed += more.failed;
            }
        }
    }
    if !child.wait()?.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn summary(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
    Some(Count { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::{Count, summary};

    #[test]
    fn a_summary_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(summary(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(summary("test result: ok. 0 passed; 0 failed; 1 ignored"), Some(Count { passed: 0, failed: 0 }));
        assert_eq!(summary("test identity::tests ... ok"), None);
    }
}
