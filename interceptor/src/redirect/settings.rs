//! What of the host is captured.

use std::{
    net::SocketAddr,
    path::{Component, Path, PathBuf},
};

use interceptor_ebpf::CGROUP_DEPTH;
use serde::Deserialize;

use super::RedirectError;

/// `[redirect]` of the configuration file. Cgroup paths are relative to the cgroup v2 mount.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Names the folder of the pins, so that several daemons can live on one host: lower-case letters, digits, `-`, `_`.
    pub instance: String,
    /// The TCP ports that PostgreSQL is dialled at.
    pub ports: Vec<u16>,
    /// Addresses with ports that PostgreSQL is dialled at, besides.
    pub addresses: Vec<SocketAddr>,
    /// Agents live below these cgroups; they are created if they are not there.
    pub cgroups: Option<Vec<PathBuf>>,
    /// Agents are processes of these users, by name or number.
    pub users: Vec<String>,
    /// Agents are processes that run these files, and what they start.
    pub executables: Vec<PathBuf>,
    /// Whether the whole host is captured. Absent: if nobody is named by cgroup, user or executable.
    pub host: Option<bool>,
    /// Whether everybody who is captured is treated as those who are named: no sockets that the hooks do not see (raw, MPTCP,
    /// SCTP, SMC) and no Unix sockets of PostgreSQL servers. Breaks ping, where the whole host is captured.
    pub strict: bool,
    /// Whether agents are refused, at the kernel's security decisions (BPF LSM), what no other hook sees, where the kernel allows it.
    pub guards: bool,
    /// What is done about PostgreSQL on other ports.
    pub detect: Detect,
    /// Cgroups that are left alone although what is above them is captured; from the moment they exist.
    pub exempt: Vec<PathBuf>,
    /// Where the daemon itself lives; created if it is not there.
    pub daemon_cgroup: PathBuf,
    /// The daemon's port on 127.0.0.1 and ::1; 0 means any port that is free on both.
    pub listen_port: u16,
}

/// What is done when a captured process speaks PostgreSQL on a port that is not captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detect {
    /// Nobody looks.
    Off,
    /// It is logged, recorded and counted.
    #[default]
    Alert,
    /// It is also stopped, and the address captured from then on.
    Block,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            ports: vec![5432],
            addresses: Vec::new(),
            cgroups: None,
            users: Vec::new(),
            executables: Vec::new(),
            host: None,
            strict: false,
            guards: true,
            detect: Detect::default(),
            exempt: Vec::new(),
            daemon_cgroup: PathBuf::from("interceptor"),
            listen_port: 15432,
        }
    }
}

