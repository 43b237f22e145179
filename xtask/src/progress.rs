//! What a person sees while something takes long: a line per step with the time it took, on standard error.

use anyhow::{Context, Result, bail};
use std::{
    io::{IsTerminal, Write, stderr},
    process::{Command, Output},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{JoinHandle, spawn},
    time::{Duration, Instant},
};

/// Steps that are over sooner are not worth a line.
const SHORT: Duration = Duration::from_millis(1500);

/// How often a step that goes on says so where there is no terminal, so that a log shows it is alive.
const ALIVE: Duration = Duration::from_secs(15);

/// Does something that may take long, and says so.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let since = Instant::now();
    let ticker = Ticker::start(what);
    let result = work();
    drop(ticker);
    match &result {
        Ok(_) if since.elapsed() < SHORT => {}
        Ok(_) => eprintln!("{what}: done in {:.1} s", since.elapsed().as_secs_f32()),
        Err(_) => eprintln!("{what}: failed after {:.1} s", since.elapsed().as_secs_f32()),
    }
    result
}

/// Runs a program to its end; its words are shown only if it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<Output> {
    let name = name(command);
    let output = command.output().with_context(|| format!("cannot start `{name}`"))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let words = String::from_utf8_lossy(&words);
    let lines: Vec<_> = words.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(30)) {
        eprintln!("    {line}");
    }
    bail!("`{name}` failed ({}); its last words are above", output.status)
}

/// Runs a program to its end, which talks to the person itself.
pub(crate) fn openly(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start `{name}`"))?;
    if status.success() { Ok(()) } else { bail!("`{name}` failed ({status})") }
}

/// A command as somebody would type it.
pub(crate) fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Shows for how long a step has been going on.
struct Ticker(Option<(Sender<()>, JoinHandle<()>)>);

impl Ticker {
    fn start(what: &str) -> Self {
        let (stop, stopped) = channel::<()>();
        let what = what.to_owned();
        let terminal = stderr().is_terminal();
        let thread = spawn(move || {
            let since = Instant::now();
            let every = if terminal { Duration::from_secs(1) } else { ALIVE };
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let seconds = since.elapsed().as_secs();
                let line =
                    if terminal { format!("\r{what} ... {seconds} s") } else { format!("{what} ... {seconds} s\n") };
                drop(stderr().write_all(line.as_bytes()));
            }
            if terminal {
                drop(stderr().write_all(b"\r\x1b[K"));
            }
        });
        Self(Some((stop, thread)))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            drop(thread.join());
        }
    }
}
