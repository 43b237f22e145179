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
