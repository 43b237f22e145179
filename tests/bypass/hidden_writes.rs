//! Writes in statements that look like reads, and reads of what is forbidden in statements that name something else.
//!
//! A gateway that looks at the first word lets most of these through; one that looks for words refuses honest ones.

use interceptor_tests::Scene;

const STATEMENTS: &[&str] = &[
    "with d as (delete from customers returning 1) select count(*) from d",
    "with d as (delete from customers returning 1), x as (select 1) select * from x",
    "explain analyze delete from customers",
    "explain (analyze on, buffers) delete from customers",
    "explain (analyze 1) delete from customers",
    "explain (costs off, analyze) update customers set name = 'x'",
    "select * into stolen from products",
    "create table stolen as select * from products",
    "create temp table stolen as select * from api_keys",
    "copy (delete from customers returning 1) to stdout",
    "copy products to program 'cat'",
    "copy products to '/tmp/stolen'",
    "select lo_from_bytea(0, 'x')",
    "select lo_create(0)",
    "select nextval('customers_id_seq')",
    "select setval('customers_id_seq', 1)",
    "select pg_advisory_lock(1)",
    "select 1 from customers for update",
    "lock table customers",
    "select query_to_xml('delete from customers', true, true, '')",
    "select * from query_to_xml('select * from api_keys', true, true, '')",
    "select table_to_xml('api_keys', true, true, '')",
    "select * from ts_stat('select key from api_keys')",
    "table api_keys",
    "select (select count(*) from api_keys)",
    "select count(*) from customers where exists (select from api_keys)",
    "select * from orders o, lateral (select * from api_keys) k",
    "select * from products union all select * from products where 1 in (select 1 from public.api_keys)",
    "select * from shop.public.api_keys",
    "select * from \"api_keys\"",
    "select * from only api_keys",
    "with api_keys as (select 1 as id) select * from public.api_keys",
    "with x as (with api_keys as (select 1) select * from api_keys) select * from api_keys",
    "select 1 end; drop table orders",
    "select 1/**/;/**/drop table orders",
    "select $$;$$; drop table orders",
    "select e'\\'; drop table orders --'; drop table orders",
    "truncate orders",
    "insert into products select * from products",
    "merge into customers c using orders o on c.id = o.customer_id when matched then delete",
    "select pg_sleep(1)",
    "select pg_terminate_backend(1)",
    "select query from pg_stat_activity",
    "select rolpassword from pg_authid",
    "select most_common_vals from pg_stats",
    "do language plpgsql 'begin end'",
    "call nowhere()",
    "listen channel",
    "notify channel, 'x'",
    "select pg_notify('channel', 'x')",
    "vacuum",
    "grant select on api_keys to public",
    "alter role current_user password 'x'",
    "alter table orders rename to o2",
    "create function f() returns int language sql as 'select 1'",
    "create extension dblink",
    "set session authorization postgres",
    "prepare transaction 'x'",
    "load 'x'",
    "checkpoint",
];

#[test]
fn nothing_hidden_happens() {
    let statements: Vec<String> = STATEMENTS.iter().map(|statement| (*statement).to_owned()).collect();
    let input = serde_json::to_string(&statements).unwrap().replace('\'', "'\\''");
    let script = format!(
        r#"export STATEMENTS='{input}'
        before=$(psql -XAtc "select (select count(*) from customers), (select count(*) from orders)")
        "$PYTHON" - <<'EOF'
import json, os, psycopg
c = psycopg.connect("", autocommit=True)
for statement in json.loads(os.environ["STATEMENTS"]):
    try:
        c.execute(statement)
        print("RAN", statement)
    except psycopg.Error as error:
        if error.sqlstate not in ("42501", "42P01", "42883"): print(error.sqlstate, statement)
EOF
        after=$(psql -XAtc "select (select count(*) from customers), (select count(*) from orders)")
        [ "$before" = "$after" ] && echo same"#
    );
    let outcome = Scene::demo().run(&script);
    assert_eq!(outcome.stdout, "same\n", "{}", outcome.stderr);
}
