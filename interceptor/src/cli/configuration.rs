//! `config`: what is wrong with the configuration file, before the daemon is started with it.

use crate::config::{self, Config};
use crate::identity::Registrar;
use crate::policy::PolicySet;
use crate::proxy::Upstreams;
use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Configuration {
    /// Say everything that is wrong with the file and with what it names: policies, credentials, issuers
    #[command(
        after_help = "Nothing on the host is changed, and nobody is asked over the network.\nExit status: 0 if the daemon would start with it, 1 otherwise.\n\nExamples:\n  interceptor config check\n  interceptor config check --config next.toml --json"
    )]
    Check {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = config::DEFAULT)]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `config check` found.
#[derive(Debug, Serialize)]
struct Found {
    file: PathBuf,
    mistakes: Vec<String>,
}

pub(super) fn configuration(command: &Configuration) -> Result<ExitCode> {
    let Configuration::Check { config: file, json } = command;
    let found = Found { file: file.clone(), mistakes: mistakes(file) };
    if *json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else if found.mistakes.is_empty() {
        println!("{} is fine", file.display());
    } else {
        for mistake in &found.mistakes {
            println!("{mistake}");
        }
    }
    Ok(if found.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All of them, as far as one does not hide another.
fn mistakes(file: &std::path::Path) -> Vec<String> {
    let config = match Config::read(file) {
        Ok(config) => config,
        Err(error) => return vec![format!("{:#}", anyhow::Error::from(error))],
    };
    let said = |what: &str, error: anyhow::Error| format!("{what}: {error:#}");
    let mut mistakes = Vec::new();
    if let Err(error) = PolicySet::load(&config.policy.dir) {
        mistakes.push(said("[policy]", error.into()));
    }
    if let Err(error) = Upstreams::load(&config.upstream) {
        mistakes.push(said("[[upstream]]", error.into()));
    }
    if let Err(error) = Registrar::new(config.identity.clone()) {
        mistakes.push(said("[identity]", error.into()));
    }
    mistakes
}
