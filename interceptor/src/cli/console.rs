//! `console`: a way into the page for approvers.

use super::approvals::token_of;
use super::talk::{Talk, print_json, wait_for};
use crate::admin::{self, Link};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Console {
    #[command(flatten)]
    talk: Talk,
    /// File with your own OIDC token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) fn console(Console { talk, token_file }: Console) -> Result<ExitCode> {
    let token = token_of(token_file)?;
    let link: Link = wait_for(admin::post(&talk.socket()?, "/console/link", token.as_deref(), &()))?;
    if talk.json {
        return print_json(&link);
    }
    println!("{}", link.url);
    eprintln!("good once, for {} s", link.seconds);
    Ok(ExitCode::SUCCESS)
}
