//! `approvals`: what waits for a human, and a human's word on it.

use super::table::table;
use super::talk::{Talk, print_json, wait_for};
use crate::admin::{self, Word};
use crate::approval::{Preview, Request, State, Table, Voice, plain};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Subcommand)]
pub(super) enum Approvals {
    /// Show the requests, the latest last
    #[command(
        after_help = "Examples:\n  interceptor approvals list\n  interceptor approvals list --all --json\n  interceptor approvals list --watch"
    )]
    List {
        #[command(flatten)]
        talk: Talk,
        /// Those that are over as well
        #[arg(long)]
        all: bool,
        /// Print new ones as they come, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Show everything about a request: who asks, the whole statement, its values
    #[command(after_help = "Example:\n  interceptor approvals show 1f2e3d4c")]
    Show {
        #[command(flatten)]
        talk: Talk,
        /// The request
        id: String,
    },
    /// Say yes
    #[command(
        after_help = "Whose yes counts: somebody of the group that the policy names, by a token of their own, who is neither the agent nor the human that it acts for. Root of this host counts without a token if `local_root = true` in [approval].\n\nExamples:\n  interceptor approvals approve 1f2e3d4c --token-file ~/.oidc-token --comment 'ticket 4711'\n  INTERCEPTOR_APPROVER_TOKEN=$(oidc-token dba) interceptor approvals approve 1f2e3d4c\n  interceptor approvals approve 1f2e3d4c --break-glass 'shop is down, nobody of dba can be reached'"
    )]
    Approve {
        #[command(flatten)]
        word: Say,
        /// Let it run although nobody has approved it, for this reason; root of this host only, and loudly on record
        #[arg(long, value_name = "REASON", conflicts_with_all = ["comment", "token_file"])]
        break_glass: Option<String>,
    },
    /// Say no
    #[command(
        after_help = "The agent reads the comment.\n\nExample:\n  interceptor approvals deny 1f2e3d4c --token-file ~/.oidc-token --comment 'archive them instead'"
    )]
    Deny {
        #[command(flatten)]
        word: Say,
    },
}

