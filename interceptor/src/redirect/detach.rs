//! Ends the enforcement: an explicit command, never something that happens because a daemon went away.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    RedirectError,
    pins::{entries, instance_folder},
};

/// Takes an instance's programs and maps out of the kernel, all versions of them. Returns what was removed, as paths below
/// the instance's folder; empty if there was nothing.
///
/// Connections that are already redirected stay with the daemon; captured processes dial directly from now on.
///
/// # Errors
/// If the BPF file system is not mounted or a pin cannot be removed; what was removed until then stays removed.
pub fn detach(instance: &str) -> Result<Vec<String>, RedirectError> {
    let folder = instance_folder(instance)?;
    let mut removed = Vec::new();
    for version in entries(&folder)? {
        removed.extend(remove_version(&version)?);
    }
    remove_folder(&folder)?;
    let removed = removed.iter().map(|pin| pin.strip_prefix(&folder).unwrap_or(pin).display().to_string());
    Ok(removed.collect())
}

/// Links first: a program whose maps are gone from the file system still holds them, but nobody could configure it.
pub(super) fn remove_version(version: &Path) -> Result<Vec<PathBuf>, RedirectError> {
    let mut removed = Vec::new();
    for kind in ["links", "maps"] {
        let folder = version.join(kind);
        for pin in entries(&folder)? {
            fs::remove_file(&pin).map_err(RedirectError::file("remove", &pin))?;
            removed.push(pin);
        }
        remove_folder(&folder)?;
    }
    remove_folder(version)?;
    Ok(removed)
}

fn remove_folder(folder: &Path) -> Result<(), RedirectError> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(RedirectError::file("remove", folder)),
    }
}
