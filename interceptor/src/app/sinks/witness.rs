//! A witness over HTTP: somebody away from this host who takes every checkpoint and gives none back changed.
//!
//! `POST` to its URL with lines of JSON (`application/x-ndjson`), a signed checkpoint each, adds them to what it has; any 2xx says
//! that it has them for good. `GET` gives all of them, in the order in which they came. After a crash a line may come twice.
//! `checkpoints.jsonl` is the buffer: nobody who writes the record waits, and what is not taken is sent until it is.

use super::{LONGEST_PAUSE, note, noted, read_headers};
use crate::audit::{Settings, Trail};
use anyhow::{Context, Result, bail};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Certificate, Client, Url};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// For a whole request, its answer included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often checkpoints are looked for.
const EVERY: Duration = Duration::from_millis(500);
/// Bytes of checkpoints that are sent together; one has some 400.
const BATCH: u64 = 64 << 10;
/// Bytes that a witness may have when it is asked for all of them.
const MOST: usize = 512 << 20;
/// How often somebody is told while it does not take them.
const REMIND: Duration = Duration::from_secs(60);

/// A witness that answers HTTP.
pub struct Witness {
    url: Url,
    headers: HeaderMap,
    client: Client,
    runtime: Runtime,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Witness {
    /// By its URL, with a file of headers (`Name: value` a line, for nobody else to read) and, where the host's trusted CAs are
    /// not what is meant, one of CAs in PEM.
    ///
    /// # Errors
    /// Files cannot be used, or the URL is neither `https` nor on this host.
    pub fn at(url: &str, headers: Option<&Path>, ca: Option<&Path>) -> Result<Self> {
        let url = Url::parse(url).with_context(|| format!("`{url}` is no URL"))?;
        let here = matches!(url.host_str(), Some("localhost" | "[::1]")) || url.host_str().is_some_and(is_loopback);
        if !(url.scheme() == "https" || (url.scheme() == "http" && here)) {
            bail!(
                "a witness away from this host needs https: whoever is between could say that it has taken what it has not"
            );
        }
        // The one provider that is compiled in, whoever was first to install it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder =
            Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy().referer(false);
        if let Some(ca) = ca {
            let wrong = || format!("witness_ca_file `{}`", ca.display());
            let pem = std::fs::read(ca).with_context(wrong)?;
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).with_context(wrong)?);
        }
        let headers = headers.map(|file| read_headers("witness_headers_file", file)).transpose()?.unwrap_or_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { url, headers, client: builder.build()?, runtime })
    }

    /// Gives it further checkpoints, whole lines.
    fn give(&self, lines: Vec<u8>) -> Result<()> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(lines);
        let answer = self.runtime.block_on(async { request.send().await })?;
        if answer.status().is_success() { Ok(()) } else { bail!("it answered {}", answer.status()) }
    }

    /// All checkpoints that it has taken, a line each.
    ///
    /// # Errors
    /// It does not answer, or says no, or has more than anybody reads at once.
    pub fn taken(&self) -> Result<String> {
        let asked = async {
            let request = self.client.get(self.url.clone()).headers(self.headers.clone());
            let mut answer = request.send().await?;
            if !answer.status().is_success() {
                bail!("the witness answered {}", answer.status());
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > MOST {
                    bail!("the witness has more than {MOST} bytes: fetch them into a file and name that");
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        String::from_utf8(self.runtime.block_on(asked)?).context("what the witness says is not UTF-8")
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The checkpoints of a trail, and how many of their bytes the witness has.
struct Checkpoints {
    file: PathBuf,
    mark: PathBuf,
    given: u64,
}

impl Checkpoints {
    fn of(dir: &Path) -> Result<Self> {
        let (file, mark) = (dir.join("checkpoints.jsonl"), dir.join("witness.mark"));
        let given = match noted(&mark) {
            Some(given) => given,
            None => {
                // The last one stands for all that were before.
                let text = read_from(&file, 0, u64::MAX)?;
                let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let before = text.get(..whole.saturating_sub(1)).unwrap_or_default();
                before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1)
            }
        };
        Ok(Self { file, mark, given })
    }

    /// Whole lines that the witness does not have yet; none if it has all.
    fn further(&mut self) -> Result<Vec<u8>> {
        let length = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        if length < self.given {
            tracing::error!(
                "checkpoints that the witness has taken are gone from `{}`: somebody has written it anew; it is given all of what is there, \
                 and `interceptor audit verify --witness` says more",
                self.file.display()
            );
            self.given = 0;
        }
        let mut lines = read_from(&self.file, self.given, BATCH)?;
        lines.truncate(lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        Ok(lines)
    }

    fn has_taken(&mut self, bytes: usize) -> Result<()> {
        self.given += bytes as u64;
        note(&self.mark, self.given)
    }

    /// How many are waiting.
    fn waiting(&self) -> usize {
        read_from(&self.file, self.given, u64::MAX).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
    }
}

fn read_from(file: &Path, offset: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The witness that the configuration names, if it is one over HTTP.
pub(super) fn of(settings: &Settings) -> Result<Option<Witness>> {
    let Some(url) = settings.witness_url() else { return Ok(None) };
    let (headers, ca) = (settings.witness_headers_file.as_deref(), settings.witness_ca_file.as_deref());
    Witness::at(url, headers, ca).with_context(|| format!("[audit] witness = \"{url}\"")).map(Some)
}

/// Gives the witness what is signed, until the daemon stops; then once more.
pub(super) fn follow(witness: &Witness, dir: &Path, trail: &Arc<Trail>, stop: &watch::Receiver<bool>) {
    let mut checkpoints = None;
    let (mut pause, mut failing, mut told) = (EVERY, None, None::<Instant>);
    loop {
        let stopping = *stop.borrow();
        let give = |checkpoints: &mut Option<Checkpoints>| -> Result<usize> {
            let checkpoints = match checkpoints {
                Some(known) => known,
                None => checkpoints.insert(Checkpoints::of(dir)?),
            };
            let lines = checkpoints.further()?;
            let bytes = lines.len();
            if bytes > 0 {
                witness.give(lines)?;
                checkpoints.has_taken(bytes)?;
            }
            Ok(bytes)
        };
        match give(&mut checkpoints) {
            Ok(bytes) => {
                if failing.take().is_some() {
                    tracing::info!(witness = %witness.url, "the witness takes checkpoints again");
                    trail.witness_fails(None);
                }
                (pause, told) = (EVERY, None);
                if bytes > 0 {
                    continue;
                }
                if stopping {
                    return;
                }
            }
            Err(error) => {
                let since = *failing.get_or_insert_with(Instant::now);
                let waiting = checkpoints.as_ref().map_or(0, Checkpoints::waiting);
                let why = format!(
                    "the witness has not taken {waiting} checkpoints for {} s: {error:#}",
                    since.elapsed().as_secs()
                );
                if told.is_none_or(|told| told.elapsed() >= REMIND) {
                    tracing::error!(witness = %witness.url, "{why}");
                    told = Some(Instant::now());
                }
                trail.witness_fails(Some(why));
                if stopping {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        // In small steps: the daemon may be stopping.
        let until = Instant::now() + pause;
        while Instant::now() < until && !*stop.borrow() {
            std::thread::sleep(EVERY.min(pause) / 5);
        }
    }
}
