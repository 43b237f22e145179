//! May this agent do that? Cedar policies, judged request by request.
//!
//! A statement becomes a set of requests (agent, action, resource) and passes only if every one does. Permits and plain
//! forbids are evaluated first and must allow; forbids that carry an obligation (`@mask`, `@approve`, `@max_rows`...) are
//! evaluated after them, and those that match must be met or they stand. An evaluation error denies: Cedar itself would
//! skip the policy, which for a forbid opens the door.
//!
//! INVARIANT: [`Permit`] has one constructor, in [`decide`], and no public fields. Whoever holds one was judged.

mod annotation;
mod approval;
mod budget;
mod circumstances;
mod decide;
mod denial;
mod entities;
mod explain;
mod kept;
mod labels;
mod load;
mod memo;
mod orders;
mod principal;
mod scope;
mod verdict;

pub use annotation::{Detector, Mask, Obligation};
pub use approval::Approval;
pub use budget::{Allowance, Budget, Counted, Per};
pub use circumstances::{Circumstances, Totals};
pub use decide::{Denied, Granted, Permit};
pub use denial::{Denial, DenialKind};
pub use explain::{Asked, Explanation};
pub use load::{LoadError, Mistake, PolicySet, Rule};
pub use orders::{MaskedOutput, Orders, Records, RowField};
pub use principal::Principal;

use serde::Deserialize;
use std::path::PathBuf;

/// Where policies are and what they do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder with `*.cedar` files.
    pub dir: PathBuf,
    /// Whether denials are carried out.
    #[serde(default)]
    pub mode: Mode,
}

/// What a denial does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The statement does not run.
    #[default]
    Enforce,
    /// The denial is recorded and the statement runs: for trying a policy set out on a live system. Nobody is turned away
    /// for want of an identity. What is no SQL, and what is larger than can be read, is refused all the same.
    Observe,
}
