//! TLS towards databases.

use super::ALPN;
use super::stream::Stream;
use super::verify::Verifier;
use crate::wire::ssl_request;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

/// What is asked of a database server, in libpq's words. There is no mode that would take less when less is offered, but
/// for clients that log in themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// A certificate that a trusted CA vouches for and that is for this server.
    #[default]
    VerifyFull,
    /// A certificate that a trusted CA vouches for, whomever it is for.
    VerifyCa,
    /// Any certificate: nobody listens, but nobody knows who answers.
    Require,
    /// Any certificate, and clear text from a server without TLS: what clients do by themselves. For `relay` only, where
    /// nothing of the daemon's is given away.
    Prefer,
    /// Clear text.
    Disable,
}

/// The files and names that go with it.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Wanted<'a> {
    pub(in crate::proxy) mode: TlsMode,
    pub(in crate::proxy) ca: Option<&'a Path>,
    pub(in crate::proxy) certificate: Option<&'a Path>,
    pub(in crate::proxy) key: Option<&'a str>,
    pub(in crate::proxy) name: Option<&'a str>,
}

/// Why TLS cannot be spoken to an upstream at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A file cannot be read as what it should be.
    #[error("`{path}` holds no certificate in PEM that can be used")]
    Certificates {
        /// Which.
        path: PathBuf,
    },
    /// The key does not go with the certificate.
    #[error("the key does not go with the certificate `{path}`")]
    Key {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The host trusts nobody.
    #[error("this host has no trusted CA; name one with `ca_file`")]
    NoRoots,
    /// The name cannot be one.
    #[error("`server_name = \"{0}\"` is neither a host's name nor an address")]
    Name(String),
    /// Things that do not go together.
    #[error("{0}")]
    Senseless(&'static str),
    /// What rustls says.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// Why there is no TLS with a server.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum TlsError {
    #[error("the database server has no TLS, which `tls` of its [[upstream]] asks for")]
    Declined,
    /// Whatever it is that it says is not to be trusted (CVE-2024-10977).
    #[error("the database server answered a request for TLS with something else")]
    Answer,
    #[error("the TLS handshake with the database server failed")]
    Handshake(#[source] io::Error),
    #[error("the connection to the database server was lost")]
    Lost(#[from] io::Error),
}

/// How an upstream is spoken to; in clear text if nothing is said.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Connector {
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
    verified: bool,
    prefers: bool,
}

impl Connector {
    /// Reads what is needed.
    pub(in crate::proxy) fn load(wanted: &Wanted<'_>) -> Result<Self, ConnectorError> {
        let Wanted { mode, ca, certificate, key, name } = *wanted;
        if mode == TlsMode::Disable {
            if ca.is_some() || certificate.is_some() || key.is_some() || name.is_some() {
                return Err(ConnectorError::Senseless(
                    "`tls = \"disable\"` leaves nothing for `ca_file`, `certificate_file`, `key_file` and `server_name`",
                ));
            }
            return Ok(Self { tls: None, verified: false, prefers: false });
        }
        if matches!(mode, TlsMode::Require | TlsMode::Prefer) && ca.is_some() {
            return Err(ConnectorError::Senseless(
                "`tls = \"require\"` (or \"prefer\") does not look at certificates: with a `ca_file`, ask for \"verify-full\" or \"verify-ca\"",
            ));
        }
        let name =
            name.map(|name| ServerName::try_from(name.to_owned()).map_err(|_| ConnectorError::Name(name.to_owned())));
        let name = name.transpose()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = match mode {
            TlsMode::Require | TlsMode::Prefer | TlsMode::Disable => Verifier::blind(provider.clone()),
            TlsMode::VerifyFull | TlsMode::VerifyCa => {
                let (trusted, pinned) = match ca {
                    Some(path) => (certificates(path)?, true),
                    None => (rustls_native_certs::load_native_certs().certs, false),
                };
                let mut roots = RootCertStore::empty();
                // Among the host's there may be some that rustls does not understand; a file of ours has to be right.
                let (_, ignored) = roots.add_parsable_certificates(trusted.iter().cloned());
                match ca {
                    Some(path) if ignored > 0 => {
                        return Err(ConnectorError::Certificates { path: path.to_owned() });
                    }
                    _ if roots.is_empty() => return Err(ConnectorError::NoRoots),
                    _ => {}
                }
                let pinned = if pinned { trusted } else { Vec::new() };
                let verifier = Verifier::trusting(provider.clone(), roots, pinned, mode);
                verifier.map_err(|_| ConnectorError::NoRoots)?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (certificate, key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(path), Some(key)) => {
                let wrong = |source| ConnectorError::Key { path: path.to_owned(), source };
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
                let key = key.map_err(|error| wrong(rustls::Error::General(error.to_string())))?;
                builder.with_client_auth_cert(certificates(path)?, key).map_err(wrong)?
            }
            _ => return Err(ConnectorError::Senseless("`certificate_file` and `key_file` go together")),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let verified = matches!(mode, TlsMode::VerifyFull | TlsMode::VerifyCa);
        Ok(Self { tls: Some((Arc::new(config), name)), verified, prefers: mode == TlsMode::Prefer })
    }

    /// What is left where a server and we do not come to an understanding about TLS; `None` where that is the end.
    pub(in crate::proxy) fn without_tls(&self) -> Option<Self> {
        self.prefers.then_some(Self { tls: None, verified: false, prefers: true })
    }

    /// Whether it is as clients do it by themselves: what they would have given to whoever answers may be given.
    pub(in crate::proxy) fn prefers(&self) -> bool {
        self.prefers
    }

    /// Whether whoever answers has shown who it is.
    pub(in crate::proxy) fn verifies(&self) -> bool {
        self.verified
    }

    /// Asks for TLS on a fresh connection and shakes hands; a server that has none is not spoken to.
    pub(in crate::proxy) async fn secure(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Stream, TlsError> {
        let Some((config, name)) = &self.tls else { return Ok(Stream::Plain(stream)) };
        stream.write_all(&ssl_request()).await?;
        // One byte and no more: what a stranger may have put behind it (CVE-2021-23222) is for the handshake, which fails.
        match stream.read_u8().await? {
            b'S' => {}
            b'N' if self.prefers => return Ok(Stream::Plain(stream)),
            b'N' => return Err(TlsError::Declined),
            _ => return Err(TlsError::Answer),
        }
        let name = name.clone().unwrap_or_else(|| ServerName::IpAddress(address.ip().to_canonical().into()));
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(TlsError::Handshake)?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectorError> {
    let wrong = || ConnectorError::Certificates { path: path.to_owned() };
    let found = CertificateDer::pem_file_iter(path).map_err(|_| wrong())?.collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &Wanted<'_>, expected: &str) {
        let said = Connector::load(wanted).map_or_else(|error| error.to_string(), |_| "fine".to_owned());
        assert_eq!(said, expected);
    }

    #[test]
    fn settings_have_to_make_sense() {
        use TlsMode::{Disable, Require, VerifyFull};
        let file = Some(Path::new("/nowhere"));
        check(&Wanted { mode: Disable, ..Wanted::default() }, "fine");
        check(&Wanted { mode: Require, name: Some("db"), ..Wanted::default() }, "fine");
        check(
            &Wanted { mode: Disable, ca: file, ..Wanted::default() },
            "`tls = \"disable\"` leaves nothing for `ca_file`, `certificate_file`, `key_file` and `server_name`",
        );
        check(
            &Wanted { mode: Require, ca: file, ..Wanted::default() },
            "`tls = \"require\"` (or \"prefer\") does not look at certificates: with a `ca_file`, ask for \"verify-full\" or \"verify-ca\"",
        );
        check(
            &Wanted { mode: VerifyFull, ca: file, ..Wanted::default() },
            "`/nowhere` holds no certificate in PEM that can be used",
        );
        check(
            &Wanted { mode: Require, name: Some("a b"), ..Wanted::default() },
            "`server_name = \"a b\"` is neither a host's name nor an address",
        );
        check(
            &Wanted { mode: Require, certificate: file, ..Wanted::default() },
            "`certificate_file` and `key_file` go together",
        );
    }
}
