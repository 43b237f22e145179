//! The tour: what there is to see, as an agent sees it and as an operator does.

use super::{
    Options,
    scene::Scene,
    signals::Signals,
    state::State,
    terminal::{bold, faint, is_terminal},
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::sleep,
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

/// What the tour asks somebody for, and the policy by which it has to.
const HELD: &str = "delete from order_items where order_id = 7";
const HOLDS: &str = r#"@id("deletes-need-a-human") @approve("dba")
forbid (principal is PG::Agent, action == PG::Action::"delete", resource is PG::Relation);
"#;

/// The shipped policies, and one that holds statements: they hold none by themselves.
pub(super) fn policies(state: &State, shipped: &Path) -> Result<PathBuf> {
    let folder = state.dir.join("policies");
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(shipped).with_context(|| format!("cannot read `{}`", shipped.display()))? {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    fs::write(folder.join("tour.cedar"), HOLDS)?;
    Ok(folder)
}

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

    if options.is_tour() {
        hold(scene).await?;
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
    operator(scene, &["audit", "show", "-n", "20"]).await?;
    operator(scene, &["audit", "verify"]).await?;
    if options.keep {
        note(&format!("the trail is in {}", scene.folder().display()))?;
    }
    Ok(())
}

/// A statement that waits until somebody has said yes.
async fn hold(scene: &Scene) -> Result<()> {
    say("What no agent should do alone waits for a human, on the open connection.")?;
    note(&format!("agent$ psql -c \"{HELD}\""))?;
    let mut held = scene.agent_command(&["psql", "-X", "-c", HELD])?;
    let held = held.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let held = held.spawn().context("cannot start psql")?;
    let request = request(scene).await?;
    operator(scene, &["approvals", "list"]).await?;
    operator(scene, &["approvals", "approve", &request, "--comment", "returned goods"]).await?;
    show_output(&held.wait_with_output().await?)
}

/// The request that is open, once there is one.
async fn request(scene: &Scene) -> Result<String> {
    for _ in 0..100 {
        let mut list = Command::new(scene.interceptor());
        let output = list.args(["approvals", "list", "--json"]).env("INTERCEPTOR_SOCKET", scene.socket()).output();
        let requests: Value = serde_json::from_slice(&output.await?.stdout).context("the requests cannot be read")?;
        if let Some(id) = requests.pointer("/0/id").and_then(Value::as_str) {
            return Ok(id.to_owned());
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("nobody was asked")
}

/// A statement as the agent types it, and what it sees: also on standard error, where psql's errors go.
async fn agent(scene: &Scene, statement: &str) -> Result<()> {
    note(&format!("agent$ psql -c \"{statement}\""))?;
    print(&mut scene.agent_command(&["psql", "-X", "-c", statement])?).await
}

async fn operator(scene: &Scene, arguments: &[&str]) -> Result<()> {
    note(&format!("operator$ interceptor {}", arguments.join(" ")))?;
    let audit: &Path = scene.audit();
    let mut command = Command::new(scene.interceptor());
    command.args(arguments).env("INTERCEPTOR_AUDIT", audit).env("INTERCEPTOR_SOCKET", scene.socket());
    print(&mut command).await
}

async fn print(command: &mut Command) -> Result<()> {
    show_output(&command.stdin(Stdio::null()).output().await.context("cannot start a program")?)
}

fn show_output(output: &Output) -> Result<()> {
    let mut out = stdout().lock();
    // What is said on the way comes first.
    out.write_all(&output.stderr)?;
    out.write_all(&output.stdout)?;
    Ok(())
}

fn say(words: &str) -> Result<()> {
    writeln!(stdout(), "\n{}", bold(words)).map_err(Into::into)
}

fn note(words: &str) -> Result<()> {
    writeln!(stdout(), "{}", faint(words)).map_err(Into::into)
}
