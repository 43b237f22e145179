//! A private key of the daemon's own, and signing with it.

use super::settings::Algorithm;
use jsonwebtoken::{
    DecodingKey, EncodingKey, Header, encode,
    jwk::{Jwk, ThumbprintHash},
};
use serde_json::Value;
use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// A key and what it is called.
pub(super) struct SigningKey {
    key: EncodingKey,
    pub(super) algorithm: Algorithm,
    pub(super) kid: String,
    public: Jwk,
}

impl SigningKey {
    /// Reads a key in PEM (PKCS #8: P-256, Ed25519 or RSA) from a file that nobody else can read. Without `kid` it is called
    /// by its thumbprint (RFC 7638).
    pub(super) fn read(path: &Path, kid: Option<&str>) -> Result<Self, String> {
        let wrong = |why: &dyn fmt::Display| format!("key file `{}`: {why}", path.display());
        let mode = fs::metadata(path).map_err(|error| wrong(&error))?.mode();
        if mode & 0o077 != 0 {
            return Err(wrong(&"it can be read by others; make it 0600 and the daemon's own"));
        }
        Self::of(&fs::read(path).map_err(|error| wrong(&error))?, kid).map_err(|why| wrong(&why))
    }

    /// The same; where there is no file it is made, with a new P-256 key.
    pub(super) fn read_or_make(path: &Path) -> Result<Self, String> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let wrong = |why: &dyn fmt::Display| format!("key file `{}` cannot be made: {why}", path.display());
                let pem = rcgen::KeyPair::generate().map_err(|error| wrong(&error))?.serialize_pem();
                let mut file = fs::OpenOptions::new();
                let file = file.write(true).create_new(true).mode(0o600).open(path);
                file.and_then(|mut file| {
                    io::Write::write_all(&mut file, pem.as_bytes())?;
                    file.sync_all()
                })
                .map_err(|error| wrong(&error))?;
            }
            Ok(_) | Err(_) => {}
        }
        Self::read(path, None)
    }

    fn of(pem: &[u8], kid: Option<&str>) -> Result<Self, String> {
        type Read = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;
        let tries: [(Algorithm, Read); 3] = [
            (Algorithm::Es256, EncodingKey::from_ec_pem),
            (Algorithm::EdDsa, EncodingKey::from_ed_pem),
            (Algorithm::Rs256, EncodingKey::from_rsa_pem),
        ];
        let found = tries.into_iter().find_map(|(algorithm, read)| Some((algorithm, read(pem).ok()?)));
        let (algorithm, key) = found.ok_or("it is not a P-256, Ed25519 or RSA key in PEM")?;
        let public = Jwk::from_encoding_key(&key, algorithm.jws()).map_err(|error| error.to_string())?;
        let thumbprint = public.thumbprint(ThumbprintHash::SHA256).map_err(|error| error.to_string())?;
        Ok(Self { key, algorithm, kid: kid.map_or(thumbprint, str::to_owned), public })
    }

    /// What verifies its signatures.
    pub(super) fn public(&self) -> Result<DecodingKey, String> {
        DecodingKey::from_jwk(&self.public).map_err(|error| error.to_string())
    }

    /// A JWT of these claims.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, String> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm.jws()) };
        encode(&header, claims, &self.key).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::SigningKey;
    use crate::identity::settings::Algorithm;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_nobody_elses() {
        let path = std::env::temp_dir().join(format!("interceptor-signing-{}", std::process::id()));
        let made = SigningKey::read_or_make(&path).unwrap();
        assert_eq!(made.algorithm, Algorithm::Es256);
        assert_eq!(SigningKey::read_or_make(&path).unwrap().kid, made.kid);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SigningKey::read(&path, None).unwrap_err().contains("can be read by others"));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(SigningKey::read(&path, None).unwrap_err().contains("not a P-256, Ed25519 or RSA key"));
        fs::remove_file(&path).unwrap();
    }
}
