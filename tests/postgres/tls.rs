//! TLS between agents and the daemon: every `sslmode`, with the exported CA trusted, in every client.

use interceptor_tests::Scene;
use serde_json::Value;

/// Exports the CA.
const PRELUDE: &str = r#"
    ca=/tmp/ca-$$.crt; "$INTERCEPTOR" ca export --config "$INTERCEPTOR_CONFIG" --out $ca || exit 1
"#;

#[track_caller]
fn check(script: &str, expected: &str) {
    let outcome = Scene::demo().run(&format!("{PRELUDE}{script}\nrm -f $ca"));
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

#[test]
fn every_sslmode() {
    let script = r#"
        say() { out=$("$@" 2>&1); case "$out" in *TLSv1.3*) echo -n tls;; *'certificate verify failed'*) echo -n untrusted;;
            *'does not match host name'*) echo -n misnamed;; *'connected to database'*) echo -n clear;; *) echo -n "$out";; esac; }
        for mode in disable allow prefer require verify-ca verify-full; do
            echo "$mode: $(say psql -X "sslmode=$mode sslrootcert=$ca" -c '\conninfo') $(say psql -X "sslmode=$mode sslrootcert=/nowhere" -c '\conninfo' | grep -o 'does not exist\|tls\|clear')"
        done
        openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -out $ca.other -subj /CN=other 2> /dev/null
        echo "another CA: $(say psql -X "sslmode=verify-ca sslrootcert=$ca.other" -c '\conninfo'), and prefer: $(say psql -X "sslmode=prefer sslrootcert=$ca.other" -c '\conninfo')"
        # By the name, with SNI, and without.
        for sni in 1 0; do
            echo "by name, sni $sni: $(say psql -X "host=db.example hostaddr=$PGHOST sslsni=$sni sslmode=verify-full sslrootcert=$ca" -c '\conninfo')"
        done
        echo "TLS 1.2: $(psql -X "ssl_max_protocol_version=TLSv1.2 sslmode=require" -c '\conninfo' | grep -o 'TLSv1.[23]')"
        rm -f $ca.other"#;
    check(
        script,
        "disable: clear clear\nallow: clear clear\nprefer: tls tls\nrequire: tls tls\nverify-ca: tls does not exist\n\
         verify-full: tls does not exist\nanother CA: untrusted, and prefer: clear\nby name, sni 1: tls\nby name, sni 0: misnamed\n\
         TLS 1.2: TLSv1.2\n",
    );
}

