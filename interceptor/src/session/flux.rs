//! What the transaction under way has made of the schema.
//!
//! Nobody outside sees it before it is committed. So where a text cannot be judged by the shared catalogue for that reason
//! the server is asked in the agent's own session ([`super::Step::Survey`]), and what it says stands in the shared one's
//! place until the transaction ends, or goes back to a savepoint, or changes the schema again. Definitions whose names are
//! known wait for nobody.
//!
//! Under a stricter isolation than READ COMMITTED questions are answered from a snapshot while names are looked up as they
//! are now: there nobody can say, and nothing but definitions runs. So it is in a batch that is a transaction by itself.

use super::Session;
use super::judge::{Bench, Judgement};
use crate::sql::Catalog;
use crate::wire::TransactionStatus;
use std::sync::Arc;

/// Relations of a database whose schema is asked for in the middle of a transaction, at most: it is all read anew each time.
const MOST_SURVEYED: usize = 20_000;

/// The schema as the transaction sees it.
#[derive(Debug)]
pub(super) struct Survey {
    /// Nothing, if it cannot be told.
    catalog: Option<Arc<Catalog>>,
    /// The shared catalogue of that time: a change there may be one here.
    shared: u64,
    /// Whether the schema has been changed since.
    is_due: bool,
}

impl Session {
    /// The server has been asked, beside this catalogue; nothing if what it says cannot be relied upon.
    pub fn note_survey(&mut self, catalog: Option<Catalog>, shared: &Catalog) {
        let survey = Survey { catalog: catalog.map(Arc::new), shared: shared.snapshot(), is_due: false };
        self.survey = self.in_flux.then(|| Box::new(survey));
    }

    /// What stands in the shared catalogue's place.
    pub(super) fn surveyed(&mut self, bench: &Bench<'_>) -> Option<Arc<Catalog>> {
        let survey = self.survey.as_mut()?;
        survey.is_due |= survey.shared != bench.catalog.snapshot();
        survey.catalog.clone()
    }

    /// The schema is about to be changed.
    pub(super) fn note_definition(&mut self) {
        self.in_flux = true;
        if let Some(survey) = &mut self.survey {
            survey.is_due = true;
        }
    }

    /// Whether the catalogue at hand may not be what the transaction sees.
    pub(super) fn is_in_flux(&self) -> bool {
        let knows = |survey: &Survey| survey.catalog.is_some() && !survey.is_due;
        self.in_flux && !self.survey.as_deref().is_some_and(knows)
    }

    /// What there is to do before a text is refused because nobody knows the schema; nothing if that would not help.
    pub(super) fn survey_first(&self, bench: &Bench<'_>) -> Option<Judgement> {
        let in_vain = self.survey.as_deref().is_some_and(|survey| survey.catalog.is_none());
        let fails = self.status == TransactionStatus::Failed;
        if !self.is_in_flux() || in_vain || fails || bench.catalog.len() > MOST_SURVEYED {
            return None;
        }
        match (self.queue.is_empty(), self.in_batch) {
            (false, _) => Some(Judgement::Later),
            (true, true) => self.begun.then_some(Judgement::Split),
            (true, false) => (self.status == TransactionStatus::InBlock).then_some(Judgement::Survey),
        }
    }
}
