//! The same statements through every client: what is allowed runs, what is not is refused with its reason, whatever the
//! protocol it comes by.

use interceptor_tests::Scene;
use serde_json::Value;

/// Statements that hide a write, reach what is forbidden, or cannot be read; and the SQLSTATE of the refusal.
const REFUSED: &[(&str, &str)] = &[
    ("drop table orders", "42501"),
    ("WITH x AS (DELETE FROM customers RETURNING *) SELECT * FROM x", "42501"),
    ("EXPLAIN ANALYZE DELETE FROM customers", "42501"),
    ("SELECT * INTO stolen FROM customers", "42501"),
    ("DO $$ begin delete from customers; end $$", "42501"),
    ("COPY (DELETE FROM customers RETURNING *) TO STDOUT", "42501"),
    ("select lo_from_bytea(0, 'x')", "42501"),
    ("select * from api_keys", "42501"),
    ("select pg_read_file('/etc/passwd')", "42501"),
    ("set role postgres", "42501"),
    ("this is no SQL", "42601"),
];

fn check(client: &str, command: &str) {
    let statements: Vec<&str> = REFUSED.iter().map(|(statement, _)| *statement).collect();
    let input = serde_json::to_string(&statements).unwrap();
    let script = format!("export STATEMENTS={}; {command}", shell(&input));
    let outcome = Scene::demo().run(&script);
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    let lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), REFUSED.len() + 2, "{client}: {}", outcome.stdout);
    for ((statement, sqlstate), line) in REFUSED.iter().zip(&lines) {
        assert_eq!(line["sqlstate"], *sqlstate, "{client}: {statement}: {line}");
    }
    let drop = &lines[0];
    assert_eq!(drop["hint"], "open a migration pull request", "{client}: {drop}");
    assert!(drop["detail"].as_str().unwrap().contains("agents do not change the schema"), "{client}: {drop}");
    // The connection has lived on, and nothing has happened.
    let orders: i64 = lines[REFUSED.len()]["orders"].as_i64().unwrap();
    let customers: i64 = lines[REFUSED.len() + 1]["customers"].as_i64().unwrap();
    assert!(orders > 100 && customers > 100, "{client}: {orders} orders, {customers} customers");
}

fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn psycopg_3_simple_and_extended() {
    check("psycopg", &format!("\"$PYTHON\" - <<'EOF'\n{}\nEOF", include_str!("psycopg_client.py")));
}

#[test]
fn psycopg_3_prepared() {
    check("psycopg prepared", &format!("PREPARE=1 \"$PYTHON\" - <<'EOF'\n{}\nEOF", include_str!("psycopg_client.py")));
}

#[test]
fn asyncpg() {
    check("asyncpg", &format!("\"$PYTHON\" - <<'EOF'\n{}\nEOF", include_str!("asyncpg_client.py")));
}

#[test]
fn node_postgres() {
    check("node-postgres", &format!("node - <<'EOF'\n{}\nEOF", include_str!("node_client.js")));
}

#[test]
fn psql_prints_the_count_and_shows_why_not() {
    let outcome = Scene::demo().run("psql -Atc 'select count(*) from orders'");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.trim().parse::<u32>().unwrap() > 100, "{}", outcome.stdout);

    let outcome = Scene::demo()
        .run("psql -c 'drop table orders' && exit 0; code=$?; psql -Atc 'select count(*) > 0 from orders'; exit $code");
    assert_ne!(outcome.status, 0);
    for shown in ["42501", "agents do not change the schema", "HINT:  open a migration pull request"] {
        assert!(outcome.stderr.contains(shown), "{shown} is not in\n{}", outcome.stderr);
    }
    assert_eq!(outcome.stdout, "t\n", "the table is still there");
}

#[test]
fn pgbench_in_all_three_protocols() {
    let script = r#"
        set -e
        echo 'select count(*) from orders where id = 5;' > /tmp/ok-$$.sql
        echo 'drop table orders;' > /tmp/no-$$.sql
        for mode in simple extended prepared; do
            "$PGBENCH" -n -M $mode -c 4 -t 50 -f /tmp/ok-$$.sql 2>&1 | grep -c 'number of failed transactions: 0 '
            "$PGBENCH" -n -M $mode -c 1 -t 1 -f /tmp/no-$$.sql 2>&1 | grep -c 'agents do not change the schema'
        done
        rm /tmp/ok-$$.sql /tmp/no-$$.sql
        psql -Atc 'select count(*) > 0 from orders'"#;
    let outcome = Scene::demo().run(script);
    assert_eq!(outcome.stdout, "1\n1\n1\n1\n1\n1\nt\n", "{}", outcome.stderr);
}

/// psql of PostgreSQL 18: the extended protocol by `\bind` and `\parse`, and protocol 3.2 with its long cancel keys.
#[test]
fn psql_18_binds_and_speaks_the_newest_protocol() {
    let script = r#"
        home=$(dirname "$PYTHON")/../lib; psql=$(find "$home" -path '*pginstall/bin/psql' | head -1)
        export LD_LIBRARY_PATH=$(dirname "$psql")/../lib
        printf '%s\n' 'select count(*) > 0 from orders where id < $1 \bind 10 \g' 'delete from customers where id = $1 \bind 1 \g' \
            'select 7 \parse named' '\bind_named named \g' 'drop table orders \bind \g' 'select 8;' > /tmp/bind-$$.sql
        "$psql" -XAtq -v VERBOSITY=verbose -f /tmp/bind-$$.sql 2>&1 | grep -o '^[t78]$\|42501: .*'
        rm /tmp/bind-$$.sql
        "$psql" min_protocol_version=3.2 -XAtc '\conninfo' | grep Protocol
        (timeout --foreground --signal=INT 4 "$psql" min_protocol_version=3.2 -XAtc "select count(*) from generate_series(1, 100000000000)" 2>&1; true)"#;
    let outcome = Scene::demo().run(script);
    assert_eq!(
        outcome.stdout,
        "t\n42501: no policy permits to delete on public.customers\n7\n42501: policy forbids to drop on public.orders\n8\n\
         Protocol Version|3.2\nCancel request sent\nERROR:  canceling statement due to user request\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn copy_goes_both_ways() {
    let script = r#"
        set -e
        psql -qAtc "copy (select id, status from orders where id <= 3 order by id) to stdout"
        before=$(psql -Atc "select count(*) from orders")
        seq 1 5000 | sed 's/.*/1\tpaid/' | psql -qc "copy orders (customer_id, status) from stdin"
        psql -Atc "select count(*) - $before from orders"
        psql -qc "copy customers from stdin" < /dev/null && echo 'not refused' || true
        psql -Atc "begin; copy orders (customer_id, status) from stdin;" -c 'select 1' < /dev/null"#;
    let outcome = Scene::demo().run(script);
    assert!(outcome.stdout.contains("\n5000\n"), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(!outcome.stdout.contains("not refused"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("42501"), "{}", outcome.stderr);
}

/// A statement that runs long is cancelled by its own agent, on the connection that psql opens for it.
#[test]
fn cancel_reaches_the_running_statement() {
    let script = r#"
        (timeout --signal=INT 4 psql -XAtc "select count(*) from generate_series(1, 100000000000)" 2>&1; true)
        psql -Atc 'select 1'"#;
    let outcome = Scene::demo().run(script);
    assert!(
        outcome.stdout.contains("canceling statement due to user request"),
        "{}\n{}",
        outcome.stdout,
        outcome.stderr
    );
    assert!(outcome.stdout.ends_with("1\n"), "{}", outcome.stdout);
}
