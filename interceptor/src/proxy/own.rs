//! The catalogue of a database that the daemon has no credential for is read in the agent's own session: after the log-in,
//! before the client is told that it is ready, and from then on whenever nothing is under way and it may have changed.

use super::catalogs::{Reading, SurveyReading, TemporaryReading};
use super::login::LoginError;
use super::questions;
use super::relay::{Ends, Surroundings, lost};
use super::temporary;
use super::tls::Writer;
use super::upstream::{Server, row};
use crate::session::{Ending, Session};
use crate::wire::{Backend, Chunk, Frame, TransactionStatus};
use bytes::BytesMut;

/// The first reading.
pub(super) async fn read_first(reading: Reading<'_>, server: &mut Server) -> Result<(), LoginError> {
    let mut reading = reading;
    server.ask(&questions::all(), |question, row| reading.row(question, row)).await?;
    reading.end();
    Ok(())
}

/// What there is to do about the catalogue before the client's next message is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// It has to be read, and can be.
    Now,
    /// It has to be read when what is under way has ended.
    Later,
}

impl Ends<'_> {
    /// For sessions that read it themselves.
    pub(super) fn due(&self, session: &Session, server_write: &Writer<'_>, around: &Surroundings<'_>) -> Due {
        if !around.credential.is_relayed() {
            return Due::Nothing;
        }
        let wanted = self.out.catalog_changed || self.wants_catalog;
        let speaks = self.held.is_some() || !self.client_inbox.buffer.is_empty();
        if !(wanted || speaks && around.catalog.is_stale()) {
            return Due::Nothing;
        }
        let rests = !session.is_running()
            && !session.in_transaction()
            && !session.is_in_batch()
            && !session.is_within_message();
        if rests && !server_write.owes(&self.out.upstream) && self.server_inbox.buffer.is_empty() {
            Due::Now
        } else if wanted && session.is_running() {
            Due::Later
        } else {
            // Within a transaction it stays what it was; what is not in it is not there.
            Due::Nothing
        }
    }

    /// Asks on the session's own connection, on which nothing is under way.
    pub(super) async fn read_catalog(
        &mut self,
        session: &mut Session,
        server_write: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let mut reading = around.proxy.catalogs.begin(&around.place, &around.credential).await;
        self.ask(&questions::all(), "its catalogue", session, server_write, |at, values| reading.row(at, values))
            .await?;
        reading.end();
        self.out.catalog_changed = false;
        self.wants_catalog = false;
        Ok(())
    }

    /// Asks on the session's own connection what temporary relations there are, in whatever transaction it is.
    pub(super) async fn read_temporary(
        &mut self,
        session: &mut Session,
        server_write: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let Some(catalog) = around.catalog.latest() else {
            return Err(Ending::Server("its catalogue was never read".to_owned()));
        };
        self.catch_up(server_write, around).await?;
        const WHAT: &str = "its temporary relations";
        let mut reading = TemporaryReading::new(&around.place);
        self.ask(temporary::WHICH, WHAT, session, server_write, |at, values| reading.which(at, values)).await?;
        if let Some(questions) = reading.questions(session.in_transaction()) {
            self.ask(&questions, WHAT, session, server_write, |at, values| reading.row(at, values)).await?;
        }
        session.note_temporary(reading.end(&catalog), &catalog);
        Ok(())
    }

    /// Asks on the session's own connection what its transaction has made of the schema.
    pub(super) async fn survey(
        &mut self,
        session: &mut Session,
        server_write: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let Some(catalog) = around.catalog.latest() else {
            return Err(Ending::Server("its catalogue was never read".to_owned()));
        };
        self.catch_up(server_write, around).await?;
        let mut reading = SurveyReading::new(&around.place, &catalog);
        let questions = SurveyReading::questions();
        self.ask(&questions, "its schema", session, server_write, |at, values| reading.row(at, values)).await?;
        session.note_survey(reading.end(), &catalog);
        Ok(())
    }

    /// Has the server hear what it is to hear before something is asked; what is on record stands in the trail first.
    pub(super) async fn catch_up(
        &mut self,
        server_write: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        around.proxy.shared.trail.flush()?;
        let mut out = std::mem::take(&mut self.out.upstream);
        self.tell(server_write, &mut out).await
    }

    /// Asks on the session's own connection, on which nothing is under way; gives each row of an answer with the place of
    /// its question among those that have rows.
    async fn ask(
        &mut self,
        questions: &str,
        what: &str,
        session: &mut Session,
        server_write: &mut Writer<'_>,
        mut each: impl FnMut(usize, &[Option<&str>]) -> Option<()>,
    ) -> Result<(), Ending> {
        let mut query = BytesMut::from(Frame::query(questions).bytes());
        while server_write.owes(&query) {
            server_write.send(&mut query).await.map_err(|error| lost(&error))?;
        }
        let unreadable = |why: &str| Ending::Server(format!("{what} could not be read: {why}"));
        let mut shapes = 0_usize;
        loop {
            let next = self.server_splitter.next(&mut self.server_inbox.buffer, |_| Some(16 << 20));
            let frame = match next.map_err(|error| Ending::Server(error.to_string()))? {
                Some(Chunk::Whole(frame)) => frame,
                Some(Chunk::Passing { .. } | Chunk::Beginning(_) | Chunk::Skipped(_)) => {
                    return Err(unreadable("a message is too long"));
                }
                None => {
                    if self.server_inbox.fill(&mut self.server).await.map_err(|error| lost(&error))? == 0 {
                        return Err(unreadable("it closed the connection"));
                    }
                    continue;
                }
            };
            if frame.tag() == b'D' {
                let question = shapes.checked_sub(1).ok_or_else(|| unreadable("a row without a shape"))?;
                let taken = row(frame.body()).and_then(|values| each(question, &values));
                taken.ok_or_else(|| unreadable("a row has an unknown shape"))?;
                continue;
            }
            match Backend::decode(&frame).map_err(|error| Ending::Server(error.to_string()))? {
                Backend::RowDescription { .. } => shapes += 1,
                Backend::CommandComplete { .. } => {}
                // Of what the questions themselves set for as long as they take.
                Backend::ParameterStatus { name: "search_path", .. } => {}
                Backend::ParameterStatus { .. } | Backend::NoticeResponse(_) | Backend::NotificationResponse => {
                    session.backend(&frame, &mut self.out)?;
                }
                Backend::ReadyForQuery(status) if (status != TransactionStatus::Idle) == session.in_transaction() => {
                    break;
                }
                Backend::ErrorResponse(fields) => return Err(unreadable(fields.get(b'M').unwrap_or_default())),
                _ => return Err(unreadable("it answers something else")),
            }
        }
        Ok(())
    }
}
