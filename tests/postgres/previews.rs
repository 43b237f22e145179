//! What a statement would change is seen before somebody says yes, and it is that which happens then, once.

use interceptor_tests::{Outcome, Scene};
use std::path::{Path, PathBuf};

/// Policies that ask for approvals with a preview; goes away with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str, approval: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("previews-{name}-{}", std::process::id()));
        let policies = dir.join("policies");
        std::fs::create_dir_all(&policies).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default");
        for file in std::fs::read_dir(shipped).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), policies.join(file.file_name())).unwrap();
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/previews");
        for file in ["previews.cedar", "labels.toml"] {
            std::fs::copy(here.join(file), policies.join(file)).unwrap();
        }
        std::fs::write(dir.join("further.toml"), format!("[approval]\nlocal_root = false\n{approval}\n")).unwrap();
        Self(dir)
    }

    pub(crate) fn run(&self, script: &str) -> Outcome {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Scene::demo()
            .with("--init", root.join("../xtask/demo/shop.sql"))
            .with("--init", root.join("postgres/previews/schema.sql"))
            .with("--policies", self.0.join("policies"))
            .with("--config", self.0.join("further.toml"))
            .run(&format!("{}\n{SHOWN}\n{script}", crate::approvals::TOOLS))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The facts of a request's preview on one line, then its tables.
const SHOWN: &str = r#"
    effect() { "$INTERCEPTOR" approvals show $id --json | "$PYTHON" -c '
import json, sys
preview = json.load(sys.stdin)["preview"]
effect = preview["effect"]
print(effect and (effect["affected"], effect["error"], effect["whole"]), *preview["notes"])
for table in sorted(preview["tables"], key=lambda table: table["relation"]):
    print(table["relation"], table["before"][:2], table["after"][:2], *table["counts"], table["hidden"] or "-")'; }
    # Somebody else, whose writes nobody is asked for.
    other() { AGENT_ID_TOKEN=$free timeout 20 psql -XAtqc "$1" 2>&1; }
    free=$(mint agent:free agents,free)
    driver() { "$PYTHON" "$CLIENT" "$@" 2>&1; }
"#;

#[test]
fn the_effect_is_seen_and_is_what_happens() {
    let folder = Folder::new("seen", "");
    let script = r#"
        agent "update people set note = 'new', name = 'somebody' where id in (1, 2) returning id, note" > $out/1 & first=$!
        opened; effect
        "$INTERCEPTOR" approvals show $id | sed -n '/^effect/,/^statement/p' | sed 's/sha256 [0-9a-f]*/sha256 N/; s/^ /|/'
        outside "select count(*) from people where note = 'new'"
        as "$bob" approve $id; wait $first; grep -v NOTICE $out/1
        outside "select count(*) from people where note = 'new'"
        # Denied: nothing of it is left, locks included.
        agent "delete from kept where id <= 3" > $out/2 & second=$!
        opened; effect; as "$bob" deny $id --comment 'not these'; wait $second; grep -c 'not these' $out/2
        outside "select count(*) from kept"; outside "select count(*) from seen"
        other "update kept set id = 1 where id = 1 returning id"
        # In the agent's own transaction, which goes on.
        psql -XAtq > $out/3 2>&1 <<'EOF' & third=$!
begin;
insert into people values (101, 'x', 'before');
insert into people values (102, 'x', 'within');
commit;
select id from people where id > 100;
EOF
        opened; as "$bob" approve $id; for n in $(seq 50); do grep -c held $out/3 | grep -q 2 && break; sleep 0.1; done
        opened; effect; as "$bob" approve $id; wait $third; grep -v NOTICE $out/3
        # A limit is met before it is committed.
        agent "update few set n = 2" > $out/4 & fourth=$!
        opened; effect; as "$bob" approve $id; wait $fourth; grep ERROR $out/4
        outside "select count(*) from few where n = 2"
        # Its outcome is on record once, and what was seen before it.
        "$INTERCEPTOR" audit search --event approval --text 'previewed: its effect' --json | wc -l
        "$INTERCEPTOR" audit search --event approval --text 'tried, it changes 2 rows' --json | wc -l
        "$INTERCEPTOR" audit search --text "set note = 'new'" --decision permit --event statement --json | wc -l
        "$INTERCEPTOR" audit verify | grep -c 'the trail stands'"#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "(2, None, True)\n\
         public.people [['1', 'p***1', 'old'], ['2', 'p***2', 'old']] [['1', 's***y', 'new'], ['2', 's***y', 'new']] 2 2 -\n\
         effect        tried, it changes 2 rows (sha256 N)\n\
         rows of public.people, as they are: 2 of 2\n\
         | ID  NAME   NOTE\n\
         | 1   p***1  old\n\
         | 2   p***2  old\n\
         rows of public.people, as they would be: 2 of 2\n\
         | ID  NAME   NOTE\n\
         | 1   s***y  new\n\
         | 2   s***y  new\n\
         statement\n\
         0\n\
         request ID is approved\n\
         1|new\n\
         2|new\n\
         UPDATE 2\n\
         2\n\
         (3, None, True) the count leaves out rows that WITH, triggers and foreign keys change\n\
         public.kept [['1'], ['2']] [] 3 0 -\n\
         public.seen [] [['1', 'gone'], ['2', 'gone']] 0 3 -\n\
         request ID is denied\n\
         1\n\
         10\n\
         0\n\
         1\n\
         request ID is approved\n\
         (1, None, True)\n\
         public.people [] [['102', '***', 'within']] 0 1 -\n\
         request ID is approved\n\
         101\n\
         102\n\
         (100, None, True) it will fail all the same: the policies let it change 50 rows\n\
         public.few [['1', '0'], ['2', '0']] [['1', '2'], ['2', '2']] 100 100 -\n\
         request ID is approved\n\
         ERROR:  54000: 100 rows would have been changed, the limit is 50\n\
         0\n\
         5\n\
         1\n\
         1\n\
         1\n\
         ",
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_a_rollback_may_not_take_back_is_not_tried() {
    let folder = Folder::new("not", "");
    let script = r#"
        try() { agent "$1" > $out/1 & first=$!; opened; effect; as "$bob" approve $id > /dev/null; wait $first; tail -1 $out/1; }
        try "insert into told values (1)"
        try "update people set note = loud()::text where id = 1"
        try "update people set note = 'x' where id = 1; select 1"
        try "insert into people values (1, 'again', 'a key that is there')""#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "None its effect was not tried: pg_catalog.pg_notify may do anything\n\
         INSERT 0 1\n\
         None its effect was not tried: public.loud may do anything\n\
         UPDATE 1\n\
         None its effect was not tried: it is one of several statements in one text\n\
         1\n\
         (None, '23505 (its text is for the agent)', True)\n\
         CONSTRAINT NAME:  people_pkey\n\
         ",
        "{}",
        outcome.stderr
    );
}

#[test]
fn locks_are_given_back_and_only_the_same_effect_is_approved() {
    let folder = Folder::new("locks", "preview_lock_timeout = 2");
    let script = r#"
        agent "update people set note = 'later' where id < 4" > $out/1 & first=$!
        opened; effect; sleep 2.5
        other "update people set id = 1 where id = 1 returning id"
        as "$bob" approve $id; wait $first; tail -1 $out/1; grep -c 'what was tried is rolled back' $out/1
        # Something else has changed what it would do: it asks again.
        agent "update people set note = 'again' where id < 4" > $out/2 & second=$!
        opened; sleep 2.5; other "update people set name = 'renamed' where id = 3"; was=$id; as "$bob" approve $id
        for n in $(seq 50); do opened; [ "$id" != "$was" ] && break; sleep 0.1; done; effect
        as "$bob" approve $id; wait $second; tail -1 $out/2
        outside "select count(*) from people where note = 'again'"
        # Whoever has to wait for a lock is not tried.
        (AGENT_ID_TOKEN=$free timeout 20 psql -XAtq -c begin -c "update people set note = 'locked' where id = 7" -c '\! sleep 4' -c commit) > /dev/null & third=$!
        sleep 0.5; agent "update people set note = 'waits' where id = 7" > $out/4 & fourth=$!
        opened; effect; as "$bob" approve $id; wait $third $fourth; grep -c 'is looked at before' $out/4; tail -1 $out/4; outside "select note from people where id = 7"
        # A client that gives up takes its effect with it; the approval is for the same effect.
        impatient "update people set note = 'gave up' where id = 9"; opened; as "$bob" approve $id | sed 's/ [0-9]* s/ N s/'
        outside "select count(*) from people where note = 'gave up'"
        psql -XAtqc "update people set note = 'gave up' where id = 9" && echo 'straight through'
        outside "select count(*) from people where note = 'gave up'"
        # Cancelled while it waits.
        (timeout --foreground --signal=INT 2 psql -XAtc "update people set note = 'cancelled' where id = 10" 2>&1; true) > $out/5
        grep -c 'canceling statement' $out/5; outside "select count(*) from people where note = 'cancelled'"
        # The daemon dies: nothing of it has happened.
        agent "update people set note = 'killed' where id = 11" > $out/6 & sixth=$!
        opened; kill -9 "$INTERCEPTOR_DAEMON_PID"; wait $sixth; sleep 0.5
        wait $sixth; grep -c 'server closed' $out/6
        rm -f "$INTERCEPTOR_SOCKET"
        (setsid "$INTERCEPTOR" run --config "$INTERCEPTOR_CONFIG" > $out/second 2>&1 & echo $! > $out/pid)
        for n in $(seq 100); do [ -S "$INTERCEPTOR_SOCKET" ] && break; sleep 0.1; done
        outside "select count(*) from people where note = 'killed'"
        kill "$(cat $out/pid)"; sleep 0.5"#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "(3, None, True)\n\
         public.people [['1', 'p***1', 'old'], ['2', 'p***2', 'old']] [['1', 'p***1', 'later'], ['2', 'p***2', 'later']] 3 3 -\n\
         1\n\
         request ID is approved\n\
         UPDATE 3\n\
         1\n\
         request ID is approved\n\
         (3, None, True)\n\
         public.people [['1', 'p***1', 'later'], ['2', 'p***2', 'later']] [['1', 'p***1', 'again'], ['2', 'p***2', 'again']] 3 3 -\n\
         request ID is approved\n\
         UPDATE 3\n\
         3\n\
         None its effect was not tried: it took longer than 2 s, or waited that long for locks (`preview_lock_timeout`)\n\
         request ID is approved\n\
         1\n\
         UPDATE 1\n\
         waits\n\
         1\n\
         request ID is approved; nobody waits for it: the same statement may run within N s\n\
         0\n\
         straight through\n\
         1\n\
         1\n\
         0\n\
         1\n\
         0\n\
         ",
        "{}",
        outcome.stderr
    );
}

/// Exception handlers of PL/pgSQL, in statements of their own, in a block that has done the same before, and beside somebody who locks
/// and deletes rows of the same tables.
#[test]
fn what_is_done_under_a_handler_is_seen() {
    let folder = Folder::new("handlers", "");
    let script = r#"
        other() { (AGENT_ID_TOKEN=$free timeout 20 psql -XAtq -c begin -c "delete from kept where id = 9" -c "select id from risky where id = 4 for update" \
            -c "insert into log values (9, 'other')" -c '\! sleep 6' -c rollback) > /dev/null; }
        other & somebody=$!; sleep 1
        agent "update risky set n = 1 where id < 3" > $out/1 & first=$!
        opened; effect; as "$bob" deny $id > /dev/null; wait $first
        outside "select count(*) from log"; outside "select count(*) from kept"
        # A limit that it will reach is said beforehand; when it is approved it is met, and nothing of it is left.
        agent "update risky set n = 7 where id in (1, 2, 3) returning id" > $out/3 & third=$!
        opened; effect | grep risky; effect | grep -o 'it will fail.*'; as "$bob" approve $id > /dev/null; wait $third; grep ERROR $out/3
        outside "select count(*) from risky where n = 7"
        psql -XAtq > $out/2 2>&1 <<'EOF' & second=$!
begin isolation level repeatable read;
select count(*) from kept;
update risky set n = 2 where id = 1;
update risky set n = 3 where id = 2;
commit;
EOF
        for n in 1 2; do
            for m in $(seq 50); do was=$id; opened; [ "$id" != "$was" ] && break; sleep 0.1; done
            effect; as "$bob" approve $id > /dev/null
        done
        wait $second $somebody; grep -v NOTICE $out/2
        outside "select * from log order by id"; outside "select string_agg(id::text, ' ' order by id) from kept""#;
    let outcome = folder.run(script);
    let note = "the count leaves out rows that WITH, triggers and foreign keys change";
    assert_eq!(
        outcome.stdout,
        format!(
            "(2, None, True) {note}\n\
             public.kept [['6'], ['7']] [] 2 0 -\n\
             public.log [] [['1', 'within'], ['2', 'within']] 0 2 -\n\
             public.risky [['1', '0'], ['2', '0']] [['1', '1'], ['2', '1']] 2 2 -\n\
             public.seen [] [['6', 'gone'], ['7', 'gone']] 0 2 -\n\
             0\n10\n\
             public.risky [['1', '0'], ['2', '0']] [['1', '7'], ['2', '7']] 3 3 -\n\
             it will fail all the same: it returns 3 rows, the policies let it return 2\n\
             ERROR:  54000: more than 2 rows, which is the limit\n\
             0\n\
             (1, None, True) {note}\n\
             public.kept [['6']] [] 1 0 -\n\
             public.log [] [['1', 'within']] 0 1 -\n\
             public.risky [['1', '0']] [['1', '2']] 1 1 -\n\
             public.seen [] [['6', 'gone']] 0 1 -\n\
             (1, None, True) {note}\n\
             public.kept [['7']] [] 1 0 -\n\
             public.log [] [['2', 'within']] 0 1 -\n\
             public.risky [['2', '0']] [['2', '3']] 1 1 -\n\
             public.seen [] [['7', 'gone']] 0 1 -\n\
             10\n\
             1|within\n2|within\n\
             1 2 3 4 5 8 9 10\n"
        ),
        "{}",
        outcome.stderr
    );
}

/// MERGE, ON CONFLICT, cascades, rows that move to another partition, WITH, names that need quotes, EXECUTE, savepoints.
#[test]
fn every_kind_of_write_is_seen() {
    let folder = Folder::new("kinds", "");
    let script = r#"
        try() { agent "$1" > $out/1 & first=$!; opened; effect; as "$bob" approve $id > /dev/null; wait $first; grep -v NOTICE $out/1; }
        try "merge into people p using (values (1), (300)) v(id) on p.id = v.id when matched then update set note = 'merged'
             when not matched then insert values (v.id, 'new', 'made')"
        try "insert into people values (1, 'x', 'y'), (400, 'x', 'y') on conflict (id) do update set note = excluded.note"
        try "delete from parent where id = 1"
        try "update part set id = id + 120 where id between 50 and 51"
        try "with gone as (delete from child where id = 2 returning id) update parent set n = 'q' where id in (select id from gone)"
        try "update \"Odd Name\" set arr = '{3}', js = '[]' where \"a \"\"b\" = 1 returning *"
        psql -XAtq > $out/2 2>&1 <<'EOF' & second=$!
prepare p(int) as delete from people where id = $1 returning id;
execute p(6);
begin;
savepoint mine;
execute p(7);
rollback to mine;
execute p(8);
commit;
EOF
        for n in 1 2 3; do
            for m in $(seq 50); do was=$id; opened; [ "$id" != "$was" ] && break; sleep 0.1; done
            effect; as "$bob" approve $id > /dev/null
        done
        wait $second; grep -v NOTICE $out/2
        outside "select id from people where id in (6, 7, 8)""#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "(2, None, True)\n\
         public.people [['1', 'p***1', 'old']] [['1', 'p***1', 'merged'], ['300', '***', 'made']] 1 2 -\n\
         MERGE 2\n\
         (2, None, True)\n\
         public.people [['1', 'p***1', 'merged']] [['1', 'p***1', 'y'], ['400', '***', 'y']] 1 2 -\n\
         INSERT 0 2\n\
         (1, None, True) the count leaves out rows that WITH, triggers and foreign keys change\n\
         public.child [['3', '1'], ['6', '1']] [] 3 0 -\n\
         public.parent [['1', 'p']] [] 1 0 -\n\
         DELETE 1\n\
         (2, None, True) the count leaves out rows that WITH, triggers and foreign keys change\n\
         public.part_a [['50', 'x'], ['51', 'x']] [] 2 0 -\n\
         public.part_b [] [['170', 'x'], ['171', 'x']] 0 2 -\n\
         UPDATE 2\n\
         (1, None, True) the count leaves out rows that WITH, triggers and foreign keys change\n\
         public.child [['2', '3']] [] 1 0 -\n\
         public.parent [['2', 'p']] [['2', 'q']] 1 1 -\n\
         UPDATE 1\n\
         (1, None, True)\n\
         public.\"Odd Name\" [['1', '2026-01-31', '{1,2}', '{\"a\": 1}']] [['1', '2026-01-31', '{3}', '[]']] 1 1 -\n\
         1|2026-01-31|{3}|[]\n\
         UPDATE 1\n\
         (1, None, True)\n\
         public.people [['6', 'p***6', 'old']] [] 1 0 -\n\
         (1, None, True)\n\
         public.people [['7', 'p***7', 'old']] [] 1 0 -\n\
         (1, None, True)\n\
         public.people [['8', 'p***8', 'old']] [] 1 0 -\n\
         6\n\
         7\n\
         8\n\
         7\n\
         ",
        "{}",
        outcome.stderr
    );
}

