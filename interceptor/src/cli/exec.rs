//! `exec`: a command as an agent, in a captured cgroup of its own that ends with it.

use super::enroll::read_token;
use super::talk::{Talk, wait_for};
use crate::admin::{self, Enroll};
use crate::config::{self, Config};
use crate::identity::{Enrolled, Enrollee};
use crate::redirect::cgroup_mount;
use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::signal::unix::{Signal as Asked, SignalKind, signal};

#[derive(Debug, Args)]
pub(super) struct Exec {
    #[command(flatten)]
    talk: Talk,
    /// File with the command's token, `-` for standard input; without it the other sources of the configuration are looked at
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Cgroup to make the command's in: its folder, or its path below the cgroup v2 mount [default: the first that is captured,
    /// or one's own where the whole host is]
    #[arg(long, value_name = "CGROUP")]
    within: Option<PathBuf>,
    /// User to run it as
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// How long what the command has left behind may take to go away.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn exec(exec: Exec) -> Result<ExitCode> {
    let Exec { talk, token_file, within, user, command } = exec;
    let token = token_file.as_deref().map(read_token).transpose()?;
    let cgroup = Cgroup::make(&parent(&talk, within)?)?;
    if let Some(token) = token {
        let enrollee = Enrollee::Cgroup(cgroup.path.display().to_string());
        let said = Enroll { enrollee, token };
        let _enrolled: Enrolled = wait_for(admin::post(&talk.socket()?, "/enrollments", None, &said))
            .context("the daemon does not take the token")?;
    }
    let (program, arguments) = command.split_first().context("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(name) = user {
        let user = User::from_name(&name)?.with_context(|| format!("there is no user `{name}`"))?;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", user.dir).env("USER", &name);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    let status = runtime.block_on(async {
        // Before there is a child that they could be for.
        let asked = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
        let child = cgroup.during(|| tokio::process::Command::from(command).spawn())?;
        let child = child.with_context(|| format!("`{}` cannot be started", program.to_string_lossy()))?;
        wait(child, asked).await
    })?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Until the command has ended; who asks us to end asks it.
async fn wait(mut child: Child, asked: [io::Result<Asked>; 3]) -> Result<ExitStatus> {
    let [mut terminate, mut hang_up, mut interrupt] = asked;
    let (terminate, hang_up, interrupt) = (terminate.as_mut(), hang_up.as_mut(), interrupt.as_mut());
    let (Ok(terminate), Ok(hang_up), Ok(interrupt)) = (terminate, hang_up, interrupt) else {
        bail!("signals cannot be waited for")
    };
    loop {
        let signal = tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = terminate.recv() => Signal::SIGTERM,
            _ = hang_up.recv() => Signal::SIGHUP,
            // From a terminal it has come to the command as well.
            _ = interrupt.recv() => continue,
        };
        if let Some(pid) = child.id() {
            // If it has ended meanwhile, that is the next to be heard.
            let _gone = kill(Pid::from_raw(i32::try_from(pid)?), signal);
        }
    }
}

fn parent(talk: &Talk, within: Option<PathBuf>) -> Result<PathBuf> {
    let mount = cgroup_mount()?;
    if let Some(path) = within {
        return Ok(if path.starts_with(&mount) { path } else { mount.join(path.strip_prefix("/").unwrap_or(&path)) });
    }
    let file = talk.config.clone().unwrap_or_else(|| PathBuf::from(config::DEFAULT));
    let captured = Config::read(&file).ok().and_then(|config| config.capture.cgroups?.into_iter().next());
    if let Some(path) = captured {
        return Ok(mount.join(path.strip_prefix("/").unwrap_or(&path)));
    }
    own(&mount)
}

fn own(mount: &Path) -> Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/cgroup").context("this process's cgroup cannot be read")?;
    match table.lines().find_map(|line| line.strip_prefix("0::/")) {
        Some(path) => Ok(mount.join(path)),
        None => bail!("this process is in no cgroup v2"),
    }
}

/// A cgroup that ends with this value, and everything in it.
struct Cgroup {
    path: PathBuf,
    /// Where we are ourselves.
    own: PathBuf,
}

impl Cgroup {
    fn make(parent: &Path) -> Result<Self> {
        let own = own(&cgroup_mount()?)?;
        let path = parent.join(format!("interceptor-exec-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| {
            format!("the cgroup `{}` cannot be made: be root, or name one of your own with --within", path.display())
        })?;
        Ok(Self { path, own })
    }

    /// What is started meanwhile is born in it.
    fn during<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        let enter = |cgroup: &Path| {
            let procs = cgroup.join("cgroup.procs");
            fs::write(&procs, "0").with_context(|| format!("`{}` cannot be entered", cgroup.display()))
        };
        enter(&self.path)?;
        let started = start();
        enter(&self.own)?;
        Ok(started)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let since = Instant::now();
        loop {
            drop(fs::write(self.path.join("cgroup.kill"), "1"));
            remove(&self.path);
            if !self.path.exists() {
                return;
            }
            if since.elapsed() > PATIENCE {
                eprintln!("interceptor: the cgroup `{}` cannot be removed", self.path.display());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The deepest first: the command may have made some below its own.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    drop(fs::remove_dir(path));
}
