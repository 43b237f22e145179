//! What statements do, written the way an operator would read it.

use super::*;
use std::collections::HashMap;

/// A small database: public.{customers, orders, api_keys, "Odd"}, a view, a partitioned table, hr.salaries.
fn catalog() -> Catalog {
    builder().build()
}

fn builder() -> CatalogBuilder {
    let mut builder = CatalogBuilder::new("shop", 1, "app", &["public".to_owned()]);
    for schema in ["pg_catalog", "information_schema", "public", "hr"] {
        builder.schema(schema);
    }
    let tables: &[(u32, &str, &str, RelationKind, &[&str])] = &[
        (1, "public", "customers", RelationKind::Table, &["id", "name", "email"]),
        (2, "public", "orders", RelationKind::Table, &["id", "customer_id", "status"]),
        (3, "public", "api_keys", RelationKind::Table, &["id", "key"]),
        (4, "public", "directory", RelationKind::View, &["id", "contact"]),
        (5, "public", "events", RelationKind::PartitionedTable, &["day", "note"]),
        (6, "public", "events_2026", RelationKind::Table, &["day", "note"]),
        (7, "hr", "salaries", RelationKind::Table, &["id", "amount"]),
        (8, "public", "orders_id_seq", RelationKind::Sequence, &["last_value"]),
        (9, "public", "Odd", RelationKind::Table, &["X"]),
        (10, "pg_catalog", "pg_class", RelationKind::Table, &["oid", "relname"]),
        (11, "pg_catalog", "pg_authid", RelationKind::Table, &["oid", "rolpassword"]),
        (14, "pg_catalog", "pg_stat_activity", RelationKind::View, &["pid", "query"]),
        (13, "public", "over", RelationKind::View, &["contact"]),
        (12, "public", "ruled", RelationKind::Table, &["id"]),
    ];
    for (oid, schema, name, kind, columns) in tables {
        builder.relation(*oid, schema, name, *kind, *name == "ruled");
        for (column, number) in columns.iter().zip(1..) {
            builder.column(*oid, number, column, ("text", 25));
        }
    }
    builder.view_rests_on(4, 1);
    builder.view(4, "SELECT id, email AS contact FROM public.customers WHERE name IS NOT NULL");
    builder.view_rests_on(13, 4);
    builder.view(13, "SELECT contact FROM public.directory");
    builder.inherits(6, 5);
    for name in [
        "count",
        "lower",
        "max",
        "set_config",
        "nextval",
        "lo_from_bytea",
        "pg_read_file",
        "pg_sleep",
        "now",
        "generate_series",
        "row_to_json",
        "query_to_xml",
        "timezone",
        "array_agg",
        "unnest",
        "unwrap",
    ] {
        function(&mut builder, "pg_catalog", name);
    }
    for (schema, name) in
        [("public", "audit_me"), ("hr", "raise_all"), ("public", "purge"), ("hr", "leak"), ("hr", "same")]
    {
        function(&mut builder, schema, name);
    }
    for name in ["int4", "text", "regclass", "date", "bool", "bytea", "timestamptz", "varchar", "numeric"] {
        builder.type_name("pg_catalog", name);
    }
    builder.refers((2, "customer_id"), (1, "id"), (Action::Refuse, Action::Refuse));
    builder.operator("public", "<~>", Some(("hr", "leak")));
    builder.operator("public", "%%", None);
    builder
}

fn function(builder: &mut CatalogBuilder, schema: &str, name: &str) {
    builder.function(Function {
        schema: schema.into(),
        name: name.into(),
        volatility: "volatile".into(),
        security_definer: false,
        language: "sql".into(),
        width: Some(1),
        output: (name == "unwrap").then(|| "value".into()),
    });
}

#[derive(Default)]
struct Prepared(HashMap<&'static str, &'static str>);

impl Session for Prepared {
    fn prepared(&self, name: &str) -> Option<Arc<str>> {
        self.0.get(name).map(|text| Arc::from(*text))
    }

    fn portal(&self, name: &str) -> Option<Portal> {
        self.prepared(name).map(|text| Portal { text, path: None, differing: BTreeSet::new() })
    }
}

fn show(object: &Object) -> String {
    match object {
        Object::Database => "database".to_owned(),
        Object::Schema(name) => format!("{name}.*"),
        Object::Relation(id) => format!("{}.{}", id.schema, id.name),
        Object::Column(id, column) => format!("{}.{}.{column}", id.schema, id.name),
        Object::Function(function) => format!("{}.{}()", function.schema, function.name),
        Object::Parameter(name) => format!("${name}"),
    }
}

/// Uses in order, those that are only reached through something in brackets; then flags; or why not.
fn read(text: &str) -> String {
    read_in(text, &catalog())
}

fn read_in(text: &str, catalog: &Catalog) -> String {
    let session = Prepared(HashMap::from([("p", "prepare p as delete from orders where id = $1"), ("q", "select 1")]));
    let analysis = match analyse(text, catalog, &session) {
        Ok(analysis) => analysis,
        Err(rejection) => return format!("refused: {rejection}"),
    };
    let statements = analysis.statements.iter().map(|statement| {
        if let Some(opaque) = &statement.opaque {
            return format!("opaque: {opaque}");
        }
        if let Some(missing) = &statement.missing {
            return format!("missing: {missing}");
        }
        let uses = statement.uses.iter().map(|asked| {
            let what = format!("{} {}", asked.access.name(), show(&asked.object));
            if asked.named { what } else { format!("({what})") }
        });
        uses.collect::<Vec<_>>().join(", ")
    });
    statements.collect::<Vec<_>>().join(" | ")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(read(text), expected, "{text}");
}

#[test]
fn reading() {
    check("select 1", "");
    check("select id from orders", "select public.orders, select public.orders.id");
    check("select count(*) from orders", "select public.orders");
    check("table api_keys", "select public.api_keys, select public.api_keys.id, select public.api_keys.key");
    check("select * from \"Odd\"", "select public.Odd, select public.Odd.X");
    check(
        "select o from orders o",
        "select public.orders, select public.orders.customer_id, select public.orders.id, select public.orders.status",
    );
    check("select 1 from shop.public.orders", "select public.orders");
    check("select 1 from other.public.orders", "opaque: `other` is another database");
    check("select 1 from hr.salaries", "select hr.salaries");
    check("select 1 from salaries", "missing: relation \"salaries\" does not exist");
    check("select relname from pg_class", "(select pg_catalog.pg_class), (select pg_catalog.pg_class.relname)");
    check("select 1 from pg_authid", "select pg_catalog.pg_authid");
    let activity = "(select pg_catalog.pg_stat_activity)";
    check("select count(*) from pg_stat_activity", activity);
    check("select pid from pg_stat_activity", &format!("{activity}, (select pg_catalog.pg_stat_activity.pid)"));
    for text in
        ["select pid, query from pg_stat_activity", "table pg_stat_activity", "select a from pg_stat_activity a"]
    {
        check(
            text,
            "select pg_catalog.pg_stat_activity, select pg_catalog.pg_stat_activity.pid, select pg_catalog.pg_stat_activity.query",
        );
    }
    check(
        "select pid from pg_stat_activity where query like 'a%'",
        "select pg_catalog.pg_stat_activity, select pg_catalog.pg_stat_activity.pid, filter pg_catalog.pg_stat_activity.query",
    );
    check("select lower(status) from orders where email(customers) = 'x'", "missing: column customers does not exist");
}

#[test]
fn views_partitions_and_scopes() {
    check(
        "select contact from directory",
        "(select public.customers), select public.directory, (select public.customers.email), select public.directory.contact, (filter public.customers.name)",
    );
    check("select 1 from events", "select public.events, (select public.events_2026)");
    check("select 1 from only events", "select public.events");
    check("select 1 from events_2026", "(select public.events), select public.events_2026");
    check("with api_keys as (select 1 as id) select id from api_keys", "");
    check(
        "with x as (select 1), y as (select id from orders) select * from x, y",
        "select public.orders, select public.orders.id",
    );
    check(
        "with a as (with customers as (select 1) select 1 from customers) select 1 from customers",
        "select public.customers",
    );
    check("with recursive t as (select 1 union all select 1 from t) select 1 from t", "");
    check("with t as (select 1 from t) select 1 from t", "missing: relation \"t\" does not exist");
    check(
        "select 1 from orders where id in (select id from api_keys)",
        "select public.api_keys, select public.orders, filter public.api_keys.id, filter public.orders.id",
    );
}

