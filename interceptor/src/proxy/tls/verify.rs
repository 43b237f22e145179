//! Whether a database server is who it should be.

use super::connect::TlsMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How servers are verified, as libpq's `sslmode` has it.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    chains: Arc<WebPkiServerVerifier>,
    /// Certificates that are trusted themselves: what a server that has signed its own shows, and its operator has copied.
    pinned: Vec<CertificateDer<'static>>,
    /// Whether the name counts too.
    names: bool,
}

impl Verifier {
    /// One that accepts any certificate (`require`): encrypted, and nobody knows with whom.
    pub(super) fn blind(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, trust: None }
    }

    /// One that accepts what `roots` vouch for.
    pub(super) fn trusting(
        provider: Arc<CryptoProvider>,
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        mode: TlsMode,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        Ok(Self { provider, trust: Some(Trust { chains, pinned, names: mode != TlsMode::VerifyCa }) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(Trust { chains, pinned, names }) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        if pinned.iter().any(|pinned| pinned.as_ref() == end_entity.as_ref()) {
            timely(end_entity, now)?;
            if *names {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the chain has been found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !names => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn timely(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let wrong = |error| Err(Error::InvalidCertificate(error));
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return wrong(CertificateError::BadEncoding) };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < read.validity().not_before.timestamp() {
        wrong(CertificateError::NotValidYet)
    } else if now > read.validity().not_after.timestamp() {
        wrong(CertificateError::Expired)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use time::OffsetDateTime;

    struct Party {
        key: KeyPair,
        params: CertificateParams,
        own: CertificateDer<'static>,
    }

    fn party(name: &str, ca: bool, until: OffsetDateTime) -> Party {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = until;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{:x}", rand::random::<u64>()));
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let own = params.self_signed(&key).unwrap().der().clone();
        Party { key, params, own }
    }

    #[test]
    fn who_is_believed() {
        let later = OffsetDateTime::now_utc() + time::Duration::days(1);
        let earlier = OffsetDateTime::now_utc() - time::Duration::days(1);
        let ca = party("ca", true, later);
        let issuer = Issuer::from_params(&ca.params, &ca.key);
        let signed = |name, until| {
            let party = party(name, false, until);
            party.params.signed_by(&party.key, &issuer).unwrap().der().clone()
        };
        let (good, old) = (signed("db", later), signed("db", earlier));
        // What `openssl req -x509` makes: a CA that is a server as well.
        let (own, own_old) = (party("db", true, later).own, party("db", true, earlier).own);
        let stranger = party("db", false, later).own;
        let provider = Arc::new(rustls::crypto::ring::default_provider());

        let check = |mode: TlsMode, shown: &CertificateDer<'_>, name: &str, expected: &str| {
            let trusted = [ca.own.clone(), own.clone(), own_old.clone()];
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(trusted.iter().cloned());
            let verifier = match mode {
                TlsMode::Require => Verifier::blind(provider.clone()),
                mode => Verifier::trusting(provider.clone(), roots, trusted.to_vec(), mode).unwrap(),
            };
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let said = verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
            let said = said.map_or_else(|error| error.to_string(), |_| "believed".to_owned());
            assert!(said.contains(expected), "{mode:?} {name:?}: {said}");
        };
        use TlsMode::{Require, VerifyCa, VerifyFull};
        check(VerifyFull, &good, "db", "believed");
        check(VerifyFull, &good, "other", "not valid for name \"other\"");
        check(VerifyFull, &good, "10.0.0.5", "not valid for name");
        check(VerifyFull, &old, "db", "expired");
        check(VerifyFull, &stranger, "db", "UnknownIssuer");
        check(VerifyCa, &good, "other", "believed");
        check(VerifyCa, &old, "other", "expired");
        check(VerifyCa, &stranger, "db", "UnknownIssuer");
        check(VerifyFull, &own, "db", "believed");
        check(VerifyFull, &own, "other", "not valid for name");
        check(VerifyCa, &own, "other", "believed");
        check(VerifyCa, &own_old, "db", "xpired");
        check(Require, &stranger, "other", "believed");
    }
}
