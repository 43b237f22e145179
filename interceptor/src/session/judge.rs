//! From a text to a permit and its records, or to a refusal and its records.

use super::pending::{Meaning, Pending, Queue, Running};
use super::refusal::{Ending, Refusal};
use super::{Names, Session};
use crate::audit::{AuditError, Decision as Recorded, Ended, Entry, Event, Record, RelationUse, Status, redact};
use crate::policy::{Decision, Denial, Mode, Obligation, Permit, PolicySet};
use crate::sql::{self, Analysis, Catalog, Effect, Flag, Object, Readings, Rejection, Statement, quoted};
use crate::wire::{Frame, TransactionStatus};
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a judgement needs from outside the session.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    /// The policies in force.
    pub policies: &'a PolicySet,
    /// What a denial does.
    pub mode: Mode,
    /// The latest snapshot of the database.
    pub catalog: &'a Catalog,
    /// What has been read before.
    pub readings: &'a Readings,
    /// Whether the snapshot is so new that what it does not know is not there.
    pub fresh: bool,
    /// The time, RFC 3339 in UTC to the second.
    pub now: &'a str,
    /// The same in seconds since 1970.
    pub unix: u64,
}

/// A text that has been looked at.
pub(super) enum Judgement {
    /// Everything in it may run; the entries are open.
    Permitted(Permit, VecDeque<Running>),
    /// Something in it may not; that is on record.
    Refused(Refusal),
    /// A name is not known and the catalogue may be old.
    Stale,
}

/// The one way for a statement to the server: the frame that was judged, against the permit that says so.
pub(super) fn release(permit: Permit, frame: &Frame, upstream: &mut BytesMut) {
    drop(permit);
    upstream.extend_from_slice(frame.bytes());
}

/// How names of prepared statements are seen from where the session stands now.
struct Sight<'a> {
    names: &'a Names,
    queue: &'a Queue,
}

impl sql::Session for Sight<'_> {
    fn prepared(&self, name: &str) -> Option<Arc<str>> {
        text(self.queue.statement(name, self.names.statement(name)))
    }

    fn portal(&self, name: &str) -> Option<Arc<str>> {
        text(self.queue.portal(name, self.names.portal(name)))
    }
}

/// What is not settled is as good as unknown to SQL: only the protocol's own messages wait.
fn text(meaning: Meaning) -> Option<Arc<str>> {
    match meaning {
        Meaning::Text(prepared) => Some(prepared.text),
        Meaning::Nothing | Meaning::Unsettled => None,
    }
}

impl Session {
    /// The identity's time has to last until the statement is sent.
    pub(super) fn check_expiry(&self, bench: &Bench<'_>) -> Result<(), Ending> {
        if bench.unix >= self.identity.expires { Err(Ending::Expired) } else { Ok(()) }
    }

    /// Judges a text; `runs` says whether it is about to run, and so whether a permit is put on record too.
    pub(super) fn judge(&mut self, text: &str, runs: bool, bench: &Bench<'_>) -> Result<Judgement, Ending> {
        let sight = Sight { names: &self.names, queue: &self.queue };
        let analysis = match bench.readings.read(text, bench.catalog, &sight) {
            Ok(analysis) => analysis,
            Err(rejection) => return self.reject(text, rejection),
        };
        if !bench.fresh && analysis.statements.iter().any(|statement| statement.missing.is_some()) {
            return Ok(Judgement::Stale);
        }
        self.around.now.clear();
        self.around.now.push_str(bench.now);
        self.around.in_transaction = self.status != TransactionStatus::Idle;
        self.around.statement_bytes = text.len();
        self.around.totals = self.totals;
        let makes_name = |statement: &Statement| matches!(statement.effect, Effect::Prepare(_) | Effect::Declare(_));
        if self.names.is_full(0) && analysis.statements.iter().any(makes_name) {
            let record = self.record(text, None);
            return self.refuse_on_record(record, Refusal::TooManyStatements);
        }
        let nothing = Statement::default();
        let Decision::Permit(mut whole) =
            bench.policies.decide(&self.identity, &nothing, bench.catalog, &self.around, bench.mode)
        else {
            return Err(Ending::Violation("the empty statement is denied".to_owned()));
        };
        let mut permits = Vec::with_capacity(analysis.statements.len());
        for statement in &analysis.statements {
            match bench.policies.decide(&self.identity, statement, bench.catalog, &self.around, bench.mode) {
                Decision::Permit(permit) => permits.push(permit),
                Decision::Deny(denial) => return self.deny(text, &analysis, statement, denial),
            }
        }
        let mut running = VecDeque::new();
        if runs {
            for (statement, permit) in analysis.statements.iter().zip(&permits) {
                running.push_back(self.open(text, &analysis, statement, permit)?);
            }
        }
        for permit in permits {
            whole = whole.and(permit);
        }
        Ok(Judgement::Permitted(whole, running))
    }

