//! `policy`: what can be said about a set without a daemon.

mod cases;
mod recorded;

use crate::policy::{Explanation, LoadError, PolicySet};
use anyhow::{Result, bail};
use cases::{Cases, Who};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Say everything that is wrong with a policy folder
    #[command(
        after_help = "Exit status: 0 for a sound set, 1 otherwise.\n\nExample:\n  interceptor policy check /etc/interceptor/policies"
    )]
    Check {
        /// Folder with `*.cedar` files
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the cases of policy folders: who, which statement, and what is to be decided
    #[command(
        after_help = "Each folder holds `*.cedar` files and a `cases.toml`.\nExit status: 0 if all cases come out as expected, 1 otherwise.\n\nExample:\n  interceptor policy test policies/examples/*"
    )]
    Test {
        /// Folders with policies and cases
        #[arg(required = true)]
        dirs: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what a statement does, what it asks for, and which policies decide
    #[command(
        after_help = "The database is the one that the folder's `cases.toml` sketches.\n\nExamples:\n  interceptor policy explain policies/examples/support --as agent:support --groups support 'select email from customers'"
    )]
    Explain {
        /// Folder with policies and cases
        dir: PathBuf,
        #[command(flatten)]
        who: Who,
        /// The statement
        sql: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Decide recorded statements anew: what another policy set would change
    #[command(
        after_help = "The database is the one that the folder's `cases.toml` sketches.\nExit status: 0 if nothing changes, 1 otherwise.\n\nExample:\n  interceptor policy replay policies/next --audit /var/lib/interceptor/audit"
    )]
    Replay {
        /// Folder with policies and cases
        dir: PathBuf,
        /// Audit folder
        #[arg(long, value_name = "DIR", env = "INTERCEPTOR_AUDIT", default_value = "/var/lib/interceptor/audit")]
        audit: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the smallest policy that permits what was recorded as permitted, for review
    #[command(
        after_help = "Run the daemon with `mode = \"observe\"` for a while, then look at what this prints before you use it.\n\nExample:\n  interceptor policy suggest --audit /var/lib/interceptor/audit > policies/suggested.cedar"
    )]
    Suggest {
        /// Audit folder
        #[arg(long, value_name = "DIR", env = "INTERCEPTOR_AUDIT", default_value = "/var/lib/interceptor/audit")]
        audit: PathBuf,
    },
}

pub(super) fn policy(command: Policy) -> Result<ExitCode> {
    match command {
        Policy::Check { dir, json } => check(dir, json),
        Policy::Test { dirs, json } => test(&dirs, json),
        Policy::Explain { dir, who, sql, json } => explain(&dir, &who, &sql, json),
        Policy::Replay { dir, audit, json } => recorded::replay(&dir, &audit, json),
        Policy::Suggest { audit } => recorded::suggest(&audit),
    }
}

fn test(dirs: &[PathBuf], json: bool) -> Result<ExitCode> {
    let (mut passed, mut failed, mut lines) = (0, 0, Vec::new());
    for dir in dirs {
        let set = PolicySet::load(dir)?;
        let cases = Cases::read(&dir.join(cases::FILE))?;
        let catalog = cases.catalog()?;
        if cases.cases.is_empty() {
            bail!("`{}` has no [[case]]", dir.join(cases::FILE).display());
        }
        for case in &cases.cases {
            let wrong = cases::check(&set, &catalog, case);
            if wrong.is_empty() {
                passed += 1;
            } else {
                failed += 1;
                let name = case.name.as_deref().unwrap_or(&case.sql);
                lines.extend(wrong.iter().map(|wrong| format!("{}: {name}: {wrong}", dir.display())));
            }
        }
    }
    if json {
        println!("{}", serde_json::json!({ "passed": passed, "failed": failed, "failures": lines }));
    } else {
        lines.iter().for_each(|line| eprintln!("{line}"));
        println!("{passed} passed, {failed} failed");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain(dir: &Path, who: &Who, sql: &str, json: bool) -> Result<ExitCode> {
    let set = PolicySet::load(dir)?;
    let catalog = Cases::read(&dir.join(cases::FILE))?.catalog()?;
    let explained = cases::explain(&set, &catalog, who, sql)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&explained)?);
    } else {
        explained.iter().for_each(show);
    }
    Ok(if explained.iter().all(|statement| statement.decision == "permit") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(statement: &Explanation) {
    let list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            println!("{title}\n  {}", lines.join("\n  "));
        }
    };
    let requests: Vec<_> = statement
        .requests
        .iter()
        .map(|asked| {
            let mut said = Vec::new();
            for (word, ids) in [
                ("permitted by", &asked.permits),
                ("forbidden by", &asked.forbids),
                ("obliged by", &asked.obliging),
                ("observed by", &asked.watching),
            ] {
                if !ids.is_empty() {
                    said.push(format!("{word} {}", ids.join(", ")));
                }
            }
            if said.is_empty() {
                said.push(
                    if asked.named { "no policy permits it" } else { "only reached: needs no permit" }.to_owned(),
                );
            }
            format!("{:<48} {}", asked.what, said.join("; "))
        })
        .collect();
    list("asks to", &requests);
    list("does with columns", &statement.columns);
    list("cannot be seen through", &statement.unseen);
    println!("{}", statement.decision.to_uppercase());
    list("decided by", &statement.policies);
    list("has to be met", &statement.obligations);
    if statement.masks.iter().any(|mask| !mask.is_empty()) {
        let masks: Vec<_> = (1..).zip(&statement.masks).filter(|(_, mask)| !mask.is_empty()).collect();
        let masks: Vec<_> = masks.iter().map(|(at, mask)| format!("output column {at}: {mask}")).collect();
        list("masked", &masks);
    }
    if let Some((message, reason, hint)) = &statement.told {
        println!("the agent reads\n  ERROR:  {message}");
        for (title, text) in [("DETAIL", reason), ("HINT", hint)] {
            if let Some(text) = text {
                println!("  {title}:  {text}");
            }
        }
    }
}

fn check(dir: PathBuf, json: bool) -> Result<ExitCode> {
    let mistakes = match PolicySet::load(&dir) {
        Ok(set) => {
            if json {
                println!("{}", serde_json::json!({ "policies": set.len(), "digest": set.digest(), "mistakes": [] }));
            } else {
                println!("{}: {} policies, set {}", dir.display(), set.len(), set.digest());
            }
            return Ok(ExitCode::SUCCESS);
        }
        Err(LoadError::Mistakes(mistakes)) => mistakes,
        Err(error) => return Err(error.into()),
    };
    if json {
        let list: Vec<_> = mistakes
            .iter()
            .map(|mistake| {
                let place = mistake.place.unzip();
                serde_json::json!({ "file": mistake.file, "line": place.0, "column": place.1, "text": mistake.text })
            })
            .collect();
        println!("{}", serde_json::json!({ "mistakes": list }));
    } else {
        for mistake in &mistakes {
            eprintln!("{mistake}");
        }
        eprintln!("{} mistake(s)", mistakes.len());
    }
    Ok(ExitCode::FAILURE)
}