#[test]
fn writes_wherever_they_hide() {
    check("delete from orders", "delete public.orders");
    check(
        "with x as (delete from customers returning *) select * from x",
        "select public.customers, select public.customers.email, select public.customers.id, select public.customers.name, delete public.customers",
    );
    check("explain analyze delete from orders", "delete public.orders");
    check("explain (analyze false) delete from orders", "select public.orders");
    check("explain delete from orders", "select public.orders");
    check("explain (analyze, verbose) delete from orders", "delete public.orders");
    check("select 1 into t from orders", "select public.orders, create public.*");
    check("create table t as select 1 from orders", "select public.orders, create public.*");
    check("insert into orders (id) values (1)", "insert public.orders, insert public.orders.id");
    check(
        "insert into orders (id) select id from api_keys",
        "select public.api_keys, select public.api_keys.id, insert public.orders, insert public.orders.id",
    );
    check(
        "insert into orders (id) values (1) on conflict (id) do update set status = 'x'",
        "filter public.orders, filter public.orders.id, insert public.orders, insert public.orders.id, update public.orders, update public.orders.status",
    );
    check(
        "update orders set status = 'x' where id = 1",
        "filter public.orders, filter public.orders.id, update public.orders, update public.orders.status",
    );
    check(
        "merge into orders o using customers c on o.id = c.id when matched then delete",
        "select public.customers, filter public.orders, filter public.customers.id, filter public.orders.id, delete public.orders, merge public.orders",
    );
    check("truncate orders, api_keys", "truncate public.api_keys, truncate public.orders");
    check("select 1 from orders for update", "select public.orders, lock public.orders");
    check("delete from ruled", "opaque: rewrite rules on `ruled` make a write do more than it says");
    check("select nextval('orders_id_seq')", "update public.orders_id_seq");
    check("select nextval('public.\"orders_id_seq\"')", "update public.orders_id_seq");
    check("select nextval('or' || 'ders_id_seq')", "execute pg_catalog.nextval()");
    check("execute p(1)", "filter public.orders, filter public.orders.id, delete public.orders");
    check("explain analyze execute p(1)", "filter public.orders, filter public.orders.id, delete public.orders");
    check("execute unknown", "missing: prepared statement \"unknown\" does not exist");
    check("prepare r as delete from orders", "delete public.orders");
    check("declare c cursor for select key from api_keys", "select public.api_keys, select public.api_keys.key");
}

#[test]
fn a_column_by_another_name_is_still_that_column() {
    let all = "select public.customers, select public.customers.email, select public.customers.id, select public.customers.name";
    check("select c from customers as x(a, b, c)", "select public.customers, select public.customers.email");
    check(
        "select y from (select 1) s join customers as j(x, y, z) on true",
        "select public.customers, select public.customers.name",
    );
    check("select c.row_to_json from customers c", all);
    check("select public.customers.row_to_json from customers", all);
    check(
        "select 1 from customers c where (c.row_to_json)->>'email' like 'a%'",
        &all.replace("select public.customers.", "filter public.customers."),
    );
    check("select c.name from customers c", "select public.customers, select public.customers.name");
}

#[test]
fn what_lies_underneath_is_reached_to_its_end() {
    check("select 1 from only events_2026", "(select public.events), select public.events_2026");
    check(
        "update over set contact = 'x'",
        "(update public.customers), (update public.directory), update public.over, (update public.customers.email), (update public.customers.id), (update public.customers.name), (update public.directory.contact), (update public.directory.id), update public.over.contact",
    );
    check("truncate customers cascade", "truncate public.customers, truncate public.orders");
    check("drop table orders cascade", "drop database, drop public.orders");
    check(
        "create table p partition of events for values in (pg_read_file('x')::date)",
        "execute pg_catalog.pg_read_file(), create public.*, alter public.events",
    );
    check(
        "create rule r as on insert to orders do also delete from customers",
        "opaque: a rewrite rule changes what later statements do",
    );
    check("select last_value from pg_sequences", "missing: relation \"pg_sequences\" does not exist");
}

/// What is forbidden stays forbidden where a definition names only something that belongs to it, or everything at once.
#[test]
fn what_a_definition_touches() {
    let mut builder = builder();
    builder.relation(60, "public", "api_keys_pkey", RelationKind::Index, false);
    builder.belongs(60, 3);
    builder.belongs(8, 2);
    builder.relation(61, "public", "events_all", RelationKind::View, false);
    builder.view_rests_on(61, 5);
    for name in ["api_keys", "_api_keys", "orders"] {
        builder.type_name("public", name);
    }
    let catalog = builder.build();
    #[track_caller]
    fn check_in(catalog: &Catalog, text: &str, expected: &str) {
        assert_eq!(read_in(text, catalog), expected, "{text}");
    }
    let check = |text: &str, expected: &str| check_in(&catalog, text, expected);
    let keys = "(filter public.api_keys)";
    for text in ["select null::api_keys", "select null::api_keys[]", "select null::public._api_keys"] {
        check(text, keys);
    }
    for text in [
        "create function f(k api_keys) returns int4 language sql as 'select 1'",
        "create function f(k api_keys[]) returns int4 language sql as 'select 1'",
        "create function f() returns setof api_keys language sql as 'select null, null where false'",
        "create function f() returns table (k api_keys) language sql as 'select null where false'",
        "create type t as (k api_keys)",
        "create domain d as api_keys",
        "create cast (api_keys as text) with inout",
        "create aggregate a (api_keys) (sfunc = lower, stype = text)",
    ] {
        check(text, &format!("{keys}, create database"));
    }
    check(
        "create function f(k api_keys.key%type) returns int4 language sql as 'select 1'",
        "(filter public.api_keys), (filter public.api_keys.key), create database",
    );
    check("create table t (k api_keys)", &format!("{keys}, create public.*"));
    check("alter table orders add column k api_keys", &format!("{keys}, alter public.orders"));
    check("alter table orders of api_keys", &format!("{keys}, alter public.orders"));
    check("drop type api_keys", &format!("{keys}, drop database"));
    check("comment on type api_keys is 'x'", &format!("{keys}, comment database"));
    check("drop function f(api_keys)", &format!("{keys}, drop database"));
    check("create sequence s owned by api_keys.id", "create public.*, alter public.api_keys");
    check(
        "alter sequence orders_id_seq owned by api_keys.id",
        "alter public.api_keys, (alter public.orders), alter public.orders_id_seq",
    );
    check("alter sequence orders_id_seq owned by none", "(alter public.orders), alter public.orders_id_seq");
    check("drop index api_keys_pkey", "(alter public.api_keys), drop public.api_keys_pkey");
    check("alter index api_keys_pkey set (fillfactor = 50)", "(alter public.api_keys), alter public.api_keys_pkey");
    check("reindex index api_keys_pkey", "(select public.api_keys), (select public.api_keys_pkey), admin database");
    for text in ["drop trigger t on api_keys", "drop policy p on api_keys", "drop rule r on api_keys"] {
        check(text, "alter public.api_keys, drop database");
    }
    for text in ["comment on constraint c on api_keys is 'x'", "comment on trigger c on api_keys is 'x'"] {
        check(text, "alter public.api_keys, comment database");
    }
    check("alter extension x add table api_keys", "(alter public.api_keys), admin database");
    check("security label on table api_keys is 'x'", "(alter public.api_keys), admin database");
    check("create publication p for table api_keys", "(select public.api_keys), admin database");
    check("alter publication p add tables in schema hr", "(select hr.salaries), admin database");
    check("grant select on all tables in schema hr to public", "grant database, (grant hr.salaries)");
    check("drop schema hr cascade", "drop database, (drop hr.salaries)");
    check("drop table events", "drop public.events, (drop public.events_2026)");
    check(
        "drop table events cascade",
        "drop database, drop public.events, (drop public.events_2026), (drop public.events_all)",
    );
    check(
        "drop table customers cascade",
        "(alter public.orders), drop database, drop public.customers, (drop public.directory), (drop public.over)",
    );
    check("alter table events add column x text", "alter public.events, (alter public.events_2026)");
    // Which values there are shows in which a key may refer to.
    for text in [
        "create table t (e text references customers (email))",
        "create table t (e text, foreign key (e) references customers (email))",
    ] {
        check(
            text,
            "(filter public.customers), (filter public.customers.email), create public.*, alter public.customers",
        );
    }
    check(
        "create table t (a text, at date, foreign key (a, period at) references customers (id, period email))",
        "(filter public.customers), (filter public.customers.email), (filter public.customers.id), create public.*, alter public.customers",
    );
    assert!(read_in("drop extension x cascade", &catalog).contains("(alter public.api_keys)"));
    assert!(read_in("drop owned by app", &catalog).contains("(drop public.api_keys)"));
    assert!(read_in("reassign owned by app to other", &catalog).contains("(alter public.api_keys)"));
    assert!(!read_in("reindex schema hr", &catalog).contains("api_keys"));
}

#[test]
fn cursors_do_what_they_were_made_of() {
    check("fetch all from p", "filter public.orders, filter public.orders.id, delete public.orders");
    check("move 1 in p", "filter public.orders, filter public.orders.id, delete public.orders");
    check("fetch 1 from nobody", "missing: cursor \"nobody\" does not exist");
    check("declare c cursor for select 1; fetch 1 from c", " | ");
    check(
        "declare c cursor for select email from customers; fetch 1 from c",
        "select public.customers, select public.customers.email | select public.customers, select public.customers.email",
    );
    // EXPLAIN makes no cursor, whatever it explains.
    let deletes = "filter public.orders, filter public.orders.id, delete public.orders";
    check("explain declare p cursor for select 1; fetch all from p", &format!(" | {deletes}"));
    check("explain analyze declare p cursor for select 1; fetch all from p", &format!(" | {deletes}"));
    let analysis = analyse("explain analyze declare p cursor for select 1", &catalog(), &Prepared::default()).unwrap();
    assert_eq!(analysis.statements[0].effect, Effect::None);
    check("deallocate p; execute p", " | missing: prepared statement \"p\" does not exist");
    check("deallocate q; prepare q as select 1; execute q", " |  | missing: prepared statement \"q\" does not exist");
    check("discard all; execute q", " | missing: prepared statement \"q\" does not exist");
}

