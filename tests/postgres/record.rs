//! Everything is on record before it happens, and the record stands.

use interceptor_tests::Scene;
use serde_json::Value;

#[test]
fn each_statement_has_its_two_records() {
    let script = r#"
        psql -qXAtc 'select 7 as seven' > /dev/null
        psql -qXAtc 'drop table orders' 2> /dev/null
        psql -qXAtc 'select 1/0' 2> /dev/null
        "$INTERCEPTOR" audit search --json"#;
    let outcome = Scene::demo().with("--as", "agent:r").with("--groups", "agents,readers").run(script);
    let records: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |text: &str| {
        records.iter().find(|record| record["event"] == "statement" && record["statement"] == text).unwrap()
    };
    let end = |statement: &Value| {
        records
            .iter()
            .find(|record| record["outcome"]["statement_seq"] == statement["seq"])
            .map(|record| record["outcome"].clone())
            .unwrap()
    };

    let seven = find("select 7 as seven");
    assert_eq!(seven["decision"], "permit");
    assert_eq!(seven["agent"]["subject"], "agent:r");
    assert!(seven["agent"]["issuer"].as_str().unwrap().starts_with("http://127."));
    assert_eq!(seven["agent"]["groups"], serde_json::json!(["agents", "readers"]));
    assert!(seven["process"]["pid"].as_u64().unwrap() > 1);
    assert!(seven["process"]["start"].as_u64().unwrap() > 1);
    assert!(seven["process"]["exe"].as_str().unwrap().ends_with("psql"));
    assert!(seven["process"]["cgroup"].as_str().unwrap().ends_with("/agents"));
    assert_eq!(end(seven)["status"], "ok");
    assert_eq!(end(seven)["rows"], 1);
    assert!(end(seven)["backend_pid"].as_i64().unwrap() > 0);

    let drop = find("drop table orders");
    assert_eq!((&drop["decision"], &drop["verbs"]), (&"deny".into(), &serde_json::json!(["drop"])));
    assert_eq!(drop["policies"], serde_json::json!(["no-schema-changes"]));
    assert_eq!(drop["relations"][0]["relation"], "public.orders");
    assert_eq!((&end(drop)["status"], &end(drop)["sqlstate"]), (&"denied".into(), &"42501".into()));

    assert_eq!(end(find("select 1/0"))["sqlstate"], "22012");
    for field in [
        "v",
        "seq",
        "time",
        "session",
        "server",
        "database",
        "role",
        "binds",
        "shape",
        "functions",
        "obligations",
        "prev",
    ] {
        assert!(seven.get(field).is_some(), "{field}");
    }
}

