//! Reading a trail and finding whatever was done to it.

use super::archive;
use super::chain::{GENESIS, hash, unseal};
use super::record::Record;
use super::trail::{Head, segment_path};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A signed statement of how far a trail had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) seq: u64,
    pub(super) hash: String,
    pub(super) time: String,
    pub(super) key: String,
    /// The key that signs from here on, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    pub(super) signature: String,
}

/// What is signed.
pub(super) fn statement(seq: u64, hash: &str, next: Option<&str>) -> String {
    match next {
        None => format!("interceptor audit checkpoint\n{seq}\n{hash}\n"),
        Some(next) => format!("interceptor audit key handed on\n{seq}\n{hash}\n{next}\n"),
    }
}

/// The host's public keys in hex, the first one first; the last signs now.
pub(super) fn trusted_keys(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("key.pub")).unwrap_or_default();
    text.lines().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Something that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Records that hang together.
    pub records: u64,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// The last record that a good signature stands for.
    pub signed: u64,
    /// The last record that a witness has seen signed, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<u64>,
    /// The last record's number and hash.
    pub head: Option<(u64, String)>,
    /// What does not add up; empty for a trail that stands.
    pub findings: Vec<Finding>,
}

/// Records that may stand behind the last checkpoint (`trail` signs at least this often).
const MOST_UNSIGNED: u64 = super::trail::CHECKPOINT_RECORDS;

/// Verifies the whole trail of a folder.
///
/// # Errors
/// Only where files cannot be read; whatever is wrong in them is a [`Finding`].
pub fn verify(dir: &Path) -> io::Result<Report> {
    verify_against(dir, None)
}

/// What a witness has taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Its file or its URL.
    pub witness: &'a Path,
    /// The checkpoints, a line each, in the order in which they came; some may have come twice.
    pub lines: &'a str,
}

/// The same, and whether the trail leads to every checkpoint that a witness away from the host has taken.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(dir: &Path, witness: Option<&Taken<'_>>) -> io::Result<Report> {
    // The head is read first: a daemon that writes meanwhile only adds behind it.
    let head = std::fs::read_to_string(dir.join("head"));
    let checkpoints = std::fs::read_to_string(dir.join("checkpoints.jsonl")).unwrap_or_default();
    let mut hashes = vec![GENESIS.to_owned()];
    let mut report = Report::default();
    let segments = segments(dir)?;
    for (expected, (number, _)) in (1..).zip(&segments) {
        if *number != expected {
            report.findings.push(finding(&segment_path(dir, expected), 0, "this segment is missing"));
            return Ok(report);
        }
    }
    'segments: for (_, file) in &segments {
        let mut lines = BufReader::new(archive::open(file)?);
        for number in 1.. {
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    report.findings.push(finding(file, number, &format!("it cannot be read: {error}")));
                    break 'segments;
                }
            }
            let Some(whole) = line.strip_suffix(b"\n") else {
                report.findings.push(finding(file, 0, "the last line has no end"));
                break;
            };
            match check_line(whole, &hashes) {
                Ok(hash) => hashes.push(hash),
                Err(text) => {
                    report.findings.push(finding(file, number, &text));
                    break 'segments;
                }
            }
        }
    }
    report.records = hashes.len() as u64 - 1;
    report.head = hashes.last().filter(|_| report.records > 0).map(|hash| (report.records, hash.clone()));
    match head.map(|text| serde_json::from_str::<Head>(&text)) {
        Ok(Ok(head)) => {
            let there = usize::try_from(head.seq).ok().and_then(|seq| hashes.get(seq));
            if there != Some(&head.hash) && report.findings.is_empty() {
                let text = format!("it names record {}, which is not in the trail as it was", head.seq);
                report.findings.push(finding(&dir.join("head"), 0, &text));
            }
        }
        Ok(Err(_)) => report.findings.push(finding(&dir.join("head"), 0, "it cannot be read")),
        Err(_) if segments.is_empty() => report.findings.push(finding(dir, 0, "there is no trail here")),
        Err(_) => report.findings.push(finding(&dir.join("head"), 0, "it is missing")),
    }
    check_checkpoints(dir, &dir.join("checkpoints.jsonl"), &checkpoints, &hashes, &mut report);
    if let Some(Taken { witness, lines }) = witness {
        let (checkpoints, signed) = (report.checkpoints, report.signed);
        report.signed = 0;
        // What was sent again after a crash says the same.
        let mut known = HashSet::new();
        let once: String = lines.split_inclusive('\n').filter(|line| known.insert(*line)).collect();
        if once.is_empty() {
            report.findings.push(finding(witness, 0, "the witness has taken nothing"));
        }
        check_checkpoints(dir, witness, &once, &hashes, &mut report);
        // The same once more: they are not counted twice.
        report.witnessed = Some(report.signed);
        (report.checkpoints, report.signed) = (checkpoints, report.signed.max(signed));
    }
    // The daemon signs after so many records at most: what is not signed was written since, or the signatures are gone.
    let unsigned = report.records.saturating_sub(report.signed);
    if unsigned > MOST_UNSIGNED && report.findings.is_empty() {
        let text =
            format!("the last {unsigned} records are not signed; the daemon leaves no more than {MOST_UNSIGNED}");
        report.findings.push(finding(&dir.join("checkpoints.jsonl"), 0, &text));
    }
    Ok(report)
}