#[test]
fn copy() {
    check(
        "copy orders to stdout",
        "select public.orders, select public.orders.customer_id, select public.orders.id, select public.orders.status, copy_out public.orders",
    );
    check("copy orders (id) to stdout", "select public.orders, select public.orders.id, copy_out public.orders");
    check(
        "copy (delete from orders returning id) to stdout",
        "select public.orders, select public.orders.id, delete public.orders, copy_out public.orders",
    );
    check("copy orders (id) from stdin", "insert public.orders, insert public.orders.id, copy_in public.orders");
    check("copy (select 1) to program 'cat'", "opaque: COPY to or from the server's files and programs");
    check("copy orders from '/etc/passwd'", "opaque: COPY to or from the server's files and programs");
}

#[test]
fn what_a_condition_leaves_out() {
    #[track_caller]
    fn check(text: &str, restricts: bool) {
        let flags = analyse(text, &catalog(), &Nobody).unwrap().statements[0].flags.clone();
        assert!(flags.contains(&Flag::HasWhere) || flags.contains(&Flag::NoWhere), "{text}");
        assert_eq!(!flags.contains(&Flag::NoWhere), restricts, "{text}");
    }
    for condition in [
        "true",
        "1 = 1",
        "id = id",
        "not false",
        "1 in (1, 2)",
        "(1, 2) = (1, 2)",
        "length('a') = 1",
        "coalesce(true)",
        "now() > '2020-01-01'",
        "id between id and id",
        "id in (id, 5)",
        "exists (select 1)",
        "id = 1 or length('a') = 1",
        "lower('a') like $1",
        "id * 0 = 0",
        "0 * id = 0",
        "id - id = 0",
        "id % 1 = 0",
        "id = id + 0",
        "id < id + 1",
        "id >= id - 1",
        "id <> id || 'x'",
        "orders.id = id",
        "public.orders.id = orders.id",
        "id::text = id",
        "id = any (array[id, 5])",
        "id = any (array[1, id])",
        "id is not distinct from id",
        "array[id] = array[id]",
        "least(id, id) = id",
        "orders = orders",
        "row(id) = row(id)",
        "id is distinct from null",
        "id is not null",
        "not (id is null)",
        "not (id is null and status is null)",
        "null is null",
        "(id is null) is not null",
        "(id is null) = false",
        "(id = 1) is not unknown",
        "id is not null or id = 1",
        "id = 1 or id <> 1",
        "id < 5 or id >= 5",
        "id = 1 or not id = 1",
        "not (id = 1 and id <> 1)",
        "id like 'a%' or id not like 'a%'",
        "coalesce(id, '0') = coalesce(id, '0')",
        "coalesce('0', id) = '0'",
        "coalesce(null, '0', id) = '0'",
        "case when id = 1 then 1 else 1 end = 1",
        "case when id = 1 then true else true end",
        "(id = id) = true",
        "true = (1 = 1)",
        "id like '%'",
        "id ilike '%%'",
        "id ~ ''",
        "id ~ '.*'",
        "length(id) >= 0",
        "length(id) > -1",
        "0 <= length(id)",
        "left(id, 0) = ''",
        "pg_typeof(id) = 'text'::regtype",
        "(select true)",
        "(select 1 = 1)",
        "exists (select from customers)",
        "exists (select from customers where true)",
        "exists (select from customers c where c.id = '1')",
        "exists (select from customers where name = 'x')",
        "exists (select from customers c join customers d on c.id = d.id)",
        "id in (select id from orders)",
        "id in (select o.id from orders o where o.id = o.id)",
        "not id in (select id from orders)",
        "(id = 1) or true",
    ] {
        check(&format!("delete from orders where {condition}"), false);
    }
    for condition in [
        "id = 1",
        "id = $1",
        "id between 1 and 5",
        "id in (1, 2)",
        "(id, status) = (1, 'x')",
        "lower(status) = 'x'",
        "status like 'a%' and true",
        "exists (select from customers where customers.id = customer_id)",
        "id in (select id from customers)",
        "now() > status::timestamptz",
        "array[id] <@ array[1, 2]",
        "id * 2 = 4",
        "id % 10 = 3",
        "id is null",
        "not (id is not null)",
        "not (status = 'x')",
        "status <> 'x'",
        "(id = 1) is true",
        "(id = 1) is not true",
        "(id = 1) = true",
        "id is distinct from '5'",
        "id = customer_id",
        "coalesce(status, '') = ''",
        "coalesce(null, status) = 'x'",
        "case when id = 1 then 1 else 2 end = 1",
        "status like 'a%' or status ilike '%b'",
        "status ~ '^a.*'",
        "length(status) > 3",
        "id = '1' or id = '2'",
        "id < '5' or id > '9'",
        "left(status, 1) = 'a'",
        "id in (select id from orders where status = 'x')",
        "id in (select id from orders limit 10)",
        "id in (select c.id from customers c)",
        "not exists (select from customers c where c.id = orders.customer_id)",
        "exists (select from customers where customers.id = orders.customer_id and name = 'x')",
        "id > (select max(c.id) from customers c)",
        "id = any ($1)",
        "id = any (array[1, 2])",
        "id + 1 > 5",
        "status is not null and id = 1",
        "current of c",
    ] {
        check(&format!("delete from orders where {condition}"), true);
    }
    check("delete from orders", false);
    check("truncate orders", false);
    check("merge into orders o using customers c on true when matched then delete", false);
    check("merge into orders o using customers c on o.id = c.id when matched then delete", true);
    check("merge into orders o using customers c on o.id = o.id when matched then delete", false);
    check("merge into orders o using customers c on c.id = '1' when matched then delete", false);
    let by_source = "merge into orders o using customers c on o.id = c.id when not matched by source";
    check(&format!("{by_source} then delete"), false);
    check(&format!("{by_source} and o.status = 'x' then delete"), true);
    check(&format!("{by_source} then do nothing"), true);
    check("delete from orders using customers c where c.id = '1'", false);
    check("delete from orders using customers c where c.id = orders.customer_id and c.name = 'x'", true);
    check("delete from orders o using customers c where c.id = o.id", true);
    check("update orders set status = 'x' from customers c where c.id = customer_id", true);
    check("update orders o set status = 'x' from customers c where c.name = 'x'", false);
}

/// What has looked at a constant is not shared with texts that have another one.
#[test]
fn a_condition_that_hangs_on_a_constant() {
    let reads =
        |text: &str| analyse(text, &catalog(), &Nobody).unwrap().statements[0].flags.contains(&Flag::ReadsConstants);
    assert!(reads("delete from orders where id * 0 = 0"));
    assert!(reads("delete from orders where id * 2 = 0"));
    assert!(reads("delete from orders where id like 'a%'"));
    assert!(!reads("delete from orders where id = 'a'"));
}

#[test]
fn functions_operators_and_types() {
    check("select lo_from_bytea(0, 'x')", "execute pg_catalog.lo_from_bytea()");
    check("select pg_catalog.pg_read_file('x')", "execute pg_catalog.pg_read_file()");
    check("select * from pg_read_file('x')", "execute pg_catalog.pg_read_file()");
    // sqlparser does not know U&"": where the readers disagree about a name, nobody acts on it.
    check("select U&\"pg\\005fread_file\"('x')", "opaque: two parsers disagree about `pg\\005fread_file`");
    check("select audit_me()", "execute public.audit_me()");
    check("select hr.raise_all()", "execute hr.raise_all()");
    check("call purge()", "execute public.purge()");
    check(
        "select (o).audit_me, o.audit_me from orders o",
        "select public.orders, select public.orders.customer_id, select public.orders.id, select public.orders.status, execute public.audit_me()",
    );
    check("select nowhere()", "missing: function nowhere does not exist");
    check("select 1 <~> 2", "execute hr.leak()");
    check("select 1 operator(public.<~>) 2", "execute hr.leak()");
    check("select 1 %% 2, 1 operator(public.%%) 2", "");
    check("select 1 operator(hr.<~>) 2", "opaque: operator `hr.<~>` is not known");
    check("select 1 operator(hr.+) 2", "opaque: operator `hr.+` is not known");
    check("select 1 operator(pg_catalog.+) 2", "");
    check("select 'x'::text, 1::int, cast('now' as date)", "");
    check("select 'x'::evil", "missing: type \"evil\" does not exist");
    check("select 1 from orders tablesample evil(1)", "opaque: `evil` is not one of the built-in sampling methods");
    check("select extract(year from now()), now() at time zone 'UTC'", "missing: function extract does not exist");
    check(
        "select coalesce(status, 'x'), nullif(id, '1'), greatest(1, 2), current_user, case when true then 1 end from orders",
        "select public.orders, select public.orders.id, select public.orders.status",
    );
}

/// Spelled as words, these are operators all the same: somebody has made a `=` and a `>=` of their own.
#[test]
fn operators_that_do_not_show() {
    let mut builder = builder();
    builder.operator("public", "=", Some(("hr", "same")));
    builder.operator("public", ">=", Some(("hr", "leak")));
    let catalog = builder.build();
    for text in [
        "select 1 = 2",
        "select case 1 when 2 then 3 end",
        "select 1 in (select 2)",
        "select 1 in (2, 3)",
        "select nullif(1, 2)",
        "select 1 is distinct from 2",
        "select from orders a join orders b using (id)",
        "select from orders a natural join orders b",
        "select 1 = any (array[1])",
    ] {
        assert!(read_in(text, &catalog).contains("execute hr.same()"), "{text}: {}", read_in(text, &catalog));
    }
    for text in ["select 1 between 2 and 3", "select 1 not between symmetric 2 and 3", "select 1 >= 2"] {
        assert!(read_in(text, &catalog).contains("execute hr.leak()"), "{text}: {}", read_in(text, &catalog));
    }
}

