//! Looking into the record: all of it by its search index, and its latest part for the plots, because somebody waits for the page.

use crate::audit::{self, latest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// So much of the record is counted for the plots, in bytes.
const MOST: u64 = 64 << 20;
/// Records that an answer has.
const FOUND: usize = 200;
/// Records of a session that are replayed.
const REPLAYED: usize = 2000;
/// Bars of a plot over time.
const BUCKETS: u64 = 48;

/// What is searched for; what is empty counts for anything.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    agent: String,
    relation: String,
    verb: String,
    decision: String,
    event: String,
    text: String,
    /// RFC 3339, or the beginning of it.
    since: String,
    until: String,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Found {
    records: Vec<Value>,
    /// Whether there is more than is shown.
    more: bool,
    /// Records that would fit and are not what was written.
    changed: Vec<u64>,
}

fn text<'a>(record: &'a Value, path: &str) -> &'a str {
    record.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(record: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    record.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

impl Wanted {
    fn query(self) -> audit::Wanted {
        let some = |value: String| Some(value).filter(|value| !value.is_empty());
        audit::Wanted {
            agent: some(self.agent),
            relation: some(self.relation),
            verb: some(self.verb),
            decision: some(self.decision),
            event: some(self.event),
            text: some(self.text),
            since: some(self.since),
            until: some(self.until),
            parts: true,
            ..audit::Wanted::default()
        }
    }
}

/// The latest records that fit, the latest first.
pub(super) fn search(dir: &Path, wanted: Wanted) -> io::Result<Found> {
    find(dir, &wanted.query(), FOUND)
}

/// The end of a session, in its order.
pub(super) fn replay(dir: &Path, session: &str) -> io::Result<Found> {
    let wanted = audit::Wanted { session: Some(session.to_owned()), ..audit::Wanted::default() };
    let mut found = find(dir, &wanted, REPLAYED)?;
    found.records.reverse();
    Ok(found)
}

fn find(dir: &Path, wanted: &audit::Wanted, most: usize) -> io::Result<Found> {
    // What it does not have is read all the same.
    if let Err(error) = audit::index(dir, |_| {}) {
        tracing::warn!(%error, "the search index is not up to date");
    }
    let (lines, more, searched) = audit::search_latest(dir, wanted, true, most)?;
    if let Some(complaint) = &searched.complaint {
        tracing::warn!("{complaint}");
    }
    let records = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    Ok(Found { records, more, changed: searched.changed })
}

/// Numbers for plots.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// From when to when, in seconds since 1970.
    from: i64,
    until: i64,
    /// Statements that were permitted, denied and held, over that time.
    permit: Vec<u64>,
    deny: Vec<u64>,
    hold: Vec<u64>,
    /// What was denied most, in words, and how often.
    denied: Vec<(String, u64)>,
    /// Seconds from asking to the word, one each.
    waits: Vec<i64>,
    /// For each policy how often it permitted, denied or held, and how often it would have denied and was only observed.
    policies: BTreeMap<String, Fired>,
    /// Records that were looked at.
    records: usize,
    whole: bool,
}

/// How often a policy decided.
#[derive(Debug, Default, Serialize)]
struct Fired {
    permit: u64,
    deny: u64,
    hold: u64,
    observed: u64,
}

/// Counts the latest records.
pub(super) fn figures(dir: &Path) -> io::Result<Figures> {
    let (lines, whole) = latest(dir, MOST)?;
    let mut figures = Figures { whole, records: lines.len(), ..Figures::default() };
    let (mut statements, mut denied, mut asked) = (Vec::new(), BTreeMap::<String, u64>::new(), BTreeMap::new());
    for line in lines.iter().rev() {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let Some(time) = seconds(text(&record, "/time")) else { continue };
        let decision = text(&record, "/decision");
        match text(&record, "/event") {
            "statement" => {
                statements.push((time, decision.to_owned()));
                for policy in list(&record, "policies") {
                    let (policy, observed) = match policy.strip_suffix(" (observed)") {
                        Some(policy) => (policy, true),
                        None => (policy, false),
                    };
                    let fired = figures.policies.entry(policy.to_owned()).or_default();
                    match (observed, decision) {
                        (true, _) => fired.observed += 1,
                        (false, "permit") => fired.permit += 1,
                        (false, "deny") => fired.deny += 1,
                        (false, _) => fired.hold += 1,
                    }
                }
                if decision == "deny" {
                    let verbs: Vec<_> = list(&record, "verbs").collect();
                    let relations = record.get("relations").and_then(Value::as_array).into_iter().flatten();
                    let relations: Vec<_> = relations.map(|used| text(used, "/relation")).collect();
                    let what = match (verbs.is_empty(), relations.is_empty()) {
                        (true, true) => "what cannot be read".to_owned(),
                        (_, true) => verbs.join(", "),
                        (_, false) => format!("{} on {}", verbs.join(", "), relations.join(", ")),
                    };
                    *denied.entry(what).or_default() += 1;
                }
            }
            "approval" => {
                let mut words = text(&record, "/statement").split([' ', ':', ',']).filter(|word| !word.is_empty());
                let (what, id) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default().to_owned());
                match what {
                    "asked" => drop(asked.insert(id, time)),
                    "approved" | "denied" => {
                        figures.waits.extend(asked.remove(&id).map(|since: i64| time - since));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if let (Some((from, _)), Some((until, _))) = (statements.first(), statements.last()) {
        (figures.from, figures.until) = (*from, *until);
        let width = (until - from).max(1);
        for list in [&mut figures.permit, &mut figures.deny, &mut figures.hold] {
            list.resize(BUCKETS as usize, 0);
        }
        for (time, decision) in &statements {
            let at = usize::try_from((time - from) * (BUCKETS as i64 - 1) / width).unwrap_or_default();
            let list = match decision.as_str() {
                "permit" => &mut figures.permit,
                "deny" => &mut figures.deny,
                _ => &mut figures.hold,
            };
            if let Some(bar) = list.get_mut(at) {
                *bar += 1;
            }
        }
    }
    figures.denied = denied.into_iter().collect();
    figures.denied.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    figures.denied.truncate(10);
    Ok(figures)
}

fn seconds(time: &str) -> Option<i64> {
    OffsetDateTime::parse(time, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}
