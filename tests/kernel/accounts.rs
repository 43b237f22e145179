//! What is counted for each cgroup, what is heard on other ports, what was opened before, and who notices when the
//! enforcement is taken away.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use interceptor_tests::{Server, environment};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::house::{House, eventually};

const ROLE: &str = "create role gateway login superuser password 'secret'";

fn server() -> Server {
    let bin = environment("PG_BIN");
    Server::start_from(Path::new(&bin), &[], &[], "host all all 127.0.0.0/8 scram-sha-256", ROLE)
}

#[test]
fn every_connection_of_a_cgroup_is_accounted_for_and_on_record_when_it_ends() -> Result<()> {
    let mut house = House::open(|_| ())?;
    let server = server();
    let cgroup = format!("{}/job-1", house.cgroup());
    fs::create_dir(house.folder_of(&cgroup)?)?;
    let elsewhere = TcpListener::bind("127.0.0.1:0")?;
    let script = format!(
        "for n in 1 2 3; do PGHOST={} psql -XAtc 'select 1'; done; exec 3<>/dev/tcp/127.0.0.1/{}",
        server.address,
        elsewhere.local_addr()?.port()
    );
    let run = |house: &House| -> Result<String> {
        let output = house.agent_in(&cgroup, &script)?.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run(&house)?, "1\n1\n1\n", "{}", house.log());
    let account = house.accounts("job-1")?.into_iter().next().context("an account")?;
    let numbers = (account.connects, account.postgres, account.mediated, account.established, account.refused);
    assert_eq!(numbers, (4, 3, 3, 3, 0));
    assert_eq!((account.unaccounted(), account.around, account.ended), (0, 0, false));

    // Without the daemon they are refused, and the kernel goes on counting; so it does when the cgroup ends meanwhile.
    house.end(Signal::SIGKILL)?;
    assert_eq!(run(&house)?, "");
    eventually(|| fs::remove_dir(house.folder_of(&cgroup).ok()?).ok()).context("the cgroup ends")?;
    fs::remove_file(house.file("control.sock"))?;
    house.start()?;
    let record = house.record("\"event\":\"coverage\"")?;
    assert_eq!(
        record["statement"],
        format!("cgroup /{cgroup} has ended: 8 connects, 6 to PostgreSQL, 3 mediated, 0 around, 3 refused")
    );
    let coverage = &record["coverage"];
    assert_eq!((&coverage["connects"], &coverage["mediated"], &coverage["around"]), (&json!(8), &json!(3), &json!(0)));
    assert_eq!(house.accounts("job-1")?, [], "its account is closed");
    let audit = house.file("audit").display().to_string();
    let job = format!("/{cgroup}");
    let found =
        house.interceptor(&["audit", "search", "--audit", &audit, "--job", &job, "--event", "coverage", "--json"])?;
    assert_eq!(String::from_utf8_lossy(&found.stdout).lines().count(), 1, "it is found with the job");
    house.end(Signal::SIGTERM)?;
    let verified = house.verified()?;
    assert!(verified.starts_with("the trail stands"), "{verified}");
    Ok(())
}

/// Somebody who listens on a port that is not captured, takes what comes and says `H`.
fn talker(address: Ipv4Addr) -> Result<(u16, mpsc::Receiver<Vec<u8>>)> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let said = said.clone();
            thread::spawn(move || take(stream, &said));
        }
    });
    Ok((port, heard))
}

fn take(mut stream: TcpStream, said: &mpsc::Sender<Vec<u8>>) {
    let mut bytes = vec![0; 4096];
    let mut all = Vec::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        all.extend_from_slice(bytes.get(..length).unwrap_or_default());
    }
    let _ = stream.write_all(b"H");
    let _ = said.send(all);
}

/// What is sent, in how many pieces, and whether it is PostgreSQL.
const SPOKEN: &[(&str, &str, bool)] = &[
    ("start-up 3.0", "b'\\0\\0\\0\\x17\\0\\x03\\0\\0user\\0gateway\\0\\0\\0\\0'", true),
    ("start-up 3.2", "b'\\0\\0\\0\\x17\\0\\x03\\0\\x02user\\0gateway\\0\\0\\0\\0'", true),
    ("SSLRequest", "b'\\0\\0\\0\\x08\\x04\\xd2\\x16\\x2f'", true),
    ("GSSENCRequest", "b'\\0\\0\\0\\x08\\x04\\xd2\\x16\\x30'", true),
    ("CancelRequest", "b'\\0\\0\\0\\x10\\x04\\xd2\\x16\\x2e\\0\\0\\0\\x01\\0\\0\\0\\x01'", true),
    ("TLS for PostgreSQL", "hello(['postgresql'])", true),
    ("TLS for several", "hello(['h2', 'abcdefghij', 'postgresql'])", true),
    ("TLS for the web", "hello(['h2', 'http/1.1'])", false),
    ("TLS for nothing", "hello([])", false),
    ("HTTP", "b'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n'", false),
    ("three bytes", "b'\\0\\0\\0'", false),
    ("ssh", "b'SSH-2.0-OpenSSH_9.2\\r\\n'", false),
    ("a long length", "b'\\0\\x01\\0\\0\\0\\x03\\0\\0abcdefgh'", false),
    ("protocol 4", "b'\\0\\0\\0\\x17\\0\\x04\\0\\0user\\0gateway\\0\\0\\0\\0'", false),
];

