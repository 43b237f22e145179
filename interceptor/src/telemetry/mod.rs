//! What the daemon says about itself: logs on standard error, and what it counts.

mod metrics;

pub use metrics::{Arrived, Judged, Metrics, NO_VERB, metrics};

use clap::ValueEnum;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging; `INTERCEPTOR_LOG` filters, in the syntax of tracing's `EnvFilter` (`info`, `interceptor::proxy=debug`).
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_env("INTERCEPTOR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people, not for files.
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().try_init(),
    };
    if let Err(error) = started {
        eprintln!("interceptor: logging could not be started: {error}");
    }
}
