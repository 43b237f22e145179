//! What the server says.

use super::frontend::poison;
use super::names::{Prepared, Served};
use super::path::Known;
use super::pending::{Pending, Running};
use super::refusal::{Ending, Refusal};
use super::results::{relay_error, tell};
use super::{Copy, Output, Session, Skip};
use crate::audit::{Event, Outcome, Record, Status};
use crate::sql::Effect;
use crate::wire::{Backend, ErrorFields, Frame, TransactionStatus};

impl Session {
    /// A whole message.
    pub fn backend(&mut self, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        if frame.tag() == b'D' {
            return self.masked_rows(frame.bytes(), 1, out);
        }
        let message = Backend::decode(frame).map_err(|error| Ending::Server(error.to_string()))?;
        // What is not for the client is followed all the same.
        let before = out.downstream.len();
        let (hushed, own) = (self.hushed, self.is_own());
        let always = matches!(
            message,
            Backend::ParameterStatus { .. } | Backend::NotificationResponse | Backend::ReadyForQuery(_)
        );
        self.follow(message, frame, out)?;
        // An error in the place of our own Describe is what the client's Execute would have got.
        if (hushed && !always) || (own && frame.tag() != b'E' && !always) {
            out.downstream.truncate(before);
        }
        Ok(())
    }

    /// Whether the request at the head is one of ours, of whose course the client hears nothing.
    fn is_own(&mut self) -> bool {
        matches!(self.queue.head(), Some(Pending::OwnBegin | Pending::OwnDescribe))
    }

