//! What the client says.

use super::claim::{NOTHING, claims_name};
use super::hold::{Bound, Run};
use super::judge::{Bench, Judgement, execution, release};
use super::meant::{Lasts, Meant};
use super::names::{Prepared, Served};
use super::path::Known;
use super::pending::{Meaning, Pending};
use super::refusal::{Ending, Refusal};
use super::trial::Way;
use super::{Copy, Output, Session, Skip, Step};
use crate::audit::Status;
use crate::policy::{Granted, Permit};
use crate::sql::{Effect, Rejection};
use crate::wire::{Frame, Frontend, Skipped, Speaker, Target, TransactionStatus, Unreadable, parameters};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Longest messages that are taken whole, in bytes. COPY data passes through and is not among them, and of a longer Bind all
/// but its beginning does.
const MOST_STATEMENT: usize = 16 << 20;
const MOST_BIND: usize = 64 << 20;
const MOST_OTHER: usize = 10_000;

/// Longest name that the server keeps whole, in bytes (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

/// A text that no server takes for SQL: it fails in the place of what was refused.
const POISON: &str = "<refused by interceptor>";

impl Session {
    /// The greatest body of a client's message, `None` for messages that pass without being looked at.
    pub fn most_from_client(tag: u8) -> Option<usize> {
        match tag {
            b'd' => None,
            b'Q' | b'P' => Some(MOST_STATEMENT),
            b'B' => Some(MOST_BIND),
            b'C' | b'D' | b'E' | b'F' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' => Some(MOST_OTHER),
            // No client says this: refused at its header, nobody waits for the rest.
            _ => Some(0),
        }
    }

    /// Bytes of messages that pass: CopyData, of which `started` begin here, or what follows the beginning of a Bind; with `open`
    /// they end within a message.
    ///
    /// A message goes on whole or not at all, whatever has become of the COPY meanwhile, and nothing of ours goes into its
    /// middle: where the server looked for the next message then, the client would say what it finds.
    pub fn passing(&mut self, started: u64, bytes: &[u8], open: bool, out: &mut Output) {
        if started > 0 {
            // Outside COPY the server would ignore them: an early failure leaves the client sending.
            self.rest_goes_on = self.skip == Skip::No && (self.copy == Copy::In || self.queue.awaits_copy_data());
        }
        if self.rest_goes_on {
            out.upstream.extend_from_slice(bytes);
        }
        self.within_message = open && self.rest_goes_on;
        if !self.within_message && !self.deferred.is_empty() {
            out.upstream.extend_from_slice(&std::mem::take(&mut self.deferred));
        }
    }

    /// Something that is not an answer to a message of the client's goes to the server: behind the one that is on its way.
    pub(super) fn say(&mut self, message: &[u8], out: &mut Output) {
        let to = if self.within_message { &mut self.deferred } else { &mut out.upstream };
        to.extend_from_slice(message);
    }

    /// A statement that was too long to be kept; on record by its beginning and a digest.
    pub fn skipped(&mut self, skipped: &Skipped, out: &mut Output) -> Result<(), Ending> {
        if self.copy == Copy::In {
            return Err(Ending::Violation("unexpected message during COPY from the client".to_owned()));
        }
        if self.skip == Skip::No {
            let Skipped { tag, body, beginning, length, digest } = skipped;
            let text = format!("{} [cut: {length} bytes in all, sha256 {digest}]", String::from_utf8_lossy(beginning));
            let refusal = self.refuse_text(&text, Refusal::Rejected(Rejection::TooLong(*body)))?;
            self.refuse(refusal, *tag == b'Q', out);
        }
        Ok(())
    }

    /// A whole message.
    pub fn frontend(&mut self, frame: &Frame, bench: &Bench<'_>, out: &mut Output) -> Result<Step, Ending> {
        let surveyed = self.surveyed(bench);
        let bench = match &surveyed {
            Some(catalog) => &Bench { catalog, fresh: true, ..*bench },
            None => bench,
        };
        let step = self.message(frame, bench, out)?;
        if step == Step::Done {
            self.tried = None;
        }
        if step == Step::Done
            && let Some(ticket) = self.ticket.take()
        {
            // It was for this message; where that needs no approval any more nobody need decide.
            ticket.withdraw(bench.unix);
        }
        Ok(step)
    }

