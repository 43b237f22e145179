//! Where an agent's token is found.
//!
//! All of this reads what the agent controls, so all of it is bounded, and it runs on a thread of its own: the environment
//! and files can lie on a file system that the agent serves itself (FUSE, userfaultfd), which then never answers.

use super::{
    Settings, Source,
    claimed::{self, Claimed},
    enrolled::{Enrollment, Enrollments},
    evidence::{Evidence, EvidenceError},
    http::HttpError,
    process::Process,
    recent::Recent,
    request_url::{Pair, Requests, is_bearer, is_url},
    verify::TOKEN_BYTES,
};
use nix::errno::Errno;
use std::{
    collections::HashMap,
    io::Read,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

/// How long the agent's own file systems may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many ancestors are asked for a token.
const ANCESTORS: usize = 64;

/// Why a source that has something has no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The process is not there any more.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The process is in another cgroup than when it was looked at.
    #[error("process {0} has moved to another cgroup since it dialled")]
    Moved(u32),
    /// Two meanings are none.
    #[error("variable `{name}` stands more than once in the environment of process {pid}")]
    Twice {
        /// The variable.
        name: String,
        /// Whose environment.
        pid: u32,
    },
    /// It is too long or not text.
    #[error("what is in {0} is not a token: longer than {TOKEN_BYTES} bytes or not UTF-8")]
    NotText(String),
    /// The kernel says no.
    #[error("cannot read {what}: {}", .errno.desc())]
    Unreadable {
        /// The environment or the file.
        what: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// One of the two variables is there without the other, or is none of what it should be.
    #[error("variables `{0}` and `{1}` of process {2} are not a URL and a token for it")]
    NotAPair(String, String, u32),
    /// The CI system does not give the job's token.
    #[error("the job's token cannot be had: {0}")]
    Request(HttpError),
    /// Its file system did not answer.
    #[error("reading the token of process {0} took longer than {PATIENCE:?}")]
    Slow(u32),
}

/// A subject token, and what it was enrolled by, if it was.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) token: String,
    pub(super) enrollment: Option<Arc<Enrollment>>,
    /// What else is a secret of the same job.
    pub(super) beside: Option<String>,
}

/// Everywhere that tokens come from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) settings: Arc<Settings>,
    pub(super) enrollments: Enrollments,
    pub(super) requests: Requests,
    pub(super) readers: Readers,
    /// What stood in the environments of programs: it is put there by `execve(2)`, and each has its own.
    pub(super) in_environments: Recent<String>,
}

/// Threads that read what agents serve, which can be made to wait for as long as an agent likes: each cgroup has so many and
/// no more.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<u64, Arc<Semaphore>>>);

/// Threads of one cgroup.
const READERS: usize = 32;

impl Readers {
    /// One of the cgroup's; given back when the thread is done, however long that takes.
    async fn one(&self, evidence: &Evidence) -> Result<OwnedSemaphorePermit, SourceError> {
        let place = {
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, place| Arc::strong_count(place) > 1 || place.available_permits() < READERS);
            let id = evidence.cgroup_ids.first().copied().unwrap_or_default();
            Arc::clone(places.entry(id).or_insert_with(|| Arc::new(Semaphore::new(READERS))))
        };
        let slow = |_| SourceError::Slow(evidence.pid);
        timeout(PATIENCE, place.acquire_owned()).await.map_err(slow)?.map_err(|_| SourceError::Slow(evidence.pid))
    }
}

