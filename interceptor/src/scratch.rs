//! Folders of tests, gone when the test is, whatever became of it.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long others may still write into a folder: full segments of a trail are compressed behind its back.
const PATIENCE: Duration = Duration::from_secs(20);

/// A new, empty folder.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Of a test about this.
    pub(crate) fn about(what: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-{what}-{:x}", rand::random::<u64>()));
        fs::create_dir(&folder).expect("the folder for temporary files is writable");
        Self(folder)
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let began = Instant::now();
        while self.0.exists() && fs::remove_dir_all(&self.0).is_err() && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
