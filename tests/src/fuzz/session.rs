//! The conversation: a client that says anything in any order, a server that answers as PostgreSQL does, or anything.
//!
//! What has to hold: nothing is run that policy does not permit, no text reaches the server that was not judged, and with a
//! server that keeps to the protocol the client hears what it would have heard from a server that refuses by itself what
//! policy refuses, message by message, however the bytes of the two sides come to interleave.

use super::postgres::Postgres;
use super::{Choices, message};
use bytes::BytesMut;
use interceptor::approval::Desk;
use interceptor::audit::{Fsync, Settings, Subject, Trail};
use interceptor::identity::Identity;
use interceptor::mask::Key;
use interceptor::policy::{Circumstances, Mode, PolicySet, Principal, Totals};
use interceptor::session::{Bench, Budgets, Ending, Output, Session, Shared, Step};
use interceptor::sql::{Catalog, CatalogBuilder, Readings, RelationKind};
use interceptor::wire::{Chunk, HEADER, Header, Skipped, Splitter};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

const POLICIES: &str = r#"
@id("read") permit (principal, action in [PG::Action::"read", PG::Action::"copy_out"], resource in PG::Relation::"shop.public.orders");
@id("write") permit (principal, action in [PG::Action::"insert", PG::Action::"copy_in"], resource in PG::Relation::"shop.public.orders");
"#;

/// What sessions of this process have in common.
struct World {
    policies: PolicySet,
    catalog: Catalog,
    readings: Readings,
    shared: Shared,
    principal: Principal,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut builder = CatalogBuilder::new("shop", 1, "role", &["public".to_owned()]);
    builder.schema("public");
    for (oid, name) in [(1, "orders"), (2, "secret")] {
        builder.relation(oid, "public", name, RelationKind::Table, false);
        builder.column(oid, 1, "id", ("integer", 23));
    }
    // The record of a run is as long as the run: where there is memory for it, it goes there.
    let dir = format!("interceptor-fuzz-{}-{:x}", std::process::id(), rand::random::<u64>());
    let dir = std::env::temp_dir().join(dir);
    let trail = Trail::open(&Settings { fsync: Fsync::Os, segment_megabytes: 4096, ..Settings::of(dir.clone()) });
    // Its files live as long as they are open, and nobody has to take them away.
    std::fs::remove_dir_all(dir).expect("it was made just now");
    let identity = Identity {
        subject: "agent:fuzz".into(),
        issuer: "https://issuer".into(),
        expires: u64::MAX,
        ..Identity::default()
    };
    World {
        policies: PolicySet::from_texts(&[("fuzz.cedar".into(), POLICIES.to_owned())]).expect("they are policies"),
        catalog: builder.build(),
        readings: Readings::default(),
        shared: Shared {
            trail: Arc::new(trail.expect("the record can be written")),
            desk: Arc::new(Desk::default()),
            budgets: Arc::new(Budgets::default()),
            mask_key: Arc::new(Key::ephemeral()),
        },
        principal: Principal::new(Arc::new(identity)),
    }
});

static SESSIONS: AtomicU64 = AtomicU64::new(0);
static MESSAGES: AtomicU64 = AtomicU64::new(0);
static REFUSALS: AtomicU64 = AtomicU64::new(0);
static HOSTILE: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Counts: a fuzzer whose sessions all end at the first message proves little.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Sessions.
    pub sessions: u64,
    /// With a server that says anything.
    pub hostile: u64,
    /// Ended by the session itself, because a side broke the protocol.
    pub ended: u64,
    /// Messages of clients.
    pub messages: u64,
    /// Errors that clients were told.
    pub refusals: u64,
}

pub(super) fn summary() -> Summary {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Summary {
        sessions: count(&SESSIONS),
        hostile: count(&HOSTILE),
        ended: count(&ENDED),
        messages: count(&MESSAGES),
        refusals: count(&REFUSALS),
    }
}

/// What a server says to a text, by itself and for policy. Whoever asks without a judge before it gets refusals from here;
/// whoever asks behind one must never see a text that gets one.
fn verdict(text: &str) -> Result<(), &'static str> {
    if text == POISON || text.contains("selec ") {
        return Err("42601");
    }
    for statement in text.split(';') {
        if ["secret", "drop"].iter().any(|word| statement.contains(word)) {
            return Err("42501");
        }
        if statement.contains("nowhere") {
            return Err("42P01");
        }
    }
    Ok(())
}

