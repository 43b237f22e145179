//! From a text to a permit and its records, or to a refusal and its records.

use super::budget::Share;
use super::hold::{Bound, Case, Clearance, Run, has_no_values, shown};
use super::kept::Kept;
use super::meant::{Lasts, Meant};
use super::names::Prepared;
use super::path::{self, Known, Schemas};
use super::pending::{Meaning, Pending, Queue, Running};
use super::refusal::{Ending, Refusal};
use super::temporary::{Sure, is_same};
use super::trial::Planned;
use super::{Names, Session};
use crate::audit::{AuditError, Decision as Recorded, Ended, Entry, Event, Record, RelationUse, Status, redact};
use crate::policy::{Counted, Denial, Denied, Granted, Mode, Obligation, Orders, Permit, PolicySet, Totals};
use crate::sql::{
    self, Access, Analysis, Catalog, Effect, Flag, Object, Readings, Rejection, Statement, Temporary, quoted,
};
use crate::telemetry::{Judged, NO_VERB, metrics};
use crate::wire::{Frame, Rows, TransactionStatus};
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Somebody has to approve it, and has been asked to.
    Held,
    /// Somebody has to approve it, and shall see first what it changes, in these relations among others.
    Try(Permit, Planned),
    /// Somebody would have to approve it, once what is under way has ended.
    Later,
    /// A name is not known and the catalogue may be old.
    Stale,
    /// The session's own relations may have changed.
    Look,
    /// The transaction has changed the schema.
    Survey,
    /// Either of them in the middle of a batch, which has to end first.
    Split,
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
    own: Option<&'a Arc<Temporary>>,
    /// What was looked up: what a text does hangs on these as well.
    runs: Mutex<Vec<sql::Portal>>,
    /// What their names meant when they were made.
    meant: Mutex<Vec<(Prepared, Lasts)>>,
}

impl<'a> Sight<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            names: &session.names,
            queue: &session.queue,
            own: session.temporary(),
            runs: Mutex::default(),
            meant: Mutex::default(),
        }
    }

    fn note_meaning(&self, prepared: Prepared, lasts: Lasts) {
        self.meant.lock().unwrap_or_else(PoisonError::into_inner).push((prepared, lasts));
    }

    fn note(&self, found: sql::Portal) -> sql::Portal {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(found.clone());
        found
    }
}

impl sql::Session for Sight<'_> {
    fn prepared(&self, name: &str) -> Option<Arc<str>> {
        let Meaning::Text(prepared) = self.queue.statement(name, self.names.statement(name)) else { return None };
        let text = prepared.text.clone();
        self.note_meaning(prepared, Lasts::UntilChanged);
        Some(self.note(sql::Portal { text, path: None, differing: BTreeSet::new() }).text)
    }

    fn portal(&self, name: &str) -> Option<sql::Portal> {
        match self.queue.portal(name, self.names.portal(name)) {
            Meaning::Text(prepared) => {
                self.note_meaning(prepared.clone(), Lasts::Forever);
                let (then, now) = (prepared.own.as_ref(), self.own);
                let differing = if is_same(then, now) {
                    BTreeSet::new()
                } else {
                    let names = Temporary::differing(then.map(|own| &**own), now.map(|own| &**own));
                    names.into_iter().map(str::to_owned).collect()
                };
                Some(self.note(sql::Portal { text: prepared.text, path: prepared.path, differing }))
            }
            Meaning::Nothing | Meaning::Unsettled => None,
        }
    }
}

impl Session {
    /// The identity's time has to last until the statement is sent.
    pub(super) fn check_expiry(&self, bench: &Bench<'_>) -> Result<(), Ending> {
        if bench.unix >= self.principal.identity().expires { Err(Ending::Expired) } else { Ok(()) }
    }

    /// Judges a text that is sent now; where it is about to run, a permit is put on record too.
    pub(super) fn judge(&mut self, text: &str, run: Run<'_>, bench: &Bench<'_>) -> Result<Judgement, Ending> {
        match self.path.now().clone() {
            Known::Path(path) => self.judge_under(text, &path, run, bench),
            // Nothing hangs on it.
            Known::Doubt if bench.mode == Mode::Observe => self.judge_under(text, &None, run, bench),
            Known::Doubt => self.judge_in_doubt(text, run, bench),
        }
    }

