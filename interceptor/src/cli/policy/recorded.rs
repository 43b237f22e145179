//! Policies against the record: what another set would change, and which set would do.

use super::cases::{self, Cases, Who};
use crate::audit::{self, Agent, Decision, Event, Record};
use crate::policy::PolicySet;
use crate::sql::quoted;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

fn statements(dir: &Path) -> Result<impl Iterator<Item = Result<Record>>> {
    let records = audit::read(dir).with_context(|| format!("audit folder `{}` cannot be read", dir.display()))?;
    let records =
        records.map(|record| record.context("a record cannot be read; `interceptor audit verify` says where"));
    Ok(records.filter(|record| record.as_ref().map_or(true, |record| record.event == Event::Statement)))
}

pub(super) fn replay(dir: &Path, audit: &Path, json: bool) -> Result<ExitCode> {
    let set = PolicySet::load(dir)?;
    let catalog = Cases::read(&dir.join(cases::FILE))?.catalog()?;
    let (mut same, mut unread, mut changed) = (0_u64, 0_u64, Vec::new());
    for record in statements(audit)? {
        let record = record?;
        let (Some(text), Some(agent), Some(before)) = (&record.statement, &record.subject.agent, record.decision)
        else {
            continue;
        };
        let who = Who {
            subject: agent.subject.clone(),
            groups: agent.groups.clone(),
            on_behalf_of: agent.on_behalf_of.clone(),
            on_behalf_of_groups: agent.on_behalf_of_groups.clone(),
            claimed_role: record.subject.claimed_role.clone(),
            now: record.time.get(..19).map_or_else(String::new, |time| format!("{time}Z")),
            session_rows: 0,
            agent_rows: 0,
        };
        // Prepared statements and names that the sketch does not have: nobody can say.
        let Ok(explained) = cases::explain(&set, &catalog, &who, text) else {
            unread += 1;
            continue;
        };
        let decided = |decision| explained.iter().any(|statement| statement.decision == decision);
        let after = if decided("deny") {
            "deny"
        } else if decided("hold") {
            "hold"
        } else {
            "permit"
        };
        let held = record.obligations.iter().any(|obligation| obligation.starts_with("approve("));
        let before = match before {
            // What came of it is a record of its own.
            Decision::Hold => continue,
            // It ran, or did not, because somebody was asked.
            Decision::Permit | Decision::Deny if held => "hold",
            Decision::Permit => "permit",
            Decision::Deny => "deny",
        };
        if before == after {
            same += 1;
            continue;
        }
        let denied = explained.into_iter().find(|statement| statement.decision == "deny");
        let why = denied.and_then(|statement| statement.told).map(|(message, ..)| message).unwrap_or_default();
        changed.push((record.seq, agent.subject.clone(), before, after, text.clone(), why));
    }
    if json {
        let list = changed.iter().map(|(seq, subject, before, after, text, why)| {
            serde_json::json!({ "seq": seq, "subject": subject, "before": before, "after": after, "statement": text, "why": why })
        });
        println!("{}", serde_json::json!({ "same": same, "unread": unread, "changed": list.collect::<Vec<_>>() }));
    } else {
        for (seq, subject, before, after, text, why) in &changed {
            let line: String = text.escape_debug().take(100).collect();
            println!("#{seq} {subject}: {before} -> {after}: {line}");
            if !why.is_empty() {
                println!("    {why}");
            }
        }
        println!("{} would change, {same} would not, {unread} cannot be read without what was prepared", changed.len());
    }
    Ok(if changed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was done to what, by whom: by group where an agent has any, by name where it has none.
type Seen = BTreeMap<String, BTreeMap<(String, String), BTreeSet<String>>>;

pub(super) fn suggest(audit: &Path) -> Result<ExitCode> {
    let (mut seen, mut functions) = (Seen::new(), BTreeMap::<String, BTreeSet<String>>::new());
    let mut databases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in statements(audit)? {
        let record = record?;
        let Some(agent) = &record.subject.agent else { continue };
        if record.decision != Some(Decision::Permit) {
            continue;
        }
        let database = quoted(&record.subject.database);
        for scope in scopes(agent) {
            databases.entry(scope.clone()).or_default().insert(database.clone());
            for used in record.relations.iter().filter(|used| !is_open(&used.relation)) {
                let known = seen.entry(scope.clone()).or_default();
                let known = known.entry((database.clone(), used.relation.clone())).or_default();
                known.extend(used.access.iter().cloned());
            }
            let called = record.functions.iter().map(|name| format!("{database}.{name}"));
            functions.entry(scope).or_default().extend(called);
        }
    }
    println!("// Suggested from the record, for review: what was permitted or observed, and nothing else.");
    for (scope, databases) in &databases {
        for database in databases {
            permit(&format!("connect {database}"), scope, "PG::Action::\"connect\"", "PG::Database", database);
        }
    }
    for (scope, relations) in &seen {
        for ((database, relation), access) in relations {
            let actions: Vec<_> = access.iter().map(|action| format!("PG::Action::\"{action}\"")).collect();
            permit(
                relation,
                scope,
                &format!("[{}]", actions.join(", ")),
                "PG::Relation",
                &format!("{database}.{relation}"),
            );
        }
    }
    for (scope, functions) in &functions {
        for function in functions {
            permit(function, scope, "PG::Action::\"execute\"", "PG::Function", function);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_open(relation: &str) -> bool {
    relation.starts_with("pg_catalog.") || relation.starts_with("information_schema.")
}

/// Cedar's words for whom a permit would be.
fn scopes(agent: &Agent) -> Vec<String> {
    if agent.groups.is_empty() {
        return vec![format!("principal == PG::Agent::{:?}", agent.subject)];
    }
    agent.groups.iter().map(|group| format!("principal in PG::Group::{group:?}")).collect()
}

fn permit(name: &str, scope: &str, actions: &str, kind: &str, id: &str) {
    let operator = if actions.starts_with('[') { "in" } else { "==" };
    // Columns are in their relation.
    let within = if kind == "PG::Relation" { "in" } else { "==" };
    let of: String = scope.rsplit('"').nth(1).unwrap_or_default().to_owned();
    println!("\n@id({:?})", format!("suggested {of}: {name}"));
    println!("permit ({scope}, action {operator} {actions}, resource {within} {kind}::{id:?});");
}