    fn message(&mut self, frame: &Frame, bench: &Bench<'_>, out: &mut Output) -> Result<Step, Ending> {
        self.rest_goes_on = false;
        let message = match Frontend::decode(frame) {
            Ok(message) => message,
            Err(error) => return self.unreadable(frame, error, out),
        };
        if self.copy == Copy::In {
            return self.during_copy(message, frame, out);
        }
        if self.skip != Skip::No {
            return self.skipping(message, frame, out);
        }
        if self.waits_for_limit(&message, out) {
            return Ok(Step::Wait);
        }
        if needs_path(&message) {
            match self.queue.path_unsettled(self.path.is_changed()) {
                None => {}
                Some(false) => return Ok(Step::Wait),
                Some(true) => {
                    let refusal = self.refuse_unread(Refusal::PathInDoubt)?;
                    return Ok(self.refuse(refusal, frame.tag() == b'Q', out));
                }
            }
        }
        if names(&message).into_iter().any(|name| name.len() > LONGEST_NAME) {
            let refusal = self.refuse_unread(Refusal::LongName)?;
            return Ok(self.refuse(refusal, false, out));
        }
        match message {
            Frontend::Query { text } if self.is_named() && claims_name(text) => {
                self.query(NOTHING, &Frame::query(NOTHING), bench, out)
            }
            Frontend::Query { text } => self.query(text, frame, bench, out),
            Frontend::Parse { name, text } if self.is_named() && claims_name(text) => {
                self.parse(name, NOTHING, &Frame::parse(name, NOTHING), bench, out)
            }
            Frontend::Parse { name, text } => self.parse(name, text, frame, bench, out),
            Frontend::Bind { portal, statement } => self.bind(portal, statement, frame, bench, out),
            // The server may still have one that a Query has taken away which it has not heard of.
            Frontend::Describe(Target::Statement("")) if !self.has_unnamed() => {
                let refusal = self.refuse_unread(Refusal::NoStatement(String::new()))?;
                Ok(self.refuse(refusal, false, out))
            }
            Frontend::Describe(_) => Ok(self.forward(Pending::Describe, frame, out)),
            Frontend::Execute { portal, rows } => self.execute(portal, rows, frame, bench, out),
            Frontend::Close(Target::Statement(name)) => {
                Ok(self.forward(Pending::CloseStatement(name.to_owned()), frame, out))
            }
            Frontend::Close(Target::Portal(name)) => {
                Ok(self.forward(Pending::ClosePortal(name.to_owned()), frame, out))
            }
            Frontend::Sync => {
                self.in_batch = false;
                self.batch_writes = false;
                self.batch_ran = false;
                self.queue.push(Pending::Sync);
                out.upstream.extend_from_slice(frame.bytes());
                Ok(Step::Done)
            }
            Frontend::Flush => {
                out.upstream.extend_from_slice(frame.bytes());
                Ok(Step::Done)
            }
            Frontend::CopyDone | Frontend::CopyFail => {
                if self.queue.awaits_copy_data() {
                    self.queue.push(Pending::CopyEnd);
                    out.upstream.extend_from_slice(frame.bytes());
                }
                Ok(Step::Done)
            }
            Frontend::FunctionCall => {
                let refusal = self.refuse_unread(Refusal::FunctionCall)?;
                Ok(self.refuse(refusal, true, out))
            }
            Frontend::Terminate => Err(Ending::Terminated),
            Frontend::Password => Err(Ending::Violation("a password that nobody asked for".to_owned())),
        }
    }

    fn unreadable(&mut self, frame: &Frame, error: Unreadable, out: &mut Output) -> Result<Step, Ending> {
        let refusal = Refusal::try_from(error)?;
        if self.skip != Skip::No {
            return Ok(Step::Done);
        }
        if self.copy == Copy::In {
            return Err(Ending::Violation("unexpected message during COPY from the client".to_owned()));
        }
        let refusal = self.refuse_unread(refusal)?;
        Ok(self.refuse(refusal, frame.tag() == b'Q', out))
    }

