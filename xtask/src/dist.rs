//! `cargo xtask dist`: what a host is given. A tree of files, the same in a Debian package and in a tarball.

use crate::{
    progress::{name, openly},
    setup::{self, Need},
    workspace::{cargo, root, target},
};
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Where to put it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask dist\n  sudo apt install ./target/dist/interceptor_0.1.0_amd64.deb\n  sudo tar -xzf target/dist/interceptor-0.1.0-amd64.tar.gz -C /"
)]
pub(crate) struct Options {
    /// Folder for the package and the tarball
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Package an unoptimised build, for tests of the package itself
    #[arg(long, hide = true)]
    debug: bool,
}

pub(crate) fn dist(options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Need::Build])?;
    let profile = if options.debug { "debug" } else { "release" };
    let mut build = cargo();
    build.args(["build", "--locked", "--package", "interceptor", "--bin", "interceptor"]);
    if !options.debug {
        build.arg("--release");
    }
    openly(&mut build)?;
    let binary = target().join(profile).join("interceptor");
    let out = options.out.clone().unwrap_or_else(|| target().join("dist"));
    let stage = out.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let arch = said(Command::new("dpkg").arg("--print-architecture"))?;
    let tree = Tree { stage: stage.clone() };
    tree.fill(&binary)?;

    let tarball = out.join(format!("interceptor-{version}-{arch}.tar.gz"));
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
            .arg(&stage)
            .args(["etc", "usr"]),
    )?;

    tree.control(version, &arch, &binary)?;
    let package = out.join(format!("interceptor_{version}_{arch}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.arg("--root-owner-group");
    if options.debug {
        // Large, and gone in a minute.
        build.args(["-Zgzip", "-z1"]);
    }
    openly(build.arg("--build").arg(&stage).arg(&package))?;
    fs::remove_dir_all(&stage)?;
    for made in [&package, &tarball] {
        println!("{} ({} MB)", made.display(), fs::metadata(made)?.len() / 1_000_000);
    }
    Ok(ExitCode::SUCCESS)
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

    /// What only the package has.
    fn control(&self, version: &str, arch: &str, binary: &Path) -> Result<()> {
        let kilobytes = said(Command::new("du").args(["--summarize", "--block-size=1K"]).arg(&self.stage))?;
        let kilobytes = kilobytes.split_whitespace().next().unwrap_or("0").to_owned();
        let control = format!(
            "Package: interceptor\nVersion: {version}\nArchitecture: {arch}\nMaintainer: the interceptor authors <interceptor@localhost>\n\
             Installed-Size: {kilobytes}\nDepends: libc6 (>= {}), libgcc-s1\nSection: net\nPriority: optional\n\
             Description: least privilege for the PostgreSQL connections of agents and CI jobs\n \
             An eBPF program redirects every connection that agents open to port 5432 into a\n \
             daemon, which identifies the agent, judges each statement by what it really does,\n \
             masks, limits, holds for approval and records it, and logs in to the database with\n \
             a credential that no agent holds.\n",
            newest_glibc(&fs::read(binary)?)
        );
        self.write("DEBIAN/control", &control, 0o644)?;
        let mut kept: Vec<String> = files(&self.stage.join("etc/interceptor/policies"))?
            .iter()
            .filter_map(|file| Some(format!("/etc/interceptor/policies/{}", file.file_name()?.to_str()?)))
            .collect();
        kept.extend(["/etc/interceptor/interceptor.toml", "/etc/logrotate.d/interceptor"].map(str::to_owned));
        kept.sort();
        self.write("DEBIAN/conffiles", &(kept.join("\n") + "\n"), 0o644)?;
        for script in ["postinst", "prerm", "postrm"] {
            self.copy(&root().join("packaging").join(script), &format!("DEBIAN/{script}"), 0o755)?;
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

/// The newest version of the C library that a binary asks for: its symbols' versions stand in it as text.
fn newest_glibc(binary: &[u8]) -> String {
    const MARK: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits: Vec<u8> = binary.get(at..)?.iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse::<u32>().ok()
    };
    let marks = binary.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let newest = marks.filter_map(|(at, _)| minor(at + MARK.len())).max();
    format!("2.{}", newest.unwrap_or(31))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} cannot be started", name(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", name(command), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::newest_glibc;

    #[test]
    fn the_newest_version_is_found() {
        assert_eq!(newest_glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.17\0"), "2.34");
    }
}
