//! Statements that wait for a human, and what their approval is good for.

use super::*;
use crate::approval::{Approver, Effect, Preview};
use crate::wire::Frame;

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("deletes-need-a-human") @approve("dba")
forbid (principal, action == PG::Action::"delete", resource is PG::Relation);
@id("inserts-are-seen") @approve("dba") @preview
forbid (principal, action == PG::Action::"insert", resource is PG::Relation);
@id("pay-needs-a-human") @approve("dba")
forbid (principal, action == PG::Action::"select", resource == PG::Relation::"shop.public.pay");
"#;

fn catalog(epoch: u64) -> Catalog {
    let mut builder = CatalogBuilder::new("shop", epoch, "r", &["public".to_owned()]);
    for (oid, schema, name) in [(1, "public", "orders"), (2, "public", "pay"), (3, "hr", "orders")] {
        builder.schema(schema);
        builder.relation(oid, schema, name, RelationKind::Table, false);
        builder.column(oid, 1, "id", ("bigint", 20));
    }
    builder.type_name("pg_catalog", "int4");
    builder.build()
}

/// A stage with a message that may be kept, and somebody who decides.
struct Office {
    stage: Stage,
    kept: Option<Frame>,
    mode: Mode,
}

impl Office {
    fn new() -> Self {
        let mut stage = Stage::under(POLICIES);
        stage.catalog = catalog(1);
        Self { stage, kept: None, mode: Mode::Enforce }
    }

    /// Besides what [`Stage::play`] has: `> V portal statement value` (a Bind with one value), `again` (the kept message is
    /// handed in), `yes`, `no`, `cancel`, and `catalog`, `policies`, `no policies`, `observe` (others from now on). `tried N` is a trial that
    /// has changed so many rows and waits, `undone` one that has been rolled back, `taken` says whether it became the statement.
    fn play(&mut self, script: &str) -> String {
        let mut said = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut out = Output::default();
            let desk = self.stage.session.desk.clone();
            let id = || desk.list(0).last().map(|request| request.id.clone()).unwrap_or_default();
            let bob = Approver::Person {
                subject: "bob".into(),
                issuer: "https://issuer".into(),
                groups: ["dba".to_owned()].into(),
                on_behalf_of: None,
            };
            let mut frames = Vec::new();
            match line.split_at_checked(2) {
                Some(("> ", message)) => frames.push(only(&encode(message))),
                Some(("< ", message)) => self.stage.server(&encode_server(message), &mut out).unwrap(),
                _ => match line {
                    "again" => frames.extend(self.kept.take()),
                    "yes" => drop(desk.approve(&id(), &bob, None, 0).unwrap()),
                    "no" => drop(desk.deny(&id(), &bob, Some("not today"), 0).unwrap()),
                    "catalog" => self.stage.catalog = catalog(2),
                    "cancel" => self.stage.session.ticket().unwrap().withdraw(0),
                    "no policies" => {
                        let text = "@id(\"all\") permit (principal, action, resource);".to_owned();
                        self.stage.policies = PolicySet::from_texts(&[("x.cedar".into(), text)]).unwrap();
                    }
                    "policies" => {
                        let text = format!("{POLICIES}// changed");
                        self.stage.policies = PolicySet::from_texts(&[("x.cedar".into(), text)]).unwrap();
                    }
                    "observe" => self.mode = Mode::Observe,
                    "undone" => self.stage.session.trial_undone(),
                    "taken" => said.push(format!("taken: {}", self.stage.session.has_taken_trial())),
                    tried if tried.starts_with("tried ") => {
                        let trial = self.stage.session.trial().unwrap();
                        said.extend(show(&trial.bytes, true).into_iter().map(|text| format!("tries {text}")));
                        let affected = tried[6..].parse().ok();
                        let effect = Effect { affected, digest: tried.to_owned(), whole: true, error: None };
                        let preview = Preview { effect: Some(effect), ..Preview::default() };
                        self.stage.session.note_trial(Tried { preview, lives: true, ..Tried::default() });
                    }
                    other => panic!("{other}"),
                },
            }
            for frame in frames {
                let step = self.client(&frame, &mut out);
                said.extend(match step {
                    Step::Done => None,
                    Step::Wait => Some("wait".to_owned()),
                    Step::Hold => Some("hold".to_owned()),
                    Step::Try => Some("try".to_owned()),
                    Step::Refresh => Some("refresh".to_owned()),
                    Step::Look => Some("look".to_owned()),
                    Step::Survey => Some("survey".to_owned()),
                });
                if step != Step::Done {
                    self.kept = Some(frame);
                }
            }
            said.extend(show(&out.upstream, true).into_iter().map(|text| format!("> {text}")));
            said.extend(show(&out.downstream, false).into_iter().map(|text| format!("< {text}")));
        }
        // Counts in Bind.
        said.join("\n").replace("\u{1} \u{1}", "")
    }

    fn client(&mut self, frame: &Frame, out: &mut Output) -> Step {
        let Stage { session, policies, catalog, readings, unix, .. } = &mut self.stage;
        let bench = Bench {
            policies,
            mode: self.mode,
            catalog,
            readings,
            fresh: true,
            now: "2026-01-01T00:00:00Z",
            unix: *unix,
        };
        session.frontend(frame, &bench, out).unwrap()
    }
}