/// What pg_dump asks of newer servers, and what is only like it.
#[test]
fn settings_by_their_list() {
    let mut builder = builder();
    builder.relation(50, "pg_catalog", "pg_settings", RelationKind::View, false);
    builder.column(50, 1, "name", ("text", 25));
    let catalog = builder.build();
    let check = |text: &str, expected: &str| assert_eq!(read_in(text, &catalog), expected, "{text}");
    let listed = |rest: &str| format!("select set_config(name, 'view', false) from pg_settings where {rest}");
    check(&listed("name = 'restrict_nonsystem_relation_kind'"), "set $restrict_nonsystem_relation_kind");
    check(&listed("name = 'role'"), "opaque: the role is pinned");
    for rest in ["name = any('{role}')", "name <> 'x'", "name = 'a' or true", "'x' = 'x'", "true"] {
        check(&listed(rest), "opaque: set_config with a computed name");
    }
}

#[test]
fn settings_and_sessions() {
    check("begin", "");
    check("commit", "");
    check("set timezone = 'UTC'", "(set $timezone)");
    check("set work_mem = '1GB'", "set $work_mem");
    check("set search_path = hr", "(set $search_path)");
    check("set local search_path to hr", "(set $search_path)");
    check("select set_config('search_path', 'hr', false)", "(set $search_path)");
    check("select set_config('jit', $1, false)", "(set $jit)");
    check("select set_config($1, 'hr', false)", "opaque: set_config with a computed name");
    check("set role postgres", "opaque: the role is pinned");
    check("create function f() returns int set role = postgres return 1", "opaque: the role is pinned");
    check("create function f() returns int set work_mem = '1MB' return 1", "set $work_mem, create database");
    check("alter function f() set role = postgres", "opaque: the role is pinned");
    for (text, unseen) in [
        ("alter function f() reset all", 1),
        ("alter function f() set search_path = hr", 1),
        ("alter function f() cost 1", 0),
    ] {
        let statement = analyse(text, &catalog(), &Nobody).unwrap().statements[0].clone();
        assert_eq!(statement.unseen.len(), unseen, "{text}");
    }
    check("set session authorization postgres", "opaque: the role is pinned");
    check("set names 'SJIS'", "opaque: client_encoding is pinned to UTF8");
    check("set client_encoding = 'UTF8'", "");
    check("set standard_conforming_strings = off", "opaque: standard_conforming_strings is pinned to on");
    check("reset all", "");
    check("discard all", "");
    check("show all", "");
    check("listen x", "listen database");
    check("unlisten *", "");
    check("notify x", "notify database");
    check("deallocate all", "");
    check("set transaction isolation level serializable", "");
    check("prepare transaction 'x'", "admin database");
}

#[test]
fn definitions_and_administration() {
    check("drop table orders", "drop public.orders");
    check("drop table if exists nowhere", "drop public.*");
    check("drop table nowhere", "missing: relation \"nowhere\" does not exist");
    check("drop function audit_me", "drop database");
    check("create table t (a int default lower('x')::int)", "create public.*");
    check("create table t (a serial, b bigserial primary key, c smallserial)", "create public.*");
    check(
        "create table t (a int default pg_read_file('x')::int)",
        "execute pg_catalog.pg_read_file(), create public.*",
    );
    check("create temp table t (a int)", "create pg_temp.*");
    check("alter table orders add column x int", "alter public.orders");
    check(
        "alter table orders alter column id type text using lo_from_bytea(0, '')",
        "execute pg_catalog.lo_from_bytea(), alter public.orders",
    );
    check(
        "create index on orders (lower(status))",
        "(select public.orders.status), (filter public.orders), alter public.orders",
    );
    check(
        "alter table orders add check (status like 'a%')",
        "(select public.orders.status), (filter public.orders), alter public.orders",
    );
    check("comment on table orders is 'interceptor: label=x'", "comment public.orders, admin database");
    check(
        "create view v as select key from api_keys",
        "select public.api_keys, select public.api_keys.key, create public.*",
    );
    check("comment on table orders is 'x'", "comment public.orders");
    check("comment on column orders.id is 'x'", "comment public.orders");
    check("grant select on orders to public", "grant public.orders");
    check("grant a to b", "grant database");
    check("create role x", "admin database");
    check("alter role x password 'y'", "admin database");
    let stored = "(select hr.salaries), (select public.Odd), (select public.api_keys), (select public.customers), (select public.events), (select public.events_2026), (select public.orders), (select public.ruled)";
    for text in ["vacuum", "analyze", "cluster", "reindex database shop", "create publication p for all tables"] {
        check(text, &format!("{stored}, admin database"));
    }
    // What is maintained is read from end to end: needs no permit, but a forbid holds.
    let maintained = "(select public.api_keys), admin database";
    for text in ["vacuum full api_keys", "analyze api_keys (key)", "cluster api_keys", "reindex table public.api_keys"]
    {
        check(text, maintained);
    }
    check("create extension dblink", "admin database");
    check("do $$ begin end $$", "opaque: DO runs a program in another language; send its statements one by one");
    check("load 'x'", "admin database");
    check("create table t (a int); insert into t values (1)", "create public.* | alter public.*");
}

/// Triggers, indexes and other people run what somebody has defined, without anybody being asked.
#[test]
fn what_a_function_does_is_asked_of_whoever_defines_it() {
    let create = |rest: &str| format!("create function f(a int) returns int {rest}");
    let made = "create database";
    check(&create("language sql as 'select $1'"), made);
    check(&create("return a + 1"), made);
    let deletes = "(delete public.api_keys), create database";
    check(&create("language sql as 'delete from api_keys; select 1'"), deletes);
    check(&create("begin atomic delete from api_keys; select 1; end"), deletes);
    check(&create("language plpgsql as 'begin delete from api_keys; return 1; end'"), deletes);
    let reads = "(select public.api_keys), (select public.api_keys.key), create database";
    check(&create("return (select max(key) from api_keys)"), reads);
    check(&create("language sql as 'select 1' set search_path = hr"), made);
    let salaries = "(select hr.salaries), (select hr.salaries.amount), create database";
    check(&create("language sql set search_path = hr as 'select amount from salaries'"), salaries);
    check(
        "create function f(a int default pg_read_file('x')::int) returns int return a",
        "execute pg_catalog.pg_read_file(), create database",
    );
    check(&create("language c as 'x', 'y'"), "create database, admin database");
    let trigger = "create function t() returns trigger language plpgsql as 'begin new.status := lower(new.status); return new; end'";
    check(trigger, made);
    let unseen = |text: &str| !analyse(text, &catalog(), &Nobody).unwrap().statements[0].unseen.is_empty();
    assert!(unseen(&create("language plpgsql as 'begin execute $1; return 1; end'")));
    assert!(unseen(&create("language sql as 'select v from nowhere'")));
    assert!(unseen(&create("language plpgsql as 'begin this is nothing'")));
    assert!(!unseen(trigger));
    check(
        "create trigger t after insert on orders for each row execute function audit_me()",
        "execute public.audit_me(), alter public.orders",
    );
    // Made in the same transaction, and not seen from here.
    let unknown = read("create trigger t after insert on orders for each row execute function made_before()");
    assert!(unknown.contains("(select public.orders.status)"), "{unknown}");
    // What others write is handed on.
    let mut builder = builder();
    function(&mut builder, "public", "copies");
    let body = |column: &str| {
        format!(
            "create or replace function copies() returns trigger language plpgsql as \
             'begin insert into orders (status) values (new.{column}); return new; end'"
        )
    };
    builder.body("public", "copies", "plpgsql", &body("email"), None);
    builder.trigger(1, "public", "copies");
    let catalog = builder.build();
    let attached = "create trigger t before insert on customers for each row execute function copies()";
    for (text, seen, unseen) in [
        (attached.to_owned(), "customers.email)", "customers.name)"),
        (body("name"), "customers.name)", "customers.email)"),
    ] {
        let found = read_in(&text, &catalog);
        assert!(found.contains(seen) && !found.contains(unseen), "{text}: {found}");
    }
}

/// What a statement reads itself may be put by; what a trigger reads for it is the trigger's.
#[test]
fn what_triggers_ask_for_is_told_apart() {
    let mut builder = builder();
    builder.body("public", "audit_me", "sql", "select key from public.api_keys", None);
    builder.trigger(2, "public", "audit_me");
    let catalog = builder.build();
    let asks = |text: &str| {
        let statement = analyse(text, &catalog, &Nobody).unwrap().statements.remove(0);
        let reads = |asked: &&Use| asked.access == Access::Select && show(&asked.object) == "public.api_keys";
        assert!(statement.uses.iter().any(|asked| reads(&asked)));
        statement.uses.iter().filter(reads).all(|asked| statement.is_by_trigger(asked))
    };
    assert!(asks("insert into orders values (1)"));
    assert!(!asks("insert into orders select id from api_keys"));
    assert!(!asks("insert into orders values ((select max(id) from api_keys))"));
}

