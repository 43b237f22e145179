//! What tools really send can be read: `tests/corpora` holds statements captured from fourteen of them.
//!
//! Each corpus is analysed against a catalogue of the database as it was in the end. A statement is *unreadable* where the
//! analysis gives up on it, so that no policy could permit it, and *unknown* where it names what was dropped in between.

use interceptor::sql::{Portal, Session, analyse};
use interceptor_tests::{DemoServer, environment};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

struct Nobody;

impl Session for Nobody {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<Portal> {
        None
    }
}

/// What came of the statements of one tool.
#[derive(Default)]
struct Tally {
    all: usize,
    unknown: usize,
    unreadable: Vec<(String, String)>,
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora")
}

fn tools() -> Vec<String> {
    let files = std::fs::read_dir(corpora()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut tools: Vec<_> = files.filter_map(|name| name.strip_suffix(".jsonl").map(str::to_owned)).collect();
    tools.sort();
    tools
}

fn run_psql(dsn: &str, arguments: &[&str]) {
    let psql = PathBuf::from(environment("PG_BIN")).join("psql");
    let output = Command::new(psql).args(["-q", "-X", "-d", dsn]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read(server: &DemoServer, tool: &str) -> Tally {
    run_psql(server.dsn(), &["-c", &format!("create database {tool}")]);
    let schema = corpora().join(format!("{tool}.schema.sql"));
    run_psql(&server.dsn_of(tool), &["-f", schema.to_str().unwrap()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let catalog = runtime.block_on(server.catalog_of(tool));
    let mut tally = Tally::default();
    for line in std::fs::read_to_string(corpora().join(format!("{tool}.jsonl"))).unwrap().lines() {
        let statement: serde_json::Value = serde_json::from_str(line).unwrap();
        let sql = statement.get("sql").and_then(|sql| sql.as_str()).unwrap();
        tally.all += 1;
        match analyse(sql, &catalog, &Nobody) {
            Err(rejection) => tally.unreadable.push((rejection.to_string(), sql.to_owned())),
            Ok(analysis) => {
                let opaque = analysis.statements.iter().find_map(|statement| statement.opaque.as_ref());
                let missing = analysis.statements.iter().any(|statement| statement.missing.is_some());
                match opaque {
                    Some(opaque) => tally.unreadable.push((opaque.to_string(), sql.to_owned())),
                    None => tally.unknown += usize::from(missing),
                }
            }
        }
    }
    tally
}

/// What is refused whoever sends it, because nobody can say what it, or what follows, does: docs/policies.md lists it.
const REFUSED: &[&str] = &[
    "temporary functions shadow others and are not followed",
    "DO runs a program in another language; send its statements one by one",
    "a rewrite rule changes what later statements do",
    "make a write do more than it says",
    "the role is pinned",
];

#[test]
fn what_tools_send_can_be_read() {
    let server = DemoServer::start(&[]);
    let (mut table, mut unread) = (String::new(), Vec::new());
    for tool in tools() {
        let Tally { all, unknown, unreadable } = read(&server, &tool);
        let (refused, rest): (Vec<_>, Vec<_>) =
            unreadable.into_iter().partition(|(why, _)| REFUSED.iter().any(|known| why.contains(known)));
        writeln!(table, "| {tool} | {all} | {} | {} | {unknown} |", rest.len(), refused.len()).unwrap();
        unread.extend(rest.into_iter().map(|(why, sql)| format!("{tool}: {why}: {sql}")));
    }
    assert_eq!(unread, Vec::<String>::new());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/acceptance.md");
    let said = std::fs::read_to_string(page).unwrap();
    assert!(said.contains(&table), "docs/acceptance.md says something else than:\n{table}");
}
