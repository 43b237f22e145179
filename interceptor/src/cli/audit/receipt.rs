//! Receipts on the command line.

use super::{Place, printable, wanted::Wanted};
use crate::audit::Receipt;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;

/// Prints a receipt for what is wanted.
pub(super) fn give(place: &Place, wanted: &Wanted) -> Result<ExitCode> {
    let wanted = wanted.query();
    if wanted.words().is_empty() {
        anyhow::bail!("say what the receipt is for: --job CGROUP, --session ID, --agent SUBJECT...");
    }
    let receipt = Receipt::make(&place.dir, &wanted)?;
    println!("{}", serde_json::to_string_pretty(&receipt)?);
    Ok(ExitCode::SUCCESS)
}

/// Says whether a receipt stands.
pub(super) fn check(place: &Place, file: &Path, key: Option<&Path>) -> Result<ExitCode> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()));
    let key = key.map(read).transpose()?;
    match Receipt::check(&read(file)?, key.as_deref()) {
        Ok(receipt) if place.json => println!("{}", serde_json::to_string_pretty(&receipt.summary)?),
        Ok(receipt) => {
            let summary = &receipt.summary;
            println!(
                "the receipt stands: {}\n{} to {}\n{} statements permitted, {} denied, {} held; {} rows, {} values masked, {} rows changed",
                printable(&receipt.of, 200),
                summary.from,
                summary.to,
                summary.permitted,
                summary.denied,
                summary.held,
                summary.rows,
                summary.masked,
                summary.affected,
            );
            if key.is_none() {
                println!(
                    "signed with {}: whether that is the host's key is for you to compare (--key)",
                    printable(&receipt.key, 64)
                );
            }
        }
        Err(error) => {
            println!("THE RECEIPT DOES NOT STAND: {}", printable(&error.to_string(), 300));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