#[test]
fn drivers_that_verify() {
    let script = r#"
        export ca
        "$PYTHON" - <<'EOF'
import asyncio, asyncpg, os, psycopg, ssl
with psycopg.connect(f"sslmode=verify-full sslrootcert={os.environ['ca']}") as connection:
    print("psycopg", connection.pgconn.ssl_in_use, connection.execute("select count(*) > 0 from orders where id > %s", (0,)).fetchone())
# libpq 17 and later begin with the handshake if they are told to.
with psycopg.connect(f"sslnegotiation=direct sslmode=verify-full sslrootcert={os.environ['ca']}") as connection:
    print("psycopg direct", connection.pgconn.ssl_in_use, connection.execute("select 7").fetchone())
async def main():
    context = ssl.create_default_context(cafile=os.environ["ca"])
    connection = await asyncpg.connect(ssl=context)
    print("asyncpg", connection._transport.get_extra_info("cipher") is not None, await connection.fetchval("select count(*) > 0 from orders where id > $1", 0))
    # Results of many records, and arguments likewise.
    print(len(await connection.fetchval("select repeat('x', 5000000)")), await connection.fetchval("select length($1::text)", "y" * 3000000))
    await connection.close()
    # Here the driver leaves the protocol's name to whoever makes the context.
    context.set_alpn_protocols(["postgresql"])
    connection = await asyncpg.connect(ssl=context, direct_tls=True)
    print("asyncpg direct", await connection.fetchval("select 7"))
    await connection.close()
    try:
        await asyncpg.connect(ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        print("asyncpg without the CA:", error.verify_message)
asyncio.run(main())
EOF
        node - <<'EOF'
const { Client } = require("pg"), fs = require("fs");
(async () => {
  const ssl = { ca: fs.readFileSync(process.env.ca), host: process.env.PGHOST };
  const client = new Client({ ssl });
  await client.connect();
  const { rows } = await client.query("select count(*) > 0 as some from orders where id > $1", [0]);
  console.log("node", client.connection.stream.encrypted, client.connection.stream.authorized, rows[0].some);
  await client.end();
})();
EOF"#;
    check(
        script,
        "psycopg True (True,)\npsycopg direct True (7,)\nasyncpg True True\n5000000 3000000\nasyncpg direct 7\nasyncpg without the CA: unable to get local issuer certificate\n\
         node true true true\n",
    );
}

#[test]
fn what_the_operator_sees() {
    let script = r#"
        "$INTERCEPTOR" ca --config "$INTERCEPTOR_CONFIG" --json
        openssl x509 -in $ca -noout -fingerprint -sha256 | tr -d : | sed 's/.*=//' | tr A-F a-f
        stat -c %a "$(dirname "$INTERCEPTOR_AUDIT")/ca.key"
        PGSSLMODE=require psql -XAtqc 'select 1'; PGSSLMODE=disable psql -XAtqc 'select 1'
        openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -out $ca -subj /CN=other 2> /dev/null
        PGSSLMODE=verify-full PGSSLROOTCERT=$ca psql -XAtqc 'select 1' 2> /dev/null
        "$INTERCEPTOR" audit search --event connect --json | grep -o 'TLS 1.3\|clear text'
        "$INTERCEPTOR" audit search --event refusal --json | grep -o 'the TLS handshake with the client failed: [a-zA-Z :]*'"#;
    let outcome = Scene::demo().run(&format!("{PRELUDE}{script}\nrm -f $ca"));
    let (json, rest) = outcome.stdout.split_once("}\n").unwrap_or_else(|| panic!("{}", outcome.stderr));
    let described: Value = serde_json::from_str(&format!("{json}}}")).unwrap();
    assert!(described["subject"].as_str().unwrap().starts_with("CN=interceptor CA of "), "{described}");
    assert!(described["not_after"].as_str().unwrap() > "2030", "{described}");
    assert!(described["pem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"), "{described}");
    let fingerprint = described["sha256"].as_str().unwrap();
    assert_eq!(
        rest,
        format!(
            "{fingerprint}\n600\n1\n1\nTLS 1.3\nclear text\nthe TLS handshake with the client failed: received fatal alert: UnknownCA\n"
        ),
        "{}",
        outcome.stderr
    );
}

/// Up to version 16 libpq cancels in clear text whatever the session is in, later as the session.
#[test]
fn cancel_with_and_without_tls() {
    let script = r#"
        (PGSSLMODE=require timeout --foreground --signal=INT 4 psql -XAtc "select count(*) from generate_series(1, 100000000000)" 2>&1; true)
        "$PYTHON" - <<'EOF'
import psycopg, threading, time
for parameters in "sslmode=disable", "sslmode=require", "sslmode=require sslnegotiation=direct":
    with psycopg.connect(parameters) as connection:
        def stop():
            time.sleep(1)
            connection.cancel_safe(timeout=10)
        thread = threading.Thread(target=stop)
        thread.start()
        try:
            connection.execute("select count(*) from generate_series(1, 100000000000)")
        except psycopg.errors.QueryCanceled:
            print(parameters)
        thread.join()
EOF
        "$INTERCEPTOR" audit search --event admin --text 'cancel request' --json | grep -o 'TLS 1.3\|clear text'"#;
    check(
        script,
        "Cancel request sent\nERROR:  canceling statement due to user request\nsslmode=disable\nsslmode=require\n\
         sslmode=require sslnegotiation=direct\nclear text\nclear text\nTLS 1.3\nTLS 1.3\n",
    );
}

#[test]
fn policies_can_ask_for_it() {
    let forbid = |action: &str| {
        format!(
            "@id(\"all\") permit (principal, action, resource);
             @id(\"no-clear-text\") @reason(\"this database is not spoken to in clear text\")
             forbid (principal, action == PG::Action::\"{action}\", resource) unless {{ context.tls }};"
        )
    };
    let check = |action: &str, expected: &str| {
        let dir = std::env::temp_dir().join(format!("interceptor-tls-policies-{}-{action}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("a.cedar"), forbid(action)).unwrap();
        let script = r#"
            for mode in disable allow prefer require; do
                echo "$mode $(PGSSLMODE=$mode psql -XAtc 'select count(*) > 0 from orders' 2>&1 | grep -o '^t$\|policy forbids.*')"
            done"#;
        let outcome = Scene::demo().with("--policies", &dir).run(script);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    };
    let refused = "policy forbids to select on public.orders";
    check("select", &format!("disable {refused}\nallow {refused}\nprefer t\nrequire t\n"));
    // `allow` asks for TLS when it has been refused without.
    check("connect", "disable policy forbids to connect to shop\nallow t\nprefer t\nrequire t\n");
}

/// Both ways at once, more than any buffer holds: nothing may stay behind between two layers.
#[test]
fn much_data_both_ways() {
    let script = r#"
        export PGSSLMODE=require
        psql -qXAtc "copy (select repeat('x', 1000) from generate_series(1, 30000)) to stdout" | wc -c
        psql -XAtqc "select count(*) from orders" > $ca.before
        seq 1 200000 | sed 's/.*/1\tpaid/' | psql -qXc "copy orders (customer_id, status) from stdin"
        psql -XAtqc "select count(*) - $(cat $ca.before) from orders"; rm -f $ca.before
        "$PYTHON" - <<'EOF'
import psycopg
with psycopg.connect("", autocommit=True) as connection:
    with connection.pipeline():
        cursors = [connection.execute("select length(%s::text), repeat('z', %s)", ("y" * 20000, 20000)) for _ in range(300)]
    print(sum(len(text) + length for length, text in (cursor.fetchone() for cursor in cursors)))
EOF"#;
    check(script, "30030000\n200000\n12000000\n");
}
