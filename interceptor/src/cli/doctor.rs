//! `doctor`: what is missing and what to do about it.

use crate::admin::{self, Reach};
use crate::config::Config;
use crate::identity::{self, Reached, Registrar};
use crate::policy::PolicySet;
use crate::proxy::{self, Authority, Switch, Upstreams};
use crate::redirect;
use anyhow::{Context, Result};
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
        if let Ok(config) = Config::read(path) {
            lines.extend(reached(&config));
        }
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

/// How far a clock may be off until tokens are refused for it, in seconds.
const SKEW: i64 = 30;

/// Whether issuers and databases answer. The daemon is asked to try them, for its connections are not captured; where there is
/// none, this process does.
fn reached(config: &Config) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tried = runtime.context("the runtime cannot be started").and_then(|runtime| {
        runtime.block_on(async {
            match admin::get::<Reach>(&config.admin.socket, "/reach").await {
                Ok(reach) => Ok(reach),
                Err(_) => try_them(config).await,
            }
        })
    });
    let Reach { issuers, databases } = match tried {
        Ok(reach) => reach,
        // What is wrong stands in a line of its own already.
        Err(_) => return Vec::new(),
    };
    let issuer = |tried: &Reached| {
        answers("issuer", tried, "let this host reach it; until then its agents are not let in (docs/identity.md)")
    };
    let database = |tried: &Reached| {
        answers("database", tried, "compare the [[upstream]] with what the server lets in (docs/configuration.md)")
    };
    issuers.iter().map(issuer).chain(databases.iter().map(database)).collect()
}

async fn try_them(config: &Config) -> Result<Reach> {
    // The embedded service is nobody to be reached, and would make its key.
    let exchange = config.identity.exchange.clone().filter(|exchange| exchange.embedded.is_none());
    let issuers = Registrar::new(identity::Settings { exchange, ..config.identity.clone() })?;
    let databases = Upstreams::load(&config.upstream)?;
    let (issuers, databases) = tokio::join!(issuers.reach(), proxy::reach(&databases));
    Ok(Reach { issuers, databases })
}

fn answers(what: &str, tried: &Reached, remedy: &str) -> Line {
    let Reached { who, ok, detail, ahead } = tried;
    let off = ahead.filter(|ahead| ahead.abs() > SKEW);
    match (ok, off) {
        (true, None) => line(what, Ok(format!("{who} {detail}")), ""),
        (true, Some(ahead)) => line(
            what,
            Err(format!(
                "{who} {detail}, and its clock is {} s {}",
                ahead.abs(),
                if ahead > 0 { "ahead" } else { "behind" }
            )),
            "set this host's clock, or theirs: tokens are good by it",
        ),
        (false, _) => line(what, Err(format!("{who}: {detail}")), remedy),
    }
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
