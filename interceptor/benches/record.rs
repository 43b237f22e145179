//! What searching the record costs: a trail of so many megabytes is written, indexed and searched, with the index and without.
//!
//! `cargo xtask bench record --megabytes 2200` runs this; docs/benchmarks.md has the figures. The trail is made anew each time, of the
//! statements that tools have sent (`tests/corpora`) with other constants, and goes away at the end.

use anyhow::{Context, Result};
use interceptor::audit::{
    Agent, Decision, Event, Fsync, Outcome, Process, Record, RelationUse, Settings, Status, Subject, Trail, Wanted,
    digest, forget_index, index, search, search_latest,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fs;
use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Statements of a session.
const SESSION: usize = 40;
const VERBS: [&str; 4] = ["select", "insert", "update", "delete"];

fn main() -> Result<()> {
    let mut words = std::env::args().skip_while(|word| word != "--megabytes").skip(1);
    let megabytes: u64 = words.next().map_or(Ok(64), |word| word.parse()).context("--megabytes: a number")?;
    let dir = PathBuf::from(std::env::var("CARGO_TARGET_TMPDIR").unwrap_or_else(|_| "/var/tmp".to_owned()))
        .join(format!("interceptor-record-{}", std::process::id()));
    let result = measure(&dir, megabytes * 1_000_000);
    drop(fs::remove_dir_all(&dir));
    result
}

fn measure(dir: &Path, least: u64) -> Result<()> {
    let begun = Instant::now();
    let (records, bytes) = generate(dir, least)?;
    let written = begun.elapsed();
    wait_for_compression(dir)?;
    println!(
        "{records} records, {:.2} GB as JSON lines, {:.2} GB on the disk (full segments compressed); written in {:.0} s\n",
        bytes as f64 / 1e9,
        on_disk(dir)? as f64 / 1e9,
        written.as_secs_f64()
    );
    forget_index(dir)?;
    let begun = Instant::now();
    let made = index(dir, |_| {})?;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "index: {} records in {took:.1} s ({:.1} us each), {:.0} MB, {:.1} % of the JSON\n",
        made.records,
        took * 1e6 / made.records as f64,
        made.bytes as f64 / 1e6,
        made.bytes as f64 * 100.0 / bytes as f64
    );
    println!("| searched for | records | with the index | without | the latest 200 |\n|---|---|---|---|---|");
    let some = |text: &str| Some(text.to_owned());
    let none = Wanted::default;
    let (day, hour) = ("2026-", (records / 2).to_string());
    let all = [
        ("an agent, one of 40", Wanted { agent: some("agent:worker-7"), ..none() }),
        ("a human, one of 200", Wanted { human: some("person17@corp.example"), ..none() }),
        ("a job, one of some thousand", Wanted { job: some("/ci/job-1234"), ..none() }),
        ("a session", Wanted { session: some("session-777"), ..none() }),
        ("a relation, one of 300", Wanted { relation: some("public.t17"), ..none() }),
        ("a rare relation", Wanted { relation: some("public.payroll"), ..none() }),
        ("a verb, a quarter", Wanted { verb: some("delete"), ..none() }),
        ("denied, one in 500", Wanted { decision: some("deny"), ..none() }),
        ("a rare text", Wanted { text: some("drop table payroll"), ..none() }),
        ("a text that is nowhere", Wanted { text: some("no such thing anywhere"), ..none() }),
        (
            "denied deletes by an agent",
            Wanted { agent: some("agent:worker-7"), verb: some("delete"), decision: some("deny"), ..none() },
        ),
        ("a number somewhere in a text", Wanted { text: Some(hour), ..none() }),
        ("a time before which nothing was", Wanted { until: some("2020-01-01"), ..none() }),
        (
            "since this year, statements of one session",
            Wanted { since: some(day), session: some("session-4242"), event: some("statement"), ..none() },
        ),
    ];
    for (name, wanted) in all {
        let (found, with) = timed(dir, &wanted, true)?;
        let (scanned, without) = timed(dir, &wanted, false)?;
        anyhow::ensure!(found == scanned, "{name}: {found} with the index, {scanned} without");
        let begun = Instant::now();
        search_latest(dir, &wanted, true, 200)?;
        let latest = begun.elapsed();
        println!("| {name} | {found} | {} | {} | {} |", seconds(with), seconds(without), seconds(latest));
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    if time.as_millis() < 1000 { format!("{} ms", time.as_millis()) } else { format!("{:.1} s", time.as_secs_f64()) }
}

fn timed(dir: &Path, wanted: &Wanted, use_index: bool) -> Result<(u64, Duration)> {
    let (begun, mut found) = (Instant::now(), 0);
    let searched = search(dir, wanted, use_index, |_| {
        found += 1;
        Continue(())
    })?;
    anyhow::ensure!(searched.complaint.is_none() && searched.changed.is_empty(), "{searched:?}");
    Ok((found, begun.elapsed()))
}

fn on_disk(dir: &Path) -> Result<u64> {
    let sizes = fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum()
}

/// Segments are compressed behind whoever writes.
fn wait_for_compression(dir: &Path) -> Result<()> {
    loop {
        let names: Vec<_> = fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let plain = names.iter().filter(|name| name.ends_with(".jsonl") && name.starts_with("audit-")).count();
        if plain <= 1 && !names.iter().any(|name| name.ends_with(".part")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What tools have sent.
fn corpus() -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpora"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in fs::read_to_string(path)?.lines() {
                let line: serde_json::Value = serde_json::from_str(line)?;
                texts.extend(line.get("sql").and_then(|sql| sql.as_str()).map(str::to_owned));
            }
        }
    }
    texts.sort();
    Ok(texts)
}

