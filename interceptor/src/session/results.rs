//! Rows on their way to the client: counted, limited, masked.

use super::Output;
use super::Session;
use super::names::Names;
use super::pending::{Pending, Running};
use super::refusal::{Ending, Refusal};
use crate::mask;
use crate::policy::{Counted, Totals};
use crate::wire::{Described, ErrorFields, Frame, HEADER, Header, Speaker, described};

/// Longest row that is looked into, in bytes; others pass in pieces, whatever their size.
const MOST_ROW: usize = 64 << 20;
/// Longest message of a server that is looked at, in bytes: error texts may quote long statements.
const MOST: usize = 16 << 20;

impl Session {
    /// The greatest body of a server's message, `None` for rows and COPY data that pass.
    pub fn most_from_server(&mut self, tag: u8) -> Option<usize> {
        match tag {
            b'D' => {
                let masks = self
                    .queue
                    .current()
                    .is_some_and(|running| running.stopped.is_none() && running.orders.looks_into_rows());
                masks.then_some(MOST_ROW)
            }
            b'd' => None,
            _ => Some(MOST),
        }
    }

    /// A run of rows or COPY data: `continued` bytes belong to a message of an earlier run, `started` messages began.
    pub fn data(
        &mut self,
        tag: u8,
        continued: usize,
        started: u64,
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<(), Ending> {
        let hushed = self.hushed;
        let simple = matches!(self.queue.head(), Some(Pending::Query(_)));
        let names = &self.names;
        let Some(running) = self.queue.current() else {
            return Err(Ending::Server(format!("rows in `{}` that nobody asked for", tag.escape_ascii())));
        };
        if running.stopped.is_some() || hushed {
            return Ok(());
        }
        if tag == b'D' {
            if simple && !running.passing.is_described() {
                return Err(undescribed());
            }
            running.passing.follow(bytes).map_err(|error| Ending::Server(error.to_string()))?;
        }
        let (bytes, started) = match within(running, names, continued, started, bytes) {
            Ok(()) => (bytes, started),
            Err(cut) => {
                let Cut { end, rows, refusal } = *cut;
                running.stopped = Some(refusal);
                out.cancel = true;
                (bytes.get(..end).unwrap_or_default(), rows)
            }
        };
        let left = leaves(running, started, bytes.len());
        self.count(left);
        out.downstream.extend_from_slice(bytes);
        Ok(())
    }

    /// The greatest body of a row that is looked into, while rows have to be: whole runs of them are best.
    pub fn looks_into_rows(&mut self) -> Option<usize> {
        let running = self.queue.current()?;
        (running.stopped.is_none() && running.orders.looks_into_rows()).then_some(MOST_ROW)
    }

    /// Whole rows with masked columns, one behind the other.
    pub fn masked_rows(&mut self, rows: &[u8], count: u64, out: &mut Output) -> Result<(), Ending> {
        let hushed = self.hushed;
        let names = &self.names;
        let Some(running) = self.queue.current() else {
            return Err(Ending::Server("a row that nobody asked for".to_owned()));
        };
        if running.stopped.is_some() || hushed {
            return Ok(());
        }
        let Some(shape) = running.shape.clone() else {
            return Err(undescribed());
        };
        let (mut rows, count) = match within(running, names, 0, count, rows) {
            Ok(()) => (rows, count),
            Err(cut) => {
                let Cut { end, rows: count, refusal } = *cut;
                running.stopped = Some(refusal);
                out.cancel = true;
                (rows.get(..end).unwrap_or_default(), count)
            }
        };
        let before = out.downstream.len();
        while let Ok(Some(header)) = Header::read(rows) {
            let whole = HEADER + header.body;
            let body = rows.get(HEADER..whole).ok_or_else(|| Ending::Server("a row in part".to_owned()))?;
            let row = out.downstream.len();
            let masked = mask::row(&running.orders, &shape, &self.key, body, &mut out.downstream);
            running.masked += masked.map_err(|error| Ending::Server(error.to_string()))?;
            if let Some(kept) = &mut running.kept {
                kept.take(&shape, out.downstream.get(row..).unwrap_or_default());
            }
            rows = rows.get(whole..).unwrap_or_default();
        }
        let left = leaves(running, count, out.downstream.len() - before);
        self.count(left);
        Ok(())
    }

    /// The server describes what the statement at the head returns.
    pub(super) fn shape(&mut self, frame: &Frame, columns: usize) -> Result<(), Ending> {
        let Some(running) = self.queue.current() else { return Ok(()) };
        running.passing.describe(columns);
        if running.origins.is_empty() && !running.orders.looks_into_rows() {
            return Ok(());
        }
        let columns = described(frame).map_err(|error| Ending::Server(error.to_string()))?;
        if let Some(width) = running.width.filter(|width| *width != columns.len()) {
            return Err(Ending::Misread { seen: width, described: columns.len() });
        }
        check_origins(running, &columns)?;
        running.shape = Some(columns.into());
        Ok(())
    }

    /// Whether an error at this point may quote a value of a masked column.
    pub(super) fn quotes_masked(&mut self) -> bool {
        let redacts = self.redacts;
        match self.queue.head() {
            Some(Pending::Query(running)) => {
                running.front().is_some_and(|running| running.orders.redacts_errors || (redacts && !running.ordinary))
            }
            Some(Pending::Execute(Some(running))) => running.orders.redacts_errors || (redacts && !running.ordinary),
            Some(Pending::Parse { prepared, .. } | Pending::Bind { prepared, .. }) => prepared.redacts,
            // A commit checks what was put off.
            Some(Pending::Sync | Pending::OwnEnd(_)) => redacts,
            Some(_) | None => false,
        }
    }
}

fn undescribed() -> Ending {
    Ending::Server("rows that were not described".to_owned())
}

/// The alarm: the server itself says where a column comes from. Where that is a masked column and the plan has it leave as
/// it is, the analysis was wrong.
fn check_origins(running: &Running, columns: &[Described]) -> Result<(), Ending> {
    for (at, column) in columns.iter().enumerate() {
        let is_masked = running.orders.masks.get(at).is_some_and(Option::is_some);
        let whole_row = column.attribute == 0 && column.table != 0;
        let comes_from_masked = running
            .origins
            .iter()
            .any(|(table, attribute)| *table == column.table && (whole_row || *attribute == column.attribute));
        if comes_from_masked && !is_masked {
            return Err(Ending::Leak(at + 1));
        }
    }
    Ok(())
}

/// Where a result is cut.
struct Cut {
    /// Bytes of the run that may still leave.
    end: usize,
    /// Messages that begin in them.
    rows: u64,
    refusal: Refusal,
}

/// Counts what leaves for the statement. Rows have been taken from their budgets before.
fn leaves(running: &mut Running, rows: u64, bytes: usize) -> Totals {
    let bytes = bytes as u64;
    running.rows += rows;
    running.bytes += bytes;
    running.shares.iter().filter(|share| share.counts(Counted::Bytes)).for_each(|share| share.spend(bytes));
    Totals { rows, bytes, ..Totals::default() }
}

/// Whether a run of rows stays within the limits of its statement and the budgets that it takes from.
fn within(running: &mut Running, names: &Names, continued: usize, started: u64, bytes: &[u8]) -> Result<(), Box<Cut>> {
    // Statements before it in the same message may have taken from the same portal.
    let portal = running.portal.as_deref();
    let had = *running.had.get_or_insert_with(|| portal.map(|portal| names.served(portal)).unwrap_or_default());
    let running = &*running;
    let orders = &running.orders;
    if !orders.limits_result() {
        return Ok(());
    }
    let mut rows_left = Least::default();
    if let Some(most) = orders.max_rows {
        rows_left.at_most(most.saturating_sub(had.rows + running.rows), || Refusal::TooManyRows(most));
    }
    // Rows are taken from their budgets before they leave: other sessions may be at it too.
    let by_rows = || running.shares.iter().filter(|share| share.counts(Counted::Rows));
    let taken: Vec<_> = by_rows().map(|share| (share, share.take(started))).collect();
    for (share, taken) in &taken {
        if *taken < started {
            rows_left.at_most(*taken, || share.refusal());
        }
    }
    let mut bytes_left = Least::default();
    if let Some(most) = orders.max_bytes {
        bytes_left.at_most(most.saturating_sub(had.bytes + running.bytes), || Refusal::TooManyBytes(most));
    }
    for share in running.shares.iter().filter(|share| share.counts(Counted::Bytes)) {
        bytes_left.at_most(share.left(), || share.refusal());
    }
    let cut = cut(continued, started, bytes, rows_left, bytes_left);
    if let Err(cut) = &cut {
        taken.iter().for_each(|(share, taken)| share.give_back(taken.saturating_sub(cut.rows)));
    }
    cut
}

/// The least of several limits and what is said when it is reached.
#[derive(Default)]
struct Least(Option<(u64, Refusal)>);

impl Least {
    fn at_most(&mut self, left: u64, refusal: impl Fn() -> Refusal) {
        if self.0.as_ref().is_none_or(|(least, _)| left < *least) {
            self.0 = Some((left, refusal()));
        }
    }
}

fn cut(
    continued: usize,
    started: u64,
    bytes: &[u8],
    Least(rows_left): Least,
    Least(bytes_left): Least,
) -> Result<(), Box<Cut>> {
    if bytes_left.is_none() && rows_left.as_ref().is_none_or(|(left, _)| started <= *left) {
        return Ok(());
    }
    let (mut end, mut rows) = (continued, 0);
    while let Ok(Some(header)) = Header::read(bytes.get(end..).unwrap_or_default()) {
        if let Some((_, refusal)) = rows_left.as_ref().filter(|(left, _)| rows >= *left) {
            return Err(Box::new(Cut { end, rows, refusal: refusal.clone() }));
        }
        let next = end.saturating_add(HEADER).saturating_add(header.body);
        // A message that is begun cannot be taken back: it counts whole before any of it leaves.
        if let Some((_, refusal)) = bytes_left.as_ref().filter(|(left, _)| next as u64 > *left) {
            return Err(Box::new(Cut { end, rows, refusal: refusal.clone() }));
        }
        rows += 1;
        end = next;
    }
    Ok(())
}

/// An error or a notice without what may be a value: the code and the names of what it is about stay.
pub(super) fn redacted(tag: u8, fields: &ErrorFields) -> Vec<u8> {
    let mut body = Vec::new();
    let mut put = |field: u8, text: &str| {
        body.push(field);
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    };
    for field in *b"SVC" {
        if let Some(text) = fields.get(field) {
            put(field, text);
        }
    }
    let constraint = fields.get(b'n').map(|name| format!(" (constraint \"{name}\")")).unwrap_or_default();
    put(b'M', &format!("the message is withheld, for it may quote a masked column{constraint}"));
    for field in *b"stcdn" {
        if let Some(text) = fields.get(field) {
            put(field, text);
        }
    }
    body.push(0);
    super::frontend::own(tag, &body)
}

/// Writes an error, with what may be a value taken out where that is asked for.
pub(super) fn relay_error(fields: &ErrorFields, frame: &Frame, redacts: bool, out: &mut Output) {
    if redacts {
        out.downstream.extend_from_slice(&redacted(frame.tag(), fields));
    } else {
        out.downstream.extend_from_slice(frame.bytes());
    }
}

/// What the client is told in place of the server's error.
pub(super) fn tell(refusal: &Refusal, out: &mut Output) {
    match refusal {
        Refusal::Hushed => {}
        refusal => out.downstream.error(&refusal.report()),
    }
}
