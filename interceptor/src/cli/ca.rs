//! `ca`: what agents have to trust.

use super::table::table;
use crate::config::{self, Config};
use crate::proxy::{Authority, Described};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Which CA, and what is done with it.
#[derive(Debug, Args)]
#[command(
    after_help = "The CA is made when the daemon first starts. Agents verify what it signs with `sslmode=verify-full`; without that, \
                  TLS needs no preparation.\n\nExamples:\n  interceptor ca\n  interceptor ca --config /etc/interceptor/interceptor.toml --json\n  \
                  interceptor ca export --out /usr/local/share/ca-certificates/interceptor.crt\n  interceptor ca export > ca.crt; \
                  PGSSLROOTCERT=ca.crt PGSSLMODE=verify-full psql -h db.example"
)]
pub(super) struct Ca {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT, global = true)]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the certificate in PEM
    #[command(
        after_help = "Examples:\n  interceptor ca export\n  interceptor ca export --out /usr/local/share/ca-certificates/interceptor.crt"
    )]
    Export {
        /// Where to; standard output without it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn ca(ca: Ca) -> Result<ExitCode> {
    let (cert, _) = Config::read(&ca.config)?.ca();
    let described = Authority::describe(&cert)
        .context("there is no CA to show; it is made when the daemon first starts with `client = \"on\"` in [tls]")?;
    match ca.action {
        Some(Action::Export { out: Some(out) }) => {
            std::fs::write(&out, &described.pem).with_context(|| format!("`{}` cannot be written", out.display()))?;
        }
        Some(Action::Export { out: None }) => print!("{}", described.pem),
        None if ca.json => println!("{}", serde_json::to_string_pretty(&described)?),
        None => show(&described),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(described: &Described) {
    let rows = [
        ["certificate", &described.path.display().to_string()],
        ["subject", &described.subject],
        ["sha256", &described.sha256],
        ["valid from", &described.not_before],
        ["valid to", &described.not_after],
    ]
    .map(|row| row.map(str::to_owned));
    print!("{}", table(&[], &rows.iter().map(<[String; 2]>::as_slice).collect::<Vec<_>>()));
}
