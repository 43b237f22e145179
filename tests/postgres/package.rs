//! What a host is given: the Debian package, installed into a folder, used, upgraded, removed without a trace.

use interceptor_tests::environment;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A folder that stands for a host; it goes away with the test.
struct Host(PathBuf);

impl Host {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("interceptor-package-{}", std::process::id()));
        let _gone = std::fs::remove_dir_all(&root);
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "tmp"] {
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

/// The package, built once for all tests, unless it was built for them.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        if let Some(built) = std::env::var_os("INTERCEPTOR_TEST_PACKAGE") {
            return PathBuf::from(built);
        }
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
        let _gone = std::fs::remove_dir_all(&out);
        let built = Command::new(environment("XTASK")).args(["dist", "--debug", "--out"]).arg(&out).status().unwrap();
        assert!(built.success());
        let packages = std::fs::read_dir(&out).unwrap().filter_map(|entry| entry.ok().map(|entry| entry.path()));
        packages.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "deb")).unwrap()
    })
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
        let output = Command::new(environment("BIN")).args(arguments).arg("--root").arg(&root).output().unwrap();
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
    let package = package().display().to_string();
    host.dpkg(&["--install", &package]);

    let interceptor = host.path("usr/bin/interceptor");
    assert!(host.run(Command::new(&interceptor).arg("--version")).starts_with("interceptor "));
    for file in [
        "usr/lib/systemd/system/interceptor.service",
        "usr/lib/sysusers.d/interceptor.conf",
        "usr/lib/tmpfiles.d/interceptor.conf",
        "etc/logrotate.d/interceptor",
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
    for gone in ["etc/interceptor", "etc/logrotate.d/interceptor", "usr", "lib"] {
        assert!(!host.path(gone).exists(), "{gone}");
    }
}

/// Installed with the scripts that come with it, on a copy of this machine's own file system that nobody else sees; the unit is
/// started as it says, by a stand-in for systemd. (`packaged.py` takes `systemd` as well, on a host that may be spoilt.)
#[test]
fn a_host_lives_with_the_package_from_its_installation_to_its_removal() {
    let folder = std::env::temp_dir().join(format!("interceptor-life-{:x}", rand::random::<u64>()));
    std::fs::create_dir(&folder).unwrap();
    let newer = newer(&folder);
    let script = r#"
        copy="$1"; shift
        mount --make-rprivate /
        mount -t tmpfs copy "$copy"; mkdir "$copy/upper" "$copy/work" "$copy/root"
        mount -t overlay -o lowerdir=/,upperdir="$copy/upper",workdir="$copy/work" overlay "$copy/root"
        for part in proc sys dev; do mount --rbind /$part "$copy/root/$part"; done
        for part in run tmp; do mount -t tmpfs -o mode=1777 $part "$copy/root/$part"; done
        mkdir "$copy/root/run/packages"; cp "$1" "$2" "$4" "$copy/root/run/packages"
        mount --bind "$copy/upper" "$copy/root/mnt"
        older=/run/packages/$(basename "$1"); newer=/run/packages/$(basename "$2"); shift 2
        exec chroot "$copy/root" "$0" /run/packages/packaged.py "$older" "$newer" "$1" stand-in /mnt"#;
    let copy = folder.join("copy");
    std::fs::create_dir(&copy).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-e", "-c", script])
        // The interpreter itself: what is set up for the tests may stand in a folder that the copy does not have.
        .arg(std::fs::canonicalize(environment("PYTHON")).unwrap())
        .args([&copy, package(), &newer])
        .arg(environment("PG_BIN"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/packaged.py"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    check_life(&output, LIFE);
}

/// The same under systemd itself, which captures the whole host.
#[test]
#[ignore = "spoils the host, whose first process has to be systemd: cargo xtask test systemd"]
fn systemd_keeps_a_host_with_the_package_from_its_installation_to_its_removal() {
    assert!(Path::new("/run/systemd/system").is_dir(), "systemd is not the first process");
    let folder = std::env::temp_dir().join(format!("interceptor-life-{:x}", rand::random::<u64>()));
    std::fs::create_dir(&folder).unwrap();
    let newer = newer(&folder);
    let output = Command::new(environment("PYTHON"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/packaged.py"))
        .args([package(), &newer])
        .arg(environment("PG_BIN"))
        .args(["systemd", "-"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    // What was written where is seen in a copy only.
    check_life(&output, LIFE.split_last().unwrap().1);
}

fn check_life(output: &Output, expected: &[&str]) {
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let facts: Vec<_> = said.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(facts, expected, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// What has to be so.
const LIFE: &[&str] = &[
    "says what comes next: True",
    "the group is there: True",
    "the configuration is fine: True",
    "health: ok",
    "psql: ['app', 'SELECT', '1', '1']",
    "would have been refused: True",
    "cannot get new privileges: True",
    "has few capabilities: True",
    "the system is read-only for it: True",
    "OOM score: -900",
    "another daemon: True",
    "upgraded: True",
    "worked: True",
    "not in order: []",
    "refused: 0",
    "around: 0",
    "all accounted for: True",
    "the trail: the trail stands",
    "the daemon is gone: True",
    "pins: False",
    "psql goes direct: 2",
    "left behind: []",
    "taken along: []",
    "changed: []",
    "written anywhere: []",
];

/// The same again as a higher version.
fn newer(folder: &Path) -> PathBuf {
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let (unpacked, newer) = (folder.join("unpacked"), folder.join("newer.deb"));
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package()).arg(&unpacked));
    let control = unpacked.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let version = text.lines().find(|line| line.starts_with("Version: ")).unwrap();
    std::fs::write(&control, text.replace(version, &format!("{version}+upgraded"))).unwrap();
    // Quick to make; what is in it is the same.
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zgzip", "-z1", "--build"]).args([&unpacked, &newer]));
    newer
}
