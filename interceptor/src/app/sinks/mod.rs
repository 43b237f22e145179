//! The record, passed on as it is written: by syslog and by OTLP, and its checkpoints to a witness. Each sink follows the trail on a thread of its own and notes how
//! far it has come, so that neither the daemon nor the other waits for it, and what it could not send it sends later.

mod otlp;
mod syslog;
mod witness;

pub use witness::Witness;

use crate::audit::{Follower, Settings, Trail};
use anyhow::{Context, Result, bail};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    stop: watch::Sender<bool>,
}

impl Sinks {
    /// Starts those that the configuration names.
    pub(super) fn start(settings: &Settings, trail: &Arc<Trail>) -> Result<Self> {
        let (stop, _) = watch::channel(false);
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if let Some(place) = &settings.syslog {
            sinks.push(Box::new(syslog::Syslog::to(place).with_context(|| format!("[audit] syslog = \"{place}\""))?));
        }
        if let Some(url) = &settings.otlp {
            let headers = settings.otlp_headers_file.as_deref();
            sinks.push(Box::new(otlp::Otlp::to(url, headers).with_context(|| format!("[audit] otlp = \"{url}\""))?));
        }
        let start = |sink: Box<dyn Sink>| {
            let (dir, stop) = (settings.dir.clone(), stop.subscribe());
            std::thread::Builder::new()
                .name(format!("sink-{}", sink.name()))
                .spawn(move || follow(sink, dir, &stop))
                .context("a sink's thread cannot be started")
        };
        let mut threads = sinks.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        if let Some(witness) = witness::of(settings)? {
            let (dir, trail, stop) = (settings.dir.clone(), trail.clone(), stop.subscribe());
            let run = move || witness::follow(&witness, &dir, &trail, &stop);
            let thread = std::thread::Builder::new().name("witness".to_owned()).spawn(run);
            threads.push(thread.context("the witness's thread cannot be started")?);
        }
        Ok(Self { threads, stop })
    }

    /// Has them pass on what is there, as far as it is taken, and end. For when nothing is written any more.
    pub(super) fn join(self) {
        self.stop.send_replace(true);
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

/// Headers that are secrets, `Name: value` a line, by the file that `setting` names.
fn read_headers(setting: &str, path: &Path) -> Result<HeaderMap> {
    let wrong = || format!("{setting} `{}`", path.display());
    if std::fs::metadata(path).with_context(wrong)?.mode() & 0o077 != 0 {
        bail!("{} can be read by others; make it 0600", wrong());
    }
    let mut headers = HeaderMap::new();
    for line in std::fs::read_to_string(path).with_context(wrong)?.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').with_context(|| format!("{}: not `Name: value`", wrong()))?;
        let mut value = HeaderValue::from_str(value.trim()).with_context(wrong)?;
        value.set_sensitive(true);
        headers.append(HeaderName::from_bytes(name.trim().as_bytes()).with_context(wrong)?, value);
    }
    Ok(headers)
}
