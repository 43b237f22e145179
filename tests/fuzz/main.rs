//! Statements made at random against the analysis and the policies themselves, and against a server, with no proxy between:
//! thousands a second. What is permitted runs on the server, in a transaction that is rolled back, and then
//!
//! - no output column that is not masked holds a value of a masked column,
//! - no table that is not masked holds one either,
//! - what the server has written for was not called a read.
//!
//! And a text that differs in constants only from one that was read before is taken for what reading it would give.
//!
//! `cargo xtask fuzz` runs it for as long as one likes; here it runs for some seconds. `tests/bypass/attacks/fuzz.py` does
//! the like through the real redirect.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod grammar;

use bytes::BytesMut;
use grammar::Grammar;
use interceptor::identity::Identity;
use interceptor::mask::Key;
use interceptor::policy::{Circumstances, Granted, MaskedOutput, Mode, Orders, PolicySet, Principal, Totals};
use interceptor::sql::{Access, Analysis, Catalog, Flag, Portal, Readings, Session, Statement, analyse};
use interceptor::wire::Described;
use interceptor_tests::DemoServer;
use rand::prelude::*;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const LABELS: &str = r#"
[[label]]
name = "hidden"
columns = ["public.users.email", "public.users.ssn", "public.users.card", "payments.card", "UserProfiles.Email", "hr.salaries.ssn",
  "hr.salaries.amount", "hr.users.email"]
"#;

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("hidden") @mask("redact") forbid (principal, action == PG::Action::"select", resource is PG::Column)
when { resource.labels.contains("hidden") };
@id("secrets") forbid (principal, action, resource in PG::Relation::"shop.public.secrets");
"#;

/// What only values of masked columns look like, as the server's own regular expression.
const LEAK: &str = r"canary|[a-z0-9]@[a-z]|[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{4}|123456\.78|65432\.10|corp\.exa";

/// Statements that are on their way to the server at once.
const BATCH: usize = 64;

struct Nobody;

impl Session for Nobody {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<Portal> {
        None
    }
}

/// The judge: analysis and policies.
struct Judge {
    policies: PolicySet,
    catalog: Arc<Catalog>,
    principal: Principal,
    around: Circumstances,
    readings: Readings,
}

impl Judge {
    fn new(catalog: Arc<Catalog>) -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("labels.toml"), LABELS).unwrap();
        std::fs::write(folder.join("fuzz.cedar"), POLICIES).unwrap();
        let policies = PolicySet::load(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let identity = Identity {
            subject: "agent:fuzz".into(),
            issuer: "https://issuer.example".into(),
            groups: vec![],
            claims: BTreeMap::default(),
            on_behalf_of: None,
            on_behalf_of_groups: Vec::new(),
            delegation: Vec::new(),
            expires: u64::MAX,
        };
        let around = Circumstances {
            server: "127.0.0.1:5432".into(),
            role: "shop_owner".into(),
            claimed_role: String::new(),
            claimed_leaked: false,
            claimed: Vec::new(),
            exe: "/bin/fuzz".into(),
            uid: 0,
            cgroup: "/".into(),
            ancestry: String::new(),
            tls: false,
            now: "2026-01-01T00:00:00Z".into(),
            in_transaction: false,
            in_flux: false,
            statement_bytes: 0,
            totals: Totals::default(),
            agent_totals: Totals::default(),
        };
        let principal = Principal::new(Arc::new(identity));
        Self { policies, catalog, principal, around, readings: Readings::default() }
    }

    /// What is wrong with what is remembered of texts of the same shape: reading `other` anew gives something else.
    fn misremembers(&self, text: &str, other: &str) -> Option<String> {
        self.readings.read(text, &self.catalog, &Nobody).ok()?;
        let remembered = self.readings.read(other, &self.catalog, &Nobody).ok()?;
        let Ok(fresh) = analyse(other, &self.catalog, &Nobody) else {
            return Some("it cannot be read and was taken for what can".to_owned());
        };
        let facts = |analysis: &Analysis| {
            let of = |statement: &Statement| {
                let Statement { uses, columns, outputs, flags, effect, opaque, missing, unseen, .. } =
                    statement.clone();
                (uses, columns, outputs, flags, effect, opaque, missing, unseen)
            };
            analysis.statements.iter().map(of).collect::<Vec<_>>()
        };
        (facts(&remembered) != facts(&fresh)).then(|| format!("it was taken for what `{text}` is"))
    }

    /// What may run: the statement's facts and what it was granted.
    fn permits(&self, text: &str) -> Result<(Statement, Arc<Granted>), String> {
        let analysis = analyse(text, &self.catalog, &Nobody).map_err(|error| error.to_string())?;
        let permit = self
            .policies
            .decide(&self.principal, &analysis, &self.catalog, &self.around, Mode::Enforce)
            .map_err(|denied| denied.denial.message.clone())?;
        match (analysis.statements.as_slice(), permit.statements()) {
            ([statement], [granted]) => Ok((statement.clone(), granted.clone())),
            _ => Err("not one statement".to_owned()),
        }
    }
}

