//! Where the password of a role comes from: a file, a systemd credential, or a command that asks a vault for it.
//!
//! What a command gives is kept for a while, because it takes a process to ask; a password that the server does not take is
//! forgotten, and asked for once more.

use super::scram::KeyRing;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest password, in bytes: tokens of cloud databases have some thousand.
const LONGEST: u64 = 16 << 10;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("its [[upstream]] has none")]
    None,
    #[error("`{program}` cannot be run")]
    Command { program: String, source: io::Error },
    #[error("`{program}` took longer than {PATIENCE:?}")]
    Slow { program: String },
    #[error("`{program}` ended with {status}: {said}")]
    Failed { program: String, status: String, said: String },
    #[error("`{program}` gave no password: nothing, too much or no text")]
    Empty { program: String },
}

/// A password and what it has become for servers.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) text: Arc<str>,
    pub(super) keys: Arc<KeyRing>,
}

impl Secret {
    pub(super) fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), keys: Arc::default() }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where passwords come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// There is none.
    None,
    Fixed(Secret),
    Command(Arc<Asked>),
}

/// A command and what it has given, by server: whoever holds the lock of a server is the one that asks.
#[derive(Debug)]
pub(super) struct Asked {
    words: Vec<String>,
    user: String,
    keep: Duration,
    given: Mutex<HashMap<SocketAddr, Arc<Mutex<Option<Given>>>>>,
}

#[derive(Debug)]
struct Given {
    secret: Secret,
    at: Instant,
}

impl Source {
    pub(super) fn command(words: &[String], user: &str, keep: Duration) -> Self {
        let (words, user) = (words.to_owned(), user.to_owned());
        Self::Command(Arc::new(Asked { words, user, keep, given: Mutex::default() }))
    }

    pub(super) async fn get(&self, server: SocketAddr) -> Result<Secret, SecretError> {
        match self {
            Self::None => Err(SecretError::None),
            Self::Fixed(secret) => Ok(secret.clone()),
            Self::Command(asked) => asked.get(server).await,
        }
    }

    /// Whether there may be another one by now.
    pub(super) async fn forget(&self, server: SocketAddr) -> bool {
        match self {
            Self::None | Self::Fixed(_) => false,
            Self::Command(asked) => asked.place(server).await.lock().await.take().is_some(),
        }
    }
}

impl Asked {
    async fn place(&self, server: SocketAddr) -> Arc<Mutex<Option<Given>>> {
        self.given.lock().await.entry(server).or_default().clone()
    }

    async fn get(&self, server: SocketAddr) -> Result<Secret, SecretError> {
        let place = self.place(server).await;
        let mut given = place.lock().await;
        if let Some(Given { secret, at }) = given.as_ref()
            && at.elapsed() < self.keep
        {
            return Ok(secret.clone());
        }
        let text = self.ask(server).await?;
        // The same one again: what it has become is still good.
        let secret = match given.as_ref() {
            Some(Given { secret, .. }) if *secret.text == *text => secret.clone(),
            _ => Secret::new(text),
        };
        *given = Some(Given { secret: secret.clone(), at: Instant::now() });
        Ok(secret)
    }

    async fn ask(&self, server: SocketAddr) -> Result<String, SecretError> {
        let fill = |word: &String| {
            let word = word.replace("{host}", &server.ip().to_string());
            word.replace("{port}", &server.port().to_string()).replace("{user}", &self.user)
        };
        let words: Vec<_> = self.words.iter().map(fill).collect();
        let Some((program, arguments)) = words.split_first() else { return Err(SecretError::None) };
        let failed = |source| SecretError::Command { program: program.clone(), source };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let run = async {
            let (mut text, mut said) = (Vec::new(), Vec::new());
            let read_out = async {
                match out {
                    Some(out) => out.take(LONGEST + 1).read_to_end(&mut text).await,
                    None => Ok(0),
                }
            };
            let read_err = async {
                match err {
                    Some(err) => err.take(1024).read_to_end(&mut said).await,
                    None => Ok(0),
                }
            };
            let (read, _) = tokio::join!(read_out, read_err);
            read?;
            Ok::<_, io::Error>((child.wait().await?, text, said))
        };
        let ended = timeout(PATIENCE, run).await.map_err(|_| SecretError::Slow { program: program.clone() })?;
        let (status, text, said) = ended.map_err(failed)?;
        if !status.success() {
            let said = String::from_utf8_lossy(&said).trim().escape_debug().to_string();
            return Err(SecretError::Failed { program: program.clone(), status: status.to_string(), said });
        }
        let text = Some(text).filter(|text| text.len() as u64 <= LONGEST).and_then(|text| String::from_utf8(text).ok());
        let text = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        text.filter(|text| !text.is_empty()).ok_or_else(|| SecretError::Empty { program: program.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::Source;
    use std::time::Duration;

    fn command(script: &str, keep: u64) -> Source {
        let words = ["sh", "-c", script, "{user}@{host}:{port}"].map(str::to_owned);
        Source::command(&words, "role", Duration::from_secs(keep))
    }

    async fn get(source: &Source) -> String {
        let found = source.get("10.1.2.3:5432".parse().unwrap()).await;
        found.map_or_else(|error| error.to_string(), |secret| secret.text.to_string())
    }

    #[tokio::test]
    async fn a_command_is_asked_once_in_a_while() {
        let counter = std::env::temp_dir().join(format!("interceptor-command-{:x}", rand::random::<u64>()));
        let counted =
            format!("n=$(cat {0} 2> /dev/null || echo 0); echo $((n + 1)) > {0}; echo $0 $n", counter.display());
        let source = command(&counted, 60);
        assert_eq!(get(&source).await, "role@10.1.2.3:5432 0");
        assert_eq!(get(&source).await, "role@10.1.2.3:5432 0");
        assert!(source.forget("10.1.2.3:5432".parse().unwrap()).await);
        assert_eq!(get(&source).await, "role@10.1.2.3:5432 1");
        std::fs::remove_file(counter).unwrap();
        assert_eq!(get(&command("echo no >&2; exit 3", 60)).await, "`sh` ended with exit status: 3: no");
        assert!(get(&command("true", 60)).await.contains("gave no password"));
        assert!(get(&command("head -c 20000 /dev/zero | tr '\\0' x", 60)).await.contains("gave no password"));
        assert!(
            get(&Source::command(&["/nonexistent".to_owned()], "r", Duration::ZERO)).await.contains("cannot be run")
        );
    }
}
