use super::super::record::{Agent, Decision, Event, Process, Record, RelationUse, Subject};
use super::super::{Fsync, Settings, Trail, verify};
use super::*;
use crate::scratch::Scratch;
use proptest::prelude::*;
use rusqlite::Connection;
use std::fs;
use std::sync::Arc;

const SEVERAL: usize = chunk::RECORDS * 3 + 17;

/// Each flush begins a new segment.
fn settings(dir: &Path, compress: bool) -> Settings {
    Settings { fsync: Fsync::Os, segment_megabytes: 0, compress, index: false, ..Settings::of(dir.to_owned()) }
}

/// A record that differs from others in everything that is searched by.
fn record(at: usize) -> Record {
    let names = ["agent:a", "agent:ab", "agent:\"q\"", "zürich"];
    let agent = Agent {
        subject: names[at % 4].to_owned(),
        on_behalf_of: (at.is_multiple_of(3)).then(|| format!("human{}@corp", at % 5)),
        ..Agent::default()
    };
    let process = Process { cgroup: format!("/ci/job-{}/step", at % 7), ..Process::default() };
    let subject = Subject {
        session: format!("s{}", at / 10),
        agent: (!at.is_multiple_of(11)).then_some(agent),
        process: (!at.is_multiple_of(13)).then_some(process),
        ..Subject::default()
    };
    let event = if at.is_multiple_of(2) { Event::Statement } else { Event::Outcome };
    let mut record = Record::new(event, Arc::new(subject));
    if event == Event::Statement {
        let padding = if at.is_multiple_of(10) { "x".repeat(600) } else { String::new() };
        record.statement = Some(format!("SELECT İ, ß, '{at}' FROM T{} /* {padding} */", at % 17));
        record.verbs = vec![["select", "delete"][at / 2 % 2].to_owned()];
        record.relations =
            vec![RelationUse { relation: format!("public.t{}", at % 17), access: vec!["select".to_owned()] }; at % 3];
        record.decision = Some([Decision::Permit, Decision::Deny, Decision::Hold][at / 4 % 3]);
        record.policies = vec![if at.is_multiple_of(19) { "no (observed)".to_owned() } else { "yes".to_owned() }];
    }
    record
}

fn write(dir: &Path, compress: bool, from: usize, until: usize) {
    write_by(&settings(dir, compress), from, until);
}

fn write_by(settings: &Settings, from: usize, until: usize) {
    let trail = Trail::open(settings).unwrap();
    for at in from..until {
        trail.seal(record(at)).unwrap();
        if at.is_multiple_of(50) {
            trail.flush().unwrap();
        }
    }
}

fn all(dir: &Path, wanted: &Wanted, use_index: bool) -> (Vec<String>, Searched) {
    let mut lines = Vec::new();
    let searched = search(dir, wanted, use_index, |line| {
        lines.push(line.to_owned());
        Continue(())
    });
    (lines, searched.unwrap())
}

/// With the index and without it the same is found, in both directions; says how many there are and what was complained of.
#[track_caller]
fn same(dir: &Path, wanted: &Wanted) -> (usize, Searched) {
    let (scanned, _) = all(dir, wanted, false);
    let (found, searched) = all(dir, wanted, true);
    assert!(found == scanned, "{wanted:?}: {} with the index, {} without", found.len(), scanned.len());
    for most in [1, 5, SEVERAL * 2] {
        let (latest, more, _) = search_latest(dir, wanted, true, most).unwrap();
        let expected: Vec<_> = scanned.iter().rev().take(most).cloned().collect();
        assert!((latest, more) == (expected, scanned.len() > most), "{wanted:?}: the latest {most}");
    }
    (scanned.len(), searched)
}

fn session(id: &str) -> Wanted {
    Wanted { session: Some(id.to_owned()), ..Wanted::default() }
}