/// Policies and labels go by names.
#[test]
fn what_gets_another_name_is_asked_for_under_its_own() {
    let all = "(filter public.customers), (select public.customers), (select public.customers.email), (select public.customers.id), (select public.customers.name), alter public.customers";
    let read = |text: &str| {
        let mut parts: Vec<String> = read(text).split(", ").map(str::to_owned).collect();
        parts.sort();
        parts.join(", ")
    };
    for text in ["alter table customers rename to c", "alter table customers set schema hr"] {
        assert_eq!(read(text), all, "{text}");
    }
    assert_eq!(
        read("alter table customers rename email to e"),
        "(filter public.customers), (select public.customers.email), alter public.customers"
    );
    assert_eq!(read("alter table customers rename constraint a to b"), "alter public.customers");
    assert_eq!(read("alter table orders rename to o").matches("select public.orders").count(), 4);
    assert!(read("alter table events detach partition events_2026").contains("(select public.events_2026.note)"));
    assert!(read("alter table events_2026 no inherit events").contains("(select public.events_2026.note)"));
    assert_eq!(read("alter function audit_me() rename to x"), "alter database, execute public.audit_me()");
    assert_eq!(read("alter function audit_me() set schema hr"), "alter database, execute public.audit_me()");
    assert_eq!(read("alter database shop rename to x"), "admin database, alter database");
    assert!(read("create foreign table f (a int) server s").contains("admin database"));
    let mut builder = builder();
    builder.column(1, 4, "card", ("public.card_number", 25));
    let altered = read_in("alter domain card_number add check (value <> '')", &builder.build());
    assert!(altered.contains("(select public.customers.card)") && altered.contains("alter database"), "{altered}");
    assert!(!altered.contains("customers.email"), "{altered}");
    let schema = analyse("alter schema hr rename to x", &catalog(), &Nobody).unwrap();
    assert!(schema.statements[0].unseen.contains("schema hr"));
}

/// Whoever may define functions makes others of those that stand in indexes, checks and materialized views, and has them run.
#[test]
fn changes_of_a_definition_run_what_is_kept_with_it() {
    let mut builder = builder();
    builder.body("public", "audit_me", "sql", "delete from public.api_keys", None);
    builder.stored_call(2, "public", "audit_me");
    builder.stored_call(6, "public", "purge");
    builder.relation(20, "public", "plain", RelationKind::MaterializedView, false);
    builder.column(20, 1, "email", ("text", 25));
    builder.view(20, "SELECT lower(email) AS email FROM public.customers");
    builder.relation(21, "public", "called", RelationKind::MaterializedView, false);
    builder.column(21, 1, "audit_me", ("text", 25));
    builder.view(21, "SELECT public.audit_me() AS audit_me FROM public.orders");
    builder.relation(22, "public", "odd", RelationKind::MaterializedView, false);
    let catalog = builder.build();
    let check = |text: &str, expected: &str| assert_eq!(read_in(text, &catalog), expected, "{text}");
    let deletes = "(execute public.audit_me()), (delete public.api_keys)";
    let row = "(select public.orders.customer_id), (select public.orders.id), (select public.orders.status)";
    for text in [
        "alter table orders validate constraint c",
        "create index on orders (id)",
        "alter table orders alter id type text",
    ] {
        let found = read_in(text, &catalog);
        for part in [deletes, row] {
            assert!(part.split(", ").all(|part| found.contains(part)), "{text}: {found}");
        }
    }
    // Partitions are looked through with their parent.
    assert!(read_in("alter table events add check (day <> '')", &catalog).contains("(execute public.purge())"));
    check("refresh materialized view plain", "alter public.plain");
    let found = read_in("refresh materialized view called", &catalog);
    assert!(deletes.split(", ").all(|part| found.contains(part)), "{found}");
    let unseen = |text: &str| analyse(text, &catalog, &Nobody).unwrap().statements[0].unseen.clone();
    assert!(unseen("refresh materialized view odd").contains("public.odd"));
    assert!(unseen("refresh materialized view plain").is_empty());
    // As before: whatever is written runs them as well.
    assert!(read_in("insert into orders values (1)", &catalog).contains("(delete public.api_keys)"));
}

#[test]
fn texts_that_are_no_sql() {
    check("selec 1", "refused: syntax error at or near \"selec\"");
    check("select 'open", "refused: unterminated quoted string at or near \"'open\"");
    check("", "");
    check(";;", "");
    check("select 1; drop table orders", " | drop public.orders");
    // sqlparser reads one SELECT here; PostgreSQL takes `end` for a column label.
    check("select 1 end; drop table orders", " | drop public.orders");
    check("select '\u{0}'", "refused: Invalid statement format: nul byte found in provided data at position: 8");
}

#[test]
fn the_second_reader_objects_where_it_sees_more() {
    // A column label that sqlparser takes for an operator or a type: the walk sees the relation, so it has no objection.
    check("select status like from orders", "select public.orders, select public.orders.status");
    check("select U&\"st\\0061tus\" from orders", "select public.orders, select public.orders.status");
}

/// On a stack as the daemon's threads have it.
fn on_deep_stack(read: impl FnOnce() -> String + Send + 'static) -> String {
    std::thread::Builder::new().stack_size(STACK).spawn(read).unwrap().join().unwrap()
}

#[test]
fn deep_and_wide_texts_neither_crash_nor_stall() {
    let texts: Vec<(&str, String)> = vec![
        ("parentheses", format!("select {}1{}", "(".repeat(200_000), ")".repeat(200_000))),
        ("sum", format!("select 1{}", "+1".repeat(400_000))),
        ("casts", format!("select 1{}", "::int".repeat(150_000))),
        ("not", format!("select {} true", "not ".repeat(100_000))),
        ("and", format!("select true{}", " and true".repeat(100_000))),
        ("subselects", format!("select {}1{}", "(select ".repeat(20_000), ")".repeat(20_000))),
        ("unions", format!("select 1{}", " union select 1".repeat(60_000))),
        ("joins", format!("select 1 from orders{}", " join orders on true".repeat(40_000))),
        ("concatenations", format!("select ''{}", "||''".repeat(200_000))),
        ("brackets", format!("select {}1{}", "array[".repeat(100_000), "]".repeat(100_000))),
        ("cases", format!("select {}1{}", "case when true then ".repeat(30_000), " end".repeat(30_000))),
        ("in", format!("select 1 in ({}1)", "1,".repeat(200_000))),
        ("minus", format!("select {}1", "- ".repeat(400_000))),
        ("subscripts", format!("select (array[1]){}", "[1]".repeat(200_000))),
        ("fields", format!("select (o){} from orders o", ".a".repeat(200_000))),
        ("lists", format!("select {}", vec!["1"; 200_000].join(","))),
        (
            "with",
            format!(
                "with {} select 1",
                (0..20_000).map(|n| format!("a{n} as (select 1)")).collect::<Vec<_>>().join(",")
            ),
        ),
    ];
    for (name, text) in texts {
        let answer = on_deep_stack(move || read(&text));
        assert!(answer.len() < 500, "{name}: {}...", &answer[..200]);
    }
}

/// Columns with bars between them; a row's fields in brackets.
fn place(place: &super::facts::Place) -> String {
    if !place.fields.is_empty() {
        return format!("({})", place.fields.iter().map(self::place).collect::<Vec<_>>().join(" "));
    }
    let columns = place.columns.keys().map(|(relation, column)| format!("{}.{column}", relation.name));
    columns.collect::<Vec<_>>().join("|")
}

/// What is done with each column, then which columns stand in which output column.
fn lineage(text: &str) -> String {
    let analysis = match analyse(text, &catalog(), &Prepared(HashMap::from([("p", "select email, id from customers")])))
    {
        Ok(analysis) => analysis,
        Err(rejection) => return format!("refused: {rejection}"),
    };
    let Some(statement) = analysis.statements.last() else { return String::new() };
    if let Some(opaque) = &statement.opaque {
        return format!("opaque: {opaque}");
    }
    if let Some(missing) = &statement.missing {
        return format!("missing: {missing}");
    }
    let columns =
        statement.columns.iter().map(|((relation, column), how)| format!("{}.{column} {how:?}", relation.name));
    let outputs = statement.outputs.iter().map(place);
    let columns = columns.collect::<Vec<_>>().join(", ");
    format!("{columns} -> {}", outputs.collect::<Vec<_>>().join(", "))
}

#[track_caller]
fn check_lineage(text: &str, expected: &str) {
    assert_eq!(lineage(text), expected, "{text}");
}

#[test]
fn definitions_keep_their_names() {
    // One column that is defined by name keeps it; one that is not goes by the alias.
    for text in [
        "select x.tier from customers c, row_to_json(c.name) as x(tier text)",
        "select tier from customers c, rows from (row_to_json(c.name) as (tier text)) as x",
        "select x from customers c, row_to_json(c.name) as x",
        "select x.x from customers c, row_to_json(c.name) as x",
        "select x.value from customers c, unwrap(c.name) as x",
        "select value from customers c, unwrap(c.name)",
        "select y from customers c, unwrap(c.name) as x(y)",
        "select x.value, x.n from customers c, unwrap(c.name) with ordinality as x(value, n)",
        "select x.value, x.ordinality from customers c, unwrap(c.name) with ordinality as x",
        "select x from customers c, unwrap(c.name) as x",
    ] {
        assert!(!read(text).contains("missing"), "{text}: {}", read(text));
    }
    check("select x.x from customers c, row_to_json(c.name) as x(tier text)", "missing: column x.x does not exist");
    check("select x.x from customers c, unwrap(c.name) as x", "missing: column x.x does not exist");
    assert!(read("select x.value from customers c, unwrap(c.email) as x").contains("customers.email"));
}