fn check_line(line: &[u8], hashes: &[String]) -> Result<String, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let (json, sealed) = unseal(line).ok_or("it is no sealed record")?;
    if hash(&json) != sealed {
        return Err("its hash does not fit what it says".to_owned());
    }
    let record: Record = serde_json::from_str(&json).map_err(|error| format!("it is no record: {error}"))?;
    if record.seq != hashes.len() as u64 {
        return Err(format!("record {} stands where record {} belongs", record.seq, hashes.len()));
    }
    if Some(&record.prev) != hashes.last() {
        return Err("it does not hang on the record before".to_owned());
    }
    Ok(sealed.to_owned())
}

fn check_checkpoints(dir: &Path, file: &Path, text: &str, hashes: &[String], report: &mut Report) {
    let keys = trusted_keys(dir);
    // A witness may have begun to listen after keys have changed.
    let first = text.lines().find_map(|line| serde_json::from_str::<Checkpoint>(line).ok()).map(|first| first.key);
    let mut at = first.and_then(|first| keys.iter().position(|key| *key == first)).unwrap_or_default();
    let broken = !report.findings.is_empty();
    for (index, line) in text.lines().enumerate() {
        let mut wrong = |text: &str| report.findings.push(finding(file, index + 1, text));
        let Ok(checkpoint) = serde_json::from_str::<Checkpoint>(line) else {
            wrong("it is no checkpoint");
            continue;
        };
        let (trusted, next) = (keys.get(at), keys.get(at + 1));
        if Some(&checkpoint.key) != trusted {
            wrong("it is signed with another key than `key.pub`");
        } else if checkpoint.next.is_some() && checkpoint.next.as_ref() != next {
            wrong("it hands on to another key than `key.pub`");
        } else if !is_signed(&checkpoint) {
            wrong("its signature does not fit");
        } else {
            let there = usize::try_from(checkpoint.seq).ok().and_then(|seq| hashes.get(seq));
            match there {
                Some(hash) if *hash == checkpoint.hash => {
                    at += usize::from(checkpoint.next.is_some());
                    report.checkpoints += 1;
                    report.signed = report.signed.max(checkpoint.seq);
                }
                // A trail that breaks earlier has been reported already.
                None if broken => {}
                _ => wrong("the trail does not lead to what was signed"),
            }
        }
    }
}

pub(super) fn is_signed(checkpoint: &Checkpoint) -> bool {
    signs(
        &checkpoint.key,
        &checkpoint.signature,
        &statement(checkpoint.seq, &checkpoint.hash, checkpoint.next.as_deref()),
    )
}