    fn query(&mut self, text: &str, frame: &Frame, bench: &Bench<'_>, out: &mut Output) -> Result<Step, Ending> {
        self.check_expiry(bench)?;
        match self.judge(text, Run::Text, bench)? {
            Judgement::Permitted(_, running) if self.takes_trial() => {
                if self.status == TransactionStatus::Idle {
                    // The BEGIN of the trial; COMMIT follows the answer.
                    (self.bracket, self.status) = (true, TransactionStatus::InBlock);
                }
                self.queue.push(Pending::Query(running));
                Ok(Step::Done)
            }
            Judgement::Permitted(permit, running) => {
                if self.needs_bracket(&running) {
                    self.open_bracket(out);
                }
                self.queue.push(Pending::Query(running));
                release(permit, frame, &mut out.upstream);
                Ok(Step::Done)
            }
            Judgement::Try(permit, planned) => {
                let mut bytes = BytesMut::new();
                release(permit, frame, &mut bytes);
                let in_block = self.status == TransactionStatus::InBlock;
                Ok(self.plan(bytes.freeze(), Way::Text { in_block }, planned))
            }
            Judgement::Refused(refusal) => Ok(self.refuse(refusal, true, out)),
            Judgement::Held => Ok(Step::Hold),
            Judgement::Later => Ok(self.later(out)),
            Judgement::Stale => Ok(Step::Refresh),
            Judgement::Look => Ok(Step::Look),
            Judgement::Survey => Ok(Step::Survey),
            Judgement::Split => Ok(self.split(out)),
        }
    }

    fn parse(
        &mut self,
        name: &str,
        text: &str,
        frame: &Frame,
        bench: &Bench<'_>,
        out: &mut Output,
    ) -> Result<Step, Ending> {
        self.check_expiry(bench)?;
        if self.asks_first(bench) {
            return Ok(Step::Look);
        }
        if !name.is_empty() && self.names.is_full(self.queue.parses()) && self.names.statement(name).is_none() {
            let refusal = self.refuse_unread(Refusal::TooManyStatements)?;
            return Ok(self.refuse(refusal, false, out));
        }
        match self.judge(text, Run::No, bench)? {
            Judgement::Permitted(permit, _) => {
                self.in_batch = true;
                let redacts = redacts_errors(&permit);
                let meant = match self.path.now().clone() {
                    Known::Path(path) => self.meaning_of(text, &path, bench),
                    Known::Doubt => Meant::default(),
                };
                self.queue.push(Pending::Parse {
                    name: name.to_owned(),
                    prepared: Prepared {
                        text: text.into(),
                        inside: false,
                        path: match self.path.now() {
                            Known::Path(path) => path.clone(),
                            Known::Doubt => None,
                        },
                        own: self.temporary().cloned(),
                        meant,
                        redacts,
                        served: Served::default(),
                        bound: Some(bound(frame, Bytes::new())),
                        approved: None,
                        bind: None,
                    },
                });
                release(permit, frame, &mut out.upstream);
                Ok(Step::Done)
            }
            Judgement::Refused(refusal) => Ok(self.refuse(refusal, false, out)),
            Judgement::Held | Judgement::Try(..) => Ok(Step::Hold),
            Judgement::Later => Ok(self.later(out)),
            Judgement::Stale => Ok(Step::Refresh),
            Judgement::Look => Ok(Step::Look),
            Judgement::Survey => Ok(Step::Survey),
            Judgement::Split => Ok(self.split(out)),
        }
    }

    fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        frame: &Frame,
        bench: &Bench<'_>,
        out: &mut Output,
    ) -> Result<Step, Ending> {
        match self.queue.statement(statement, self.names.statement(statement)) {
            Meaning::Text(mut prepared) => {
                let Known::Path(path) = self.path.now() else {
                    let refusal = self.refuse_unread(Refusal::PathInDoubt)?;
                    return Ok(self.refuse(refusal, false, out));
                };
                let path = path.clone();
                if path != prepared.path || prepared.own.is_some() || self.has_own() {
                    // Planning calls functions, and names mean something else than when it was judged.
                    match self.judge(&prepared.text, Run::No, bench)? {
                        Judgement::Permitted(permit, _) => {
                            let redacts = |granted: &Arc<Granted>| granted.orders().redacts_errors;
                            prepared.redacts |= permit.statements().iter().any(redacts);
                        }
                        Judgement::Refused(refusal) => return Ok(self.refuse(refusal, false, out)),
                        Judgement::Held | Judgement::Try(..) => return Ok(Step::Hold),
                        Judgement::Later => return Ok(self.later(out)),
                        Judgement::Stale => return Ok(Step::Refresh),
                        Judgement::Look => return Ok(Step::Look),
                        Judgement::Survey => return Ok(Step::Survey),
                        Judgement::Split => return Ok(self.split(out)),
                    }
                }
                if self.may_be_either(&prepared, &path, bench) {
                    let refusal = self.refuse_unread(Refusal::Shadowed)?;
                    return Ok(self.refuse(refusal, false, out));
                }
                if self.means_another(&prepared.meant, (&prepared.text, &path), Lasts::UntilChanged, bench) {
                    let refusal = self.refuse_unread(Refusal::Hidden)?;
                    return Ok(self.refuse(refusal, false, out));
                }
                prepared.meant = self.meaning_of(&prepared.text, &path, bench);
                prepared.path = path;
                prepared.own = self.temporary().cloned();
                prepared.approved = None;
                // Kept where it may matter only: copying values costs time and room.
                let types = prepared.bound.take().map(|Bound { types, .. }| types);
                // What PREPARE has prepared has its types in its text.
                let kept = bench.policies.keeps_values() && frame.is_whole();
                let types = types.or(prepared.inside.then(Bytes::new)).filter(|_| kept);
                prepared.bind = types.as_ref().map(|_| Bytes::copy_from_slice(frame.bytes()));
                prepared.bound = types.map(|types| bound(frame, types));
                Ok(self.forward(Pending::Bind { portal: portal.to_owned(), prepared }, frame, out))
            }
            Meaning::Nothing => {
                let refusal = self.refuse_unread(Refusal::NoStatement(statement.to_owned()))?;
                Ok(self.refuse(refusal, false, out))
            }
            Meaning::Unsettled => Ok(Step::Wait),
        }
    }

    /// Runs a portal: judged again, for policies, the catalogue and the time are not what they were at Parse.
    fn execute(
        &mut self,
        portal: &str,
        rows: i32,
        frame: &Frame,
        bench: &Bench<'_>,
        out: &mut Output,
    ) -> Result<Step, Ending> {
        self.check_expiry(bench)?;
        let prepared = match self.queue.portal(portal, self.names.portal(portal)) {
            Meaning::Text(prepared) => prepared,
            Meaning::Nothing => {
                let refusal = self.refuse_unread(Refusal::NoPortal(portal.to_owned()))?;
                return Ok(self.refuse(refusal, false, out));
            }
            Meaning::Unsettled => return Ok(Step::Wait),
        };
        // The names of a query were looked up at Bind; those in the functions that it calls, and in COPY, TRUNCATE and their
        // kin, are looked up now.
        if *self.path.now() != Known::Path(prepared.path.clone()) {
            let refusal = self.refuse_unread(Refusal::OtherPath)?;
            return Ok(self.refuse(refusal, false, out));
        }
        if self.is_of_another(&prepared, bench) {
            let refusal = self.refuse_unread(Refusal::OtherOwn)?;
            return Ok(self.refuse(refusal, false, out));
        }
        if self.means_another(&prepared.meant, (&prepared.text, &prepared.path), Lasts::Forever, bench) {
            let refusal = self.refuse_unread(Refusal::Hidden)?;
            return Ok(self.refuse(refusal, false, out));
        }
        let mut prepared = prepared;
        if rows > 0 {
            // What is answered in portions is not tried.
            prepared.bind = None;
        }
        match self.judge_under(&prepared.text, &prepared.path, Run::Portal(&prepared), bench)? {
            // It would run to its end at the first Execute, and say how much it has changed at the last.
            Judgement::Permitted(_, running)
                if rows > 0 && running.iter().any(|running| running.writes && running.orders.is_limited()) =>
            {
                for running in running {
                    running.end(Status::Denied, None, None)?;
                }
                let refusal = self.refuse_unread(Refusal::InPortions)?;
                Ok(self.refuse(refusal, false, out))
            }
            Judgement::Permitted(permit, mut running) => {
                if prepared.inside {
                    // What PREPARE prepared runs, PREPARE itself does not.
                    running.iter_mut().for_each(|running| running.effect = Effect::None);
                }
                for running in running.iter_mut().filter(|running| running.portal.is_none()) {
                    running.portal = Some(portal.to_owned());
                }
                if let Some(approved) = running.iter().find_map(|running| running.approved.as_ref()) {
                    self.names.approve(portal, approved);
                }
                self.in_batch = true;
                self.batch_ran |= running.iter().any(|running| running.effect != Effect::None);
                self.batch_writes |= running.iter().any(|running| running.writes);
                if self.takes_trial() {
                    // The answer begins with that of a Describe, and is there already.
                    self.queue.push(Pending::OwnDescribe);
                    self.queue.push(execution(running));
                    return Ok(Step::Done);
                }
                if running.iter().any(|running| running.orders.looks_into_rows()) {
                    // Masks have to know the types and formats of what comes.
                    self.queue.push(Pending::OwnDescribe);
                    out.upstream.extend_from_slice(&describe_portal(portal));
                }
                self.queue.push(execution(running));
                release(permit, frame, &mut out.upstream);
                Ok(Step::Done)
            }
            Judgement::Try(permit, planned) => {
                let mut bytes = BytesMut::from(describe_portal(portal).as_slice());
                release(permit, frame, &mut bytes);
                bytes.extend_from_slice(&own(b'H', b""));
                let in_block = self.status == TransactionStatus::InBlock;
                let rebind = prepared.bind.clone().unwrap_or_default();
                Ok(self.plan(bytes.freeze(), Way::Portal { in_block, rebind }, planned))
            }
            Judgement::Refused(refusal) => Ok(self.refuse(refusal, false, out)),
            Judgement::Held => Ok(Step::Hold),
            Judgement::Later => Ok(self.later(out)),
            Judgement::Stale => Ok(Step::Refresh),
            Judgement::Look => Ok(Step::Look),
            Judgement::Survey => Ok(Step::Survey),
            Judgement::Split => Ok(self.split(out)),
        }
    }

    /// Whether the unnamed statement is there, or may be.
    fn has_unnamed(&self) -> bool {
        self.queue.statement("", self.names.statement("")) != Meaning::Nothing
    }

    /// Messages that run nothing.
    fn forward(&mut self, request: Pending, frame: &Frame, out: &mut Output) -> Step {
        self.in_batch = true;
        self.queue.push(request);
        out.upstream.extend_from_slice(frame.bytes());
        self.rest_goes_on = !frame.is_whole();
        self.within_message = self.rest_goes_on;
        Step::Done
    }

    /// Puts a refusal where the refused message would have stood.
    fn refuse(&mut self, refusal: Refusal, simple: bool, out: &mut Output) -> Step {
        // With nothing under way and no transaction that would have to fail, the server need not hear of it.
        let alone = self.queue.is_empty() && !self.in_batch && self.status != TransactionStatus::InBlock;
        match (alone, simple) {
            (true, true) => {
                // A Query takes the unnamed statement with it, whatever comes of it (`exec_simple_query`), and so does the
                // one that stands for a refused FunctionCall where the server has to fail.
                self.names.deallocate("");
                out.downstream.error(&refusal.report());
                out.downstream.ready(self.status);
            }
            (true, false) => {
                out.downstream.error(&refusal.report());
                self.skip = Skip::Alone;
            }
            (false, _) => {
                out.upstream.extend_from_slice(&poison(simple));
                if !simple {
                    self.in_batch = true;
                    // Whether it fails here or has failed before: the server skips to the next Sync, and so do we.
                    self.skip = Skip::WithServer;
                }
                self.queue.push(Pending::Refused { refusal, simple });
            }
        }
        Step::Done
    }

    fn skipping(&mut self, message: Frontend<'_>, frame: &Frame, out: &mut Output) -> Result<Step, Ending> {
        match (message, self.skip) {
            (Frontend::Terminate, _) => Err(Ending::Terminated),
            (Frontend::Password, _) => Err(Ending::Violation("a password that nobody asked for".to_owned())),
            (Frontend::Sync, Skip::Alone) => {
                self.skip = Skip::No;
                out.downstream.ready(self.status);
                Ok(Step::Done)
            }
            (Frontend::Sync, Skip::WithServer | Skip::Stopped | Skip::No) => {
                if self.skip == Skip::Stopped {
                    // What the batch has changed, and a transaction that is open, must not outlive the limit.
                    out.upstream.extend_from_slice(&poison(false));
                    self.queue.push(Pending::Refused { refusal: Refusal::Hushed, simple: false });
                }
                self.skip = Skip::No;
                self.in_batch = false;
                self.batch_writes = false;
                self.batch_ran = false;
                self.queue.push(Pending::Sync);
                out.upstream.extend_from_slice(frame.bytes());
                Ok(Step::Done)
            }
            (
                Frontend::Query { .. }
                | Frontend::Parse { .. }
                | Frontend::Bind { .. }
                | Frontend::Describe(_)
                | Frontend::Execute { .. }
                | Frontend::Close(_)
                | Frontend::Flush
                | Frontend::CopyDone
                | Frontend::CopyFail
                | Frontend::FunctionCall,
                _,
            ) => Ok(Step::Done),
        }
    }

    /// While the server reads COPY data it takes nothing else; Flush and Sync it ignores.
    fn during_copy(&mut self, message: Frontend<'_>, frame: &Frame, out: &mut Output) -> Result<Step, Ending> {
        match message {
            Frontend::CopyDone | Frontend::CopyFail => {
                self.copy = Copy::No;
                out.upstream.extend_from_slice(frame.bytes());
                // What has been sent ends here; a late CopyData belongs to nothing any more.
                self.queue.end_copy();
                Ok(Step::Done)
            }
            Frontend::Flush | Frontend::Sync => Ok(Step::Done),
            Frontend::Terminate => Err(Ending::Terminated),
            Frontend::Query { .. }
            | Frontend::Parse { .. }
            | Frontend::Bind { .. }
            | Frontend::Describe(_)
            | Frontend::Execute { .. }
            | Frontend::Close(_)
            | Frontend::FunctionCall
            | Frontend::Password => Err(Ending::Violation("unexpected message during COPY from the client".to_owned())),
        }
    }
}

