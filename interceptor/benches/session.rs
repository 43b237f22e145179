//! What a small statement costs from its message to the record of its outcome, without sockets.
//!
//! `cargo xtask bench parts` runs this; docs/benchmarks.md has the figures.

#![expect(missing_docs, reason = "criterion makes a public function")]
use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use interceptor::audit::{Agent, Fsync, Process, Settings, Subject, Trail};
use interceptor::identity::Identity;
use interceptor::mask::Key;
use interceptor::policy::{Circumstances, Mode, PolicySet, Principal, Totals};
use interceptor::session::{Bench, Output, Session, Shared, Step};
use interceptor::sql::{Catalog, CatalogBuilder, Readings, RelationKind};
use interceptor::wire::{Chunk, Splitter};
use std::path::PathBuf;
use std::sync::Arc;

const POLICY: &str =
    r#"@id("read") permit (principal, action in [PG::Action::"read"], resource in PG::Schema::"shop.public");"#;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("it is short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn catalog() -> Catalog {
    let mut builder = CatalogBuilder::new("shop", 1, "app", &["public".to_owned()]);
    builder.schema("public");
    builder.relation(1, "public", "pgbench_accounts", RelationKind::Table, false);
    for (name, number) in ["aid", "bid", "abalance"].into_iter().zip(1..) {
        builder.column(1, number, name, ("integer", 23));
    }
    builder.build()
}

/// A session and all that it needs.
struct Stage {
    session: Session,
    trail: Arc<Trail>,
    policies: PolicySet,
    catalog: Catalog,
    readings: Readings,
    dir: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("interceptor-session-{}", std::process::id()));
        let settings = Settings { fsync: Fsync::Os, index: false, compress: false, ..Settings::of(dir.clone()) };
        let trail = Arc::new(Trail::open(&settings).expect("the folder is ours"));
        let identity = Identity {
            subject: "agent:bench".into(),
            issuer: "https://issuer.example".into(),
            groups: vec!["agents".into(), "readers".into()],
            claims: Default::default(),
            on_behalf_of: Some("alice".into()),
            on_behalf_of_groups: Vec::new(),
            delegation: Vec::new(),
            expires: u64::MAX,
        };
        let around = Circumstances {
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
            now: String::new(),
            in_transaction: false,
            in_flux: false,
            statement_bytes: 0,
            totals: Totals::default(),
            agent_totals: Totals::default(),
        };
        let mut subject = Subject::default();
        subject.session = "0192f0c1-7b5e-7d3a-9c1e-0a1b2c3d4e5f".into();
        subject.agent = Some(Agent {
            subject: identity.subject.clone(),
            issuer: identity.issuer.clone(),
            on_behalf_of: identity.on_behalf_of.clone(),
            groups: identity.groups.clone(),
            ..Agent::default()
        });
        subject.process = Some(Process {
            pid: 4711,
            exe: "/usr/bin/psql".into(),
            cgroup: "/agents/job".into(),
            ancestry: vec!["/usr/bin/bash".into(), "/usr/bin/make".into()],
            ..Process::default()
        });
        (subject.server, subject.database, subject.role) = ("127.0.0.1:5432".into(), "shop".into(), "app".into());
        let shared = Shared {
            trail: trail.clone(),
            desk: Arc::default(),
            budgets: Arc::default(),
            mask_key: Arc::new(Key::ephemeral()),
        };
        let principal = Principal::new(Arc::new(identity));
        Self {
            session: Session::new(principal, Arc::new(subject), shared, around, Arc::default(), 7),
            trail,
            policies: PolicySet::from_texts(&[("bench.cedar".into(), POLICY.to_owned())]).expect("it is valid"),
            catalog: catalog(),
            readings: Readings::default(),
            dir,
        }
    }

    /// What the client says, what it is answered, and that both go on record.
    fn exchange(&mut self, query: &[u8], answer: &[u8], out: &mut Output) {
        let bench = Bench {
            policies: &self.policies,
            mode: Mode::Enforce,
            catalog: &self.catalog,
            readings: &self.readings,
            fresh: false,
            now: "2026-01-01T00:00:00Z",
            unix: 1_767_225_600,
        };
        let (mut buffer, mut splitter) = (BytesMut::from(query), Splitter::default());
        while let Ok(Some(chunk)) = splitter.next(&mut buffer, Session::most_from_client) {
            let Chunk::Whole(frame) = chunk else { continue };
            let step = self.session.frontend(&frame, &bench, out);
            assert!(matches!(step, Ok(Step::Done)), "{step:?}");
        }
        self.trail.flush().expect("there is room");
        assert!(!out.upstream.is_empty());
        let (mut buffer, mut splitter) = (BytesMut::from(answer), Splitter::default());
        while let Ok(Some(chunk)) = splitter.next(&mut buffer, |tag| self.session.most_from_server(tag)) {
            match chunk {
                Chunk::Passing { tag, continued, started, bytes, .. } => {
                    self.session.data(tag, continued, started, &bytes, out).expect("it was asked for");
                }
                Chunk::Whole(frame) => self.session.backend(&frame, out).expect("it was asked for"),
                Chunk::Skipped(_) | Chunk::Beginning(_) => {}
            }
        }
        assert_eq!(out.downstream.len(), answer.len());
        out.upstream.clear();
        out.downstream.clear();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// A select of one row by its key, its constant another one each time, as pgbench sends it.
fn statement(criterion: &mut Criterion) {
    let column = [b"abalance\0".as_slice(), &[0, 0, 0, 1, 0, 3, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0]].concat();
    let description = message(b'T', &[[0, 1].as_slice(), &column].concat());
    let row = message(b'D', &[0, 1, 0, 0, 0, 1, b'0']);
    let end = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let simple = [description, row.clone(), end.clone()].concat();
    let prepare = message(b'P', b"p\0SELECT abalance FROM pgbench_accounts WHERE aid = $1\0\0\0");
    let execute = [
        message(b'B', b"\0p\0\0\0\0\x01\0\0\0\x044711\0\0"),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    let executed = [message(b'2', b""), simple.clone()].concat();

    let mut group = criterion.benchmark_group("a whole statement");
    let mut out = Output::default();
    let mut stage = Stage::new();
    let mut number = 0;
    group.bench_function("simple, a known shape", |bench| {
        bench.iter(|| {
            number += 1;
            let text = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {};\0", number % 1_000_000);
            stage.exchange(&message(b'Q', text.as_bytes()), &simple, &mut out);
        });
    });
    stage.exchange(
        &[prepare, message(b'S', b"")].concat(),
        &[message(b'1', b""), message(b'Z', b"I")].concat(),
        &mut out,
    );
    let execute = execute.concat();
    group.bench_function("prepared", |bench| bench.iter(|| stage.exchange(&execute, &executed, &mut out)));
    group.finish();
}

criterion_group! {
    name = session;
    config = Criterion::default().sample_size(50).warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2));
    targets = statement
}
criterion_main!(session);