/// Whether a signature of a key, both in hex, is one of what was said.
pub(super) fn signs(key: &str, signature: &str, said: &str) -> bool {
    let key = unhex::<32>(key).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    let signature = unhex::<64>(signature).map(|bytes| Signature::from_bytes(&bytes));
    match (key, signature) {
        (Some(key), Some(signature)) => key.verify_strict(said.as_bytes(), &signature).is_ok(),
        _ => false,
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn finding(file: &Path, line: usize, text: &str) -> Finding {
    Finding { file: file.to_owned(), line, text: text.to_owned() }
}

/// All records of a trail in order, as they are; for searching and showing, not for trusting.
pub fn read(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<Record>>> {
    Ok(lines(dir)?.map(|line| line.and_then(|line| serde_json::from_str(&line).map_err(io::Error::from))))
}

/// The same as they are written, a line each.
pub fn lines(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let files =
        segments(dir)?.into_iter().map(|(_, file)| archive::open(&file).map(|file| BufReader::new(file).lines()));
    Ok(files.collect::<io::Result<Vec<_>>>()?.into_iter().flatten())
}

/// The segments of a folder by number.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name
            .strip_prefix("audit-")
            .and_then(|rest| rest.strip_suffix(".jsonl").or_else(|| rest.strip_suffix(".jsonl.gz")))
            .and_then(|number| number.parse().ok());
        segments.extend(number.map(|number| (number, path)));
    }
    segments.sort();
    // While one is being compressed both are there, the one that was first.
    segments.dedup_by_key(|(number, _)| *number);
    add_overlooked(dir, &mut segments);
    Ok(segments)
}

/// A folder that changes while it is listed may show neither the segment as it was nor its compressed form (readdir(3) leaves
/// open what is seen of names that come and go meanwhile); asked for by name, one of them is there.
fn add_overlooked(dir: &Path, segments: &mut Vec<(u32, PathBuf)>) {
    let Some(&(last, _)) = segments.last() else { return };
    let listed: BTreeSet<u32> = segments.iter().map(|(number, _)| *number).collect();
    for number in (1..last).rev().filter(|number| !listed.contains(number)) {
        let plain = segment_path(dir, number);
        let compressed = PathBuf::from(format!("{}{}", plain.display(), archive::SUFFIX));
        // Those that an administrator has moved away are the first ones: nothing is before the first that is not there.
        match [plain, compressed].into_iter().find(|path| path.exists()) {
            Some(path) => segments.push((number, path)),
            None if listed.first().is_some_and(|first| number < *first) => break,
            None => {}
        }
    }
    segments.sort();
}

/// Where a trail stopped.
pub(super) enum Tail {
    Empty,
    At(Head),
    /// The last line is half a line; `keep` bytes of its file are whole.
    Torn {
        head: Head,
        file: PathBuf,
        keep: u64,
    },
    Damaged(String),
}

/// Reads the end of a trail, to go on behind it. Only the last record is looked at: verifying all is for `verify`.
pub(super) fn tail(dir: &Path) -> io::Result<Tail> {
    let named: Option<Head> =
        std::fs::read_to_string(dir.join("head")).ok().and_then(|text| serde_json::from_str(&text).ok());
    let segments = segments(dir)?;
    let mut torn = None;
    for (_, file) in segments.iter().rev() {
        let bytes = last_part(file)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            torn = Some((file.clone(), std::fs::metadata(file)?.len() - (bytes.len() - whole) as u64));
        }
        let line = bytes
            .get(..whole.saturating_sub(1))
            .unwrap_or_default()
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        if line.is_empty() {
            continue;
        }
        let parsed = std::str::from_utf8(line).ok().and_then(unseal).filter(|(json, sealed)| hash(json) == *sealed);
        let Some((json, sealed)) = parsed else { return Ok(Tail::Damaged("its last record is not whole".to_owned())) };
        let record: Record = serde_json::from_str(&json)?;
        let head = Head { seq: record.seq, hash: sealed.to_owned() };
        return Ok(match (named, torn) {
            // A crash between a record and the head leaves the head one behind, never ahead.
            (Some(named), _) if named.seq > head.seq => {
                Tail::Damaged(format!("record {} is missing from its end", named.seq))
            }
            (_, Some((file, keep))) => Tail::Torn { head, file, keep },
            (_, None) => Tail::At(head),
        });
    }
    Ok(match (named, torn) {
        (Some(named), _) if named.seq > 0 => Tail::Damaged(format!("records up to {} are missing", named.seq)),
        (_, Some((file, keep))) => Tail::Torn { head: Head { seq: 0, hash: GENESIS.to_owned() }, file, keep },
        (_, None) => Tail::Empty,
    })
}

