//! `status`, and how the running daemon is asked.

use super::table::table;
use crate::admin::{self, ClientError, Status};
use crate::config::Config;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the daemon is and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Talk {
    /// Control socket of the daemon
    #[arg(long, value_name = "FILE", env = "INTERCEPTOR_SOCKET", default_value = "/run/interceptor/control.sock")]
    socket: PathBuf,
    /// Configuration file of the daemon, which says where its control socket is
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Talk {
    pub(super) fn socket(&self) -> Result<PathBuf> {
        match &self.config {
            Some(file) => Ok(Config::read(file)?.admin.socket),
            None => Ok(self.socket.clone()),
        }
    }

    /// Asks for a path.
    pub(super) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        wait_for(admin::get(&self.socket()?, path))
    }
}

pub(super) fn status(talk: &Talk) -> Result<ExitCode> {
    let status: Status = talk.ask("/status")?;
    if talk.json {
        return print_json(&status);
    }
    let mut rows = vec![
        ["version".to_owned(), status.version],
        ["process".to_owned(), status.pid.to_string()],
        ["since".to_owned(), status.since],
        ["captures".to_owned(), status.capture],
        ["policies".to_owned(), format!("{} (set {})", status.policies, status.policy_digest)],
        ["sessions".to_owned(), status.sessions.to_string()],
        ["audit records".to_owned(), status.audit_seq.to_string()],
        ["statements".to_owned(), {
            let [permit, deny, hold] = status.decided;
            format!("{permit} permitted, {deny} denied, {hold} held since the start")
        }],
        ["health".to_owned(), std::iter::once(status.health).chain(status.reasons).collect::<Vec<_>>().join("; ")],
    ];
    rows.extend(status.issuers.into_iter().map(|issuer| {
        let age = issuer.age.map(|age| format!(", asked {age} s ago")).unwrap_or_default();
        let failure = issuer.failure.map(|failure| format!(": {failure}")).unwrap_or_default();
        [format!("issuer {}", issuer.url), format!("{}, {} key(s){age}{failure}", issuer.state, issuer.keys)]
    }));
    rows.extend(status.kernel.into_iter().map(|(name, count)| [name, count.to_string()]));
    let observed = status.observed;
    if let Some(observed) = &observed {
        let counts = [
            ("statements", observed.statements),
            ("sessions without an identity", observed.unidentified),
            ("sessions unread", observed.unread),
        ];
        let counts = counts.map(|(what, count)| format!("{count} {what}")).join(", ");
        rows.push(["would have refused".to_owned(), counts]);
    }
    print!("{}", table(&[], &rows.iter().map(<[String; 2]>::as_slice).collect::<Vec<_>>()));
    if let Some(observed) = observed {
        println!("\nPolicies are observed, not enforced. To enforce them:");
        for (number, step) in (1..).zip(observed.steps) {
            println!("  {number}. {step}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for the daemon's answer.
pub(super) fn wait_for<T>(answer: impl Future<Output = Result<T, ClientError>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    Ok(runtime.block_on(answer)?)
}

pub(super) fn print_json(value: &impl Serialize) -> Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(ExitCode::SUCCESS)
}
