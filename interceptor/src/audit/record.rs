//! The fields of a record. Their names are a contract with scripts outside the project.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the contract's own terms")]
pub enum Event {
    Connect,
    Statement,
    Outcome,
    Approval,
    Refusal,
    Disconnect,
    Admin,
    Coverage,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the contract's own terms")]
pub enum Decision {
    Permit,
    Deny,
    Hold,
}

impl Event {
    /// As it stands in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Statement => "statement",
            Self::Outcome => "outcome",
            Self::Approval => "approval",
            Self::Refusal => "refusal",
            Self::Disconnect => "disconnect",
            Self::Admin => "admin",
            Self::Coverage => "coverage",
        }
    }
}

impl Decision {
    /// As it stands in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }
}

impl Status {
    /// As it stands in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::Denied => "denied",
            Self::Stopped => "stopped",
            Self::Abandoned => "abandoned",
        }
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It ran.
    Ok,
    /// The server refused or failed.
    Error,
    /// It was never run: an earlier statement of its batch failed.
    Skipped,
    /// It was refused and never sent.
    Denied,
    /// A limit was reached: it was stopped, and what it changed is rolled back.
    Stopped,
    /// The session ended before anybody could say; it may have taken effect.
    Abandoned,
}

/// Who asks: the verified agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The token's subject.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The human or job behind it.
    pub on_behalf_of: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// The groups of the human or job behind it, as far as its token says.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub on_behalf_of_groups: Vec<String>,
    /// Who acted for them before, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub delegation: Vec<String>,
}

/// The process that dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Thread group id in the daemon's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot; with the pid it names the process for good.
    pub start: u64,
    /// The program's file.
    pub exe: String,
    /// cgroup v2 path.
    pub cgroup: String,
    /// User id.
    pub uid: u32,
    /// The programs above it within its cgroup, innermost first.
    pub ancestry: Vec<String>,
    /// Group id.
    #[serde(default)]
    pub gid: u32,
    /// Number of its network namespace.
    #[serde(default)]
    pub netns: u64,
    /// What it says about its work: command line, commit, CI job. Anybody can say anything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub claimed: BTreeMap<String, String>,
}

/// What all records of a session share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The session's id.
    pub session: String,
    /// `None` while nobody knows who it is.
    pub agent: Option<Agent>,
    /// The dialling process.
    pub process: Option<Process>,
    /// Address of the database that was dialled.
    pub server: String,
    /// Name of the database.
    pub database: String,
    /// The role that the daemon logged in with.
    pub role: String,
    /// The role that the client said it was; decides nothing.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub claimed_role: String,
    /// All of it as it stands in records; made when it is first needed, so nothing changes behind that.
    #[serde(skip)]
    pub(super) members: OnceLock<Box<str>>,
}

impl Subject {
    /// The members as they stand in a record.
    fn members(&self) -> &str {
        self.members.get_or_init(|| {
            let json = serde_json::to_string(self).unwrap_or_default();
            let inside = json.strip_prefix('{').and_then(|json| json.strip_suffix('}'));
            inside.unwrap_or_default().into()
        })
    }
}

/// A relation and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationUse {
    /// `schema.name`, quoted as PostgreSQL quotes.
    pub relation: String,
    /// Actions of the policy schema.
    pub access: Vec<String>,
}

/// How a statement ended and what it moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub status: Status,
    /// Why it was refused: what the agent was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The error code.
    pub sqlstate: Option<String>,
    /// Rows sent to the client.
    pub rows: u64,
    /// Bytes of results sent to the client.
    pub bytes: u64,
    /// Values that were masked.
    pub masked: u64,
    /// Rows that the command tag reports as inserted, updated, deleted, merged or copied.
    pub affected: Option<u64>,
    /// From the record of the statement to its end, in microseconds.
    pub duration_us: u64,
    /// The server process.
    pub backend_pid: i32,
    /// `seq` of the record that opened this entry.
    pub statement_seq: u64,
    /// The first rows that left, as they left; only where a policy asks for them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub results: Option<Vec<Vec<Option<String>>>>,
}

/// What a cgroup has dialled and what became of it, as the kernel counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Its path; absent if nobody has seen its name.
    pub cgroup: Option<String>,
    /// Its number.
    pub cgroup_id: u64,
    /// Stream sockets that were connected, to anywhere.
    pub connects: u64,
    /// ... to PostgreSQL: a captured port or address.
    pub postgres: u64,
    /// ... of which came to the daemon.
    pub mediated: u64,
    /// ... of which failed, because the daemon was not there.
    pub refused: u64,
    /// Those that came to the daemon and were established.
    pub established: u64,
    /// Packets that had dodged the hook and were dropped.
    pub dropped: u64,
    /// Connections to other ports that spoke PostgreSQL and were stopped.
    pub stopped: u64,
    /// The same, let through.
    pub around: u64,
}

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this layout.
    pub v: u32,
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// What happened.
    pub event: Event,
    /// The shared part, its members standing among the others.
    #[serde(flatten)]
    pub subject: Arc<Subject>,
    /// The text, secrets redacted; for other events what is to be said about them.
    pub statement: Option<String>,
    /// Bind values; only where a policy asks for them.
    pub binds: Option<Vec<Option<String>>>,
    /// Fingerprint of the text without its constants.
    pub shape: Option<String>,
    /// What it does, in the policy schema's terms.
    pub verbs: Vec<String>,
    /// The relations it names.
    pub relations: Vec<RelationUse>,
    /// The functions it calls off the built-in allowlist.
    pub functions: Vec<String>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// What has to be met.
    pub obligations: Vec<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The account of a cgroup that has ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coverage: Option<Coverage>,
    /// Hash of the record before.
    pub prev: String,
    /// The members from `shape` to `obligations` as they stand in a record, where they were written out before.
    #[serde(skip)]
    pub facts: Option<Arc<str>>,
}