const SPEAKER: &str = r#"
import socket, ssl, sys, time
def hello(protocols):
    context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
    if protocols: context.set_alpn_protocols(protocols)
    out = ssl.MemoryBIO(); tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="postgresql")
    try: tls.do_handshake()
    except ssl.SSLWantReadError: pass
    return out.read()
def speak(text, port, cut):
    s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); s.settimeout(3); s.connect(("127.0.0.1", port))
    data = eval(text)
    try:
        for at in range(0, len(data), cut):
            s.sendall(data[at:at+cut])
            if cut < 100: time.sleep(0.0005)
        s.shutdown(socket.SHUT_WR)
        return s.recv(1).decode() or "end"
    except OSError as error:
        return type(error).__name__
"#;

fn speak(house: &House, port: u16, text: &str, cut: usize) -> Result<String> {
    let script = format!("\"$PYTHON\" - <<'EOF'\n{SPEAKER}\nprint(speak({text:?}, {port}, {cut}))\nEOF");
    let said = house.agent(&script)?;
    anyhow::ensure!(!said.out.is_empty(), "{}", said.err);
    Ok(said.out)
}

#[test]
fn postgresql_is_heard_on_any_port_however_it_is_cut() -> Result<()> {
    let house = House::open(|_| ())?;
    let (port, _heard) = talker(Ipv4Addr::LOCALHOST)?;
    let mut expected = 0;
    for cut in [10_000, 7, 1] {
        for (name, text, is_postgres) in SPOKEN {
            assert_eq!(speak(&house, port, text, cut)?, "H", "{name} in pieces of {cut} passes: it is only reported");
            expected += u64::from(*is_postgres);
            let around = house.accounts(&house.cgroup())?.first().map_or(0, |account| account.around);
            assert_eq!(around, expected, "{name} in pieces of {cut}");
        }
    }
    let record = house.record("speaks PostgreSQL with 127.0.0.1:")?;
    assert_eq!(record["event"], "admin");
    Ok(())
}

/// What Python calls a connection that was destroyed, at one call or another.
fn is_cut_off(said: &str) -> bool {
    ["ConnectionAbortedError", "ConnectionResetError", "BrokenPipeError", "TimeoutError", "OSError"].contains(&said)
}

#[test]
fn postgresql_on_another_port_is_stopped_and_the_port_captured() -> Result<()> {
    let house = House::open(|config| config["capture"]["detect"] = json!("block"))?;
    for (name, text, is_postgres) in SPOKEN {
        let (port, heard) = talker(Ipv4Addr::LOCALHOST)?;
        let said = speak(&house, port, text, 3)?;
        if !is_postgres {
            assert_eq!(said, "H", "{name}");
            continue;
        }
        assert!(is_cut_off(&said), "{name}: {said}");
        let reached = heard.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        // The name that the client gives the server is there as well, and is no protocol.
        let names = reached.windows(10).filter(|bytes| bytes == b"postgresql").count();
        assert!(names == usize::from(text.starts_with("hello")), "{name}: {reached:?}");
        assert!(reached.len() < 8 || text.starts_with("hello"), "{name}: {reached:?}");
        // The second time it comes to the daemon, which is not the talker and says what it thinks of it.
        eventually(|| (speak(&house, port, text, 10_000).ok()? != "H").then_some(()))
            .with_context(|| format!("{name} again"))?;
        assert!(heard.recv_timeout(Duration::from_millis(100)).is_err(), "{name} reached it again");
    }
    let account = house.accounts(&house.cgroup())?.into_iter().next().context("an account")?;
    assert_eq!((account.around, account.unaccounted()), (0, 0));
    assert_eq!(account.stopped, 7);
    Ok(())
}

