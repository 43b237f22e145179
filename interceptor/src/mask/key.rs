//! The key that hashes and shifts depend on: without it nobody can try values out.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of the key.
const BYTES: usize = 32;

/// The daemon's own; made on first start.
#[derive(Clone)]
pub struct Key([u8; BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("the masking key `{path}` {what}")]
pub struct KeyError {
    path: PathBuf,
    what: &'static str,
    source: Option<std::io::Error>,
}

impl Key {
    /// Reads the key, or makes one where there is none.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let wrong = |what, source| KeyError { path: path.to_owned(), what, source };
        match std::fs::read(path) {
            Ok(bytes) => {
                let key = bytes.try_into().map_err(|_| wrong("does not have 32 bytes", None))?;
                Ok(Self(key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key: [u8; BYTES] = rand::random();
                let mut file = std::fs::OpenOptions::new();
                let file = file.write(true).create_new(true).mode(0o600).open(path);
                let mut file = file.map_err(|error| wrong("cannot be made", Some(error)))?;
                file.write_all(&key)
                    .and_then(|()| file.sync_all())
                    .map_err(|error| wrong("cannot be written", Some(error)))?;
                Ok(Self(key))
            }
            Err(error) => Err(wrong("cannot be read", Some(error))),
        }
    }

    /// One that lasts as long as the process.
    pub fn ephemeral() -> Self {
        Self(rand::random())
    }

    /// HMAC-SHA-256 (RFC 2104) over what `purpose` the bytes are for and the bytes.
    pub(super) fn digest(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        // A key of any length is taken (RFC 2104, 3).
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; 32] };
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}
