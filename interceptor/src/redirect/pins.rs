//! The folder in the BPF file system that keeps our links and maps alive.
//!
//! ```text
//! <bpffs>/interceptor/<instance>/v<ABI>/links/<program>
//!                                      /maps/<MAP>
//! ```

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use interceptor_ebpf::ABI_VERSION;

use super::{RedirectError, mounts::bpf_mount, settings::check_instance};

/// The pins of one instance and one version of the ABI.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
}

impl Pins {
    pub(super) fn of(instance: &str) -> Result<Self, RedirectError> {
        let folder = instance_folder(instance)?.join(format!("v{ABI_VERSION}"));
        Ok(Self { folder })
    }

    /// Makes the folders. Root's alone: whoever can write here can end the enforcement.
    pub(super) fn create(&self) -> Result<(), RedirectError> {
        for folder in [self.folder.join("links"), self.folder.join("maps")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(RedirectError::file("create", folder))?;
        }
        Ok(())
    }

    pub(super) fn link(&self, program: &str) -> PathBuf {
        self.folder.join("links").join(program)
    }

    pub(super) fn map(&self, map: &str) -> PathBuf {
        self.folder.join("maps").join(map)
    }

    /// The folders of other versions of this instance. They are let go of only after the new version is in place: two
    /// versions at once refuse too much, none would refuse too little.
    pub(super) fn other_versions(&self) -> Result<Vec<PathBuf>, RedirectError> {
        let Some(instance) = self.folder.parent() else {
            return Ok(Vec::new());
        };
        Ok(entries(instance)?.into_iter().filter(|version| *version != self.folder).collect())
    }
}

/// `<bpffs>/interceptor/<instance>`.
pub(super) fn instance_folder(instance: &str) -> Result<PathBuf, RedirectError> {
    check_instance(instance)?;
    Ok(bpf_mount()?.join("interceptor").join(instance))
}

/// What is in a folder, sorted by name; nothing if it does not exist.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, RedirectError> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(RedirectError::file("read", folder))?,
    };
    let mut found = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(RedirectError::file("read", folder))?;
    found.sort();
    Ok(found)
}