#[test]
fn what_was_opened_before_a_process_became_an_agent_is_ended() -> Result<()> {
    let house = House::open(|_| ())?;
    let server = server();
    let procs = house.folder_of(&house.cgroup())?.join("cgroup.procs");
    let script = format!(
        r#"
import os, socket, sys, time
direct = socket.create_connection(("{}", 5432))
open("{}", "w").write("0")
direct.settimeout(5)
try:
    time.sleep(0.5); direct.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f"); print(direct.recv(1))
except OSError as error:
    print(type(error).__name__)
"#,
        server.address,
        procs.display()
    );
    let output = Command::new(environment("PYTHON")).args(["-c", &script]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(is_cut_off(said.trim()), "{said} {}", String::from_utf8_lossy(&output.stderr));
    house.record("was ended: it was opened before its process was an agent")?;
    Ok(())
}

#[test]
fn who_takes_the_enforcement_away_is_noticed() -> Result<()> {
    let mut house = House::open(|config| config["capture"]["exempt"] = json!(["system.slice/db.service"]))?;
    let status = house.status()?;
    assert_eq!(status["health"], "ok");
    assert_eq!(status["exempt"], json!(["system.slice/db.service", format!("{}-daemon", house.cgroup())]));
    let pins =
        Path::new("/sys/fs/bpf/interceptor").join(&house.name).join(format!("v{}", interceptor_ebpf::ABI_VERSION));
    for (pin, expected) in [
        ("links/connect4", "the link of program `connect4` is no longer pinned"),
        ("maps/CONFIG", "map `CONFIG` is no longer pinned"),
    ] {
        fs::remove_file(pins.join(pin))?;
        eventually(|| (house.status().ok()?["missing"].to_string().contains(expected)).then_some(()))
            .with_context(|| expected.to_owned())?;
    }
    assert_eq!(house.status()?["health"], "failing");
    house.record("ENFORCEMENT IS NOT WHAT IT WAS")?;
    assert!(house.log().contains("ERROR") && house.log().contains("ENFORCEMENT IS NOT WHAT IT WAS"), "{}", house.log());
    // A restart puts it back.
    house.end(Signal::SIGTERM)?;
    house.start()?;
    assert_eq!(house.status()?["health"], "ok");
    let server = server();
    let said = house.agent(&format!("PGHOST={} psql -XAtc 'select 1'", server.address))?;
    assert_eq!(said.out, "1", "{}", said.err);
    house.end(Signal::SIGKILL)?;
    let said = house.agent(&format!("PGHOST={} psql -XAtc 'select 1'", server.address))?;
    assert!(said.err.contains("Connection refused"), "{} {}", said.out, said.err);
    Ok(())
}

/// `kill -9` and `kill -STOP`: refused or waiting, never direct; what waited is served when the daemon goes on.
#[test]
fn a_daemon_that_is_killed_or_stopped_lets_nobody_through() -> Result<()> {
    let mut house = House::open(|_| ())?;
    let server = server();
    let ask = format!(
        "PGCONNECT_TIMEOUT=3 PGHOST={} psql -XAtc \"select current_setting('interceptor.agent')\"",
        server.address
    );
    house.signal(Signal::SIGSTOP)?;
    let said = house.agent(&ask)?;
    assert!(said.out.is_empty() && said.err.contains("timeout expired"), "{} {}", said.out, said.err);
    let waiting = house.agent_in(&house.cgroup(), &ask.replace("=3", "=20"))?.spawn()?;
    thread::sleep(Duration::from_millis(500));
    house.signal(Signal::SIGCONT)?;
    assert_eq!(String::from_utf8_lossy(&waiting.wait_with_output()?.stdout), "agent:test\n");
    house.end(Signal::SIGKILL)?;
    let said = house.agent(&ask)?;
    assert!(said.out.is_empty() && said.err.contains("Connection refused"), "{} {}", said.out, said.err);
    Ok(())
}

/// Without PostgreSQL's TCP there is its socket in the file system; agents do not get that either.
#[test]
fn sockets_of_postgresql_in_the_file_system_are_refused_to_agents() -> Result<()> {
    let house = House::open(|_| ())?;
    let absent = house.status()?["absent"].to_string();
    assert!(!absent.contains("connect_unix"), "this kernel has no hook for Unix sockets: {absent}");
    let folder = house.file("sockets");
    fs::create_dir(&folder)?;
    let listeners = [".s.PGSQL.5432", ".s.PGSQL.5433", "other.sock"]
        .map(|name| std::os::unix::net::UnixListener::bind(folder.join(name)).map(|listener| (name, listener)));
    let script = format!(
        r#""$PYTHON" - <<'EOF'
import os, socket
os.chdir("{}")
for path in (".s.PGSQL.5432", "{}/.s.PGSQL.5433", "./../sockets/.s.PGSQL.5432", "\0/x/.s.PGSQL.5432", "other.sock"):
    s = socket.socket(socket.AF_UNIX)
    try: s.connect(path); print("connected")
    except OSError as error: print(error.errno)
EOF"#,
        folder.display(),
        folder.display()
    );
    let said = house.agent(&script)?;
    assert_eq!(said.out, "111\n111\n111\n111\nconnected", "{}", said.err);
    let listeners = listeners.into_iter().collect::<std::io::Result<Vec<_>>>()?;
    for (name, listener) in &listeners {
        listener.set_nonblocking(true)?;
        assert_eq!(listener.accept().is_ok(), *name == "other.sock", "{name}");
    }
    // Everybody else is left alone.
    std::os::unix::net::UnixStream::connect(folder.join(".s.PGSQL.5432"))?;
    // A link of another name leads past the hook; it is seen who went there.
    std::os::unix::fs::symlink(folder.join(".s.PGSQL.5432"), folder.join("innocent"))?;
    let script = format!(
        "\"$PYTHON\" -c 'import socket, time; s = socket.socket(socket.AF_UNIX); s.connect(\"{}\"); time.sleep(4)'",
        folder.join("innocent").display()
    );
    let [(_, server), ..] = listeners.as_slice() else { anyhow::bail!("there are listeners") };
    server.set_nonblocking(false)?;
    // Those of everybody else and of the agent, as a server takes them.
    let taken = thread::scope(|scope| {
        let taking = scope.spawn(|| [server.accept(), server.accept()]);
        house.agent(&script)?;
        taking.join().map_err(|_| anyhow::anyhow!("nobody came"))
    })?;
    house.record("is connected to PostgreSQL's Unix socket")?;
    drop(taken);
    let told = house.records("an agent, is connected to PostgreSQL's Unix socket")?;
    assert_eq!(told.len(), 1, "once: {told:?}");
    Ok(())
}

/// What the kernel can do is asked, and what hinders or helps is said with what to do about it.
#[test]
fn the_doctor_looks_at_what_is_not_needed_but_good_to_have() -> Result<()> {
    let house = House::open(|_| ())?;
    let config = house.file("interceptor.toml").display().to_string();
    let doctor = || -> Result<Vec<serde_json::Value>> {
        let output = house.interceptor(&["doctor", "--json", "--config", &config])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let socket = house.file(".s.PGSQL.5432");
    let _exposed = std::os::unix::net::UnixListener::bind(&socket)?;
    for path in [house.file(""), socket] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    }
    let lines = doctor()?;
    for (what, ok, needed) in [
        ("programs", true, true),
        ("agents that move", true, false),
        ("earlier connections", true, false),
        ("listening port", true, false),
        ("exposed Unix sockets", false, false),
    ] {
        let line = lines.iter().find(|line| line["what"] == what).with_context(|| what.to_owned())?;
        assert_eq!((&line["ok"], &line["needed"]), (&json!(ok), &json!(needed)), "{line}");
        assert_eq!(line["remedy"] == "", ok, "{line}");
    }
    fs::set_permissions(house.file(""), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// The daemon dies again and again under load: whoever dials meanwhile is refused. The server would say so if anybody came to it
/// with what agents have, which is a wrong password.
#[test]
fn a_daemon_that_dies_again_and_again_under_load_lets_nobody_through() -> Result<()> {
    let mut house = House::open(|_| ())?;
    let server = server();
    let again = format!(
        "while [ ! -e {} ]; do PGCONNECT_TIMEOUT=5 PGHOST={} psql -XAtc \"select current_setting('interceptor.agent')\" 2>&1; done",
        house.file("done").display(),
        server.address
    );
    let agents = (0..3).map(|_| Ok(house.agent_in(&house.cgroup(), &again)?.spawn()?)).collect::<Result<Vec<_>>>()?;
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(700));
        house.end(Signal::SIGKILL)?;
        thread::sleep(Duration::from_millis(200));
        fs::remove_file(house.file("control.sock"))?;
        house.start()?;
    }
    thread::sleep(Duration::from_millis(500));
    fs::write(house.file("done"), "")?;
    let (mut came, mut refused) = (0, 0);
    for agent in agents {
        let said = String::from_utf8_lossy(&agent.wait_with_output()?.stdout).into_owned();
        came += said.lines().filter(|line| *line == "agent:test").count();
        refused += said.matches("Connection refused").count();
    }
    assert!(came > 10 && refused > 0, "{came} came, {refused} were refused: {}", house.log());
    let log = server.log();
    assert!(!log.contains("password authentication failed"), "somebody came directly: {log}");
    let account = house.accounts(&house.cgroup())?.into_iter().next().context("an account")?;
    assert_eq!((account.unaccounted(), account.around, account.dropped), (0, 0, 0), "{account:?}");
    assert_eq!(account.refused, u64::try_from(refused)?, "{account:?}");
    house.end(Signal::SIGTERM)?;
    let verified = house.verified()?;
    assert!(verified.starts_with("the trail stands"), "{verified}");
    println!("{came} came, {refused} were refused, {} connects", account.connects);
    Ok(())
}
