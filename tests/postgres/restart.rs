//! The daemon dies: connections are refused, never direct; a new one takes over.

use interceptor_tests::Scene;

#[test]
fn a_killed_daemon_closes_the_way_and_a_new_one_opens_it() {
    // The new daemon is started from outside the agents' cgroup: a process in the daemon's place, not an agent.
    let script = r#"
        psql -XAtc 'select 1'
        kill -9 "$INTERCEPTOR_DAEMON_PID"
        sleep 0.3
        psql -XAtc 'select 2' 2>&1 | grep -o 'Connection refused'
        rm -f "$INTERCEPTOR_SOCKET"
        (setsid "$INTERCEPTOR" run --config "$INTERCEPTOR_CONFIG" > /tmp/second-$$ 2>&1 & echo $! > /tmp/pid-$$)
        for n in $(seq 100); do [ -S "$INTERCEPTOR_SOCKET" ] && break; sleep 0.1; done
        psql -XAtc 'select 3' || cat /tmp/second-$$
        "$INTERCEPTOR" audit verify | head -1
        kill "$(cat /tmp/pid-$$)"; sleep 0.5; rm -f /tmp/second-$$ /tmp/pid-$$"#;
    let outcome = Scene::demo().run(script);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(lines[..3], ["1", "Connection refused", "3"], "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(lines[3].starts_with("the trail stands"), "{}", outcome.stdout);
}

#[test]
fn policies_are_reloaded_and_broken_ones_are_not() {
    let dir = std::env::temp_dir().join(format!("interceptor-policies-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let connect = "@id(\"c\") permit (principal, action == PG::Action::\"connect\", resource);";
    let read =
        "@id(\"r\") permit (principal, action in [PG::Action::\"read\"], resource in PG::Schema::\"shop.public\");";
    std::fs::write(dir.join("a.cedar"), connect).unwrap();
    let script = format!(
        r#"
        ask() {{ psql -XAtc 'select count(*) > 0 from orders' 2>&1 | head -1; }}
        ask
        printf '%s\n' '{connect}' '{read}' > {dir}/b; mv {dir}/b {dir}/a.cedar; sleep 1.5; ask
        echo 'nonsense' > {dir}/b; mv {dir}/b {dir}/a.cedar; sleep 1.5; ask
        "$INTERCEPTOR" audit search --event admin --text 'not reloaded' --json | wc -l"#,
        dir = dir.display()
    );
    let outcome = Scene::demo().with("--policies", &dir).run(&script);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(outcome.stdout, "ERROR:  no policy permits to select on public.orders\nt\nt\n1\n", "{}", outcome.stderr);
}