impl Settings {
    /// Everything that can be said about these settings without looking at the host; all mistakes at once, each a sentence
    /// for the operator. Empty if there are none.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(error) = check_instance(&self.instance) {
            mistakes.push(error.to_string());
        }
        if self.ports.is_empty() && self.addresses.is_empty() {
            mistakes.push(
                "`ports` is empty, so nothing would be captured: name at least one port, usually 5432".to_owned(),
            );
        }
        if self.ports.contains(&0) {
            mistakes.push("`ports` names port 0, which nobody can dial: take it out".to_owned());
        }
        if self.listen_port != 0 && self.ports.contains(&self.listen_port) {
            mistakes.push(format!(
                "`listen_port` {} is itself captured: choose a port that is not in `ports`",
                self.listen_port
            ));
        }
        if self.cgroups.as_ref().is_some_and(Vec::is_empty) {
            mistakes.push(
                "`cgroups` is empty, so nobody would be captured: name a cgroup, or leave it out for the whole host"
                    .to_owned(),
            );
        }
        if self.addresses.iter().any(|address| address.ip().is_unspecified() || address.port() == 0) {
            mistakes
                .push("`addresses` names one without a host or port: write `10.0.0.5:6432`, or use `ports`".to_owned());
        }
        if self.host == Some(false) && !self.names_anybody() {
            mistakes.push(
                "`host = false` and nobody is named, so nobody would be captured: name a cgroup, user or executable"
                    .to_owned(),
            );
        }
        if self.users.iter().any(|user| user.parse() == Ok(0_u32) || user == "root") {
            mistakes.push("`users` names root, as which the host itself runs: name the agents' users".to_owned());
        }
        if let Some(path) = self.executables.iter().find(|path| !path.is_absolute()) {
            mistakes.push(format!("`{}` in `executables` is no absolute path", path.display()));
        }
        let cgroups = self.cgroups.iter().flatten().chain(&self.exempt).chain([&self.daemon_cgroup]);
        mistakes.extend(cgroups.filter_map(|path| relative(path).err()).map(|error| error.to_string()));
        if relative(&self.daemon_cgroup).is_ok_and(|path| path.as_os_str().is_empty()) {
            mistakes.push(
                "`daemon_cgroup` is the root, so the whole host would be exempt: name a cgroup below it".to_owned(),
            );
        }
        mistakes
    }

    /// Whether anybody is named as an agent.
    pub(super) fn names_anybody(&self) -> bool {
        self.cgroups.is_some() || !self.users.is_empty() || !self.executables.is_empty()
    }

    /// Whether everybody is captured.
    pub(super) fn captures_host(&self) -> bool {
        self.host.unwrap_or(!self.names_anybody())
    }

    /// What is captured, for people to read.
    #[must_use]
    pub fn summary(&self) -> String {
        let listed =
            |what: &str, names: Vec<String>| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let to = [
            listed("port", self.ports.iter().map(ToString::to_string).collect()),
            listed("address", self.addresses.iter().map(ToString::to_string).collect()),
        ];
        let of = [
            self.captures_host().then(|| "the whole host".to_owned()),
            listed("", paths(self.cgroups.as_deref().unwrap_or_default())).map(|text| text.trim_start().to_owned()),
            listed("user", self.users.clone()),
            listed("program", paths(&self.executables)),
        ];
        let join = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join(" and ");
        format!("{} of {}", join(&to), join(&of))
    }
}

/// The name becomes a folder in the BPF file system, which takes no dots.
pub(super) fn check_instance(instance: &str) -> Result<(), RedirectError> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if instance.is_empty() || instance.len() > 64 || !instance.bytes().all(is_good) {
        return Err(RedirectError::Instance { instance: instance.to_owned() });
    }
    Ok(())
}

/// A cgroup path below the mount, without a leading slash. `..` is refused: it would leave the hierarchy.
pub(super) fn relative(path: &Path) -> Result<PathBuf, RedirectError> {
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => below.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(RedirectError::CgroupPath { path: path.to_owned() });
            }
        }
    }
    if below.components().count() >= CGROUP_DEPTH as usize {
        return Err(RedirectError::CgroupPath { path: path.to_owned() });
    }
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Settings), expected: &[&str]) {
        let mut settings = Settings::default();
        change(&mut settings);
        assert_eq!(settings.mistakes(), expected);
    }

    #[test]
    fn mistakes_are_listed_all_at_once() {
        check(|_| {}, &[]);
        check(|settings| settings.cgroups = Some(vec!["/ci/agents".into()]), &[]);
        check(
            |settings| {
                settings.instance = "Not.Good".to_owned();
                settings.ports = vec![];
                settings.cgroups = Some(vec![]);
                settings.exempt = vec!["../elsewhere".into()];
                settings.daemon_cgroup = "/".into();
            },
            &[
                "`Not.Good` cannot name an instance: use 1 to 64 lower-case letters, digits, `-` and `_`",
                "`ports` is empty, so nothing would be captured: name at least one port, usually 5432",
                "`cgroups` is empty, so nobody would be captured: name a cgroup, or leave it out for the whole host",
                "`../elsewhere` is no path of a cgroup below the mount: leave out `..` and write at most 63 levels",
                "`daemon_cgroup` is the root, so the whole host would be exempt: name a cgroup below it",
            ],
        );
        check(
            |settings| settings.ports = vec![5432, 15432, 0],
            &[
                "`ports` names port 0, which nobody can dial: take it out",
                "`listen_port` 15432 is itself captured: choose a port that is not in `ports`",
            ],
        );
    }
}
