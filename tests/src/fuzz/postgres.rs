//! A small PostgreSQL: as much of `src/backend/tcop/postgres.c` as the order of answers depends on, and a handful of
//! statements. It plays the server behind the session, and, with what policy refuses as errors of its own, the server that
//! a client would have met without one: whatever is sent, both have to give the client the same.

use super::message;
use std::collections::{BTreeMap, VecDeque};

/// What the server makes of a text before it runs any of it.
pub(super) type Verdict = fn(&str) -> Result<(), &'static str>;

/// Where the transaction stands: the byte in ReadyForQuery.
const IDLE: u8 = b'I';
const OPEN: u8 = b'T';
const FAILED: u8 = b'E';

#[derive(Debug)]
pub(super) struct Postgres {
    verdict: Verdict,
    status: u8,
    /// Until the next Sync everything is read and thrown away.
    skipping: bool,
    copying: Option<Copying>,
    statements: BTreeMap<String, String>,
    portals: BTreeMap<String, Portal>,
    /// Made, and not sent yet.
    buffered: Vec<Vec<u8>>,
    /// Sent.
    pub(super) sent: VecDeque<Vec<u8>>,
    /// Every text that has been run.
    pub(super) ran: Vec<String>,
}

#[derive(Debug, Clone)]
struct Portal {
    text: String,
    /// Rows that have been taken from it.
    taken: u32,
    done: bool,
}

/// COPY FROM STDIN, and what comes behind it in a simple query.
#[derive(Debug)]
struct Copying {
    rows: u32,
    simple: bool,
    rest: VecDeque<String>,
}