/// Whether an error of it may quote values of masked columns.
fn redacts_errors(permit: &Permit) -> bool {
    permit.statements().iter().any(|granted| granted.orders().redacts_errors)
}

/// The names of prepared statements and portals in a message.
fn names<'a>(message: &Frontend<'a>) -> Vec<&'a str> {
    match *message {
        Frontend::Parse { name, .. }
        | Frontend::Describe(Target::Statement(name) | Target::Portal(name))
        | Frontend::Close(Target::Statement(name) | Target::Portal(name)) => vec![name],
        Frontend::Execute { portal, .. } => vec![portal],
        Frontend::Bind { portal, statement } => vec![portal, statement],
        Frontend::Query { .. }
        | Frontend::Sync
        | Frontend::Flush
        | Frontend::CopyDone
        | Frontend::CopyFail
        | Frontend::Terminate
        | Frontend::FunctionCall
        | Frontend::Password => Vec::new(),
    }
}

/// Whether what a message means depends on the search path.
fn needs_path(message: &Frontend<'_>) -> bool {
    match message {
        Frontend::Query { .. } | Frontend::Parse { .. } | Frontend::Bind { .. } | Frontend::Execute { .. } => true,
        Frontend::Describe(_)
        | Frontend::Close(_)
        | Frontend::Sync
        | Frontend::Flush
        | Frontend::CopyDone
        | Frontend::CopyFail
        | Frontend::Terminate
        | Frontend::FunctionCall
        | Frontend::Password => false,
    }
}

/// What a Parse (`types` is empty) or a Bind says of parameters, in bytes of its own: those of the frame are part of a
/// larger buffer.
fn bound(frame: &Frame, types: Bytes) -> Bound {
    let said = match parameters(frame).unwrap_or_default() {
        // No types: most of what drivers prepare.
        [0, 0] => Bytes::from_static(&[0, 0]),
        said => Bytes::copy_from_slice(said),
    };
    match frame.tag() {
        b'P' => Bound { types: said, values: Bytes::new() },
        _ => Bound { types, values: said },
    }
}

fn describe_portal(portal: &str) -> Vec<u8> {
    own(b'D', &[b"P", portal.as_bytes(), b"\0"].concat())
}

/// A message of ours.
pub(super) fn own(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    [[tag].as_slice(), &length.to_be_bytes(), body].concat()
}

/// A Query, or a Parse of a name that nobody uses.
pub(super) fn poison(simple: bool) -> Vec<u8> {
    let (tag, body) = if simple {
        (b'Q', [POISON.as_bytes(), b"\0"].concat())
    } else {
        (b'P', [b"interceptor refused\0".as_slice(), POISON.as_bytes(), b"\0\0\0"].concat())
    };
    own(tag, &body)
}