    /// Only what settles the search path runs while nobody knows it.
    fn judge_in_doubt(&mut self, text: &str, run: Run<'_>, bench: &Bench<'_>) -> Result<Judgement, Ending> {
        let sight = Sight::of(self);
        let settles = bench.readings.read(text, bench.catalog, &sight).is_ok_and(|analysis| {
            !analysis.statements.is_empty()
                && analysis.statements.iter().all(|statement| path::settles(&statement.effect))
        });
        if settles {
            return self.judge_under(text, &None, run, bench);
        }
        let record = self.record(text, None);
        self.refuse_on_record(record, Refusal::PathInDoubt)
    }

    /// The catalogue as names are looked up in it under a search path.
    pub(super) fn catalog_under(&mut self, catalog: &Catalog, path: &Schemas) -> Arc<Catalog> {
        let own = self.with_own(catalog);
        let catalog = own.as_deref().unwrap_or(catalog);
        match &self.seen {
            Some((snapshot, under, seen)) if *snapshot == catalog.snapshot() && under == path => seen.clone(),
            _ => {
                let seen = Arc::new(catalog.under(path.as_deref()));
                self.seen = Some((catalog.snapshot(), path.clone(), seen.clone()));
                seen
            }
        }
    }

    /// What a text that has been judged does, as far as it can be read.
    pub(super) fn reads(
        &mut self,
        text: &str,
        path: &Schemas,
        bench: &Bench<'_>,
        test: impl FnOnce(&Analysis) -> bool,
    ) -> bool {
        let catalog = self.catalog_under(bench.catalog, path);
        let sight = Sight::of(self);
        bench.readings.read(text, &catalog, &sight).is_ok_and(|analysis| test(&analysis))
    }

