//! `audit`: reading, searching and verifying the record.

mod export;
mod find;
mod parquet;
mod receipt;
mod wanted;

use super::table::table;
use super::talk::{Talk, print_json, wait_for};
use crate::admin;
use crate::app::Witness;
use crate::audit::{self, Follower, Record, Taken, verify_against};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use export::Format;
use find::{each, ended, latest};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use wanted::{Means, Wanted};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Print records as they are written, until interrupted
    Tail {
        #[command(flatten)]
        place: Place,
    },
    /// Print the records that fit
    #[command(
        after_help = "Examples:\n  interceptor audit search --decision deny\n  interceptor audit search --agent agent:demo --relation public.orders --verb delete --json\n  interceptor audit search --text 'drop table' --since 2026-01-31T08:00"
    )]
    Search {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        means: Means,
    },
    /// Show the last records as a table
    Show {
        #[command(flatten)]
        place: Place,
        /// How many
        #[arg(long, short = 'n', default_value_t = 40)]
        last: usize,
        /// Only records of this session
        #[arg(long)]
        session: Option<String>,
    },
    /// Write the records that fit into a file for other programs
    #[command(
        after_help = "In CSV, texts that a spreadsheet would take for a formula begin with an apostrophe.\n\nExamples:\n  interceptor audit export --format csv --since 2026-01 > january.csv\n  interceptor audit export --format parquet --agent agent:demo > demo.parquet\n  interceptor audit export --decision deny | jq .statement"
    )]
    Export {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        wanted: Wanted,
        /// json (a line each), csv or parquet
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
        #[command(flatten)]
        means: Means,
    },
    /// Bring the search index up to date, which searches do by themselves
    #[command(
        after_help = "The index lies beside the record (`search.index`) and only says what a search need not read: whatever is found is\nread from the record itself. It can be deleted at any time.\n\nExamples:\n  interceptor audit index\n  interceptor audit index --rebuild\n  interceptor audit index --check"
    )]
    Index {
        #[command(flatten)]
        place: Place,
        /// Throw it away and make it anew
        #[arg(long, conflicts_with = "check")]
        rebuild: bool,
        /// Compare it with the whole record; exit status 1 if it says anything else
        #[arg(long)]
        check: bool,
    },
    /// Sign what one job or session did, in a file that `verify --receipt` checks anywhere
    #[command(
        after_help = "Examples:\n  interceptor audit receipt --job /ci/job-4711 > receipt.json\n  interceptor audit verify --receipt receipt.json --key host.pub"
    )]
    Receipt {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Have the daemon sign with another key from now on; the old one says so, and `key.pub` has both
    #[command(after_help = "Example:\n  interceptor audit rotate-key")]
    RotateKey {
        #[command(flatten)]
        talk: Talk,
    },
    /// Find whatever was changed, removed or swapped
    #[command(
        after_help = "Exit status: 0 for a trail or a receipt that stands, 1 otherwise.\n\nExamples:\n  interceptor audit verify\n  interceptor audit verify --witness /mnt/witness/host.jsonl\n  interceptor audit verify --witness https://witness.example/hosts/db1 --witness-headers witness.headers\n  interceptor audit verify --receipt receipt.json --key host.pub"
    )]
    Verify {
        #[command(flatten)]
        place: Place,
        /// The checkpoints that a witness away from this host has taken (`witness` in `[audit]`)
        #[arg(long, value_name = "FILE|URL")]
        witness: Option<PathBuf>,
        /// Headers for a witness that is a URL, `Name: value` a line; a file of mode 0600
        #[arg(long, value_name = "FILE", requires = "witness")]
        witness_headers: Option<PathBuf>,
        /// Who vouches for it, in PEM, instead of the host's trusted CAs
        #[arg(long, value_name = "FILE", requires = "witness")]
        witness_ca: Option<PathBuf>,
        /// A receipt instead of a trail
        #[arg(long, value_name = "FILE", conflicts_with = "witness")]
        receipt: Option<PathBuf>,
        /// The host's public key that a receipt has to be signed with (`key.pub` in its audit folder)
        #[arg(long, value_name = "FILE", requires = "receipt")]
        key: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Place {
    /// Audit folder
    #[arg(long = "audit", value_name = "DIR", env = "INTERCEPTOR_AUDIT", default_value = "/var/lib/interceptor/audit")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn audit(command: Audit) -> Result<ExitCode> {
    match command {
        Audit::Tail { place } => tail(&place),
        Audit::Search { place, wanted, means } => {
            let searched = if place.json {
                let mut out = std::io::BufWriter::new(std::io::stdout().lock());
                let searched = each(&place.dir, &wanted, &means, |record| {
                    Ok(writeln!(out, "{}", serde_json::to_string(&record)?)?)
                })?;
                out.flush()?;
                searched
            } else {
                let mut rows = Vec::new();
                let searched = each(&place.dir, &wanted, &means, |record| {
                    rows.push(row(&record));
                    Ok(())
                })?;
                show_rows(&rows)?;
                searched
            };
            Ok(ended(&searched))
        }
        Audit::Export { place, wanted, format, means } => export::export(&place, &wanted, &means, format),
        Audit::Index { place, rebuild, check } => find::index(&place, rebuild, check),
        Audit::Receipt { place, wanted } => receipt::give(&place, &wanted),
        Audit::Show { place, last, session } => {
            let wanted = audit::Wanted { session, ..audit::Wanted::default() };
            let (records, searched) = latest(&place.dir, &wanted, last)?;
            show(&records, place.json)?;
            Ok(ended(&searched))
        }
        Audit::RotateKey { talk } => {
            let key: String = wait_for(admin::post(&talk.socket()?, "/audit/rotate-key", None, &()))?;
            if talk.json {
                return print_json(&key);
            }
            println!("{key}");
            Ok(ExitCode::SUCCESS)
        }
        Audit::Verify { place, receipt: Some(receipt), key, .. } => receipt::check(&place, &receipt, key.as_deref()),
        Audit::Verify { place, witness, witness_headers, witness_ca, .. } => {
            let lines =
                witness.as_deref().map(|witness| taken(witness, witness_headers.as_deref(), witness_ca.as_deref()));
            let lines = lines.transpose()?;
            let taken = witness.as_deref().zip(lines.as_deref());
            check(&place, taken.map(|(witness, lines)| Taken { witness, lines }).as_ref())
        }
    }
}

/// What a witness has taken.
fn taken(witness: &Path, headers: Option<&Path>, ca: Option<&Path>) -> Result<String> {
    let name = witness.display().to_string();
    let unread = || format!("the witness `{name}` cannot be read");
    if name.starts_with("http://") || name.starts_with("https://") {
        return Witness::at(&name, headers, ca).and_then(|witness| witness.taken()).with_context(unread);
    }
    std::fs::read_to_string(witness).with_context(unread)
}

fn check(place: &Place, witness: Option<&Taken<'_>>) -> Result<ExitCode> {
    let report = verify_against(&place.dir, witness)
        .with_context(|| format!("audit folder `{}` cannot be read", place.dir.display()))?;
    if place.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for finding in &report.findings {
            println!("{}:{}: {}", finding.file.display(), finding.line, finding.text);
        }
        let verdict = if report.findings.is_empty() { "the trail stands" } else { "THE TRAIL DOES NOT STAND" };
        println!("{verdict}: {} records, {} signed checkpoints", report.records, report.checkpoints);
        if let Some(witnessed) = report.witnessed {
            println!("the witness has seen it signed up to record {witnessed}");
        }
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(records: &[Record], json: bool) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if json {
        for record in records {
            writeln!(out, "{}", serde_json::to_string(record)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    drop(out);
    show_rows(&records.iter().map(row).collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

fn show_rows(rows: &[[String; 6]]) -> Result<()> {
    let rows: Vec<_> = rows.iter().map(<[String; 6]>::as_slice).collect();
    let table = table(&["seq", "time", "agent", "event", "decision", "what"], &rows);
    Ok(write!(std::io::stdout().lock(), "{table}")?)
}

fn row(record: &Record) -> [String; 6] {
    let time = record.time.get(11..23).unwrap_or(&record.time).to_owned();
    let agent = record.subject.agent.as_ref().map_or("-".to_owned(), |agent| agent.subject.clone());
    let decided = record.decision.map_or("-", |decision| decision.name()).to_owned();
    [record.seq.to_string(), time, printable(&agent, 30), record.event.name().to_owned(), decided, what(record)]
}

fn what(record: &Record) -> String {
    if let Some(outcome) = &record.outcome {
        let mut text = format!("of {}: {}", outcome.statement_seq, outcome.status.name());
        if let Some(code) = &outcome.sqlstate {
            text += &format!(" {code}");
        }
        if outcome.rows > 0 {
            text += &format!(", {} rows", outcome.rows);
        }
        if let Some(affected) = outcome.affected {
            text += &format!(", {affected} affected");
        }
        if let Some(reason) = &outcome.reason {
            text += &format!(", {reason}");
        }
        return printable(&text, 120);
    }
    let by = if record.policies.is_empty() { String::new() } else { format!("  [{}]", record.policies.join(", ")) };
    format!("{}{by}", printable(record.statement.as_deref().unwrap_or_default(), 90))
}

/// One line that cannot play tricks on a terminal: control characters and those that turn text around as escapes.
fn printable(text: &str, most: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .flat_map(|c| if c.is_control() || turns(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .take(most + 1)
        .collect();
    if out.chars().count() > most {
        out = out.chars().take(most.saturating_sub(3)).collect::<String>() + "...";
    }
    out
}

fn tail(place: &Place) -> Result<ExitCode> {
    let mut follower = Follower::at_end(place.dir.clone())
        .with_context(|| format!("audit folder `{}` cannot be read", place.dir.display()))?;
    loop {
        let lines = follower.next(1000, 1 << 20)?;
        if lines.is_empty() {
            std::thread::sleep(Duration::from_millis(200));
        }
        for line in &lines {
            show(&[serde_json::from_str(line)?], place.json)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_write_cannot_play_tricks_on_a_terminal() {
        assert_eq!(printable("select\n\t1", 20), "select 1");
        assert_eq!(printable("a\u{1b}[31mb", 20), "a\\u{1b}[31mb");
        assert_eq!(printable("a\u{202e}b", 20), "a\\u{202e}b");
        assert_eq!(printable("abcdefghij", 8), "abcde...");
    }
}