fn encode(message: &str) -> Vec<u8> {
    let words: Vec<_> = message.split(' ').collect();
    match words.as_slice() {
        ["V", portal, statement, value] => {
            let name = |name: &str| [name.replace('_', "").as_bytes(), b"\0"].concat();
            let length = (value.len() as u32).to_be_bytes();
            frame(
                b'B',
                &[&name(portal)[..], &name(statement)[..], &[0, 0, 0, 1], &length, value.as_bytes(), &[0, 0]].concat(),
            )
        }
        _ => encode_client(message),
    }
}

fn only(bytes: &[u8]) -> Frame {
    match chunks(bytes, Session::most_from_client).pop() {
        Some(Chunk::Whole(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let mut office = Office::new();
    let said = office.play(script);
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(said, expected.join("\n"));
}

#[test]
fn a_held_text_is_sent_once_somebody_has_said_yes() {
    check(
        "> Q delete from orders
         again
         yes
         again",
        "hold
         hold
         > Q delete from orders",
    );
    check(
        "> Q delete from orders
         no
         again
         > Q select 1",
        "hold
         < E 42501 bob has denied the statement
         < Z I
         > Q select 1",
    );
    // The whole of it, or nothing.
    check("> Q select 1; delete from orders; select 2", "hold");
    // What is only observed is not held.
    check("observe\n> Q delete from orders", "> Q delete from orders");
}

#[test]
fn what_was_tried_becomes_the_statement_and_runs_once() {
    check(
        "> Q insert into orders values (1)
         tried 1
         again
         yes
         again
         taken
         < C INSERT 0 1
         < Z T
         < C COMMIT
         < Z I",
        "try
         tries Q insert into orders values (1)
         hold
         taken: true
         > Q COMMIT
         < C INSERT 0 1
         < Z I",
    );
    // Not approved: nothing of it is the client's.
    check(
        "> Q insert into orders values (1)
         tried 1
         again
         no
         again
         taken",
        "try
         tries Q insert into orders values (1)
         hold
         < E 42501 bob has denied the statement
         < Z I
         taken: false",
    );
    // Rolled back meanwhile: tried again, and the same is what was approved.
    check(
        "> Q insert into orders values (1)
         tried 1
         again
         undone
         yes
         again
         tried 1
         again
         taken",
        "try
         tries Q insert into orders values (1)
         hold
         try
         tries Q insert into orders values (1)
         taken: true",
    );
    // Something else is another request.
    check(
        "> Q insert into orders values (1)
         tried 1
         again
         undone
         yes
         again
         tried 2
         again
         taken
         yes
         again
         taken",
        "try
         tries Q insert into orders values (1)
         hold
         try
         tries Q insert into orders values (1)
         hold
         taken: false
         taken: true",
    );
    // Denied while it is rolled back: nothing is tried for that.
    check(
        "> Q insert into orders values (1)
         tried 1
         again
         undone
         no
         again",
        "try
         tries Q insert into orders values (1)
         hold
         < E 42501 bob has denied the statement
         < Z I",
    );
    // In the extended protocol the batch is the transaction; in portions it is not tried.
    check(
        "> P _ insert into orders values ($1)
         < 1
         > V _ _ 7
         < 2
         > E _
         tried 1
         again
         yes
         again
         taken
         < n
         < C INSERT 0 1
         > S
         < Z I",
        "> P insert into orders values ($1)
         < 1
         > B 7
         < 2
         try
         tries D P
         tries E
         tries H
         hold
         taken: true
         < C INSERT 0 1
         > S
         < Z I",
    );
    // Several in one text are held, and not tried.
    check("> Q insert into orders values (1); select 1", "hold");
}

#[test]
fn what_is_held_is_all_that_is_under_way() {
    check(
        "> Q select 1
         > Q delete from orders
         < C SELECT 1
         < Z I
         again",
        "> Q select 1
         wait
         < C SELECT 1
         < Z I
         hold",
    );
    // Without Sync the server keeps its answers; it is asked for them, once.
    check(
        "> P _ delete from orders where id = $1
         > V _ _ 7
         > E _
         again
         < 1
         < 2
         again
         yes
         again
         > S",
        "> P delete from orders where id = $1
         > B 7
         wait
         > H
         wait
         < 1
         < 2
         hold
         > E
         > S",
    );
    // In a transaction a no fails it.
    check(
        "> Q begin
         < C BEGIN
         < Z T
         > Q delete from orders
         no
         again
         < E 42601
         < Z E
         > Q delete from orders
         > Q rollback; delete from orders",
        "> Q begin
         < C BEGIN
         < Z T
         hold
         > Q <refused by interceptor>
         < E 42501 bob has denied the statement
         < Z E
         < E 25P02 current transaction is aborted, commands ignored until end of transaction block
         < Z E
         hold",
    );
}

/// Approves a text and then does something; the text after that is held, or not.
#[track_caller]
fn check_bound(then: &str, text: &str, expected: &str) {
    let mut office = Office::new();
    office.play("> Q delete from orders where id = 7");
    assert_eq!(office.kept.take().map(|frame| frame.tag()), Some(b'Q'));
    // Its client has given up.
    office.stage.session.ticket = None;
    office.play("yes");
    office.play(then);
    let said = office.play(&format!("> Q {text}"));
    let said = said.lines().next().unwrap_or_default();
    assert_eq!(said, expected, "{then} {text}");
}

#[test]
fn an_approval_is_for_what_was_approved() {
    let text = "delete from orders where id = 7";
    check_bound("", text, "> Q delete from orders where id = 7");
    check_bound("", "delete from orders where id = 8", "hold");
    check_bound("", "delete from  orders where id = 7", "hold");
    check_bound("", "delete from orders where id = 7; delete from orders where id = 7", "hold");
    check_bound("catalog", text, "hold");
    check_bound("policies", text, "hold");
    check_bound("< S DateStyle German", text, "hold");
    check_bound("< S TimeZone UTC", text, "hold");
    check_bound("< S application_name x", text, "> Q delete from orders where id = 7");
    check_bound("> Q set search_path = hr\n< C SET\n< Z I", text, "hold");
    check_bound(&format!("> Q {text}\n< C DELETE 1\n< Z I"), text, "hold");
    check_bound(
        "> Q begin\n< C BEGIN\n< Z T\n> Q create table t (id int)\n< C CREATE TABLE\n< Z T",
        "delete from orders where id = 7",
        "survey",
    );
}

/// Approves an Execute of a text with a value; another batch after that is held, or not.
#[track_caller]
fn check_portal(parse: &str, bind: &str, expected: &str) {
    let mut office = Office::new();
    office.play("> P _ delete from orders where id = $1\n> V _ _ 7\n> E _\n< 1\n< 2\nagain");
    office.kept = None;
    office.stage.session.ticket = None;
    office.play("yes\n> S\n< Z I");
    let said = office.play(&format!("> {parse}\n> {bind}\n> E _\n< 1\n< 2\nagain"));
    assert_eq!(said.lines().last(), Some(expected), "{parse} {bind}: {said}");
}

#[test]
fn values_are_part_of_it() {
    check_portal("P _ delete from orders where id = $1", "V _ _ 7", "> E");
    check_portal("P other delete from orders where id = $1", "V _ other 7", "> E");
    check_portal("P _ delete from orders where id = $1", "V _ _ 8", "hold");
    check_portal("P _ delete from orders where id = $1", "V _ _ 07", "hold");
    check_portal("P _ delete from orders where id >= $1", "V _ _ 7", "hold");
}

#[test]
fn what_was_prepared_is_part_of_it() {
    let prepare = "> Q prepare p as delete from orders where id = 7\n< C PREPARE\n< Z I\n";
    let execute = "> Q execute p\nyes\nagain\n< C DELETE 1\n< Z I\n";
    let passed = "> Q prepare p as delete from orders where id = 7\n< C PREPARE\n< Z I\n";
    // Preparing does nothing.
    check(&format!("{prepare}{execute}"), &format!("{passed}hold\n> Q execute p\n< C DELETE 1\n< Z I"));
    let mut office = Office::new();
    office.play(&format!("{prepare}> Q prepare other as select 1\n< C PREPARE\n< Z I\n> Q execute p"));
    // Who is asked sees what it does.
    let request = office.stage.session.desk.list(0).pop().unwrap();
    assert_eq!(request.asked.runs, ["prepare p as delete from orders where id = 7"]);
    office.stage.session.ticket = None;
    office
        .play("yes\n> Q deallocate p\n< C DEALLOCATE\n< Z I\n> Q prepare p as delete from orders\n< C PREPARE\n< Z I");
    assert_eq!(office.play("> Q execute p"), "hold");
}

#[test]
fn preparing_in_an_approved_text_approves_nothing_else() {
    check(
        "> Q prepare p as delete from orders; delete from orders
         yes
         again
         < C PREPARE
         < C DELETE 1
         < Z I
         > B _ p
         > E _
         < 2
         again
         > Q execute p",
        "hold
         > Q prepare p as delete from orders; delete from orders
         < C PREPARE
         < C DELETE 1
         < Z I
         > B p
         wait
         > H
         < 2
         hold
         hold",
    );
}

#[test]
fn what_changes_while_it_is_held_counts() {
    // Another question by now.
    check(
        "> Q delete from orders
         policies
         yes
         again
         yes
         again",
        "hold
         hold
         > Q delete from orders",
    );
    // Values of which nobody has kept anything cannot be approved.
    check(
        "no policies
         > P _ delete from orders where id = $1
         > V _ _ 7
         < 1
         < 2
         policies
         > E _
         < E 42601",
        "> P delete from orders where id = $1
         > B 7
         < 1
         < 2
         > P interceptor refused <refused by interceptor>
         < E 42501 what the statement's parameters stand for has to be known here, and is not",
    );
    // Nobody need be asked any more; but what was cancelled does not run for that.
    check("> Q delete from orders\nno policies\nagain", "hold\n> Q delete from orders");
    check(
        "> Q delete from orders
         cancel
         no policies
         again
         > Q select 1",
        "hold
         < E 57014 canceling statement due to user request
         < Z I
         > Q select 1",
    );
}

#[test]
fn an_approved_portal_is_run_on() {
    check(
        "> P _ select * from pay
         > B c _
         > E c
         < 1
         < 2
         again
         yes
         again
         < D 1
         < s
         > E c
         > S",
        "> P select * from pay
         > B c
         wait
         > H
         < 1
         < 2
         hold
         > E c
         < D 1
         < s
         > E c
         > S",
    );
    check(
        "> Q begin
         < C BEGIN
         < Z T
         > Q declare c cursor for select * from pay
         yes
         again
         < C DECLARE CURSOR
         < Z T
         > Q fetch 1 from c
         < T
         < C FETCH 0
         < Z T
         policies
         > Q fetch 1 from c",
        "> Q begin
         < C BEGIN
         < Z T
         hold
         > Q declare c cursor for select * from pay
         < C DECLARE CURSOR
         < Z T
         > Q fetch 1 from c
         < T
         < C FETCH 0
         < Z T
         hold",
    );
}

#[test]
fn what_is_held_is_on_record_before_anybody_is_asked() {
    let mut office = Office::new();
    office.play("> Q delete from orders\nyes\nagain\n< C DELETE 3\n< Z I\n> Q delete from orders\nno\nagain");
    let record = office.stage.record();
    let id = regex::Regex::new("request [0-9a-f]{8}").unwrap();
    assert_eq!(
        id.replace_all(&record, "request ID"),
        "1: Hold delete from orders\n\
         2: Hold asked: request ID, of dba\n\
         3: Permit approved: request ID by bob (https://issuer, for dba)\n\
         4: Permit used: request ID, approved by bob\n\
         5: Permit delete from orders\n\
         5: Ok None 0\n\
         7: Hold delete from orders\n\
         8: Hold asked: request ID, of dba\n\
         9: Deny denied: request ID by bob: not today\n\
         10: Deny delete from orders\n\
         10: Denied Some(\"42501\") 0"
    );
}