/// The members from `shape` to `obligations` of a record that has none.
const NO_FACTS: &[u8] =
    br#","shape":null,"verbs":[],"relations":[],"functions":[],"decision":null,"policies":[],"obligations":[]"#;

fn member<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    serde_json::to_writer(out, value)
}

impl Record {
    /// An empty record of an event; the trail fills `seq`, `time` and `prev` in.
    pub fn new(event: Event, subject: Arc<Subject>) -> Self {
        Self {
            v: 1,
            seq: 0,
            time: String::new(),
            event,
            subject,
            statement: None,
            binds: None,
            shape: None,
            verbs: Vec::new(),
            relations: Vec::new(),
            functions: Vec::new(),
            decision: None,
            policies: Vec::new(),
            obligations: Vec::new(),
            outcome: None,
            coverage: None,
            prev: String::new(),
            facts: None,
        }
    }

    /// The members from `shape` to `obligations` as they stand in a record: for one statement they are the same each time.
    ///
    /// # Errors
    /// As for any JSON.
    pub fn write_facts(&self) -> Result<Arc<str>, serde_json::Error> {
        let mut out = Vec::new();
        self.facts_into(&mut out)?;
        Ok(String::from_utf8_lossy(&out).into())
    }

    fn facts_into(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        if self.event == Event::Outcome {
            // Every other record is one; what it speaks of stands in the record of the statement.
            out.extend_from_slice(NO_FACTS);
            return Ok(());
        }
        member(out, "shape", &self.shape)?;
        member(out, "verbs", &self.verbs)?;
        member(out, "relations", &self.relations)?;
        member(out, "functions", &self.functions)?;
        member(out, "decision", &self.decision)?;
        member(out, "policies", &self.policies)?;
        member(out, "obligations", &self.obligations)
    }
}

impl Record {
    /// Writes it without its closing brace: behind that comes its hash. The same members in the same order as `Serialize`
    /// gives, which is how it is read; what a session's records share is not written anew each time.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let Self {
            v,
            seq,
            time,
            event,
            subject,
            statement,
            binds,
            shape: _,
            verbs: _,
            relations: _,
            functions: _,
            decision: _,
            policies: _,
            obligations: _,
            outcome,
            coverage,
            prev,
            facts,
        } = self;
        out.extend_from_slice(b"{\"v\":");
        serde_json::to_writer(&mut *out, v)?;
        member(out, "seq", seq)?;
        member(out, "time", time)?;
        member(out, "event", event)?;
        out.push(b',');
        out.extend_from_slice(subject.members().as_bytes());
        member(out, "statement", statement)?;
        member(out, "binds", binds)?;
        match facts {
            Some(facts) => out.extend_from_slice(facts.as_bytes()),
            None => self.facts_into(out)?,
        }
        member(out, "outcome", outcome)?;
        if let Some(coverage) = coverage {
            member(out, "coverage", coverage)?;
        }
        member(out, "prev", prev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_written_as_it_is_read() {
        let process = Process { pid: 7, exe: "/bin/\"x\"".into(), ..Process::default() };
        let subject = Subject { session: "s".into(), process: Some(process), role: "r}".into(), ..Subject::default() };
        let mut record = Record::new(Event::Statement, Arc::new(subject));
        record.statement = Some("select '\u{1}'".into());
        record.coverage = Some(Coverage { connects: 3, ..Coverage::default() });
        record.relations = vec![RelationUse { relation: "a.b".into(), access: vec!["select".into()] }];
        let mut written = Vec::new();
        record.write(&mut written).unwrap();
        written.push(b'}');
        assert_eq!(String::from_utf8(written.clone()).unwrap(), serde_json::to_string(&record).unwrap());
        // What was written out before stands in the place of the members themselves.
        record.facts = Some(record.write_facts().unwrap());
        record.relations.clear();
        let mut again = Vec::new();
        record.write(&mut again).unwrap();
        again.push(b'}');
        assert_eq!(again, written);
    }

    #[test]
    fn an_outcome_has_no_facts() {
        let outcome = Record::new(Event::Outcome, Arc::new(Subject::default()));
        let mut written = Vec::new();
        outcome.write(&mut written).unwrap();
        written.push(b'}');
        assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&outcome).unwrap());
    }
}
