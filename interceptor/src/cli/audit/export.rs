//! Records for other programs.

use super::Place;
use super::find::{each, each_line, ended};
use super::parquet::Table;
use super::wanted::{Means, Wanted};
use crate::audit::Record;
use anyhow::{Result, bail};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// What an export is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Format {
    /// A record a line.
    Json,
    /// A table with the members that fit into one.
    Csv,
    /// A table with all of them, what is nested as JSON (docs/audit.md).
    Parquet,
}

pub(super) fn export(place: &Place, wanted: &Wanted, means: &Means, format: Format) -> Result<ExitCode> {
    if format == Format::Parquet && std::io::stdout().is_terminal() {
        bail!("Parquet is nothing for a terminal: write it into a file (> records.parquet)");
    }
    // Parquet is written by whoever may be on another thread.
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let searched = match format {
        Format::Json => {
            let searched =
                each(&place.dir, wanted, means, |record| Ok(writeln!(out, "{}", serde_json::to_string(&record)?)?))?;
            out.flush()?;
            searched
        }
        Format::Csv => {
            let mut table = csv::Writer::from_writer(out);
            table.write_record(COLUMNS)?;
            let searched = each(&place.dir, wanted, means, |record| Ok(table.write_record(cells(&record))?))?;
            table.flush()?;
            searched
        }
        Format::Parquet => {
            let mut table = Table::new(out)?;
            let searched = each_line(&place.dir, wanted, means, |line| table.add(line))?;
            table.finish()?;
            searched
        }
    };
    Ok(ended(&searched))
}

/// Columns of an export as CSV.
const COLUMNS: [&str; 20] = [
    "seq",
    "time",
    "event",
    "session",
    "agent",
    "on_behalf_of",
    "cgroup",
    "server",
    "database",
    "role",
    "statement",
    "verbs",
    "relations",
    "decision",
    "policies",
    "status",
    "sqlstate",
    "rows",
    "affected",
    "statement_seq",
];

fn cells(record: &Record) -> [String; 20] {
    let subject = &record.subject;
    let agent = subject.agent.as_ref();
    let outcome = record.outcome.as_ref();
    let relations: Vec<_> = record.relations.iter().map(|used| used.relation.clone()).collect();
    [
        record.seq.to_string(),
        record.time.clone(),
        record.event.name().to_owned(),
        subject.session.clone(),
        plain(agent.map(|agent| agent.subject.as_str()).unwrap_or_default()),
        plain(agent.and_then(|agent| agent.on_behalf_of.as_deref()).unwrap_or_default()),
        plain(subject.process.as_ref().map(|process| process.cgroup.as_str()).unwrap_or_default()),
        subject.server.clone(),
        plain(&subject.database),
        plain(&subject.role),
        plain(record.statement.as_deref().unwrap_or_default()),
        record.verbs.join(" "),
        plain(&relations.join(" ")),
        record.decision.map(|decision| decision.name()).unwrap_or_default().to_owned(),
        plain(&record.policies.join(" ")),
        outcome.map(|outcome| outcome.status.name()).unwrap_or_default().to_owned(),
        outcome.and_then(|outcome| outcome.sqlstate.clone()).unwrap_or_default(),
        outcome.map(|outcome| outcome.rows.to_string()).unwrap_or_default(),
        outcome.and_then(|outcome| outcome.affected).map(|affected| affected.to_string()).unwrap_or_default(),
        outcome.map(|outcome| outcome.statement_seq.to_string()).unwrap_or_default(),
    ]
}

/// A text that no spreadsheet takes for a formula: agents write it.
fn plain(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}
