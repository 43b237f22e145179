//! Temporary relations stand before others: a write that names one is a write to another once it is gone, and a gateway that
//! does not know which there are judges the wrong one.

use interceptor_tests::Scene;

/// Under the default policies: customers may be read, orders written too, API keys not be touched.
const SCRIPT: &str = r#"
        psql -XAtq -v VERBOSITY=terse 2>&1 <<'EOF'
create temp table customers (id int, name text);
insert into customers values (1, 'mine'), (2, 'mine');
delete from customers where id = 2;
\echo 1 of mine is left
select count(*), min(name) from customers;
\echo dropped, in one text and in two
drop table customers \; delete from customers;
drop table customers;
delete from customers;
\echo rolled back
begin;
create temp table customers (id int);
delete from customers;
rollback \; delete from customers;
rollback;
delete from customers;
begin;
savepoint s;
create temp table customers (id int);
delete from customers;
rollback to s;
delete from customers;
rollback;
\echo gone with its transaction
begin;
create temp table customers (id int) on commit drop;
delete from customers;
commit;
delete from customers;
\echo renamed
create temp table customers (id int);
alter table customers rename to others;
delete from customers;
alter table others rename to pg_stats;
create temp table pg_class (relname text);
create temp table text (a int);
\echo an error in the middle
create temp table products (id int) \; select 1/0;
delete from products;
\echo prepared before
prepare p as select count(*) from customers;
create temp table customers (id int);
execute p;
drop table customers;
\echo a cursor from before
begin;
declare c cursor for select count(*) from customers;
create temp table customers (id int);
fetch c;
rollback;
\echo views and copies
create temp view keys as select * from api_keys;
create temp table keys as select * from api_keys;
create temp table child () inherits (customers);
create temp view mine as select count(*) > 100 from customers;
select * from mine;
discard all;
select * from mine;
\echo other sessions
select count(*) > 100 from customers;
EOF"#;

const EXPECTED: &str = "1 of mine is left
1|mine
dropped, in one text and in two
ERROR:  the session's temporary relations are not known at this point
ERROR:  no policy permits to delete on public.customers
rolled back
ERROR:  the session's temporary relations are not known at this point
ERROR:  no policy permits to delete on public.customers
ERROR:  no policy permits to delete on public.customers
gone with its transaction
ERROR:  no policy permits to delete on public.customers
renamed
ERROR:  no policy permits to delete on public.customers
ERROR:  statement cannot be judged
ERROR:  statement cannot be judged
ERROR:  statement cannot be judged
an error in the middle
ERROR:  division by zero
ERROR:  no policy permits to delete on public.products
prepared before
ERROR:  what the prepared statement or cursor names may be another relation by now
a cursor from before
ERROR:  what the prepared statement or cursor names may be another relation by now
views and copies
ERROR:  policy forbids to select on public.api_keys
ERROR:  policy forbids to select on public.api_keys
ERROR:  policy forbids to alter on public.customers
t
ERROR:  relation \"mine\" does not exist
other sessions
t
";

/// In a transaction block the daemon asks between the statements of a batch what there is, and the client sees nothing of that.
#[test]
fn temporary_relations_in_a_pipeline() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bypass/pipelined.py");
    let outcome = Scene::demo().run(&format!("\"$PYTHON\" {script}"));
    let expected = "made ((2, 'mine'), (1,))
gone InsufficientPrivilege no policy permits to delete on public.customers
failing UniqueViolation duplicate key value violates unique constraint \"customers_pkey\"
many ((500, 124750), (500,))
savepoints (1,)
auto InsufficientPrivilege the session's temporary relations are not known at this point
auto2 (1,)
left (True,)
";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

/// Keys, children, partitions, defaults, triggers, policies and maintenance of relations of one's own.
#[test]
fn what_agents_do_with_relations_of_their_own() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bypass/temporary.sql");
    let outcome =
        Scene::demo().run(&format!("psql -XAtq -v VERBOSITY=terse -f {script} 2>&1 | sed 's/^psql:[^ ]*: //'"));
    assert_eq!(outcome.stdout, include_str!("temporary.out"), "{}", outcome.stderr);
}

#[test]
fn a_temporary_relation_smuggles_nothing() {
    let outcome = Scene::demo().run(SCRIPT);
    assert_eq!(outcome.stdout, EXPECTED, "{}", outcome.stderr);
}
