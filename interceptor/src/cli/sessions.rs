//! `sessions`: who is in, and having somebody leave.

use super::table::table;
use super::talk::{Talk, print_json, wait_for};
use crate::admin::{self, Kill};
use crate::proxy::SessionInfo;
use anyhow::Result;
use clap::{Args, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Sessions {
    #[command(flatten)]
    talk: Talk,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End sessions: what they are at is stopped, open transactions are rolled back
    #[command(
        after_help = "Examples:\n  interceptor sessions kill 3f2a9c0d11aa22bb\n  interceptor sessions kill --agent agent:build-7\n  interceptor sessions kill --on-behalf-of user:maria --json"
    )]
    Kill {
        #[command(flatten)]
        talk: Talk,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The session
    session: Option<String>,
    /// All sessions of an agent
    #[arg(long, value_name = "SUBJECT")]
    agent: Option<String>,
    /// All sessions of those who act for somebody
    #[arg(long, value_name = "WHO")]
    on_behalf_of: Option<String>,
}

pub(super) fn sessions(sessions: Sessions) -> Result<ExitCode> {
    match sessions.command {
        None => show(&sessions.talk, sessions.talk.ask("/sessions")?),
        Some(Command::Kill { talk, which }) => {
            let Which { session, agent, on_behalf_of } = which;
            let which = session
                .map(Kill::Session)
                .or(agent.map(Kill::Agent))
                .or(on_behalf_of.map(Kill::OnBehalfOf))
                .ok_or_else(|| anyhow::anyhow!("which sessions?"))?;
            let killed = wait_for(admin::post(&talk.socket()?, "/sessions/kill", None, &which))?;
            show(&talk, killed)
        }
    }
}

fn show(talk: &Talk, sessions: Vec<SessionInfo>) -> Result<ExitCode> {
    if talk.json {
        return print_json(&sessions);
    }
    let row = |info: SessionInfo| {
        let agent = match &info.on_behalf_of {
            Some(human) => format!("{} for {human}", info.agent),
            None => info.agent,
        };
        [
            info.session,
            agent.escape_debug().to_string(),
            format!("{} ({})", info.exe.escape_debug(), info.pid),
            format!("{}/{}", info.server, info.database.escape_debug()),
            info.backend_pid.to_string(),
            info.since,
        ]
    };
    let rows: Vec<_> = sessions.into_iter().map(row).collect();
    let rows: Vec<_> = rows.iter().map(<[String; 6]>::as_slice).collect();
    print!("{}", table(&["session", "agent", "process", "database", "backend", "since"], &rows));
    Ok(ExitCode::SUCCESS)
}
