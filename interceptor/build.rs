//! Builds the kernel half and leaves the object in `OUT_DIR`, where `redirect` embeds it.
//!
//! Not with aya-build: it knows one recipe (nightly with rust-src), and there are machines whose rustup cannot add
//! components but whose distribution ships a core library for BPF (`toolchain.rs`).
//! The nested cargo has a target folder of its own, because the outer one holds the lock on the usual folder.

mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};
use toolchain::{LLVM, TARGET, Toolchain, linker};

const PACKAGE: &str = "interceptor-ebpf";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let package = Path::new(&variable("CARGO_MANIFEST_DIR")?)
        .join("..")
        .join(PACKAGE)
        .canonicalize()
        .map_err(|error| format!("cannot find the kernel half `{PACKAGE}` beside this package: {error}"))?;
    println!("cargo::rerun-if-changed={}", package.join("src").display());
    println!("cargo::rerun-if-changed={}", package.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=toolchain.rs");

    let linker = linker().ok_or_else(|| missing("bpf-linker"))?;
    let toolchain = Toolchain::find().ok_or_else(|| {
        missing(&format!(
            "Rust compiler with LLVM {LLVM} and a core library for {TARGET} (Debian's rustc-web, or nightly with rust-src)"
        ))
    })?;

    let folder = out.join("kernel-half");
    let mut cargo = toolchain.cargo();
    cargo
        .args([
            "build",
            "--release",
            "--package",
            PACKAGE,
            "--bin",
            PACKAGE,
            "--features",
            "programs",
            "--target",
            TARGET,
        ])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?)
        .env(format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_")), &linker)
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat");
    let output = cargo
        .output()
        .map_err(|error| format!("cannot run {:?} to build the kernel half: {error}", cargo.get_program()))?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!(
            "the kernel half does not build ({}); the compiler's words are above. If they are about the linker, it may have been built \
             with another LLVM than {LLVM}: remove `{}` and run `cargo xtask setup`",
            output.status,
            linker.display()
        ));
    }
    let object = folder.join(TARGET).join("release").join(PACKAGE);
    fs::copy(&object, out.join(PACKAGE)).map_err(|error| format!("cannot copy `{}`: {error}", object.display()))?;
    Ok(())
}

/// The one sentence for whoever has not set the machine up yet.
fn missing(what: &str) -> String {
    format!("cannot build the kernel half, because there is no {what} here: run `cargo xtask setup`, which installs it")
}

trait Cargo {
    /// A cargo that uses this toolchain, and nothing of what the outer cargo has put into the environment for another target.
    fn cargo(&self) -> Command;
}

impl Cargo for Toolchain {
    fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Nightly(toolchain) => {
                let mut command = Command::new(toolchain.join("bin/cargo"));
                command.args(["-Z", "build-std=core"]).env("RUSTC", toolchain.join("bin/rustc"));
                command
            }
            Self::Precompiled(rustc) => {
                let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                // BPF's inline assembly, which aya-ebpf uses, is not stable; this compiler is not a nightly.
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        for unwanted in [
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "CARGO_MAKEFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            command.env_remove(unwanted);
        }
        command.env("CARGO_TERM_COLOR", "never").env("CARGO_BUILD_TARGET", TARGET);
        command
    }
}

/// What aya-ebpf and the linker need to be told: the host's architecture (registers, for probes), and BTF, without which
/// the loader cannot read the maps.
fn flags() -> Result<String, String> {
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let architecture = if architecture.starts_with("riscv64") { "riscv64" } else { &architecture };
    Ok([format!("--cfg=bpf_target_arch=\"{architecture}\"").as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f"))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("`{name}` is not set: this is meant to be run by cargo"))
}
