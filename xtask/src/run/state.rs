//! The folder of a run, and what killed runs have left behind.

use super::{cgroup::Cgroup, daemon};
use crate::{setup::host::Host, workspace::target};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

/// Configuration, logs, audit trail and socket of one run.
pub(super) struct State {
    pub(super) dir: PathBuf,
    keep: bool,
}

impl State {
    pub(super) fn new(keep: bool) -> Result<Self> {
        let dir = runs().join(process::id().to_string());
        fs::create_dir_all(runs()).with_context(|| format!("cannot make `{}`", runs().display()))?;
        fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        Ok(Self { dir, keep })
    }

    /// Writes a file that only root can read.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, "")
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("left behind: {}", self.dir.display());
        } else {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// Everything of a run is called after its process.
pub(super) fn name(pid: u32) -> String {
    format!("run-{pid}")
}

/// The cgroup of a run, relative to the mount.
pub(super) fn cgroup(pid: u32) -> PathBuf {
    format!("interceptor-run-{pid}").into()
}

/// The database's own folder: not in the project, which the server's user may not be able to enter.
pub(super) fn database(pid: u32) -> PathBuf {
    Path::new("/tmp").join(format!("interceptor-run-{pid}"))
}

/// Takes away what runs have left that were killed: their processes, cgroups, kernel programs and databases.
pub(super) fn sweep(host: &Host, interceptor: &Path) {
    let Ok(cgroups) = fs::read_dir(&host.cgroup) else { return };
    for entry in cgroups.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("interceptor-run-").and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if Path::new("/proc").join(pid.to_string()).exists() {
            continue;
        }
        drop(Cgroup::adopt(entry.path()));
        daemon::detach(interceptor, pid);
        drop(fs::remove_dir_all(database(pid)));
        drop(fs::remove_dir_all(runs().join(pid.to_string())));
    }
}

fn runs() -> PathBuf {
    target().join("run")
}