/// The same by the extended protocol, whose batches are transactions of their own.
#[test]
fn drivers_wait_for_their_batch() {
    let folder = Folder::new("drivers", "preview_lock_timeout = 2");
    let script = format!(
        "export CLIENT=$out/client.py; cat > $CLIENT <<'EOF'\n{}\nEOF\n{}",
        include_str!("previews/client.py"),
        r#"
        for what in auto block named pipeline; do
            driver $what > $out/$what & client=$!
            opened; effect; as "$bob" approve $id; wait $client; cat $out/$what
            driver $what > $out/$what & client=$!
            opened; as "$bob" deny $id --comment 'no'; wait $client; cat $out/$what
            driver $what > $out/$what & client=$!
            opened; sleep 2.5; as "$bob" approve $id; wait $client; cat $out/$what
        done"#
    );
    let outcome = folder.run(&script);
    assert_eq!(
        outcome.stdout,
        "(1, None, True)\n\
         public.people [['23', 'p***3', 'old']] [['23', 'p***3', 'auto']] 1 1 -\n\
         request ID is approved\n\
         auto [(23, 'auto')]\n\
         IDLE (1,)\n\
         request ID is denied\n\
         auto 42501 bob@corp has denied the statement\n\
         IDLE (1,)\n\
         request ID is approved\n\
         auto [(23, 'auto')]\n\
         IDLE (1,)\n\
         (1, None, True)\n\
         public.people [['22', 'p***2', 'old']] [['22', 'p***2', 'block']] 1 1 -\n\
         request ID is approved\n\
         block [(50,), (22, 'block')]\n\
         IDLE (1,)\n\
         request ID is denied\n\
         block 42501 bob@corp has denied the statement\n\
         IDLE (1,)\n\
         request ID is approved\n\
         block [(50,), (22, 'block')]\n\
         IDLE (1,)\n\
         (1, None, True)\n\
         public.people [['23', 'p***3', 'auto']] [['23', 'p***3', 'named']] 1 1 -\n\
         request ID is approved\n\
         named [(23, 'named')]\n\
         IDLE (1,)\n\
         request ID is denied\n\
         named 42501 bob@corp has denied the statement\n\
         IDLE (1,)\n\
         request ID is approved\n\
         named [(23, 'named')]\n\
         IDLE (1,)\n\
         (1, None, True)\n\
         public.people [['21', 'p***1', 'old']] [['21', 'p***1', 'pipeline']] 1 1 -\n\
         request ID is approved\n\
         pipeline [(50,), (21, 'pipeline'), ('pipeline',)]\n\
         IDLE (1,)\n\
         request ID is denied\n\
         pipeline 42501 bob@corp has denied the statement\n\
         IDLE (1,)\n\
         request ID is approved\n\
         pipeline [(50,), (21, 'pipeline'), ('pipeline',)]\n\
         IDLE (1,)\n\
         ",
        "{}",
        outcome.stderr
    );
}

