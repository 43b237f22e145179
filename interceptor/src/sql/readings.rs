//! Texts that have been read before.
//!
//! An analysis depends on nothing but the text and the catalogue snapshot, except where it runs a prepared statement by
//! name; those are read anew each time. Agents and pools send the same texts over and over, and reading one costs tens
//! of microseconds.

use super::catalog::Catalog;
use super::facts::{Analysis, Flag};
use super::guard::Rejection;
use super::{Session, analyse};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Texts that are kept at most, and how long one may be, in bytes.
const MOST: usize = 4096;
const LONGEST: usize = 4096;

/// Numbers readings.
static COUNT: AtomicU64 = AtomicU64::new(1);

/// Snapshot, text, analysis.
type Kept = HashMap<u64, HashMap<Box<str>, Arc<Analysis>>>;

/// Analyses by catalogue snapshot and exact text, shared by all sessions.
#[derive(Debug, Default)]
pub struct Readings {
    kept: Mutex<Kept>,
}

impl Readings {
    /// The analysis of a text, from an earlier reading if there was one.
    ///
    /// # Errors
    /// As [`analyse`].
    pub fn read(&self, text: &str, catalog: &Catalog, session: &dyn Session) -> Result<Arc<Analysis>, Rejection> {
        if let Some(analysis) = self.lock().get(&catalog.id).and_then(|texts| texts.get(text)) {
            return Ok(analysis.clone());
        }
        let mut analysis = analyse(text, catalog, session)?;
        let depends = |flag| analysis.statements.iter().any(|statement| statement.flags.contains(&flag));
        let missing = analysis.statements.iter().any(|statement| statement.missing.is_some());
        if text.len() <= LONGEST && !missing && !depends(Flag::RunsPrepared) {
            analysis.id = COUNT.fetch_add(1, Ordering::Relaxed);
            let analysis = Arc::new(analysis);
            let mut kept = self.lock();
            // Snapshots that are gone take their texts along; a full table starts anew.
            if kept.values().map(HashMap::len).sum::<usize>() >= MOST {
                kept.clear();
            }
            kept.entry(catalog.id).or_default().insert(text.into(), analysis.clone());
            return Ok(analysis);
        }
        Ok(Arc::new(analysis))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
