//! The configuration file: every room's own settings, read in one place. Nobody below imports this.

use crate::{admin, approval, audit, identity, mask, policy, proxy, redirect};
use serde::Deserialize;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the packages put it.
pub const DEFAULT: &str = "/etc/interceptor/interceptor.toml";

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What of the host is captured.
    #[serde(default)]
    pub capture: redirect::Settings,
    /// Who agents are.
    #[serde(default)]
    pub identity: identity::Settings,
    /// What agents that ask for TLS get.
    #[serde(default)]
    pub tls: proxy::TlsSettings,
    /// Credentials for databases.
    #[serde(default)]
    pub upstream: Vec<proxy::Upstream>,
    /// Roles whose credentials are known to have leaked.
    #[serde(default)]
    pub leaked: proxy::LeakedSettings,
    /// What they may.
    pub policy: policy::Settings,
    /// Where it is written down.
    pub audit: audit::Settings,
    /// How operators talk to the daemon.
    #[serde(default)]
    pub admin: admin::Settings,
    /// The page for approvers.
    #[serde(default)]
    pub console: admin::ConsoleSettings,
    /// Who is told what waits for approval.
    #[serde(default)]
    pub webhook: Vec<admin::WebhookSettings>,
    /// How columns are masked.
    #[serde(default)]
    pub mask: mask::Settings,
    /// How statements that need it are approved.
    #[serde(default)]
    pub approval: approval::Settings,
    /// What the daemon puts up with.
    #[serde(default)]
    pub limits: proxy::Limits,
    /// How it runs.
    #[serde(default)]
    pub daemon: Daemon,
}

/// The `[daemon]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Daemon {
    /// Threads that serve connections; absent for half of the processors, for agents and database need theirs too.
    pub threads: Option<usize>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration `{path}` cannot be read; name another with --config")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not as it should be.
    #[error("configuration `{path}` is wrong: {text}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong, with the line.
        text: String,
    },
}

/// Files that say what agents may and that somebody else than root, or whoever runs this, may write: a sentence each. One that is not
/// there is somebody else's to complain about.
fn written_by_others(file: &Path, policies: &Path) -> Vec<String> {
    let texts = std::fs::read_dir(policies).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = texts.filter(|path| path.extension().is_some_and(|kind| kind == "cedar" || kind == "toml"));
    let all = [file.to_owned(), policies.to_owned()].into_iter().chain(files);
    let is_theirs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|file| {
            let foreign_user = ![0, nix::unistd::geteuid().as_raw()].contains(&file.uid());
            let foreign_group = ![0, nix::unistd::getegid().as_raw()].contains(&file.gid());
            foreign_user || file.mode() & 0o002 != 0 || (foreign_group && file.mode() & 0o020 != 0)
        })
    };
    let sentence = |path: PathBuf| {
        format!(
            "others may write `{}`, and so decide what agents may: `chown root` and `chmod go-w` it",
            path.display()
        )
    };
    all.filter(is_theirs).map(sentence).collect()
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Wrong { path: path.to_owned(), text: error.to_string() })?;
        let mut mistakes = written_by_others(path, &config.policy.dir);
        mistakes.extend(config.capture.mistakes());
        mistakes.extend(config.tls.mistakes());
        mistakes.extend(config.audit.mistakes());
        mistakes.extend(config.approval.mistakes());
        mistakes.extend(config.console.mistakes());
        mistakes.extend(config.limits.mistakes());
        mistakes.extend(config.admin.mistakes());
        if config.identity.issuers.is_empty() && config.policy.mode == policy::Mode::Enforce {
            mistakes.push(
                "identity.issuers is empty: name at least one issuer, or nobody can connect (only where `mode = \"observe\"` may it be left out)"
                    .to_owned(),
            );
        }
        if !mistakes.is_empty() {
            return Err(ConfigError::Wrong { path: path.to_owned(), text: mistakes.join("; ") });
        }
        Ok(config)
    }

    /// The file with the masking key.
    pub fn mask_key(&self) -> PathBuf {
        self.mask.key_file.clone().unwrap_or_else(|| self.beside_audit("mask.key"))
    }

    /// The files with the CA's certificate and its key.
    pub fn ca(&self) -> (PathBuf, PathBuf) {
        let file = |set: &Option<PathBuf>, name| set.clone().unwrap_or_else(|| self.beside_audit(name));
        (file(&self.tls.ca_cert, "ca.crt"), file(&self.tls.ca_key, "ca.key"))
    }

    fn beside_audit(&self, name: &str) -> PathBuf {
        self.audit.dir.parent().unwrap_or(Path::new("/")).join(name)
    }

    /// Threads that serve connections.
    pub fn threads(&self) -> usize {
        let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        self.daemon.threads.unwrap_or_else(half).max(1)
    }
}
