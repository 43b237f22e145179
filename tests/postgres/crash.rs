//! The daemon is killed in the middle of its work, again and again: whatever took effect in the database stands in the record, from
//! before it did, once, and the record can be verified each time.

use interceptor_tests::{Host, PORT, Server, environment};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Rounds of a test run; `INTERCEPTOR_TEST_CRASHES` for more.
const ROUNDS: u32 = 10;

#[test]
fn what_took_effect_is_on_record_however_the_daemon_ends() {
    let rounds = std::env::var("INTERCEPTOR_TEST_CRASHES").map_or(ROUNDS, |text| text.parse().unwrap());
    let bin = PathBuf::from(environment("PG_BIN"));
    let sql = "create role app login\ncreate table done (round int, writer int, number int, at timestamptz default clock_timestamp())\n\
               grant all on done to app";
    let server = Server::start_from(&bin, &["max_connections=50"], &[], "host all all 127.0.0.0/8 trust\n", sql);
    let each = |text: String| text.replace("[limits]", "fsync = \"each\"\n[limits]");
    let mut host = Host::installed(|text| each(text).replace("[limits]", "segment_megabytes = 1\n[limits]"));
    let dsn = format!("host={} port={PORT} dbname=postgres user=app", server.address);
    for round in 0..rounds {
        let mut writers: Vec<Child> = (0..4).map(|writer| write(&host, &dsn, round, writer)).collect();
        std::thread::sleep(Duration::from_millis(400 + rand::random::<u64>() % 900));
        host.kill();
        for writer in &mut writers {
            // Each ends by itself: its connection is gone, and there is no other.
            writer.wait().unwrap();
        }
        host.start();
        let verified = host.operator("\"$INTERCEPTOR\" audit verify");
        assert_eq!(verified.status, 0, "round {round}: {}{}", verified.stdout, verified.stderr);
    }
    let rows = host.operator(&format!(
        "psql -XAt \"{dsn}\" -c \"select round || '/' || writer || '/' || number, to_char(at at time zone 'utc', 'YYYY-MM-DD\\\"T\\\"HH24:MI:SS.US') from done\""
    ));
    let records = host.operator("\"$INTERCEPTOR\" audit search --text 'insert into done' --event statement --json");
    let mut recorded: HashMap<String, Vec<String>> = HashMap::new();
    for line in records.stdout.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = record["statement"].as_str().unwrap();
        let (_, key) = text.split_once("/* ").unwrap();
        recorded
            .entry(key.trim_end_matches(" */").to_owned())
            .or_default()
            .push(record["time"].as_str().unwrap().to_owned());
    }
    let done: Vec<(&str, &str)> = rows.stdout.lines().map(|line| line.split_once('|').unwrap()).collect();
    assert!(done.len() > usize::try_from(rounds).unwrap(), "hardly anything was written: {}", done.len());
    let mut seen = HashMap::new();
    for (key, at) in &done {
        assert_eq!(*seen.entry(*key).and_modify(|count| *count += 1).or_insert(1), 1, "{key} took effect twice");
        let times = recorded.get(*key).unwrap_or_else(|| panic!("{key} took effect and is not on record"));
        assert_eq!(times.len(), 1, "{key} is on record more than once");
        assert!(times[0].trim_end_matches('Z') <= *at, "{key}: recorded at {}, took effect at {at}", times[0]);
    }
}

/// A client that writes as fast as it can until its connection is gone.
fn write(host: &Host, dsn: &str, round: u32, writer: u32) -> Child {
    let statements = format!(
        "for n in $(seq 100000); do echo \"insert into done values ({round}, {writer}, $n) /* {round}/{writer}/$n */;\"; done | psql -qXAt -v ON_ERROR_STOP=1 \"{dsn}\""
    );
    let script = host.script_of_agent(&statements);
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
