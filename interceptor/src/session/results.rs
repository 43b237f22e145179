//! Rows on their way to the client: counted, limited, masked.

use super::Output;
use super::Session;
use super::pending::Running;
use super::refusal::{Ending, Refusal};
use crate::mask;
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
                    .is_some_and(|running| running.stopped.is_none() && running.orders.masks_output());
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
        let Some(running) = self.queue.current() else {
            return Err(Ending::Server(format!("rows in `{}` that nobody asked for", tag.escape_ascii())));
        };
        if running.stopped.is_some() || hushed {
            return Ok(());
        }
        let (bytes, started) = match within(running, continued, started, bytes) {
            Ok(()) => (bytes, started),
            Err(cut) => {
                let Cut { end, rows, refusal } = *cut;
                running.stopped = Some(refusal);
                out.cancel = true;
                (bytes.get(..end).unwrap_or_default(), rows)
            }
        };
        running.rows += started;
        running.bytes += bytes.len() as u64;
        self.totals.rows += started;
        self.totals.bytes += bytes.len() as u64;
        out.downstream.extend_from_slice(bytes);
        Ok(())
    }

    /// A row with masked columns.
    pub(super) fn masked_row(&mut self, frame: &Frame, out: &mut Output) -> Result<(), Ending> {
        let key = self.key.clone();
        let hushed = self.hushed;
        let Some(running) = self.queue.current() else {
            return Err(Ending::Server("a row that nobody asked for".to_owned()));
        };
        if running.stopped.is_some() || hushed {
            return Ok(());
        }
        let Some(shape) = running.shape.clone() else {
            return Err(Ending::Server("rows that were not described".to_owned()));
        };
        if let Err(cut) = within(running, 0, 1, frame.bytes()) {
            running.stopped = Some(cut.refusal);
            out.cancel = true;
            return Ok(());
        }
        let before = out.downstream.len();
        let masked = mask::row(&running.orders, &shape, &key, frame, &mut out.downstream);
        running.masked += masked.map_err(|error| Ending::Server(error.to_string()))?;
        let written = (out.downstream.len() - before) as u64;
        running.rows += 1;
        running.bytes += written;
        self.totals.rows += 1;
        self.totals.bytes += written;
        Ok(())
    }

    /// The server describes what the statement at the head returns.
    pub(super) fn shape(&mut self, frame: &Frame) -> Result<(), Ending> {
        let Some(running) = self.queue.current() else { return Ok(()) };
        if running.origins.is_empty() && !running.orders.masks_output() {
            return Ok(());
        }
        let columns = described(frame).map_err(|error| Ending::Server(error.to_string()))?;
        check_origins(running, &columns)?;
        running.shape = Some(columns.into());
        Ok(())
    }

    /// Whether an error at this point may quote a value of a masked column.
    pub(super) fn quotes_masked(&mut self) -> bool {
        use super::pending::Pending;
        use crate::sql::Effect;
        let redacts = self.redacts;
        match self.queue.head() {
            Some(Pending::Query(running)) => running.front().is_some_and(|running| {
                running.orders.redacts_errors || (redacts && running.effect == Effect::EndTransaction)
            }),
            Some(Pending::Execute(Some(running))) => {
                running.orders.redacts_errors || (redacts && running.effect == Effect::EndTransaction)
            }
            Some(Pending::Parse { prepared, .. } | Pending::Bind { prepared, .. }) => prepared.redacts,
            // A commit checks what was put off.
            Some(Pending::Sync | Pending::OwnEnd(_)) => redacts,
            Some(_) | None => false,
        }
    }
}

/// The alarm: the server itself says where a column comes from. Where that is a masked column and the plan has it leave as
/// it is, the analysis was wrong.
fn check_origins(running: &Running, columns: &[Described]) -> Result<(), Ending> {
    for (at, column) in columns.iter().enumerate() {
        let is_masked = running.orders.masks.get(at).copied().flatten().is_some();
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

/// Whether a run of rows stays within the limits of its statement.
fn within(running: &Running, continued: usize, started: u64, bytes: &[u8]) -> Result<(), Box<Cut>> {
    let orders = &running.orders;
    let rows_left = orders.max_rows.map(|most| most.saturating_sub(running.had.rows + running.rows));
    if orders.max_bytes.is_none() && rows_left.is_none_or(|left| started <= left) {
        return Ok(());
    }
    let bytes_left = orders.max_bytes.map(|most| most.saturating_sub(running.had.bytes + running.bytes));
    let (mut end, mut rows) = (continued, 0);
    while let Ok(Some(header)) = Header::read(bytes.get(end..).unwrap_or_default()) {
        if let Some(most) = orders.max_rows.filter(|_| rows_left.is_some_and(|left| rows >= left)) {
            return Err(Box::new(Cut { end, rows, refusal: Refusal::TooManyRows(most) }));
        }
        let next = end.saturating_add(HEADER).saturating_add(header.body);
        // A message that is begun cannot be taken back: it counts whole before any of it leaves.
        if let Some(most) = orders.max_bytes.filter(|_| bytes_left.is_some_and(|left| next as u64 > left)) {
            return Err(Box::new(Cut { end, rows, refusal: Refusal::TooManyBytes(most) }));
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
