//! Conversations, written as what either side says and what comes out.

use super::*;
use crate::audit::{Fsync, Settings, verify};
use crate::identity::Identity;
use crate::policy::{Mode, PolicySet};
use crate::scratch::Scratch;
use crate::sql::{Catalog, CatalogBuilder, Function, Readings, RelationKind};
use crate::wire::{Chunk, HEADER, Header, Splitter};

mod held;
mod own;

const POLICIES: &str = r#"
@id("read") permit (principal, action in [PG::Action::"read", PG::Action::"copy_out"], resource in PG::Schema::"shop.public");
@id("write") permit (principal, action in [PG::Action::"insert", PG::Action::"copy_in"], resource == PG::Relation::"shop.public.orders");
@id("columns") permit (principal, action == PG::Action::"insert", resource in PG::Relation::"shop.public.orders");
@id("no-ddl") @reason("no") @hint("ask") forbid (principal, action in [PG::Action::"ddl"], resource);
"#;

fn catalog() -> Catalog {
    let mut builder = CatalogBuilder::new("shop", 1, "r", &["public".to_owned()]);
    builder.schema("public");
    builder.relation(1, "public", "orders", RelationKind::Table, false);
    builder.column(1, 1, "id", ("bigint", 20));
    builder.type_name("pg_catalog", "int4");
    builder.function(Function {
        schema: "pg_catalog".into(),
        name: "now".into(),
        volatility: "stable".into(),
        security_definer: false,
        language: "internal".into(),
        width: Some(1),
        output: None,
    });
    builder.build()
}

/// A session with a scripted client and server.
struct Stage {
    session: Session,
    policies: PolicySet,
    catalog: Catalog,
    readings: Readings,
    dir: Scratch,
    unix: u64,
    /// The temporary relations that the server has, and what came of the last message where it was not done.
    own: Vec<String>,
    undone: Vec<&'static str>,
}

impl Stage {
    fn new() -> Self {
        Self::under(POLICIES)
    }

    fn under(policies: &str) -> Self {
        let dir = Scratch::about("session");
        let trail = Arc::new(Trail::open(&Settings { fsync: Fsync::Os, ..Settings::of(dir.to_owned()) }).unwrap());
        let identity = Identity {
            subject: "agent:a".into(),
            issuer: "https://issuer".into(),
            groups: vec![],
            claims: Default::default(),
            on_behalf_of: None,
            on_behalf_of_groups: Vec::new(),
            delegation: Vec::new(),
            expires: 1000,
        };
        let around = Circumstances {
            server: "127.0.0.1:5432".into(),
            role: "r".into(),
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
        Self {
            session: Session::new(
                Principal::new(Arc::new(identity)),
                Arc::new(Subject::default()),
                Shared { trail, desk: Arc::default(), budgets: Arc::default(), mask_key: Arc::new(Key::ephemeral()) },
                around,
                Arc::default(),
                7,
            ),
            policies: PolicySet::from_texts(&[("x.cedar".into(), policies.to_owned())]).unwrap(),
            catalog: catalog(),
            readings: Readings::default(),
            dir,
            unix: 0,
            own: Vec::new(),
            undone: Vec::new(),
        }
    }

    /// Lets the client (`> `) and the server (`< `) speak, a message a line; gives back what came out, in the same form:
    /// `>` for what the server gets, `<` for what the client gets. `o names` says what temporary relations the server has; `?` is a
    /// question for them, `wait` a message that has to come again.
    fn play(&mut self, script: &str) -> String {
        let mut said = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (who, message) = line.split_at(2);
            let mut out = Output::default();
            let result = match who {
                "> " => self.client(&encode_client(message), &mut out),
                "< " => self.server(&encode_server(message), &mut out),
                "o " => {
                    self.own = message.split_whitespace().map(str::to_owned).collect();
                    Ok(())
                }
                _ => panic!("{line}"),
            };
            said.extend(self.undone.drain(..).map(str::to_owned));
            said.extend(show(&out.upstream, true).into_iter().map(|text| format!("> {text}")));
            said.extend(show(&out.downstream, false).into_iter().map(|text| format!("< {text}")));
            if let Err(ending) = result {
                said.push(format!("end: {ending}"));
                break;
            }
        }
        said.join("\n")
    }