/// The text that stands upstream in the place of what was refused.
const POISON: &str = "<refused by interceptor>";

/// The server behind the session: a text that should have been refused must not arrive.
fn behind(text: &str) -> Result<(), &'static str> {
    let said = verdict(text);
    assert!(said.is_ok() || text == POISON, "the server was sent `{text}`");
    said
}

/// The first byte says how the two sides interleave and whether the server keeps to the protocol, the others what is said.
pub(super) fn session(data: &[u8]) {
    let mut choices = Choices { bytes: data };
    let (manner, mut order) = (choices.next(), u64::from(choices.next()) | 1);
    let hostile = manner & 0x80 != 0;
    let (mut client, mut copies) = (VecDeque::new(), false);
    while !choices.is_over() && client.len() < 200 {
        let message = say(&mut choices);
        match message.first() {
            // A Sync among COPY data counts if the server has failed by then and is ignored if not, which the session cannot
            // know: it takes it for ignored (docs/regression.md). So data end before a Sync here.
            Some(b'S') if std::mem::take(&mut copies) => client.push_back(self::message(b'c', b"")),
            Some(b'c' | b'f') => copies = false,
            Some(b'E' | b'Q') => copies = true,
            Some(_) | None => {}
        }
        client.push_back(message);
    }
    // Whatever has been begun ends, so that every answer is owed.
    client.extend([message(b'c', b""), message(b'S', b""), message(b'S', b"")]);
    SESSIONS.fetch_add(1, Ordering::Relaxed);
    HOSTILE.fetch_add(u64::from(hostile), Ordering::Relaxed);
    MESSAGES.fetch_add(client.len() as u64, Ordering::Relaxed);

    let said: Vec<Vec<u8>> = client.iter().cloned().collect();
    let mut stage = Stage::new();
    let ended = loop {
        // A cheap generator is enough: which of the two sides is heard next.
        order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let turn = (order >> 33) as u8;
        let step = match turn % 4 {
            0 | 1 => stage.hear_client(&mut client),
            2 => stage.server_reads(),
            _ => stage.server_speaks(hostile.then_some(turn)),
        };
        match step {
            Err(ending) => break Some(ending),
            Ok(true) => {}
            // That side has nothing to do. When neither has, it is over.
            Ok(false) => {
                let step = stage.server_reads();
                let step = step.and_then(|did| Ok(did || stage.server_speaks(None)?));
                match step.and_then(|did| Ok(did || stage.hear_client(&mut client)?)) {
                    Err(ending) => break Some(ending),
                    Ok(true) => {}
                    Ok(false) => break None,
                }
            }
        }
    };
    ENDED.fetch_add(u64::from(ended.is_some()), Ordering::Relaxed);
    let heard = shown(&stage.downstream);
    REFUSALS.fetch_add(heard.iter().filter(|one| one.starts_with('E')).count() as u64, Ordering::Relaxed);
    for text in &stage.server.ran {
        assert!(verdict(text).is_ok(), "the server has run `{text}`");
    }
    if hostile {
        return;
    }
    assert!(ended.is_some() || client.is_empty(), "the session waits for something that does not come: {heard:?}");
    let mut direct = Postgres::new(verdict);
    for message in &said {
        let (Some(tag), Some(body)) = (message.first(), message.get(HEADER..)) else { continue };
        if *tag == b'X' || !direct.hear(*tag, body) {
            break;
        }
    }
    direct.hear(b'H', b"");
    let expected = shown(&direct.sent.into_iter().flatten().collect::<Vec<_>>());
    match ended {
        None => assert_eq!(heard, expected, "{}", Shown(&said)),
        // Up to there it was the same.
        Some(ending) => {
            assert!(expected.starts_with(&heard), "{ending}\nheard {heard:?}\nnot {expected:?}\n{}", Shown(&said));
        }
    }
}

struct Stage {
    session: Session,
    server: Postgres,
    /// On the way to the server.
    upstream: BytesMut,
    downstream: Vec<u8>,
    /// A message that waits for what the server has yet to answer.
    held: Option<Vec<u8>>,
}