impl Sources {
    /// The subject token of a process from the first source that has one.
    pub(super) async fn find(&self, evidence: &Evidence) -> Result<Option<Found>, SourceError> {
        for source in &self.settings.sources {
            let found = match source {
                Source::Enrolled => self.enrollments.of(evidence).map(|enrollment| Found {
                    token: enrollment.token.clone(),
                    enrollment: Some(enrollment),
                    beside: None,
                }),
                Source::Environment => {
                    let known = self.in_environments.get(evidence);
                    let token = match known {
                        Some(token) => Some(token),
                        None => self.look(evidence, *source).await?.inspect(|token| {
                            self.in_environments.keep(evidence, token.clone());
                        }),
                    };
                    token.map(|token| Found { token, enrollment: None, beside: None })
                }
                Source::File => {
                    let token = self.look(evidence, *source).await?;
                    token.map(|token| Found { token, enrollment: None, beside: None })
                }
                Source::RequestUrl => {
                    let settings = Arc::clone(&self.settings);
                    match in_time(&self.readers, evidence, move |evidence, _| pair(&evidence, &settings)).await? {
                        None => None,
                        Some(pair) => {
                            let token = self.requests.fetch(&pair).await.map_err(SourceError::Request)?;
                            Some(Found { token, enrollment: None, beside: Some(pair.bearer) })
                        }
                    }
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn look(&self, evidence: &Evidence, source: Source) -> Result<Option<String>, SourceError> {
        let settings = Arc::clone(&self.settings);
        in_time(&self.readers, evidence, move |evidence, process| match source {
            Source::File => files(&process, evidence.uid, &settings.files),
            Source::Environment | Source::Enrolled | Source::RequestUrl => {
                environments(&evidence, &settings.environment_variables)
            }
        })
        .await
    }
}

impl SourceError {
    pub(super) fn unavailable(&self) -> bool {
        matches!(self, Self::Request(error) if !error.mistaken)
    }
}

/// What a process says about its work; nothing where that cannot be read in time.
pub(super) async fn claimed(readers: &Readers, evidence: &Evidence) -> Claimed {
    in_time(readers, evidence, |_, process| Ok(claimed::gather(&process))).await.unwrap_or_default()
}

/// Looks at a process on a thread that may wait for it.
async fn in_time<T: Send + 'static>(
    readers: &Readers,
    evidence: &Evidence,
    look: impl FnOnce(Evidence, Process) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let reader = readers.one(evidence).await?;
    let (pid, evidence) = (evidence.pid, evidence.clone());
    let search = spawn_blocking(move || {
        let _reader = reader;
        let process = evidence.process()?;
        if process.cgroup().as_deref() != Ok(&evidence.cgroup) {
            return Err(SourceError::Moved(evidence.pid));
        }
        look(evidence, process)
    });
    timeout(PATIENCE, search).await.map_err(|_| SourceError::Slow(pid))?.map_err(|_| SourceError::Slow(pid))?
}

/// The process's own environment, else its closest ancestor's that has the variable: tools that clean the environment of
/// what they start do not take an agent's identity away. Only within the cgroup: beyond it is another job, or the host.
fn environments(evidence: &Evidence, names: &[String]) -> Result<Option<String>, SourceError> {
    each_environment(evidence, |environment, pid| {
        for name in names {
            if let Some(token) = variable(environment, name, pid)? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    })
}

/// Both variables out of one environment.
fn pair(evidence: &Evidence, settings: &Settings) -> Result<Option<Pair>, SourceError> {
    let (url, token) = (&settings.request_url.url_variable, &settings.request_url.token_variable);
    each_environment(evidence, |environment, pid| {
        match (variable(environment, url, pid)?, variable(environment, token, pid)?) {
            (None, None) => Ok(None),
            (Some(url), Some(bearer)) if is_url(&url) && is_bearer(&bearer) => Ok(Some(Pair { url, bearer })),
            (None | Some(_), _) => Err(SourceError::NotAPair(url.clone(), token.clone(), pid)),
        }
    })
}

fn each_environment<T>(
    evidence: &Evidence,
    look: impl Fn(&[u8], u32) -> Result<Option<T>, SourceError>,
) -> Result<Option<T>, SourceError> {
    let mut next = Some(evidence.process()?);
    for _ in 0..=ANCESTORS {
        let Some(process) = next else { break };
        let unreadable =
            |errno| SourceError::Unreadable { what: format!("the environment of process {}", process.pid), errno };
        let environment = match process.environment() {
            // An ancestor that ends meanwhile, or that we may not read (an init of another user namespace), says nothing.
            Err(_) if process.pid != evidence.pid => break,
            other => other.map_err(unreadable)?,
        };
        if let Some(found) = look(&environment, process.pid)? {
            return Ok(Some(found));
        }
        let stat = process.stat().map_err(unreadable)?;
        next = Process::parent_in_cgroup(&stat, &evidence.cgroup).map_err(unreadable)?.map(|(parent, _)| parent);
    }
    Ok(None)
}

fn variable(environment: &[u8], name: &str, pid: u32) -> Result<Option<String>, SourceError> {
    let mut values = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SourceError::Twice { name: name.to_owned(), pid });
    }
    text(value, || format!("variable `{name}` of process {pid}")).map(Some)
}

fn files(process: &Process, uid: u32, templates: &[String]) -> Result<Option<String>, SourceError> {
    for template in templates {
        let path = template.replace("{uid}", &uid.to_string());
        match file(process, &path, uid) {
            Err(SourceError::Unreadable { errno: Errno::ENOENT, .. }) => {}
            found => return found.map(Some),
        }
    }
    Ok(None)
}

fn file(process: &Process, path: &str, uid: u32) -> Result<String, SourceError> {
    let unreadable = |errno| SourceError::Unreadable { what: format!("file `{path}`"), errno };
    let file = process.open_file(Path::new(path), uid).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(TOKEN_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
    text(bytes.trim_ascii(), || format!("file `{path}`"))
}

fn text(bytes: &[u8], place: impl FnOnce() -> String) -> Result<String, SourceError> {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= TOKEN_BYTES => Ok(text.to_owned()),
        _ => Err(SourceError::NotText(place())),
    }
}

#[cfg(test)]
mod tests {
    use super::{SourceError, file, files, variable};
    use crate::identity::process::Process;
    use nix::{
        errno::Errno,
        sys::stat::Mode,
        unistd::{chown, mkfifo},
    };
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        process::id,
    };

    #[track_caller]
    fn check(environment: &str, expected: Result<Option<&str>, SourceError>) {
        assert_eq!(
            variable(environment.as_bytes(), "TOKEN", 1),
            expected.map(|token| token.map(str::to_owned)),
            "{environment:?}"
        );
    }

    #[test]
    fn a_variable_stands_once() {
        check("A=1\0TOKEN=abc\0B=2\0", Ok(Some("abc")));
        check("A=1\0TOKENS=abc\0XTOKEN=d\0", Ok(None));
        check("TOKEN=a=b\0", Ok(Some("a=b")));
        check("TOKEN=\0", Ok(Some("")));
        check("TOKEN\0", Ok(None));
        check("", Ok(None));
        check("TOKEN=a\0TOKEN=a\0", Err(SourceError::Twice { name: "TOKEN".to_owned(), pid: 1 }));
        check(
            &format!("TOKEN={}", "x".repeat(8193)),
            Err(SourceError::NotText("variable `TOKEN` of process 1".to_owned())),
        );
        let bytes = variable(b"TOKEN=\xff", "TOKEN", 1);
        assert_eq!(bytes, Err(SourceError::NotText("variable `TOKEN` of process 1".to_owned())));
    }

    #[test]
    fn a_file_is_a_regular_file_behind_no_link() {
        let folder = std::env::temp_dir().join(format!("interceptor-source-{}", id()));
        fs::create_dir_all(folder.join("real")).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        fs::write(path("real/token"), "abc\n").unwrap();
        fs::write(path("long"), "x".repeat(8193)).unwrap();
        symlink("real/token", path("link")).unwrap();
        symlink("real", path("linked")).unwrap();
        mkfifo(path("fifo").as_str(), Mode::S_IRWXU).unwrap();
        let us = Process::open(id()).unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let errno = |name: &str| match file(&us, &path(name), uid) {
            Err(SourceError::Unreadable { errno, .. }) => Some(errno),
            _ => None,
        };
        assert_eq!(file(&us, &path("real/token"), uid), Ok("abc".to_owned()));
        fs::write(path("shared"), "abc").unwrap();
        fs::set_permissions(path("shared"), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(errno("shared"), Some(Errno::EACCES), "anybody could have written it");
        if nix::unistd::geteuid().is_root() {
            fs::write(path("foreign"), "abc").unwrap();
            chown(path("foreign").as_str(), Some(4711.into()), None).unwrap();
            assert_eq!(errno("foreign"), Some(Errno::EACCES), "it is somebody else's");
        }
        assert_eq!(errno("link"), Some(Errno::ELOOP));
        assert_eq!(errno("linked/token"), Some(Errno::ELOOP));
        assert_eq!(errno("fifo"), Some(Errno::ENOTSUP));
        assert_eq!(errno("real"), Some(Errno::ENOTSUP));
        assert_eq!(file(&us, &path("long"), uid), Err(SourceError::NotText(format!("file `{}`", path("long")))));
        assert_eq!(files(&us, uid, &[path("none"), path("real/token")]), Ok(Some("abc".to_owned())));
        assert_eq!(files(&us, uid, &[path("none")]), Ok(None));
        assert!(files(&us, uid, &[path("link"), path("real/token")]).is_err(), "what is wrong is not passed over");
        fs::remove_dir_all(folder).unwrap();
    }
}