    /// Judges a text under the search path that its names are looked up under.
    pub(super) fn judge_under(
        &mut self,
        text: &str,
        path: &Schemas,
        run: Run<'_>,
        bench: &Bench<'_>,
    ) -> Result<Judgement, Ending> {
        let catalog = self.catalog_under(bench.catalog, path);
        let sight = Sight::of(self);
        let analysis = match bench.readings.read(text, &catalog, &sight) {
            Ok(analysis) => analysis,
            Err(rejection) => return self.reject(text, rejection),
        };
        let looked_up = sight.runs.into_inner().unwrap_or_else(PoisonError::into_inner);
        let meant = sight.meant.into_inner().unwrap_or_else(PoisonError::into_inner);
        match self.is_sure_of(&analysis, bench) {
            Sure::Yes => {}
            Sure::Ask => return Ok(Judgement::Look),
            Sure::Split => return Ok(Judgement::Split),
            Sure::Later => return Ok(Judgement::Later),
            Sure::No(refusal) => {
                let record = self.record(text, None);
                return self.refuse_on_record(record, refusal);
            }
        }
        for (prepared, lasts) in &meant {
            // What a prepared statement's names mean is looked up under the path of now, a portal's under its own.
            let under = if *lasts == Lasts::Forever { &prepared.path } else { path };
            if self.means_another(&prepared.meant, (&prepared.text, under), *lasts, bench) {
                let record = self.record(text, None);
                return self.refuse_on_record(record, Refusal::Hidden);
            }
        }
        let unknown = |statement: &Statement| match &statement.effect {
            // A schema that is made later would stand in front of the others.
            Effect::SearchPath { path: Some(path), .. } => {
                path.iter().any(|schema| **schema != *"$user" && !bench.catalog.has_schema(schema))
            }
            _ => statement.missing.as_ref().is_some_and(|missing| !bench.policies.may_name(&self.principal, missing)),
        };
        if analysis.statements.iter().any(unknown) {
            if let Some(first) = self.survey_first(bench) {
                return Ok(first);
            }
            if !bench.fresh {
                return Ok(Judgement::Stale);
            }
        }
        self.around.now.clear();
        self.around.now.push_str(bench.now);
        self.around.in_transaction = self.status != TransactionStatus::Idle;
        self.around.in_flux = self.is_in_flux();
        self.around.statement_bytes = text.len();
        self.around.totals = self.totals;
        self.budgets.tick(bench.unix);
        self.around.agent_totals = self.account.totals();
        let makes_name = |statement: &Statement| matches!(statement.effect, Effect::Prepare(_) | Effect::Declare(_));
        if self.names.is_full(0) && analysis.statements.iter().any(makes_name) {
            let record = self.record(text, None);
            return self.refuse_on_record(record, Refusal::TooManyStatements);
        }
        if bench.mode == Mode::Enforce
            && let Some(refusal) = self.loses_path(&analysis)
        {
            let record = self.record(text, None);
            return self.refuse_on_record(record, refusal);
        }
        let decided = bench.policies.decide(&self.principal, &analysis, &catalog, &self.around, bench.mode);
        let permit = match decided {
            Ok(permit) => permit,
            Err(denied) => {
                if let Some(first) = self.survey_first(bench) {
                    return Ok(first);
                }
                let Denied { at, denial } = *denied;
                let nothing = Statement::default();
                return self.deny(text, &analysis, analysis.statements.get(at).unwrap_or(&nothing), denial);
            }
        };
        let copies = analysis.statements.iter().any(|statement| statement.flags.contains(&Flag::CopyOut));
        if copies && self.limits.as_ref().is_some_and(|limits| !limits.detect.is_empty()) {
            let record = self.record(text, None);
            return self.refuse_on_record(record, Refusal::CopyUnseen);
        }
        if let Some(refusal) = self.cannot_be_limited(&analysis, &permit) {
            let record = self.record(text, None);
            return self.refuse_on_record(record, refusal);
        }
        let runs = !matches!(run, Run::No);
        if self.owes_values(run, &analysis, &permit) {
            let record = self.record(text, None);
            return self.refuse_on_record(record, Refusal::ValuesUnknown);
        }
        let case =
            Case { text, path, run, runs: &looked_up, analysis: &analysis, permit: &permit, catalog: &catalog, bench };
        let granted = match self.clear(&case)? {
            Clearance::Try(planned) => return Ok(Judgement::Try(permit, planned)),
            Clearance::Free => None,
            Clearance::Granted(grant, approved) => Some((grant, approved)),
            Clearance::Later => return Ok(Judgement::Later),
            Clearance::Stale => return Ok(Judgement::Stale),
            Clearance::Held => return Ok(Judgement::Held),
            Clearance::Refused(refusal) => {
                let record = self.refused_record(&case);
                return self.refuse_on_record(record, refusal);
            }
        };
        // What it changes is taken back with a transaction of its own, or fails the one that is open: which of the two has to
        // be known.
        let limited =
            |(statement, granted): (&Statement, &Arc<Granted>)| writes(statement) && self.orders(granted).is_limited();
        let is_text = matches!(case.run, Run::Text);
        if is_text && !self.queue.is_empty() && analysis.statements.iter().zip(permit.statements()).any(limited) {
            return Ok(Judgement::Later);
        }
        if let Some(refusal) = self.has_spent(&analysis, &permit).filter(|_| runs) {
            let record = self.record(text, None);
            return self.refuse_on_record(record, refusal);
        }
        let approved = match granted {
            Some((grant, approved)) => {
                self.spend(grant, &case)?;
                Some(approved)
            }
            None => None,
        };
        self.redacts |= permit.statements().iter().any(|granted| granted.orders().redacts_errors);
        let mut running = VecDeque::new();
        if runs {
            for (at, granted) in permit.statements().iter().enumerate() {
                let mut opened = self.open((text, run.bound()), &analysis, at, granted, &catalog)?;
                opened.approved.clone_from(&approved);
                running.push_back(opened);
            }
        }
        Ok(Judgement::Permitted(permit, running))
    }

    /// Whether values would have to go on record that are not known.
    fn owes_values(&self, run: Run<'_>, analysis: &Analysis, permit: &Permit) -> bool {
        let recorded = || permit.statements().iter().any(|granted| self.orders(granted).records.binds);
        matches!(run, Run::Portal(prepared) if prepared.bound.is_none()) && !has_no_values(analysis) && recorded()
    }

    /// A text that ends a transaction in which the path was set, and goes on: what its names mean then is not known now.
    fn loses_path(&self, analysis: &Analysis) -> Option<Refusal> {
        let mut changed = self.path.is_changed();
        let mut lost = false;
        for statement in &analysis.statements {
            let empty = statement.uses.is_empty() || path::settles(&statement.effect);
            if lost && !empty {
                return Some(Refusal::PathInDoubt);
            }
            match &statement.effect {
                Effect::EndTransaction | Effect::RollbackTo => lost |= changed,
                Effect::SearchPath { .. } | Effect::ResetAll | Effect::DiscardAll => (changed, lost) = (true, false),
                Effect::None
                | Effect::Prepare(_)
                | Effect::Declare(_)
                | Effect::Deallocate(_)
                | Effect::Close(_)
                | Effect::DiscardTemporary
                | Effect::Fetch(_) => {}
            }
        }
        None
    }

