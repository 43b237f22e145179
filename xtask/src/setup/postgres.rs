//! PostgreSQL's programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The oldest version that is supported.
const OLDEST: u32 = 15;

/// Names a folder with another version's programs.
const BINARIES: &str = "INTERCEPTOR_POSTGRES_BIN";

/// The folder with `initdb`, `postgres`, `psql` and `pgbench` of the newest version that is installed, or the one that the
/// environment names. Debian keeps them out of `PATH`.
pub(crate) fn binaries() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(BINARIES) {
        return Some(folder.into());
    }
    newest(Path::new("/usr/lib/postgresql"))
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.flatten();
    let complete = |bin: &Path| ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).is_file());
    versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(version, bin)| *version >= OLDEST && complete(bin))
        .max()
        .map(|(_, bin)| bin)
}

/// The major version of a server whose programs are the distribution's.
pub(super) fn packaged(bin: &Path) -> Option<String> {
    let below = bin.strip_prefix("/usr/lib/postgresql").ok()?;
    Some(below.components().next()?.as_os_str().to_string_lossy().into_owned())
}
