//! The host's CA: what agents trust when they verify the certificate that the daemon shows in a database's place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long the CA itself is good for.
const YEARS: i64 = 10;
/// How long a certificate is, which lives in memory only.
const DAYS: i64 = 7;
/// Clocks of containers and hosts differ.
const BACKDATED: Duration = Duration::HOUR;

/// A CA and its key.
pub struct Authority {
    /// What leads from its certificates to a root that clients have: nothing, if it is a root itself.
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    /// One key for all certificates; it never leaves the process.
    key: KeyPair,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or made.
    #[error("`{path}` {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// The system's answer, where it was asked.
        source: Option<io::Error>,
    },
    /// Certificates cannot be made.
    #[error("a certificate cannot be made")]
    Made(#[from] rcgen::Error),
}

/// What there is to know about a CA's certificate.
#[derive(Debug, Clone, Serialize)]
pub struct Described {
    /// The file.
    pub path: PathBuf,
    /// Whose it is.
    pub subject: String,
    /// SHA-256 of it, in hexadecimal.
    pub sha256: String,
    /// From when on it is good, in RFC 3339.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// The certificate itself.
    pub pem: String,
}

impl Authority {
    /// Reads certificate and key, or makes them where there are none.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, AuthorityError> {
        let ca_key = match read(key) {
            Ok(text) => {
                let mode = std::fs::metadata(key).map_err(|error| wrong(key, UNREADABLE, Some(error)))?.mode();
                if mode & 0o077 != 0 {
                    return Err(wrong(key, "can be read by others; make it 0600 and the daemon's own", None));
                }
                KeyPair::from_pem(&text).map_err(|_| wrong(key, "is not a private key in PEM (PKCS #8)", None))?
            }
            Err(AuthorityError::File { source: Some(error), .. }) if error.kind() == io::ErrorKind::NotFound => {
                if cert.exists() {
                    return Err(wrong(key, "is missing, and the certificate is worth nothing without it", None));
                }
                let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                write(key, 0o600, &made.serialize_pem())?;
                made
            }
            Err(error) => return Err(error),
        };
        if !cert.exists() {
            write(cert, 0o644, &own(&ca_key)?)?;
        }
        let text = read(cert)?;
        let chain = certificates(&text).map_err(|what| wrong(cert, what, None))?;
        let first = chain.first().ok_or_else(|| wrong(cert, NONE, None))?;
        usable(first, &ca_key).map_err(|what| wrong(cert, what, None))?;
        let issuer = Issuer::from_ca_cert_der(first, ca_key)?;
        let chain = chain.into_iter().filter(|certificate| !is_root(certificate)).collect();
        Ok(Self { issuer, chain, key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)? })
    }

    /// A certificate for a database as its agent sees it: the name that it asks for and the address that it dialled.
    pub(super) fn mint(
        &self,
        name: Option<&str>,
        dialled: IpAddr,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.not_before = now - BACKDATED;
        params.not_after = now + Duration::days(DAYS);
        params.distinguished_name = called("interceptor");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(serial());
        let dns = name.map(|name| name.try_into().map(SanType::DnsName)).transpose()?;
        params.subject_alt_names.extend(dns);
        params.subject_alt_names.push(SanType::IpAddress(dialled));
        if dialled.to_canonical() != dialled {
            params.subject_alt_names.push(SanType::IpAddress(dialled.to_canonical()));
        }
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned());
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        Ok((chain.collect(), key))
    }

    /// Looks at a CA's certificate; the key is not needed.
    pub fn describe(cert: &Path) -> Result<Described, AuthorityError> {
        let pem = read(cert)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong(cert, NONE, None))?;
        let (_, read) =
            X509Certificate::from_der(&der).map_err(|_| wrong(cert, "is not an X.509 certificate", None))?;
        let validity = read.validity();
        let date = |moment: OffsetDateTime| moment.format(&Rfc3339).unwrap_or_default();
        Ok(Described {
            path: cert.to_owned(),
            subject: read.subject().to_string(),
            sha256: Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: date(validity.not_before.to_datetime()),
            not_after: date(validity.not_after.to_datetime()),
            pem: certificates(&pem).map_err(|what| wrong(cert, what, None))?.iter().map(armoured).collect(),
        })
    }
}

const UNREADABLE: &str = "cannot be read";
const NONE: &str = "holds no certificate in PEM";

/// All certificates of a text, and nothing else that may stand in it.
fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or(NONE)
}

/// RFC 7468.
fn armoured(certificate: &CertificateDer<'_>) -> String {
    let lines = certificate.chunks(48).map(|line| STANDARD.encode(line) + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}

fn wrong(path: &Path, what: &'static str, source: Option<io::Error>) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), what, source }
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    std::fs::read_to_string(path).map_err(|error| wrong(path, UNREADABLE, Some(error)))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| wrong(path, "cannot be made", Some(error)))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| wrong(path, "cannot be written", Some(error)))
}