/// The last bytes of a file: more than any record has.
fn last_part(file: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    if archive::is_compressed(file) {
        let mut bytes = Vec::new();
        archive::open(file)?.read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::record::{Event, Subject};
    use super::super::trail::Trail;
    use super::super::{Fsync, Settings};
    use super::*;
    use crate::scratch::Scratch;
    use std::sync::Arc;

    fn settings(dir: &Path) -> Settings {
        Settings { fsync: Fsync::Os, ..Settings::of(dir.to_owned()) }
    }

    fn write(dir: &Path, texts: &[&str]) {
        let trail = Trail::open(&settings(dir)).unwrap();
        for text in texts {
            let mut record = Record::new(Event::Statement, Arc::new(Subject::default()));
            record.statement = Some((*text).to_owned());
            trail.write(record).unwrap();
        }
    }

    /// Writes three records, spoils the trail, and says what verification finds.
    #[track_caller]
    fn check(spoil: impl Fn(&mut Vec<String>), expected: &str) {
        let dir = Scratch::about("audit");
        write(&dir, &["a", "b", "c"]);
        let file = segment_path(&dir, 1);
        let mut lines: Vec<String> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        spoil(&mut lines);
        std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let report = verify(&dir).unwrap();
        let first =
            report.findings.first().map_or("fine".to_owned(), |finding| format!("{}: {}", finding.line, finding.text));
        assert_eq!(first, expected);
    }

    #[test]
    fn whatever_is_done_to_a_trail_shows() {
        check(|_| {}, "fine");
        check(|lines| lines.swap(0, 1), "1: record 2 stands where record 1 belongs");
        check(|lines| drop(lines.remove(1)), "2: record 3 stands where record 2 belongs");
        check(|lines| drop(lines.remove(0)), "1: record 2 stands where record 1 belongs");
        check(|lines| drop(lines.pop()), "0: it names record 3, which is not in the trail as it was");
        check(|lines| lines.clear(), "0: it names record 3, which is not in the trail as it was");
        check(|lines| lines[1] = lines[1].replace("\"b\"", "\"x\""), "2: its hash does not fit what it says");
        check(|lines| lines.push(lines[2].clone()), "4: record 3 stands where record 4 belongs");
        check(|lines| lines[2].push(' '), "3: it is no sealed record");
    }

    #[test]
    fn any_changed_byte_shows() {
        let dir = Scratch::about("audit");
        write(&dir, &["a", "b"]);
        let file = segment_path(&dir, 1);
        let good = std::fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&file, &bad).unwrap();
            assert!(!verify(&dir).unwrap().findings.is_empty(), "byte {at}");
        }
        std::fs::write(&file, &good).unwrap();
        assert_eq!(verify(&dir).unwrap().findings, []);
    }

    #[test]
    fn a_trail_goes_on_where_it_stopped_also_after_a_crash() {
        let dir = Scratch::about("audit");
        write(&dir, &["a"]);
        write(&dir, &["b"]);
        let file = segment_path(&dir, 1);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.extend_from_slice(b"{\"v\":1,\"seq\":3,\"ti");
        std::fs::write(&file, bytes).unwrap();
        write(&dir, &["c"]);
        let report = verify(&dir).unwrap();
        // A record of its own says that something was dropped.
        assert_eq!((report.records, report.findings.len()), (4, 0));
        assert_eq!(report.checkpoints, 3);
        let said: Vec<_> = read(&dir).unwrap().filter_map(|record| record.unwrap().statement).collect();
        assert_eq!(said[2], "recovered: 18 bytes of a half-written record were dropped from the trail's end");
    }

    #[test]
    fn a_trail_whose_end_was_cut_off_is_not_written_on() {
        let dir = Scratch::about("audit");
        write(&dir, &["a", "b"]);
        let file = segment_path(&dir, 1);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.lines().next().map(|line| format!("{line}\n")).unwrap()).unwrap();
        let error = Trail::open(&settings(&dir)).unwrap_err().to_string();
        assert!(error.contains("record 2 is missing from its end"), "{error}");
    }

    fn record(trail: &Trail, text: &str) -> Result<u64, crate::audit::AuditError> {
        let mut record = Record::new(Event::Statement, Arc::new(Subject::default()));
        record.statement = Some(text.to_owned());
        trail.write(record)
    }

    fn said(dir: &Path) -> Vec<String> {
        read(dir).unwrap().filter_map(|record| record.unwrap().statement).collect()
    }

    #[test]
    fn full_segments_are_compressed_and_read_all_the_same() {
        let dir = Scratch::about("audit");
        let settings = Settings { segment_megabytes: 1, ..settings(&dir) };
        let long = "x".repeat(100_000);
        let trail = Trail::open(&settings).unwrap();
        for at in 0..25 {
            record(&trail, &format!("{at} {long}")).unwrap();
        }
        drop(trail);
        let compressed = || segments(&dir).unwrap().iter().filter(|(_, path)| archive::is_compressed(path)).count();
        for _ in 0..100 {
            if compressed() == 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!((segments(&dir).unwrap().len(), compressed()), (3, 2));
        let trail = Trail::open(&settings).unwrap();
        record(&trail, "last").unwrap();
        drop(trail);
        let report = verify(&dir).unwrap();
        assert_eq!((report.records, report.findings), (26, vec![]));
        assert_eq!(said(&dir).len(), 26);
        // A byte of a compressed segment.
        let file = dir.join("audit-000001.jsonl.gz");
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(!verify(&dir).unwrap().findings.is_empty());
    }

    #[test]
    fn what_the_disk_did_not_take_is_written_anew() {
        for fsync in [Fsync::Each, Fsync::Group] {
            let dir = Scratch::about("audit");
            let trail = Trail::open(&Settings { fsync, ..Settings::of(dir.to_owned()) }).unwrap();
            record(&trail, "a").unwrap();
            trail.sync().unwrap();
            trail.break_disk_for_test();
            let failed = match fsync {
                Fsync::Each => record(&trail, "b").is_err(),
                _ => record(&trail, "b").is_ok() && trail.sync().is_err(),
            };
            assert!(failed, "{fsync:?}");
            record(&trail, "c").unwrap();
            drop(trail);
            let report = verify(&dir).unwrap();
            assert_eq!((report.records, report.findings), (4, vec![]), "{fsync:?}");
            // A record of its own says that.
            let (own, others): (Vec<_>, Vec<_>) = said(&dir)
                .into_iter()
                .partition(|text| text.starts_with("recovered: the disk had refused what was written"));
            assert_eq!((own.len(), others), (1, vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]), "{fsync:?}");
            assert_eq!(segments(&dir).unwrap().len(), 2);
        }
    }

    /// By whoever has the key: two histories, each of which stands for itself.
    #[test]
    fn a_witness_knows_what_was_written_anew() {
        let dir = Scratch::about("audit");
        let witness = dir.join("witness");
        let first = Trail::open(&Settings { witness: Some(witness.clone()), ..settings(&dir) }).unwrap();
        record(&first, "what happened").unwrap();
        drop(first);
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("key") && name != "witness" {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let second = Trail::open(&settings(&dir)).unwrap();
        record(&second, "what did not").unwrap();
        drop(second);
        assert_eq!(verify(&dir).unwrap().findings, []);
        let lines = std::fs::read_to_string(&witness).unwrap();
        let taken = Taken { witness: &witness, lines: &lines };
        assert_ne!(verify_against(&dir, Some(&taken)).unwrap().findings, []);
    }

    #[test]
    fn a_witness_knows_what_was_cut_off() {
        let dir = Scratch::about("audit");
        let witness = dir.join("witness");
        let settings = Settings { witness: Some(witness.clone()), ..settings(&dir) };
        let trail = Trail::open(&settings).unwrap();
        record(&trail, "a").unwrap();
        trail.checkpoint().unwrap();
        let (head, checkpoints) = ("head", "checkpoints.jsonl");
        let before: Vec<_> = [segment_path(&dir, 1), dir.join(head), dir.join(checkpoints)]
            .map(|file| std::fs::read(file).unwrap())
            .into();
        record(&trail, "b").unwrap();
        drop(trail);
        let against = || {
            let lines = std::fs::read_to_string(&witness).unwrap();
            verify_against(&dir, Some(&Taken { witness: &witness, lines: &lines })).unwrap()
        };
        assert_eq!((against().findings, against().witnessed), (vec![], Some(2)));
        // What came twice is the same.
        let lines = std::fs::read_to_string(&witness).unwrap();
        std::fs::write(&witness, format!("{lines}{lines}")).unwrap();
        assert_eq!(against().findings, []);
        std::fs::write(&witness, lines).unwrap();
        // All of it as it was, by whoever may write here and not there.
        for (file, bytes) in [segment_path(&dir, 1), dir.join(head), dir.join(checkpoints)].iter().zip(before) {
            std::fs::write(file, bytes).unwrap();
        }
        assert_eq!(verify(&dir).unwrap().findings, []);
        let found = against().findings;
        assert_eq!(found[0].text, "the trail does not lead to what was signed");
    }

    #[test]
    fn a_segment_that_a_listing_overlooked_is_there() {
        let dir = Scratch::about("audit");
        for name in ["audit-000002.jsonl", "audit-000003.jsonl.gz", "audit-000005.jsonl", "audit-000006.jsonl"] {
            std::fs::write(dir.join(name), "").unwrap();
        }
        let there = segments(&dir).unwrap();
        assert_eq!(there.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 5, 6]);
        for overlooked in 0..3 {
            let mut listed = there.clone();
            listed.remove(overlooked);
            add_overlooked(&dir, &mut listed);
            assert_eq!(listed, there, "{overlooked}");
        }
    }

    #[test]
    fn segments_are_compressed_once_however_many_are_at_it() {
        let dir = Scratch::about("audit");
        let settings = Settings { segment_megabytes: 1, compress: false, ..settings(&dir) };
        let trail = Trail::open(&settings).unwrap();
        let long = (0..300_000)
            .map(|at: u32| char::from(b'a' + (at.wrapping_mul(2_654_435_761) >> 24) as u8 % 26))
            .collect::<String>();
        for at in 0..20 {
            record(&trail, &format!("{at} {long}")).unwrap();
        }
        drop(trail);
        let last = segments(&dir).unwrap().len();
        assert!(last > 3);
        // At each moment all of it can be read.
        for _ in 0..8 {
            archive::Keeping { compress: true, index: true }.see_to(&dir, u32::try_from(last).unwrap());
        }
        for _ in 0..200 {
            let report = verify(&dir).unwrap();
            assert_eq!((report.records, report.findings), (20, vec![]));
            let left = segments(&dir).unwrap().iter().filter(|(_, file)| !archive::is_compressed(file)).count();
            let parts = std::fs::read_dir(&dir)
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().contains(".part"));
            if left == 1 && parts.count() == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(segments(&dir).unwrap().iter().filter(|(_, file)| archive::is_compressed(file)).count(), last - 1);
    }
}
