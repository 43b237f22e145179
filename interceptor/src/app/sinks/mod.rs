//! The record, passed on as it is written: by syslog and by OTLP. Each sink follows the trail on a thread of its own and notes how
//! far it has come, so that neither the daemon nor the other waits for it, and what it could not send it sends later.

mod otlp;
mod syslog;

use crate::audit::{Follower, Settings};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How often a trail is looked at that had nothing new.
const EVERY: Duration = Duration::from_millis(250);

/// The longest pause before something is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Records, and bytes of them, that are sent together.
const BATCH: (usize, usize) = (512, 1 << 20);

/// Somewhere that records go.
trait Sink: Send {
    fn name(&self) -> &'static str;

    /// Sends a batch, whole lines of the trail; one that failed comes again.
    fn send(&mut self, lines: &[String]) -> Result<()>;
}

/// The threads.
#[derive(Debug)]
pub(super) struct Sinks {
    threads: Vec<JoinHandle<()>>,
}

impl Sinks {
    /// Starts those that the configuration names.
    pub(super) fn start(settings: &Settings, stop: &watch::Receiver<bool>) -> Result<Self> {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if let Some(place) = &settings.syslog {
            sinks.push(Box::new(syslog::Syslog::to(place).with_context(|| format!("[audit] syslog = \"{place}\""))?));
        }
        if let Some(url) = &settings.otlp {
            let headers = settings.otlp_headers_file.as_deref();
            sinks.push(Box::new(otlp::Otlp::to(url, headers).with_context(|| format!("[audit] otlp = \"{url}\""))?));
        }
        let start = |sink: Box<dyn Sink>| {
            let (dir, stop) = (settings.dir.clone(), stop.clone());
            std::thread::Builder::new()
                .name(format!("sink-{}", sink.name()))
                .spawn(move || follow(sink, dir, &stop))
                .context("a sink's thread cannot be started")
        };
        Ok(Self { threads: sinks.into_iter().map(start).collect::<Result<_>>()? })
    }

    pub(super) fn join(self) {
        if self.threads.into_iter().any(|thread| thread.join().is_err()) {
            tracing::error!("a sink's thread has failed");
        }
    }
}

/// Until the daemon stops; then once more, for what is left.
fn follow(mut sink: Box<dyn Sink>, dir: PathBuf, stop: &watch::Receiver<bool>) {
    let mark = dir.join(format!("sink-{}.seq", sink.name()));
    let begin = || match noted(&mark) {
        Some(seq) => Ok(Follower::behind(dir.clone(), seq)),
        // What was written before anybody asked for it to be passed on is not passed on.
        None => Follower::at_end(dir.clone()).map_err(anyhow::Error::from).and_then(|follower| {
            note(&mark, follower.seq())?;
            Ok(follower)
        }),
    };
    let (mut pause, mut complained) = (EVERY, false);
    let mut follower = None;
    loop {
        let stopping = *stop.borrow();
        let came = match follower.take().map_or_else(begin, Ok) {
            Ok(mut current) => {
                let seq = current.seq();
                match current.next(BATCH.0, BATCH.1).map_err(anyhow::Error::from).and_then(|lines| {
                    if !lines.is_empty() {
                        sink.send(&lines)?;
                        note(&mark, current.seq())?;
                    }
                    Ok(lines.len())
                }) {
                    Ok(count) => {
                        follower = Some(current);
                        Ok(count)
                    }
                    Err(error) => {
                        follower = Some(Follower::behind(dir.clone(), seq));
                        Err(error)
                    }
                }
            }
            Err(error) => Err(error),
        };
        match came {
            Ok(0) if stopping => return,
            Ok(count) => {
                if std::mem::take(&mut complained) {
                    tracing::info!(sink = sink.name(), "records are passed on again");
                }
                pause = EVERY;
                if count > 0 {
                    continue;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(
                        sink = sink.name(),
                        "records cannot be passed on for now, they wait in the trail: {error:#}"
                    );
                }
                if stopping {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        // In small steps: the daemon may be stopping.
        let until = std::time::Instant::now() + pause;
        while std::time::Instant::now() < until && !*stop.borrow() {
            std::thread::sleep(EVERY.min(pause));
        }
    }
}

fn noted(mark: &Path) -> Option<u64> {
    std::fs::read_to_string(mark).ok()?.trim().parse().ok()
}

/// In one step; a crash in between has a batch sent twice, never none.
fn note(mark: &Path, seq: u64) -> Result<()> {
    let beside = mark.with_extension("new");
    std::fs::write(&beside, format!("{seq}\n"))?;
    Ok(std::fs::rename(beside, mark)?)
}