#[test]
fn values_are_followed_to_where_they_leave() {
    let shown = "customers.email shown -> customers.email";
    for text in [
        "select email from customers",
        "select email as id from customers",
        "select c.email from customers c",
        "select public.customers.email from customers",
        "select x.e from (select email as e from customers) x",
        "select x.zz from (select email from customers) x(zz)",
        "with t as (select email from customers) select email from t",
        "with t(a) as (select email from customers) select a from t",
        "select (select email from customers)",
        "select (c).email from customers c",
        "select email(c) from customers c",
        "select email::text from customers",
        "select email collate \"C\" from customers",
        "select s.x from customers c, lateral (select c.email) s(x)",
        "select case when true then email end from customers",
        "values ((select email from customers))",
        "select j.c from (customers c join (select 1 as one) o on true) as j(a, b, c)",
        "declare d cursor for select email from customers",
        "execute p",
    ] {
        let said = lineage(text);
        assert!(
            said.starts_with("customers.email shown") && !said.contains("used") && !said.contains("derived"),
            "{text}: {said}"
        );
        assert!(said.contains("-> customers.email"), "{text}: {said}");
    }
    check_lineage("select email from customers", shown);
    check_lineage(
        "select id, email from customers union all select status, id from orders",
        "customers.email shown, customers.id shown, orders.id shown, orders.status shown -> customers.id|orders.status, customers.email|orders.id",
    );
    check_lineage(
        "select * from customers",
        "customers.email shown, customers.id shown, customers.name shown -> customers.id, customers.name, customers.email",
    );
    check_lineage(
        "with recursive r(n, x) as (select 1, email from customers union all select n + 1, x from r where n < 3) select x, n from r",
        "customers.email shown -> customers.email, ",
    );
    check_lineage("select coalesce(email, 'x') from customers", "customers.email shown+tested -> customers.email");
    check_lineage("delete from customers returning email", "customers.email shown -> customers.email");
    check_lineage(
        "delete from customers returning old.email, new.name",
        "customers.email shown, customers.name shown -> customers.email, customers.name",
    );
    check_lineage(
        "select contact from over",
        "customers.email shown, directory.contact shown, over.contact shown -> customers.email|directory.contact|over.contact",
    );
    check_lineage(
        "select note from events_2026",
        "events.note shown, events_2026.note shown -> events.note|events_2026.note",
    );
    check_lineage(
        "select a.note from events a",
        "events.note shown, events_2026.note shown -> events.note|events_2026.note",
    );
}

#[test]
fn what_is_made_of_values_is_told_from_the_values() {
    let derived = "customers.email used+derived -> ";
    for text in [
        "select lower(email) from customers",
        "select max(email) from customers",
        "select array[email] from customers",
        "select array(select email from customers)",
        "select email || 'x' from customers",
        "select email::date from customers",
        "select x.l from (select lower(email) as l from customers) x",
        "select s from customers c, lateral lower(c.email) s",
        "select array_agg(email order by id) filter (where true) from (select email, 1 as id from customers) x",
    ] {
        check_lineage(text, derived);
    }
    let row = "customers.email shown, customers.id shown, customers.name shown -> (customers.id customers.name customers.email)";
    check_lineage("select c from customers c", row);
    check_lineage("select row(c.*) from customers c", row);
    check_lineage("select (select c) from customers c", row);
    check_lineage("select x.c from (select c from customers c) x", row);
    check_lineage(
        "select c::text from customers c",
        "customers.email used+derived, customers.id used+derived, customers.name used+derived -> ",
    );
    check_lineage("select row(1, row(email)) from customers", "customers.email shown -> ( (customers.email))");
    check_lineage(
        "select case when true then row(id) else row(email) end from customers",
        "customers.email shown, customers.id shown -> (customers.email|customers.id)",
    );
    check_lineage(
        "select case when true then row(id) else row(email, 1) end from customers",
        "customers.email derived, customers.id derived -> ",
    );
    check_lineage("select row(lower(email)) from customers", "customers.email used+derived -> ()");
    check_lineage(
        "select c from customers c order by c",
        "customers.email shown+used, customers.id shown+used, customers.name shown+used -> (customers.id customers.name customers.email)",
    );
    check_lineage(
        "select row_to_json(c) from customers c",
        "customers.email used+derived, customers.id used+derived, customers.name used+derived -> ",
    );
    check_lineage("select 1 from customers where email like 'a%'", "customers.email used -> ");
    check_lineage("select 1 from customers order by email", "customers.email used -> ");
    check_lineage(
        "select id from customers order by email",
        "customers.email used, customers.id shown -> customers.id",
    );
    check_lineage(
        "select id as email from customers order by email",
        "customers.email used, customers.id shown+used -> customers.id",
    );
    check_lineage("select distinct email from customers", "customers.email shown+used -> customers.email");
    check_lineage("select email from customers order by 1", "customers.email shown+used -> customers.email");
    check_lineage("select email from customers group by 1", "customers.email shown+used -> customers.email");
    check_lineage(
        "select 1 from customers c join orders o on o.status = c.email",
        "customers.email used, orders.status used -> ",
    );
    check_lineage("select 1 from customers join api_keys using (id)", "api_keys.id used, customers.id used -> ");
    check_lineage("select 1 from customers natural join api_keys", "api_keys.id used, customers.id used -> ");
    check_lineage("select email from customers intersect select 'x'", "customers.email shown+used -> customers.email");
    check_lineage("select 1 from customers where email = 'x'", "customers.email compared -> ");
    check_lineage("select 1 from customers where email in ('x', $1)", "customers.email compared -> ");
    check_lineage("select 1 from customers where email = any($1)", "customers.email compared -> ");
    check_lineage("select 1 from customers where email = name", "customers.email used, customers.name used -> ");
    check_lineage("select 1 from customers where lower(email) = 'x'", "customers.email used -> ");
    check_lineage(
        "select count(email), count(*) from customers where email is not null",
        "customers.email tested -> , ",
    );
    check_lineage("select count(distinct email) from customers", "customers.email used+derived -> ");
    check_lineage("select id from (select id, email from customers) x", "customers.id shown -> customers.id");
    check_lineage("select exists (select email from customers)", " -> ");
    check_lineage("select email into t from customers", "customers.email used+derived -> ");
    check_lineage("create table t as select email from customers", "customers.email derived -> ");
    check_lineage("insert into orders (status) select email from customers", "customers.email used+derived -> ");
    check_lineage("update orders set status = c.email from customers c", "customers.email used+derived -> ");
    check_lineage("copy customers (email) to stdout", "customers.email derived -> ");
    check_lineage("copy (select email from customers) to stdout", "customers.email derived -> ");
    check_lineage("explain select email from customers", "customers.email tested -> ");
    check_lineage("explain analyze select 1 from customers where email like 'x'", "customers.email used -> ");
    check_lineage(
        "insert into customers (email) values ('x') on conflict (id) do update set email = excluded.email",
        "customers.id compared -> ",
    );
    check_lineage("select nothing from customers", "missing: column nothing does not exist");
    check_lineage("select x.nothing from customers x", "missing: column x.nothing does not exist");
    check_lineage("select ctid, xmin from customers", " -> , ");
    check_lineage(
        "select * from generate_series(1, 2) g, customers",
        "customers.email shown, customers.id shown, customers.name shown -> , customers.id, customers.name, customers.email",
    );
    // Behind a call of unknown width nobody knows which column is which.
    check_lineage("select * from jsonb_each('{}') g, customers", "missing: function jsonb_each does not exist");
}

#[test]
fn depth_is_read_or_refused_and_never_the_end() {
    // On the stack of a worker, as the daemon reads.
    let read = |text: String| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let said = thread.spawn(move || match analyse(&text, &catalog(), &Prepared::default()) {
            Ok(_) => "read".to_owned(),
            Err(Rejection::TooComplex(_)) => "too complex".to_owned(),
            Err(rejection) => rejection.to_string().chars().take(60).collect(),
        });
        said.unwrap().join().unwrap()
    };
    for (before, after) in [
        ("(select ", ")"),
        ("(", ")"),
        ("not ", ""),
        ("- ", ""),
        ("1 + ", ""),
        ("1 || ", ""),
        ("count(", ")"),
        ("array[", "]"),
        ("case when true then ", " end"),
        ("select 1 union all ", ""),
        ("exists (select ", ")"),
    ] {
        for times in [100, 500, 800, 2000, 8000, 100_000] {
            let start = if before.starts_with("select") { "" } else { "select " };
            let end = if before.starts_with("select") { "select 1" } else { "1" };
            let text = format!("{start}{}{end}{}", before.repeat(times), after.repeat(times));
            let said = read(text);
            let fine = ["read", "too complex"].contains(&said.as_str())
                || said.starts_with("statement has more than")
                || said.starts_with("syntax error");
            assert!(fine, "{before} x {times}: {said}");
        }
    }
    let casts = format!("select 1{}", "::int4".repeat(50_000));
    assert_eq!(read(casts), "too complex");
}