#[test]
fn whatever_is_searched_for_the_index_finds_the_same() {
    let folder = Scratch::about("search");
    write(&folder, true, 0, SEVERAL);
    assert!(index(&folder, |_| {}).unwrap().records >= chunk::RECORDS as u64 * 3);
    // Behind the index, in the same segment and in further ones.
    write(&folder, true, SEVERAL, SEVERAL + 40);
    assert_eq!(check_index(&folder).unwrap(), None);
    #[track_caller]
    fn check(dir: &Path, change: impl Fn(&mut Wanted), least: usize) {
        let mut wanted = Wanted::default();
        change(&mut wanted);
        let (found, searched) = same(dir, &wanted);
        assert!(found >= least, "{wanted:?}: {found}");
        assert_eq!((searched.complaint, searched.changed), (None, vec![]));
        assert!(searched.indexed > 0);
    }
    let dir = &*folder;
    let some = |text: &str| Some(text.to_owned());
    check(dir, |_| {}, SEVERAL + 40);
    check(dir, |wanted| wanted.agent = some("agent:a"), 50);
    check(dir, |wanted| wanted.agent = some("agent:\"q\""), 50);
    check(dir, |wanted| wanted.human = some("human0@corp"), 5);
    check(dir, |wanted| wanted.job = some("/ci/job-3"), 20);
    check(dir, |wanted| wanted.job = some("/ci"), 200);
    check(dir, |wanted| wanted.job = some("/"), SEVERAL);
    check(dir, |wanted| wanted.job = some("/ci/job"), 0);
    check(dir, |wanted| wanted.session = some("s7"), 10);
    check(dir, |wanted| wanted.relation = some("public.t4"), 5);
    check(dir, |wanted| (wanted.verb, wanted.decision) = (some("delete"), some("deny")), 10);
    check(dir, |wanted| wanted.observed = true, 5);
    check(dir, |wanted| wanted.event = some("outcome"), 100);
    check(dir, |wanted| wanted.text = some("SELECT i̇, SS"), 0);
    check(dir, |wanted| wanted.text = some("select İ, ß, '26'"), 1);
    check(dir, |wanted| wanted.text = some("'2"), 10);
    check(dir, |wanted| wanted.text = some("xxxxx */"), 10);
    check(dir, |wanted| wanted.text = some(""), 100);
    check(dir, |wanted| wanted.since = some("2020"), SEVERAL);
    check(dir, |wanted| wanted.until = some("2020"), 0);
    check(dir, |wanted| (wanted.parts, wanted.agent) = (true, some("gent:a")), 100);
    check(dir, |wanted| (wanted.parts, wanted.agent) = (true, some("2@corp")), 5);
    check(dir, |wanted| (wanted.parts, wanted.agent) = (true, some("a\"")), 0);
    check(dir, |wanted| (wanted.parts, wanted.agent) = (true, some("q\"")), 50);
    check(dir, |wanted| (wanted.parts, wanted.relation) = (true, some("t1")), 20);
    let times: Vec<_> = verify::read(dir).unwrap().map(|record| record.unwrap().time).collect();
    check(dir, |wanted| (wanted.since, wanted.until) = (Some(times[150].clone()), Some(times[160].clone())), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn texts_of_any_kind_are_found(texts in prop::collection::vec(".{0,12}", 100..200), part in ".{0,4}") {
        let folder = Scratch::about("search");
        let trail = Trail::open(&settings(&folder, false)).unwrap();
        for text in &texts {
            let mut record = Record::new(Event::Statement, Arc::new(Subject::default()));
            record.statement = Some(text.clone());
            trail.seal(record).unwrap();
        }
        drop(trail);
        let indexed = index(&folder, |_| {}).unwrap().records;
        prop_assert!(indexed > 0);
        for text in texts.iter().chain([&part]) {
            let wanted = Wanted { text: Some(text.clone()), ..Wanted::default() };
            let (found, searched) = same(&folder, &wanted);
            prop_assert!(searched.complaint.is_none());
            prop_assert!(found > 0 || text == &part);
        }
    }
}

/// Something happens to the trail or its index, by `spoil`. What is found stays what is in the trail; whether somebody is told,
/// and whether bringing the index up to date makes it good, is what is expected.
#[track_caller]
fn check(name: &str, spoil: impl Fn(&Path), complains: bool) {
    for compress in [false, true] {
        let folder = Scratch::about("search");
        let dir = &*folder;
        write(dir, compress, 0, SEVERAL);
        index(dir, |_| {}).unwrap();
        while compress && !is_compressed(dir) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        spoil(dir);
        for wanted in [session("s3"), Wanted { text: Some("t5".to_owned()), ..Wanted::default() }, Wanted::default()] {
            let (found, searched) = same(dir, &wanted);
            assert!(found > 0, "{name}");
            if complains {
                assert!(searched.complaint.is_some() || searched.indexed > 0, "{name}");
            } else {
                assert_eq!(searched.complaint, None, "{name}");
            }
        }
        if complains {
            assert!(check_index(dir).unwrap().is_some(), "{name}");
        }
        let indexed = index(dir, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(indexed.records > 0, "{name}");
        // What is wrong within a chunk is not looked for when others are added; that is for --rebuild.
        if check_index(dir).unwrap().is_some() {
            forget_index(dir).unwrap();
            index(dir, |_| {}).unwrap();
        }
        assert_eq!(check_index(dir).unwrap(), None, "{name}");
        assert_eq!(same(dir, &session("s3")).1.complaint, None, "{name}");
    }
}

/// Whether nobody is at the segments any more.
fn is_compressed(dir: &Path) -> bool {
    let names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let names = || names.iter().map(|name| name.to_str().unwrap());
    names().filter(|name| name.starts_with("audit-") && name.ends_with(".jsonl")).count() == 1
        && !names().any(|name| name.ends_with(".part"))
}

fn sql(dir: &Path, sql: &str) {
    Connection::open(Index::path(dir)).unwrap().execute_batch(sql).unwrap();
}

/// What is left of a trail whose machine went down before the disk had the end of it.
fn lose_end(dir: &Path) {
    for (_, file) in verify::segments(dir).unwrap().iter().rev().take(2) {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_wrong_index_hides_nothing_and_makes_nothing_up() {
    check("nothing", |_| {}, false);
    check("no index", |dir| forget_index(dir).unwrap(), false);
    check(
        "half a line at the end",
        |dir| {
            use std::io::Write;
            let (_, file) = verify::segments(dir).unwrap().pop().unwrap();
            fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"{\"v\":1,\"seq\":").unwrap();
        },
        false,
    );
    check("the trail goes on", |dir| write(dir, true, SEVERAL, SEVERAL + 150), false);
    check("another key", |dir| drop(Trail::open(&settings(dir, true)).unwrap().rotate_key().unwrap()), false);
    check("no database", |dir| fs::write(Index::path(dir), "no").unwrap(), true);
    check("another version", |dir| sql(dir, "PRAGMA user_version = 7"), true);
    check("no tables", |dir| sql(dir, "DROP TABLE parts"), true);
    check("without a chunk", |dir| sql(dir, "DELETE FROM chunks WHERE id = 2"), true);
    check("without a part", |dir| sql(dir, "DELETE FROM parts WHERE id = (2 << 6) + 4"), true);
    check("an empty part", |dir| sql(dir, "UPDATE parts SET content = x'' WHERE id = (2 << 6) + 4"), true);
    check(
        "parts of another chunk",
        |dir| sql(dir, "DELETE FROM parts WHERE id >> 6 = 1; UPDATE parts SET id = id - 64 WHERE id >> 6 = 2"),
        true,
    );
    check("another time", |dir| sql(dir, "UPDATE chunks SET until = '2001'"), true);
    check("the end of the trail is lost", lose_end, true);
    check(
        "the index of another trail",
        |dir| {
            let other = Scratch::about("search");
            write(&other, false, 5, SEVERAL);
            index(&other, |_| {}).unwrap();
            fs::copy(Index::path(&other), Index::path(dir)).unwrap();
        },
        true,
    );
}

#[test]
fn the_first_segments_may_be_moved_away() {
    let folder = Scratch::about("search");
    let dir = &*folder;
    write(dir, false, 0, SEVERAL);
    index(dir, |_| {}).unwrap();
    for (_, file) in verify::segments(dir).unwrap().iter().take(3) {
        fs::remove_file(file).unwrap();
    }
    let wanted = Wanted { event: Some("outcome".to_owned()), ..Wanted::default() };
    assert!(same(dir, &wanted).1.complaint.is_some());
    assert!(index(dir, |_| {}).unwrap().records > 0);
    assert_eq!(same(dir, &wanted).1.complaint, None);
}

#[test]
fn what_was_changed_in_the_trail_is_not_shown_as_if_it_was_written() {
    let folder = Scratch::about("search");
    let dir = &*folder;
    write(dir, false, 0, SEVERAL);
    index(dir, |_| {}).unwrap();
    let (_, file) = verify::segments(dir).unwrap().remove(2);
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("'22'", "'23'");
    assert_ne!(changed, text);
    fs::write(&file, changed).unwrap();
    for (use_index, complains) in [(false, false), (true, true)] {
        let (found, searched) = all(dir, &session("s2"), use_index);
        assert_eq!((found.len(), searched.changed, searched.complaint.is_some()), (9, vec![23], complains));
    }
    assert_eq!(search_latest(dir, &session("s2"), true, 20).unwrap().2.changed, [23]);
}

#[test]
fn the_index_is_as_private_as_the_trail_and_is_made_by_the_daemon_when_a_segment_is_full() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Scratch::about("search");
    let dir = &*folder;
    let settings = Settings { index: true, ..settings(dir, true) };
    write_by(&settings, 0, SEVERAL);
    for _ in 0..200 {
        if Index::open(dir).is_ok_and(|index| index.is_some_and(|index| index.chunks.len() > 1)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(Index::open(dir).unwrap().unwrap().chunks.len() > 1);
    assert_eq!(fs::metadata(Index::path(dir)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(verify::verify(dir).unwrap().findings, []);
}

#[test]
fn several_may_make_the_index_at_once() {
    let folder = Scratch::about("search");
    let dir = &*folder;
    write(dir, true, 0, SEVERAL);
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4).map(|_| scope.spawn(|| index(dir, |_| {}).unwrap().records)).collect();
        for maker in makers {
            assert!(maker.join().unwrap() >= chunk::RECORDS as u64 * 3);
        }
    });
    assert_eq!(check_index(dir).unwrap(), None);
}

#[test]
fn one_gzip_stream_of_a_segment_is_read_as_well() {
    let folder = Scratch::about("search");
    let dir = &*folder;
    write(dir, false, 0, SEVERAL);
    let (expected, _) = all(dir, &Wanted::default(), false);
    for (_, file) in verify::segments(dir).unwrap().iter().rev().skip(1) {
        let name = format!("{}.gz", file.display());
        let mut encoder = flate2::write::GzEncoder::new(fs::File::create(name).unwrap(), flate2::Compression::fast());
        std::io::copy(&mut fs::File::open(file).unwrap(), &mut encoder).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(file).unwrap();
    }
    index(dir, |_| {}).unwrap();
    assert_eq!(all(dir, &Wanted::default(), true).0, expected);
    assert_eq!(same(dir, &session("s3")).0, 10);
}
