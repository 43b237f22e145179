//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; 54.3 "SASL Authentication"), without
//! sockets: each step is a type that knows what it waits for.
//!
//! Deriving a key from a password is slow on purpose. The server asks for the same salt and count each time, so the keys
//! are kept; a log-in then costs a few hashes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use ring::pbkdf2;
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

/// The mechanism without channel binding.
pub(super) const PLAIN: &str = "SCRAM-SHA-256";
/// The mechanism with it.
pub(super) const PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Iterations of the key derivation that a server may ask for: PostgreSQL's default is the least, for fewer make a
/// password that somebody listens for cheap to try out, and beyond the most (that of PostgreSQL's JDBC driver) it would be
/// asking for our time.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// What is longer is no challenge of a server that means it.
const LONGEST: usize = 1024;

/// What the client says about the channel (RFC 5802, 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Binding {
    /// There is none to bind to.
    Impossible,
    /// We could, and the server does not offer it: one that does will know that somebody has taken its offer away.
    NotOffered,
    /// This is the server's certificate, hashed.
    EndPoint(Vec<u8>),
}

impl Binding {
    /// Which mechanism, and how; `None` where none is offered that we know.
    pub(super) fn choose(offered: &[&[u8]], end_point: Option<Vec<u8>>) -> Option<Self> {
        let has = |name: &str| offered.contains(&name.as_bytes());
        match end_point {
            Some(hash) if has(PLUS) => Some(Self::EndPoint(hash)),
            Some(_) if has(PLAIN) => Some(Self::NotOffered),
            None if has(PLAIN) => Some(Self::Impossible),
            _ => None,
        }
    }

    /// The mechanism's name.
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Self::Impossible | Self::NotOffered => PLAIN,
            Self::EndPoint(_) => PLUS,
        }
    }

    fn header(&self) -> &'static str {
        match self {
            Self::Impossible => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::Impossible | Self::NotOffered => &[],
            Self::EndPoint(hash) => hash,
        }
    }
}

/// Why a server is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("the SCRAM challenge is malformed")]
    Malformed,
    #[error("the SCRAM challenge is out of bounds")]
    Bounds,
    #[error("the SCRAM challenge answers somebody else")]
    Nonce,
    #[error("the database server could not prove that it knows the password")]
    Unproven,
}

/// Has spoken first and waits for the challenge.
pub(super) struct First {
    binding: Binding,
    nonce: String,
}

impl First {
    pub(super) fn new(binding: Binding) -> Self {
        Self { binding, nonce: STANDARD.encode(rand::random::<[u8; 18]>()) }
    }

