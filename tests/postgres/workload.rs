//! Agents side by side, through the real redirect: each is who it was enrolled as and nobody else, for as long as its token
//! says.

use interceptor_tests::{Outcome, Scene};
use std::path::PathBuf;

/// Two cgroups below the run's own, tokens for two agents, and words for what the tests do.
pub(crate) const PRELUDE: &str = r#"
CG=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)$(grep '^0::' /proc/self/cgroup | cut -c4-)
DIR=$(mktemp -d)
chmod 755 "$DIR"
secret=$(cat "$(dirname "$INTERCEPTOR_CONFIG")/issuer-secret")
mint() { "$PYTHON" -c "
import json, sys, urllib.request
r = urllib.request.Request('$INTERCEPTOR_ISSUER/admin/tokens', sys.argv[1].encode(), {'authorization': 'Bearer $secret'})
print(json.load(urllib.request.urlopen(r))['token'])" "$1"; }
within() { where=$1; shift; sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$CG/$where" "$@"; }
cat > "$DIR/who" <<'END'
#!/bin/sh
psql -XAtc "select current_setting('interceptor.agent') || coalesce(' for ' || nullif(current_setting('interceptor.on_behalf_of'), ''), '')" 2>&1 | head -1
END
chmod +x "$DIR/who"
mkdir "$CG/a" "$CG/b" "$CG/c"
mint '{"subject": "agent:a"}' > "$DIR/a"
mint '{"subject": "agent:b"}' > "$DIR/b"
unset AGENT_ID_TOKEN
"#;

struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-workload-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(folder.join("policies")).unwrap();
        std::fs::write(folder.join("policies/all.cedar"), "@id(\"all\") permit (principal, action, resource);")
            .unwrap();
        Self(folder)
    }

    fn run(&self, config: &str, script: &str) -> Outcome {
        std::fs::write(self.0.join("further.toml"), config).unwrap();
        let scene =
            Scene::demo().with("--policies", self.0.join("policies")).with("--config", self.0.join("further.toml"));
        scene.run(&format!("{PRELUDE}\n{script}\nrm -rf \"$DIR\""))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[track_caller]
fn check(outcome: &Outcome, expected: &[&str]) {
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let fits = lines.len() == expected.len() && lines.iter().zip(expected).all(|(line, part)| line.contains(part));
    assert!(fits, "expected {expected:#?}, got\n{}\n{}", outcome.stdout, outcome.stderr);
}

const REFUSED: &str = "the agent's identity is not accepted";

#[test]
fn two_agents_of_one_user_are_never_each_other() {
    let script = r#"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > "$DIR/said" || cat "$DIR/said"
        "$INTERCEPTOR" enroll --cgroup "$(grep '^0::' /proc/self/cgroup | cut -c4-)/b" --token-file - < "$DIR/b" > "$DIR/said" || cat "$DIR/said"
        within a "$DIR/who"
        within b "$DIR/who"
        # The other one's token in the environment, before and after.
        AGENT_ID_TOKEN=$(cat "$DIR/b") within a "$DIR/who"
        AGENT_ID_TOKEN=$(cat "$DIR/a") within b "$DIR/who"
        # Nobody's cgroup, with a token that is somebody's.
        AGENT_ID_TOKEN=$(cat "$DIR/a") within c "$DIR/who"
        "$INTERCEPTOR" enroll --cgroup "$CG/c" --token-file "$DIR/a" 2>&1
        # All at once, each with the other's token in its environment.
        for n in $(seq 15); do
            (AGENT_ID_TOKEN=$(cat "$DIR/b") within a "$DIR/who" > "$DIR/out-a-$n") &
            (AGENT_ID_TOKEN=$(cat "$DIR/a") within b "$DIR/who" > "$DIR/out-b-$n") &
        done
        wait
        echo "$(cat "$DIR"/out-a-* | sort -u) $(cat "$DIR"/out-b-* | sort -u)"
        "$INTERCEPTOR" enroll --list --json | grep -c subject
        # Below the cgroup it is the same job; what comes back under the same path is another one.
        mkdir "$CG/a/step"; within a/step "$DIR/who"; rmdir "$CG/a/step"
        rmdir "$CG/b"; mkdir "$CG/b"
        within b "$DIR/who"
        AGENT_ID_TOKEN=$(cat "$DIR/b") within b "$DIR/who"
        # A process and what it starts, but not its neighbour.
        mint '{"subject": "agent:p"}' > "$DIR/p"
        mkfifo "$DIR/go"
        within c bash -c 'echo $$ > "$0/pid"; read -r _ < "$0/go"; "$0/who"; bash -c "$0/who; true"' "$DIR" > "$DIR/out-p" 2>&1 &
        sleep 0.3
        "$INTERCEPTOR" enroll --pid "$(cat "$DIR/pid")" --token-file "$DIR/p" > /dev/null; echo > "$DIR/go"; wait; cat "$DIR/out-p"
        within c "$DIR/who"
        "$INTERCEPTOR" audit search --event admin --text enrolled --json | wc -l"#;
    let outcome = Files::new().run("", script);
    check(
        &outcome,
        &[
            "agent:a",
            "agent:b",
            "agent:a",
            "agent:b",
            REFUSED,
            "403: the agent's token was seen first in the cgroup",
            "agent:a agent:b",
            "2",
            "agent:a",
            REFUSED,
            REFUSED,
            "agent:p",
            "agent:p",
            REFUSED,
            "3",
        ],
    );
}

/// A process that dials and ends, and another one that gets its number before anybody has looked. Start times are counted
/// in hundredths of a second, so that it may be the cgroup that tells them apart.
#[test]
fn a_number_that_is_used_again_is_nobody() {
    let script = r#"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        "$INTERCEPTOR" enroll --cgroup "$CG/b" --token-file "$DIR/b" > /dev/null
        cat > "$DIR/reuse.py" <<'EOF'
import os, signal, socket, struct, subprocess, sys, time
cgroup, daemon = sys.argv[1], int(os.environ["INTERCEPTOR_DAEMON_PID"])

def enter(name):
    with open(f"{cgroup}/{name}/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))

kept, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
os.kill(daemon, signal.SIGSTOP)
dialler = os.fork()
if dialler == 0:
    enter("a")
    dialled = socket.create_connection((os.environ["PGHOST"], 5432))
    socket.send_fds(given, [b"x"], [dialled.fileno()])
    os._exit(0)
_, fds, _, _ = socket.recv_fds(kept, 1, 1)
os.waitpid(dialler, 0)
for _ in range(2000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(dialler - 1))
    other = os.fork()
    if other == 0:
        if os.getpid() == dialler:
            enter("b")
            time.sleep(30)
        os._exit(0)
    if other == dialler:
        break
    os.waitpid(other, 0)
else:
    os.kill(daemon, signal.SIGCONT)
    sys.exit("the number could not be had again")
time.sleep(0.2)
os.kill(daemon, signal.SIGCONT)
dialled = socket.socket(fileno=fds[0])
body = struct.pack(">i", 196608) + b"user\0x\0database\0shop\0\0"
dialled.sendall(struct.pack(">i", len(body) + 4) + body)
said = b""
while part := dialled.recv(4096):
    said += part
    if b"Z\0\0\0\5I" in said:
        break
os.kill(other, signal.SIGKILL)
print("let in" if b"Z\0\0\0\5I" in said else said.split(b"\0C")[1][:5].decode())
EOF
        "$PYTHON" "$DIR/reuse.py" "$CG"
        "$INTERCEPTOR" audit search --event refusal --json | grep -c 'the number has been used again\|not in the cgroup that it dialled from'"#;
    check(&Files::new().run("", script), &["28000", "1"]);
}

#[test]
fn a_session_lasts_as_long_as_its_token() {
    let config = "[identity]\nsources = [\"file\"]\nfiles = [\"/tmp/interceptor-timebox\"]\nrecheck_seconds = 1\n";
    let script = r#"
        T=/tmp/interceptor-timebox
        brief() { mint "{\"subject\": \"$1\", \"expires_in\": $2}" > $T.new; mv $T.new $T; }
        psql() { command psql -XAt -v VERBOSITY=sqlstate "$@" 2>&1; }
        brief agent:a 60; psql -c 'create table t (x text)' > /dev/null
        # It ends; what was not committed is undone.
        brief agent:a 4
        (echo 'begin;'; echo "insert into t values ('lost');"; sleep 6; echo 'commit;') | psql | grep -o 28000
        brief agent:a 60; psql -c 'select count(*) from t'
        # A newer token of the same agent: nobody notices.
        brief agent:a 4
        (echo "select 'before';"; sleep 2; brief agent:a 60 1>&2; sleep 4; echo "select 'after';") | psql
        # Another agent's.
        brief agent:a 4
        (echo "select 'before';"; sleep 2; brief agent:b 60 1>&2; sleep 4; echo "select 'after';") | psql | head -2
        # Nobody says anything while a transaction is open: its locks are given back all the same.
        brief agent:a 4
        (echo 'begin; lock table t;'; sleep 9) | psql > /dev/null &
        sleep 7; brief agent:b 60; psql -c "set lock_timeout = '1s'" -c "select count(*) from t"
        wait; rm -f $T; "$INTERCEPTOR" audit search --event refusal --json 1>&2; "$INTERCEPTOR" audit search --event disconnect --json 1>&2"#;
    let outcome = Files::new().run(config, script);
    check(&outcome, &["28000", "0", "before", "after", "before", "28000", "SET", "0"]);
}

#[test]
fn what_is_taken_back_ends() {
    let script = r#"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        "$INTERCEPTOR" enroll --cgroup "$CG/b" --token-file "$DIR/b" > /dev/null
        mkfifo "$DIR/one" "$DIR/two"
        within a psql -XAt -v VERBOSITY=sqlstate < "$DIR/one" > "$DIR/out-one" 2>&1 & exec 8> "$DIR/one"
        within b psql -XAt -v VERBOSITY=sqlstate < "$DIR/two" > "$DIR/out-two" 2>&1 8>&- & exec 9> "$DIR/two"
        echo "select 'in';" >&8; echo "begin; create table lost (x int);" >&9; sleep 1
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --revoke --json | grep -c agent:a
        "$INTERCEPTOR" sessions --json | grep -c '"session"'
        "$INTERCEPTOR" sessions kill --agent agent:b | grep -c agent:b
        echo "select 'still in';" >&8; echo "commit;" >&9; sleep 0.5; exec 8>&- 9>&-; wait
        cat "$DIR/out-one" | head -2; grep 57P01 "$DIR/out-two"
        # The token is no good any more, wherever it comes from; the other one's is.
        AGENT_ID_TOKEN=$(cat "$DIR/a") within a "$DIR/who"
        within b psql -XAtc "select to_regclass('lost') is null"
        "$INTERCEPTOR" sessions kill 0123 2>&1 | grep -o 'no such session is open'
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --revoke 2>&1 | grep -o 'nothing is enrolled'
        "$INTERCEPTOR" status | grep -o 'health *ok'
        "$INTERCEPTOR" audit search --event admin --json | grep -c 'is ended, by uid 0\|revoked the token of agent:a'"#;
    let outcome = Files::new().run("", script);
    let expected =
        ["1", "2", "1", "in", "28000", "57P01", REFUSED, "t", "no such session", "nothing is enrolled", "ok", "2"];
    check(&outcome, &expected);
}

/// In every spelling, and after what resets settings.
#[test]
fn who_it_is_stays_set() {
    let script = r#"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        cat > "$DIR/try.sql" <<'EOF'
set interceptor.agent = 'x';
set "interceptor"."agent" = 'x';
set INTERCEPTOR.Agent to 'x';
set local interceptor.session = 'x';
select set_config('interceptor.agent', 'x', false);
select set_config('INTERCEPTOR.on_behalf_of', 'x', true);
select set_config('inter' || 'ceptor.agent', 'x', false);
select set_config(name, 'x', false) from (values ('interceptor.agent')) v (name);
do $$ begin perform set_config('interceptor.agent', 'x', false); end $$;
set application_name = 'x';
alter role current_user set interceptor.agent = 'x';
create function f() returns int language sql set interceptor.agent = 'x' as 'select 1';
EOF
        within a psql -XAt -v VERBOSITY=sqlstate -f "$DIR/try.sql" 2>&1 | grep -v 42501
        within a psql -XAtq -c "reset interceptor.agent" -c "reset all" -c "select current_setting('interceptor.agent'), current_setting('application_name'), current_setting('interceptor.session') <> ''" \
            -c "discard all" -c "select current_setting('interceptor.agent'), current_setting('application_name'), current_setting('interceptor.session') <> ''" 2>&1
        PGOPTIONS='-c interceptor.agent=x' within a psql -XAtc 'select 1' 2>&1 | grep -o FATAL"#;
    let outcome = Files::new().run("", script);
    // `SET application_name` is answered, and changes nothing.
    check(&outcome, &["SET", "agent:a|agent:a|t", "agent:a|agent:a|t", "FATAL"]);
}
