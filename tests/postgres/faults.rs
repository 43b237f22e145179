//! A disk that fails under the record: nothing runs that could not be written down, agents are told which error it is, and when the
//! disk is well again so is the daemon, with a record that stands and says what has happened.
//!
//! The disk is the real one behind a library in front of the daemon (`faults/disk.c`), which fails as it is told: with half a write,
//! with no room, and as the kernel fails `fsync`: once, with what was written gone.

use interceptor_tests::{Host, PORT, Server, environment};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const UNRECORDED: &str = "the audit record cannot be written";

struct Place {
    server: Server,
    host: Host,
    orders: PathBuf,
    library: PathBuf,
}

impl Place {
    fn new(fsync: &str) -> Self {
        let bin = PathBuf::from(environment("PG_BIN"));
        let sql = "create role app login\ncreate table done (key text, at timestamptz default clock_timestamp())\ngrant all on done to app";
        let server = Server::start_from(&bin, &[], &[], "host all all 127.0.0.0/8 trust\n", sql);
        let mut host = Host::installed(|text| text.replace("[limits]", &format!("fsync = \"{fsync}\"\n[limits]")));
        host.stop();
        let (orders, library) = (host.path("order"), host.path("disk.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/faults/disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(compiler.status().unwrap().success());
        let audit = host.path("audit");
        let all = [("LD_PRELOAD", &library), ("FAULT_FOLDER", &audit), ("FAULT_ORDER", &orders)];
        host.environment = all.map(|(name, path)| (name.to_owned(), path.display().to_string())).into();
        host.start();
        Self { server, host, orders, library }
    }

    fn order(&self, text: &str) {
        let beside = self.orders.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.orders).unwrap();
    }

    fn dsn(&self) -> String {
        format!("host={} port={PORT} dbname=postgres user=app", self.server.address)
    }

    /// An insert in a session of its own; what psql says.
    fn insert(&self, key: &str) -> String {
        let words = format!(
            "psql -qXAt -v VERBOSITY=verbose \"{}\" -c \"insert into done (key) values ('{key}')\" 2>&1",
            self.dsn()
        );
        self.host.agent(&words).stdout
    }

    /// What has taken effect, by key, and when.
    fn done(&self) -> Vec<(String, String)> {
        let said = self.host.operator(&format!(
            "psql -XAt \"{}\" -c \"select key, to_char(at at time zone 'utc', 'YYYY-MM-DD\\\"T\\\"HH24:MI:SS.US') from done order by at\"",
            self.dsn()
        ));
        said.stdout.lines().map(|line| line.split_once('|').unwrap()).map(|(key, at)| (key.into(), at.into())).collect()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let since = Instant::now();
        loop {
            let said = self.host.operator("\"$INTERCEPTOR\" status").stdout;
            if holds(&said) {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{what}: {said}\n{}", self.host.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The record stands, and each row was on record before it was there.
    #[track_caller]
    fn stands(&self, recovered: &str) {
        let verified = self.host.operator("\"$INTERCEPTOR\" audit verify");
        assert_eq!(verified.status, 0, "{}{}", verified.stdout, verified.stderr);
        let records =
            self.host.operator("\"$INTERCEPTOR\" audit search --text 'insert into done' --event statement --json");
        let records: Vec<Value> = records.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (key, at) in self.done() {
            let of_key = |record: &&Value| record["statement"].as_str().unwrap().contains(&format!("'{key}'"));
            let found: Vec<_> = records.iter().filter(of_key).collect();
            assert_eq!(found.len(), 1, "{key} took effect and is on record {} times", found.len());
            assert!(found[0]["time"].as_str().unwrap().trim_end_matches('Z') <= at.as_str(), "{key}");
        }
        let said =
            self.host.operator(&format!("\"$INTERCEPTOR\" audit search --event admin --text '{recovered}' --json"));
        assert!(!said.stdout.is_empty(), "no record says `{recovered}`");
    }
}

/// While the disk fails in one way, a session that is open and one that comes are told so, and nothing takes effect.
#[track_caller]
fn check(place: &Place, order: &str, code: &str, recovered: &str) {
    let name = order.replace(' ', "-");
    assert_eq!(place.insert(&format!("{name}-before")), "", "{}", place.host.log());
    let before = place.done().len();
    let (ready, go) = (place.host.path(&format!("{name}-ready")), place.host.path(&format!("{name}-go")));
    let open = format!(
        "psql -qXAt -v VERBOSITY=verbose \"{}\" 2>&1 <<'END'\nselect 1;\n\\! touch {}; while [ ! -e {} ]; do sleep 0.02; done\n\
         insert into done (key) values ('{name}-open');\nEND",
        place.dsn(),
        ready.display(),
        go.display()
    );
    let said = std::thread::scope(|scope| {
        let session = scope.spawn(|| place.host.agent(&open).stdout);
        while !ready.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        place.order(order);
        fs::write(&go, "").unwrap();
        session.join().unwrap()
    });
    assert!(said.contains(&format!("{code}: {UNRECORDED}")), "{order}: {said}");
    let said = place.insert(&format!("{name}-new"));
    assert!(said.contains(UNRECORDED), "{order}: {said}");
    place.until("somebody is told", |status| status.contains("no audit record can be written"));
    assert_eq!(place.done().len(), before, "{order}: something took effect");
    place.order("well");
    // By itself, though nobody asks for anything.
    place.until("it recovers", |status| !status.contains("no audit record can be written"));
    assert_eq!(place.insert(&format!("{name}-after")), "", "{order}: {}", place.host.log());
    assert_eq!(place.done().len(), before + 1);
    place.stands(recovered);
}

#[test]
fn a_disk_that_fails_lets_nothing_through_and_is_recovered_from() {
    let mut place = Place::new("each");
    check(&place, "write 5", "58030", "a write of the trail had broken off");
    check(&place, "write 28", "53100", "a write of the trail had broken off");
    check(&place, "sync 5", "58030", "the disk had refused what was written");
    // The daemon dies while the disk does not take what it writes: what nobody was let do is gone, and a record says so.
    let before = place.done().len();
    place.order("sync 5");
    assert!(place.insert("dies").contains(UNRECORDED));
    place.host.kill();
    place.order("well");
    place.host.start();
    assert_eq!((place.insert("lives"), place.done().len()), (String::new(), before + 1));
    place.stands("recovered: ");
    assert!(place.library.exists());
}

#[test]
fn what_a_disk_loses_is_written_again_when_records_are_forced_in_groups() {
    let place = Place::new("group");
    assert_eq!(place.insert("before"), "");
    place.order("sync 5");
    // What is sent within some milliseconds of the failure may run; it is in the daemon's memory, and comes on record.
    let mut refused = String::new();
    for number in 0..1000 {
        refused = place.insert(&format!("during-{number}"));
        if !refused.is_empty() {
            break;
        }
    }
    assert!(refused.contains(UNRECORDED), "{refused}");
    let done = place.done().len();
    assert!(place.insert("refused").contains(UNRECORDED));
    assert_eq!(place.done().len(), done);
    place.order("well");
    place.until("it recovers", |status| !status.contains("no audit record can be written"));
    assert_eq!((place.insert("after"), place.done().len()), (String::new(), done + 1));
    place.stands("the disk had refused what was written");
}
