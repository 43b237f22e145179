//! Whether this host can be captured at all: asked of the kernel, not of its version.

use std::{error::Error, fs, path::Path};

use super::{
    attach::load,
    mounts::{bpf_mount, cgroup_mount},
};

/// One thing that `interceptor doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is as we need it.
    pub ok: bool,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it, if it is not `ok`; empty otherwise.
    pub remedy: &'static str,
    /// Whether the daemon cannot do without.
    pub needed: bool,
}

impl Finding {
    fn new(what: &'static str, found: Result<String, String>, remedy: &'static str) -> Self {
        match found {
            Ok(detail) => Self { what, ok: true, detail, remedy: "", needed: true },
            Err(detail) => Self { what, ok: false, detail, remedy, needed: true },
        }
    }

    pub(super) fn advice(what: &'static str, found: Result<String, String>, remedy: &'static str) -> Self {
        Self { needed: false, ..Self::new(what, found, remedy) }
    }
}

/// Looks at everything that [`super::Redirect::attach`] needs, changes nothing, and reports all of it, not just the
/// first thing missing.
#[must_use]
pub fn probe() -> Vec<Finding> {
    vec![
        Finding::new("privileges", privileges(), "run as root on the host itself, not in an unprivileged container"),
        Finding::new(
            "cgroup v2",
            cgroup_mount().map(at).map_err(|error| error.to_string()),
            "mount it (`mount -t cgroup2 none /sys/fs/cgroup/unified`), in a container with the host's cgroup namespace",
        ),
        Finding::new(
            "BPF file system",
            bpf_mount().map(at).map_err(|error| error.to_string()),
            "mount it: `mount -t bpf bpf /sys/fs/bpf`",
        ),
        Finding::new(
            "kernel types (BTF)",
            btf(),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions' kernels are",
        ),
        Finding::new(
            "programs",
            load(None).map(|_| "the kernel accepts all of them".to_owned()).map_err(|error| one_line(&error)),
            "use a kernel 6.1 or later with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF, and lift restrictions on bpf(2)",
        ),
    ]
}

fn at(mount: std::path::PathBuf) -> String {
    format!("mounted at {}", mount.display())
}

/// The capabilities that are needed, with their numbers in `linux/capability.h`.
const CAPABILITIES: [(&str, u32); 5] =
    [("CAP_DAC_READ_SEARCH", 2), ("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

fn privileges() -> Result<String, String> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|error| format!("cannot read /proc/self/status: {error}"))?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or("cannot read the capabilities in /proc/self/status")?;
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(_, bit)| effective & 1 << bit == 0).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        Ok("all capabilities that are needed".to_owned())
    } else {
        Err(format!("missing {}", missing.join(", ")))
    }
}

fn btf() -> Result<String, String> {
    const BTF: &str = "/sys/kernel/btf/vmlinux";
    if Path::new(BTF).exists() { Ok(format!("at {BTF}")) } else { Err(format!("{BTF} is not there")) }
}

/// An error with its causes; of a verifier's log only the first line.
fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        text.push_str(": ");
        text.push_str(words.lines().next().unwrap_or_default());
        cause = error.source();
    }
    text
}