    fn follow(&mut self, message: Backend<'_>, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        match message {
            // Not bound to a request: at any time.
            Backend::NoticeResponse(fields) => {
                let redacts = self.quotes_masked();
                relay_error(&fields, frame, redacts, out);
                return Ok(());
            }
            Backend::NotificationResponse => {}
            // Nobody can change it, and so nothing that is said of it later is true.
            Backend::ParameterStatus { name: "application_name", .. } if self.is_named() => return Ok(()),
            Backend::ParameterStatus { name, value } => {
                // What is read from here on may be something else than the server reads, and nothing hangs on it.
                if !self.observes {
                    pinned(name, value)?;
                }
                self.note_setting(name, value);
            }

            Backend::ErrorResponse(fields) => return self.error(&fields, frame, out),
            Backend::ReadyForQuery(status) => return self.ready(status, frame, out),
            Backend::CommandComplete { tag } => return self.complete(tag, frame, out),
            Backend::EmptyQueryResponse => self.empty()?,
            Backend::PortalSuspended => match self.queue.pop() {
                Some(Pending::Execute(Some(mut running))) => {
                    self.served(&running);
                    if let Some(refusal) = running.stopped.take() {
                        return self.fail_for_limit(*running, &refusal, None, false, out);
                    }
                    running.end(Status::Ok, None, None)?;
                }
                _ => return Err(unasked(frame.tag())),
            },
            Backend::ParseComplete => match self.queue.pop() {
                Some(Pending::Parse { name, prepared }) => self.names.prepare(&name, prepared),
                _ => return Err(unasked(frame.tag())),
            },
            Backend::BindComplete => match self.queue.pop() {
                Some(Pending::Bind { portal, prepared }) => self.names.bind(&portal, prepared),
                _ => return Err(unasked(frame.tag())),
            },
            Backend::CloseComplete => match self.queue.pop() {
                Some(Pending::CloseStatement(name)) => self.names.deallocate(&name),
                Some(Pending::ClosePortal(name)) => self.names.close_portal(&name),
                _ => return Err(unasked(frame.tag())),
            },
            Backend::ParameterDescription => match self.queue.head() {
                Some(Pending::Describe) => {}
                _ => return Err(unasked(frame.tag())),
            },
            Backend::NoData => match self.queue.pop() {
                Some(Pending::Describe | Pending::OwnDescribe) => {}
                _ => return Err(unasked(frame.tag())),
            },
            Backend::RowDescription { columns } => match self.queue.head() {
                Some(Pending::Describe) => drop(self.queue.pop()),
                Some(Pending::OwnDescribe) => {
                    self.queue.pop();
                    self.shape(frame, columns)?;
                }
                Some(Pending::Query(running)) if !running.is_empty() => self.shape(frame, columns)?,
                _ => return Err(unasked(frame.tag())),
            },
            Backend::CopyInResponse => {
                let copies = match self.queue.head() {
                    Some(Pending::Query(running)) => running.front().is_some_and(|running| running.copies_in),
                    Some(Pending::Execute(running)) => running.as_ref().is_some_and(|running| running.copies_in),
                    _ => false,
                };
                if !copies {
                    return Err(unasked(frame.tag()));
                }
                // A client that pipelines has ended its data before the server asked for them.
                if self.queue.swallow_syncs() {
                    self.copy = Copy::In;
                }
            }
            Backend::CopyOutResponse | Backend::CopyDone => match self.queue.head() {
                Some(Pending::Query(running)) if !running.is_empty() => {}
                Some(Pending::Execute(Some(_))) => {}
                _ => return Err(unasked(frame.tag())),
            },

            // Only at the start of a session.
            Backend::Authentication { .. } | Backend::BackendKeyData { .. } | Backend::NegotiateProtocolVersion => {
                return Err(unasked(frame.tag()));
            }
        }
        out.downstream.extend_from_slice(frame.bytes());
        Ok(())
    }

    fn error(&mut self, fields: &ErrorFields, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        self.copy = Copy::No;
        let redacts = self.quotes_masked();
        if fields.is_fatal() {
            relay_error(fields, frame, redacts, out);
            self.server_ended = true;
            return Ok(());
        }
        self.path.failed();
        self.note_failure();
        self.survey = None;
        match self.queue.head() {
            Some(Pending::Query(running)) => {
                let mut failed = std::mem::take(running).into_iter();
                match failed.next() {
                    Some(running) => fail(running, fields, frame, redacts, out)?,
                    None => relay_error(fields, frame, redacts, out),
                }
                for running in failed {
                    running.end(Status::Skipped, None, None)?;
                }
                Ok(())
            }
            // The commit that a Sync makes may fail as well; its ReadyForQuery follows.
            Some(Pending::Sync) => {
                self.commit_failed(fields.sqlstate())?;
                relay_error(fields, frame, redacts, out);
                Ok(())
            }
            Some(Pending::OwnEnd(bracketed)) => {
                if let Some(running) = bracketed.running.take() {
                    fail(running, fields, frame, redacts, out)?;
                }
                Ok(())
            }
            Some(Pending::OwnBegin) => Err(Ending::Server("it refuses to begin a transaction".to_owned())),
            Some(Pending::OwnSync) => Err(Ending::Server("it refuses to end a batch".to_owned())),
            Some(Pending::Refused { simple: true, .. }) => {
                if let Some(Pending::Refused { refusal, .. }) = self.queue.pop() {
                    tell(&refusal, out);
                }
                // The ReadyForQuery of the text that failed in its stead.
                self.queue.push_front(Pending::Query(Default::default()));
                Ok(())
            }
            Some(_) => self.batch_failed(fields, frame, out),
            None => Err(unasked(frame.tag())),
        }
    }

    /// What the batch wrote had been recorded as done; now it is undone.
    fn commit_failed(&self, sqlstate: &str) -> Result<(), Ending> {
        let mut record = Record::new(Event::Outcome, self.subject.clone());
        record.outcome = Some(Outcome {
            status: Status::Error,
            reason: Some("the commit failed: what the batch wrote is rolled back".to_owned()),
            sqlstate: Some(sqlstate.to_owned()),
            rows: 0,
            bytes: 0,
            masked: 0,
            affected: None,
            duration_us: 0,
            backend_pid: self.backend_pid,
            statement_seq: self.last_statement,
            results: None,
        });
        self.trail.write(record)?;
        Ok(())
    }

    /// A request of the extended protocol has failed: the server skips to the next Sync.
    fn batch_failed(&mut self, fields: &ErrorFields, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        let redacts = self.quotes_masked();
        match self.queue.pop() {
            Some(Pending::Refused { refusal, .. }) => tell(&refusal, out),
            Some(Pending::Execute(Some(running))) => fail(*running, fields, frame, redacts, out)?,
            Some(_) | None => relay_error(fields, frame, redacts, out),
        }
        let synced = self.queue.skip_to_sync(|request| match request {
            Pending::Execute(Some(running)) => running.end(Status::Skipped, None, None),
            Pending::Query(running) => {
                running.into_iter().try_for_each(|running| running.end(Status::Skipped, None, None))
            }
            Pending::Execute(None)
            | Pending::Parse { .. }
            | Pending::Bind { .. }
            | Pending::Describe
            | Pending::OwnDescribe
            | Pending::OwnBegin
            | Pending::OwnEnd(_)
            | Pending::CloseStatement(_)
            | Pending::ClosePortal(_)
            | Pending::Sync
            | Pending::OwnSync
            | Pending::CopyEnd
            | Pending::Refused { .. } => Ok(()),
        })?;
        if !synced {
            self.skip = Skip::WithServer;
        }
        Ok(())
    }

    fn ready(&mut self, status: TransactionStatus, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        self.copy = Copy::No;
        match self.queue.pop() {
            Some(Pending::OwnBegin) => {
                self.status = status;
                return Ok(());
            }
            // The client has ended no batch, and hears of none.
            Some(Pending::OwnSync) if status == TransactionStatus::InBlock => {
                self.status = status;
                return Ok(());
            }
            Some(Pending::OwnSync) => {
                return Err(Ending::Server("it is in no transaction block that it had begun".to_owned()));
            }
            Some(Pending::Query(running)) if running.is_empty() && self.bracket => {
                self.end_bracket(out);
                return Ok(());
            }
            Some(Pending::OwnEnd(_) | Pending::Sync) => {}
            Some(Pending::Query(running)) if running.is_empty() => {}
            _ => return Err(unasked(b'Z')),
        }
        self.status = status;
        self.begun = status == TransactionStatus::InBlock;
        if self.hushed && status == TransactionStatus::InBlock {
            // The client has been told that it failed; now it does, for the server too.
            self.say(&poison(true), out);
            self.queue.push_front(Pending::Refused { refusal: Refusal::Hushed, simple: true });
            return Ok(());
        }
        self.hushed = false;
        if status == TransactionStatus::Idle {
            // Now others can see it, and so can we.
            out.catalog_changed |= std::mem::take(&mut self.in_flux);
            self.survey = None;
            self.path.idle();
            self.note_end_of_transaction();
            if self.queue.is_empty() {
                self.names.end_transaction();
                self.redacts = false;
            }
        }
        out.downstream.extend_from_slice(frame.bytes());
        Ok(())
    }

    fn complete(&mut self, tag: &str, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        self.copy = Copy::No;
        let simple = match self.queue.head() {
            // COMMIT of what is to stay; with that it is told.
            Some(Pending::OwnEnd(bracketed)) => {
                let committed = bracketed.running.take();
                if let Some(running) = committed {
                    out.downstream.extend_from_slice(&bracketed.complete);
                    let affected = bracketed.affected;
                    running.end(Status::Ok, None, affected)?;
                }
                return Ok(());
            }
            Some(Pending::OwnBegin) => return Ok(()),
            Some(Pending::Query(_)) => true,
            _ => false,
        };
        let running = match self.queue.head() {
            Some(Pending::Query(running)) => running.pop_front(),
            Some(Pending::Execute(_)) => match self.queue.pop() {
                Some(Pending::Execute(Some(running))) => Some(*running),
                _ => None,
            },
            _ => None,
        };
        let Some(mut running) = running else { return Err(unasked(b'C')) };
        self.remember(&running);
        self.served(&running);
        self.path.ran(&running.effect, tag);
        match tag {
            "BEGIN" | "START TRANSACTION" => self.begun = true,
            // Of a savepoint too, or with a chain: where nobody can tell it counts as none.
            "COMMIT" | "ROLLBACK" | "PREPARE TRANSACTION" => self.begun = false,
            _ => {}
        }
        self.note_touch(&running);
        if matches!(running.effect, Effect::EndTransaction | Effect::RollbackTo) {
            self.survey = None;
        }
        let affected = affected(tag, running.writes && running.orders.limits_effect());
        if self.bracket && simple {
            return self.close_bracket(running, frame, affected, out);
        }
        let refusal = running.stopped.take().or_else(|| self.exceeds(&running, affected));
        match refusal {
            Some(refusal) => self.fail_for_limit(running, &refusal, affected, simple, out),
            None => {
                out.downstream.extend_from_slice(frame.bytes());
                Ok(running.end(Status::Ok, None, affected)?)
            }
        }
    }

    fn empty(&mut self) -> Result<(), Ending> {
        match self.queue.head() {
            Some(Pending::Query(running)) if running.is_empty() => Ok(()),
            Some(Pending::Execute(None)) => {
                self.queue.pop();
                Ok(())
            }
            _ => Err(unasked(b'I')),
        }
    }

    /// Rows that were taken from a portal count for what is taken from it later.
    fn served(&mut self, running: &Running) {
        if let Some(portal) = &running.portal {
            self.names.add_served(portal, Served { rows: running.rows, bytes: running.bytes });
        }
    }

    /// What PREPARE and DECLARE make. Names are looked up as they are now: for a cursor that is how they stay.
    fn made_inside(&self, running: &Running) -> Prepared {
        let path = match self.path.now() {
            Known::Path(path) => path.clone(),
            Known::Doubt => None,
        };
        Prepared {
            text: running.text.clone(),
            inside: true,
            path,
            own: self.temporary().cloned(),
            meant: running.meant.clone(),
            redacts: running.orders.redacts_errors,
            served: Served::default(),
            bind: None,
            bound: None,
            // PREPARE does nothing, and what it prepares can be run any number of times.
            approved: running.approved.clone().filter(|_| matches!(running.effect, Effect::Declare(_))),
        }
    }

    /// SQL has its own words for Parse and Close.
    fn remember(&mut self, running: &Running) {
        match &running.effect {
            Effect::None
            | Effect::SearchPath { .. }
            | Effect::ResetAll
            | Effect::EndTransaction
            | Effect::RollbackTo
            | Effect::DiscardTemporary
            | Effect::Fetch(_) => {}
            Effect::Prepare(name) => self.names.prepare(name, self.made_inside(running)),
            Effect::Declare(name) => self.names.declare(name, self.made_inside(running)),
            Effect::Deallocate(Some(name)) => self.names.deallocate(name),
            Effect::Deallocate(None) => self.names.deallocate_all(),
            Effect::Close(Some(name)) => self.names.close_portal(name),
            Effect::Close(None) => self.names.close_all(),
            Effect::DiscardAll => self.names.discard(),
        }
    }
}