impl Stage {
    fn new() -> Self {
        let around = Circumstances {
            server: "127.0.0.1:5432".into(),
            role: "role".into(),
            claimed_role: String::new(),
            claimed_leaked: false,
            claimed: Vec::new(),
            exe: "/bin/x".into(),
            uid: 0,
            cgroup: "/".into(),
            ancestry: String::new(),
            tls: false,
            now: String::new(),
            in_transaction: false,
            in_flux: false,
            statement_bytes: 0,
            totals: Totals::default(),
            agent_totals: Totals::default(),
        };
        let World { shared, principal, .. } = &*WORLD;
        let subject = Arc::new(Subject::default());
        Self {
            session: Session::new(principal.clone(), subject, shared.clone(), around, Arc::default(), 7),
            server: Postgres::new(behind),
            upstream: BytesMut::new(),
            downstream: Vec::new(),
            held: None,
        }
    }

    /// Hands the session the client's next message; `false` if there is none, or it has to wait.
    fn hear_client(&mut self, client: &mut VecDeque<Vec<u8>>) -> Result<bool, Ending> {
        let Some(message) = self.held.take().or_else(|| client.front().cloned()) else { return Ok(false) };
        let World { policies, catalog, readings, .. } = &*WORLD;
        let now = "2026-01-01T00:00:00Z";
        let bench = Bench { policies, mode: Mode::Enforce, catalog, readings, fresh: true, now, unix: 1 };
        let (mut buffer, mut out) = (BytesMut::from(message.as_slice()), Output::default());
        let chunk = Splitter::default().next(&mut buffer, Session::most_from_client)?;
        let step = match chunk {
            None => panic!("a whole message is in pieces"),
            Some(Chunk::Passing { started, bytes, open, .. }) => {
                self.session.passing(started, &bytes, open, &mut out);
                Step::Done
            }
            Some(Chunk::Skipped(skipped)) => {
                self.session.skipped(&skipped, &mut out)?;
                Step::Done
            }
            Some(Chunk::Whole(frame)) => self.session.frontend(&frame, &bench, &mut out)?,
            Some(Chunk::Beginning(_)) => panic!("no message here is that long"),
        };
        self.take(&out);
        match step {
            Step::Done => drop(client.pop_front()),
            Step::Wait => return Ok(false),
            // The server of this play has none.
            Step::Look => self.session.note_temporary(catalog.temporary_of(CatalogBuilder::default()), catalog),
            Step::Survey => self.session.note_survey(Some(catalog.clone()), catalog),
            Step::Hold | Step::Try | Step::Refresh => {
                panic!("{step:?} where nothing is held and the catalogue is fresh")
            }
        }
        Ok(true)
    }

    fn take(&mut self, out: &Output) {
        self.upstream.extend_from_slice(&out.upstream);
        self.downstream.extend_from_slice(&out.downstream);
        assert!(!out.cancel, "nothing has a limit");
    }

    /// Lets the server read one message; `false` if there is none.
    fn server_reads(&mut self) -> Result<bool, Ending> {
        let Ok(Some(Header { tag, body })) = Header::read(&self.upstream) else { return Ok(false) };
        let message = self.upstream.split_to(HEADER + body);
        assert!(tag != b'F', "function calls are refused");
        if self.server.hear(tag, message.get(HEADER..).unwrap_or_default()) {
            return Ok(true);
        }
        // It awaits COPY data. A client that sends something else before it can know breaks the protocol.
        Err(Ending::Server(format!("unexpected message type `{}` during COPY from stdin", tag.escape_ascii())))
    }

    /// Lets the session hear one message of the server; `false` if there is none. With `instead`, perhaps another.
    fn server_speaks(&mut self, instead: Option<u8>) -> Result<bool, Ending> {
        let Some(mut message) = self.server.sent.pop_front() else { return Ok(false) };
        if let Some(turn) = instead.filter(|turn| turn & 0x30 == 0) {
            message = anything(turn, message);
        }
        let (mut splitter, mut buffer, mut out) =
            (Splitter::default(), BytesMut::from(message.as_slice()), Output::default());
        loop {
            let next = splitter.next(&mut buffer, |tag| self.session.most_from_server(tag));
            match next.map_err(|error| Ending::Server(error.to_string()))? {
                None => break,
                Some(Chunk::Passing { tag, continued, started, bytes, .. }) => {
                    self.session.data(tag, continued, started, &bytes, &mut out)?;
                }
                Some(Chunk::Skipped(Skipped { tag, .. })) => {
                    return Err(Ending::Server(format!("`{}` is too long", tag.escape_ascii())));
                }
                Some(Chunk::Beginning(_)) => return Err(Ending::Server("it binds".to_owned())),
                Some(Chunk::Whole(frame)) => self.session.backend(&frame, &mut out)?,
            }
        }
        self.take(&out);
        Ok(true)
    }
}