/// A batch may do other things than what is asked for, before it, behind it and to what it names.
#[test]
fn batches_do_what_was_approved_and_keep_the_rest() {
    let folder = Folder::new("batches", "preview_lock_timeout = 2");
    let script = format!(
        "cat > $out/batches.py <<'EOF'\n{}\nEOF\n{}",
        include_str!("previews/batches.py"),
        r#"
        batch() { timeout 60 "$PYTHON" $out/batches.py "$RAW" $1 2>&1; }
        for what in renamed writes; do
            batch $what > $out/$what & client=$!
            opened; effect; sleep 2.5; as "$bob" approve $id; wait $client; cat $out/$what
            batch $what > $out/$what & client=$!
            opened; as "$bob" deny $id --comment 'no'; wait $client; cat $out/$what
        done
        batch path
        outside "select id, note from people where note in ('renamed', 'path', 'writes')"
        outside "select id from jots""#
    );
    let outcome = folder.run(&format!("RAW={}\n{script}", concat!(env!("CARGO_MANIFEST_DIR"), "/postgres")));
    assert_eq!(
        outcome.stdout,
        "None its effect was not tried: the statement that it was bound from is another one by now\n\
         request ID is approved\n\
         renamed UPDATE 1 \"$user\", public\n\
         request ID is denied\n\
         renamed 42501 bob@corp has denied the statement \"$user\", public\n\
         None its effect was not tried: other statements of the same batch would be rolled back with it\n\
         request ID is approved\n\
         writes INSERT 0 1 UPDATE 1 \"$user\", public\n\
         request ID is denied\n\
         writes INSERT 0 1 42501 bob@corp has denied the statement \"$user\", public\n\
         path SET 42501 the search path is not known at this point \"$user\", public\n\
         31|renamed\n\
         33|writes\n\
         33\n\
         ",
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_is_tried_takes_no_more_memory_than_is_shown() {
    let folder = Folder::new("memory", "");
    let script = r#"
        used() { awk "/^Vm$1/ { print \$2 }" "/proc/$INTERCEPTOR_DAEMON_PID/status"; }
        # Once for what is made at the first time.
        agent "update people set note = 'x' where id = 1" > $out/1 & first=$!; opened; as "$bob" deny $id > /dev/null; wait $first
        try() {
            echo 5 > "/proc/$INTERCEPTOR_DAEMON_PID/clear_refs"; before=$(used RSS)
            agent "$1" > $out/1 & first=$!; opened; effect | cut -c1-120
            after=$(used HWM); [ $((after - before)) -lt 24000 ] && echo bounded || echo "$before kB, then $after kB"
            as "$bob" approve $id > /dev/null; wait $first; tail -1 $out/1; }
        # 50 rows of a megabyte each, as an answer and as what is shown.
        try "update people set note = repeat('x', 1000000) returning note"
        try "update people set note = repeat('y', 1000000)""#;
    let outcome = folder.run(script);
    assert_eq!(
        outcome.stdout,
        "None its effect was not tried: its result has more than 2097152 bytes, which are not kept\n\
         bounded\n\
         UPDATE 50\n\
         (50, None, False)\n\
         public.people [] [] 0 0 its rows are too long to be kept; these are some of them\n\
         bounded\n\
         UPDATE 50\n",
        "{}",
        outcome.stderr
    );
}
