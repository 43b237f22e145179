//! The tour: what there is to see, as an agent sees it and as an operator does.

use super::{
    Options,
    scene::Scene,
    signals::Signals,
    terminal::{bold, faint, is_terminal},
};
use anyhow::{Context, Result};
use std::{
    io::{Write, stdout},
    path::Path,
    process::Stdio,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

/// What agents try, and what to look at.
const ALLOWED: [(&str, &str); 2] = [
    ("Reading is allowed.", "select status, count(*) from orders group by status order by status"),
    ("So is writing orders.", "update orders set status = 'paid' where id = 1 returning id, status"),
];

const DENIED: [(&str, &str); 4] = [
    ("Changing the schema is not. The agent reads why, and what to do instead.", "drop table orders"),
    (
        "A write that hides in a read is still a write.",
        "with gone as (delete from customers returning *) select count(*) from gone",
    ),
    ("What policy forbids is not read either.", "select * from api_keys"),
    ("Nor run where nobody can see what it does.", "do $$ begin delete from orders; end $$"),
];

/// Shows it; returns the status to end with.
pub(super) async fn tour(scene: &Scene, options: &Options, signals: &mut Signals) -> Result<u8> {
    tokio::select! {
        shown = show(scene, options) => shown?,
        signal = signals.next() => return Ok(signal.status()),
    }
    if !is_terminal() {
        return Ok(0);
    }
    say("Now you are the agent (\\q ends it, and everything else with it).")?;
    scene.agent(&["psql"])?.wait(signals).await
}

async fn show(scene: &Scene, options: &Options) -> Result<()> {
    say("An agent with an unmodified psql, a DSN that leads to the database, and a password that is wrong.")?;
    note(&format!("{} in groups {}, vouched for by {}", options.subject, options.groups.join(", "), scene.issuer()))?;
    agent(scene, "select current_user as database_role, inet_server_addr() as server").await?;
    for (words, statement) in ALLOWED.into_iter().chain(DENIED) {
        say(words)?;
        agent(scene, statement).await?;
    }

    say("What the database saw: the daemon's account, and the agent's name.")?;
    let mut open = scene.agent_command(&["psql", "-X", "-At"])?;
    let mut open = open.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start psql")?;
    let mut typing = open.stdin.take().context("psql has no standard input")?;
    let mut answers = BufReader::new(open.stdout.take().context("psql has no standard output")?);
    typing.write_all(b"select 1;\n").await?;
    // From its first answer on the agent's session is there to be seen.
    answers.read_line(&mut String::new()).await?;
    let seen = "select usename, application_name, client_addr, state from pg_stat_activity where usename = ";
    let statement = format!("{seen}'{}'", scene.gateway_user().replace('\'', "''"));
    note(&format!("outside$ psql -c \"{seen}'{}'\"", scene.gateway_user()))?;
    print(Command::new("psql").args(["-X", "-c", &statement]).arg(scene.direct())).await?;
    drop(typing);
    open.wait().await?;

    say("What is on record, and that it is complete.")?;
    operator(scene, &["audit", "show", "-n", "14"]).await?;
    operator(scene, &["audit", "verify"]).await?;
    if options.keep {
        note(&format!("the trail is in {}", scene.folder().display()))?;
    }
    Ok(())
}

/// A statement as the agent types it, and what it sees: also on standard error, where psql's errors go.
async fn agent(scene: &Scene, statement: &str) -> Result<()> {
    note(&format!("agent$ psql -c \"{statement}\""))?;
    print(&mut scene.agent_command(&["psql", "-X", "-c", statement])?).await
}

async fn operator(scene: &Scene, arguments: &[&str]) -> Result<()> {
    note(&format!("operator$ interceptor {}", arguments.join(" ")))?;
    let audit: &Path = scene.audit();
    print(Command::new(scene.interceptor()).args(arguments).env("INTERCEPTOR_AUDIT", audit)).await
}

async fn print(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await.context("cannot start a program")?;
    let mut out = stdout().lock();
    out.write_all(&output.stdout)?;
    out.write_all(&output.stderr)?;
    Ok(())
}

fn say(words: &str) -> Result<()> {
    writeln!(stdout(), "\n{}", bold(words)).map_err(Into::into)
}

fn note(words: &str) -> Result<()> {
    writeln!(stdout(), "{}", faint(words)).map_err(Into::into)
}
