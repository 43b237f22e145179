//! What looking at a statement costs, part by part: frames, reading, deciding, masking.
//!
//! `cargo xtask bench parts` runs this; docs/benchmarks.md has the figures.

#![expect(missing_docs, reason = "criterion makes a public function")]
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use interceptor::identity::Identity;
use interceptor::mask::{self, Key};
use interceptor::policy::{Circumstances, Mask, MaskedOutput, Mode, Orders, PolicySet, Principal, Totals};
use interceptor::sql::{
    Catalog, CatalogBuilder, Function, Portal, Readings, RelationKind, Session, analyse, server_functions,
};
use interceptor::wire::{Chunk, Described, Frame, Frontend, Splitter};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::hint::black_box;
use std::sync::Arc;

/// Statements by name, from what a pool sends to what a reporting tool does.
const STATEMENTS: &[(&str, &str)] = &[
    ("pgbench select", "SELECT abalance AS x0 FROM pgbench_accounts WHERE aid = 4711"),
    (
        "orm join",
        "SELECT o.id, o.status, o.total, c.id AS x0, c.name, c.country FROM orders AS o JOIN customers AS c ON c.id = o.customer_id WHERE o.status = 'open' AND o.total > 100 AND c.country IN ('DE', 'FR', 'AT') ORDER BY o.created_at DESC LIMIT 25 OFFSET 50",
    ),
    (
        "report",
        "WITH spent AS (SELECT customer_id, sum(total) AS total, count(*) AS orders FROM orders WHERE created_at >= now() - interval '90 days' GROUP BY customer_id), ranked AS (SELECT s.*, rank() OVER (ORDER BY s.total DESC) AS place FROM spent s) SELECT c.name, c.country, r.total, r.orders, r.place, (SELECT max(i.quantity) FROM order_items i JOIN orders o ON o.id = i.order_id WHERE o.customer_id = c.id) AS x0 FROM ranked r JOIN customers c ON c.id = r.customer_id WHERE r.place <= 100 UNION ALL SELECT 'all', NULL, sum(total), sum(orders), NULL, NULL FROM spent ORDER BY place NULLS LAST",
    ),
];

struct Nobody;

impl Session for Nobody {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<Portal> {
        None
    }
}

/// The tables that the statements read, and thirty others.
fn catalog() -> Catalog {
    let mut builder = CatalogBuilder::new("shop", 1, "app", &["public".to_owned()]);
    builder.schema("public");
    builder.schema("pg_catalog");
    let mut relation = |oid: u32, name: &str, columns: &[(&str, &str)]| {
        builder.relation(oid, "public", name, RelationKind::Table, false);
        for ((column, kind), number) in columns.iter().zip(1..) {
            builder.column(oid, number, column, (kind, 25));
        }
    };
    relation(1, "pgbench_accounts", &[("aid", "integer"), ("bid", "integer"), ("abalance", "integer")]);
    let orders = [
        ("id", "bigint"),
        ("customer_id", "bigint"),
        ("status", "text"),
        ("total", "numeric"),
        ("created_at", "timestamp with time zone"),
    ];
    relation(2, "orders", &orders);
    relation(3, "customers", &[("id", "bigint"), ("name", "text"), ("email", "text"), ("country", "text")]);
    relation(4, "order_items", &[("id", "bigint"), ("order_id", "bigint"), ("quantity", "integer")]);
    for number in 0..30 {
        relation(100 + number, &format!("table_{number}"), &[("id", "bigint"), ("note", "text"), ("email", "text")]);
    }
    for name in ["interval", "int4", "text"] {
        builder.type_name("pg_catalog", name);
    }
    for name in server_functions() {
        builder.function(Function {
            schema: "pg_catalog".into(),
            name: name.into(),
            volatility: "stable".into(),
            security_definer: false,
            language: "internal".into(),
            width: Some(1),
            output: None,
        });
    }
    builder.build()
}

/// Fifty policies of the usual kinds, some of which match.
fn policies(context: bool) -> PolicySet {
    let mut text = String::from(
        r#"
@id("read") permit (principal, action in [PG::Action::"read"], resource in PG::Schema::"shop.public");
@id("rows") @max_rows("100000") forbid (principal, action == PG::Action::"select", resource is PG::Relation);
@id("mail") @mask("email") forbid (principal, action == PG::Action::"select", resource is PG::Column) when { resource.labels.contains("personal") };
"#,
    );
    for number in 0..47 {
        text += &match number % 3 {
            0 => format!(
                "@id(\"p{number}\") permit (principal in PG::Group::\"team-{number}\", action in [PG::Action::\"write\"], resource in PG::Schema::\"shop.team_{number}\");\n"
            ),
            1 => format!(
                "@id(\"p{number}\") forbid (principal, action in [PG::Action::\"read\"], resource in PG::Relation::\"shop.public.secret_{number}\");\n"
            ),
            _ => format!(
                "@id(\"p{number}\") @mask(\"redact\") forbid (principal, action == PG::Action::\"select\", resource is PG::Column) when {{ resource.labels.contains(\"label-{number}\") }};\n"
            ),
        };
    }
    if context {
        text += "@id(\"hours\") forbid (principal, action in [PG::Action::\"write\"], resource) when { context.now.toTime() >= duration(\"22h\") };\n";
    }
    PolicySet::from_texts(&[("bench.cedar".into(), text)]).expect("the policies are valid")
}

