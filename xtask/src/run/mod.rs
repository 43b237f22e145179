//! `cargo xtask run`: a whole installation for the time of one command.
//!
//! A PostgreSQL server on a loopback address of its own, a local issuer, the daemon, and the command in a cgroup that
//! alone is captured. Everything is named after this process, so that any number of runs can go on at the same time, and
//! everything is taken away at the end, however it ends; what a killed run has left is taken away by the next one.

mod agent;
mod cgroup;
mod config;
mod daemon;
mod database;
mod dsn;
mod scene;
mod signals;
mod state;
mod terminal;
mod tour;

pub(crate) use agent::{Enter, enter};

use crate::{
    progress::openly,
    setup::{self, Need, host},
    workspace::{cargo, root, target},
};
use anyhow::{Context, Result, bail};
use scene::Scene;
use signals::Signals;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Build with optimisation
    #[arg(long)]
    release: bool,
    /// Policies to judge by [default: policies/default]
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// SQL to fill the database with instead of the demo; run by a superuser before the daemon starts
    #[arg(long, value_name = "FILE.sql")]
    init: Vec<PathBuf>,
    /// Further configuration for the daemon; its values go before ours
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use this database instead of starting one: postgresql://user:password@host:port/database; without TLS, unless an
    /// [[upstream]] in --config says otherwise
    #[arg(long, value_name = "DSN", conflicts_with = "init")]
    postgres: Option<String>,
    /// Who the agent is
    #[arg(long = "as", value_name = "SUBJECT", default_value = "agent:demo")]
    subject: String,
    /// Its groups
    #[arg(long, value_delimiter = ',', default_value = "agents")]
    groups: Vec<String>,
    /// Leave the folder with configuration, logs and audit trail behind
    #[arg(long)]
    keep: bool,
    /// What to run as an agent; without it, a tour
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Options {
    /// Whether the tour is what is run, under policies of its own.
    fn is_tour(&self) -> bool {
        self.command.is_empty() && self.policies.is_none()
    }
}

/// What was built.
struct Programs {
    interceptor: PathBuf,
    policies: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // Before anything is installed, built or started.
    let host = host::look()?;
    let policies = options.policies.clone().unwrap_or_else(|| root().join("policies/default"));
    let policies = policies.canonicalize().with_context(|| format!("no policies in `{}`", policies.display()))?;
    for file in options.init.iter().chain(&options.config) {
        if !file.is_file() {
            bail!("`{}` is not a file", file.display());
        }
    }
    setup::ensure(&[Need::Build, Need::Postgres])?;
    let believed = of_ours(&policies)?;
    let programs = Programs { interceptor: build(options.release)?, policies: believed.clone() };
    state::sweep(&host, &programs.interceptor);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let played = runtime.block_on(play(options, &host, &programs));
    if believed != policies {
        drop(std::fs::remove_dir_all(believed));
    }
    played
}

async fn play(options: &Options, host: &host::Host, programs: &Programs) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    // What is half set when a signal comes is taken away as it is dropped.
    let scene = tokio::select! {
        scene = Scene::set(options, host, programs) => scene?,
        signal = signals.next() => return Ok(ExitCode::from(signal.status())),
    };
    let status = if options.command.is_empty() {
        tour::tour(&scene, options, &mut signals).await?
    } else {
        scene.agent(&options.command)?.wait(&mut signals).await?
    };
    scene.strike();
    Ok(ExitCode::from(status))
}

/// The daemon believes no policies that others may write, as a checkout's files may be: then they are copied.
fn of_ours(policies: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let is_ours = |path: &Path| {
        std::fs::metadata(path)
            .is_ok_and(|file| file.mode() & 0o022 == 0 && [0, nix::unistd::geteuid().as_raw()].contains(&file.uid()))
    };
    let files = std::fs::read_dir(policies)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    if is_ours(policies) && files.iter().all(|file| is_ours(file)) {
        return Ok(policies.to_owned());
    }
    let copy = crate::workspace::target().join(format!("policies-{}", std::process::id()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&copy)?;
    for file in files.iter().filter(|file| file.is_file()) {
        let to = copy.join(file.file_name().unwrap_or_default());
        std::fs::copy(file, &to)?;
        std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600))?;
    }
    eprintln!("others may write {}: its policies are taken from a copy, {}", policies.display(), copy.display());
    Ok(copy)
}

fn build(release: bool) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "interceptor"]);
    if release {
        build.arg("--release");
    }
    crate::progress::step("building interceptor", || openly(&mut build))?;
    Ok(target().join(if release { "release" } else { "debug" }).join("interceptor"))
}
