//! `cargo xtask dist`: what a host is given. A tree of files, the same in a Debian package and in a tarball.

use crate::{
    progress::{name, openly, quietly, step},
    setup::{self, Need},
    workspace::{cargo, root, target, tools, which},
};
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Which of cargo-deb's versions makes the package.
const CARGO_DEB: &str = "3.8.0";

/// Where to put it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask dist\n  sudo apt install ./target/dist/interceptor_0.1.0_amd64.deb\n  sudo tar -xzf target/dist/interceptor-0.1.0-amd64.tar.gz -C /"
)]
pub(crate) struct Options {
    /// Folder for the package and the tarball
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Package an unoptimised build, for tests of the package itself
    #[arg(long, hide = true)]
    pub(crate) debug: bool,
}

/// Gives the package.
pub(crate) fn dist(options: &Options) -> Result<PathBuf> {
    setup::ensure(&[Need::Build])?;
    // Which tells cargo-deb what libraries the program asks for.
    if which("dpkg-shlibdeps").is_none() {
        setup::packages::install("dpkg-shlibdeps", &["dpkg-dev"])?;
    }
    let profile = if options.debug { "debug" } else { "release" };
    let mut build = cargo();
    build.args(["build", "--locked", "--package", "interceptor", "--bin", "interceptor"]);
    if !options.debug {
        build.arg("--release");
    }
    openly(&mut build)?;
    let built = target().join(profile);
    let out = options.out.clone().unwrap_or_else(|| target().join("dist"));
    let version = env!("CARGO_PKG_VERSION");
    let arch = said(Command::new("dpkg").arg("--print-architecture"))?;
    // Where `[package.metadata.deb]` of the daemon's manifest looks for what goes into the package.
    let tree = Tree { stage: built.join("package") };
    if tree.stage.exists() {
        fs::remove_dir_all(&tree.stage)?;
    }
    tree.fill(&built.join("interceptor"))?;

    let tarball = out.join(format!("interceptor-{version}-{arch}.tar.gz"));
    fs::create_dir_all(&out)?;
    openly(
        Command::new("tar")
            .args([
                "--create",
                if options.debug { "--use-compress-program=gzip -1" } else { "--gzip" },
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .arg("--file")
            .arg(&tarball)
            .arg("--directory")
            .arg(&tree.stage)
            .args(["etc", "usr"]),
    )?;

    let package = out.join(format!("interceptor_{version}_{arch}.deb"));
    let mut build = Command::new(cargo_deb()?);
    build.current_dir(root()).args(["--package", "interceptor", "--no-build", "--no-strip", "--no-dbgsym", "--locked"]);
    if options.debug {
        // Large, and gone in a minute.
        build.args(["--profile", "dev", "--fast"]);
    }
    openly(build.args(["--deb-version", version, "--quiet", "--output"]).arg(&package))?;
    fs::remove_dir_all(&tree.stage)?;
    for made in [&package, &tarball] {
        println!("{} ({} MB)", made.display(), fs::metadata(made)?.len() / 1_000_000);
    }
    Ok(package)
}

/// What makes the package, itself made where it is not here.
fn cargo_deb() -> Result<PathBuf> {
    let program = tools().join("bin/cargo-deb");
    if !program.is_file() {
        step("building cargo-deb (a minute or two, once)", || {
            let mut install = cargo();
            // With gzip and xz of its own libraries; unoptimised it would compress for minutes.
            install.args(["install", "--locked", "--version", CARGO_DEB, "cargo-deb", "--root"]);
            quietly(install.arg(tools())).map(drop)
        })?;
    }
    Ok(program)
}

/// The files as they will lie on the host.
struct Tree {
    stage: PathBuf,
}

impl Tree {
    fn fill(&self, binary: &Path) -> Result<()> {
        let packaging = root().join("packaging");
        self.copy(binary, "usr/bin/interceptor", 0o755)?;
        openly(Command::new("strip").arg("--strip-debug").arg(self.stage.join("usr/bin/interceptor")))?;
        self.copy(&packaging.join("interceptor.service"), "usr/lib/systemd/system/interceptor.service", 0o644)?;
        self.copy(&packaging.join("sysusers.conf"), "usr/lib/sysusers.d/interceptor.conf", 0o644)?;
        self.copy(&packaging.join("tmpfiles.conf"), "usr/lib/tmpfiles.d/interceptor.conf", 0o644)?;
        self.copy(&packaging.join("logrotate.conf"), "etc/logrotate.d/interceptor", 0o644)?;
        self.copy(&packaging.join("interceptor.toml"), "etc/interceptor/interceptor.toml", 0o600)?;
        self.copy_all(&root().join("policies/default"), "etc/interceptor/policies")?;
        self.copy_all(&root().join("policies/examples"), "usr/share/interceptor/policies/examples")?;
        self.copy(
            &root().join("policies/schema.cedarschema"),
            "usr/share/interceptor/policies/schema.cedarschema",
            0o644,
        )?;
        self.copy_all(&root().join("docs"), "usr/share/doc/interceptor")?;
        for page in ["README.md", "CHANGELOG.md", "SECURITY.md"] {
            self.copy(&root().join(page), &format!("usr/share/doc/interceptor/{page}"), 0o644)?;
        }
        for (shell, place) in [
            ("bash", "usr/share/bash-completion/completions/interceptor"),
            ("zsh", "usr/share/zsh/vendor-completions/_interceptor"),
            ("fish", "usr/share/fish/vendor_completions.d/interceptor.fish"),
        ] {
            let script = said(Command::new(binary).args(["completions", shell]))?;
            self.write(place, &script, 0o644)?;
        }
        let pages = self.stage.join("usr/share/man/man1");
        openly(Command::new(binary).arg("manual").arg(&pages))?;
        for page in files(&pages)? {
            openly(Command::new("gzip").args(["--best", "--no-name"]).arg(page))?;
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let to = self.stage.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&self.stage))?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(mode))?)
    }

    /// A folder with all that is in it.
    fn copy_all(&self, from: &Path, to: &str) -> Result<()> {
        for entry in fs::read_dir(from)? {
            let path = entry?.path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let to = format!("{to}/{name}");
            if path.is_dir() { self.copy_all(&path, &to)? } else { self.copy(&path, &to, 0o644)? }
        }
        Ok(())
    }

    fn write(&self, to: &str, text: &str, mode: u32) -> Result<()> {
        let to = self.stage.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&self.stage))?;
        fs::write(&to, text)?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(mode))?)
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|path| path.is_file()).collect())
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} cannot be started", name(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", name(command), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}