fn principal() -> Principal {
    Principal::new(Arc::new(Identity {
        subject: "agent:bench".into(),
        issuer: "https://issuer.example".into(),
        groups: vec!["agents".into(), "readers".into()],
        claims: Default::default(),
        on_behalf_of: Some("alice".into()),
        on_behalf_of_groups: Vec::new(),
        delegation: Vec::new(),
        expires: u64::MAX,
    }))
}

fn around() -> Circumstances {
    Circumstances {
        server: "127.0.0.1:5432".into(),
        role: "app".into(),
        claimed_role: String::new(),
        claimed_leaked: false,
        claimed: Vec::new(),
        exe: "/usr/bin/psql".into(),
        uid: 1000,
        cgroup: "/agents".into(),
        ancestry: String::new(),
        tls: false,
        now: "2026-01-01T12:00:00Z".into(),
        in_transaction: false,
        in_flux: false,
        statement_bytes: 100,
        totals: Totals::default(),
        agent_totals: Totals::default(),
    }
}

fn reading(criterion: &mut Criterion) {
    let catalog = catalog();
    let mut group = criterion.benchmark_group("read");
    for (name, text) in STATEMENTS {
        group.bench_function(format!("new text, {name}"), |bench| {
            bench.iter(|| analyse(black_box(text), &catalog, &Nobody).expect("it is SQL"));
        });
        // What cannot be less while two parsers read it.
        group.bench_function(format!("the two parsers alone, {name}"), |bench| {
            bench.iter(|| {
                let tree = pg_query::parse(black_box(text), pg_query::ParserOptions::DEFAULT).expect("it is SQL");
                let second = Parser::parse_sql(&PostgreSqlDialect {}, black_box(text)).expect("it is SQL");
                (tree, second)
            });
        });
        let readings = Readings::default();
        readings.read(text, &catalog, &Nobody).expect("it is SQL");
        group.bench_function(format!("known text, {name}"), |bench| {
            bench.iter(|| readings.read(black_box(text), &catalog, &Nobody).expect("it is SQL"));
        });
    }
    group.finish();
}

