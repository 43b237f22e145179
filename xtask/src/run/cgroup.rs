//! A cgroup for the time of a run.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long the kernel may take to let go of processes that were killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cgroup; it and everything in it ends with this value.
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("cannot make the cgroup `{}`", path.display()))?;
        Ok(Self { path })
    }

    /// One that somebody else has made.
    pub(super) fn adopt(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// One below it.
    pub(super) fn below(&self, name: &str) -> Result<Self> {
        Self::new(self.path.join(name))
    }

    /// Ends every process in it and below, with no way to escape it.
    pub(super) fn kill(&self) {
        drop(fs::write(self.path.join("cgroup.kill"), "1"));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let since = Instant::now();
        while self.path.exists() && since.elapsed() < PATIENCE {
            // Each time: a daemon that was told to stop may just have started something.
            self.kill();
            remove(&self.path);
            if self.path.exists() {
                sleep(Duration::from_millis(20));
            }
        }
        if self.path.exists() {
            eprintln!("xtask: the cgroup `{}` cannot be removed", self.path.display());
        }
    }
}

/// Agents can make cgroups below theirs; the deepest go first.
fn remove(path: &Path) {
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| remove(&entry.path()));
    drop(fs::remove_dir(path));
}