/// What a server says that does not keep to the protocol.
fn anything(turn: u8, message: Vec<u8>) -> Vec<u8> {
    const TAGS: &[u8] = b"RKSZCIs123tTnGHcENAvDdW";
    match turn % 5 {
        0 => self::message(TAGS.get(usize::from(turn / 5) % TAGS.len()).copied().unwrap_or(b'Z'), b""),
        1 => self::message(b'Z', &[[b'I', b'T', b'E'][usize::from(turn) % 3]]),
        2 => [message.clone(), message].concat(),
        3 => self::message(b'C', b"SELECT 1\0"),
        _ => self::message(b'E', b"SERROR\0VERROR\0C57014\0Mx\0\0"),
    }
}

/// What a client says next.
fn say(choices: &mut Choices<'_>) -> Vec<u8> {
    const NAMES: [&str; 3] = ["", "a", "b"];
    let c = |text: &str| [text.as_bytes(), b"\0"].concat();
    let kind = choices.next();
    let (number, name) = (choices.next(), NAMES[usize::from(choices.next()) % 3]);
    let text = match number % 16 {
        0 => "begin".to_owned(),
        1 => "commit".to_owned(),
        2 => "rollback".to_owned(),
        3 => format!("select {number} from secret"),
        4 => "drop table orders".to_owned(),
        5 => format!("selec {number}"),
        6 => format!("insert into orders values ({})", number / 16),
        7 => format!("select {number} from orders; select {} from orders", u32::from(number) + 1000),
        8 => format!("select {number} from orders; select 1 from secret"),
        9 => "copy orders from stdin".to_owned(),
        10 => "copy orders to stdout".to_owned(),
        11 => String::new(),
        12 => format!("select {number} from nowhere"),
        _ => format!("select {} from orders", u32::from(number) * 11),
    };
    // Parse takes one statement.
    let alone = text.split(';').next().unwrap_or_default().to_owned();
    match kind % 24 {
        0..=4 => message(b'Q', &c(&text)),
        5..=7 => message(b'P', &[c(name), c(&alone), vec![0, 0]].concat()),
        8..=10 => message(b'B', &[c(NAMES[usize::from(number) % 3]), c(name), vec![0; 6]].concat()),
        11..=13 => message(b'E', &[c(name), vec![0, 0, 0, number % 3]].concat()),
        14 => message(b'D', &[vec![if number % 2 == 0 { b'S' } else { b'P' }], c(name)].concat()),
        15 => message(b'C', &[vec![if number % 2 == 0 { b'S' } else { b'P' }], c(name)].concat()),
        16 | 17 => message(b'S', b""),
        18 => message(b'H', b""),
        19 => message(b'd', if number % 8 == 0 { b"bad\n" } else { b"1\n" }),
        20 => message(b'c', b""),
        21 => message(b'f', &c("enough")),
        22 => match number % 8 {
            0 => message(b'F', &[0; 10]),
            1 => message(b'Q', b"select \xff\0"),
            2 => message(b'P', b"a\0select \xff\0\0\0"),
            // What ends a session is rare, or nothing else would be tried.
            3 if name == "b" => message(number, name.as_bytes()),
            4 if name == "b" => message(b'Q', b"select 1"),
            5 if name == "b" => message(b'X', b""),
            _ => message(b'S', b""),
        },
        _ => message(b'S', b""),
    }
}

/// Messages by their type, with what tells one answer from another: the row, the tag, the code, the status.
fn shown(bytes: &[u8]) -> Vec<String> {
    let (mut rest, mut all) = (bytes, Vec::new());
    while let Ok(Some(Header { tag, body })) = Header::read(rest) {
        let Some((message, behind)) = rest.split_at_checked(HEADER + body) else { break };
        rest = behind;
        let body = message.get(HEADER..).unwrap_or_default();
        let what = match tag {
            b'E' => body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C")).unwrap_or_default(),
            b'C' | b'D' | b'Z' | b'd' => body,
            _ => b"",
        };
        all.push(format!("{} {}", tag as char, what.escape_ascii()));
    }
    all
}

/// What a client has said, to be read by people.
struct Shown<'a>(&'a [Vec<u8>]);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|message| {
            let (tag, body) = (message.first().copied().unwrap_or_default(), message.get(HEADER..).unwrap_or_default());
            writeln!(formatter, "> {} {}", tag as char, body.escape_ascii())
        })
    }
}