/// Each of these got a masked value out once.
#[test]
fn names_that_are_not_known_hide_nothing() {
    // A field without a known name in sight, and a whole row of the same name as what is asked for.
    check_lineage(
        "select u from (select email from customers) u, (select xmlelement(name x)) v",
        "customers.email derived -> ",
    );
    check_lineage(
        "select id, case when true then 1 end from (select email, id from customers) u order by u desc",
        "customers.email used, customers.id shown+used -> customers.id, ",
    );
    // A view has no system columns.
    check_lineage(
        "select xmin from (select email from customers) xmin, over",
        "customers.email shown -> (customers.email)",
    );
    // A sub-query's column keeps its name through a cast.
    check_lineage(
        "select (select email from (select (select email from customers)::text) s) from orders",
        "customers.email shown -> customers.email",
    );
    check_lineage(
        "select (select email from (select (case when false then 'x' else email end)::text from customers) s)",
        "customers.email shown -> customers.email",
    );
    // The target by the name of what was to be inserted.
    check_lineage(
        "insert into customers as excluded (id) values (1) on conflict (id) do nothing returning *",
        "customers.email shown, customers.id shown+compared, customers.name shown -> customers.id, customers.name, customers.email",
    );
    // Every value that a cursor gives, also within one text.
    check_lineage(
        "declare c cursor for select email from customers; fetch 1 from c",
        "customers.email shown -> customers.email",
    );
    // Several joins with USING: each column once, and in its place.
    check_lineage(
        "select * from orders join api_keys using (id) join customers c on true",
        "api_keys.id shown+used, api_keys.key shown, customers.email shown, customers.id shown, customers.name shown, orders.customer_id shown, orders.id shown+used, orders.status shown -> api_keys.id|orders.id, orders.customer_id, orders.status, api_keys.key, customers.id, customers.name, customers.email",
    );
    check_lineage(
        "select coalesce(email, 'x') as e, id from customers order by id",
        "customers.email shown+tested, customers.id shown+used -> customers.email, customers.id",
    );
}

/// A text of a shape that was read before gives what reading it would give.
#[test]
fn texts_of_one_shape_are_read_once() {
    let (catalog, nobody, readings) = (catalog(), Nobody, Readings::default());
    let read = |text: &str| readings.read(text, &catalog, &nobody).unwrap();
    let same = |one: &str, other: &str| {
        let (first, second) = (read(one), read(other));
        let fresh = analyse(other, &catalog, &nobody).unwrap();
        let shared = Arc::ptr_eq(&first, &second);
        assert_eq!(second.statements[0].uses, fresh.statements[0].uses, "{other}");
        assert_eq!(second.statements[0].columns, fresh.statements[0].columns, "{other}");
        assert_eq!(second.statements[0].outputs, fresh.statements[0].outputs, "{other}");
        assert_eq!(second.statements[0].text(other), fresh.statements[0].text(other), "{other}");
        assert_eq!(second.shape, fresh.shape, "{other}");
        shared
    };
    assert!(same("select id from orders where id = 1", "select id from orders where id = 22;"));
    assert!(same("select id from orders where status = 'a'", "select id  from orders where status = 'b''c' -- x"));
    assert!(same("update orders set status = 'a' where id = 1", "update orders set status = 'b' where id = 2"));
    assert!(!same("select id, status from orders order by 1", "select id, status from orders order by 2"));
    assert!(!same("select nextval('orders_id_seq')", "select nextval('other')"));
    assert!(!same("select set_config('work_mem', '1', true)", "select set_config('role', '1', true)"));
    assert!(!same("select id from orders where id = 1", "select id from orders where id = 1.5"));
    assert!(!same("set work_mem = '1'", "set work_mem = '2'"));
    assert!(!same("select id from orders; select 1", "select id from orders; select 2"));
}

#[test]
fn foreign_keys_write_along() {
    let mut builder = builder();
    builder.refers((3, "id"), (2, "id"), (Action::Cascade, Action::Set));
    builder.refers((9, "X"), (3, "id"), (Action::Set, Action::Refuse));
    let catalog = builder.build();
    let check = |text: &str, expected: &str| {
        let analysis = analyse(text, &catalog, &Prepared::default()).unwrap();
        let uses = analysis.statements[0].uses.iter().filter(|asked| !asked.named);
        let uses: Vec<_> = uses.map(|asked| format!("{} {}", asked.access.name(), show(&asked.object))).collect();
        assert_eq!(uses.join(", "), expected, "{text}");
        let counted = !analysis.statements[0].flags.contains(&super::Flag::WritesUncounted);
        assert_eq!(counted, expected.is_empty(), "{text}");
    };
    check("delete from customers", "");
    check("delete from orders", "update public.Odd, update public.Odd.X, delete public.api_keys");
    check("update orders set status = '1'", "");
    check("update orders set id = '1'", "update public.api_keys, update public.api_keys.id");
    check(
        "insert into orders (id) values (1) on conflict (id) do update set id = '2'",
        "update public.api_keys, update public.api_keys.id",
    );
    check(
        "merge into orders using customers on true when matched then delete",
        "update public.Odd, update public.Odd.X, delete public.api_keys",
    );
}

#[test]
fn columns_stand_where_the_server_puts_them() {
    check_lineage(
        "select v.* from orders o, customers c, lateral (values (o.*, c.email)) v",
        "customers.email shown, orders.customer_id shown, orders.id shown, orders.status shown -> orders.id, orders.customer_id, orders.status, customers.email",
    );
    // A row's array unnests to its columns: how many those are is not known.
    check_lineage(
        "select u.*, c.email from orders o, unnest(array[o]) u, customers c",
        "customers.email derived, orders.customer_id used+derived, orders.id used+derived, orders.status used+derived -> ",
    );
    check_lineage(
        "select u.*, c.email from unnest(array['a', 'b']) u, customers c",
        "customers.email shown -> , customers.email",
    );
    check_lineage("select u.*, c.email from unnest($1) u, customers c", "customers.email derived -> ");
}

#[test]
fn statements_that_multiply_columns_are_given_up() {
    let mut text = "with a0 as (select * from customers)".to_owned();
    for at in 1..30 {
        let before = at - 1;
        text.push_str(&format!(", a{at} as (select * from a{before} x, a{before} y)"));
    }
    assert_eq!(lineage(&format!("{text} select 1 from a29")), "opaque: target lists can have at most 1664 entries");
    let names: Vec<_> = (0..40).map(|at| format!("a{at}")).collect();
    let names = names.join(", ");
    let tables: Vec<_> = (0..40).map(|at| format!("a{at} as (select * from {names})")).collect();
    assert!(lineage(&format!("with recursive {} select 1", tables.join(", "))).starts_with("opaque: "));
    let mut text = "select row(id, email) as x from customers".to_owned();
    for _ in 0..40 {
        text = format!("select row(x, x) as x from ({text}) q");
    }
    let said = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(super::stack::ORDINARY);
        reader.spawn_scoped(scope, || lineage(&text)).unwrap().join().unwrap()
    });
    assert!(said.starts_with("customers.email derived, customers.id derived -> ("), "{said}");
}

#[test]
fn what_one_statement_used_up_is_not_held_against_a_function() {
    let mut builder = builder();
    builder.body("hr", "leak", "sql", "select status from public.orders", None);
    let catalog = builder.build();
    let unseen = |text: &str| analyse(text, &catalog, &Prepared::default()).unwrap().statements[0].unseen.clone();
    // Columns until nothing more may be looked at, then the function.
    let crowd: Vec<_> = (0..500).map(|at| format!("customers c{at}")).collect();
    let many = vec!["c0.id"; 500].join(", ");
    let ids = vec!["id"; 2000].join(", ");
    drop(unseen(&format!("select ({ids}), {many}, hr.leak() from {}", crowd.join(", "))));
    assert!(unseen("select hr.leak()").is_empty());
}

/// A session's own `orders`, a view over `customers`, a child of `api_keys` and a table of a name that nobody else has.
fn with_own() -> Catalog {
    let catalog = catalog();
    let mut own = CatalogBuilder::default();
    own.elsewhere(1, "public", "customers");
    own.elsewhere(3, "public", "api_keys");
    let tables: &[(u32, &str, RelationKind, &[&str])] = &[
        (101, "orders", RelationKind::Table, &["id", "mine"]),
        (102, "people", RelationKind::View, &["contact"]),
        (103, "child", RelationKind::Table, &["id", "key"]),
        (104, "notes", RelationKind::Table, &["id"]),
        (105, "counter", RelationKind::Sequence, &["last_value"]),
    ];
    for (oid, name, kind, columns) in tables {
        own.relation(*oid, TEMPORARY, name, *kind, false);
        for (column, number) in columns.iter().zip(1..) {
            own.column(*oid, number, column, ("text", 25));
        }
    }
    own.view_rests_on(102, 1);
    own.view(102, "SELECT email AS contact FROM public.customers");
    own.inherits(103, 3);
    catalog.with_temporary(&catalog.temporary_of(own))
}

