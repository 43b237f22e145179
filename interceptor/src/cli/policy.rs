//! `policy`: what can be said about a set without a daemon.

use crate::policy::{LoadError, PolicySet};
use anyhow::Result;
use clap::Subcommand;
use std::path::PathBuf;
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
}

pub(super) fn policy(command: Policy) -> Result<ExitCode> {
    let Policy::Check { dir, json } = command;
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
