//! The control socket: an agent that is root opens it as any root can, and could end others' sessions, enrol their tokens elsewhere, read
//! what waits, or approve what it asked for itself.
//!
//! Who is at the other end is what the kernel says of whoever has connected. A number alone is not enough: a child that connects and ends
//! leaves a connection whose number is nobody's, or another process's by now.

use interceptor_tests::{Host, Issuer};
use serde_json::json;
use std::fs;

/// Connects in a child, which ends, and speaks as if it were still there.
const LENT: &str = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
child = os.fork()
if child == 0:
    os.setsid(); s.connect(os.environ["INTERCEPTOR_SOCKET"]); os._exit(0)
# Not reaped first, then reaped.
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
if sys.argv[1] == "reaped": os.waitpid(child, 0)
s.sendall(b"POST /sessions/kill HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{\"agent\":\"none\"}")
answer = b""
while part := s.recv(4096): answer += part
print(answer.split(b"\r\n")[0].decode(), answer.split(b"\r\n\r\n")[1].decode())
"#;

/// The same at the socket where a newer daemon takes the listeners over: with them somebody would stand in its place.
const TAKEN: &str = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
child = os.fork()
if child == 0:
    s.connect(os.environ["INTERCEPTOR_SOCKET"] + ".handover"); os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
if sys.argv[1] == "reaped": os.waitpid(child, 0)
s.settimeout(5)
data, passed, _, _ = s.recvmsg(4096, 4096)
print("given" if data or passed else "nothing")
"#;

#[test]
fn agents_are_no_operators() {
    let issuer = Issuer::start();
    let url = &issuer.url;
    let identity = format!(
        "\n[[identity.issuers]]\nurl = \"{url}\"\naudience = \"interceptor\"\nalgorithms = [\"ES256\", \"EdDSA\"]\nallow_http = true\n\
         [identity.exchange]\nissuer = \"{url}\"\naudience = \"postgres\"\n"
    );
    let host = Host::installed(|text| text + &identity);
    let token = host.path("token");
    fs::write(&token, issuer.token(&json!({"subject": "agent:job", "groups": ["agents"]}))).unwrap();
    fs::write(host.path("lent.py"), LENT).unwrap();
    fs::write(host.path("taken.py"), TAKEN).unwrap();
    let (token, lent) = (token.display(), host.path("lent.py").display().to_string());
    let taken = host.path("taken.py").display().to_string();
    let job = host.cgroup().join("job");
    fs::create_dir(&job).unwrap();
    let (job, root) = (job.display(), host.cgroup().display());
    let agent = |script: &str| host.agent(&format!("{{ {script}; }} 2>&1")).stdout;
    let elsewhere = |script: &str| agent(&format!("echo $$ > {root}/cgroup.procs; {script}"));
    let captured = "because it is captured as an agent, or descends from one";

    // What only looks, and only at numbers, is for all.
    assert!(agent("\"$INTERCEPTOR\" status").contains("health"));
    assert!(agent("curl -s --unix-socket \"$INTERCEPTOR_SOCKET\" http://x/ready").contains("state"));
    for words in [
        "sessions",
        "sessions kill --agent agent:job",
        "approvals list",
        "approvals show 00000000",
        "approvals approve 00000000 --break-glass fire",
        &format!("approvals approve 00000000 --token-file {token}"),
        "enroll --list",
        &format!("enroll --cgroup {job} --token-file {token}"),
        &format!("enroll --cgroup {job} --revoke"),
        "audit rotate-key",
        "console",
    ] {
        let script = format!("\"$INTERCEPTOR\" {words}");
        let said = agent(&script);
        assert!(said.contains("403") && said.contains(captured), "{words}: {said}");
        let said = elsewhere(&script);
        assert!(said.contains("403") && said.contains(captured), "{words}, moved out of its cgroup: {said}");
    }
    for how in ["reaped", "left"] {
        let script = format!("python3 {lent} {how}");
        for said in [agent(&script), elsewhere(&script)] {
            assert!(said.contains("403") && said.contains("because it has ended"), "{how}: {said}");
        }
        let script = format!("python3 {taken} {how}");
        for said in [agent(&script), elsewhere(&script)] {
            assert_eq!(said, "nothing\n", "{how}");
        }
    }

    // Outside the captured cgroups it is a job that decides: whose token was enrolled is an agent.
    let operator = |script: &str| host.operator(&format!("{{ {script}; }} 2>&1"));
    let enrolled = operator(&format!("\"$INTERCEPTOR\" enroll --cgroup {job} --token-file {token}"));
    assert!(enrolled.status == 0 && enrolled.stdout.contains("agent:job"), "{}", enrolled.stdout);
    let within = operator(&format!("echo $$ > {job}/cgroup.procs; \"$INTERCEPTOR\" enroll --cgroup {job} --revoke"));
    assert!(
        within.stdout.contains("403") && within.stdout.contains("because it is the job of agent:job"),
        "{}",
        within.stdout
    );
    let listed =
        operator("\"$INTERCEPTOR\" enroll --list && \"$INTERCEPTOR\" sessions && \"$INTERCEPTOR\" approvals list");
    assert!(listed.status == 0 && listed.stdout.contains("agent:job"), "{}", listed.stdout);

    // A runner's prologue goes on: what it starts is the agent, and not itself.
    let further = host.path("further");
    fs::write(&further, issuer.token(&json!({"subject": "agent:exec", "groups": ["agents"]}))).unwrap();
    let inside = "cat /proc/self/cgroup; \"$INTERCEPTOR\" sessions kill --agent none";
    let exec =
        format!("\"$INTERCEPTOR\" exec --token-file {} --within {root}/agents -- sh -c '{inside}'", further.display());
    let ran = operator(&exec);
    assert!(ran.stdout.contains("/agents/interceptor-exec-") && ran.stdout.contains(captured), "{}", ran.stdout);
    let ended = operator("\"$INTERCEPTOR\" sessions kill --agent none");
    assert!(ended.stdout.contains("no such session is open"), "{}", ended.stdout);

    let record = operator("\"$INTERCEPTOR\" audit search --event admin --text 'POST /sessions/kill' --json");
    let refused: Vec<_> = record.stdout.lines().filter(|line| line.contains("refused to uid 0 (process ")).collect();
    assert!(
        refused.len() >= 2 && refused.iter().any(|line| line.contains("/agents, because it is captured")),
        "{}",
        record.stdout
    );
    assert!(
        !operator("\"$INTERCEPTOR\" audit search --event admin --json").stdout.contains("signing key is asked for")
    );
    fs::remove_dir(host.cgroup().join("job")).unwrap();
}
