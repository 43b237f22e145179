//! `install` and `uninstall`: what a package does, for hosts without packages. The program carries all that it writes, and notes
//! what it has written, so that taking it away again leaves nothing and touches nothing else.

use anyhow::{Context, Result, bail};
use clap::Args;
use clap_complete::Shell;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Debug, Args)]
pub(super) struct Install {
    /// Where programs, manual pages and completions go
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Another root than this system's: files are written below it, and nothing is started or reloaded
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// The root that it was installed below
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Configuration, policies and the record too
    #[arg(long)]
    purge: bool,
}

/// What has been written, one path a line.
const NOTES: &str = "var/lib/interceptor/installed";

const UNIT: &str = include_str!("../../../packaging/interceptor.service");
const CONFIG: &str = include_str!("../../../packaging/interceptor.toml");
const SYSUSERS: &str = include_str!("../../../packaging/sysusers.conf");
const TMPFILES: &str = include_str!("../../../packaging/tmpfiles.conf");
const LOGROTATE: &str = include_str!("../../../packaging/logrotate.conf");

macro_rules! policies {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../policies/default/", $name)))),*]
    };
}

/// The default set.
const POLICIES: [(&str, &str); 7] = policies![
    "administration.cedar",
    "connect.cedar",
    "read.cedar",
    "schema-changes.cedar",
    "secrets.cedar",
    "temporary.cedar",
    "write.cedar"
];

/// A file that is to be there.
struct Wanted {
    path: PathBuf,
    bytes: Vec<u8>,
    mode: u32,
    /// Whether it is an operator's to change: it stays if it is there, and goes only when asked to leave no trace.
    kept: bool,
}

impl Install {
    fn wanted(&self, mut cli: clap::Command) -> Result<Vec<Wanted>> {
        let prefix = self.prefix.strip_prefix("/").unwrap_or(&self.prefix).to_owned();
        let program = std::env::current_exe().context("this program cannot be found")?;
        let own = fs::read(&program).with_context(|| format!("`{}` cannot be read", program.display()))?;
        let absolute = Path::new("/").join(&prefix).join("bin/interceptor");
        let unit = UNIT.replace("/usr/bin/interceptor", &absolute.display().to_string());
        let file = |path: PathBuf, bytes: Vec<u8>, mode| Wanted { path, bytes, mode, kept: false };
        let mut wanted = vec![
            file(prefix.join("bin/interceptor"), own, 0o755),
            file("etc/systemd/system/interceptor.service".into(), unit.into_bytes(), 0o644),
            file("etc/sysusers.d/interceptor.conf".into(), SYSUSERS.into(), 0o644),
            file("etc/tmpfiles.d/interceptor.conf".into(), TMPFILES.into(), 0o644),
            file("etc/logrotate.d/interceptor".into(), LOGROTATE.into(), 0o644),
        ];
        for (shell, place) in [
            (Shell::Bash, "share/bash-completion/completions/interceptor"),
            (Shell::Zsh, "share/zsh/site-functions/_interceptor"),
            (Shell::Fish, "share/fish/vendor_completions.d/interceptor.fish"),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli, "interceptor", &mut script);
            wanted.push(file(prefix.join(place), script, 0o644));
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(cli).render(&mut page)?;
        wanted.push(file(prefix.join("share/man/man1/interceptor.1"), page, 0o644));
        let kept = |path: PathBuf, text: &str, mode| Wanted { path, bytes: text.into(), mode, kept: true };
        wanted.push(kept("etc/interceptor/interceptor.toml".into(), CONFIG, 0o600));
        // All or none: a policy that somebody took away does not come back.
        if !self.root.join("etc/interceptor/policies").exists() {
            let folder = Path::new("etc/interceptor/policies");
            wanted.extend(POLICIES.map(|(name, text)| kept(folder.join(name), text, 0o644)));
        }
        Ok(wanted)
    }
}