    fn open(
        &mut self,
        text: &str,
        analysis: &Analysis,
        statement: &Statement,
        permit: &Permit,
    ) -> Result<Running, AuditError> {
        let spanned = text.get(statement.span.clone()).unwrap_or(text).trim();
        let mut record = self.record(spanned, Some((analysis, statement)));
        record.decision = Some(Recorded::Permit);
        record.policies = permit.policies().map(str::to_owned).collect();
        if let Some(denial) = permit.observed() {
            // Observed, not enforced: the record says which policies would have refused.
            record.policies = denial.policies.iter().map(|id| format!("{id} (observed)")).collect();
        }
        let entry = Entry::open(&self.trail, record, self.backend_pid)?;
        self.totals.statements += 1;
        self.last_statement = entry.seq();
        Ok(Running {
            entry,
            effect: statement.effect.clone(),
            text: spanned.into(),
            changes_catalog: statement.changes_catalog(),
            copies_in: statement.flags.contains(&Flag::CopyIn),
            rows: 0,
            bytes: 0,
        })
    }

    fn deny(
        &mut self,
        text: &str,
        analysis: &Analysis,
        statement: &Statement,
        denial: Denial,
    ) -> Result<Judgement, Ending> {
        let spanned = text.get(statement.span.clone()).unwrap_or(text).trim();
        let mut record = self.record(spanned, Some((analysis, statement)));
        record.policies.clone_from(&denial.policies);
        record.obligations = denial.obligations.iter().map(Obligation::show).collect();
        self.refuse_on_record(record, Refusal::Denied(denial))
    }

    fn reject(&mut self, text: &str, rejection: Rejection) -> Result<Judgement, Ending> {
        let record = self.record(text, None);
        self.refuse_on_record(record, Refusal::Rejected(rejection))
    }

    fn refuse_on_record(&mut self, mut record: Record, refusal: Refusal) -> Result<Judgement, Ending> {
        record.decision = Some(Recorded::Deny);
        let sqlstate = Some(refusal.report().code.as_str().to_owned());
        let ended = Ended {
            status: Status::Denied,
            reason: Some(refusal.reason()),
            sqlstate,
            rows: 0,
            bytes: 0,
            affected: None,
        };
        Entry::open(&self.trail, record, self.backend_pid)?.close(ended)?;
        Ok(Judgement::Refused(refusal))
    }

    /// A refusal that has no statement: unreadable bytes, a function call.
    pub(super) fn refuse_unread(&mut self, refusal: Refusal) -> Result<Refusal, Ending> {
        let record = self.record(&refusal.reason(), None);
        match self.refuse_on_record(record, refusal)? {
            Judgement::Refused(refusal) => Ok(refusal),
            Judgement::Permitted(..) | Judgement::Stale => {
                Err(Ending::Violation("a refusal was not recorded".to_owned()))
            }
        }
    }

    fn record(&self, text: &str, read: Option<(&Analysis, &Statement)>) -> Record {
        let mut record = Record::new(Event::Statement, self.subject.clone());
        record.statement = Some(redact(&excerpt(text)));
        if let Some((analysis, statement)) = read {
            record.shape = analysis.shape.as_deref().map(str::to_owned);
            record.verbs = statement.verbs().into_iter().map(str::to_owned).collect();
            record.relations = relations(statement);
            record.functions = functions(statement);
        }
        record
    }
}

/// Longest text that is recorded whole, in bytes; longer ones by their beginning and a digest, and the record says so.
const LONGEST_TEXT: usize = 64 << 10;

fn excerpt(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let mut end = LONGEST_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let digest = crate::audit::digest(text);
    format!("{} [cut: {} bytes in all, sha256 {digest}]", text.get(..end).unwrap_or_default(), text.len())
}

fn relations(statement: &Statement) -> Vec<RelationUse> {
    let mut relations: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for asked in &statement.uses {
        if let Object::Relation(id) = &asked.object {
            let name = format!("{}.{}", quoted(&id.schema), quoted(&id.name));
            relations.entry(name).or_default().insert(asked.access.name());
        }
    }
    let relation = |(relation, access): (String, BTreeSet<&str>)| RelationUse {
        relation,
        access: access.into_iter().map(str::to_owned).collect(),
    };
    relations.into_iter().map(relation).collect()
}

fn functions(statement: &Statement) -> Vec<String> {
    let name = |object: &Object| match object {
        Object::Function(function) => Some(format!("{}.{}", quoted(&function.schema), quoted(&function.name))),
        Object::Database | Object::Schema(_) | Object::Relation(_) | Object::Column(..) | Object::Parameter(_) => None,
    };
    statement.uses.iter().filter_map(|asked| name(&asked.object)).collect()
}

/// Execute runs one statement; a prepared text holds no more than one.
pub(super) fn execution(mut running: VecDeque<Running>) -> Pending {
    Pending::Execute(running.pop_front().map(Box::new))
}
