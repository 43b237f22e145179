//! A command as an agent: in the captured cgroup, with a token, and with a password that is wrong.

use super::{
    scene::Scene,
    signals::{Came, Signals, send},
    terminal::is_terminal,
};
use crate::workspace::myself;
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::ErrorKind,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{self, ExitCode, ExitStatus},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a command may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Variables of libpq's that would lead the agent elsewhere than its DSN says.
const MISLEADING: [&str; 9] = [
    "PGHOSTADDR",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "PGOPTIONS",
    "PGSSLROOTCERT",
    "PGSSLNEGOTIATION",
    "PGREQUIREAUTH",
    "DATABASE_URL",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Enter {
    /// Folder of the cgroup
    #[arg(long)]
    cgroup: PathBuf,
    /// User to become
    #[arg(long)]
    uid: Option<u32>,
    /// Group to become
    #[arg(long)]
    gid: Option<u32>,
    /// What to become
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Moves this very process and becomes the command: nothing of ours stays between it and its parent, and it never runs
/// outside the cgroup.
pub(crate) fn enter(enter: &Enter) -> Result<ExitCode> {
    let procs = enter.cgroup.join("cgroup.procs");
    fs::write(&procs, process::id().to_string())
        .with_context(|| format!("cannot enter the cgroup by `{}`", procs.display()))?;
    let (program, arguments) = enter.command.split_first().context("no command")?;
    let mut command = process::Command::new(program);
    command.args(arguments);
    if let Some(gid) = enter.gid {
        command.gid(gid);
    }
    if let Some(uid) = enter.uid {
        command.uid(uid);
    }
    let error = command.exec();
    eprintln!("{}: {error}", program.display());
    // As shells have it.
    Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }))
}

/// A running command.
pub(super) struct Agent {
    child: Child,
}

impl Scene {
    /// Starts a command as an agent.
    pub(super) fn agent<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Agent> {
        Agent::start(self.agent_command(words)?)
    }

    /// The same, to be started by whoever has more to say about it.
    pub(super) fn agent_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Command> {
        let mut command = Command::new(myself()?);
        command.arg("enter").arg("--cgroup").arg(self.agents()).arg("--").args(words);
        MISLEADING.into_iter().for_each(|name| {
            command.env_remove(name);
        });
        command.envs(self.environment()).env("PATH", self.path()).kill_on_drop(true);
        Ok(command)
    }

    /// Debian keeps pgbench and the like out of `PATH`.
    fn path(&self) -> OsString {
        let path = env::var_os("PATH").unwrap_or_default();
        env::join_paths(env::split_paths(&path).chain([self.postgres_bin().to_owned()])).unwrap_or(path)
    }
}

impl Agent {
    fn start(mut command: Command) -> Result<Self> {
        Ok(Self { child: command.spawn().context("cannot start the command")? })
    }

    /// Waits for its end, handing signals on. Returns its status as a shell would.
    pub(super) async fn wait(mut self, signals: &mut Signals) -> Result<u8> {
        loop {
            tokio::select! {
                status = self.child.wait() => return Ok(code(status?)),
                Came(signal) = signals.next() => match signal {
                    // The terminal has sent it to the command as well, and psql, say, goes on after it.
                    Signal::SIGINT if is_terminal() => {}
                    Signal::SIGINT => self.tell(signal),
                    signal => {
                        self.tell(signal);
                        drop(timeout(PATIENCE, self.child.wait()).await);
                        return Ok(Came(signal).status());
                    }
                },
            }
        }
    }

    fn tell(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            send(pid, signal);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