pub(super) fn install(install: &Install, cli: clap::Command) -> Result<ExitCode> {
    let root = &install.root;
    if root.join("usr/bin/interceptor").exists() && root.join("var/lib/dpkg/info/interceptor.list").exists() {
        bail!(
            "interceptor is installed as a package here: `apt remove interceptor` first, or let the package be upgraded"
        );
    }
    let mut written: Vec<String> =
        fs::read_to_string(root.join(NOTES)).unwrap_or_default().lines().map(str::to_owned).collect();
    for wanted in install.wanted(cli)? {
        let path = root.join(&wanted.path);
        if wanted.kept && path.exists() {
            println!("stays   {}", path.display());
            continue;
        }
        println!("{} {}", if install.dry_run { "would  " } else { "writes " }, path.display());
        if !install.dry_run {
            write(&path, &wanted)?;
            let note = format!("{} {}", if wanted.kept { "kept" } else { "own" }, wanted.path.display());
            if !written.contains(&note) {
                written.push(note);
            }
        }
    }
    if install.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let notes = root.join(NOTES);
    if let Some(folder) = notes.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    fs::write(&notes, written.join("\n") + "\n").with_context(|| format!("`{}` cannot be written", notes.display()))?;
    if root == Path::new("/") {
        tell("systemd-sysusers", &["/etc/sysusers.d/interceptor.conf"]);
        tell("systemd-tmpfiles", &["--create", "/etc/tmpfiles.d/interceptor.conf"]);
        if has_systemd() {
            tell("systemctl", &["daemon-reload"]);
        }
    }
    println!(
        "\nNow: interceptor doctor --config /etc/interceptor/interceptor.toml, then systemctl enable --now interceptor"
    );
    Ok(ExitCode::SUCCESS)
}

/// In one step: a daemon that runs keeps its program, and nobody sees half a file.
fn write(path: &Path, wanted: &Wanted) -> Result<()> {
    let failed = || format!("`{}` cannot be written; be root, or name another --root", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let beside = path.with_extension("new");
    fs::write(&beside, &wanted.bytes).with_context(failed)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(wanted.mode)).with_context(failed)?;
    fs::rename(&beside, path).with_context(failed)
}

pub(super) fn uninstall(uninstall: &Uninstall) -> Result<ExitCode> {
    let Uninstall { root, purge } = uninstall;
    let notes = root.join(NOTES);
    let written = fs::read_to_string(&notes).with_context(|| {
        format!("`{}` cannot be read: nothing was installed by `interceptor install`", notes.display())
    })?;
    if root == Path::new("/") {
        if has_systemd() {
            tell("systemctl", &["disable", "--now", "interceptor.service"]);
        }
        // From here on nothing is captured; without this, connections would be refused for good.
        let config = root.join("etc/interceptor/interceptor.toml");
        let instance = super::run::instance_of(config.exists().then_some(&*config), "default".to_owned())?;
        for name in crate::redirect::detach(&instance)? {
            println!("removed {name}");
        }
    }
    let mut left = Vec::new();
    for line in written.lines() {
        let Some((kind, path)) = line.split_once(' ') else { continue };
        let path = root.join(path);
        if kind == "kept" && !purge {
            left.push(line);
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => println!("removed {}", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be removed", path.display())),
        }
        prune(root, path.parent());
    }
    if *purge {
        for folder in ["var/lib/interceptor", "etc/interceptor"] {
            drop(fs::remove_dir_all(root.join(folder)));
            prune(root, root.join(folder).parent());
        }
    } else {
        fs::write(&notes, left.join("\n") + "\n")?;
        println!("configuration, policies and the record stay; --purge takes them too");
    }
    if root == Path::new("/") && has_systemd() {
        tell("systemctl", &["daemon-reload"]);
    }
    Ok(ExitCode::SUCCESS)
}

/// Folders that nothing is in any more, up to the root; of this system only those that are ours by name.
fn prune(root: &Path, folder: Option<&Path>) {
    let ours = |folder: &Path| folder.file_name().is_some_and(|name| name == "interceptor");
    let mut next = folder;
    while let Some(folder) = next.filter(|folder| *folder != root && (root != Path::new("/") || ours(folder))) {
        if fs::remove_dir(folder).is_err() {
            return;
        }
        next = folder.parent();
    }
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Runs a program of the system's; one that is not there is no reason to stop.
fn tell(program: &str, arguments: &[&str]) {
    match Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("interceptor: {program} {}: {status}", arguments.join(" ")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => eprintln!("interceptor: {program}: {error}"),
    }
}
