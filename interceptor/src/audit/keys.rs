//! The host's signing keys: `key` is the seed of the one that signs, `key.pub` has all that ever did, one a line in hex, `key.next` is
//! one that is about to.
//!
//! A key is handed on in an order that a crash at any point leaves in one of two states: the new seed is written, the old key
//! signs that the new one follows, the new seed takes the old one's place. What is left half-done is ended at the next start, by
//! whether the last checkpoint names the new key.

use super::chain::hex;
use super::verify::{Checkpoint, trusted_keys};
use ed25519_dalek::SigningKey;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The key that signs, made on first use.
pub(super) fn open(dir: &Path) -> io::Result<SigningKey> {
    finish(dir)?;
    let path = dir.join("key");
    if !path.exists() {
        let (key, public) = prepare(dir)?;
        hand_on(dir, &public)?;
        return Ok(key);
    }
    let key = read(&path)?;
    let public = public(&key);
    if trusted_keys(dir).last() != Some(&public) {
        add(dir, &public)?;
    }
    Ok(key)
}

/// The key that signs, of a trail that somebody else may be writing.
pub(super) fn signing(dir: &Path) -> io::Result<SigningKey> {
    read(&dir.join("key"))
}

/// A key that is about to sign, and its public half in hex.
pub(super) fn prepare(dir: &Path) -> io::Result<(SigningKey, String)> {
    let seed: [u8; 32] = rand::random();
    let key = SigningKey::from_bytes(&seed);
    let path = dir.join("key.next");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    let public = public(&key);
    Ok((key, public))
}

/// The prepared key takes its place.
pub(super) fn hand_on(dir: &Path, public: &str) -> io::Result<()> {
    add(dir, public)?;
    fs::rename(dir.join("key.next"), dir.join("key"))
}

fn add(dir: &Path, public: &str) -> io::Result<()> {
    let mut keys = trusted_keys(dir);
    if keys.last().is_none_or(|last| last != public) {
        keys.push(public.to_owned());
    }
    let beside = dir.join("key.pub.new");
    fs::write(&beside, keys.join("\n") + "\n")?;
    fs::rename(beside, dir.join("key.pub"))
}

/// Ends what a crash has left half-done.
fn finish(dir: &Path) -> io::Result<()> {
    let path = dir.join("key.next");
    let next = match read(&path) {
        Ok(next) => public(&next),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Half a seed: nothing was signed for it.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return fs::remove_file(path),
        Err(error) => return Err(error),
    };
    let checkpoints = fs::read_to_string(dir.join("checkpoints.jsonl")).unwrap_or_default();
    let mut named = checkpoints.lines().filter_map(|line| serde_json::from_str::<Checkpoint>(line).ok());
    let named = named.next_back().and_then(|last| last.next).is_some_and(|named| named == next);
    if named || !dir.join("key").exists() { hand_on(dir, &next) } else { fs::remove_file(path) }
}

fn read(path: &Path) -> io::Result<SigningKey> {
    let seed: [u8; 32] = fs::read(path)?.try_into().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the signing key `{}` is not 32 bytes long", path.display()))
    })?;
    Ok(SigningKey::from_bytes(&seed))
}

fn public(key: &SigningKey) -> String {
    hex(key.verifying_key().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::record::{Event, Record, Subject};
    use super::super::trail::Trail;
    use super::super::{Settings, verify};
    use super::*;
    use crate::scratch::Scratch;
    use std::sync::Arc;

    fn write(dir: &Path, text: &str) -> Trail {
        let trail = Trail::open(&Settings::of(dir.to_owned())).unwrap();
        let mut record = Record::new(Event::Admin, Arc::new(Subject::default()));
        record.statement = Some(text.to_owned());
        trail.write(record).unwrap();
        trail
    }

    /// What is left by a crash, made by `crash`, is ended at the next start; the trail stands with this many keys.
    #[track_caller]
    fn check(name: &str, crash: impl Fn(&Path, &Trail), keys: usize) {
        let dir = Scratch::about("keys");
        let trail = write(&dir, "before");
        trail.checkpoint().unwrap();
        crash(&dir, &trail);
        drop(trail);
        write(&dir, "after").checkpoint().unwrap();
        let report = verify::verify(&dir).unwrap();
        assert_eq!((report.findings, trusted_keys(&dir).len()), (Vec::new(), keys), "{name}");
        assert!(!dir.join("key.next").exists(), "{name}");
    }

    #[test]
    fn keys_are_handed_on_whole_or_not_at_all() {
        check("nothing", |_, _| {}, 1);
        check("handed on", |_, trail| drop(trail.rotate_key().unwrap()), 2);
        check(
            "twice",
            |_, trail| {
                trail.rotate_key().unwrap();
                trail.rotate_key().unwrap();
            },
            3,
        );
        check("prepared only", |dir, _| drop(prepare(dir).unwrap()), 1);
        check("half a seed", |dir, _| fs::write(dir.join("key.next"), [7; 9]).unwrap(), 1);
        let signed_only = |dir: &Path, trail: &Trail| {
            let (key, pubs) = (fs::read(dir.join("key")).unwrap(), fs::read(dir.join("key.pub")).unwrap());
            trail.rotate_key().unwrap();
            fs::rename(dir.join("key"), dir.join("key.next")).unwrap();
            fs::write(dir.join("key"), key).unwrap();
            fs::write(dir.join("key.pub"), pubs).unwrap();
        };
        check("signed, not yet in place", signed_only, 2);
    }

    #[test]
    fn a_key_that_nobody_has_handed_on_to_is_found() {
        let dir = Scratch::about("keys");
        write(&dir, "before").checkpoint().unwrap();
        // Somebody puts a key of their own in place, and names it as following.
        let (_, public) = prepare(&dir).unwrap();
        hand_on(&dir, &public).unwrap();
        write(&dir, "after").checkpoint().unwrap();
        let report = verify::verify(&dir).unwrap();
        assert!(report.findings.iter().any(|finding| finding.text.contains("another key")), "{:?}", report.findings);
    }
}
