//! `run` and `detach`.

use crate::app::Bound;
use crate::audit::{Event, Fsync, Record, Settings, Subject, Trail};
use crate::config::Config;
use crate::{redirect, telemetry};
use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Exit status for a host that lacks something.
const LACKING: u8 = 2;

pub(super) fn run(config: &Path, log: telemetry::Format) -> Result<ExitCode> {
    telemetry::start(log);
    let file = config;
    let config = Config::read(file)?;
    let missing: Vec<_> = redirect::probe().into_iter().filter(|finding| !finding.ok).collect();
    if let Some(first) = missing.first() {
        eprintln!("interceptor: {}: {}; {}", first.what, first.detail, first.remedy);
        return Ok(ExitCode::from(LACKING));
    }
    // Two descriptors a session; the soft limit of most systems is for interactive programs.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
    // A core dump would hold passwords and tokens.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("core dumps could not be switched off")?;
    // The limit is not asked where cores go to a program (`core(5)`); this is, and it closes memory and descriptors to our own user.
    nix::sys::prctl::set_dumpable(false).context("core dumps could not be switched off")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(async { Bound::new(&config, file)?.run().await })?;
    Ok(ExitCode::SUCCESS)
}

/// The instance that a configuration file names. That is all that is read of it: a daemon that cannot start with it may have left
/// its programs behind all the same.
pub(super) fn instance_of(file: Option<&Path>, otherwise: String) -> Result<String> {
    let Some(file) = file else { return Ok(otherwise) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let values: toml::Table = text.parse().with_context(|| format!("`{}` is not TOML", file.display()))?;
    let instance = values.get("capture").and_then(|capture| capture.get("instance")).and_then(toml::Value::as_str);
    Ok(instance.map_or(otherwise, str::to_owned))
}

pub(super) fn detach(instance: &str, audit: Option<PathBuf>) -> Result<ExitCode> {
    let removed = redirect::detach(instance)?;
    for name in &removed {
        println!("removed {name}");
    }
    if removed.is_empty() {
        println!("nothing was attached for instance `{instance}`");
    }
    if let Some(dir) = audit {
        let trail = Trail::open(&Settings { fsync: Fsync::Each, ..Settings::of(dir) })?;
        let mut record = Record::new(Event::Admin, Arc::new(Subject::default()));
        record.statement = Some(format!("detached instance {instance}: {}", removed.join(", ")));
        trail.write(record)?;
    }
    Ok(ExitCode::SUCCESS)
}
