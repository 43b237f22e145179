// What the kernel half is built with: a Rust compiler with a core library for BPF, and bpf-linker. The linker reads the
// compiler's bitcode, which an older LLVM cannot ("Invalid record"), so both have to come from one major version.
//
// There are two ways. Debian's security archive ships a compiler whose core library for BPF comes compiled; elsewhere a
// nightly toolchain of rustup's with `rust-src` builds it. Read by this package's build script, which looks for them, and
// by xtask, which installs them: what one accepts, the other must.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The LLVM of Rust 1.95 to 1.97, of Debian's compiler, and of the bpf-linker that `cargo xtask setup` builds.
pub(crate) const LLVM: &str = "22";

/// The Rust target that runs in this machine's kernel.
pub(crate) const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// A compiler that can build for [`TARGET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// A distribution's compiler whose core library for BPF comes compiled.
    Precompiled(PathBuf),
    /// The folder of a nightly toolchain of rustup's; the core library is built from rust-src.
    Nightly(PathBuf),
}

impl Toolchain {
    /// The first that is here.
    pub(crate) fn find() -> Option<Self> {
        precompiled().map(Self::Precompiled).or_else(|| nightly().map(Self::Nightly))
    }
}

fn precompiled() -> Option<PathBuf> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    let output = Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let mut files = fs::read_dir(folder.trim()).ok()?.flatten();
    let has_core = files.any(|file| file.file_name().to_string_lossy().starts_with("libcore-"));
    (has_core && speaks_our_llvm(&rustc)).then_some(rustc)
}

/// Looked up as folders: asking rustup could make it install one.
fn nightly() -> Option<PathBuf> {
    let home = env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".rustup")))?;
    fs::read_dir(home.join("toolchains")).ok()?.flatten().map(|entry| entry.path()).find(|toolchain| {
        toolchain.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly"))
            && toolchain.join("lib/rustlib/src/rust/library/core").is_dir()
            && toolchain.join("bin/cargo").is_file()
            && speaks_our_llvm(&toolchain.join("bin/rustc"))
    })
}

fn speaks_our_llvm(rustc: &Path) -> bool {
    let output = Command::new(rustc).arg("-vV").output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("LLVM version: ")).any(|version| major(version) == LLVM)
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

/// bpf-linker, as somebody installed it for this user, or as setup did for this machine.
pub(crate) fn linker() -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")));
    let paths = env::var_os("PATH").unwrap_or_default();
    cargo_home
        .map(|home| home.join("bin"))
        .into_iter()
        .chain(env::split_paths(&paths))
        .map(|folder| folder.join("bpf-linker"))
        .find(|linker| linker.is_file())
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}
