//! Where an agent's token is found.
//!
//! All of this reads what the agent controls, so all of it is bounded, and it runs on a thread of its own: the environment
//! and files can lie on a file system that the agent serves itself (FUSE, userfaultfd), which then never answers.

use super::{
    Settings, Source,
    evidence::{Evidence, EvidenceError},
    process::Process,
    verify::TOKEN_BYTES,
};
use nix::errno::Errno;
use std::{io::Read, path::Path, sync::Arc, time::Duration};
use tokio::{task::spawn_blocking, time::timeout};

/// How long the agent's own file systems may take.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// Its file system did not answer.
    #[error("reading the token of process {0} took longer than {PATIENCE:?}")]
    Slow(u32),
}

/// The subject token of a process from the first source that has one.
pub(super) async fn find(evidence: Evidence, settings: Arc<Settings>) -> Result<Option<String>, SourceError> {
    let pid = evidence.pid;
    let search = spawn_blocking(move || search(&evidence, &settings));
    timeout(PATIENCE, search).await.map_err(|_| SourceError::Slow(pid))?.map_err(|_| SourceError::Slow(pid))?
}

fn search(evidence: &Evidence, settings: &Settings) -> Result<Option<String>, SourceError> {
    let process = evidence.process()?;
    if process.cgroup().as_deref() != Ok(&evidence.cgroup) {
        return Err(SourceError::Moved(evidence.pid));
    }
    for source in &settings.sources {
        let found = match source {
            Source::Environment => environments(evidence, &settings.environment_variables)?,
            Source::File => files(&process, evidence.uid, &settings.files)?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The process's own environment, else its closest ancestor's that has the variable: tools that clean the environment of
/// what they start do not take an agent's identity away. Only within the cgroup: beyond it is another job, or the host.
fn environments(evidence: &Evidence, names: &[String]) -> Result<Option<String>, SourceError> {
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
        for name in names {
            if let Some(token) = variable(&environment, name, process.pid)? {
                return Ok(Some(token));
            }
        }
        next = process.parent_in_cgroup(&evidence.cgroup).map_err(unreadable)?;
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
        match file(process, &path) {
            Err(SourceError::Unreadable { errno: Errno::ENOENT, .. }) => {}
            found => return found.map(Some),
        }
    }
    Ok(None)
}

fn file(process: &Process, path: &str) -> Result<String, SourceError> {
    let unreadable = |errno| SourceError::Unreadable { what: format!("file `{path}`"), errno };
    let file = process.open_file(Path::new(path)).map_err(unreadable)?;
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
    use nix::{errno::Errno, sys::stat::Mode, unistd::mkfifo};
    use std::{fs, os::unix::fs::symlink, process::id};

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
        let errno = |name: &str| match file(&us, &path(name)) {
            Err(SourceError::Unreadable { errno, .. }) => Some(errno),
            _ => None,
        };
        assert_eq!(file(&us, &path("real/token")), Ok("abc".to_owned()));
        assert_eq!(errno("link"), Some(Errno::ELOOP));
        assert_eq!(errno("linked/token"), Some(Errno::ELOOP));
        assert_eq!(errno("fifo"), Some(Errno::ENOTSUP));
        assert_eq!(errno("real"), Some(Errno::ENOTSUP));
        assert_eq!(file(&us, &path("long")), Err(SourceError::NotText(format!("file `{}`", path("long")))));
        assert_eq!(files(&us, 0, &[path("none"), path("real/token")]), Ok(Some("abc".to_owned())));
        assert_eq!(files(&us, 0, &[path("none")]), Ok(None));
        assert!(files(&us, 0, &[path("link"), path("real/token")]).is_err(), "what is wrong is not passed over");
        fs::remove_dir_all(folder).unwrap();
    }
}
