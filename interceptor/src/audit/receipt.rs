//! Receipts: what one job did, in a file of its own that can be checked far from the host.
//!
//! A receipt holds the job's records as they stand in the trail, each with its hash, a checkpoint that the trail was signed
//! with behind them, and the host's signature over all of it. Whoever has the host's public key (`key.pub`) can check it
//! without the trail; whoever has the trail finds every record in it.

use super::chain::{hash, hex, unseal};
use super::keys;
use super::record::{Decision, Event, Record};
use super::search::{Wanted, search};
use super::verify::{self, Checkpoint};
use ed25519_dalek::Signer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Version of this layout.
    pub v: u32,
    /// Which records it holds, in words.
    pub of: String,
    /// What they come to.
    pub summary: Summary,
    /// The records as they stand in the trail, in its order.
    pub records: Vec<String>,
    /// A checkpoint behind the last of them.
    checkpoint: Checkpoint,
    /// The host's public key, in hex.
    pub key: String,
    /// Those that it had before, which is the host's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Its Ed25519 signature over the rest, in hex.
    signature: String,
}

/// What a job did, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// When its first and its last record were written.
    pub from: String,
    /// As `from`.
    pub to: String,
    /// The agents that acted.
    pub agents: BTreeSet<String>,
    /// For whom.
    pub on_behalf_of: BTreeSet<String>,
    /// Its sessions.
    pub sessions: BTreeSet<String>,
    /// The relations that its statements named.
    pub relations: BTreeSet<String>,
    /// Statements that were permitted.
    pub permitted: u64,
    /// Statements that were denied.
    pub denied: u64,
    /// Statements that waited for a human.
    pub held: u64,
    /// Rows that left.
    pub rows: u64,
    /// Values in them that were masked.
    pub masked: u64,
    /// Rows that were changed.
    pub affected: u64,
}