    fn client(&mut self, bytes: &[u8], out: &mut Output) -> Result<(), Ending> {
        let bench = Bench {
            policies: &self.policies,
            mode: Mode::Enforce,
            catalog: &self.catalog,
            readings: &self.readings,
            fresh: true,
            now: "2026-01-01T00:00:00Z",
            unix: self.unix,
        };
        for chunk in chunks(bytes, Session::most_from_client) {
            match chunk {
                Chunk::Passing { started, bytes, open, .. } => self.session.passing(started, &bytes, open, out),
                Chunk::Skipped(skipped) => self.session.skipped(&skipped, out)?,
                Chunk::Whole(frame) | Chunk::Beginning(frame) => {
                    let mut step = self.session.frontend(&frame, &bench, out)?;
                    if step == Step::Look {
                        self.undone.push("?");
                        self.session.note_temporary(own::temporary(&self.own, &self.catalog), &self.catalog);
                        step = self.session.frontend(&frame, &bench, out)?;
                    }
                    if step == Step::Survey {
                        self.undone.push("??");
                        self.session.note_survey(Some(self.catalog.clone()), &self.catalog);
                        step = self.session.frontend(&frame, &bench, out)?;
                    }
                    match step {
                        Step::Wait => self.undone.push("wait"),
                        step => assert_eq!(step, Step::Done),
                    }
                }
            }
        }
        // As whoever sends this has to.
        if !out.upstream.is_empty() {
            self.session.trail.flush().inspect_err(|_| out.upstream.clear())?;
        }
        Ok(())
    }

    fn server(&mut self, bytes: &[u8], out: &mut Output) -> Result<(), Ending> {
        for chunk in chunks(bytes, |tag| self.session.most_from_server(tag)) {
            match chunk {
                Chunk::Passing { tag, continued, started, bytes, .. } => {
                    self.session.data(tag, continued, started, &bytes, out)?;
                }
                Chunk::Beginning(_) => panic!("a server binds nothing"),
                Chunk::Skipped(skipped) => panic!("{skipped:?} is too long"),
                Chunk::Whole(frame) => self.session.backend(&frame, out)?,
            }
        }
        Ok(())
    }

