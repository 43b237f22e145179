//! Channel binding of type `tls-server-end-point` (RFC 5929, 4.1): a hash of the server's certificate, by which the
//! database finds out whether somebody stands between.

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// The hash, by the function that the certificate was signed with, SHA-256 in place of MD5 and SHA-1. `None` where that
/// is not defined (Ed25519), as in the server.
pub(in crate::proxy) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = function(&read)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

fn function(certificate: &X509Certificate<'_>) -> Option<&'static Algorithm> {
    let signed = &certificate.signature_algorithm;
    let name = match SignatureAlgorithm::try_from(signed) {
        // RSASSA-PSS names its function in its parameters.
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => parameters.hash_algorithm_oid().to_owned(),
        _ => signed.algorithm.clone(),
    };
    let is = |oids: &[oid::Oid<'_>]| oids.contains(&name);
    if is(&[
        oid::OID_PKCS1_MD5WITHRSAENC,
        oid::OID_PKCS1_SHA1WITHRSA,
        oid::OID_SHA1_WITH_RSA,
        oid::OID_HASH_SHA1,
        oid::OID_PKCS1_SHA256WITHRSA,
        oid::OID_SIG_ECDSA_WITH_SHA256,
        oid::OID_NIST_HASH_SHA256,
    ]) {
        Some(&SHA256)
    } else if is(&[oid::OID_PKCS1_SHA384WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA384, oid::OID_NIST_HASH_SHA384]) {
        Some(&SHA384)
    } else if is(&[oid::OID_PKCS1_SHA512WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA512, oid::OID_NIST_HASH_SHA512]) {
        Some(&SHA512)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let check = |algorithm, expected: Option<&'static Algorithm>| {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate = CertificateParams::new(["db".to_owned()]).unwrap().self_signed(&key).unwrap();
            let expected = expected.map(|function| digest(function, certificate.der()).as_ref().to_vec());
            assert_eq!(end_point(certificate.der()), expected);
        };
        check(&PKCS_ECDSA_P256_SHA256, Some(&SHA256));
        check(&PKCS_ECDSA_P384_SHA384, Some(&SHA384));
        check(&PKCS_ED25519, None);
        assert_eq!(end_point(b"nonsense"), None);
    }
}
