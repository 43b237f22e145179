//! `enroll`: what a job runner's prologue says about the job that it is about to start.

use super::table::table;
use super::talk::{Talk, print_json, wait_for};
use crate::admin::{self, Enroll as Said, Revoke};
use crate::identity::{Enrolled, Enrollee};
use anyhow::{Context, Result};
use clap::Args;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["cgroup", "pid", "list"]))]
pub(super) struct Enroll {
    #[command(flatten)]
    talk: Talk,
    /// Cgroup of the job: its folder, or its path below the cgroup v2 mount
    #[arg(long, value_name = "CGROUP")]
    cgroup: Option<String>,
    /// Process of the job; holds for what it starts within its cgroup
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// File with the job's token, `-` for standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["revoke", "list"])]
    token_file: Option<PathBuf>,
    /// Take the token back: it is refused from now on, and sessions by it end
    #[arg(long, conflicts_with = "token_file")]
    revoke: bool,
    /// Show what is enrolled
    #[arg(long, conflicts_with_all = ["token_file", "revoke"])]
    list: bool,
}

pub(super) fn enroll(enroll: Enroll) -> Result<ExitCode> {
    let Enroll { talk, cgroup, pid, token_file, revoke, list: _ } = enroll;
    let enrollee = match (cgroup, pid) {
        (Some(cgroup), _) => Enrollee::Cgroup(cgroup),
        (None, Some(pid)) => Enrollee::Pid(pid),
        (None, None) => return show(&talk, talk.ask("/enrollments")?),
    };
    let socket = talk.socket()?;
    if revoke {
        let revoked: Vec<Enrolled> = wait_for(admin::post(&socket, "/enrollments/revoke", None, &Revoke { enrollee }))?;
        return show(&talk, revoked);
    }
    let token = read_token(&token_file.unwrap_or_default())?;
    let enrolled: Enrolled = wait_for(admin::post(&socket, "/enrollments", None, &Said { enrollee, token }))?;
    show(&talk, vec![enrolled])
}

pub(super) fn read_token(file: &Path) -> Result<String> {
    let mut token = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut token).context("the token cannot be read from standard input")?;
    } else {
        token =
            std::fs::read_to_string(file).with_context(|| format!("token file `{}` cannot be read", file.display()))?;
    }
    Ok(token.trim().to_owned())
}

fn show(talk: &Talk, enrolled: Vec<Enrolled>) -> Result<ExitCode> {
    if talk.json {
        return print_json(&enrolled);
    }
    let until = |seconds: u64| {
        let time = i64::try_from(seconds).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
        let rfc3339 = time::format_description::well_known::Rfc3339;
        time.and_then(|time| time.format(&rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
    };
    let plain = |text: &str| text.escape_debug().to_string();
    let row = |one: &Enrolled| {
        let pid = one.pid.map(|pid| pid.to_string()).unwrap_or_default();
        [plain(&one.cgroup), pid, plain(&one.subject), plain(&one.issuer), until(one.expires)]
    };
    let rows: Vec<_> = enrolled.iter().map(row).collect();
    let rows: Vec<_> = rows.iter().map(<[String; 5]>::as_slice).collect();
    print!("{}", table(&["cgroup", "process", "subject", "issuer", "until"], &rows));
    Ok(ExitCode::SUCCESS)
}