    /// The message. PostgreSQL takes the user from the start-up packet.
    pub(super) fn message(&self) -> String {
        format!("{}{}", self.binding.header(), self.bare())
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Reads the challenge.
    pub(super) fn challenged(self, challenge: &[u8]) -> Result<Challenged, ScramError> {
        if challenge.len() > LONGEST {
            return Err(ScramError::Bounds);
        }
        let text = std::str::from_utf8(challenge).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(ScramError::Malformed);
        let (nonce, salt, count) = (part("r=")?, part("s=")?, part("i=")?);
        // Extensions may follow; one that has to be understood would come first, and has been refused there.
        let salt = STANDARD.decode(salt).map_err(|_| ScramError::Malformed)?;
        let count = count.parse().map_err(|_| ScramError::Malformed)?;
        if !ITERATIONS.contains(&count) {
            return Err(ScramError::Bounds);
        }
        let iterations = NonZeroU32::new(count).ok_or(ScramError::Bounds)?;
        if nonce.strip_prefix(&self.nonce).is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        let bound = STANDARD.encode([self.binding.header().as_bytes(), self.binding.data()].concat());
        let unsigned = format!("c={bound},r={nonce}");
        let agreed = format!("{},{text},{unsigned}", self.bare());
        Ok(Challenged { salt, iterations, unsigned, agreed })
    }
}

/// Knows what to derive the keys from.
#[derive(Debug)]
pub(super) struct Challenged {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: NonZeroU32,
    unsigned: String,
    agreed: String,
}

impl Challenged {
    /// The answer, and what waits for the server's.
    pub(super) fn answer(self, keys: &Keys) -> (String, Proving) {
        let signature = hmac(&keys.stored, self.agreed.as_bytes()).finalize().into_bytes();
        let proof: Vec<u8> = keys.client.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        let message = format!("{},p={}", self.unsigned, STANDARD.encode(proof));
        (message, Proving { expected: hmac(&keys.server, self.agreed.as_bytes()) })
    }
}

/// Waits for the server's proof.
pub(super) struct Proving {
    expected: Hmac<Sha256>,
}

impl Proving {
    pub(super) fn verify(self, last: &[u8]) -> Result<(), ScramError> {
        let verifier = last.strip_prefix(b"v=").ok_or(ScramError::Unproven)?;
        let verifier = STANDARD.decode(verifier).map_err(|_| ScramError::Unproven)?;
        self.expected.verify_slice(&verifier).map_err(|_| ScramError::Unproven)
    }
}

/// What a password becomes for one salt and count.
pub(super) struct Keys {
    client: [u8; 32],
    stored: [u8; 32],
    server: [u8; 32],
}

impl Keys {
    /// Takes milliseconds.
    pub(super) fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        // As the server does it: what cannot be prepared is taken as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.as_bytes(), &mut salted);
        let key = |purpose: &[u8]| -> [u8; 32] { hmac(&salted, purpose).finalize().into_bytes().into() };
        let client = key(b"Client Key");
        Self { client, stored: Sha256::digest(client).into(), server: key(b"Server Key") }
    }
}

fn hmac(key: &[u8; 32], bytes: &[u8]) -> Hmac<Sha256> {
    // 32 bytes fit into a block of SHA-256 as they are (RFC 2104, 2).
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
    mac.update(bytes);
    mac
}

/// The keys of one password.
#[derive(Default)]
pub(super) struct KeyRing {
    keys: Mutex<Vec<Kept>>,
}

struct Kept {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    keys: Arc<Keys>,
}

impl KeyRing {
    /// A role has one salt on each server; this many servers share a password at most before keys are derived anew.
    const MOST: usize = 8;

