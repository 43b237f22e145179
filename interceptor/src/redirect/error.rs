//! What can go wrong between the daemon and the kernel.

use std::{io, path::PathBuf};

/// Why the redirection cannot be put in place, read or taken away.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The name cannot become a folder of the BPF file system.
    #[error("`{instance}` cannot name an instance: use 1 to 64 lower-case letters, digits, `-` and `_`")]
    Instance {
        /// As it was given.
        instance: String,
    },
    /// The path would leave the hierarchy, or is deeper than the programs look.
    #[error("`{}` is no path of a cgroup below the mount: leave out `..` and write at most 63 levels", path.display())]
    CgroupPath {
        /// As it was given.
        path: PathBuf,
    },
    /// The settings contradict themselves; see [`super::Settings::mistakes`].
    #[error("{0}")]
    Settings(String),
    /// There is no file system of this type at hand.
    #[error("no {what} is mounted: try `{remedy}`")]
    NotMounted {
        /// What is missing, for people.
        what: &'static str,
        /// The command that mounts it.
        remedy: &'static str,
    },
    /// A file or folder could not be read, made, written or removed.
    #[error("cannot {action} `{}`{hint}", path.display())]
    File {
        /// What was tried: "read", "create"...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What to try, after a colon; may be empty.
        hint: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The daemon would capture its own connections.
    #[error("this process is not in the daemon's cgroup `{}`, so its own connections would be captured: enter it first", path.display())]
    NotInDaemonCgroup {
        /// Where it should be.
        path: PathBuf,
    },
    /// The object that came with this daemon cannot be used.
    #[error("cannot prepare the kernel half: `interceptor doctor` says what is missing here")]
    Object(#[source] Box<aya::EbpfError>),
    /// The kernel refused a program.
    #[error("the kernel does not accept program `{program}`: `interceptor doctor` says what is missing here")]
    Program {
        /// Its name in [`interceptor_ebpf::program`].
        program: &'static str,
        /// With the verifier's words, if it spoke.
        source: Box<aya::programs::ProgramError>,
    },
    /// The program is fine but could not be put in its place.
    #[error(
        "cannot attach program `{program}` to the root cgroup: if another tool holds it exclusively, `bpftool cgroup show` names that one"
    )]
    Attach {
        /// Its name in [`interceptor_ebpf::program`].
        program: &'static str,
        /// The kernel's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The running kernel's types are not as the programs expect them.
    #[error(
        "cannot find `{member}` in the kernel's `struct {structure}`: use a kernel 6.1 or later that is built with CONFIG_DEBUG_INFO_BTF"
    )]
    Btf {
        /// The kernel's struct.
        structure: &'static str,
        /// Its member.
        member: &'static str,
    },
    /// A map could not be read or written.
    #[error("cannot {action} map `{map}`")]
    Map {
        /// What was tried: "read", "write"...
        action: &'static str,
        /// Its name in [`interceptor_ebpf::map`].
        map: &'static str,
        /// The kernel's answer.
        source: Box<aya::maps::MapError>,
    },
    /// A program or map that the daemon knows is not in the object: the two halves are of different builds.
    #[error("the kernel half has no `{name}`, so it is of another build than this daemon: build both together")]
    Missing {
        /// Of a program or map.
        name: &'static str,
    },
}

impl RedirectError {
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, hint: "", source }
    }

    pub(super) fn map(action: &'static str, map: &'static str) -> impl Fn(aya::maps::MapError) -> Self {
        move |source| Self::Map { action, map, source: Box::new(source) }
    }
}
