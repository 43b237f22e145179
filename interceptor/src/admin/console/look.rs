//! Looking into the record, all of it: by its search index, because somebody waits for the page.

use crate::audit::{self, Counts, Fired};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Records that an answer has.
const FOUND: usize = 200;
/// Records of a session that are replayed.
const REPLAYED: usize = 2000;
/// Bars of a plot over time, at most.
const BARS: i64 = 48;
/// Rows of a plot by name.
const ROWS: usize = 10;
const MINUTE: i64 = 60;

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
    bring_up_to_date(dir);
    let (lines, more, searched) = audit::search_latest(dir, wanted, true, most)?;
    if let Some(complaint) = &searched.complaint {
        tracing::warn!("{complaint}");
    }
    let records = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    Ok(Found { records, more, changed: searched.changed })
}

/// What the index does not have is read all the same.
fn bring_up_to_date(dir: &Path) {
    if let Err(error) = audit::index(dir, |_| {}) {
        tracing::warn!(%error, "the search index is not up to date");
    }
}

/// How far back is looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Span {
    Hour,
    Day,
    Week,
    Month,
    #[default]
    All,
}

impl Span {
    /// From when on, in seconds since 1970: a whole minute, which is what is counted by.
    fn since(self, now: i64) -> Option<i64> {
        let minutes = match self {
            Self::Hour => 60,
            Self::Day => 24 * 60,
            Self::Week => 7 * 24 * 60,
            Self::Month => 30 * 24 * 60,
            Self::All => return None,
        };
        Some((now.div_euclid(MINUTE) + 1 - minutes) * MINUTE)
    }
}

/// Numbers for plots.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    /// From when to when, in seconds since 1970, and how many of them a bar has.
    from: i64,
    until: i64,
    width: i64,
    /// Statements that were permitted, denied and held, bar by bar.
    permit: Vec<u64>,
    deny: Vec<u64>,
    hold: Vec<u64>,
    /// What was denied most, in words, and how often; and how often anything else was.
    denied: Vec<(String, u64)>,
    denied_otherwise: u64,
    /// Seconds from asking to the word, one each.
    waits: Vec<i64>,
    /// For each policy how often it decided.
    policies: BTreeMap<String, Fired>,
    /// Records that were counted: all of that time.
    records: u64,
    /// Records among them that are not what was written, and were not counted.
    changed: Vec<u64>,
}

/// Counts all records of a span.
pub(super) fn figures(dir: &Path, span: Span, now: i64) -> io::Result<Figures> {
    bring_up_to_date(dir);
    let since = span.since(now);
    let (counts, searched) = audit::count(dir, since, true)?;
    if let Some(complaint) = &searched.complaint {
        tracing::warn!("{complaint}");
    }
    Ok(Figures { changed: searched.changed, ..plotted(counts, since, now) })
}

fn plotted(counts: Counts, since: Option<i64>, now: i64) -> Figures {
    let waits = counts.waits();
    let Counts { records, minutes, policies, denied, .. } = counts;
    let this = now.div_euclid(MINUTE);
    // Clocks are set back, too.
    let first = since.map(|since| since / MINUTE).or(minutes.keys().next().copied()).unwrap_or(this);
    let behind = minutes.keys().next_back().copied().unwrap_or(this).max(this) + 1;
    let up = |minutes: i64, by: i64| (minutes + by - 1) / by;
    let width = up(behind - first, BARS).max(1);
    let bars = usize::try_from(up(behind - first, width)).unwrap_or_default();
    let mut of_decision = [(); 3].map(|()| vec![0; bars]);
    for (minute, counts) in &minutes {
        let Ok(at) = usize::try_from((minute - first) / width) else { continue };
        for (bars, count) in of_decision.iter_mut().zip(counts) {
            if let Some(bar) = bars.get_mut(at) {
                *bar += count;
            }
        }
    }
    let [permit, deny, hold] = of_decision;
    let mut denied: Vec<_> = denied.into_iter().collect();
    denied.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let denied_otherwise = denied.iter().skip(ROWS).map(|(_, count)| count).sum();
    denied.truncate(ROWS);
    let (from, until) = (first * MINUTE, behind * MINUTE);
    let width = width * MINUTE;
    Figures {
        from,
        until,
        width,
        permit,
        deny,
        hold,
        denied,
        denied_otherwise,
        waits,
        policies,
        records,
        changed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, figures};
    use crate::audit::{Decision, Event, Record, RelationUse, Settings, Subject, Trail};
    use crate::scratch::Scratch;
    use std::sync::Arc;
    use time::OffsetDateTime;

    #[test]
    fn all_of_a_span_is_counted_whatever_came_since() {
        let scratch = Scratch::about("figures");
        let settings = Settings { segment_megabytes: 1, ..Settings::of(scratch.to_path_buf()) };
        let trail = Trail::open(&settings).unwrap();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let write = |event, decision, verb: &str, relation: &str, statement: String| {
            let mut record = Record::new(event, Arc::new(Subject::default()));
            record.decision = decision;
            record.verbs = vec![verb.to_owned()];
            record.relations = vec![RelationUse { relation: relation.to_owned(), access: Vec::new() }];
            record.policies = vec!["shop".to_owned(), "later (observed)".to_owned()];
            record.statement = Some(statement);
            trail.seal(record).unwrap();
        };
        // What stands at the very beginning counts, whatever has been written since.
        for _ in 0..5 {
            write(Event::Statement, Some(Decision::Deny), "truncate", "public.orders", "truncate orders".to_owned());
        }
        write(Event::Approval, None, "", "", "asked: request 0a1b2c3d, of dba".to_owned());
        for at in 0..500_u64 {
            let decision = if at % 4 == 0 { Decision::Hold } else { Decision::Permit };
            write(Event::Statement, Some(decision), "select", "public.orders", "x".repeat(2000));
        }
        for at in 0..12 {
            write(Event::Statement, Some(Decision::Deny), "select", &format!("public.t{at}"), String::new());
        }
        write(Event::Approval, None, "", "", "approved: request 0a1b2c3d by bob".to_owned());
        trail.flush().unwrap();
        for span in [Span::Hour, Span::Day, Span::Week, Span::Month, Span::All] {
            let found = figures(&scratch, span, now).unwrap();
            let sum = |bars: &[u64]| bars.iter().sum::<u64>();
            assert_eq!((sum(&found.permit), sum(&found.deny), sum(&found.hold)), (375, 17, 125), "{span:?}");
            assert_eq!(found.denied.first(), Some(&("truncate on public.orders".to_owned(), 5)), "{span:?}");
            assert_eq!((found.denied.len(), found.denied_otherwise), (10, 3), "{span:?}");
            let fired = found.policies.get("shop").copied().unwrap_or_default();
            assert_eq!((fired.permit, fired.deny, fired.hold, fired.observed), (375, 17, 125, 0), "{span:?}");
            assert_eq!(found.policies.get("later").map(|fired| fired.observed), Some(517), "{span:?}");
            assert_eq!(found.waits.len(), 1, "{span:?}");
            assert!(found.permit.len() <= 48 && found.permit.len() as i64 * found.width >= found.until - found.from);
            assert!(found.from <= now && found.until > now && found.changed.is_empty(), "{span:?}");
        }
        // An hour on, it is no longer of the last hour.
        let later = figures(&scratch, Span::Hour, now + 3700).unwrap();
        assert_eq!((later.permit.iter().sum::<u64>(), later.denied.len(), later.policies.len()), (0, 0, 0));
    }
}
