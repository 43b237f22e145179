//! Looking for records on the command line: the search index is brought up to date first, and what it cannot do is said.

use super::Place;
use super::wanted::{Means, Wanted};
use crate::audit::{self, Record, Searched};
use anyhow::{Context, Error, Result, anyhow};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const BROKEN: &str = "the trail cannot be read to its end; `interceptor audit verify` says where it breaks";

/// Hands each record that is wanted to `take`, in order.
pub(super) fn each(
    dir: &Path,
    wanted: &Wanted,
    means: &Means,
    mut take: impl FnMut(Record) -> Result<()>,
) -> Result<Searched> {
    each_line(dir, wanted, means, |line| {
        serde_json::from_str(line).map_err(|error| Error::new(error).context(BROKEN)).and_then(&mut take)
    })
}

/// The same, as they stand in the trail.
pub(super) fn each_line(
    dir: &Path,
    wanted: &Wanted,
    means: &Means,
    mut take: impl FnMut(&str) -> Result<()>,
) -> Result<Searched> {
    readable(dir)?;
    if !means.no_index {
        bring_up_to_date(dir);
    }
    let mut failed = None;
    let searched = audit::search(dir, &wanted.query(), !means.no_index, |line| match take(line) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    match failed {
        Some(error) => Err(error),
        None => searched.context(BROKEN),
    }
}

/// The latest records that are wanted, in order.
pub(super) fn latest(dir: &Path, wanted: &audit::Wanted, most: usize) -> Result<(Vec<Record>, Searched)> {
    readable(dir)?;
    bring_up_to_date(dir);
    let (lines, _, searched) = audit::search_latest(dir, wanted, true, most).context(BROKEN)?;
    let records = lines.iter().rev().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>();
    Ok((records.context(BROKEN)?, searched))
}

/// Says what a search could not do, and whether all that it has found is all that there is.
pub(super) fn ended(searched: &Searched) -> ExitCode {
    if let Some(complaint) = &searched.complaint {
        eprintln!("interceptor: {complaint}");
    }
    match searched.changed.as_slice() {
        [] => ExitCode::SUCCESS,
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            eprintln!(
                "interceptor: record {first}{more} would fit, but is not what was written: `interceptor audit verify` says more"
            );
            ExitCode::FAILURE
        }
    }
}

/// `audit index`.
pub(super) fn index(place: &Place, rebuild: bool, check: bool) -> Result<ExitCode> {
    let dir = &place.dir;
    readable(dir)?;
    if check {
        let wrong = audit::check_index(dir).context(BROKEN)?;
        match &wrong {
            _ if place.json => println!("{}", serde_json::json!({ "stands": wrong.is_none(), "why": wrong })),
            None => println!("the search index says what the record says"),
            Some(wrong) => {
                println!("THE SEARCH INDEX DOES NOT STAND: {wrong}; `interceptor audit index --rebuild` makes it anew")
            }
        }
        return Ok(if wrong.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if rebuild {
        audit::forget_index(dir).context("the search index cannot be removed")?;
    }
    let begun = Instant::now();
    let indexed = audit::index(dir, told()).context("the search index cannot be brought up to date")?;
    let seconds = begun.elapsed().as_secs_f64();
    if place.json {
        let said = serde_json::json!({ "records": indexed.records, "bytes": indexed.bytes, "seconds": seconds });
        println!("{said}");
    } else {
        println!(
            "{} records in the search index, {:.1} MB; {seconds:.1} s",
            indexed.records,
            indexed.bytes as f64 / 1e6
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn readable(dir: &Path) -> Result<()> {
    std::fs::read_dir(dir).map(drop).with_context(|| format!("audit folder `{}` cannot be read", dir.display()))
}

/// A search goes on without: it reads what the index does not have.
fn bring_up_to_date(dir: &Path) {
    if let Err(error) = audit::index(dir, told()) {
        let error = anyhow!(error);
        eprintln!(
            "interceptor: the search index is not up to date ({error:#}); what it does not have is read from end to end"
        );
    }
}

/// Says on a terminal what is being done, once it takes a while.
fn told() -> impl FnMut(u64) {
    let (begun, mut said) = (Instant::now(), Instant::now());
    let terminal = std::io::stderr().is_terminal();
    let mut first = true;
    move |records| {
        if first && !terminal && begun.elapsed().as_secs() >= 1 {
            eprintln!("interceptor: bringing the search index of the record up to date");
            first = false;
        }
        if terminal && said.elapsed().as_millis() >= 500 {
            eprint!("\rinterceptor: bringing the search index up to date: {records} records\x1b[K");
            said = Instant::now();
        }
    }
}
