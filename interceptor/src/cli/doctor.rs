//! `doctor`: what is missing and what to do about it.

use crate::config::Config;
use crate::policy::PolicySet;
use crate::proxy::{Authority, Switch, Upstreams};
use crate::redirect;
use anyhow::Result;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, Serialize)]
struct Line {
    what: String,
    ok: bool,
    detail: String,
    remedy: String,
    /// Whether the daemon cannot do without.
    needed: bool,
}

pub(super) fn doctor(config: Option<&Path>, json: bool) -> Result<ExitCode> {
    let settings = config.and_then(|path| Config::read(path).ok()).map(|config| config.capture);
    let mut lines: Vec<Line> = redirect::probe()
        .into_iter()
        .chain(redirect::advise(settings.as_ref()))
        .map(|finding| Line {
            what: finding.what.to_owned(),
            ok: finding.ok,
            detail: finding.detail,
            remedy: finding.remedy.to_owned(),
            needed: finding.needed,
        })
        .collect();
    if let Some(path) = config {
        lines.extend(configuration(path));
    }
    let well = lines.iter().all(|line| line.ok || !line.needed);
    if json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
    } else {
        for line in &lines {
            let verdict = match (line.ok, line.needed) {
                (true, _) => "ok     ",
                (false, true) => "MISSING",
                (false, false) => "ADVICE ",
            };
            println!("{verdict} {}: {}", line.what, line.detail);
            if !line.ok {
                println!("        {}", line.remedy);
            }
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn configuration(path: &Path) -> Vec<Line> {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return vec![line("configuration", Err(format!("{error:#}")), "correct the file")],
    };
    vec![
        line("configuration", Ok(path.display().to_string()), ""),
        line(
            "policies",
            PolicySet::load(&config.policy.dir)
                .map(|set| format!("{} policies in {}", set.len(), config.policy.dir.display()))
                .map_err(|error| error.to_string()),
            "`interceptor policy check` shows the same",
        ),
        line(
            "credentials",
            Upstreams::load(&config.upstream)
                .map(|_| format!("{} upstream(s)", config.upstream.len()))
                .map_err(|error| format!("{:#}", anyhow::Error::from(error))),
            "give each [[upstream]] a password file of mode 0600, and certificates and CAs that are there",
        ),
        line("ca", ca(&config), "`interceptor run` makes one where certificate and key are both missing"),
    ]
}

/// Looks without making one.
fn ca(config: &Config) -> Result<String, String> {
    let (cert, key) = config.ca();
    match config.tls.client {
        Switch::Off => Ok("agents are not offered TLS".to_owned()),
        Switch::On if !cert.exists() && !key.exists() => Ok(format!("will be made: {}", cert.display())),
        Switch::On => Authority::open(&cert, &key)
            .and_then(|_| Authority::describe(&cert))
            .map(|described| format!("{} until {}", described.subject, described.not_after))
            .map_err(|error| error.to_string()),
    }
}

fn line(what: &str, found: Result<String, String>, remedy: &str) -> Line {
    match found {
        Ok(detail) => Line { what: what.to_owned(), ok: true, detail, remedy: String::new(), needed: true },
        Err(detail) => Line { what: what.to_owned(), ok: false, detail, remedy: remedy.to_owned(), needed: true },
    }
}
