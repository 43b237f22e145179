//! The configuration is read again on SIGHUP: what has changed is said, key by key, and what can be changed under sessions is.
//! A file with mistakes changes nothing.

use super::note;
use crate::config::Config;
use crate::policy::Mode;
use crate::proxy::{LeakedRoles, Proxy, Tunables, Upstreams};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Value;

/// Sections, and members of sections, that hold from now on for whatever comes next. All else needs a restart.
const LIVE: [&str; 4] = ["upstream", "leaked", "limits", "policy.mode"];

/// The file as it was read last.
pub(super) struct Reconfigure {
    file: PathBuf,
    keys: BTreeMap<String, String>,
}

/// What a new reading came to.
#[derive(Debug, Default)]
struct Changes {
    /// `key: old -> new`, of what is in force now.
    applied: Vec<String>,
    /// The same of what waits for a restart.
    waiting: Vec<String>,
}

impl Reconfigure {
    pub(super) fn of(file: &Path) -> Result<Self> {
        Ok(Self { file: file.to_owned(), keys: keys(file)? })
    }

    /// Reads it; says in the log and in the record what came of that.
    pub(super) fn read_again(&mut self, proxy: &Proxy) {
        let text = match self.apply(proxy) {
            Ok((changes, _)) if changes.applied.is_empty() && changes.waiting.is_empty() => {
                tracing::info!("SIGHUP: nothing has changed in the configuration");
                return;
            }
            Ok((changes, ended)) => {
                for change in &changes.applied {
                    tracing::info!(%change, "configuration");
                }
                for change in &changes.waiting {
                    tracing::warn!(%change, "configuration: this needs a restart");
                }
                let waiting = changes.waiting.iter().map(|change| format!("{change} (needs a restart)"));
                let all: Vec<_> = changes.applied.iter().cloned().chain(waiting).collect();
                format!("configuration reloaded: {}; {ended} session(s) ended for it", all.join("; "))
            }
            Err(error) => {
                tracing::error!("SIGHUP: the configuration stays as it was: {error:#}");
                format!("configuration not reloaded, it stays as it was: {error:#}")
            }
        };
        if let Err(error) = note(&proxy.shared.trail, &text) {
            tracing::error!(%error, "a change of the configuration could not be recorded");
        }
    }

    fn apply(&mut self, proxy: &Proxy) -> Result<(Changes, usize)> {
        let config = Config::read(&self.file)?;
        if config.policy.mode == Mode::Enforce && proxy.registrar.issuers().is_empty() {
            bail!("no issuer is known to the running daemon, so nobody could connect: restart it to enforce policies");
        }
        let tunables = Tunables {
            mode: config.policy.mode,
            upstreams: Upstreams::load(&config.upstream)?,
            leaked: LeakedRoles::load(&config.leaked)?,
            limits: config.limits.clone(),
        };
        let keys = keys(&self.file)?;
        let mut changes = differences(&self.keys, &keys);
        // Passwords and lists in files that the configuration names are read anew as well, which no key shows.
        let ended = proxy.tune(tunables);
        // What waits is said again until it has been done.
        self.keys.retain(|key, _| !is_live(key));
        self.keys.extend(keys.into_iter().filter(|(key, _)| is_live(key)));
        changes.applied.sort();
        Ok((changes, ended))
    }
}

fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
}

fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Changes {
    let mut changes = Changes::default();
    let nothing = || "(not set)".to_owned();
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for key in names.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
        let (was, is) = (old.get(key).cloned(), new.get(key).cloned());
        let change = format!("{key}: {} -> {}", was.unwrap_or_else(nothing), is.unwrap_or_else(nothing));
        if is_live(key) { changes.applied.push(change) } else { changes.waiting.push(change) }
    }
    changes
}

/// Every value by the path that leads to it: `capture.ports[0]`.
fn keys(file: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let table: toml::Table = toml::from_str(&text)?;
    let mut keys = BTreeMap::new();
    flatten(String::new(), &Value::Table(table), &mut keys);
    Ok(keys)
}

fn flatten(path: String, value: &Value, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(path, value, keys);
            }
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| flatten(format!("{path}[{at}]"), value, keys));
        }
        plain => drop(keys.insert(path, plain.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, applied: &[&str], waiting: &[&str]) {
        let keys = |text: &str| {
            let mut keys = BTreeMap::new();
            flatten(String::new(), &Value::Table(toml::from_str(text).unwrap()), &mut keys);
            keys
        };
        let changes = differences(&keys(old), &keys(new));
        assert_eq!((changes.applied, changes.waiting), (owned(applied), owned(waiting)), "{old} / {new}");
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_differs_is_named_by_its_path() {
        check("[policy]\nmode = 'observe'", "[policy]\nmode = 'observe' # still", &[], &[]);
        check(
            "[policy]\nmode = 'observe'",
            "[policy]\nmode = 'enforce'",
            &["policy.mode: \"observe\" -> \"enforce\""],
            &[],
        );
        check("", "[policy]\ndir = '/p'", &[], &["policy.dir: (not set) -> \"/p\""]);
        check("[limits]\nconnections = 1", "", &["limits.connections: 1 -> (not set)"], &[]);
        check(
            "[[upstream]]\nuser = 'a'",
            "[[upstream]]\nuser = 'b'\n[[upstream]]\nuser = 'a'",
            &["upstream[0].user: \"a\" -> \"b\"", "upstream[1].user: (not set) -> \"a\""],
            &[],
        );
        check("[capture]\nports = [1]", "[capture]\nports = [1, 2]", &[], &["capture.ports[1]: (not set) -> 2"]);
        // Not by the beginning of a name.
        check("", "upstreams = 1", &[], &["upstreams: (not set) -> 1"]);
    }
}