/// A word on a request.
#[derive(Debug, Args)]
pub(super) struct Say {
    #[command(flatten)]
    talk: Talk,
    /// The request
    id: String,
    /// For the agent and the record
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// File with your own OIDC token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Your own OIDC token, where there is no file.
const TOKEN: &str = "INTERCEPTOR_APPROVER_TOKEN";

pub(super) fn approvals(command: Approvals) -> Result<ExitCode> {
    match command {
        Approvals::List { talk, all, watch: false } => list(&talk, all),
        Approvals::List { talk, watch: true, .. } => watch(&talk),
        Approvals::Show { talk, id } => {
            let request: Request = talk.ask(&path(&id, "")?)?;
            if talk.json {
                return print_json(&request);
            }
            print!("{}", whole(&request, now()));
            Ok(ExitCode::SUCCESS)
        }
        Approvals::Approve { word, break_glass } => say(word, "/approve", break_glass),
        Approvals::Deny { word } => say(word, "/deny", None),
    }
}

fn list(talk: &Talk, all: bool) -> Result<ExitCode> {
    let mut requests: Vec<Request> = talk.ask("/approvals")?;
    requests.retain(|request| all || matches!(request.state, State::Open | State::Approved));
    if talk.json {
        return print_json(&requests);
    }
    let rows: Vec<_> = requests.iter().map(|request| row(request, now())).collect();
    let rows: Vec<_> = rows.iter().map(<[String; 6]>::as_slice).collect();
    print!("{}", table(&["request", "state", "agent", "needs", "ends in", "statement"], &rows));
    Ok(ExitCode::SUCCESS)
}

/// Prints each request once for each state that it is seen in.
fn watch(talk: &Talk) -> Result<ExitCode> {
    let mut seen = BTreeMap::new();
    loop {
        let requests: Vec<Request> = talk.ask("/approvals")?;
        for request in requests {
            let before = seen.insert(request.id.clone(), request.state);
            if before == Some(request.state) || (before.is_none() && request.state != State::Open) {
                continue;
            }
            if talk.json {
                println!("{}", serde_json::to_string(&request)?);
            } else {
                println!("{}", row(&request, now()).join("  "));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn say(word: Say, what: &str, break_glass: Option<String>) -> Result<ExitCode> {
    let Say { talk, id, comment, token_file } = word;
    let token = if break_glass.is_some() { None } else { token_of(token_file)? };
    let said = Word { comment, break_glass };
    let request: Request = wait_for(admin::post(&talk.socket()?, &path(&id, what)?, token.as_deref(), &said))?;
    if talk.json {
        return print_json(&request);
    }
    let more = match request.state {
        State::Open => format!(", {} is still needed", needs(&request)),
        State::Approved if request.waiting == 0 => {
            format!("; nobody waits for it: the same statement may run within {}", left(&request, now()))
        }
        _ => String::new(),
    };
    println!("request {} is {}{more}", request.id, request.state);
    Ok(ExitCode::SUCCESS)
}

/// Somebody's own token: of a file, or of the environment.
pub(super) fn token_of(file: Option<PathBuf>) -> Result<Option<String>> {
    let token = match file {
        Some(file) => Some(
            std::fs::read_to_string(&file)
                .with_context(|| format!("token file `{}` cannot be read", file.display()))?,
        ),
        None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
    };
    Ok(token.map(|token| token.trim().to_owned()))
}

/// Ids are letters and digits, and what is none must not become part of a path.
fn path(id: &str, what: &str) -> Result<String> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        bail!("`{}` is no request's id; `interceptor approvals list` shows them", id.escape_debug());
    }
    Ok(format!("/approvals/{id}{what}"))
}

fn row(request: &Request, now: u64) -> [String; 6] {
    let asked = &request.asked;
    let statement: Vec<_> = asked.statement.split_whitespace().collect();
    let statement = statement.join(" ");
    let mut shown: String = statement.chars().take(90).collect();
    if shown.len() < statement.len() {
        shown.push_str(" [...]");
    }
    let agent = asked.on_behalf_of.as_ref().map_or(asked.agent.clone(), |human| format!("{} for {human}", asked.agent));
    [
        request.id.clone(),
        request.state.to_string(),
        plain(&agent),
        plain(&needs(request)),
        left(request, now),
        plain(&shown),
    ]
}

/// Everything, the statement as it is: what is approved has to be seen whole.
pub(super) fn whole(request: &Request, now: u64) -> String {
    let asked = &request.asked;
    let line = |name: &str, value: &str| format!("{name:<12}  {}\n", plain(value));
    let mut out = line("request", &request.id);
    out += &line("state", &state(request, now));
    out += &line("needs", &needs(request));
    for Voice { by, comment, groups, .. } in &request.voices {
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let words = comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
        out += &line("approved by", &format!("{by} (for {}){words}", groups.join(", ")));
    }
    if request.repeats > 0 {
        out += &line("asked before", &format!("{} times, and not let through", request.repeats));
    }
    if let Some(outcome) = &request.outcome {
        out += &line("denied", outcome);
    }
    out += &line("agent", &format!("{}, of {}", asked.agent, asked.issuer));
    out += &line("acts for", asked.on_behalf_of.as_deref().unwrap_or("nobody else"));
    if !asked.process.is_empty() {
        out += &line("process", &asked.process.join(" < "));
    }
    out += &line("session", &format!("{}; {} connections wait", asked.session, request.waiting));
    out += &line("database", &format!("{} on {} as {}", asked.database, asked.server, asked.role));
    asked.relations.iter().for_each(|relation| out += &line("does", relation));
    out += &line("policies", &asked.policies.join(", "));
    out += &line("sha256", &asked.digest);
    if let Some(preview) = &asked.preview {
        out += &effect(preview);
    }
    for (at, value) in (1..).zip(&asked.values) {
        out += &line(&format!("value ${at}"), value.as_deref().unwrap_or("NULL"));
    }
    let texts = [("statement", &asked.statement)].into_iter().chain(asked.runs.iter().map(|text| ("which runs", text)));
    for (name, text) in texts {
        out += &format!("{name}\n");
        text.lines().for_each(|line| out += &format!("  {}\n", plain(line)));
    }
    out
}

/// What it changes, with a sample of the rows.
fn effect(preview: &Preview) -> String {
    let mut out = format!("{:<12}  {}\n", "effect", plain(&preview.summary()));
    let known = usize::from(preview.effect.is_none());
    for note in preview.notes.iter().skip(known) {
        out += &format!("{:<12}  {}\n", "", plain(note));
    }
    for Table { relation, columns, before, after, counts, hidden } in &preview.tables {
        for (rows, count, when) in [(before, counts.0, "as they are"), (after, counts.1, "as they would be")] {
            if count > 0 {
                let shown = rows.len();
                out += &format!("rows of {}, {when}: {shown} of {count}\n", plain(relation));
                out += &rows_of(columns, rows);
            }
        }
        if let Some(hidden) = hidden {
            out += &format!("rows of {}: {}\n", plain(relation), plain(hidden));
        }
    }
    out
}

fn rows_of(columns: &[String], rows: &[Vec<Option<String>>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let names: Vec<_> = columns.iter().map(|name| plain(name)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|value| plain(value.as_deref().unwrap_or("NULL"))).collect()).collect();
    let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
    table(&names, &rows).lines().map(|line| format!("  {line}\n")).collect()
}

fn state(request: &Request, now: u64) -> String {
    match request.state {
        State::Open | State::Approved => format!("{}, for another {}", request.state, left(request, now)),
        State::Used | State::Denied | State::Expired | State::Withdrawn => request.state.to_string(),
    }
}

fn needs(request: &Request) -> String {
    let each = request.asked.needs.iter().map(|(group, voices)| {
        let said = request.voices.iter().filter(|voice| voice.groups.contains(group)).count();
        match voices {
            1 => group.clone(),
            voices => format!("{said}/{voices} of {group}"),
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

fn left(request: &Request, now: u64) -> String {
    match request.state {
        State::Open | State::Approved => format!("{} s", request.expires_at.saturating_sub(now)),
        State::Used | State::Denied | State::Expired | State::Withdrawn => "-".to_owned(),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_become_paths() {
        assert_eq!(path("1f2e3d4c", "/deny").unwrap(), "/approvals/1f2e3d4c/deny");
        assert!(path("../status", "").is_err());
        assert!(path("", "/approve").is_err());
    }
}
