//! What the shipped policies decide about the demo database, without a server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

use interceptor::identity::Identity;
use interceptor::policy::{Circumstances, Denied, Mode, PolicySet, Principal, Totals};
use interceptor::sql::{Catalog, CatalogBuilder, Function, Portal, RelationKind, Session, analyse};
use std::path::Path;
use std::sync::Arc;

struct NothingPrepared;

impl Session for NothingPrepared {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<Portal> {
        None
    }
}

/// The demo's relations, as `xtask/demo/shop.sql` makes them.
fn catalog() -> Catalog {
    let mut builder = CatalogBuilder::new("shop", 1, "app", &["public".to_owned()]);
    builder.schema("pg_catalog");
    builder.schema("public");
    let tables = ["customers", "products", "orders", "order_items", "employees", "api_keys"];
    for (oid, name) in (1..).zip(tables) {
        builder.relation(oid, "public", name, RelationKind::Table, false);
        builder.column(oid, 1, "id", ("bigint", 20));
    }
    builder.relation(10, "public", "customer_directory", RelationKind::View, false);
    builder.column(10, 1, "id", ("bigint", 20));
    builder.view_rests_on(10, 1);
    builder.view(10, "SELECT id FROM public.customers");
    builder.type_name("pg_catalog", "int8");
    for name in ["count", "lo_from_bytea"] {
        builder.function(Function {
            schema: "pg_catalog".into(),
            name: name.into(),
            volatility: "volatile".into(),
            security_definer: false,
            language: "internal".into(),
            width: Some(1),
            output: None,
        });
    }
    builder.build()
}

#[track_caller]
fn check(statement: &str, expected: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default");
    let policies = PolicySet::load(&folder).unwrap();
    let identity = Identity {
        subject: "agent:demo".into(),
        issuer: "https://issuer.example".into(),
        groups: vec!["agents".into()],
        claims: Default::default(),
        on_behalf_of: None,
        on_behalf_of_groups: Vec::new(),
        delegation: Vec::new(),
        expires: u64::MAX,
    };
    let around = Circumstances {
        server: "127.0.0.1:5432".into(),
        role: "interceptor".into(),
        claimed_role: String::new(),
        claimed_leaked: false,
        claimed: Vec::new(),
        exe: "/usr/bin/psql".into(),
        uid: 1000,
        cgroup: "/agents".into(),
        ancestry: String::new(),
        tls: false,
        now: "2026-01-31T12:00:00Z".into(),
        in_transaction: false,
        in_flux: false,
        statement_bytes: statement.len(),
        totals: Totals::default(),
        agent_totals: Totals::default(),
    };
    let catalog = catalog();
    let analysis = analyse(statement, &catalog, &NothingPrepared).unwrap();
    let principal = Principal::new(Arc::new(identity));
    let said = match policies.decide(&principal, &analysis, &catalog, &around, Mode::Enforce) {
        Ok(permit) => format!("permit {}", permit.statements()[0].policies().collect::<Vec<_>>().join(" ")),
        Err(denied) => {
            let Denied { denial, .. } = *denied;
            format!("deny {}: {}", denial.policies.join(" "), denial.hint.unwrap_or_default())
        }
    };
    assert_eq!(said.trim_end(), expected, "{statement}");
}

#[test]
fn agents_read_the_shop_but_not_its_keys() {
    check("select * from customers", "permit agents-read");
    check("select * from customer_directory", "permit agents-read");
    check("copy orders to stdout", "permit agents-copy-out agents-read");
    check("select count(*) from orders join order_items using (id)", "permit agents-read");
    check("select * from api_keys", "deny no-api-keys: ask the owner of the service for a key of your own");
    check("copy api_keys to stdout", "deny no-api-keys: ask the owner of the service for a key of your own");
}

#[test]
fn agents_write_orders_and_nothing_else() {
    check("insert into orders values (1)", "permit agents-write-orders");
    check("update orders set id = 1 where id = 2", "permit agents-read agents-write-orders");
    check("delete from order_items where id = 1", "permit agents-read agents-write-order-items");
    check("copy order_items from stdin", "permit agents-write-order-items");
    check("delete from customers", "deny : ask the owners of this host's policies for a permit, or do without");
    check("truncate orders", "deny no-truncate: delete the rows that are meant, with a condition");
    check("select lo_from_bytea(0, 'x')", "deny : ask the owners of this host's policies for a permit, or do without");
}

#[test]
fn agents_leave_the_schema_and_the_server_alone() {
    check("drop table orders", "deny no-schema-changes: open a migration pull request");
    check("create temp table t (a bigint)", "permit agents-own-temporary-relations");
    check(
        "create temp table t as select * from api_keys",
        "deny no-api-keys: ask the owner of the service for a key of your own",
    );
    check("create table t (a bigint)", "deny no-schema-changes: open a migration pull request");
    check("comment on table orders is 'x'", "deny no-schema-changes: open a migration pull request");
    check("grant select on orders to public", "deny no-rights-changes: ask a database administrator");
    check("vacuum", "deny no-administration: ask a database administrator");
    check("alter system set wal_level = logical", "deny no-administration: ask a database administrator");
}

/// The example sets are documentation that runs: each folder's `cases.toml` says what its policies decide.
#[test]
fn the_examples_decide_as_they_say() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/examples");
    let mut folders: Vec<_> = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert_eq!(folders.len(), 7);
    let output = std::process::Command::new(interceptor_tests::binary())
        .args(["policy", "test"])
        .args(&folders)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
