//! Installs what the kernel half is built with (`interceptor/toolchain.rs` says what that is and why).

#[path = "../../../interceptor/toolchain.rs"]
mod toolchain;

use super::packages;
use crate::{
    progress::{quietly, step},
    workspace::cargo,
};
use anyhow::{Context, Result};
use std::{path::Path, process::Command};
use toolchain::{LLVM, Toolchain, linker};

/// The version that was tried with this project's aya.
const LINKER: &str = "0.13.0";

/// A nightly whose LLVM is [`LLVM`]. A later one may have the next, whose bitcode the linker could not read.
const NIGHTLY: &str = "nightly-2026-05-20";

pub(super) fn ensure() -> Result<()> {
    if Toolchain::find().is_none() {
        let packaged = packages::install("a Rust compiler for BPF", &["rustc-web", "libstd-rust-web-dev-bpf"]);
        if packaged.is_err() || Toolchain::find().is_none() {
            // Needs no root and no Debian. What both have said is told if neither helps.
            step("adding a nightly compiler with the library's sources", add_nightly)
                .with_context(|| format!("no Rust compiler for BPF could be installed{}", or_why(packaged)))?;
        }
    }
    if linker().is_none() {
        install_linker()?;
    }
    Ok(())
}

fn or_why(packaged: Result<()>) -> String {
    packaged.err().map(|why| format!(" ({why:#})")).unwrap_or_default()
}

fn install_linker() -> Result<()> {
    let llvm = format!("/usr/lib/llvm-{LLVM}");
    let install = |features: &[&str]| {
        let mut install = cargo();
        install.args(["install", "bpf-linker", "--version", LINKER, "--locked"]).args(features);
        install.env("LLVM_PREFIX", &llvm);
        step("building bpf-linker (about a minute)", || quietly(&mut install).map(drop))
    };
    if !Path::new(&llvm).join("bin/llvm-config").is_file() {
        let package = format!("llvm-{LLVM}-dev");
        let packages = [package.as_str(), "libzstd-dev", "zlib1g-dev", "libxml2-dev"];
        if let Err(why) = packages::install("LLVM for bpf-linker", &packages) {
            // Without features it takes LLVM from the compiler that builds it.
            return install(&[]).with_context(|| format!("bpf-linker could not be built ({why:#})"));
        }
    }
    install(&["--no-default-features", "--features", &format!("llvm-{LLVM}")]).context("bpf-linker could not be built")
}

fn add_nightly() -> Result<()> {
    // A mirror that has no nightly answers at once; one that does not answer must not keep anybody waiting for long.
    let mut rustup = Command::new("timeout");
    rustup.args(["180", "rustup", "toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
    quietly(&mut rustup).map(drop)
}
