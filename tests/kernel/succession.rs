//! One daemon after the other: who dials meanwhile waits, and is not refused.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result};
use interceptor_tests::{Server, binary, environment};
use nix::sys::signal::Signal;

use crate::house::{House, Space};

const ROLE: &str = "create role gateway login superuser password 'secret'";
const HBA: &str = "host all all 0.0.0.0/0 scram-sha-256";

fn server(settings: &[&str]) -> Server {
    Server::start_from(Path::new(&environment("PG_BIN")), settings, &[], HBA, ROLE)
}

#[test]
fn a_newer_daemon_takes_over_and_nobody_is_refused() -> Result<()> {
    let mut house = House::open(|_| ())?;
    let server = server(&[]);
    let space = Space::new()?;
    let inner = interceptor::redirect::Network::of_process(space.pid())?
        .within(|| self::server(&["listen_addresses=127.0.0.1"]))?;
    let at_home = format!("PGCONNECT_TIMEOUT=30 PGHOST={} psql -XAtc 'select 1' 2>&1", server.address);
    let elsewhere = format!("PGCONNECT_TIMEOUT=30 PGHOST=127.0.0.1 {} psql -XAtc 'select 1' 2>&1", space.enter());
    house.agent(&elsewhere)?;
    let mut older = Vec::new();
    // Two agents that connect without a break, while three daemons follow one another.
    let agents = [at_home, elsewhere].map(|script| {
        let again = format!("while [ ! -e {} ]; do {script}; done", house.file("done").display());
        house.agent_in(&house.cgroup(), &again).and_then(|mut command| Ok(command.spawn()?))
    });
    for _ in 0..3 {
        let newer = house.spawn("daemon.log")?;
        older.push(house.daemon.replace(newer).context("a daemon")?);
        let before = older.last_mut().context("the older one")?;
        // It goes by itself, and well.
        let status = before.wait()?;
        anyhow::ensure!(status.success(), "{status}: {}", house.log());
        house.ready()?;
        thread::sleep(Duration::from_millis(500));
    }
    fs::write(house.file("done"), "")?;
    for agent in agents {
        let output = agent?.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        // A session of the very moment may be ended in order, which is said in so many words; none may be refused.
        let odd: Vec<_> = said.lines().filter(|line| *line != "1").collect();
        assert!(!said.contains("refused"), "{odd:?}\n{}", house.log());
        assert!(said.lines().count() > 10, "{said}");
        println!("{} connections, {} ended in order: {odd:?}", said.lines().count(), odd.len());
    }
    drop(inner);
    house.end(Signal::SIGTERM)?;
    let verified = house.verified()?;
    assert!(verified.starts_with("the trail stands"), "{verified}");
    Ok(())
}

/// What systemd does with `FileDescriptorStoreMax=`: the listeners outlive a daemon that is killed.
#[test]
fn a_supervisor_that_keeps_the_listeners_makes_clients_wait_instead_of_fail() -> Result<()> {
    let mut house = House::open(|_| ())?;
    house.end(Signal::SIGTERM)?;
    let server = server(&[]);
    let script = format!(
        r#"
import array, os, signal, socket, subprocess, sys, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); notify.bind("{notify}")
notify.settimeout(30)
def start(kept):
    def before():
        high = [os.dup(fd) for fd in kept] and [os.dup2(os.dup(fd), 200 + n) for n, fd in enumerate(kept)]
        for n, fd in enumerate(high): os.dup2(fd, 3 + n, inheritable=True)
    env = dict(os.environ, NOTIFY_SOCKET="{notify}", LISTEN_FDS=str(len(kept)))
    command = ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', "{binary}", "run", "--config", "{config}"]
    return subprocess.Popen(command, env=env, preexec_fn=before, close_fds=False, stdout=open("{log}", "a"), stderr=subprocess.STDOUT)
def ready():
    kept = []
    while True:
        data, fds, _, _ = socket.recv_fds(notify, 4096, 253)
        kept += fds
        if b"READY=1" in data: return kept
first = start([]); kept = ready(); print("kept", len(kept) > 0)
first.send_signal(signal.SIGKILL); first.wait()
print("killed", flush=True)
sys.stdin.readline()
os.remove("{control}")
second = start(kept); ready(); print("ready", flush=True)
sys.stdin.readline()
second.send_signal(signal.SIGTERM); print("ended", second.wait())
"#,
        notify = house.file("notify").display(),
        binary = binary().display(),
        config = house.file("interceptor.toml").display(),
        log = house.file("daemon.log").display(),
        control = house.file("control.sock").display(),
    );
    let mut supervisor = Supervisor::start(&script)?;
    supervisor.hear("kept True").with_context(|| house.log())?;
    supervisor.hear("killed")?;
    let ask = format!("PGCONNECT_TIMEOUT=30 PGHOST={} psql -XAtc 'select 1' 2>&1", server.address);
    let waiting = house.agent_in(&house.cgroup(), &ask)?.spawn()?;
    thread::sleep(Duration::from_millis(300));
    supervisor.say()?;
    supervisor.hear("ready").with_context(|| house.log())?;
    assert_eq!(String::from_utf8_lossy(&waiting.wait_with_output()?.stdout), "1\n", "{}", house.log());
    supervisor.say()?;
    supervisor.hear("ended 0").with_context(|| house.log())?;
    Ok(())
}

struct Supervisor {
    process: std::process::Child,
    said: std::io::BufReader<std::process::ChildStdout>,
}

impl Supervisor {
    fn start(script: &str) -> Result<Self> {
        use std::process::Stdio;
        let mut process = Command::new(environment("PYTHON"))
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = std::io::BufReader::new(process.stdout.take().context("its output")?);
        Ok(Self { process, said })
    }

    fn hear(&mut self, expected: &str) -> Result<()> {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut self.said, &mut line)?;
        anyhow::ensure!(line.trim() == expected, "{line} instead of {expected}");
        Ok(())
    }

    fn say(&mut self) -> Result<()> {
        use std::io::Write;
        let stdin = self.process.stdin.as_mut().context("its input")?;
        Ok(stdin.write_all(b"\n")?)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Without its input it goes on to its end; the daemon is its child and is waited for by it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
