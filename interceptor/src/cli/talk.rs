//! How the running daemon is asked.

use crate::admin::{self, ClientError};
use crate::config::Config;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the daemon is and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Talk {
    /// Control socket of the daemon
    #[arg(long, value_name = "FILE", env = "INTERCEPTOR_SOCKET", default_value = "/run/interceptor/control.sock")]
    socket: PathBuf,
    /// Configuration file of the daemon, which says where its control socket is
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Talk {
    pub(super) fn socket(&self) -> Result<PathBuf> {
        match &self.config {
            Some(file) => Ok(Config::read(file)?.admin.socket),
            None => Ok(self.socket.clone()),
        }
    }

    /// Asks for a path.
    pub(super) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        wait_for(admin::get(&self.socket()?, path))
    }
}

/// Waits for the daemon's answer.
pub(super) fn wait_for<T>(answer: impl Future<Output = Result<T, ClientError>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    Ok(runtime.block_on(answer)?)
}

pub(super) fn print_json(value: &impl Serialize) -> Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(ExitCode::SUCCESS)
}