/// Whether the analysis says that nothing is written.
fn is_called_a_read(statement: &Statement) -> bool {
    let reads =
        |access| matches!(access, Access::Select | Access::Filter | Access::CopyOut | Access::Set | Access::Listen);
    statement.uses.iter().all(|asked| reads(asked.access))
        && statement.unseen.is_empty()
        && !statement.flags.contains(&Flag::Into)
}

/// Counts what came of the statements.
#[derive(Debug, Default)]
struct Tally {
    made: u64,
    permitted: u64,
    ran: u64,
    masked: u64,
    refused: BTreeMap<String, u64>,
}

/// What is wrong with a statement that was permitted.
async fn fault(
    client: &Client,
    leak: &regex::Regex,
    text: &str,
    statement: &Statement,
    granted: &Granted,
) -> Result<bool, String> {
    // What the statement before has left failed ends first: many are on their way at once.
    let run = format!(
        "rollback; begin; {text}; select 'written', pg_current_xact_id_if_assigned()::text, \
         exists (select from notes where body ~* '{LEAK}') or exists (select from orders where note ~* '{LEAK}' or status ~* '{LEAK}') \
         or exists (select from tickets where note ~* '{LEAK}') or exists (select from note_log where what ~* '{LEAK}') \
         or exists (select from users where name ~* '{LEAK}'); rollback"
    );
    let messages = match client.simple_query(&run).await {
        Ok(messages) => messages,
        Err(error) => {
            let Some(said) = error.as_db_error() else { return Err(error.to_string()) };
            let said = format!(
                "{} {} {}",
                said.message(),
                said.detail().unwrap_or_default(),
                said.where_().unwrap_or_default()
            );
            if !granted.orders().redacts_errors && leak.is_match(&said) {
                return Err(format!("the server's error says it: {said}"));
            }
            return Ok(false);
        }
    };
    let rows: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect();
    let Some((last, rows)) = rows.split_last() else { return Err("no answer".to_owned()) };
    if last.get(1).is_some() && is_called_a_read(statement) {
        return Err("it has written and was called a read".to_owned());
    }
    if last.get(2) != Some("f") {
        return Err("a value of a masked column was copied".to_owned());
    }
    for row in rows {
        for at in 0..row.len() {
            let Some(value) = row.get(at) else { continue };
            let left = match granted.orders().masks.get(at).and_then(Option::as_ref) {
                None => value.to_owned(),
                Some(MaskedOutput::Value { .. }) => continue,
                Some(row @ MaskedOutput::Row(_)) => masked_row(row, value),
            };
            if leak.is_match(&left) {
                return Err(format!("column {} is not masked and holds {left}", at + 1));
            }
        }
    }
    Ok(true)
}

/// A row as a value, in text, as the daemon would let it out.
fn masked_row(mask: &MaskedOutput, value: &str) -> String {
    const RECORD: u32 = 2249;
    let orders = Orders { masks: vec![Some(mask.clone())], ..Orders::default() };
    let shape = [Described { table: 0, attribute: 0, type_oid: RECORD, format: 0 }];
    let mut body = vec![0, 1];
    body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
    body.extend_from_slice(value.as_bytes());
    let mut out = BytesMut::new();
    interceptor::mask::row(&orders, &shape, &Key::ephemeral(), &body, &mut out).unwrap();
    // Behind the message's header, the number of columns and the value's length.
    String::from_utf8_lossy(out.get(11..).unwrap_or_default()).into_owned()
}