#[test]
fn verification_accepts_the_trail_and_nothing_that_was_done_to_it() {
    let script = r#"
        for n in 1 2 3; do psql -qXAtc "select $n" > /dev/null; done
        # `head` names the last record as soon as the disk has it, which a busy one takes its time for.
        for n in $(seq 300); do
            last=$(tail -qn1 "$INTERCEPTOR_AUDIT"/audit-*.jsonl | grep -o '"hash":"[0-9a-f]*"')
            grep -q "$last" "$INTERCEPTOR_AUDIT/head" && break; sleep 0.1; done
        verify() { "$INTERCEPTOR" audit verify --audit "$1" > /dev/null && echo "$2 stands" || echo "$2 does not stand"; }
        copy() { rm -rf /tmp/a-$$; cp -r "$INTERCEPTOR_AUDIT" /tmp/a-$$; }
        copy; verify /tmp/a-$$ whole
        copy; sed -i '4s/select/selecT/;4s/permit/Permit/;4s/"seq":4/"seq":5/' /tmp/a-$$/audit-*.jsonl; verify /tmp/a-$$ changed
        copy; sed -i 3d /tmp/a-$$/audit-*.jsonl; verify /tmp/a-$$ without-one
        copy; sed -i '$d' /tmp/a-$$/audit-*.jsonl; verify /tmp/a-$$ without-the-last
        copy; sed -i '3{h;d};4{G}' /tmp/a-$$/audit-*.jsonl; verify /tmp/a-$$ swapped
        rm -rf /tmp/a-$$"#;
    let outcome = Scene::demo().run(script);
    assert_eq!(
        outcome.stdout,
        "whole stands\nchanged does not stand\nwithout-one does not stand\nwithout-the-last does not stand\nswapped does not stand\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn policies_say_what_else_goes_on_record() {
    let policies = std::env::temp_dir().join(format!("interceptor-recorded-{}", std::process::id()));
    std::fs::create_dir_all(&policies).unwrap();
    let text = r#"
        @id("all") permit (principal, action, resource);
        @id("customers") @mask("email") forbid (principal, action == PG::Action::"select", resource == PG::Column::"shop.public.customers.email");
        @id("seen") @audit("binds,results") permit (principal, action == PG::Action::"select", resource == PG::Relation::"shop.public.customers");"#;
    std::fs::write(policies.join("a.cedar"), text).unwrap();
    let script = r#"
        "$PYTHON" - <<'EOF'
import psycopg
for binary in (False, True):
    with psycopg.connect("", autocommit=True) as connection:
        connection.execute("select id, email from customers where id = %s", (1,), binary=binary)
        connection.execute("select status from orders where id = %s", (1,))
        try:
            with connection.cursor().copy("copy (select id from customers) to stdout") as copy:
                print(sum(1 for _ in copy))
        except psycopg.Error as error:
            print(error.sqlstate)
EOF
        "$INTERCEPTOR" audit search --json"#;
    let outcome = Scene::demo().with("--policies", &policies).run(script);
    std::fs::remove_dir_all(&policies).unwrap();
    let (said, records) = outcome.stdout.split_at(12);
    assert_eq!(said, "42501\n42501\n", "{}", outcome.stderr);
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |part: &str| -> Vec<(&Value, &Value)> {
        let opened =
            records.iter().filter(|record| record["statement"].as_str().is_some_and(|text| text.contains(part)));
        let ended = |record: &Value| {
            records
                .iter()
                .find(|other| other["outcome"]["statement_seq"] == record["seq"])
                .map(|other| &other["outcome"])
        };
        opened.filter_map(|record| Some((record, ended(record)?))).collect()
    };
    let customers = of("from customers where");
    assert_eq!(customers.len(), 2);
    for (statement, _) in &customers {
        assert!(statement["binds"][0].as_str().is_some_and(|value| value.contains('1')), "{statement}");
        assert_eq!(statement["obligations"], serde_json::json!(["audit(binds)", "audit(results)", "mask(email)"]));
    }
    // As it left: masked, and in the format that was asked for.
    let row = &customers[0].1["results"][0];
    assert!(row[0] == "1" && row[1].as_str().unwrap().contains("***@"), "{row}");
    let row = &customers[1].1["results"][0];
    assert!(row[0].as_str().is_some_and(|hex| hex.starts_with("\\x") && hex.ends_with("01")), "{row}");
    let orders = of("from orders");
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(|(statement, end)| statement["binds"].is_null() && end["results"].is_null()));
}

/// In statements, values, what was refused, and what was seen of the process that asked: its command line is the statement once more.
#[test]
fn secrets_are_nowhere_on_record() {
    let script = r#"
        psql -qXAtc "create role x password 'hunter2-secret'" > /dev/null 2>&1
        psql -qXAtc "select 1 from orders where password = 'hunter2-secret'" > /dev/null 2>&1
        psql -qXAtc "select 'Bearer hunter2-secret', '{\"token\": \"hunter2-secret\"}' /* postgres://u:hunter2-secret@h/db */" > /dev/null
        psql -qXAtc 'select 7' "application_name='x password=hunter2-secret'" > /dev/null
        "$PYTHON" -c 'import psycopg, sys; psycopg.connect("", autocommit=True).execute("select %s::text", (sys.argv[1],))' 'api_key: hunter2-secret'
        grep -c '"event":"connect"' "$INTERCEPTOR_AUDIT"/audit-*.jsonl
        grep -h hunter2 "$INTERCEPTOR_AUDIT"/audit-*.jsonl
        grep -c 'redacted' "$INTERCEPTOR_AUDIT"/audit-*.jsonl"#;
    let outcome = Scene::demo().run(script);
    let mut lines = outcome.stdout.lines();
    assert_eq!(lines.next(), Some("5"), "{}\n{}", outcome.stdout, outcome.stderr);
    let redacted: usize = lines.next().and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(redacted >= 8, "{}", outcome.stdout);
}