impl Postgres {
    pub(super) fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            status: IDLE,
            skipping: false,
            copying: None,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            buffered: Vec::new(),
            sent: VecDeque::new(),
            ran: Vec::new(),
        }
    }

    /// Reads one message. `false` where the server would end the connection.
    pub(super) fn hear(&mut self, tag: u8, body: &[u8]) -> bool {
        if self.copying.is_some() {
            return self.during_copy(tag, body);
        }
        match tag {
            // Left over from a COPY that has failed.
            b'd' | b'c' | b'f' => {}
            b'S' => self.sync(),
            _ if self.skipping => {}
            b'Q' => self.query(body),
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' => self.describe(body),
            b'E' => self.execute(body),
            b'C' => self.close(body),
            b'H' => self.flush(),
            b'F' => {
                // A Query stands for it upstream where the server has to fail.
                self.statements.remove("");
                self.fail("0A000");
                self.ready();
            }
            _ => return false,
        }
        true
    }

    fn say(&mut self, tag: u8, body: &[u8]) {
        self.buffered.push(message(tag, body));
    }

    fn flush(&mut self) {
        self.sent.extend(self.buffered.drain(..));
    }

    fn ready(&mut self) {
        if self.status == IDLE {
            self.portals.clear();
        }
        self.say(b'Z', &[self.status]);
        self.flush();
    }

    fn error(&mut self, code: &str) {
        self.say(b'E', &[b"SERROR\0VERROR\0C", code.as_bytes(), b"\0Mthe server's own\0\0"].concat());
        // Errors are sent at once (`send_message_to_frontend`).
        self.flush();
        if self.status == OPEN {
            self.status = FAILED;
        }
    }

    /// An error outside the extended protocol.
    fn fail(&mut self, code: &str) {
        self.error(code);
    }

    /// An error within a batch.
    fn skip(&mut self, code: &str) {
        self.error(code);
        self.skipping = true;
    }

    fn sync(&mut self) {
        self.skipping = false;
        self.ready();
    }

    fn query(&mut self, body: &[u8]) {
        self.statements.remove("");
        let Some(text) = utf8(body) else {
            self.fail("22021");
            return self.ready();
        };
        if let Err(code) = (self.verdict)(&text) {
            self.fail(code);
            return self.ready();
        }
        let rest: VecDeque<String> = statements(&text);
        if rest.is_empty() {
            self.say(b'I', b"");
            return self.ready();
        }
        self.run_simple(rest);
    }

    fn run_simple(&mut self, mut rest: VecDeque<String>) {
        while let Some(statement) = rest.pop_front() {
            self.ran.push(statement.clone());
            match self.run(&statement, None, true) {
                Ran::Done => {}
                Ran::Failed(code) => {
                    self.fail(code);
                    break;
                }
                Ran::Copies => {
                    self.copying = Some(Copying { rows: 0, simple: true, rest });
                    return;
                }
            }
        }
        self.ready();
    }

    fn parse(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0);
        let (name, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = String::from_utf8_lossy(name).into_owned();
        let Ok(text) = std::str::from_utf8(text) else { return self.skip("22021") };
        if let Err(code) = (self.verdict)(text) {
            return self.skip(code);
        }
        let statement = statements(text).pop_front().unwrap_or_default();
        if self.status == FAILED && !statement.is_empty() && !ends_transaction(&statement) {
            return self.skip("25P02");
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return self.skip("42P05");
        }
        self.statements.insert(name, statement);
        self.say(b'1', b"");
    }

    fn bind(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let (portal, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(text) = self.statements.get(&name).cloned() else { return self.skip("26000") };
        if self.status == FAILED && !ends_transaction(&text) {
            return self.skip("25P02");
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return self.skip("42P03");
        }
        self.portals.insert(portal, Portal { text, taken: 0, done: false });
        self.say(b'2', b"");
    }

    fn describe(&mut self, body: &[u8]) {
        let (kind, name) = target(body);
        let text = match kind {
            b'S' => match self.statements.get(&name) {
                Some(text) => text.clone(),
                None => return self.skip("26000"),
            },
            _ => match self.portals.get(&name) {
                Some(portal) => portal.text.clone(),
                None => return self.skip("34000"),
            },
        };
        if self.status == FAILED && text.starts_with("select") {
            return self.skip("25P02");
        }
        if kind == b'S' {
            self.say(b't', &[0, 0]);
        }
        if text.starts_with("select") { self.shape() } else { self.say(b'n', b"") }
    }

    fn execute(&mut self, body: &[u8]) {
        let name = utf8(body).unwrap_or_default();
        let rows = body.last_chunk::<4>().map_or(0, |rows| u32::from_be_bytes(*rows));
        let Some(portal) = self.portals.get(&name).cloned() else { return self.skip("34000") };
        if portal.text.is_empty() {
            return self.say(b'I', b"");
        }
        let text = portal.text.clone();
        self.ran.push(text.clone());
        match self.run(&text, Some((name, portal, rows)), false) {
            Ran::Done => {}
            Ran::Failed(code) => self.skip(code),
            Ran::Copies => self.copying = Some(Copying { rows: 0, simple: false, rest: VecDeque::new() }),
        }
    }

    fn close(&mut self, body: &[u8]) {
        let (kind, name) = target(body);
        if kind == b'S' {
            drop(self.statements.remove(&name))
        } else {
            drop(self.portals.remove(&name))
        }
        self.say(b'3', b"");
    }

    fn shape(&mut self) {
        self.say(b'T', &[b"\0\x01n\0".as_slice(), &[0; 6], &[0, 0, 0, 23], &[0; 8]].concat());
    }

    fn row(&mut self, number: u32) {
        let text = number.to_string();
        let length = u32::try_from(text.len()).unwrap_or_default();
        self.say(b'D', &[&[0, 1], &length.to_be_bytes()[..], text.as_bytes()].concat());
    }

    fn complete(&mut self, tag: &str) {
        self.say(b'C', &[tag.as_bytes(), b"\0"].concat());
    }

    /// Runs one statement. Portals of `select` have as many rows as their number has digits.
    fn run(&mut self, text: &str, portal: Option<(String, Portal, u32)>, simple: bool) -> Ran {
        if self.status == FAILED && !ends_transaction(text) {
            return Ran::Failed("25P02");
        }
        let number: u32 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        if portal.as_ref().is_some_and(|(_, portal, _)| portal.done && !text.starts_with("select")) {
            return Ran::Failed("55000");
        }
        match text.split(' ').next().unwrap_or_default() {
            "select" if number % 7 == 3 => return Ran::Failed("22012"),
            "select" => {
                if simple {
                    self.shape();
                }
                let all = text.split(' ').nth(1).map_or(0, str::len).try_into().unwrap_or(0);
                let (taken, most) = match &portal {
                    Some((_, portal, rows)) => (portal.taken, if *rows == 0 { u32::MAX } else { *rows }),
                    None => (0, u32::MAX),
                };
                let now = most.min(all - taken);
                for _ in 0..now {
                    self.row(number);
                }
                if number % 7 == 4 && taken + now == all {
                    return Ran::Failed("22003");
                }
                if let Some((name, ..)) = &portal
                    && let Some(kept) = self.portals.get_mut(name)
                {
                    kept.taken = taken + now;
                }
                // As many as were asked for: whether there are more is not looked at (`PortalRunSelect`).
                if most == now {
                    self.say(b's', b"")
                } else {
                    self.complete(&format!("SELECT {now}"))
                }
                return Ran::Done;
            }
            "begin" => {
                if self.status == IDLE {
                    self.status = OPEN;
                }
                self.complete("BEGIN");
            }
            "commit" => {
                self.complete(if self.status == FAILED { "ROLLBACK" } else { "COMMIT" });
                self.status = IDLE;
                self.portals.clear();
            }
            "rollback" => {
                self.complete("ROLLBACK");
                self.status = IDLE;
                self.portals.clear();
            }
            "insert" if text.contains("(13)") => return Ran::Failed("23505"),
            "insert" => self.complete("INSERT 0 1"),
            "set" | "SET" => self.complete("SET"),
            "copy" if text.ends_with("stdin") => {
                self.say(b'G', &[0, 0, 0]);
                self.flush();
                return Ran::Copies;
            }
            "copy" => {
                self.say(b'H', &[0, 0, 0]);
                for line in [b"1\n", b"2\n"] {
                    self.say(b'd', line);
                }
                self.say(b'c', b"");
                self.complete("COPY 2");
            }
            other => panic!("the server was sent `{other}`"),
        }
        if let Some((name, ..)) = portal
            && let Some(kept) = self.portals.get_mut(&name)
        {
            kept.done = true;
        }
        Ran::Done
    }

    fn during_copy(&mut self, tag: u8, body: &[u8]) -> bool {
        let Some(copying) = &mut self.copying else { return true };
        let failed = match tag {
            b'd' if body.starts_with(b"bad") => Some("22P02"),
            b'd' => {
                copying.rows += 1;
                return true;
            }
            b'f' => Some("57014"),
            b'c' => None,
            // Ignored while data is awaited.
            b'S' | b'H' => return true,
            _ => return false,
        };
        let Some(Copying { rows, simple, rest }) = self.copying.take() else { return true };
        match (failed, simple) {
            (Some(code), true) => {
                self.fail(code);
                self.ready();
            }
            (Some(code), false) => self.skip(code),
            (None, true) => {
                self.complete(&format!("COPY {rows}"));
                self.run_simple(rest);
            }
            (None, false) => self.complete(&format!("COPY {rows}")),
        }
        true
    }
}

enum Ran {
    Done,
    Failed(&'static str),
    Copies,
}

fn utf8(body: &[u8]) -> Option<String> {
    let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).ok().map(str::to_owned)
}

fn target(body: &[u8]) -> (u8, String) {
    let (kind, name) = body.split_first().unwrap_or((&0, &[]));
    (*kind, utf8(name).unwrap_or_default())
}

fn statements(text: &str) -> VecDeque<String> {
    text.split(';').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn ends_transaction(text: &str) -> bool {
    matches!(text, "commit" | "rollback")
}
