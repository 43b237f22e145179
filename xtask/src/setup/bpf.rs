//! What the kernel half is built with: a Rust compiler with a core library for BPF, and bpf-linker.
//!
//! There are two ways. Where rustup can add components: a nightly toolchain with `rust-src`. Where it cannot (a mirror
//! without them, an offline machine): Debian's security archive ships a compiler whose core library for BPF comes compiled.
//! `interceptor/build.rs` looks for both in the same order.

use super::packages;
use crate::{
    progress::{quietly, step},
    workspace::{cargo, which},
};
use anyhow::{Context, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// The version that was tried with this project's aya.
const LINKER: &str = "0.13.0";

/// LLVM as Debian ships it, of the version that Debian's compiler was built with.
const LLVM: &str = "/usr/lib/llvm-22";

pub(super) fn ensure() -> Result<()> {
    let nightly = nightly();
    if !nightly && !precompiled() {
        // Asked first, because it needs no root and no Debian.
        if step("adding a nightly compiler with the library's sources", add_nightly).is_err() {
            packages::install("a Rust compiler for BPF", &["rustc-web", "libstd-rust-web-dev-bpf"])?;
        }
    }
    if linker().is_none() {
        install_linker()?;
    }
    Ok(())
}

fn install_linker() -> Result<()> {
    let install = |features: &[&str]| {
        let mut install = cargo();
        install.args(["install", "bpf-linker", "--version", LINKER, "--locked"]).args(features);
        if !features.is_empty() {
            install.env("LLVM_PREFIX", LLVM);
        }
        step("building bpf-linker (about a minute)", || quietly(&mut install).map(drop))
    };
    // Its default takes LLVM from the compiler that builds it; that works with nightly only.
    if nightly() && install(&[]).is_ok() {
        return Ok(());
    }
    if !Path::new(LLVM).join("bin/llvm-config").is_file() {
        packages::install("LLVM for bpf-linker", &["llvm-22-dev", "libzstd-dev", "zlib1g-dev", "libxml2-dev"])?;
    }
    install(&["--no-default-features", "--features", "llvm-22"]).context("bpf-linker could not be built")
}

fn add_nightly() -> Result<()> {
    // A mirror that has no nightly answers at once; one that does not answer must not keep anybody waiting for long.
    let mut rustup = Command::new("timeout");
    rustup.args([
        "180",
        "rustup",
        "toolchain",
        "install",
        "nightly",
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]);
    quietly(&mut rustup).map(drop)
}

/// Whether any nightly of rustup's has the library's sources.
fn nightly() -> bool {
    let home = env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".rustup")));
    let toolchains = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()).into_iter().flatten().flatten();
    toolchains.map(|entry| entry.path()).any(|toolchain| {
        toolchain.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly"))
            && toolchain.join("lib/rustlib/src/rust/library/core").is_dir()
            && toolchain.join("bin/cargo").is_file()
    })
}

fn precompiled() -> bool {
    let output = Command::new("/usr/bin/rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let folder = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let files = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

fn linker() -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")));
    let installed = cargo_home.map(|home| home.join("bin/bpf-linker")).filter(|linker| linker.is_file());
    which("bpf-linker").or(installed)
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}
