//! Session state that changes what the next statement means, in every spelling.

use interceptor_tests::Scene;

const REFUSED: &[&str] = &[
    "set search_path = pg_temp, public",
    "set search_path = public, pg_catalog",
    "select set_config('search_path', 'hr', false) where false",
    "select set_config('search_path', path, false) from (values ('hr')) v(path)",
    "select 1, set_config('search_path', 'hr', false)",
    "select set_config('sea' || 'rch_path', 'hr', false)",
    "update pg_settings set setting = 'hr' where name = 'search_path'",
    "set role none",
    "set session role postgres",
    "set \"role\" = 'postgres'",
    "select set_config('role', 'postgres', true)",
    "set session authorization default; set session authorization 'postgres'",
    "set client_encoding = 'SJIS'",
    "set names 'BIG5'",
    "select set_config('client_encoding', 'GBK', false)",
    "set standard_conforming_strings = off",
    "set backslash_quote = on",
    "set session_replication_role = replica",
    "set local application_name = 'somebody else'",
    "select set_config('application_name', 'somebody else', false)",
    "set interceptor.agent = 'somebody else'",
    "select set_config('interceptor.agent', 'somebody else', false)",
    "alter role current_user set search_path = hr",
    "alter database shop set search_path = hr",
    "alter system set wal_level = logical",
];

#[test]
fn what_the_next_statement_means_stays_as_it_is() {
    let input = serde_json::to_string(REFUSED).unwrap().replace('\'', "'\\''");
    let script = format!(
        r#"export STATEMENTS='{input}'
        "$PYTHON" - <<'EOF'
import json, os, psycopg
c = psycopg.connect("", autocommit=True)
for statement in json.loads(os.environ["STATEMENTS"]):
    try:
        c.execute(statement)
        print("RAN", statement)
    except psycopg.Error as error:
        if error.sqlstate != "42501": print(error.sqlstate, statement)
# The last of them is answered and changes nothing.
for harmless in ("set timezone = 'UTC'", "set statement_timeout = '5s'", "reset all", "discard all", "set client_encoding = 'UTF8'", "set search_path to default", "set application_name = 'somebody else'"):
    c.execute(harmless)
print(c.execute("select current_setting('interceptor.agent'), current_setting('application_name'), current_setting('search_path')").fetchone())
EOF
        for option in '-c search_path=hr' '--role=postgres' '-c standard_conforming_strings=off' '-c interceptor.agent=x' '-d 5'; do
            PGOPTIONS="$option" psql -XAtc 'select 1' 2>&1 | grep -c FATAL
        done
        PGCLIENTENCODING=SJIS psql -XAtc 'select 1' 2>&1 | grep -c FATAL
        psql 'replication=database' -XAtc 'IDENTIFY_SYSTEM' 2>&1 | grep -c FATAL"#
    );
    let outcome = Scene::demo().run(&script);
    assert_eq!(
        outcome.stdout, "('agent:demo', 'agent:demo', '\"$user\", public')\n1\n1\n1\n1\n1\n1\n1\n",
        "{}",
        outcome.stderr
    );
}