async fn fuzz(server: &DemoServer, seed: u64, until: Instant) -> (Tally, Vec<String>) {
    let catalog = server.catalog().await;
    let judge = Judge::new(catalog);
    let (client, connection) = tokio_postgres::connect(server.dsn(), NoTls).await.unwrap();
    tokio::spawn(connection);
    // Without the warnings that there is no transaction to end.
    client.simple_query("set statement_timeout = '1s'; set client_min_messages = error").await.unwrap();
    let (client, leak) =
        (Arc::new(client), Arc::new(regex::RegexBuilder::new(LEAK).case_insensitive(true).build().unwrap()));
    let (mut dice, mut tally, mut wrong) = (StdRng::seed_from_u64(seed), Tally::default(), Vec::new());
    while Instant::now() < until && wrong.len() < 10 {
        let mut running = tokio::task::JoinSet::new();
        while running.len() < BATCH {
            let text = Grammar::new(&mut dice).statement();
            tally.made += 1;
            if tally.made.is_multiple_of(8) {
                let other = with_other_constants(&text, &mut dice);
                wrong.extend(judge.misremembers(&text, &other).map(|fault| format!("{fault}: {other}")));
            }
            let (statement, granted) = match judge.permits(&text) {
                Ok(permitted) => permitted,
                Err(reason) => {
                    *tally.refused.entry(kind(&reason)).or_default() += 1;
                    if Instant::now() >= until {
                        break;
                    }
                    continue;
                }
            };
            tally.permitted += 1;
            tally.masked += u64::from(granted.orders().looks_into_rows());
            let (client, leak) = (client.clone(), leak.clone());
            running.spawn(async move {
                let fault = fault(&client, &leak, &text, &statement, &granted).await;
                (text, fault)
            });
        }
        while let Some(done) = running.join_next().await {
            let (text, fault) = done.unwrap();
            match fault {
                Ok(ran) => tally.ran += u64::from(ran),
                Err(fault) => wrong.push(format!("{fault}: {text}")),
            }
        }
    }
    (tally, wrong)
}

/// The same text with other numbers and strings in it.
fn with_other_constants(text: &str, dice: &mut StdRng) -> String {
    let mut other = String::with_capacity(text.len());
    let (mut in_string, mut in_name) = (false, false);
    for c in text.chars() {
        match c {
            '\'' if !in_name => in_string = !in_string,
            '"' if !in_string => in_name = !in_name,
            _ => {}
        }
        other.push(match c {
            '0'..='9' if !in_name && (in_string || !is_in_identifier(&other)) => {
                char::from(dice.random_range(b'1'..=b'9'))
            }
            'a'..='z' if in_string => char::from(dice.random_range(b'a'..=b'z')),
            c => c,
        });
    }
    other
}

/// Whether what is written so far ends within a name: a digit there is no constant.
fn is_in_identifier(text: &str) -> bool {
    let word = text.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$')).next().unwrap_or_default();
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
}

/// A refusal without what it names.
fn kind(reason: &str) -> String {
    let words = reason.split(' ').filter(|word| !word.contains(['.', '"', '`', '(']));
    words.take(8).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_masked_leaves_and_no_write_is_called_a_read() {
    let variable = |name: &str| std::env::var(format!("INTERCEPTOR_TEST_FUZZ_{name}")).ok();
    let seconds = variable("SECONDS").map_or(10, |text| text.parse().unwrap());
    let seed = variable("SEED").map_or_else(rand::random, |text| text.parse().unwrap());
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass/attacks/schema.sql");
    let server = DemoServer::start(&[&schema]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (tally, wrong) = runtime.block_on(fuzz(&server, seed, Instant::now() + Duration::from_secs(seconds)));
    println!(
        "seed {seed}: {} statements, {} permitted, {} of them with masks, {} ran to their end",
        tally.made, tally.permitted, tally.masked, tally.ran
    );
    for (reason, count) in &tally.refused {
        println!("{count:>9} {reason}");
    }
    assert_eq!(wrong, Vec::<String>::new(), "with seed {seed}");
    assert!(tally.permitted > tally.made / 50, "hardly anything is permitted: the fuzzer tests nothing");
    assert!(tally.ran > tally.permitted / 4, "hardly anything runs: the fuzzer tests nothing");
}