/// Why there is no receipt, or why it does not stand.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Files cannot be read.
    #[error("the trail cannot be read")]
    Read(#[from] io::Error),
    /// Nothing to give a receipt for.
    #[error("no record fits")]
    Nothing,
    /// The daemon signs within ten seconds.
    #[error("the last of the records is not signed yet; try again in ten seconds")]
    Unsigned,
    /// It is no receipt.
    #[error("it is no receipt: {0}")]
    Form(#[from] serde_json::Error),
    /// It does not stand.
    #[error("it does not stand: {0}")]
    Broken(String),
}

impl Receipt {
    /// Collects the records that are wanted and signs what they come to. The trail is read from end to end: no index has a say in
    /// what a receipt holds.
    ///
    /// # Errors
    /// If there are none, if the daemon has not signed them yet, or if the trail or the host's key cannot be read.
    pub fn make(dir: &Path, wanted: &Wanted) -> Result<Self, ReceiptError> {
        let (mut records, mut summary, mut last) = (Vec::new(), Summary::default(), 0);
        let mut wrong = None;
        let searched = search(dir, wanted, false, |line| match serde_json::from_str::<Record>(line) {
            Ok(record) => {
                last = record.seq;
                summary.add(&record);
                records.push(line.to_owned());
                ControlFlow::Continue(())
            }
            Err(error) => {
                wrong = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = wrong {
            return Err(error.into());
        }
        if let Some(seq) = searched.changed.first() {
            return Err(ReceiptError::Broken(format!("record {seq} is not as it was written")));
        }
        if records.is_empty() {
            return Err(ReceiptError::Nothing);
        }
        let checkpoints = std::fs::read_to_string(dir.join("checkpoints.jsonl"))?;
        let checkpoints = checkpoints.lines().filter_map(|line| serde_json::from_str::<Checkpoint>(line).ok());
        let checkpoint = checkpoints.into_iter().find(|checkpoint| checkpoint.seq >= last);
        let checkpoint = checkpoint.ok_or(ReceiptError::Unsigned)?;
        let signing = keys::signing(dir)?;
        let mut receipt = Self {
            v: 1,
            of: wanted.words(),
            summary,
            records,
            checkpoint,
            key: hex(signing.verifying_key().as_bytes()),
            keys: verify::trusted_keys(dir),
            signature: String::new(),
        };
        receipt.keys.retain(|key| *key != receipt.key);
        receipt.signature = hex(&signing.sign(receipt.statement()?.as_bytes()).to_bytes());
        Ok(receipt)
    }

    /// What is signed: everything but the signature.
    fn statement(&self) -> Result<String, serde_json::Error> {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        Ok(format!("interceptor audit receipt\n{}\n", hash(&serde_json::to_string(&unsigned)?)))
    }

    /// Reads a receipt and checks all that can be checked without the trail. `key` is the public key of the host that it
    /// should be from, in hex.
    ///
    /// # Errors
    /// Whatever does not add up.
    pub fn check(text: &str, key: Option<&str>) -> Result<Self, ReceiptError> {
        let broken = |what: &str| Err(ReceiptError::Broken(what.to_owned()));
        let receipt: Self = serde_json::from_str(text)?;
        if receipt.v != 1 {
            return broken("its version is not known");
        }
        if key.is_some_and(|keys| !keys.lines().any(|key| key.trim() == receipt.key)) {
            return broken("it is signed with another key");
        }
        if !verify::signs(&receipt.key, &receipt.signature, &receipt.statement()?) {
            return broken("its signature does not fit");
        }
        // Its own key, or one that the host had then and has handed on from.
        let known = receipt.checkpoint.key == receipt.key || receipt.keys.contains(&receipt.checkpoint.key);
        if !known || !verify::is_signed(&receipt.checkpoint) {
            return broken("its checkpoint is not signed by the host");
        }
        let (mut summary, mut last) = (Summary::default(), 0);
        for line in &receipt.records {
            let Some((json, sealed)) = unseal(line) else { return broken("it holds a line that is no record") };
            if hash(&json) != sealed {
                return broken("the hash of a record does not fit what it says");
            }
            let record: Record = serde_json::from_str(&json)?;
            if record.seq <= last || record.seq > receipt.checkpoint.seq {
                return broken("its records are not in the order of a trail");
            }
            last = record.seq;
            summary.add(&record);
        }
        if summary != receipt.summary {
            return broken("its summary is not that of its records");
        }
        Ok(receipt)
    }
}

impl Summary {
    fn add(&mut self, record: &Record) {
        if self.from.is_empty() {
            self.from.clone_from(&record.time);
        }
        self.to.clone_from(&record.time);
        let subject = &record.subject;
        if let Some(agent) = &subject.agent {
            self.agents.insert(agent.subject.clone());
            self.on_behalf_of.extend(agent.on_behalf_of.clone());
        }
        if !subject.session.is_empty() {
            self.sessions.insert(subject.session.clone());
        }
        if record.event == Event::Statement {
            self.relations.extend(record.relations.iter().map(|used| used.relation.clone()));
            match record.decision {
                Some(Decision::Permit) => self.permitted += 1,
                Some(Decision::Deny) => self.denied += 1,
                Some(Decision::Hold) => self.held += 1,
                None => {}
            }
        }
        if let Some(outcome) = &record.outcome {
            self.rows += outcome.rows;
            self.masked += outcome.masked;
            self.affected += outcome.affected.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Subject;
    use super::super::{Settings, Trail};
    use super::*;
    use crate::scratch::Scratch;
    use std::sync::Arc;

    #[test]
    fn a_receipt_stands_as_it_was_made_and_not_otherwise() {
        let dir = Scratch::about("receipt");
        let trail = Trail::open(&Settings::of(dir.to_owned())).unwrap();
        for session in ["a", "b", "a"] {
            let subject = Subject { session: session.into(), ..Subject::default() };
            let mut record = Record::new(Event::Statement, Arc::new(subject));
            record.statement = Some("select 1".into());
            record.decision = Some(Decision::Permit);
            trail.write(record).unwrap();
        }
        let of = |session: &str| Wanted { session: Some(session.to_owned()), ..Wanted::default() };
        let early = Receipt::make(&dir, &of("a")).unwrap_err();
        assert!(early.to_string().contains("not signed yet"), "{early}");
        drop(trail);
        let receipt = Receipt::make(&dir, &of("a")).unwrap();
        assert_eq!((receipt.records.len(), receipt.summary.permitted), (2, 2));
        let text = serde_json::to_string_pretty(&receipt).unwrap();
        let key = std::fs::read_to_string(dir.join("key.pub")).unwrap();
        assert_eq!(Receipt::check(&text, Some(&key)).unwrap(), receipt);

        #[track_caller]
        fn check(text: &str, key: Option<&str>, expected: &str) {
            let said = Receipt::check(text, key).map_or_else(|error| error.to_string(), |_| "it stands".to_owned());
            assert_eq!(said, expected);
        }
        check(&text, None, "it stands");
        check(&text, Some(&"0".repeat(64)), "it does not stand: it is signed with another key");
        check(&text.replace("select 1", "select 2"), None, "it does not stand: its signature does not fit");
        check(
            &text.replace("\"permitted\": 2", "\"permitted\": 1"),
            None,
            "it does not stand: its signature does not fit",
        );
        assert!(Receipt::check("{}", None).unwrap_err().to_string().starts_with("it is no receipt"));
        assert!(matches!(Receipt::make(&dir, &of("c")), Err(ReceiptError::Nothing)));
    }
}
