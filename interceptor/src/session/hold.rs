//! Statements that somebody has to approve: whether that has happened, and for what.
//!
//! A statement is judged, then its approval is looked for; where there is none the message waits ([`super::Step::Hold`]) and
//! is judged anew once the request is decided. So an approval that comes in is held against the statement as it would run
//! now: its [`Binding`] has everything in it that makes the statement what was approved.

use super::judge::{Bench, excerpt, relations};
use super::names::Prepared;
use super::pending::Meaning;
use super::refusal::{Ending, Refusal};
use super::trial::Planned;
use super::{Session, path::Schemas};
use crate::approval::{self, Answer, Asked, Binding, Event, Grant, NotAsked, NotKept, Outlook, Ticket};
use crate::audit::{AuditError, Decision, Event as Recorded, Record, Trail, digest, redact, redact_within};
use crate::policy::{Orders, Permit};
use crate::sql::{Analysis, Catalog, Effect, Portal, Statement};
use crate::telemetry::{Judged, metrics};
use crate::wire::{TransactionStatus, values};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest text that somebody can be asked to read, in bytes.
const LONGEST: usize = 64 << 10;
/// Of a value so many characters are shown, of a statement so many values.
const LONGEST_VALUE: usize = 1000;
const MOST_VALUES: usize = 100;

/// How many of which groups have to say yes.
pub(super) type Needs = BTreeMap<String, u32>;

/// What a text is sent for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run<'a> {
    /// To be prepared.
    No,
    /// To run as it is.
    Text,
    /// To run with the values of a portal.
    Portal(&'a Prepared),
}

impl<'a> Run<'a> {
    /// The values that it runs with, where they are known.
    pub(super) fn bound(self) -> Option<&'a Bound> {
        match self {
            Self::Portal(prepared) => prepared.bound.as_ref(),
            Self::Text | Self::No => None,
        }
    }
}

/// What the parameters of a portal stand for, byte for byte: their types as Parse gave them, formats and values as Bind did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) types: Bytes,
    pub(super) values: Bytes,
}

/// What a portal was approved for: it need not be asked for again when it is run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Approved {
    policies: Arc<str>,
    needs: Needs,
}

impl Approved {
    fn covers(&self, policies: &str, needs: &Needs) -> bool {
        *self.policies == *policies && needs.iter().all(|(group, most)| self.needs.get(group) >= Some(most))
    }
}

/// Whether nothing is bound to what a portal runs: a cursor of SQL's has no values of its own.
pub(super) fn has_no_values(analysis: &Analysis) -> bool {
    analysis.statements.iter().all(|statement| matches!(statement.effect, Effect::Declare(_)))
}

/// Whether a text may run.
pub(super) enum Clearance {
    /// Nobody need be asked.
    Free,
    /// It is approved.
    Granted(Grant, Approved),
    /// The server has something to answer first, so that what is held is the only thing under way.
    Later,
    /// The catalogue may be old: what is approved, and what runs, are looked at as they are now.
    Stale,
    /// Somebody has been asked.
    Held,
    /// It is to be tried before anybody is asked; where its rows are looked for.
    Try(Planned),
    /// No.
    Refused(Refusal),
}

/// Everything about a text that clearing it needs.
pub(super) struct Case<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Schemas,
    pub(super) run: Run<'a>,
    /// What EXECUTE and FETCH in it run.
    pub(super) runs: &'a [Portal],
    pub(super) analysis: &'a Analysis,
    pub(super) permit: &'a Permit,
    pub(super) catalog: &'a Catalog,
    pub(super) bench: &'a Bench<'a>,
}

impl Session {
    /// The request that is waited for.
    pub fn ticket(&self) -> Option<&Arc<Ticket>> {
        self.ticket.as_ref()
    }

