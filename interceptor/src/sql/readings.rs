//! Texts that have been read before.
//!
//! An analysis depends on nothing but the text and the catalogue snapshot, except where it runs a prepared statement by
//! name; those are read anew each time. Agents and pools send the same texts over and over, or texts of the same shape, and
//! reading one costs tens of microseconds.

use super::catalog::Catalog;
use super::facts::{Analysis, Effect, Flag};
use super::guard::Rejection;
use super::shape::Shape;
use super::{Session, analyse};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Texts, and shapes, that are kept at most, and how long one may be, in bytes.
const MOST: usize = 8192;
const LONGEST: usize = 4096;

/// Numbers readings.
static COUNT: AtomicU64 = AtomicU64::new(1);

/// Analyses by catalogue snapshot and exact text or shape, shared by all sessions.
#[derive(Debug, Default)]
pub struct Readings {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    texts: Generations,
    shapes: Generations,
}

/// By text and snapshot; what has not been asked for since the last turn goes with the next.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, (u64, Arc<Analysis>)>,
    old: HashMap<Box<str>, (u64, Arc<Analysis>)>,
}

impl Generations {
    fn get(&mut self, text: &str, snapshot: u64) -> Option<Arc<Analysis>> {
        let of = |found: &(u64, Arc<Analysis>)| (found.0 == snapshot).then(|| found.1.clone());
        if let Some(found) = self.young.get(text) {
            return of(found);
        }
        let (text, found) = self.old.remove_entry(text)?;
        let analysis = of(&found)?;
        self.put(text, found);
        Some(analysis)
    }

    fn put(&mut self, text: Box<str>, found: (u64, Arc<Analysis>)) {
        if self.young.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, found);
    }
}

impl Readings {
    /// The analysis of a text, from an earlier reading of it, or of a text that differs in the values of constants only, if
    /// there was one.
    ///
    /// # Errors
    /// As [`analyse`].
    pub fn read(&self, text: &str, catalog: &Catalog, session: &dyn Session) -> Result<Arc<Analysis>, Rejection> {
        if text.len() > LONGEST {
            return analyse(text, catalog, session).map(Arc::new);
        }
        if let Some(analysis) = self.lock().texts.get(text, catalog.id) {
            return Ok(analysis);
        }
        let shape = Shape::of(text);
        if let Some(shape) = &shape
            && let mut kept = self.lock()
            && let Some(analysis) = kept.shapes.get(shape.as_str(), catalog.id)
        {
            // The next time it is found by itself.
            kept.texts.put(text.into(), (catalog.id, analysis.clone()));
            return Ok(analysis);
        }
        let mut analysis = analyse(text, catalog, session)?;
        let depends = |flag| analysis.statements.iter().any(|statement| statement.flags.contains(&flag));
        let missing = analysis.statements.iter().any(|statement| statement.missing.is_some());
        if missing || depends(Flag::RunsPrepared) {
            return Ok(Arc::new(analysis));
        }
        analysis.id = COUNT.fetch_add(1, Ordering::Relaxed);
        match shape.filter(|_| is_shapes(&analysis)) {
            Some(shape) => {
                // Where it stands in one text says nothing about the others.
                analysis.statements.iter_mut().for_each(|statement| statement.span = 0..usize::MAX);
                let analysis = Arc::new(analysis);
                let mut kept = self.lock();
                kept.shapes.put(shape.as_str().into(), (catalog.id, analysis.clone()));
                kept.texts.put(text.into(), (catalog.id, analysis.clone()));
                Ok(analysis)
            }
            None => {
                let analysis = Arc::new(analysis);
                self.lock().texts.put(text.into(), (catalog.id, analysis.clone()));
                Ok(analysis)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an analysis holds for every text of the same shape: one ordinary query or change of rows that leaves the session
/// as it is, and nothing in it hung on a constant's value.
fn is_shapes(analysis: &Analysis) -> bool {
    let [statement] = analysis.statements.as_slice() else { return false };
    statement.flags.contains(&Flag::Ordinary)
        && !statement.flags.contains(&Flag::ReadsConstants)
        && statement.effect == Effect::None
        && statement.opaque.is_none()
}
