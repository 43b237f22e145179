//! What is looked after once a second: whether the enforcement is still in place, whether agents hold connections past us,
//! and the accounts of cgroups that have ended, which go on record.

use super::note;
use crate::audit::{Coverage, Event, Process, Record, Subject};
use crate::proxy::Proxy;
use crate::redirect::{Account, Inside, Redirect};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);
/// How often a loss is said again while it lasts.
const REPEAT: Duration = Duration::from_secs(30);
/// Accounts that are closed in one go.
const AT_ONCE: usize = 1000;

/// Starts the thread. What it finds missing is what `status` shows.
pub(super) fn keep(
    proxy: Arc<Proxy>,
    redirect: Arc<Redirect>,
    stop: watch::Receiver<bool>,
    missing: watch::Sender<Vec<String>>,
) -> Result<JoinHandle<()>> {
    let look_after = move || {
        let mut said = None;
        let mut inside = HashSet::new();
        let mut trouble = String::new();
        loop {
            // Also a last time when the daemon stops.
            let last = *stop.borrow();
            look(&proxy, &redirect, &missing, &mut said);
            let result = close_accounts(&proxy, &redirect)
                .and_then(|()| Ok(redirect.name_programs()?))
                .and_then(|()| end_strays(&proxy, &redirect))
                .and_then(|()| report_inside(&proxy, &redirect, &mut inside));
            let now = result.err().map(|error| format!("{error:#}")).unwrap_or_default();
            if now != trouble {
                if !now.is_empty() {
                    tracing::error!(error = now, "not everything that agents do is looked after");
                }
                trouble = now;
            }
            if last {
                return;
            }
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(look_after)
        .context("the thread that looks after the kernel half cannot be started")
}

/// A connected socket can be handed to an agent by somebody else, which no hook sees: it is found within a second.
fn end_strays(proxy: &Proxy, redirect: &Redirect) -> Result<()> {
    let destroyed = redirect.end_stray_connections(None)?;
    for remote in destroyed.ended {
        let text = format!("a connection of an agent to {remote} was ended: it was handed to it, or opened before");
        tracing::warn!("{text}");
        note(&proxy.shared.trail, &text)?;
    }
    match destroyed.alive.first() {
        Some((remote, why)) => anyhow::bail!("an agent's connection to {remote} goes on past the daemon: {why}"),
        None => Ok(()),
    }
}

/// A Unix socket of PostgreSQL that was reached by another name cannot be taken away from an agent, but it is on record.
fn report_inside(proxy: &Proxy, redirect: &Redirect, known: &mut HashSet<Inside>) -> Result<()> {
    let now: HashSet<Inside> = redirect.inside()?.into_iter().collect();
    for Inside { pid, name, .. } in now.difference(known) {
        let text = format!(
            "process {pid}, an agent, is connected to PostgreSQL's Unix socket {name:?} and so around the daemon: keep agents \
             from that socket (`interceptor doctor`)"
        );
        tracing::error!("{text}");
        note(&proxy.shared.trail, &text)?;
    }
    *known = now;
    Ok(())
}

fn look(proxy: &Proxy, redirect: &Redirect, missing: &watch::Sender<Vec<String>>, said: &mut Option<Instant>) {
    let found = redirect.watch().missing();
    let changed = *missing.borrow() != found;
    if !found.is_empty() && (changed || said.is_none_or(|at| at.elapsed() > REPEAT)) {
        let text = format!("ENFORCEMENT IS NOT WHAT IT WAS: {}; restart the daemon to put it back", found.join("; "));
        tracing::error!("{text}");
        *said = Some(Instant::now());
        if changed && let Err(error) = note(&proxy.shared.trail, &text) {
            tracing::error!(%error, "the loss of enforcement could not be recorded");
        }
    }
    if changed {
        if found.is_empty() {
            tracing::info!("the enforcement is in place again");
            *said = None;
        }
        missing.send_replace(found);
    }
}

/// Whatever a cgroup did is on record before its account is closed.
fn close_accounts(proxy: &Proxy, redirect: &Redirect) -> Result<()> {
    let ended = redirect.ended_accounts()?.into_iter().take(AT_ONCE);
    for account in ended {
        // What was never near PostgreSQL is no news.
        if account.postgres + account.around + account.stopped + account.dropped > 0 {
            let path = account.cgroup.as_ref().map(|path| path.display().to_string());
            // So that it is found with what else the job did.
            let mut subject = Subject::default();
            subject.process = path.clone().map(|cgroup| Process { cgroup, ..Process::default() });
            let mut record = Record::new(Event::Coverage, Arc::new(subject));
            let cgroup = path.unwrap_or_else(|| format!("number {}", account.cgroup_id));
            record.statement = Some(format!("cgroup {cgroup} has ended: {}", account.sentence()));
            record.coverage = Some(coverage(&account));
            proxy.shared.trail.write(record)?;
        }
        redirect.close_account(account.cgroup_id)?;
    }
    Ok(())
}

fn coverage(account: &Account) -> Coverage {
    Coverage {
        cgroup: account.cgroup.as_ref().map(|path| path.display().to_string()),
        cgroup_id: account.cgroup_id,
        connects: account.connects,
        postgres: account.postgres,
        mediated: account.mediated,
        refused: account.refused,
        established: account.established,
        dropped: account.dropped,
        stopped: account.stopped,
        around: account.around,
    }
}