    /// Notes a setting as the server reports it; some of them say what constants mean.
    pub fn note_setting(&mut self, name: &str, value: &str) {
        if matches!(name, "DateStyle" | "IntervalStyle" | "TimeZone") {
            self.settings.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Whether a text that policy permits has the approvals that it needs.
    pub(super) fn clear(&mut self, case: &Case<'_>) -> Result<Clearance, Ending> {
        if matches!(case.run, Run::No) {
            return Ok(Clearance::Free);
        }
        // Whatever policy says by now.
        if let Some(ticket) = self.ticket.as_ref().filter(|ticket| ticket.is_given_up()) {
            return Ok(Clearance::Refused(Refusal::Withdrawn { id: ticket.id().to_owned() }));
        }
        let needs = self.needs(case);
        if needs.is_empty() {
            return Ok(Clearance::Free);
        }
        if !self.queue.is_empty() {
            return Ok(Clearance::Later);
        }
        // The server would refuse it; nobody need be asked for that.
        let ends = |statement: &Statement| matches!(statement.effect, Effect::EndTransaction | Effect::RollbackTo);
        if self.status == TransactionStatus::Failed && !case.analysis.statements.iter().any(ends) {
            return Ok(Clearance::Refused(Refusal::TransactionFailed));
        }
        if !case.bench.fresh {
            return Ok(Clearance::Stale);
        }
        let bound = match case.run {
            Run::Portal(prepared) => match &prepared.bound {
                Some(bound) => Some(bound),
                None if has_no_values(case.analysis) => None,
                None => return Ok(Clearance::Refused(Refusal::ValuesUnknown)),
            },
            Run::Text | Run::No => None,
        };
        if case.runs.iter().fold(case.text.len(), |sum, portal| sum + portal.text.len()) > LONGEST {
            return Ok(Clearance::Refused(Refusal::TooLongToApprove(LONGEST)));
        }
        if let Some(clearance) = self.looks_at_effect(case, bound)? {
            return Ok(clearance);
        }
        let binding = self.binding(case, &needs, bound);
        let approved = Approved { policies: case.bench.policies.digest().into(), needs: needs.clone() };
        if let Some(ticket) = self.ticket.take() {
            let id = || ticket.id().to_owned();
            match ticket.outlook(binding, case.bench.unix) {
                Outlook::Open => {
                    self.ticket = Some(ticket);
                    return Ok(Clearance::Held);
                }
                Outlook::Granted(grant) => return Ok(Clearance::Granted(grant, approved)),
                Outlook::Denied { by, comment } => {
                    return Ok(Clearance::Refused(Refusal::NotApproved { id: id(), by, comment }));
                }
                Outlook::Expired => {
                    let needs = ticket.needs();
                    return Ok(Clearance::Refused(Refusal::NobodyDecided { id: id(), needs }));
                }
                Outlook::Withdrawn => return Ok(Clearance::Refused(Refusal::Withdrawn { id: id() })),
                // This one has not been decided.
                Outlook::Gone => ticket.withdraw(case.bench.unix),
            }
        }
        let template = self.template(case, bound);
        let asked = self.asked(case, &needs, &template);
        let holds = self.hold_records(case, bound);
        let recorder = Arc::new(Recorder { trail: self.trail.clone(), template, holds: holds.clone() });
        match self.desk.ask(asked, binding, recorder, case.bench.unix) {
            Ok(Answer::Granted(grant)) => Ok(Clearance::Granted(grant, approved)),
            Ok(Answer::Waits { ticket, new }) => {
                if !new {
                    holds.into_iter().try_for_each(|record| self.trail.seal(record).map(drop))?;
                    self.trail.flush()?;
                }
                self.ticket = Some(Arc::new(ticket));
                Ok(Clearance::Held)
            }
            Err(error) => not_asked(error),
        }
    }

    /// Spends an approval; from here on its statement may run, once.
    pub(super) fn spend(&self, grant: Grant, case: &Case<'_>) -> Result<(), Ending> {
        let bound = match case.run {
            Run::Portal(prepared) => prepared.bound.as_ref(),
            Run::Text | Run::No => None,
        };
        let recorder = Recorder { trail: self.trail.clone(), template: self.template(case, bound), holds: Vec::new() };
        grant.spend(&recorder).map_err(unrecorded)
    }

    /// Whose yes is needed for a text; for each group as many as the strictest of its statements asks for.
    fn needs(&self, case: &Case<'_>) -> Needs {
        let mut needs = Needs::new();
        for (statement, orders) in statements(case) {
            if self.is_asked_for(case, statement, orders) {
                for (group, voices) in &orders.approvals {
                    let most = needs.entry(group.clone()).or_default();
                    *most = (*most).max(*voices);
                }
            }
        }
        needs
    }

    /// What only prepares does nothing yet, and what goes on with an approved portal has been approved.
    pub(super) fn is_asked_for(&self, case: &Case<'_>, statement: &Statement, orders: &Orders) -> bool {
        if orders.approvals.is_empty() || matches!(case.run, Run::No) {
            return false;
        }
        let approved = match (&statement.effect, case.run) {
            // EXECUTE of it is what runs. The portal of a PREPARE holds a PREPARE, unless it is what that prepared.
            (Effect::Prepare(_), Run::Portal(Prepared { inside: false, .. }) | Run::Text) => return false,
            // The very portal that was judged, which may still be on its way to the server.
            (Effect::Fetch(cursor), _) => match self.queue.portal(cursor, self.names.portal(cursor)) {
                Meaning::Text(portal) => portal.approved,
                Meaning::Nothing | Meaning::Unsettled => None,
            },
            (_, Run::Portal(prepared)) => prepared.approved.clone(),
            (_, Run::Text | Run::No) => None,
        };
        approved.is_none_or(|approved| !approved.covers(case.bench.policies.digest(), &orders.approvals))
    }

    fn binding(&self, case: &Case<'_>, needs: &Needs, bound: Option<&Bound>) -> Binding {
        let identity = self.principal.identity();
        let number = |number: u64| number.to_le_bytes();
        let (fingerprint, snapshot) = (number(identity.fingerprint()), number(case.catalog.snapshot()));
        let path = format!("{:?}", case.path);
        let needs = format!("{needs:?}");
        let settings = format!("{:?}", self.settings);
        // What EXECUTE and FETCH do hangs on what was prepared.
        let prepared = format!("{:?}", case.runs);
        // What was seen of its effect is part of what was approved.
        let effect = self.tried.as_ref().map(|tried| format!("{:?}", tried.preview.effect)).unwrap_or_default();
        let flux: &[u8] = if self.in_flux { b"in flux" } else { b"" };
        let (types, values) = bound.map_or((&b"none"[..], &b"none"[..]), |bound| (&bound.types[..], &bound.values[..]));
        Binding::of([
            identity.issuer.as_bytes(),
            identity.subject.as_bytes(),
            identity.on_behalf_of.as_deref().unwrap_or_default().as_bytes(),
            &fingerprint,
            self.subject.server.as_bytes(),
            self.subject.database.as_bytes(),
            self.subject.role.as_bytes(),
            case.text.as_bytes(),
            types,
            values,
            path.as_bytes(),
            settings.as_bytes(),
            &snapshot,
            flux,
            prepared.as_bytes(),
            case.bench.policies.digest().as_bytes(),
            needs.as_bytes(),
            effect.as_bytes(),
        ])
    }

    fn asked(&self, case: &Case<'_>, needs: &Needs, template: &Record) -> Asked {
        let identity = self.principal.identity();
        let relation = |used: &crate::audit::RelationUse| format!("{} on {}", used.access.join(", "), used.relation);
        Asked {
            agent: identity.subject.clone(),
            issuer: identity.issuer.clone(),
            on_behalf_of: identity.on_behalf_of.clone(),
            session: self.subject.session.clone(),
            cgroup: self.subject.process.as_ref().map(|process| process.cgroup.clone()).unwrap_or_default(),
            process: self.subject.process.iter().flat_map(chain).collect(),
            delegation: identity.delegation.clone(),
            groups: identity.groups.clone(),
            server: self.subject.server.clone(),
            database: self.subject.database.clone(),
            role: self.subject.role.clone(),
            statement: redact(case.text),
            runs: case.runs.iter().map(|portal| redact(&portal.text)).collect(),
            digest: digest(case.text),
            values: template.binds.clone().unwrap_or_default(),
            relations: template.relations.iter().map(relation).collect(),
            policies: template.policies.clone(),
            needs: needs.clone(),
            self_approval: !statements(case)
                .any(|(statement, orders)| self.is_asked_for(case, statement, orders) && orders.four_eyes),
            preview: self.tried.as_ref().map(|tried| tried.preview.clone()),
            seen: self.tried.as_ref().map(|tried| tried.seen.clone()).unwrap_or_default(),
        }
    }

    /// What the records of a request have in common: the statements that it is about.
    pub(super) fn template(&self, case: &Case<'_>, bound: Option<&Bound>) -> Record {
        let mut record = Record::new(Recorded::Approval, self.subject.clone());
        record.binds = bound.map(shown);
        record.shape = case.analysis.shape.as_deref().map(str::to_owned);
        let held = case.analysis.statements.iter().zip(case.permit.statements());
        for (statement, granted) in held.filter(|(_, granted)| !granted.orders().approvals.is_empty()) {
            record.verbs.extend(statement.verbs().into_iter().map(str::to_owned));
            record.relations.extend(relations(statement));
            record.policies.extend(granted.policies().map(str::to_owned));
            record.obligations.extend(granted.orders().shown.iter().cloned());
        }
        for list in [&mut record.verbs, &mut record.policies, &mut record.obligations] {
            list.sort();
            list.dedup();
        }
        record.relations.dedup();
        record
    }

    /// For each statement that waits its opening record.
    fn hold_records(&self, case: &Case<'_>, bound: Option<&Bound>) -> Vec<Record> {
        let mut records = Vec::new();
        for (statement, granted) in case.analysis.statements.iter().zip(case.permit.statements()) {
            if self.is_asked_for(case, statement, granted.orders()) {
                let mut record = self.record(statement.text(case.text), Some((case.analysis, statement)));
                metrics().statement(statement.verb(), Judged::Hold);
                record.decision = Some(Decision::Hold);
                record.binds = bound.map(shown);
                record.policies = granted.policies().map(str::to_owned).collect();
                record.obligations = granted.orders().shown.iter().cloned().collect();
                records.push(record);
            }
        }
        records
    }

    /// The record of a text that is not approved.
    pub(super) fn refused_record(&self, case: &Case<'_>) -> Record {
        let asked_for = statements(case).find(|(statement, orders)| self.is_asked_for(case, statement, orders));
        let Some((statement, orders)) = asked_for else { return self.record(case.text, None) };
        let mut record = self.record(statement.text(case.text), Some((case.analysis, statement)));
        record.obligations = orders.shown.iter().cloned().collect();
        let granted = case.analysis.statements.iter().zip(case.permit.statements());
        let granted = granted.filter(|(other, _)| std::ptr::eq(*other, statement));
        record.policies = granted.flat_map(|(_, granted)| granted.policies()).map(str::to_owned).collect();
        record
    }
}

/// A process and those above it, for people.
fn chain(process: &crate::audit::Process) -> Vec<String> {
    let first = format!("{} (process {}, user {})", process.exe, process.pid, process.uid);
    [first].into_iter().chain(process.ancestry.iter().cloned()).collect()
}

/// The statements of a text, each with what it has to put up with.
pub(super) fn statements<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a Statement, &'a Orders)> {
    case.analysis
        .statements
        .iter()
        .zip(case.permit.statements())
        .map(|(statement, granted)| (statement, &**granted.orders()))
}

/// Values for people to read: long ones by their beginning and a digest.
pub(super) fn shown(bound: &Bound) -> Vec<Option<String>> {
    let Ok(all) = values(&bound.values) else { return vec![Some("[cannot be shown]".to_owned())] };
    let count = all.len();
    let cut = |value: String| {
        if value.chars().count() <= LONGEST_VALUE {
            return value;
        }
        let beginning: String = value.chars().take(LONGEST_VALUE).collect();
        format!("{beginning} [cut: {} bytes in all, sha256 {}]", value.len(), digest(&value))
    };
    let shown = |value: String| redact_within(&cut(value)).into_owned();
    let mut shown: Vec<_> = all.into_iter().take(MOST_VALUES).map(|value| value.map(shown)).collect();
    if count > MOST_VALUES {
        shown.push(Some(format!("[cut: {count} values in all]")));
    }
    shown
}

/// Why nobody is asked, as the agent reads it.
pub(super) fn not_asked(error: NotAsked) -> Result<Clearance, Ending> {
    match error {
        NotAsked::TooOften(most) => Ok(Clearance::Refused(Refusal::TooOftenAsked(most))),
        NotAsked::TooMany(most) => Ok(Clearance::Refused(Refusal::TooManyRequests(most))),
        NotAsked::Unrecorded(error) => Err(unrecorded(error)),
    }
}

fn unrecorded(error: NotKept) -> Ending {
    match error.downcast::<AuditError>() {
        Ok(error) => Ending::Audit(*error),
        Err(error) => Ending::Violation(format!("the approval cannot be used: {error}")),
    }
}

/// Puts on record what happens to a request.
#[derive(Debug)]
struct Recorder {
    trail: Arc<Trail>,
    template: Record,
    /// The held statements' own records, which come before the first of the request's.
    holds: Vec<Record>,
}

impl approval::Recorder for Recorder {
    fn record(&self, event: Event, text: &str) -> Result<(), NotKept> {
        if event == Event::Asked {
            for record in &self.holds {
                self.trail.seal(record.clone())?;
            }
        }
        let mut record = self.template.clone();
        record.statement = Some(excerpt(text));
        record.decision = Some(match event {
            Event::Asked | Event::Seconded => Decision::Hold,
            Event::Approved | Event::Used => Decision::Permit,
            Event::Denied | Event::Expired | Event::Withdrawn => Decision::Deny,
        });
        self.trail.write(record)?;
        Ok(())
    }
}