/// A statement has failed; one that was being stopped has failed for that.
fn fail(
    mut running: Running,
    fields: &ErrorFields,
    frame: &Frame,
    redacts: bool,
    out: &mut Output,
) -> Result<(), Ending> {
    match running.stopped.take() {
        Some(refusal) => {
            tell(&refusal, out);
            running.end_stopped(&refusal, None)?;
        }
        None => {
            relay_error(fields, frame, redacts, out);
            running.end(Status::Error, Some(fields.sqlstate()), None)?;
        }
    }
    Ok(())
}

/// Settings that change what bytes mean: a server that reports another value has been talked into it behind our back.
fn pinned(name: &str, value: &str) -> Result<(), Ending> {
    match (name, value) {
        ("client_encoding", "UTF8") | ("standard_conforming_strings", "on") => Ok(()),
        ("client_encoding" | "standard_conforming_strings", _) => {
            Err(Ending::Server(format!("it reports {name} = {value}")))
        }
        _ => Ok(()),
    }
}

/// The rows that a command tag counts, for commands that write. CREATE TABLE AS and SELECT INTO say SELECT; of all else that
/// says so what is `limited` is refused before it runs, because it cannot be counted.
fn affected(tag: &str, limited: bool) -> Option<u64> {
    let mut words = tag.split(' ');
    match words.next()? {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" => words.next_back()?.parse().ok(),
        "SELECT" if limited => words.next_back()?.parse().ok(),
        _ => None,
    }
}

fn unasked(tag: u8) -> Ending {
    Ending::Server(format!("message `{}` that nobody asked for", tag.escape_ascii()))
}
