//! The daemon of a run, and the kernel programs that outlive it.

use super::{signals::send, state};
use crate::setup::Missing;
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long it may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The exit status by which the daemon says that the host lacks something.
const LACKING: i32 = 2;

/// A running daemon. It is stopped, and its programs are taken out of the kernel, when this is dropped.
pub(super) struct Daemon {
    child: Child,
    interceptor: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it answers.
    pub(super) async fn start(interceptor: &Path, config: &Path, socket: &Path, log: &Path) -> Result<Self> {
        let output = fs::File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let mut command = Command::new(interceptor);
        command.arg("run").arg("--config").arg(config);
        // A group of its own: Ctrl-C is for the command, the daemon is stopped by us.
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", interceptor.display()))?;
        let mut daemon = Self { child, interceptor: interceptor.to_owned() };
        daemon.wait(socket, log).await?;
        Ok(daemon)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn wait(&mut self, socket: &Path, log: &Path) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if answers(socket) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let said = last_words(log);
                return Err(if status.code() == Some(LACKING) {
                    Missing(said).into()
                } else {
                    anyhow!("the daemon does not start ({status}): {said}")
                });
            }
            // The issuer is served by this very thread.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the daemon does not answer after {PATIENCE:?}: {}", last_words(log))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        send(self.child.id(), Signal::SIGTERM);
        let since = Instant::now();
        while since.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
        // It leaves its programs in place so that nobody goes past it; here there is nobody left.
        detach(&self.interceptor, process::id());
    }
}

/// Takes a run's programs out of the kernel.
pub(super) fn detach(interceptor: &Path, pid: u32) {
    let output =
        Command::new(interceptor).args(["detach", "--instance", &state::name(pid)]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!(
            "xtask: cannot take the programs out of the kernel: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) => eprintln!("xtask: cannot start `{}`: {error}", interceptor.display()),
    }
}

/// Whether the control socket says that all is well. The socket is there before the daemon is ready, so it is asked.
fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: interceptor\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines
        .into_iter()
        .rev()
        .take(5)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}
