//! `interceptor exec`: a command as an agent of its own.

use crate::workload::PRELUDE;
use interceptor_tests::Scene;

#[test]
fn a_command_runs_as_an_agent_and_leaves_nothing() {
    let script = format!(
        r#"{PRELUDE}
        for job in 7 8 9 10; do mint '{{"subject": "agent:job-'$job'"}}' > "$DIR/$job"; done
        who='select current_setting($$interceptor.agent$$)'
        "$INTERCEPTOR" exec --token-file "$DIR/7" -- psql -XAtc "$who"
        "$INTERCEPTOR" exec --token-file - -- psql -XAtc "$who" < "$DIR/8"
        # Without a token of its own it is whoever its environment says.
        AGENT_ID_TOKEN=$(cat "$DIR/9") "$INTERCEPTOR" exec -- psql -XAtc "$who"
        "$INTERCEPTOR" exec -- sh -c 'exit 7'; echo "status $?"
        "$INTERCEPTOR" exec -- sh -c 'kill -9 $$'; echo "status $?"
        "$INTERCEPTOR" exec -- no-such-program 2>/dev/null; echo "status $?"
        # What it leaves behind ends with it, and so does what it was enrolled by.
        "$INTERCEPTOR" exec --token-file "$DIR/10" -- sh -c 'setsid sleep 600 & echo $! > '"$DIR"'/left'
        grep -qs '^State:.[RS]' "/proc/$(cat "$DIR/left")/status" && echo "it lives"
        "$INTERCEPTOR" enroll --list --json | grep -c job-
        ls /sys/fs/cgroup/*/"$(basename "$CG")" "$CG" 2> /dev/null | grep -c interceptor-exec
        # Asked to end, it asks the command.
        timeout 20 "$INTERCEPTOR" exec -- sh -c 'trap "echo told; exit 3" TERM; sleep 60 & wait' & P=$!
        sleep 0.5; kill -TERM $P; wait $P; echo "status $?"
        rm -rf "$DIR""#
    );
    let outcome = Scene::demo().run(&script);
    let expected = "agent:job-7\nagent:job-8\nagent:job-9\nstatus 7\nstatus 137\nstatus 1\n0\n0\ntold\nstatus 3\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}
