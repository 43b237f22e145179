//! What a host is given: the Debian package, installed into a folder, used, upgraded, removed without a trace.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that stands for a host; it goes away with the test.
struct Host(PathBuf);

impl Host {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("interceptor-package-{}", std::process::id()));
        let _gone = std::fs::remove_dir_all(&root);
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "package", "tmp"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["status", "available"] {
            std::fs::write(root.join("var/lib/dpkg").join(file), "").unwrap();
        }
        Self(root)
    }

    fn run(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {said}");
        said
    }

    /// What stands in the package is put into this folder, its scripts run with the folder as the host's root.
    fn dpkg(&self, arguments: &[&str]) -> String {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", self.0.display()))
            .args(["--force-script-chrootless", "--force-depends", "--force-confold", "--log=/dev/null"])
            .args(arguments);
        self.run(&mut dpkg)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn packaged(folder: &Path) -> String {
    let packages = std::fs::read_dir(folder).unwrap().filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let package = packages.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    package.unwrap().display().to_string()
}

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string())
            }
        }
    }
    found.sort();
    found
}

#[test]
fn without_packages_the_program_installs_itself_and_leaves_nothing() {
    let root = std::env::temp_dir().join(format!("interceptor-install-{:x}", rand::random::<u64>()));
    std::fs::create_dir(&root).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(std::env::var_os("INTERCEPTOR_TEST_BIN").unwrap())
            .args(arguments)
            .arg("--root")
            .arg(&root)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (fine, said) = run(&["install", "--dry-run"]);
    assert!(fine && said.contains("would") && files(&root).is_empty(), "{said}");
    assert!(run(&["install"]).0);
    let first = files(&root);
    for file in [
        "usr/local/bin/interceptor",
        "usr/local/share/man/man1/interceptor.1",
        "usr/local/share/bash-completion/completions/interceptor",
        "etc/systemd/system/interceptor.service",
        "etc/interceptor/interceptor.toml",
        "etc/interceptor/policies/connect.cedar",
    ] {
        assert!(first.iter().any(|path| path == file), "{file}: {first:?}");
    }
    let unit = std::fs::read_to_string(root.join("etc/systemd/system/interceptor.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/interceptor run "), "{unit}");
    let shipped = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default")).unwrap().count();
    let policies = root.join("etc/interceptor/policies");
    assert_eq!(std::fs::read_dir(&policies).unwrap().count(), shipped, "the program carries the whole set");
    // What an operator has changed, or taken away, is theirs.
    std::fs::write(root.join("etc/interceptor/interceptor.toml"), "mine").unwrap();
    std::fs::remove_file(policies.join("write.cedar")).unwrap();
    std::fs::write(root.join("etc/hosts"), "").unwrap();
    assert!(run(&["install"]).0);
    assert_eq!(std::fs::read_to_string(root.join("etc/interceptor/interceptor.toml")).unwrap(), "mine");
    assert!(!policies.join("write.cedar").exists());
    assert!(run(&["uninstall"]).0);
    let left = files(&root);
    assert!(left.iter().all(|path| path.starts_with("etc/") || path == "var/lib/interceptor/installed"), "{left:?}");
    assert!(run(&["uninstall", "--purge"]).0);
    assert_eq!(files(&root), ["etc/hosts"]);
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_package_is_installed_upgraded_and_removed_without_a_trace() {
    let host = Host::new();
    let out = host.path("package");
    host.run(
        Command::new(std::env::var_os("INTERCEPTOR_TEST_XTASK").unwrap()).args(["dist", "--debug", "--out"]).arg(&out),
    );
    let package = packaged(&out);
    host.dpkg(&["--install", &package]);

    let interceptor = host.path("usr/bin/interceptor");
    assert!(host.run(Command::new(&interceptor).arg("--version")).starts_with("interceptor "));
    for file in [
        "usr/lib/systemd/system/interceptor.service",
        "usr/lib/sysusers.d/interceptor.conf",
        "usr/lib/tmpfiles.d/interceptor.conf",
        "usr/share/man/man1/interceptor.1.gz",
        "usr/share/man/man1/interceptor-audit-verify.1.gz",
        "usr/share/bash-completion/completions/interceptor",
        "usr/share/doc/interceptor/configuration.md",
    ] {
        assert!(host.path(file).is_file(), "{file}");
    }
    // It starts as it is; what a person fills in later is fine as it stands there.
    let config = host.path("etc/interceptor/interceptor.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let check = |text: &str| {
        let policies = host.path("etc/interceptor/policies").display().to_string();
        std::fs::write(&config, text.replace("/etc/interceptor/policies", &policies)).unwrap();
        let output = Command::new(&interceptor).args(["config", "check", "--config"]).arg(&config).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(check(&text), (true, format!("{} is fine\n", config.display())));
    let (fine, said) = check(&text.replace("observe", "enforce"));
    assert!(!fine && said.contains("identity.issuers is empty"), "{said}");
    let filled = text
        .lines()
        .map(|line| {
            line.strip_prefix("# ").filter(|line| line.starts_with('[') || line.contains(" = ")).unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n");
    std::fs::write(host.path("password"), "secret").unwrap();
    let password = host.path("password");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let filled = filled.replace("/etc/interceptor/password", &password.display().to_string());
    assert_eq!(check(&filled), (true, format!("{} is fine\n", config.display())));

    // What a person has written stays.
    host.dpkg(&["--install", &package]);
    assert!(std::fs::read_to_string(&config).unwrap().contains("\n[[identity.issuers]]"));
    host.dpkg(&["--remove", "interceptor"]);
    assert!(!interceptor.exists() && config.exists());
    host.dpkg(&["--purge", "interceptor"]);
    for gone in ["etc/interceptor", "usr", "lib"] {
        assert!(!host.path(gone).exists(), "{gone}");
    }
}
