//! PostgreSQL's own regression tests, from the source package of the distribution's server.

use super::postgres;
use crate::{
    progress::{quietly, step},
    workspace::tools,
};
use anyhow::{Context, Result, bail};
use std::{fs, path::PathBuf, process::Command};

/// `src/test/regress` of the sources.
pub(crate) fn folder() -> PathBuf {
    tools().join("regression/src/test/regress")
}

/// Where the distribution's packages come from, sources come from as well: the same lists, asked for `deb-src`, in a place
/// that leaves the system's own alone. `$1` is the folder to unpack in, `$2` the package.
const FETCH: &str = r#"
rm -rf "$1"; mkdir -p "$1/parts" "$1/lists/partial"; cd "$1"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    grep -qsE 'debian|ubuntu' "$file" || continue
    case $file in
        *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" > "parts/$(basename "$file")" ;;
        *.list) sed -n 's/^deb /deb-src /p' "$file" > "parts/$(basename "$file")" ;;
    esac
done
lists="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$1/parts -o Dir::State::lists=$1/lists"
apt-get -q $lists update
# A mirror may list a version that it does not have.
for version in $(apt-cache $lists madison "$2" | awk '/Sources/ { print $3 }'); do
    apt-get -q $lists source --download-only "$2=$version" && break
done
tar -xf "$2"_*.orig.tar.* --strip-components=1 --wildcards '*/src/test/regress/*'
rm -rf "$2"_* lists parts
chmod -R a+rX .
"#;

pub(super) fn ensure() -> Result<()> {
    let bin = postgres::binaries().context("PostgreSQL's programs are not there any more")?;
    let said = quietly(Command::new(bin.join("postgres")).arg("--version"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let major = said.split(' ').nth(2).and_then(|version| version.split('.').next()).unwrap_or_default();
    let (place, package) = (tools().join("regression"), format!("postgresql-{major}"));
    let stamp = tools().join("regression.stamp");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == package) {
        return Ok(());
    }
    step(&format!("fetching the regression tests of {package}"), || {
        quietly(Command::new("sh").args(["-e", "-c", FETCH, "sh"]).arg(&place).arg(&package)).map(drop)
    })
    .context("the sources of PostgreSQL could not be fetched")?;
    if !folder().join("parallel_schedule").is_file() {
        bail!("the sources of {package} have no regression tests in `{}`", folder().display());
    }
    fs::write(&stamp, package).with_context(|| format!("cannot write `{}`", stamp.display()))
}