    pub(super) fn find(&self, salt: &[u8], iterations: NonZeroU32) -> Option<Arc<Keys>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|kept| kept.salt == salt && kept.iterations == iterations).map(|kept| kept.keys.clone())
    }

    /// Keeps keys that a server has proved to know as well.
    pub(super) fn keep(&self, salt: Vec<u8>, iterations: NonZeroU32, keys: Arc<Keys>) {
        let mut kept = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.salt != salt || kept.iterations != iterations);
        if kept.len() >= Self::MOST {
            kept.remove(0);
        }
        kept.push(Kept { salt, iterations, keys });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from psql; it stands in postgres-protocol's tests as well.
    #[test]
    fn an_exchange_as_psql_has_it() {
        let first = First { binding: Binding::Impossible, nonce: "9IZ2O01zb9IgiIZ1WJ/zgpJB".to_owned() };
        assert_eq!(first.message(), "n,,n=,r=9IZ2O01zb9IgiIZ1WJ/zgpJB");
        let challenged =
            first.challenged(b"r=9IZ2O01zb9IgiIZ1WJ/zgpJBjx/oIRLs02gGSHcw1KEty3eY,s=fs3IXBy7U7+IvVjZ,i=4096").unwrap();
        let keys = Keys::derive("foobar", &challenged.salt, challenged.iterations);
        let (message, proving) = challenged.answer(&keys);
        assert_eq!(
            message,
            "c=biws,r=9IZ2O01zb9IgiIZ1WJ/zgpJBjx/oIRLs02gGSHcw1KEty3eY,p=AmNKosjJzS31NTlQYNs5BTeQjdHdk7lOflDo5re2an8="
        );
        assert_eq!(proving.verify(b"v=U+ppxD5XUKtradnv8e2MkeupiA8FU87Sg8CXzXHDAzw="), Ok(()));
    }

    /// The CPU time of a log-in that we are to stay under as a whole is 0.4 ms; in tests nothing of ours is optimised.
    #[test]
    fn a_log_in_with_known_keys_is_cheap() {
        let keys = Keys::derive("p", b"salt", NonZeroU32::new(4096).unwrap());
        let since = std::time::Instant::now();
        for _ in 0..200 {
            let first = First::new(Binding::EndPoint(vec![7; 32]));
            let challenge = format!("r={}x,s=c2FsdA==,i=4096", first.nonce);
            let (_, proving) = first.challenged(challenge.as_bytes()).unwrap().answer(&keys);
            assert_eq!(proving.verify(b"v=AAAA"), Err(ScramError::Unproven));
        }
        assert!(since.elapsed() < std::time::Duration::from_millis(80), "{:?} for 200", since.elapsed());
    }

    #[track_caller]
    fn check(challenge: &str, last: &str, expected: &str) {
        let first = First { binding: Binding::Impossible, nonce: "abc".to_owned() };
        let said = first.challenged(challenge.as_bytes()).and_then(|challenged| {
            let keys = Keys::derive("p", &challenged.salt, challenged.iterations);
            challenged.answer(&keys).1.verify(last.as_bytes())
        });
        assert_eq!(said.map_or_else(|error| error.to_string(), |()| "proved".to_owned()), expected, "{challenge}");
    }

    #[test]
    fn challenges_and_proofs_that_are_none() {
        let unproven = "the database server could not prove that it knows the password";
        check("r=abcd,s=eA==,i=4096", "v=AAAA", unproven);
        check("r=abcd,s=eA==,i=4096", "e=invalid-proof", unproven);
        check("r=abcd,s=eA==,i=4096", "", unproven);
        let malformed = "the SCRAM challenge is malformed";
        check("", "", malformed);
        check("m=x,r=abcd,s=eA==,i=4096", "", malformed);
        check("s=eA==,r=abcd,i=4096", "", malformed);
        check("r=abcd,s=!,i=4096", "", malformed);
        check("r=abcd,s=eA==,i=many", "", malformed);
        let bounds = "the SCRAM challenge is out of bounds";
        check("r=abcd,s=eA==,i=1", "", bounds);
        check("r=abcd,s=eA==,i=100001", "", bounds);
        check("r=abcd,s=eA==,i=2147483647", "", bounds);
        check(&format!("r=abc{},s=eA==,i=4096", "x".repeat(1100)), "", bounds);
        let nonce = "the SCRAM challenge answers somebody else";
        check("r=abc,s=eA==,i=4096", "", nonce);
        check("r=xyz,s=eA==,i=4096", "", nonce);
    }

    #[test]
    fn channels_are_bound_where_they_can_be() {
        let (plain, plus, other) = (PLAIN.as_bytes(), PLUS.as_bytes(), &b"PLAIN"[..]);
        let check = |offered: &[&[u8]], end_point: Option<Vec<u8>>, expected: &str| {
            let said = Binding::choose(offered, end_point).map(|binding| First::new(binding).message());
            let said = said.as_deref().and_then(|message| message.split_once("n=")).map(|(header, _)| header);
            assert_eq!(said.unwrap_or("none"), expected);
        };
        let hash = || Some(vec![1]);
        check(&[plus, plain], hash(), "p=tls-server-end-point,,");
        check(&[plain], hash(), "y,,");
        check(&[plain], None, "n,,");
        // Offered without TLS, or with a certificate that nothing can be bound to.
        check(&[plus, plain], None, "n,,");
        check(&[plus], None, "none");
        check(&[other], hash(), "none");
        check(&[], None, "none");
    }

    #[test]
    fn keys_are_kept_up_to_a_bound() {
        let ring = KeyRing::default();
        let count = NonZeroU32::new(4096).unwrap();
        for salt in 0..20 {
            ring.keep(vec![salt], count, Arc::new(Keys::derive("p", &[salt], NonZeroU32::MIN)));
        }
        assert!(ring.find(&[0], count).is_none() && ring.find(&[19], count).is_some());
        assert!(ring.find(&[19], NonZeroU32::MIN).is_none());
        assert_eq!(ring.keys.lock().unwrap().len(), KeyRing::MOST);
    }
}