#[test]
fn temporary_relations_stand_before_others() {
    let catalog = with_own();
    let check = |text: &str, expected: &str| assert_eq!(read_in(text, &catalog), expected, "{text}");
    check("select mine from orders", "select pg_temp.orders, select pg_temp.orders.mine");
    check("select mine from pg_temp.orders", "select pg_temp.orders, select pg_temp.orders.mine");
    check("select status from public.orders", "select public.orders, select public.orders.status");
    check("delete from orders", "delete pg_temp.orders");
    check(
        "select contact from people",
        "select pg_temp.people, (select public.customers), select pg_temp.people.contact, (select public.customers.email)",
    );
    // Whoever reads or writes the parent reads or writes the child, and the other way round.
    check("delete from api_keys", "(delete pg_temp.child), delete public.api_keys");
    check(
        "select key from child",
        "select pg_temp.child, (select public.api_keys), select pg_temp.child.key, (select public.api_keys.key)",
    );
    check("select nextval('counter')", "update pg_temp.counter");
    check("select null::notes", "(filter pg_temp.notes)");
    check("select null::pg_temp.notes", "(filter pg_temp.notes)");
    check("select null::elsewhere", "missing: type \"elsewhere\" does not exist");
    // Maintenance of them is a change like any other, and nothing of others' can rest on them.
    for text in ["analyze notes", "vacuum (analyze) notes", "reindex table pg_temp.notes", "cluster notes using i"] {
        check(text, "alter pg_temp.notes");
    }
    check("analyze notes, customers", "(select pg_temp.notes), (select public.customers), admin database");
    check("drop table notes cascade", "drop pg_temp.notes");
    check(
        "drop table notes, customers cascade",
        "(alter public.orders), drop database, drop pg_temp.notes, drop public.customers, (drop public.directory), (drop public.over)",
    );
    // Functions and operators are never looked for there.
    check("select pg_temp.lower('x')", "opaque: temporary functions shadow others and are not followed");
    check(
        "select 1 from pg_temp_3.orders",
        "opaque: temporary relations of other sessions are theirs; `pg_temp` is this one's",
    );
    // Views that all share mean what they meant when they were made.
    check("select contact from directory", &read("select contact from directory"));
}

#[test]
fn temporary_relations_are_made_where_nobody_else_sees_them() {
    let catalog = with_own();
    let check = |text: &str, expected: &str| assert_eq!(read_in(text, &catalog), expected, "{text}");
    for text in [
        "create temp table t (a int)",
        "create table pg_temp.t (a int)",
        "create temporary view v as select 1",
        "create temp sequence s",
        "select 1 as a into temp t",
        "create temp table t as select 1",
    ] {
        check(text, "create pg_temp.*");
    }
    // A view over one of these is one of these.
    check("create view v as select id from notes", "select pg_temp.notes, select pg_temp.notes.id, create pg_temp.*");
    check("create table v as select id from notes", "select pg_temp.notes, select pg_temp.notes.id, create public.*");
    check("create temp table public.t (a int)", "opaque: temporary relations are made in pg_temp and nowhere else");
    check(
        "create temp table pg_class (a int)",
        "opaque: a temporary relation called `pg_class` would stand before the server's own",
    );
    check(
        "create temp table text (a int)",
        "opaque: a temporary relation called `text` would stand before the server's own",
    );
    check(
        "alter table notes rename to pg_class",
        "opaque: a temporary relation called `pg_class` would stand before the server's own",
    );
    check("drop table orders", "drop pg_temp.orders");
    check("drop table public.orders", "drop public.orders");
    check(
        "set search_path = public, pg_temp",
        "opaque: pg_temp is looked in first by itself; elsewhere in a search path it is not followed",
    );
    // Within one text, what has been made stands before what there is.
    check("create temp table customers (a int); delete from customers", "create pg_temp.* | alter pg_temp.*");
    check("create temp table customers (a int); drop table customers", "create pg_temp.* | drop pg_temp.*");
}

#[test]
fn what_statements_do_to_temporary_relations() {
    let (none, own) = (catalog(), with_own());
    let check = |text: &str, expected: &str| {
        let touch = |catalog: &Catalog| {
            let analysis = analyse(text, catalog, &Prepared::default()).unwrap();
            let said = analysis.statements.iter().map(|statement| {
                let shared = if statement.changes_catalog() { " shared" } else { "" };
                format!("{:?}{shared}", statement.touch)
            });
            said.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            touch(if expected.contains("none") { &none } else { &own }),
            expected.replace(" none", ""),
            "{text}"
        );
    };
    check("select 1", "None");
    check("delete from orders", "None");
    check("create temp table t (a int)", "Makes none");
    check("create temp table t as select 1", "Makes none");
    check("create table t (a int)", "Perhaps shared none");
    check("alter table notes add column b int", "Makes");
    check("create index on notes (id)", "Makes");
    check("comment on table notes is 'x'", "Makes");
    check("drop table notes", "Changes");
    check("drop table notes, customers", "Changes shared");
    check("drop table customers cascade", "Perhaps shared");
    check("alter table notes rename to x", "Changes");
    check("create temp table t (a int); alter table t rename to x", "Makes Changes none");
    check("create temp table t () inherits (customers)", "Makes shared none");
    check("discard temp", "Changes none");
    check("discard all", "Changes none");
    check("commit", "Perhaps none");
    check("rollback to s", "Perhaps none");
    // What cannot be seen through may do anything.
    check("select hr.raise_all()", "Changes none");
}

#[test]
fn what_is_planned_once_and_run_later_means_one_thing() {
    let own = with_own();
    let flags =
        |text: &str| analyse(text, &own, &Prepared::default()).unwrap().statements[0].flags.contains(&Flag::Shadowed);
    assert!(flags("select * from orders"));
    assert!(!flags("select * from pg_temp.orders"));
    assert!(!flags("select * from public.orders"));
    assert!(!flags("select * from notes"));
    let prepared =
        Prepared(HashMap::from([("o", "prepare o as delete from orders"), ("n", "prepare n as delete from notes")]));
    let opaque = |text: &str| analyse(text, &own, &prepared).unwrap().statements[0].opaque.is_some();
    assert!(opaque("execute o"));
    assert!(!opaque("execute n"));
}

#[test]
fn bodies_see_temporary_relations_and_what_was_read_without_them_is_not_theirs() {
    let mut builder = builder();
    builder.body("hr", "leak", "sql", "delete from orders", None);
    builder.body("hr", "same", "sql", "delete from notes", None);
    builder.body("hr", "raise_all", "sql", "create temp table notes (a int); insert into notes values (1)", None);
    builder.body("public", "purge", "sql", "create temp table orders (a int); delete from orders", None);
    let catalog = builder.build();
    let mut own = CatalogBuilder::default();
    own.relation(101, TEMPORARY, "orders", RelationKind::Table, false);
    let with = catalog.with_temporary(&catalog.temporary_of(own));
    let read = |text: &str, catalog: &Catalog| {
        let analysis = analyse(text, catalog, &Prepared::default()).unwrap();
        let unseen: Vec<_> = analysis.statements[0].unseen.iter().cloned().collect();
        format!("{} unseen {}", read_in(text, catalog), unseen.join(" "))
    };
    let plain = "(delete public.orders), execute hr.leak() unseen ";
    assert_eq!(read("select hr.leak()", &catalog), plain);
    // The server may have planned it for the other one.
    assert!(read("select hr.leak()", &with).ends_with("unseen hr.leak"));
    assert_eq!(read("select hr.leak()", &catalog), plain);
    assert!(read("select hr.same()", &catalog).ends_with("unseen hr.same"));
    assert_eq!(
        read("select hr.raise_all()", &catalog),
        "execute hr.raise_all(), (create pg_temp.*), (alter pg_temp.*) unseen "
    );
    // In a body nobody knows whether the table has been made when the DELETE runs.
    assert!(read("select purge()", &catalog).ends_with("unseen public.purge"));
}

#[test]
fn no_two_sights_have_one_number() {
    let catalog = catalog();
    let own = |name: &str| {
        let mut own = CatalogBuilder::default();
        own.relation(101, TEMPORARY, name, RelationKind::Table, false);
        catalog.with_temporary(&catalog.temporary_of(own))
    };
    let (one, other) = (own("orders"), own("orders"));
    let all = [&catalog, &one, &other];
    let mut numbers: Vec<_> =
        all.iter().flat_map(|catalog| [catalog.id(), catalog.under(Some(&["hr".into()])).id()]).collect();
    numbers.extend(all.iter().map(|catalog| catalog.snapshot()));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 6, "{numbers:?}");
    // A reading of one is not found for another.
    let readings = Readings::default();
    let touches = |catalog: &Catalog| {
        let analysis = readings.read("delete from orders", catalog, &Nobody).unwrap();
        analysis.statements[0].uses.iter().map(|asked| show(&asked.object)).collect::<String>()
    };
    assert_eq!(
        [&catalog, &one, &catalog, &other].map(touches),
        ["public.orders", "pg_temp.orders", "public.orders", "pg_temp.orders"]
    );
}

#[test]
fn what_cannot_be_followed_is_in_doubt() {
    let check = |make: fn(&mut CatalogBuilder), path: &[&str], expected: Option<&str>| {
        let path: Vec<String> = path.iter().map(|schema| (*schema).to_owned()).collect();
        let mut base = CatalogBuilder::new("shop", 1, "app", &path);
        base.relation(1, "pg_catalog", "pg_class", RelationKind::Table, false);
        base.type_name("pg_catalog", "text");
        let mut own = CatalogBuilder::default();
        make(&mut own);
        assert_eq!(base.build().temporary_of(own).doubt(), expected);
    };
    let table = |own: &mut CatalogBuilder| own.relation(101, TEMPORARY, "orders", RelationKind::Table, false);
    check(table, &["public"], None);
    check(table, &["public", "pg_temp"], Some("the search path that sessions begin with names pg_temp"));
    let like_server = Some("a temporary relation is called like a relation or a type of the server");
    check(|own| own.relation(101, TEMPORARY, "pg_class", RelationKind::View, false), &["public"], like_server);
    check(|own| own.relation(101, TEMPORARY, "text", RelationKind::Table, false), &["public"], like_server);
    check(|own| own.odd("odd"), &["public"], Some("odd"));
}