/// What nobody sends by accident. The guard, or the grammar, refuses it; the time until then is the daemon's.
fn refusing(criterion: &mut Criterion) {
    let catalog = catalog();
    let list = (0..200_000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let texts = [
        ("200,000 brackets", format!("select {}1{}", "(".repeat(200_000), ")".repeat(200_000))),
        ("1+1+... of 2 MB", format!("select 1{}", "+1".repeat(1 << 20))),
        ("10,000 comments in each other", format!("select 1 {}{}", "/*".repeat(10_000), "*/".repeat(10_000))),
        ("20,000 statements", "select 1;".repeat(20_000)),
        ("200,000 elements in IN", format!("select 1 from orders where id in ({list})")),
        ("1 MB of operators", format!("select 1 {} 1", "+-".repeat(1 << 19))),
    ];
    let mut group = criterion.benchmark_group("hostile");
    group.sample_size(10);
    for (name, text) in &texts {
        let said = match analyse(text, &catalog, &Nobody) {
            Ok(_) => "read".to_owned(),
            Err(rejection) => rejection.to_string(),
        };
        group.bench_function(format!("{name} ({said})"), |bench| {
            bench.iter(|| analyse(black_box(text), &catalog, &Nobody).is_ok());
        });
    }
    group.finish();
}

fn deciding(criterion: &mut Criterion) {
    let catalog = catalog();
    let (principal, around) = (principal(), around());
    let mut group = criterion.benchmark_group("decide, 50 policies");
    for (name, text) in STATEMENTS {
        let set = policies(false);
        let readings = Readings::default();
        let decide = |set: &PolicySet, analysis: &interceptor::sql::Analysis| {
            set.decide(&principal, analysis, &catalog, &around, Mode::Enforce).expect("it is permitted")
        };
        decide(&set, &readings.read(text, &catalog, &Nobody).expect("it is SQL"));
        group.bench_function(format!("known text, {name}"), |bench| {
            bench.iter(|| {
                let analysis = readings.read(black_box(text), &catalog, &Nobody).expect("it is SQL");
                decide(&set, &analysis)
            });
        });
        // A text that was never seen, about objects that were judged before.
        let mut number = 0;
        group.bench_function(format!("new text over judged objects, {name}"), |bench| {
            bench.iter_batched(
                || {
                    number += 1;
                    // Another name makes another shape.
                    text.replace("x0", &format!("x{number}"))
                },
                |text| {
                    let analysis = readings.read(&text, &catalog, &Nobody).expect("it is SQL");
                    decide(&set, &analysis)
                },
                BatchSize::SmallInput,
            );
        });
        let mut number = 0;
        group.bench_function(format!("new text of a known shape, {name}"), |bench| {
            bench.iter_batched(
                || {
                    number += 1;
                    text.replace("4711", &number.to_string()).replace("100", &number.to_string())
                },
                |text| {
                    let analysis = readings.read(&text, &catalog, &Nobody).expect("it is SQL");
                    decide(&set, &analysis)
                },
                BatchSize::SmallInput,
            );
        });
        // Another snapshot of the catalogue: everything is read and judged from the beginning.
        group.bench_function(format!("nothing judged yet, {name}"), |bench| {
            bench.iter_batched(
                self::catalog,
                |catalog| {
                    let analysis = readings.read(black_box(text), &catalog, &Nobody).expect("it is SQL");
                    let permit = set.decide(&principal, &analysis, &catalog, &around, Mode::Enforce);
                    // What is given back is dropped outside of the measurement.
                    (permit.expect("it is permitted"), catalog)
                },
                BatchSize::SmallInput,
            );
        });
    }
    // Where policies read the context, nothing about a statement as a whole is remembered.
    let (set, readings) = (policies(true), Readings::default());
    for (name, text) in STATEMENTS {
        let analysis = readings.read(text, &catalog, &Nobody).expect("it is SQL");
        group.bench_function(format!("known text, one policy reads the context, {name}"), |bench| {
            bench.iter(|| {
                set.decide(&principal, black_box(&analysis), &catalog, &around, Mode::Enforce).expect("it is permitted")
            });
        });
    }
    group.finish();
}

/// A DataRow of a number, a name and an address.
fn row(number: usize) -> Vec<u8> {
    let values = [number.to_string(), format!("Customer {number}"), format!("customer.{number}@corp.example")];
    let mut body = 3_u16.to_be_bytes().to_vec();
    for value in values {
        body.extend(u32::try_from(value.len()).expect("it is short").to_be_bytes());
        body.extend(value.as_bytes());
    }
    message(b'D', &body)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("it is short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn frames(bytes: &[u8], most: Option<usize>) -> Vec<Frame> {
    let (mut buffer, mut splitter, mut frames) = (BytesMut::from(bytes), Splitter::default(), Vec::new());
    while let Ok(Some(chunk)) = splitter.next(&mut buffer, |_| most) {
        if let Chunk::Whole(frame) = chunk {
            frames.push(frame);
        }
    }
    frames
}

fn wire(criterion: &mut Criterion) {
    let rows: Vec<u8> = (0..1000).flat_map(row).collect();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("1,000 rows that pass", |bench| {
        bench.iter_batched(
            || BytesMut::from(&rows[..]),
            |mut buffer| {
                let mut splitter = Splitter::default();
                let mut passed = 0;
                while let Ok(Some(Chunk::Passing { bytes, .. })) = splitter.next(&mut buffer, |_| None) {
                    passed += bytes.len();
                }
                (passed, buffer)
            },
            BatchSize::SmallInput,
        );
    });
    let query = message(b'Q', b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711\0");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one Query message", |bench| {
        bench.iter_batched(
            || BytesMut::from(&query[..]),
            |mut buffer| match Splitter::default().next(&mut buffer, |_| Some(1 << 20)) {
                Ok(Some(Chunk::Whole(frame))) => Frontend::decode(&frame).is_ok(),
                _ => false,
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn masking(criterion: &mut Criterion) {
    let bytes: Vec<u8> = (0..1000).flat_map(row).collect();
    let rows = frames(&bytes, Some(1 << 20));
    let shape = [25, 25, 25].map(|type_oid| Described { table: 1, attribute: 1, type_oid, format: 0 });
    let key = Key::ephemeral();
    let mut group = criterion.benchmark_group("mask 1,000 rows");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for mask in [Mask::Null, Mask::Email, Mask::Redact, Mask::Hash] {
        let orders =
            Orders { masks: vec![None, None, Some(MaskedOutput::Value { mask, salt: 7 })], ..Orders::default() };
        group.bench_function(mask.name(), |bench| {
            let mut out = BytesMut::with_capacity(bytes.len() * 2);
            bench.iter(|| {
                out.clear();
                for row in &rows {
                    mask::row(&orders, &shape, &key, row.body(), &mut out).expect("the rows have this shape");
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = parts;
    config = Criterion::default().sample_size(50).warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2));
    targets = wire, reading, refusing, deciding, masking
}
criterion_main!(parts);