    /// A limit that is found exceeded when other statements of the same text have run, or are about to, could not take
    /// them back.
    fn cannot_be_limited(&self, analysis: &Analysis, permit: &Permit) -> Option<Refusal> {
        if analysis.statements.len() < 2 {
            return None;
        }
        let writes = analysis.statements.iter().any(writes);
        let limits = |granted: &Arc<Granted>| granted.orders().is_limited();
        let ends = analysis.statements.iter().any(|statement| statement.effect == Effect::EndTransaction);
        let limited = permit.statements().iter().any(limits);
        (limited && (writes || ends)).then_some(Refusal::LimitedTogether)
    }

    /// The first budget of which nothing is left for a statement.
    fn has_spent(&mut self, analysis: &Analysis, permit: &Permit) -> Option<Refusal> {
        for (statement, granted) in analysis.statements.iter().zip(permit.statements()) {
            let orders = self.orders(granted);
            let spent = |share: &Share| {
                let counts = match share.budget.allowance.counted {
                    Counted::Rows => returns(statement) || orders.keeps_rows,
                    Counted::Bytes => returns(statement),
                    Counted::Affected => writes(statement),
                    Counted::Statements => returns(statement) || !statement.uses.is_empty(),
                };
                match share.budget.allowance.counted {
                    Counted::Statements => counts && share.take(1) == 0,
                    Counted::Rows | Counted::Bytes | Counted::Affected => counts && share.left() == 0,
                }
            };
            if let Some(share) = self.shares(&orders).iter().find(|share| spent(share)) {
                return Some(share.refusal());
            }
        }
        None
    }

    /// What a statement has to put up with, and the session as a whole.
    fn orders(&self, granted: &Granted) -> Arc<Orders> {
        match &self.limits {
            None => granted.orders().clone(),
            Some(limits) => Arc::new(granted.orders().with(limits)),
        }
    }

    fn open(
        &mut self,
        (text, bound): (&str, Option<&Bound>),
        analysis: &Analysis,
        at: usize,
        granted: &Arc<Granted>,
        catalog: &Catalog,
    ) -> Result<Running, AuditError> {
        let nothing = Statement::default();
        let statement = analysis.statements.get(at).unwrap_or(&nothing);
        let spanned = statement.text(text);
        let orders = &self.orders(granted);
        let place = (analysis.id, at);
        let known = self.facts.get(&place).filter(|(of, _)| Arc::ptr_eq(of, granted)).map(|(_, facts)| facts.clone());
        let record = match known {
            Some(facts) => Record { facts: Some(facts), ..self.record(spanned, None) },
            None => {
                let mut record = self.record(spanned, Some((analysis, statement)));
                record.decision = Some(Recorded::Permit);
                record.policies = granted.policies().map(str::to_owned).collect();
                if let Some(denial) = granted.observed() {
                    // Observed, not enforced: the record says which policies would have refused.
                    record.policies.extend(denial.observed());
                }
                record.obligations = orders.shown.iter().cloned().collect();
                // A reading without a number is not kept and does not come again.
                if analysis.id != 0 {
                    if self.facts.len() >= MOST_FACTS {
                        self.facts.clear();
                    }
                    self.facts.insert(place, (granted.clone(), record.write_facts()?));
                }
                record
            }
        };
        let record = Record { binds: bound.filter(|_| orders.records.binds).map(shown), ..record };
        let entry = Entry::open(&self.trail, record, self.backend_pid)?;
        let judged = if granted.observed().is_some() { Judged::Observed } else { Judged::Permit };
        metrics().statement(statement.verb(), judged);
        if statement.changes_catalog() {
            self.note_definition();
        }
        self.count(Totals { statements: 1, ..Totals::default() });
        self.last_statement = entry.seq();
        Ok(Running {
            entry,
            effect: statement.effect.clone(),
            text: spanned.into(),
            copies_in: statement.flags.contains(&Flag::CopyIn),
            rows: 0,
            bytes: 0,
            portal: match &statement.effect {
                Effect::Fetch(name) => Some(name.clone()),
                _ => None,
            },
            had: None,
            ordinary: statement.flags.contains(&Flag::Ordinary)
                && !statement.uses.iter().any(|asked| matches!(asked.object, Object::Function(_))),
            orders: orders.clone(),
            shares: self.shares(orders),
            approved: None,
            writes: writes(statement),
            touch: statement.touch,
            meant: match &statement.effect {
                Effect::Prepare(_) | Effect::Declare(_) => Meant::of(analysis, catalog),
                _ => Meant::default(),
            },
            origins: origins(orders, catalog),
            width: statement.width,
            shape: None,
            kept: orders.records.results.then(Kept::default),
            masked: 0,
            passing: Rows::default(),
            stopped: None,
        })
    }

