//! What the server says.

use super::names::Prepared;
use super::pending::{Pending, Running};
use super::refusal::Ending;
use super::{Copy, Output, Session, Skip};
use crate::audit::{Event, Outcome, Record, Status};
use crate::sql::Effect;
use crate::wire::{Backend, ErrorFields, Frame, Speaker, TransactionStatus};

/// Longest message of a server that is looked at, in bytes: error texts may quote long statements.
const MOST: usize = 16 << 20;

impl Session {
    /// The greatest body of a server's message, `None` for rows and COPY data, which pass.
    pub fn most_from_server(tag: u8) -> Option<usize> {
        match tag {
            b'D' | b'd' => None,
            _ => Some(MOST),
        }
    }

    /// A run of rows or COPY data; `started` messages began in it.
    pub fn data(&mut self, tag: u8, started: u64, bytes: &[u8], out: &mut Output) -> Result<(), Ending> {
        let running = match self.queue.head() {
            Some(Pending::Query(running)) => running.front_mut(),
            Some(Pending::Execute(Some(running))) => Some(running.as_mut()),
            _ => None,
        };
        let Some(running) = running else { return Err(unasked(tag)) };
        running.rows += started;
        running.bytes += bytes.len() as u64;
        self.totals.rows += started;
        self.totals.bytes += bytes.len() as u64;
        out.downstream.extend_from_slice(bytes);
        Ok(())
    }

    /// A whole message.
    pub fn backend(&mut self, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        let message = Backend::decode(frame).map_err(|error| Ending::Server(error.to_string()))?;
        match message {
            // Not bound to a request: at any time.
            Backend::NoticeResponse | Backend::NotificationResponse => {}
            Backend::ParameterStatus { name, value } => pinned(name, value)?,

            Backend::ErrorResponse(fields) => return self.error(&fields, frame, out),
            Backend::ReadyForQuery(status) => self.ready(status)?,
            Backend::CommandComplete { tag } => self.complete(tag, out)?,
            Backend::EmptyQueryResponse => self.empty()?,
            Backend::PortalSuspended => match self.queue.pop() {
                Some(Pending::Execute(Some(running))) => running.end(Status::Ok, None, None)?,
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
                Some(Pending::Describe) => {}
                _ => return Err(unasked(frame.tag())),
            },
            Backend::RowDescription { columns: _ } => match self.queue.head() {
                Some(Pending::Describe) => drop(self.queue.pop()),
                Some(Pending::Query(running)) if !running.is_empty() => {}
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
        if fields.is_fatal() {
            out.downstream.extend_from_slice(frame.bytes());
            return Ok(());
        }
        match self.queue.head() {
            Some(Pending::Query(running)) => {
                let mut failed = std::mem::take(running).into_iter();
                if let Some(running) = failed.next() {
                    running.end(Status::Error, Some(fields.sqlstate()), None)?;
                }
                for running in failed {
                    running.end(Status::Skipped, None, None)?;
                }
                out.downstream.extend_from_slice(frame.bytes());
                Ok(())
            }
            // The commit that a Sync makes may fail as well; its ReadyForQuery follows.
            Some(Pending::Sync) => {
                self.commit_failed(fields.sqlstate())?;
                out.downstream.extend_from_slice(frame.bytes());
                Ok(())
            }
            Some(Pending::Refused { simple: true, .. }) => {
                if let Some(Pending::Refused { refusal, .. }) = self.queue.pop() {
                    out.downstream.error(&refusal.report());
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
        });
        self.trail.write(record)?;
        Ok(())
    }

    /// A request of the extended protocol has failed: the server skips to the next Sync.
    fn batch_failed(&mut self, fields: &ErrorFields, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        match self.queue.pop() {
            Some(Pending::Refused { refusal, .. }) => out.downstream.error(&refusal.report()),
            Some(Pending::Execute(Some(running))) => {
                running.end(Status::Error, Some(fields.sqlstate()), None)?;
                out.downstream.extend_from_slice(frame.bytes());
            }
            Some(_) | None => out.downstream.extend_from_slice(frame.bytes()),
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
            | Pending::CloseStatement(_)
            | Pending::ClosePortal(_)
            | Pending::Sync
            | Pending::CopyEnd
            | Pending::Refused { .. } => Ok(()),
        })?;
        if !synced {
            self.skip = Skip::WithServer;
        }
        Ok(())
    }

    fn ready(&mut self, status: TransactionStatus) -> Result<(), Ending> {
        match self.queue.pop() {
            Some(Pending::Sync) => {}
            Some(Pending::Query(running)) if running.is_empty() => {}
            _ => return Err(unasked(b'Z')),
        }
        self.status = status;
        self.copy = Copy::No;
        if status == TransactionStatus::Idle && self.queue.is_empty() {
            self.names.end_transaction();
        }
        Ok(())
    }

    fn complete(&mut self, tag: &str, out: &mut Output) -> Result<(), Ending> {
        self.copy = Copy::No;
        let running = match self.queue.head() {
            Some(Pending::Query(running)) => running.pop_front(),
            Some(Pending::Execute(_)) => match self.queue.pop() {
                Some(Pending::Execute(Some(running))) => Some(*running),
                _ => None,
            },
            _ => None,
        };
        let Some(running) = running else { return Err(unasked(b'C')) };
        out.catalog_changed |= running.changes_catalog;
        self.remember(&running);
        Ok(running.end(Status::Ok, None, affected(tag))?)
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

    /// SQL has its own words for Parse and Close.
    fn remember(&mut self, running: &Running) {
        match &running.effect {
            Effect::None => {}
            Effect::Prepare(name) => self.names.prepare(name, Prepared { text: running.text.clone(), inside: true }),
            Effect::Declare(name) => self.names.declare(name, Prepared { text: running.text.clone(), inside: true }),
            Effect::Deallocate(Some(name)) => self.names.deallocate(name),
            Effect::Deallocate(None) => self.names.deallocate_all(),
            Effect::DiscardAll => self.names.discard(),
        }
    }
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

/// The rows that a command tag counts, for commands that write.
fn affected(tag: &str) -> Option<u64> {
    let mut words = tag.split(' ');
    match words.next()? {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" => words.next_back()?.parse().ok(),
        _ => None,
    }
}

fn unasked(tag: u8) -> Ending {
    Ending::Server(format!("message `{}` that nobody asked for", tag.escape_ascii()))
}
