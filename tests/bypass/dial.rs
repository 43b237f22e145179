//! The way to the database: whatever a captured process dials, it ends in the daemon or in an error.
//!
//! A redirect that is attached at the agents' cgroup alone is left behind by a socket that was made before; a tuple that
//! is looked up later is gone when the client has closed; a listener that anybody may dial is a way past the origin.

use interceptor_tests::Scene;

#[test]
fn every_spelling_of_the_address_ends_in_the_daemon() {
    let script = r#""$PYTHON" - <<'EOF'
import os, psycopg, socket
host = os.environ["PGHOST"]
for spelling in (host, "::ffff:" + host):
    c = psycopg.connect(host=spelling)
    print(c.execute("select current_setting('interceptor.agent')").fetchone()[0])
EOF
        psql "hostaddr=$PGHOST" -XAtc "select current_setting('interceptor.agent')""#;
    let outcome = Scene::demo().run(script);
    assert_eq!(outcome.stdout, "agent:demo\nagent:demo\nagent:demo\n", "{}", outcome.stderr);
}

#[test]
fn leaving_the_cgroup_does_not_help() {
    // Root moves itself to the root cgroup: the tag stays with the process and with its children.
    let script = r#"
        mount=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
        echo $$ > "$mount/cgroup.procs"
        psql -XAtc "select current_setting('interceptor.agent')" 2>&1 | head -1"#;
    let outcome = Scene::demo().run(script);
    let said = outcome.stdout.trim();
    assert!(said == "agent:demo" || said.contains("FATAL"), "direct: {said}\n{}", outcome.stderr);
    assert!(!said.contains("password authentication failed"), "it reached the database itself: {said}");
}

#[test]
fn the_daemons_own_port_is_nobodys() {
    let script = r#""$PYTHON" - <<'EOF'
import os, socket
# The daemon listens on loopback; every listening port of its is tried, but for its cgroup none is let in.
descriptors = f"/proc/{os.environ['INTERCEPTOR_DAEMON_PID']}/fd"
sockets = set()
for name in os.listdir(descriptors):
    try: sockets.add(os.readlink(f"{descriptors}/{name}"))
    except OSError: pass
ports = set()
for line in open("/proc/net/tcp").read().splitlines()[1:]:
    f = line.split()
    if f[3] == "0A" and f"socket:[{f[9]}]" in sockets: ports.add(int(f[1].split(":")[1], 16))
answers = 0
assert ports
for port in ports:
    try:
        s = socket.create_connection(("127.0.0.1", port), 2); s.settimeout(2)
        s.sendall((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))
        if s.recv(1) in (b"N", b"S"): answers += 1
    except OSError: pass
print("answers:", answers)
EOF"#;
    let outcome = Scene::demo().run(script);
    assert_eq!(outcome.stdout, "answers: 0\n", "{}", outcome.stderr);
}