/// The certificate of a new CA, in PEM.
fn own(key: &KeyPair) -> Result<String, AuthorityError> {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // A common name has at most 64 characters (X.520, ub-common-name).
    let name: String = format!("interceptor CA of {host}").chars().take(64).collect();
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(365 * YEARS);
    params.distinguished_name = called(&name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial());
    Ok(params.self_signed(key)?.pem())
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// Random, for the same key stands in many certificates; positive (RFC 5280, 4.1.2.2).
fn serial() -> SerialNumber {
    let [first, rest @ ..] = rand::random::<[u8; 16]>();
    SerialNumber::from([&[first & 0x7f | 0x40][..], &rest].concat())
}

fn is_root(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, read)| read.subject() == read.issuer())
}

/// Whether clients can be shown what this CA signs.
fn usable(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), &'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| "is not an X.509 certificate")?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err("does not belong to the key");
    }
    if !certificate.is_ca() {
        return Err("is not the certificate of a CA");
    }
    if !certificate.validity().is_valid() {
        return Err("has expired, or is not valid yet");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(Scratch);

    impl Folder {
        fn new() -> Self {
            Self(Scratch::about("ca"))
        }

        fn open(&self) -> Result<Authority, String> {
            let (cert, key) = (self.0.join("ca.crt"), self.0.join("ca.key"));
            Authority::open(&cert, &key)
                .map_err(|error| error.to_string().replace(&format!("{}/", self.0.display()), ""))
        }
    }

    #[test]
    fn a_ca_is_made_once() {
        let folder = Folder::new();
        let first = folder.open().unwrap();
        let second = folder.open().unwrap();
        assert_eq!(first.issuer.key().serialize_der(), second.issuer.key().serialize_der());
        assert!(first.chain.is_empty(), "clients have it");
        let mode = |name: &str| std::fs::metadata(folder.0.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("ca.key"), mode("ca.crt") & 0o022), (0o600, 0));
        let described = Authority::describe(&folder.0.join("ca.crt")).unwrap();
        assert!(described.subject.starts_with("CN=interceptor CA of "), "{described:?}");
        assert_eq!(described.sha256.len(), 64);
    }

    #[track_caller]
    fn check(break_it: impl FnOnce(&Path), expected: &str) {
        let folder = Folder::new();
        folder.open().unwrap();
        break_it(&folder.0);
        assert_eq!(folder.open().map(|_| "opens".to_owned()).unwrap_or_else(|error| error), expected);
    }

    #[test]
    fn what_is_wrong_with_the_files_stops_the_start() {
        check(|_| {}, "opens");
        // Killed between the two.
        check(|dir| std::fs::remove_file(dir.join("ca.crt")).unwrap(), "opens");
        check(
            |dir| std::fs::remove_file(dir.join("ca.key")).unwrap(),
            "`ca.key` is missing, and the certificate is worth nothing without it",
        );
        check(
            |dir| std::fs::set_permissions(dir.join("ca.key"), std::fs::Permissions::from_mode(0o640)).unwrap(),
            "`ca.key` can be read by others; make it 0600 and the daemon's own",
        );
        check(
            |dir| std::fs::write(dir.join("ca.key"), "nonsense").unwrap(),
            "`ca.key` is not a private key in PEM (PKCS #8)",
        );
        check(|dir| std::fs::write(dir.join("ca.crt"), "nonsense").unwrap(), "`ca.crt` holds no certificate in PEM");
        let other = Folder::new();
        other.open().unwrap();
        check(
            |dir| {
                std::fs::copy(other.0.join("ca.crt"), dir.join("ca.crt")).unwrap();
            },
            "`ca.crt` does not belong to the key",
        );
        check(
            |dir| {
                let key = KeyPair::from_pem(&std::fs::read_to_string(dir.join("ca.key")).unwrap()).unwrap();
                let plain = CertificateParams::default().self_signed(&key).unwrap();
                std::fs::write(dir.join("ca.crt"), plain.pem()).unwrap();
            },
            "`ca.crt` is not the certificate of a CA",
        );
    }

    #[test]
    fn certificates_say_what_was_asked_for_and_dialled() {
        let authority = Folder::new().open().unwrap();
        let names = |name: Option<&str>, dialled: &str| {
            let (chain, _) = authority.mint(name, dialled.parse().unwrap()).unwrap();
            let (_, read) = X509Certificate::from_der(&chain[0]).unwrap();
            assert!(read.issuer().to_string().starts_with("CN=interceptor CA of "));
            let san = read.subject_alternative_name().unwrap().unwrap();
            san.value.general_names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Some("db.example"), "10.0.0.5"), "DNSName(db.example) IPAddress(0a:00:00:05)");
        assert_eq!(names(None, "10.0.0.5"), "IPAddress(0a:00:00:05)");
        let serial = || {
            let (chain, _) = authority.mint(None, "::1".parse().unwrap()).unwrap();
            X509Certificate::from_der(&chain[0]).unwrap().1.raw_serial().to_vec()
        };
        assert_ne!(serial(), serial());
    }
}