/// Records and their bytes.
fn generate(dir: &Path, least: u64) -> Result<(u64, u64)> {
    let settings = Settings { fsync: Fsync::Os, index: false, ..Settings::of(dir.to_owned()) };
    let trail = Trail::open(&settings)?;
    let texts = corpus()?;
    let mut random = SmallRng::seed_from_u64(7);
    let mut subject = Arc::new(Subject::default());
    let mut statements = 0_usize;
    // What has been written: the segments that are full have just so many bytes.
    let most = u64::from(settings.segment_megabytes) << 20;
    let written = || -> Result<u64> {
        let mut size = 0;
        for number in 1.. {
            let segment = dir.join(format!("audit-{number:06}.jsonl"));
            match fs::metadata(&segment) {
                Ok(file) => size += file.len(),
                Err(_) if segment.with_extension("jsonl.gz").exists() => size += most,
                Err(_) => break,
            }
        }
        Ok(size)
    };
    while !statements.is_multiple_of(10_000) || written()? < least {
        if statements.is_multiple_of(SESSION) {
            subject = Arc::new(someone(&mut random, statements / SESSION));
        }
        let record = statement(&mut random, &subject, &texts, statements);
        let denied = record.decision == Some(Decision::Deny);
        let seq = trail.seal(record)?;
        let mut ended = Record::new(Event::Outcome, subject.clone());
        ended.outcome = Some(Outcome {
            status: if denied { Status::Denied } else { Status::Ok },
            reason: None,
            sqlstate: denied.then(|| "42501".to_owned()),
            rows: random.random_range(0..50),
            bytes: random.random_range(0..5000),
            masked: 0,
            affected: None,
            duration_us: random.random_range(50..5000),
            backend_pid: random.random_range(1000..9000),
            statement_seq: seq,
            results: None,
        });
        trail.seal(ended)?;
        statements += 1;
        if statements.is_multiple_of(64) {
            trail.flush()?;
        }
    }
    trail.settle()?;
    Ok((trail.seq(), written()?))
}

fn someone(random: &mut SmallRng, session: usize) -> Subject {
    let job = session / 4;
    let process = Process {
        pid: random.random_range(1000..4_000_000),
        start: random.random(),
        exe: "/usr/bin/python3.11".to_owned(),
        cgroup: format!("/ci/job-{job}/step-{}", session % 4),
        uid: 1000,
        ancestry: ["/usr/bin/bash", "/usr/bin/node", "/usr/lib/agent/runner"].map(str::to_owned).into(),
        ..Process::default()
    };
    let agent = Agent {
        subject: format!("agent:worker-{}", random.random_range(0..40)),
        issuer: "https://token.actions.example.com".to_owned(),
        on_behalf_of: Some(format!("person{}@corp.example", random.random_range(0..200))),
        groups: vec!["agents".to_owned(), "readers".to_owned()],
        ..Agent::default()
    };
    let mut subject = Subject::default();
    subject.session = format!("session-{session}");
    subject.agent = Some(agent);
    subject.process = Some(process);
    subject.server = "10.20.30.40:5432".to_owned();
    subject.database = "shop".to_owned();
    subject.role = "interceptor_gateway".to_owned();
    subject
}

fn statement(random: &mut SmallRng, subject: &Arc<Subject>, texts: &[String], at: usize) -> Record {
    let mut record = Record::new(Event::Statement, subject.clone());
    let template = texts.get(random.random_range(0..texts.len())).map(String::as_str).unwrap_or_default();
    // Digits are drawn anew: no two statements are the same.
    let digit = |c: char, random: &mut SmallRng| {
        if c.is_ascii_digit() { char::from(b'0' + random.random_range(0..10)) } else { c }
    };
    let mut text: String = template.chars().map(|c| digit(c, random)).collect();
    text += &format!(" /* {at} */");
    let mut relation = format!("public.t{}", random.random_range(0..300));
    if at % 100_003 == 5000 {
        text = format!("DROP TABLE payroll /* {at} */");
        relation = "public.payroll".to_owned();
    }
    record.shape = Some(digest(template));
    record.verbs = vec![VERBS.get(random.random_range(0..4)).copied().unwrap_or_default().to_owned()];
    record.relations = vec![RelationUse { relation, access: record.verbs.clone() }];
    record.decision = Some(if random.random_range(0..500) == 0 { Decision::Deny } else { Decision::Permit });
    record.policies = vec!["agents-read".to_owned()];
    record.statement = Some(text);
    record
}
