//! `status`: how it stands with the daemon, and what of the agents' connections it has seen.

use super::table::table;
use super::talk::{Talk, print_json};
use crate::admin;
use crate::redirect::Account;
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Show for each cgroup what was dialled and what became of it, instead. Exit status 2 if anything is not accounted for or
    /// went around
    #[arg(long)]
    coverage: bool,
    #[command(flatten)]
    talk: Talk,
}

pub(super) fn status(command: &Status) -> Result<ExitCode> {
    let talk = &command.talk;
    if command.coverage {
        return coverage(talk);
    }
    let status: admin::Status = talk.ask("/status")?;
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
    rows.extend(status.exempt.into_iter().map(|cgroup| ["left alone".to_owned(), cgroup]));
    rows.extend(status.missing.into_iter().map(|what| ["NOT ENFORCED".to_owned(), what]));
    rows.extend((!status.guards.is_empty()).then(|| ["guarded by".to_owned(), status.guards.join(", ")]));
    rows.extend((!status.absent.is_empty()).then(|| ["not on this kernel".to_owned(), status.absent.join(", ")]));
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

fn coverage(talk: &Talk) -> Result<ExitCode> {
    let accounts: Vec<Account> = talk.ask("/coverage")?;
    let covered = accounts.iter().all(|account| account.unaccounted() == 0 && account.around == 0);
    if talk.json {
        print_json(&accounts)?;
    } else {
        const HEAD: [&str; 9] = [
            "cgroup",
            "connects",
            "to PostgreSQL",
            "mediated",
            "refused",
            "unaccounted",
            "packets dropped",
            "stopped elsewhere",
            "around",
        ];
        let row = |account: &Account| {
            let name = match &account.cgroup {
                Some(path) => path.display().to_string(),
                None => format!("number {}", account.cgroup_id),
            };
            let name = if account.ended { format!("{name} (ended)") } else { name };
            let numbers = [
                account.connects,
                account.postgres,
                account.mediated,
                account.refused,
                account.unaccounted(),
                account.dropped,
                account.stopped,
                account.around,
            ];
            [vec![name], numbers.iter().map(u64::to_string).collect()].concat()
        };
        let rows: Vec<Vec<String>> = accounts.iter().map(row).collect();
        print!("{}", table(&HEAD, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    }
    Ok(if covered { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
