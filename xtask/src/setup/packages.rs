//! Distribution packages (Debian, Ubuntu).

use super::{Missing, Need, postgres};
use crate::{
    progress::{quietly, step},
    workspace::which,
};
use anyhow::{Context, Result};
use nix::unistd::geteuid;
use std::{env, fs, path::Path, process::Command};

/// Debian's tools make and start a server when the package is installed; nobody asked for that one.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/interceptor.conf";

/// One thing, how to see whether it is here, and where it comes from.
struct Part {
    what: &'static str,
    packages: &'static [&'static str],
    need: Need,
    here: fn() -> bool,
}

const PARTS: [Part; 11] = [
    Part { what: "a C compiler", packages: &["build-essential"], need: Need::Build, here: || which("cc").is_some() },
    Part { what: "libclang", packages: &["libclang-dev"], need: Need::Build, here: libclang },
    Part {
        what: "PostgreSQL 15 or later",
        packages: &["postgresql", "postgresql-client"],
        need: Need::Postgres,
        here: || postgres::binaries().is_some(),
    },
    Part { what: "psql", packages: &["postgresql-client"], need: Need::Postgres, here: || which("psql").is_some() },
    Part { what: "Python's venv", packages: &["python3", "python3-venv"], need: Need::Drivers, here: venv },
    Part {
        what: "node and npm",
        packages: &["nodejs", "npm"],
        need: Need::Drivers,
        here: || which("node").is_some() && which("npm").is_some(),
    },
    // With which the kernel tests make network namespaces, and try to get around in them.
    Part { what: "iproute2", packages: &["iproute2"], need: Need::Drivers, here: || which("ip").is_some() },
    Part { what: "nftables", packages: &["nftables"], need: Need::Drivers, here: || which("nft").is_some() },
    Part {
        what: "a Java compiler",
        packages: &["default-jdk-headless"],
        need: Need::Drivers,
        here: || which("java").is_some() && which("javac").is_some(),
    },
    Part {
        what: "pgjdbc",
        packages: &["libpostgresql-jdbc-java"],
        need: Need::Drivers,
        here: || Path::new(super::drivers::JDBC).is_file(),
    },
    Part {
        what: "a browser",
        packages: &["chromium", "fonts-dejavu-core"],
        need: Need::Drivers,
        here: || which("chromium").is_some(),
    },
];

/// Installs what is missing of what is needed.
pub(super) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<_> = PARTS.iter().filter(|part| needs.contains(&part.need) && !(part.here)()).collect();
    if missing.is_empty() {
        return pgaudit(needs);
    }
    let what = missing.iter().map(|part| part.what).collect::<Vec<_>>().join(", ");
    let packages: Vec<_> = missing.iter().flat_map(|part| part.packages.iter().copied()).collect();
    install(&what, &packages)?;
    match missing.iter().find(|part| !(part.here)()) {
        None => pgaudit(needs),
        Some(part) => Err(Missing(format!(
            "{} is not here although its packages are installed: {}",
            part.what,
            part.packages.join(" ")
        ))
        .into()),
    }
}

/// pgAudit, which a test has say who agents are: for the very server that is here, where that is the distribution's.
fn pgaudit(needs: &[Need]) -> Result<()> {
    let Some(major) =
        postgres::binaries().and_then(|bin| postgres::packaged(&bin)).filter(|_| needs.contains(&Need::Drivers))
    else {
        return Ok(());
    };
    if Path::new("/usr/lib/postgresql").join(&major).join("lib/pgaudit.so").exists() {
        return Ok(());
    }
    install("pgAudit", &[&format!("postgresql-{major}-pgaudit")])
}

/// Installs packages.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let reason = if which("apt-get").is_none() {
        Some("this is not Debian or Ubuntu")
    } else if !geteuid().is_root() {
        Some("installing it takes root")
    } else {
        None
    };
    if let Some(reason) = reason {
        return Err(Missing(format!("{what} is missing and {reason}: install what Debian calls {list}")).into());
    }
    let _no_cluster = NoCluster::new(packages)?;
    step("refreshing the list of packages", || quietly(apt().arg("update")).map(drop))?;
    step(&format!("installing {list}"), || {
        quietly(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages)).map(drop)
    })
    .with_context(|| format!("{what} could not be installed"))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Servers that come with packages are not started: what is needed of them is started by whoever needs it.
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    apt
}

struct NoCluster(bool);

impl NoCluster {
    fn new(packages: &[&str]) -> Result<Self> {
        let ours = packages.contains(&"postgresql") && !Path::new(NO_CLUSTER).exists();
        if ours {
            let folder = Path::new(NO_CLUSTER).parent().context("no folder")?;
            fs::create_dir_all(folder).and_then(|()| fs::write(NO_CLUSTER, "create_main_cluster = false\n"))?;
        }
        Ok(Self(ours))
    }
}

impl Drop for NoCluster {
    fn drop(&mut self) {
        if self.0 {
            drop(fs::remove_file(NO_CLUSTER));
        }
    }
}

/// Where bindgen looks: a variable, LLVM's own folders, the usual ones.
fn libclang() -> bool {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let llvm = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = llvm.filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
    llvm.map(|entry| entry.path().join("lib")).chain([Path::new("/usr/lib").to_owned(), "/usr/lib64".into()]).any(
        |folder| {
            fs::read_dir(folder).into_iter().flatten().flatten().any(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                // `libclang-cpp.so` comes with LLVM's tools and is another library.
                name == "libclang.so"
                    || name.starts_with("libclang.so.")
                    || (name.starts_with("libclang-") && !name.starts_with("libclang-cpp") && name.contains(".so"))
            })
        },
    )
}

fn venv() -> bool {
    // Debian's Python has `venv` without `ensurepip`, which then fails half-way.
    Command::new("python3").args(["-c", "import venv, ensurepip"]).output().is_ok_and(|output| output.status.success())
}
