//! Roles whose credentials are known to have leaked: into a repository, a log, an old `.env`. What a client calls itself
//! decides nothing here; but that it still presents such a role is worth knowing, and a policy may refuse it
//! (`context.claimed_leaked`).

use serde::Deserialize;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// The `[leaked]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeakedSettings {
    /// Names of roles.
    pub roles: BTreeSet<String>,
    /// A file with more of them, one a line; empty lines and what follows `#` do not count.
    pub roles_file: Option<PathBuf>,
}

/// Why they are not known.
#[derive(Debug, thiserror::Error)]
#[error("the list of leaked roles `{path}` cannot be read")]
pub struct LeakedError {
    path: PathBuf,
    source: io::Error,
}

/// The roles.
#[derive(Debug, Clone, Default)]
pub struct LeakedRoles(BTreeSet<String>);

impl LeakedRoles {
    /// Reads the list.
    pub fn load(settings: &LeakedSettings) -> Result<Self, LeakedError> {
        let mut roles = settings.roles.clone();
        if let Some(path) = &settings.roles_file {
            let text = std::fs::read_to_string(path).map_err(|source| LeakedError { path: path.clone(), source })?;
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            roles.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
        }
        Ok(Self(roles))
    }

    pub(super) fn contains(&self, role: &str) -> bool {
        self.0.contains(role)
    }
}