    fn deny(
        &mut self,
        text: &str,
        analysis: &Analysis,
        statement: &Statement,
        denial: Denial,
    ) -> Result<Judgement, Ending> {
        let spanned = statement.text(text);
        let mut record = self.record(spanned, Some((analysis, statement)));
        record.policies.clone_from(&denial.policies);
        record.obligations = denial.obligations.iter().map(Obligation::show).collect();
        metrics().statement(statement.verb(), Judged::Deny);
        self.refuse_on_record(record, Refusal::Denied(denial))
    }

    fn reject(&mut self, text: &str, rejection: Rejection) -> Result<Judgement, Ending> {
        let record = self.record(text, None);
        self.refuse_on_record(record, Refusal::Rejected(rejection))
    }

    fn refuse_on_record(&mut self, mut record: Record, refusal: Refusal) -> Result<Judgement, Ending> {
        record.decision = Some(Recorded::Deny);
        if !matches!(refusal, Refusal::Denied(_)) {
            metrics().statement(NO_VERB, Judged::Deny);
        }
        let sqlstate = Some(refusal.report().code.as_str().to_owned());
        let ended = Ended {
            status: Status::Denied,
            reason: Some(refusal.reason()),
            sqlstate,
            rows: 0,
            bytes: 0,
            masked: 0,
            affected: None,
            results: None,
        };
        Entry::open(&self.trail, record, self.backend_pid)?.close(ended)?;
        self.trail.flush()?;
        Ok(Judgement::Refused(refusal))
    }

    /// A refusal that has no statement: unreadable bytes, a function call.
    pub(super) fn refuse_unread(&mut self, refusal: Refusal) -> Result<Refusal, Ending> {
        self.refuse_text(&refusal.reason(), refusal)
    }

    /// A refusal of what is no statement but can be told.
    pub(super) fn refuse_text(&mut self, text: &str, refusal: Refusal) -> Result<Refusal, Ending> {
        let mut record = self.record("", None);
        record.statement = Some(redact(text));
        match self.refuse_on_record(record, refusal)? {
            Judgement::Refused(refusal) => Ok(refusal),
            Judgement::Permitted(..)
            | Judgement::Held
            | Judgement::Try(..)
            | Judgement::Later
            | Judgement::Stale
            | Judgement::Look
            | Judgement::Survey
            | Judgement::Split => Err(Ending::Violation("a refusal was not recorded".to_owned())),
        }
    }

    pub(super) fn record(&self, text: &str, read: Option<(&Analysis, &Statement)>) -> Record {
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

/// Statements of a session whose facts are kept as they stand in records.
const MOST_FACTS: usize = 512;

/// Longest text that is recorded whole, in bytes; longer ones by their beginning and a digest, and the record says so.
const LONGEST_TEXT: usize = 64 << 10;

pub(super) fn excerpt(text: &str) -> String {
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

/// Whether a statement sends rows or data to the client.
fn returns(statement: &Statement) -> bool {
    !statement.outputs.is_empty()
        || statement.flags.contains(&Flag::CopyOut)
        || matches!(statement.effect, Effect::Fetch(_))
}

/// Whether a statement changes anything that a rollback would take back.
fn writes(statement: &Statement) -> bool {
    statement.uses.iter().any(|asked| match asked.access {
        Access::Select
        | Access::Filter
        | Access::CopyOut
        | Access::Execute
        | Access::Set
        | Access::Lock
        | Access::Listen => false,
        Access::Insert
        | Access::Update
        | Access::Delete
        | Access::Merge
        | Access::Truncate
        | Access::CopyIn
        | Access::Create
        | Access::Alter
        | Access::Drop
        | Access::Comment
        | Access::Grant
        | Access::Revoke
        | Access::Notify
        | Access::Admin => true,
    })
}

/// Where masked columns are in the server's own numbers.
fn origins(orders: &Orders, catalog: &Catalog) -> Vec<(u32, i16)> {
    let origin = |(relation, column): &sql::ColumnRef| {
        let relation = catalog.get(relation)?;
        let column = relation.columns.iter().find(|known| known.name == *column)?;
        Some((relation.oid, column.number))
    };
    orders.masked.keys().filter_map(origin).collect()
}

pub(super) fn relations(statement: &Statement) -> Vec<RelationUse> {
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