/// Whatever its size: what ran and what was refused is on record by its beginning and by a digest that anybody can make.
#[test]
fn what_is_too_long_for_the_record_is_there_by_its_digest() {
    let script = r#"
        "$PYTHON" - > /tmp/said-$$ 2>&1 <<'EOF'
import hashlib, os, re, json, subprocess, psycopg
wanted = {}
def run(text, *values):
    with psycopg.connect("", autocommit=True) as c:
        try:
            c.execute(text, values or None)
            decision = "permit"
        except psycopg.Error as error:
            decision = f"deny {error.sqlstate}"
    text = text.replace("%s", "$1")
    wanted[hashlib.sha256(text.encode()).hexdigest()] = (decision, len(text), text[:65536])
for size in (1 << 20, 100 << 20):
    run(f"select length('{'x' * size}')")
    run(f"select length(%s::text) /* {'y' * size} */", 7)
found = subprocess.run([os.environ["INTERCEPTOR"], "audit", "search", "--json", "--event", "statement"], capture_output=True, text=True).stdout
for line in found.splitlines():
    record = json.loads(line)
    cut = re.fullmatch(r"(.*) \[cut: (\d+) bytes in all, sha256 ([0-9a-f]{64})\]", record["statement"], re.S)
    if not cut: continue
    decision, length, beginning = wanted.pop(cut[3])
    print(record["decision"], decision, int(cut[2]) == length, cut[1] == beginning, len(line) < 100000)
print(wanted)
EOF
        cat /tmp/said-$$; rm /tmp/said-$$
        "$INTERCEPTOR" audit verify | grep -c 'the trail stands'"#;
    let outcome = Scene::demo().run(script);
    let expected = "permit permit True True True\npermit permit True True True\n\
                    deny deny 54000 True True True\ndeny deny 54000 True True True\n{}\n1\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

#[test]
fn a_receipt_and_an_export_say_what_a_job_did() {
    let script = r#"
        psql -qXAtc 'select id from orders limit 3' > /dev/null
        psql -qXAtc 'drop table orders' 2> /dev/null
        job=$(awk -F:: '/^0::/ {print $2}' /proc/self/cgroup)
        for n in $(seq 30); do
            "$INTERCEPTOR" audit receipt --job "$job" > /tmp/receipt-$$ 2> /tmp/why-$$ && break; sleep 1; done
        cat /tmp/why-$$
        "$INTERCEPTOR" audit verify --receipt /tmp/receipt-$$ --key "$INTERCEPTOR_AUDIT/key.pub" | sed 1,2d
        sed 's/drop table/select from/' /tmp/receipt-$$ > /tmp/other-$$
        "$INTERCEPTOR" audit verify --receipt /tmp/other-$$ --key "$INTERCEPTOR_AUDIT/key.pub"
        "$INTERCEPTOR" audit receipt --session nobody 2>&1
        "$INTERCEPTOR" audit export --format csv --event statement |
            "$PYTHON" -c 'import csv, sys; [print(row["statement"], row["decision"], row["relations"]) for row in csv.DictReader(sys.stdin)]'
        rm -f /tmp/receipt-$$ /tmp/other-$$ /tmp/why-$$"#;
    let outcome = Scene::demo().run(script);
    assert_eq!(
        outcome.stdout,
        "1 statements permitted, 1 denied, 0 held; 3 rows, 0 values masked, 0 rows changed\n\
         THE RECEIPT DOES NOT STAND: it does not stand: its signature does not fit\n\
         interceptor: no record fits\n\
         select id from orders limit 3 permit public.orders\n\
         drop table orders deny public.orders\n",
        "{}",
        outcome.stderr
    );
}

/// Reads a file of records as Parquet, with a reader that has nothing to do with whoever wrote it, and holds it against the same
/// records as JSON.
const READ_PARQUET: &str = r#"
import json, sys
import duckdb
duckdb.execute("set timezone = 'UTC'")
kept = "select * replace (strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ') as time)"
table = duckdb.sql(f"{kept} from read_parquet('{sys.argv[1]}') order by seq")
print(duckdb.sql(f"select typeof(time), typeof(rows) from read_parquet('{sys.argv[1]}') limit 1").fetchall())
rows = [dict(zip(table.columns, row)) for row in table.fetchall()]
records = [json.loads(line) for line in open(sys.argv[2])]
nested = {"agent": ("agent", "subject")}
nested |= {name: ("agent", name) for name in ("issuer", "on_behalf_of", "groups")}
nested |= {name: ("process", name) for name in ("pid", "exe", "cgroup", "uid")}
nested |= {name: ("outcome", name) for name in ("status", "reason", "sqlstate", "rows", "bytes", "masked", "affected",
    "duration_us", "backend_pid", "statement_seq", "results")}
texts = ("groups", "binds", "verbs", "relations", "functions", "policies", "obligations", "results")
def present(value):
    return {name: present(part) for name, part in value.items() if part is not None} if isinstance(value, dict) else value
for row, record in zip(rows, records):
    made = json.loads(row.pop("further") or "{}")
    assert len(row.pop("hash")) == 64
    for name, value in row.items():
        if value is None:
            continue
        value = json.loads(value) if name in texts else value
        member, within = nested.get(name, (name, None))
        if within:
            made.setdefault(member, {})[within] = value
        else:
            made[member] = value
    assert made == present(record), (made, record)
print(len(rows) == len(records) > 5)
of = lambda what, where, file=sys.argv[1]: print(duckdb.sql(f"select {what} from read_parquet('{file}') where {where}").fetchall())
of("statement, decision", "event = 'statement' order by time")
of("sqlstate", "sqlstate is not null order by 1")
of("verbs->>0", "decision = 'deny'")
of("count(*)", "true", sys.argv[3])
"#;

#[test]
fn what_is_exported_as_parquet_is_the_record() {
    let reader = std::env::temp_dir().join(format!("interceptor-parquet-{:x}.py", rand::random::<u32>()));
    std::fs::write(&reader, READ_PARQUET).unwrap();
    let script = r#"
        psql -qXAtc "select 'ü', 7 as seven" > /dev/null
        psql -qXAtc 'drop table orders' 2> /dev/null
        psql -qXAtc 'select 1/0' 2> /dev/null
        sleep 0.1
        "$INTERCEPTOR" audit export --format parquet > /tmp/records-$$.parquet
        "$INTERCEPTOR" audit export > /tmp/records-$$.json
        "$INTERCEPTOR" audit export --format parquet --agent nobody > /tmp/none-$$.parquet
        "$PYTHON" READER /tmp/records-$$.parquet /tmp/records-$$.json /tmp/none-$$.parquet
        rm -f /tmp/records-$$.* /tmp/none-$$.*"#;
    let outcome = Scene::demo().run(&script.replace("READER", &reader.display().to_string()));
    std::fs::remove_file(&reader).unwrap();
    assert_eq!(
        outcome.stdout,
        "[('TIMESTAMP WITH TIME ZONE', 'BIGINT')]\nTrue\n[(\"select 'ü', 7 as seven\", 'permit'), ('drop table orders', 'deny'), ('select 1/0', 'permit')]\n\
         [('22012',), ('42501',)]\n[('drop',)]\n[(0,)]\n",
        "{}",
        outcome.stderr
    );
}
