//! An identity as decisions are remembered by it.

use crate::identity::Identity;
use std::sync::Arc;

/// Who asks, with the number that decisions about them are remembered under.
#[derive(Debug, Clone)]
pub struct Principal {
    identity: Arc<Identity>,
    fingerprint: u64,
}

impl Principal {
    /// Of an identity.
    pub fn new(identity: Arc<Identity>) -> Self {
        let fingerprint = identity.fingerprint();
        Self { identity, fingerprint }
    }

    /// Who that is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