    /// The decisions and outcomes on record.
    fn record(self) -> String {
        let Self { session, dir, .. } = self;
        drop(session);
        assert_eq!(verify(&dir).unwrap().findings, []);
        let records: Vec<_> = crate::audit::read(&dir).unwrap().map(Result::unwrap).collect();
        let line = |record: &crate::audit::Record| match &record.outcome {
            None => format!("{}: {:?} {}", record.seq, record.decision.unwrap(), record.statement.as_deref().unwrap()),
            Some(outcome) => {
                format!("{}: {:?} {:?} {}", outcome.statement_seq, outcome.status, outcome.sqlstate, outcome.rows)
            }
        };
        records.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn chunks(bytes: &[u8], mut most: impl FnMut(u8) -> Option<usize>) -> Vec<Chunk> {
    let (mut splitter, mut buffer, mut chunks) = (Splitter::default(), BytesMut::from(bytes), Vec::new());
    while let Some(chunk) = splitter.next(&mut buffer, &mut most).unwrap() {
        chunks.push(chunk);
    }
    chunks
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    [[tag].as_slice(), &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// `Q text`, `P name text`, `B portal statement`, `E portal`, `D S name`, `C S name`, `S`, `d data`...; `_` is no name.
fn encode_client(message: &str) -> Vec<u8> {
    let (tag, rest) = message.split_once(' ').unwrap_or((message, ""));
    let word = |at: usize| rest.split(' ').nth(at).unwrap_or("").replace('_', "");
    let c = |text: &str| [text.as_bytes(), b"\0"].concat();
    match tag {
        "Q" => frame(b'Q', &c(rest)),
        "P" => {
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            frame(b'P', &[c(&name.replace('_', "")), c(text), vec![0, 0]].concat())
        }
        "B" => frame(b'B', &[c(&word(0)), c(&word(1)), vec![0; 6]].concat()),
        "E" => frame(b'E', &[c(&word(0)), vec![0; 4]].concat()),
        "D" | "C" => frame(tag.as_bytes()[0], &[word(0).as_bytes().to_vec(), c(&word(1))].concat()),
        "d" => frame(b'd', rest.as_bytes()),
        "f" => frame(b'f', &c(rest)),
        "F" => frame(b'F', &[0; 10]),
        "p" | "S" | "H" | "X" | "c" => frame(tag.as_bytes()[0], rest.as_bytes()),
        "bad" => frame(b'Q', b"\xff\0"),
        other => panic!("{other}"),
    }
}

/// `Z I`, `C tag`, `E code`, `D value`, `1`, `T`, ...
fn encode_server(message: &str) -> Vec<u8> {
    let (tag, rest) = message.split_once(' ').unwrap_or((message, ""));
    match tag {
        "Z" => frame(b'Z', rest.as_bytes()),
        "C" => frame(b'C', &[rest.as_bytes(), b"\0"].concat()),
        "E" => frame(b'E', &[b"SERROR\0VERROR\0C", rest.as_bytes(), b"\0Mserver\0\0"].concat()),
        "FATAL" => frame(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0"),
        "S" => {
            let (name, value) = rest.split_once(' ').unwrap();
            frame(b'S', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat())
        }
        "T" => frame(b'T', &[b"\0\x01c\0".as_slice(), &[0; 18]].concat()),
        "D" => frame(b'D', &[&[0, 1], &(rest.len() as u32).to_be_bytes()[..], rest.as_bytes()].concat()),
        "D2" => frame(b'D', &[&[0, 2], [255; 8].as_slice()].concat()),
        "d" => frame(b'd', rest.as_bytes()),
        "G" | "H" => frame(tag.as_bytes()[0], &[0, 0, 0]),
        "1" | "2" | "3" | "n" | "s" | "I" | "c" | "t" | "K" | "W" => frame(tag.as_bytes()[0], rest.as_bytes()),
        other => panic!("{other}"),
    }
}

fn show(bytes: &[u8], from_client: bool) -> Vec<String> {
    let mut rest = bytes;
    let mut said = Vec::new();
    while let Some(Header { tag, body }) = Header::read(rest).unwrap() {
        let text = &rest[HEADER..HEADER + body];
        rest = &rest[HEADER + body..];
        let tag = tag as char;
        said.push(match tag {
            'E' if !from_client => {
                let fields: Vec<_> = text.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                let get = |letter| fields.iter().find_map(|field| field.strip_prefix(letter)).unwrap_or_default();
                format!("E {} {}", get('C'), get('M'))
            }
            'T' if !from_client => "T".to_owned(),
            'D' if !from_client => format!("D {}", String::from_utf8_lossy(&text[6..])),
            _ => format!("{tag} {}", String::from_utf8_lossy(text).replace('\0', " "))
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        });
    }
    said
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let mut stage = Stage::new();
    let said = stage.play(script);
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(said, expected.join("\n"));
}

#[test]
fn what_is_permitted_passes_as_it_is() {
    check(
        "> Q select id from orders
         < T
         < D 1
         < C SELECT 1
         < Z I",
        "> Q select id from orders
         < T
         < D 1
         < C SELECT 1
         < Z I",
    );
    check("> Q \n< I\n< Z I", "> Q\n< I\n< Z I");
}

#[test]
fn a_refusal_outside_a_transaction_never_reaches_the_server() {
    check("> Q drop table orders", "< E 42501 policy forbids to drop on public.orders\n< Z I");
    check("> Q selec", "< E 42601 syntax error at or near \"selec\"\n< Z I");
    check("> Q select 1; drop table orders", "< E 42501 policy forbids to drop on public.orders\n< Z I");
    check("> Q select * from nowhere", "< E 42P01 relation \"nowhere\" does not exist\n< Z I");
    check("> bad", "< E 22021 invalid byte sequence for encoding \"UTF8\"\n< Z I");
    check("> F", "< E 0A000 function calls without SQL are not supported\n< Z I");
    check(
        "> P _ drop table orders
         > B _ _
         > D P _
         > E _
         > S
         > Q select 1
         < C SELECT 1
         < Z I",
        "< E 42501 policy forbids to drop on public.orders
         < Z I
         > Q select 1
         < C SELECT 1
         < Z I",
    );
}

#[test]
fn a_refusal_within_a_transaction_fails_it_on_both_sides() {
    check(
        "> Q begin
         < C BEGIN
         < Z T
         > Q drop table orders
         < E 42601
         < Z E
         > Q commit
         < C ROLLBACK
         < Z I",
        "> Q begin
         < C BEGIN
         < Z T
         > Q <refused by interceptor>
         < E 42501 policy forbids to drop on public.orders
         < Z E
         > Q commit
         < C ROLLBACK
         < Z I",
    );
}

#[test]
fn a_refusal_in_a_pipeline_stands_in_its_place() {
    check(
        "> P a select 1
         > B _ a
         > E _
         > P b drop table orders
         > B _ b
         > E _
         > S
         > P c select 2
         > S
         < 1
         < 2
         < C SELECT 1
         < E 42601
         < Z I
         < 1
         < Z I",
        "> P a select 1
         > B a
         > E
         > P interceptor refused <refused by interceptor>
         > S
         > P c select 2
         > S
         < 1
         < 2
         < C SELECT 1
         < E 42501 policy forbids to drop on public.orders
         < Z I
         < 1
         < Z I",
    );
}

#[test]
fn an_error_of_the_server_skips_to_sync_and_hides_the_refusals_behind_it() {
    check(
        "> P a select 1
         > B _ a
         > E _
         > P b drop table orders
         < 1
         < 2
         < E 22012
         > P c select 2
         > Q select 3
         > S
         < Z I
         > Q select 4",
        "> P a select 1
         > B a
         > E
         > P interceptor refused <refused by interceptor>
         < 1
         < 2
         < E 22012 server
         > S
         < Z I
         > Q select 4",
    );
}

#[test]
fn names_are_followed_in_sql_and_protocol() {
    check("> B _ nobody\n> E _\n> S", "< E 26000 prepared statement \"nobody\" does not exist\n< Z I");
    check("> E nobody\n> S", "< E 34000 portal \"nobody\" does not exist\n< Z I");
    check("> Q execute p", "< E 26000 prepared statement \"p\" does not exist\n< Z I");
    check(
        "> Q prepare p as select id from orders
         < C PREPARE
         < Z I
         > B _ p
         > E _
         > S",
        "> Q prepare p as select id from orders
         < C PREPARE
         < Z I
         > B p
         > E
         > S",
    );
    check(
        "> P p select id from orders
         > S
         < 1
         < Z I
         > Q execute p",
        "> P p select id from orders
         > S
         < 1
         < Z I
         > Q execute p",
    );
    check(
        "> P p select id from orders
         > S
         < 1
         < Z I
         > Q deallocate p
         < C DEALLOCATE
         < Z I
         > Q execute p",
        "> P p select id from orders
         > S
         < 1
         < Z I
         > Q deallocate p
         < C DEALLOCATE
         < Z I
         < E 26000 prepared statement \"p\" does not exist
         < Z I",
    );
    // The Parse fails: what stood under the name before is what runs.
    check(
        "> P p select id from orders
         > S
         < 1
         < Z I
         > P p select 1
         > S
         < E 42P05
         < Z I
         > B _ p",
        "> P p select id from orders
         > S
         < 1
         < Z I
         > P p select 1
         > S
         < E 42P05 server
         < Z I
         > B p",
    );
}

#[test]
fn copy_in() {
    check(
        "> Q copy orders from stdin
         < G
         > d 1
         > d 2
         > c
         > d late
         < C COPY 2
         < Z I
         > d later",
        "> Q copy orders from stdin
         < G
         > d 1
         > d 2
         > c
         < C COPY 2
         < Z I",
    );
    check(
        "> Q copy orders from stdin\n< G\n> Q select 1",
        "> Q copy orders from stdin\n< G\nend: protocol violation: unexpected message during COPY from the client",
    );
    check(
        "> Q copy orders from stdin
         < G
         > d x
         < E 22P02
         > d y
         > c
         < Z I
         > Q select 1",
        "> Q copy orders from stdin
         < G
         > d x
         < E 22P02 server
         < Z I
         > Q select 1",
    );
    // Sync is sent before the server asks for data: it reads it as part of the data and ignores it.
    check(
        "> P _ copy orders from stdin
         > B _ _
         > E _
         > S
         < 1
         < 2
         < G
         > d x
         > c
         > S
         < C COPY 1
         < Z I",
        "> P copy orders from stdin
         > B
         > E
         > S
         < 1
         < 2
         < G
         > d x
         > c
         > S
         < C COPY 1
         < Z I",
    );
    // All of it at once.
    check(
        "> P _ copy orders from stdin
         > B _ _
         > E _
         > d x
         > c
         > S
         < 1
         < 2
         < G
         < C COPY 1
         < Z I
         > Q select 1",
        "> P copy orders from stdin
         > B
         > E
         > d x
         > c
         > S
         < 1
         < 2
         < G
         < C COPY 1
         < Z I
         > Q select 1",
    );
}

#[test]
fn a_server_that_says_what_nobody_asked_for_ends_the_session() {
    for (script, expected) in [
        ("< Z I", "message `Z` that nobody asked for"),
        ("< D x", "rows in `D` that nobody asked for"),
        ("< C SELECT 1", "message `C` that nobody asked for"),
        ("< 1", "message `1` that nobody asked for"),
        ("< G", "message `G` that nobody asked for"),
        ("< E 42601", "message `E` that nobody asked for"),
        ("< K 12345678", "message `K` that nobody asked for"),
        ("< W 1", "malformed message: a message that no server sends here"),
        ("< S client_encoding SJIS", "it reports client_encoding = SJIS"),
        ("< S standard_conforming_strings off", "it reports standard_conforming_strings = off"),
    ] {
        check(script, &format!("end: the database server broke the protocol: {expected}"));
    }
    check(
        "> Q select 1\n< G",
        "> Q select 1\nend: the database server broke the protocol: message `G` that nobody asked for",
    );
    for (rows, expected) in [
        ("< D 1", "rows that were not described"),
        ("< T\n< D2", "malformed message: a row has another number of fields than was described"),
    ] {
        let told = if rows.contains('T') { "< T\n" } else { "" };
        check(
            &format!("> Q select id from orders\n{rows}"),
            &format!("> Q select id from orders\n{told}end: the database server broke the protocol: {expected}"),
        );
    }
    check("< S TimeZone UTC", "< S TimeZone UTC");
    check("< S application_name x", "");
    check("< FATAL", "< E 57P01 bye");
}

/// pgjdbc begins with it; what it calls itself is not what the database is to see.
#[test]
fn a_client_that_says_what_it_is_called_is_answered_as_if_it_mattered() {
    check(
        "> Q SET application_name = 'PostgreSQL JDBC Driver'\n< C SET\n< Z I",
        "> Q SET client_encoding = 'UTF8' /* in place of SET application_name */\n< C SET\n< Z I",
    );
    check(
        "> P s SET application_name = 'x'\n> B p s\n> E p\n> S\n< 1\n< 2\n< C SET\n< Z I",
        "> P s SET client_encoding = 'UTF8' /* in place of SET application_name */\n> B p s\n> E p\n> S\n< 1\n< 2\n< C SET\n< Z I",
    );
    check("> Q SET application_name = 'x'; select 1", "< E 42501 statement cannot be judged\n< Z I");
}

/// A COPY fails at its first line while the client, that does not wait, has gone on: the Sync behind is not among its data.
#[test]
fn a_copy_that_fails_early_takes_no_later_sync_with_it() {
    check(
        "> Q copy orders from stdin\n> d bad\n> Q select 1\n> E _\n> S\n< G\n< E 22P02\n< Z I\n< C SELECT 1\n< Z I\n< E 42601\n< Z I",
        "> Q copy orders from stdin\n> d bad\n> Q select 1\n> P interceptor refused <refused by interceptor>\n> S\n\
         < G\n< E 22P02 server\n< Z I\n< C SELECT 1\n< Z I\n< E 34000 portal \"\" does not exist\n< Z I",
    );
}

/// Of a refusal outside a transaction the server does not hear; the unnamed statement goes with a Query all the same.
#[test]
fn a_refused_query_takes_the_unnamed_statement_with_it() {
    check(
        "> P _ select 1\n> S\n< 1\n< Z I\n> Q drop table orders\n> B _ _\n> S\n> D S _\n> S",
        "> P select 1\n> S\n< 1\n< Z I\n< E 42501 policy forbids to drop on public.orders\n< Z I\n\
         < E 26000 prepared statement \"\" does not exist\n< Z I\n< E 26000 prepared statement \"\" does not exist\n< Z I",
    );
}

/// To whom nothing can be refused names that nobody knows are sent on: the server says whether they exist.
#[test]
fn unknown_names_are_sent_on_where_nothing_can_be_refused() {
    let mut stage = Stage::under("@id(\"all\") permit (principal, action, resource);");
    assert_eq!(
        stage.play("> Q select nothing from nowhere\n< E 42P01\n< Z I\n> Q execute nothing"),
        "> Q select nothing from nowhere\n< E 42P01 server\n< Z I\n< E 26000 prepared statement \"nothing\" does not exist\n< Z I"
    );
    check("> Q select nothing from nowhere", "< E 42P01 relation \"nowhere\" does not exist\n< Z I");
}

#[test]
fn a_client_that_breaks_the_protocol_ends_the_session() {
    check("> p x", "end: protocol violation: a password that nobody asked for");
    check("> S x", "end: protocol violation: malformed message: bytes follow its end");
    check("> X", "end: the client has ended the session");
}

#[test]
fn an_identity_that_has_expired_ends_the_session() {
    let mut stage = Stage::new();
    stage.unix = 999;
    assert_eq!(stage.play("> Q select 1\n< C SELECT 1\n< Z I"), "> Q select 1\n< C SELECT 1\n< Z I");
    stage.unix = 1000;
    assert_eq!(stage.play("> Q select 1"), "end: the identity has expired");
}

#[test]
fn everything_is_on_record_with_its_outcome() {
    let mut stage = Stage::new();
    stage.play(
        "> Q select id from orders; select 2; select 3
         < T
         < D 1
         < D 2
         < C SELECT 2
         < E 22012
         < Z I
         > Q drop table orders
         > Q insert into orders values (1)",
    );
    assert_eq!(
        stage.record(),
        "1: Permit select id from orders\n2: Permit select 2\n3: Permit select 3\n1: Ok None 2\n2: Error Some(\"22012\") 0\n3: Skipped None 0\n\
         7: Deny drop table orders\n7: Denied Some(\"42501\") 0\n9: Permit insert into orders values (1)\n9: Abandoned None 0"
    );
}

#[test]
fn nothing_runs_without_a_record() {
    let mut stage = Stage::new();
    // A folder without its files is a disk that takes nothing: the next record cannot be written.
    stage.session.trail.break_for_test();
    assert_eq!(stage.play("> Q select 1"), "end: the audit record cannot be written");
}

/// Steps that the client has to wait with: the same message is handed in again once the server has answered.
#[test]
fn what_a_name_means_is_settled_before_it_runs() {
    let mut stage = Stage::new();
    stage.play("> P _ select 1\n> S\n< 1\n< Z I\n> P _ insert into orders values (1)\n> S");
    let mut out = Output::default();
    let bench = Bench {
        policies: &stage.policies,
        mode: Mode::Enforce,
        catalog: &stage.catalog,
        readings: &stage.readings,
        fresh: true,
        now: "2026-01-01T00:00:00Z",
        unix: 0,
    };
    let bytes = encode_client("B _ _");
    let Some(Chunk::Whole(bind)) = chunks(&bytes, Session::most_from_client).pop() else { panic!() };
    assert_eq!(stage.session.frontend(&bind, &bench, &mut out).unwrap(), Step::Wait);
    assert!(out.upstream.is_empty());
    stage.play("< 1\n< Z I\n> B _ _\n> E _\n> S\n< 2\n< C INSERT 0 1\n< Z I");
    assert_eq!(stage.record(), "1: Permit insert into orders values (1)\n1: Ok None 0");
}

/// A Bind with a value that nobody would keep, and what follows it.
fn long_bind(statement: &str) -> Vec<u8> {
    let head = [b"\0", statement.as_bytes(), b"\0\0\0\0\x01"].concat();
    let value = vec![b'v'; 65 << 20];
    frame(b'B', &[&head, &(value.len() as u32).to_be_bytes()[..], &value, b"\0\0"].concat())
}

#[test]
fn a_long_value_goes_where_its_bind_goes() {
    let mut stage = Stage::new();
    stage.play("> P s insert into orders values ($1)\n> S\n< 1\n< Z I");
    let bind = long_bind("s");
    let mut out = Output::default();
    stage.client(&bind, &mut out).unwrap();
    assert!(out.upstream == bind, "it goes on as it came");
    stage.play("> E _\n> S\n< 2\n< C INSERT 0 1\n< Z I");
    // Nothing of one that is refused goes on, nor of one behind a refusal.
    for (before, statement) in [("", "t"), ("> P _ drop table orders", "s")] {
        let mut said = stage.play(before);
        let mut out = Output::default();
        stage.client(&long_bind(statement), &mut out).unwrap();
        assert_eq!(out.upstream.len(), 0, "{before}");
        said += &show(&out.downstream, false).join("\n");
        said += &stage.play("> S");
        assert!(said.contains("E ") && said.ends_with("Z I"), "{said}");
    }
    assert_eq!(stage.play("> B _ s\n> S"), "> B s\n> S", "and afterwards all is as it was");

    // Nor is one run whose values have to go on record.
    let mut stage = Stage::under("@id(\"all\") @audit(\"binds\") permit (principal, action, resource);");
    stage.play("> P s insert into orders values ($1)\n> S\n< 1\n< Z I");
    stage.client(&long_bind("s"), &mut Output::default()).unwrap();
    let said = stage.play("< 2\n> E _\n> S\n< E 26000 x\n< Z I");
    assert!(said.contains("E 42501 what the statement's parameters stand for has to be known here"), "{said}");
}

/// Else the server would look for the next message in the middle of the client's data, and find there what nobody has judged.
#[test]
fn a_message_goes_on_whole_with_nothing_of_ours_in_it() {
    const LIMIT: &str = r#"@id("b") @max_affected("3 per 1h") forbid (principal, action in [PG::Action::"write"], resource is PG::Relation);"#;
    let row = frame(b'd', b"1\n2\n3\n");
    let (beginning, rest) = row.split_at(8);
    let copies = "> Q copy orders from stdin\n< G";
    for (policies, before, meanwhile, behind) in [
        ("", copies, "", ""),
        // The COPY ends while the client is still speaking.
        ("", copies, "< E 22P02 x\n< Z I", ""),
        ("", "> P _ copy orders from stdin\n> B _ _\n> E _\n< 1\n< 2\n< G", "< E 22P02 x", ""),
        ("", "> Q copy orders from stdin; select id from orders\n< G", "< E 22P02 x\n< Z I", ""),
        // The transaction is one of ours, which ends with it.
        (LIMIT, "> Q copy orders from stdin\n< C BEGIN\n< Z T\n< G", "< E 22P02 x\n< Z E", "> Q ROLLBACK"),
    ] {
        let mut stage = Stage::under(&format!("{POLICIES}{policies}"));
        stage.play(before);
        let mut out = Output::default();
        stage.session.passing(1, beginning, true, &mut out);
        assert_eq!(&out.upstream[..], beginning, "{before}");
        assert!(stage.session.is_within_message());
        let said = stage.play(meanwhile);
        assert!(!said.contains("> "), "{before}: {said}");
        let mut out = Output::default();
        stage.session.passing(0, rest, false, &mut out);
        assert_eq!(&out.upstream[..rest.len()], rest, "{before}");
        let behind_it = show(&out.upstream[rest.len()..], true).into_iter().map(|text| format!("> {text}"));
        assert_eq!(behind_it.collect::<Vec<_>>().join("\n"), behind, "{before}");
        assert!(!stage.session.is_within_message());
        // What begins afterwards is of no COPY.
        if !meanwhile.is_empty() {
            let mut out = Output::default();
            stage.session.passing(1, beginning, true, &mut out);
            stage.session.passing(0, rest, false, &mut out);
            assert!(out.upstream.is_empty(), "{before}");
        }
    }
}

/// What is dropped is dropped whole, too.
#[test]
fn no_half_of_a_message_goes_on() {
    let mut stage = Stage::new();
    let mut out = Output::default();
    stage.session.passing(1, b"d\0\0\0\x08ab", true, &mut out);
    stage.session.passing(0, b"cd", false, &mut out);
    assert!(out.upstream.is_empty() && !stage.session.is_within_message());
    stage.client(&long_bind("nothing"), &mut out).unwrap();
    assert!(out.upstream.is_empty() && !stage.session.is_within_message());
}

#[test]
fn nothing_comes_between_a_limited_statement_and_what_becomes_of_it() {
    check_under(
        r#"@id("b") @max_affected("3 per 1h") forbid (principal, action in [PG::Action::"write"], resource is PG::Relation);"#,
        "> Q insert into orders select 1
         < C
         < Z T
         < C INSERT 0 9
         > Q select id from orders
         < Z T
         < C ROLLBACK
         < Z I
         > Q select id from orders",
        "> Q BEGIN
         > Q insert into orders select 1
         < E 54000 the 3 changed rows of this agent in 1h are used up
         wait
         > Q ROLLBACK
         < Z I
         > Q select id from orders",
    );
}

#[test]
fn names_longer_than_the_server_keeps_are_refused() {
    let long = "a".repeat(64);
    check(
        &format!("> P {long} select 1\n> S"),
        "< E 54000 names of statements and portals have at most 63 bytes\n< Z I",
    );
    check(&format!("> C S {long}\n> S"), "< E 54000 names of statements and portals have at most 63 bytes\n< Z I");
}

#[test]
fn running_what_was_prepared_prepares_nothing() {
    check(
        "> Q prepare q as select id from orders
         < C PREPARE
         < Z I
         > B p q
         > S
         < 2
         < Z T
         > Q deallocate q
         < C DEALLOCATE
         < Z T
         > E p
         > S
         < C SELECT 1
         < Z T
         > B _ q
         > S
         < E 42601
         < Z E",
        "> Q prepare q as select id from orders
         < C PREPARE
         < Z I
         > B p q
         > S
         < 2
         < Z T
         > Q deallocate q
         < C DEALLOCATE
         < Z T
         > E p
         > S
         < C SELECT 1
         < Z T
         > P interceptor refused <refused by interceptor>
         > S
         < E 26000 prepared statement \"q\" does not exist
         < Z E",
    );
}

#[test]
fn each_copy_has_an_end_of_its_own() {
    check(
        "> Q copy orders from stdin; copy orders from stdin
         > c
         < G
         < C COPY 0
         < G
         > c
         < C COPY 0
         < Z I",
        "> Q copy orders from stdin; copy orders from stdin
         > c
         < G
         < C COPY 0
         < G
         > c
         < C COPY 0
         < Z I",
    );
}

/// What comes out under the usual policies and one more.
#[track_caller]
fn check_under(policy: &str, script: &str, expected: &str) {
    let mut stage = Stage::under(&format!("{POLICIES}{policy}"));
    let said = stage.play(script);
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&said), lines(expected));
    stage.record();
}

#[test]
fn budgets_are_counted_over_statements() {
    check_under(
        r#"@id("b") @max_rows("3 per 1h") forbid (principal, action == PG::Action::"select", resource is PG::Relation);"#,
        "> Q select id from orders
         < T
         < D a
         < D b
         < C SELECT 2
         < Z I
         > Q select id from orders
         < T
         < D c
         < D d
         < E 57014
         < Z I
         > Q select id from orders
         > Q begin
         < C BEGIN
         < Z T",
        "> Q select id from orders
         < T
         < D a
         < D b
         < C SELECT 2
         < Z I
         > Q select id from orders
         < T
         < D c
         < E 54000 the 3 rows of this agent in 1h are used up
         < Z I
         < E 54000 the 3 rows of this agent in 1h are used up
         < Z I
         > Q begin
         < C BEGIN
         < Z T",
    );
    check_under(
        r#"@id("b") @max_statements("2 per session") forbid (principal, action, resource);"#,
        "> Q select id from orders
         < C SELECT 0
         < Z I
         > Q select id from orders; select id from orders
         > Q select id from orders",
        "> Q select id from orders
         < C SELECT 0
         < Z I
         < E 54000 the 2 statements of this session are used up
         < Z I
         < E 54000 the 2 statements of this session are used up
         < Z I",
    );
    check_under(
        r#"@id("b") @max_affected("3 per 1h") forbid (principal, action in [PG::Action::"write"], resource is PG::Relation);"#,
        "> Q begin
         < C BEGIN
         < Z T
         > Q insert into orders select 1
         < C INSERT 0 2
         < Z T
         > Q insert into orders select 2
         < C INSERT 0 2
         < Z T
         < E 42601
         < Z E",
        "> Q begin
         < C BEGIN
         < Z T
         > Q insert into orders select 1
         < C INSERT 0 2
         < Z T
         > Q insert into orders select 2
         < E 54000 the 3 changed rows of this agent in 1h are used up
         > Q <refused by interceptor>
         < Z E",
    );
}
