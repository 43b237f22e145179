//! A human is asked while the statement waits on the open connection, and the answer is good for that statement and no
//! other. Nothing that nobody approved ever runs.

use interceptor_tests::{Outcome, Scene};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Policies that ask for approvals, and what the approval section says; goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, needs: &str, approval: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("approvals-{name}-{}", std::process::id()));
        let policies = dir.join("policies");
        std::fs::create_dir_all(&policies).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default");
        for file in std::fs::read_dir(shipped).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), policies.join(file.file_name())).unwrap();
        }
        let held = format!(
            "@id(\"writes-need-a-human\") @approve(\"{needs}\")\n\
             forbid (principal, action in [PG::Action::\"write\"], resource is PG::Relation);\n"
        );
        std::fs::write(policies.join("approvals.cedar"), held).unwrap();
        std::fs::write(dir.join("further.toml"), format!("[approval]\nlocal_root = false\n{approval}\n")).unwrap();
        Self(dir)
    }

    fn run(&self, script: &str) -> Outcome {
        Scene::demo()
            .with("--policies", self.0.join("policies"))
            .with("--config", self.0.join("further.toml"))
            .run(&format!("{TOOLS}\n{script}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What operators have at hand: tokens for people, the request that is open, and what agents wrote.
pub(crate) const TOOLS: &str = r#"
    out=$(dirname "$INTERCEPTOR_CONFIG")
    secret=$(cat "$out/issuer-secret")
    # mint SUBJECT GROUPS [CLAIMS]
    mint() { "$PYTHON" -c "
import json, sys, urllib.request
wanted = {'subject': sys.argv[1], 'groups': sys.argv[2].split(','), 'claims': json.loads(sys.argv[3] or '{}')}
r = urllib.request.Request('$INTERCEPTOR_ISSUER/admin/tokens', json.dumps(wanted).encode(), {'authorization': 'Bearer $secret'})
print(json.load(urllib.request.urlopen(r))['token'])" "$1" "$2" "$3"; }
    # The request that is open, once there is one.
    opened() { for n in $(seq 100); do
        id=$("$INTERCEPTOR" approvals list --json | "$PYTHON" -c 'import json, sys
print(*[r["id"] for r in json.load(sys.stdin) if r["state"] == "open"][-1:])')
        [ -n "$id" ] && return 0; sleep 0.1; done; echo 'nothing is open'; }
    as() { token=$1; shift; INTERCEPTOR_APPROVER_TOKEN=$token "$INTERCEPTOR" approvals "$@" 2>&1 | sed "s/$id/ID/g"; }
    # An operator's shell: in a cgroup of its own.
    elsewhere() { (
        mount=$(findmnt -n -o TARGET -t cgroup2 | head -1); mkdir -p "$mount/operator-$$"
        echo $BASHPID > "$mount/operator-$$/cgroup.procs"
        "$INTERCEPTOR" approvals "$@" 2>&1 | sed "s/$id/ID/g"
        echo $BASHPID > "$mount/cgroup.procs"; rmdir "$mount/operator-$$"); }
    outside() { psql -XAtc "$1" "$INTERCEPTOR_UPSTREAM"; }
    agent() { timeout 60 psql -XAt -v VERBOSITY=verbose -c "$1" 2>&1 | grep -v '^LOCATION' |
        sed 's/request [0-9a-f]\{8\}/request ID/g; s/show [0-9a-f]\{8\}/show ID/; s/open for [0-9]* s/open for N s/'; }
    # Whoever gives up after two seconds.
    impatient() { (timeout 2 psql -XAtqc "$1" 2>&1; true) | grep -c held; }
    bob=$(mint bob@corp dba)
"#;

#[test]
fn a_yes_lets_it_run_and_a_no_says_why() {
    let folder = Folder::new("decided", "dba", "");
    let script = r#"
        agent "update orders set customer_id = 101 where id = 1 returning id, customer_id" > $out/1 & first=$!
        opened
        "$INTERCEPTOR" approvals show $id | grep -c "update orders set customer_id = 101 where id = 1 returning id, customer_id"
        as "$(mint carol@corp readers)" approve $id
        as "$(mint agent:demo dba)" approve $id
        as "$(mint agent:x dba '{"on_behalf_of": "dave"}')" approve $id
        as "" approve $id
        as "garbage" approve $id
        as "$bob" approve $id --comment 'ticket 4711'
        wait $first; cat $out/1
        as "$bob" approve $id
        agent "update orders set customer_id = 102 where id = 2" > $out/2 & second=$!
        opened; as "$bob" deny $id --comment 'archive it instead'
        wait $second; cat $out/2
        # Whoever waits may cancel: the request goes with it.
        (timeout --foreground --signal=INT 4 psql -XAtc "update orders set customer_id = 103 where id = 3" 2>&1; true) > $out/3 & third=$!
        opened; wait $third; grep -c 'canceling statement due to user request' $out/3
        as "$bob" approve $id
        outside "select customer_id from orders where id = 1"
        outside "select count(*) from orders where id in (2, 3) and customer_id in (102, 103)"
        "$INTERCEPTOR" audit verify | grep -c 'the trail stands'
        "$INTERCEPTOR" audit search --json"#;
    let outcome = folder.run(script);
    let (records, said): (Vec<_>, Vec<_>) = outcome.stdout.lines().partition(|line| line.starts_with("{\"v\""));
    assert_eq!(
        said.join("\n"),
        "1\n\
         interceptor: the daemon answered 403: `carol@corp` is not in `dba`, which has to approve it\n\
         interceptor: the daemon answered 403: `agent:demo` is who asks, or whom the agent acts for: somebody else has to approve it\n\
         interceptor: the daemon answered 403: a token that says `agent:x` acts for `dave` approves nothing: people approve for \
         themselves\n\
         interceptor: the daemon answered 403: an agent is not root of this host: show a token\n\
         interceptor: the daemon answered 401: the token is refused: it is not a signed JWT: three parts in base64url without \
         padding\n\
         request ID is approved\n\
         NOTICE:  00000: held until dba approves: request ID, open for N s (interceptor approvals show ID)\n\
         1|101\n\
         UPDATE 1\n\
         interceptor: the daemon answered 409: request ID is used already\n\
         request ID is denied\n\
         NOTICE:  00000: held until dba approves: request ID, open for N s (interceptor approvals show ID)\n\
         ERROR:  42501: bob@corp has denied the statement\n\
         DETAIL:  archive it instead (42501, request ID)\n\
         HINT:  change what was objected to; sent again as it is, it asks again\n\
         1\n\
         interceptor: the daemon answered 409: request ID is withdrawn already\n\
         101\n\
         0\n\
         1",
        "{}",
        outcome.stderr
    );
    let records: Vec<Value> = records.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    check_story(&records, 101, "hold, asked, approved, used, permit, ok");
    check_story(&records, 102, "hold, asked, denied, deny, denied");
    check_story(&records, 103, "hold, asked, withdrawn, deny, denied");
    for record in records.iter().filter(|record| record["event"] == "approval" || record["decision"] == "hold") {
        assert_eq!(record["obligations"], serde_json::json!(["approve(dba)"]), "{record}");
        assert!(record["policies"].as_array().unwrap().contains(&"writes-need-a-human".into()), "{record}");
        assert_eq!(record["agent"]["subject"], "agent:demo", "{record}");
    }
    let says =
        |record: &&Value| record["statement"].as_str().is_some_and(|text| text.contains("by bob@corp: ticket 4711"));
    assert_eq!(records.iter().filter(says).count(), 2, "whoever approved is named, then and when it is used");
}

/// What is on record about the session whose statement sets a customer, in order.
#[track_caller]
fn check_story(records: &[Value], customer: u32, expected: &str) {
    let sets =
        |record: &&Value| record["statement"].as_str().is_some_and(|text| text.contains(&format!("= {customer} ")));
    let session = &records.iter().find(sets).unwrap()["session"];
    let told = records.iter().filter(|record| record["session"] == *session).filter_map(|record| match record["event"]
        .as_str()
        .unwrap()
    {
        "statement" => record["decision"].as_str(),
        "approval" => record["statement"].as_str().unwrap().split(':').next(),
        "outcome" => record["outcome"]["status"].as_str(),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>().join(", "), expected);
}

#[test]
fn an_approval_survives_its_client_and_is_good_for_one_statement_only() {
    let folder = Folder::new("survives", "dba", "");
    let script = format!(
        r#"
        cat > $out/client.py <<'EOF'
{}
EOF
        # try WHAT SQL VALUE...: with a driver that gives up after a while, as agents' tools do.
        try() {{ "$PYTHON" $out/client.py "$@" 2>&1; }}
        update='update orders set customer_id = %s where id = %s'
        try gave-up "$update" 105 5; opened
        as "$bob" approve $id | sed 's/ [0-9]* s/ N s/'
        outside "select customer_id = 105 from orders where id = 5"
        try other-value "$update" 105 6; opened; as "$bob" deny $id
        try other-text "$update " 105 5; opened; as "$bob" deny $id
        AGENT_ID_TOKEN=$(mint agent:other agents) try other-agent "$update" 105 5; opened; as "$bob" deny $id
        PGDATESTYLE=German try other-setting "$update" 105 5; opened; as "$bob" deny $id
        outside "select customer_id = 105 from orders where id = 5"
        try the-same "$update" 105 5
        outside "select customer_id from orders where id = 5"
        try once-more "$update" 105 5; opened; as "$bob" deny $id
        # The same by the simple protocol.
        delete='delete from order_items where order_id = 1'
        impatient "$delete"; opened; as "$bob" approve $id > /dev/null
        psql -XAtqc "$delete" && echo 'straight through'
        impatient "$delete"
        # Under other policies it is another question.
        opened; as "$bob" approve $id > /dev/null
        echo '// changed' >> {}/approvals.cedar; sleep 1.5
        impatient "$delete""#,
        include_str!("approvals_client.py"),
        folder.0.join("policies").display()
    );
    let outcome = folder.run(&script);
    assert_eq!(
        outcome.stdout,
        "gave-up: held, no answer\n\
         request ID is approved; nobody waits for it: the same statement may run within N s\n\
         f\n\
         other-value: held, no answer\n\
         request ID is denied\n\
         other-text: held, no answer\n\
         request ID is denied\n\
         other-agent: held, no answer\n\
         request ID is denied\n\
         other-setting: held, no answer\n\
         request ID is denied\n\
         f\n\
         the-same: 1 rows\n\
         105\n\
         once-more: held, no answer\n\
         request ID is denied\n\
         1\n\
         straight through\n\
         1\n\
         1\n",
        "{}",
        outcome.stderr
    );
}

/// Three connections ask for the same, two approvers answer at once: it runs once.
#[test]
fn one_yes_is_one_statement_however_many_wait() {
    let folder = Folder::new("once", "dba", "");
    let script = r#"
        insert='insert into orders (customer_id) values (42)'
        count() { outside 'select count(*) from orders where customer_id = 42'; }
        dave=$(mint dave@corp dba); before=$(count)
        for n in 1 2 3; do agent "$insert" > $out/$n & pids="$pids $!"; done
        waiting() { "$INTERCEPTOR" approvals list --json | "$PYTHON" -c 'import json, sys
print(*[(r["state"], r["waiting"]) for r in json.load(sys.stdin)])'; }
        for n in $(seq 50); do waiting | grep -q ', 3)' && break; sleep 0.1; done; waiting
        opened; first=$id
        (as "$bob" approve $first > $out/bob) & one=$!; (as "$dave" approve $first > $out/dave) & wait $one $!
        cat $out/bob $out/dave | sed 's/is [a-z]* already/is decided already/' | sort
        # The others ask anew, together.
        for n in $(seq 50); do waiting | grep -q "('open', 2)" && break; sleep 0.1; done; waiting
        opened; as "$bob" deny $id
        wait $pids; cat $out/[123] | grep -c 'INSERT 0 1'; cat $out/[123] | grep -c 'has denied'
        echo $(($(count) - before))
        "$INTERCEPTOR" audit search --event approval --text "used: request $first" --json | wc -l"#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "('open', 3)\n\
         interceptor: the daemon answered 409: request ID is decided already\n\
         request ID is approved\n\
         ('open', 2)\n\
         request ID is denied\n\
         1\n2\n1\n1\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn nobody_decides_in_time() {
    let folder = Folder::new("late", "2 of dba", "timeout_seconds = 3\nnotice_seconds = 1");
    let script = r#"
        agent "update orders set customer_id = 106 where id = 1" > $out/1 & first=$!
        opened; as "$bob" approve $id; as "$bob" approve $id
        wait $first; sed 's/another [0-9]* s/another N s/' $out/1 | uniq
        # Two do.
        agent "update orders set customer_id = 107 where id = 1" > $out/2 & second=$!
        opened; as "$bob" approve $id; as "$(mint dave@corp dba,readers)" approve $id; wait $second; tail -1 $out/2
        # A transaction in which a statement is not approved has failed.
        psql -XAtq 2>&1 <<'EOF' | grep -v NOTICE | sed 's/request [0-9a-f]*/request ID/'
begin; update orders set customer_id = 108 where id = 1;
select 1;
rollback;
select 2;
EOF
        # Not by a process of an agent's, root or not, wherever it has gone since: the glass is for people of this host.
        agent "update orders set customer_id = 109 where id = 1" > $out/3 & third=$!
        opened; as "" approve $id --break-glass 'fire'
        elsewhere approve $id --break-glass 'fire'; wait $third; tail -1 $out/3
        "$INTERCEPTOR" audit search --event approval --text 'breaking the glass' --json | grep -c '"decision":"permit"'"#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "request ID is open, 1/2 of dba is still needed\n\
         interceptor: the daemon answered 409: `bob@corp` has approved it already; somebody else has to as well\n\
         NOTICE:  00000: held until 2 of dba approves: request ID, open for N s (interceptor approvals show ID)\n\
         NOTICE:  00000: still held until 2 of dba approves: request ID, open for another N s\n\
         ERROR:  42501: nobody of 2 of dba has decided in time whether the statement may run\n\
         DETAIL:  it was held for approval (42501, request ID) and has not run\n\
         HINT:  it may be retried: the same statement asks again\n\
         request ID is open, 1/2 of dba is still needed\n\
         request ID is approved\n\
         UPDATE 1\n\
         ERROR:  nobody of 2 of dba has decided in time whether the statement may run\n\
         DETAIL:  it was held for approval (42501, request ID) and has not run\n\
         HINT:  it may be retried: the same statement asks again\n\
         ERROR:  current transaction is aborted, commands ignored until end of transaction block\n\
         2\n\
         interceptor: the daemon answered 403: an agent is not root of this host: show a token\n\
         interceptor: the daemon answered 403: an agent is not root of this host: show a token\n\
         HINT:  it may be retried: the same statement asks again\n\
         0\n",
        "{}",
        outcome.stderr
    );
}

/// Whatever comes of them: people who are asked without end stop reading.
#[test]
fn agents_cannot_ask_without_end() {
    let folder = Folder::new("often", "dba", "requests_per_minute = 3");
    let script = r#"
        for n in 1 2 3; do impatient "update orders set customer_id = 11$n where id = 1"; opened; as "$bob" deny $id; done
        agent "update orders set customer_id = 114 where id = 1" | head -1
        "$INTERCEPTOR" approvals list --all --json | "$PYTHON" -c 'import json, sys; print(len(json.load(sys.stdin)))'
        "$INTERCEPTOR" top --once | grep -o 'waiting for a human: [0-9]*'
        "$INTERCEPTOR" status --json | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["decided"])'"#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "1\nrequest ID is denied\n1\nrequest ID is denied\n1\nrequest ID is denied\n\
         ERROR:  53400: this agent has asked for 3 approvals within a minute, which is the limit\n\
         3\n\
         waiting for a human: 0\n\
         [0, 1, 3]\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_daemon_that_dies_takes_what_is_held_with_it() {
    let folder = Folder::new("killed", "dba", "");
    let script = r#"
        # Approved, and not used.
        impatient "update orders set customer_id = 110 where id = 2"; opened; as "$bob" approve $id > /dev/null
        agent "update orders set customer_id = 110 where id = 1" > $out/1 & first=$!
        opened
        kill -9 "$INTERCEPTOR_DAEMON_PID"; wait $first; grep -c 'server closed the connection' $out/1
        rm -f "$INTERCEPTOR_SOCKET"
        (setsid "$INTERCEPTOR" run --config "$INTERCEPTOR_CONFIG" > $out/second 2>&1 & echo $! > $out/pid)
        for n in $(seq 100); do [ -S "$INTERCEPTOR_SOCKET" ] && break; sleep 0.1; done
        "$INTERCEPTOR" approvals list --all --json
        impatient "update orders set customer_id = 110 where id = 2"
        outside "select count(*) from orders where id in (1, 2) and customer_id = 110"
        "$INTERCEPTOR" audit verify | grep -c 'the trail stands'
        kill "$(cat $out/pid)"; sleep 0.5"#;
    let outcome = folder.run(script);
    assert_eq!(outcome.stdout, "1\n1\n[]\n1\n0\n1\n", "{}", outcome.stderr);
}
