//! The drivers that agents bring: each goes through what it can do, in clear text, with TLS to whoever answers, and with
//! TLS to a server that it verifies. What it prints is compared line by line with what stands in `drivers/*.expected`.
//!
//! `drivers/schema.sql` is what they meet. Those that follow the wire closely (`policies`) also reach for what is out of
//! bounds; ORMs that make their own tables do so where nothing is forbidden (`open`).

use interceptor_tests::Scene;
use std::path::Path;

/// Runs a driver in every mode; `command` in a folder of its own, as the agent.
#[track_caller]
fn check(policies: &str, command: &str, expected: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/drivers");
    let script = format!(
        r#"
        export D={folder} LC_ALL=C.UTF-8; work=$(mktemp -d); cd "$work"; seen=0
        export CA=$work/ca.crt; "$INTERCEPTOR" ca export --config "$INTERCEPTOR_CONFIG" --out $CA || exit 1
        for MODE in disable require verify-full; do
            case $MODE in verify-full) DSN="sslmode=$MODE sslrootcert=$CA";; *) DSN="sslmode=$MODE";; esac
            export MODE DSN; echo "= $MODE"
            {{ {command}
            }} 2> "$work/error" || {{ echo "failed"; cat "$work/error" >&2; }}
            "$INTERCEPTOR" audit search --event connect --json | grep -o 'TLS 1.3\|clear text' > over
            echo "over $(tail -n +$((seen + 1)) over | sort -u | tr '\n' ' ')"; seen=$(wc -l < over)
        done
        rm -rf "$work""#,
        folder = folder.display()
    );
    let scene = Scene::demo().with("--init", folder.join("schema.sql")).with("--policies", folder.join(policies));
    let outcome = scene.run(&script);
    let mut expect = String::new();
    for (mode, tls, over) in
        [("disable", "False", "clear text"), ("require", "True", "TLS 1.3"), ("verify-full", "True", "TLS 1.3")]
    {
        expect += &format!("= {mode}\n{}over {over} \n", expected.replace("{tls}", tls));
    }
    for (at, (said, meant)) in outcome.stdout.lines().zip(expect.lines()).enumerate() {
        assert_eq!(said, meant, "line {at} of\n{}\n{}", outcome.stdout, outcome.stderr);
    }
    assert_eq!(outcome.stdout, expect, "{}", outcome.stderr);
}

#[test]
fn psql() {
    check(
        "policies",
        "psql -Xq \"$DSN\" -f $D/psql.sql 2>&1 | sed \"s#$D/##; s/PID [0-9]*/PID n/; s/\\.c:[0-9]*/.c/\"",
        include_str!("drivers/psql.expected"),
    );
}

#[test]
fn psycopg() {
    check("policies", "$PYTHON $D/psycopg_driver.py", include_str!("drivers/psycopg.expected"));
}

#[test]
fn asyncpg() {
    check("policies", "$PYTHON $D/asyncpg_driver.py", include_str!("drivers/asyncpg.expected"));
}

#[test]
fn node_postgres() {
    check("policies", "node $D/node_driver.js", include_str!("drivers/node.expected"));
}

/// In its extended mode, which is the default, and in the simple one.
#[test]
fn pgjdbc() {
    let command = "[ -f Driver.class ] || javac -cp $JDBC -d . $D/Driver.java || exit 1
        for mode in extended simple; do java -cp .:$JDBC Driver $mode; done";
    check("policies", command, include_str!("drivers/java.expected"));
}

#[test]
fn tokio_postgres() {
    check("policies", env!("CARGO_BIN_EXE_tokio-postgres-driver"), include_str!("drivers/tokio_postgres.expected"));
}

/// Reflection, tables of its own, the ORM; over psycopg, psycopg2 and asyncpg.
#[test]
fn sqlalchemy() {
    check("open", "$PYTHON $D/sqlalchemy_driver.py", include_str!("drivers/sqlalchemy.expected"));
}

/// Introspection, migrations forwards and backwards, the ORM.
#[test]
fn django() {
    check("open", "$PYTHON $D/django_driver.py", include_str!("drivers/django.expected"));
}

/// The client without engines over its adapter for pg. Its schema engine (migrations, introspection) is a binary that is
/// downloaded from a place of its own, and is not tried here.
#[test]
fn prisma() {
    let command = r#"{ [ -d generated ] || {
            ln -s $NODE_PATH node_modules; cp $D/prisma_driver.mts .; cp $D/prisma.schema schema.prisma
            echo '{"type": "module"}' > package.json
            echo 'import { defineConfig } from "prisma/config"; export default defineConfig({ schema: "schema.prisma", datasource: { url: "postgresql://unused" } });' > prisma.config.ts
            PRISMA_SCHEMA_ENGINE_BINARY=/bin/true PRISMA_HIDE_UPDATE_MESSAGE=1 CHECKPOINT_DISABLE=1 node_modules/.bin/prisma generate >&2
        }; } && node_modules/.bin/tsx prisma_driver.mts"#;
    check("policies", command, include_str!("drivers/prisma.expected"));
}
