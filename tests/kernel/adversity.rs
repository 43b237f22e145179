//! When the host itself fails: no memory, no room on the disk, no descriptors, no network. Whatever happens, nobody goes direct and
//! nothing runs that is not on record.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use interceptor::redirect::{self, Network};
use interceptor_tests::{Server, environment};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    house::{House, Space, eventually},
    stage::remove_cgroup,
};

const ROLE: &str = "create role gateway login superuser password 'secret'\ncreate table done (n int)";

fn server(settings: &[&str]) -> Server {
    Server::start_from(Path::new(&environment("PG_BIN")), settings, &[], "host all all 0.0.0.0/0 scram-sha-256", ROLE)
}

/// A cgroup that gives its processes only so much memory, of whichever hierarchy has that controller.
struct Ration {
    folder: PathBuf,
    version: u8,
}

impl Ration {
    fn new(name: &str) -> Result<Self> {
        let root = redirect::cgroup_mount()?;
        let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
        let (folder, version) = if controllers.split_whitespace().any(|name| name == "memory") {
            fs::write(root.join("cgroup.subtree_control"), "+memory")?;
            (root.join(name), 2)
        } else {
            let mounts = fs::read_to_string("/proc/self/mounts")?;
            let has_memory = |line: &&str| {
                let words: Vec<_> = line.split(' ').collect();
                matches!(words.as_slice(), [_, _, "cgroup", options, ..] if options.split(',').any(|option| option == "memory"))
            };
            let mount = mounts.lines().find(has_memory).context("a hierarchy with the memory controller")?;
            (Path::new(mount.split(' ').nth(1).context("a mount")?).join(name), 1)
        };
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, version })
    }

    fn give(&self, bytes: u64) -> Result<()> {
        let file = if self.version == 2 { "memory.max" } else { "memory.limit_in_bytes" };
        Ok(fs::write(self.folder.join(file), bytes.to_string())?)
    }

    fn take(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.folder.join("cgroup.procs"), pid.to_string())?)
    }

    /// How many processes the kernel has killed for it.
    fn killed(&self) -> Result<u64> {
        let file = if self.version == 2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folder.join(file))?;
        let number = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
        number.context("the kernel counts what it kills")
    }
}

impl Drop for Ration {
    fn drop(&mut self) {
        remove_cgroup(&self.folder);
    }
}

fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.context("its size")? * 1024)
}

/// The kernel's own killer comes, while agents are at work.
#[test]
fn a_daemon_that_is_killed_for_want_of_memory_lets_nobody_through_and_comes_back() -> Result<()> {
    let server = server(&[]);
    let mut house = House::open(|_| ())?;
    let works = format!("psql -XAt -h {} -c \"select current_setting('interceptor.agent')\" 2>&1", server.address);
    assert_eq!(house.agent(&works)?.out, "agent:test", "{}", house.log());
    // In the daemon's own cgroup where the hierarchies are one: that is its exemption.
    let ration = Ration::new(&format!("{}-daemon", house.cgroup()))?;
    let pid = house.daemon.as_ref().context("a daemon")?.id();
    ration.take(pid)?;
    let (before, first) = (ration.killed()?, resident(pid)?);
    ration.give(first + (2 << 20))?;
    // Texts that it has to hold, several at a time: some megabytes each.
    let big = format!(
        "for n in 1 2 3 4; do (head -c 12000000 /dev/zero | tr '\\0' 'x' | sed \"s/^/insert into done select length('/;s/$/');/\" \
         | psql -XAt -h {} >/dev/null 2>&1) & done; wait",
        server.address
    );
    let mut agent = house.agent_in(&house.cgroup(), &big)?.spawn()?;
    let one = big.replace(">/dev/null 2>&1", "2>&1").replace("1 2 3 4", "1");
    let ended = house.daemon.as_mut().context("a daemon")?.wait()?;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGKILL), "{ended}: {}", house.log());
    assert!(ration.killed()? > before, "it was the kernel");
    house.daemon = None;
    agent.wait()?;
    let said = house.agent(&works)?.out;
    assert!(said.contains("Connection refused"), "{said}");
    // Whoever came directly would have been refused by the server, by its password.
    assert!(!server.log().contains("password authentication failed"), "{}", server.log());
    ration.give(1 << 33)?;
    house.start()?;
    assert_eq!(house.agent(&works)?.out, "agent:test", "{}", house.log());
    // With memory, one such text runs, and what is written of it is what can be read again.
    assert_eq!(house.agent(&one)?.out, "INSERT 0 1", "{}", house.log());
    let account =
        house.accounts(&house.cgroup())?.into_iter().find(|account| account.connects > 0).context("an account")?;
    assert_eq!((account.unaccounted(), account.around), (0, 0), "{account:?}");
    house.end(Signal::SIGTERM)?;
    let verified = house.verified()?;
    assert!(verified.starts_with("the trail stands"), "{verified}");
    Ok(())
}

/// The folder of the record, on a disk of its own that is small.
struct Disk(PathBuf);

impl Disk {
    fn mount(&self, options: &str) -> Result<()> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "record"]).arg(&self.0).status()?;
        anyhow::ensure!(status.success(), "{options}");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Full, then not to be written to at all: no statement is sent on whose record would be lost, and all is well when the disk is.
#[test]
fn nothing_runs_while_the_record_cannot_be_written() -> Result<()> {
    let server = server(&[]);
    let mut house = House::open(|_| ())?;
    house.end(Signal::SIGTERM)?;
    fs::remove_dir_all(house.file("audit"))?;
    fs::create_dir(house.file("audit"))?;
    let disk = Disk(house.file("audit"));
    disk.mount("size=4m,mode=700")?;
    house.start()?;
    let insert = |n: u32| format!("psql -XAt -h {} -c 'insert into done values ({n})' 2>&1", server.address);
    assert_eq!(house.agent(&insert(1))?.out, "INSERT 0 1", "{}", house.log());

    // Sessions that are open hear 58030 or 53100, who comes anew the sentence.
    let refused = |said: &str| said.contains("audit record cannot be written");
    // To the last byte.
    drop(fs::write(house.file("audit/filling"), vec![0_u8; 5 << 20]));
    let mut said = String::new();
    for n in 0..200 {
        said = house.agent(&insert(1000 + n))?.out;
        if said != "INSERT 0 1" {
            break;
        }
    }
    assert!(refused(&said), "{said}\n{}", house.log());
    assert_ne!(house.status()?["health"], "ok", "it says so");
    fs::remove_file(house.file("audit/filling"))?;
    let again = eventually(|| (house.agent(&insert(2)).ok()?.out == "INSERT 0 1").then_some(()));
    assert!(again.is_some(), "it recovers by itself: {}", house.log());

    // A daemon that cannot write its record does not begin, and without it nobody is let through.
    house.end(Signal::SIGTERM)?;
    disk.mount("remount,ro")?;
    let ended = house.spawn("daemon.log")?.wait()?;
    assert!(!ended.success(), "{}", house.log());
    let said = house.agent(&insert(3))?.out;
    assert!(said.contains("Connection refused"), "{said}");
    disk.mount("remount,rw")?;
    let ran = fs::read_to_string(house.file("daemon.log"))?;
    assert!(!ran.contains("panicked"), "{ran}");
    let verified = house.verified()?;
    assert!(verified.starts_with("the trail stands"), "{verified}");
    // Every row that is there is on record.
    house.start()?;
    let rows = house.agent(&format!("psql -XAt -h {} -c 'select n from done'", server.address))?.out;
    for row in rows.lines() {
        assert!(!house.records(&format!("insert into done values ({row})"))?.is_empty(), "{row}");
    }
    drop(disk);
    Ok(())
}

/// The network between daemon and database swallows everything, in the middle of a statement: nobody waits for ever.
#[test]
fn a_database_that_the_network_has_cut_off_is_given_up() -> Result<()> {
    let house = House::open(|_| ())?;
    let (agents, databases) = (Space::new()?, Space::new()?);
    agents.run(&format!("ip link add cable0 type veth peer name cable1 netns {}", databases.pid()))?;
    for (space, device, number) in [(&agents, "cable0", 2), (&databases, "cable1", 1)] {
        space.run(&format!("ip address add 10.213.8.{number}/24 dev {device}"))?;
        space.run(&format!("ip link set {device} up"))?;
    }
    let _server = Network::of_process(databases.pid())?.within(|| server(&["listen_addresses=10.213.8.1"]))?;
    let statement = format!("PGHOST=10.213.8.1 {} psql -XAt -c 'select pg_sleep(600)' 2>&1", agents.enter());
    let mut agent = house.agent_in(&house.cgroup(), &statement)?.spawn()?;
    house.record("\"statement\":\"select pg_sleep(600)\"")?;
    // Not an end of the cable, which its kernel would notice.
    databases.run("nft 'add table ip cut; add chain ip cut in { type filter hook input priority 0; policy drop; }'")?;
    let since = Instant::now();
    while agent.try_wait()?.is_none() {
        anyhow::ensure!(since.elapsed() < Duration::from_secs(60), "it still waits: {}", house.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = String::from_utf8_lossy(&agent.wait_with_output()?.stdout).into_owned();
    assert!(!said.contains("pg_sleep") && said.contains("08006") || said.contains("connection"), "{said}");
    house.record("\"sqlstate\":\"08006\"").or_else(|_| house.record("abandoned"))?;
    Ok(())
}

/// More connections than the daemon has descriptors for: it refuses, lives, and goes on.
#[test]
fn a_daemon_without_descriptors_goes_on_when_it_has_some() -> Result<()> {
    let server = server(&["max_connections=150"]);
    let house = House::open(|_| ())?;
    let pid = house.daemon.as_ref().context("a daemon")?.id();
    let works = format!("psql -XAt -h {} -c 'select 1' 2>&1", server.address);
    assert_eq!(house.agent(&works)?.out, "1", "{}", house.log());
    let held = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let limit = format!("--nofile={}:4096", held + 20);
    assert!(Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status()?.success());
    let many = format!(
        "for n in $(seq 60); do (PGCONNECT_TIMEOUT=8 psql -XAt -h {} -c 'select pg_sleep(3)' >/dev/null 2>&1; echo $?) & done; wait",
        server.address
    );
    let before = cpu_seconds(pid)?;
    let answers = house.agent(&many)?.out;
    assert!(answers.lines().any(|status| status != "0"), "there was no want: {answers}");
    let again = eventually(|| (house.agent(&works).ok()?.out == "1").then_some(()));
    assert!(again.is_some(), "{}", house.log());
    let spent = cpu_seconds(pid)? - before;
    assert!(spent < 8.0, "{spent} s of CPU: it has run in circles");
    assert!(!server.log().contains("password authentication failed"), "somebody came directly");
    Ok(())
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks: u32 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) / 100.0)
}

/// Where others may look: no password, no token; and no core of a daemon that crashes.
#[test]
fn nothing_secret_lies_about() -> Result<()> {
    let server = server(&[]);
    let mut house = House::open(|config| config["admin"]["metrics"] = json!("127.0.0.1:0"))?;
    let pid = house.daemon.as_ref().context("a daemon")?.id();
    let token = house.token("agent:test");
    let signature = token.rsplit('.').next().context("a signature")?;
    let names = "for n in $(seq 40); do PGAPPNAME=\"name-$n-$RANDOM\" psql -XAt -h %s -c 'select 1' >/dev/null; done";
    house.agent(&names.replace("%s", &server.address.to_string()))?;
    for file in ["cmdline", "environ"] {
        let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}"))?).into_owned();
        assert!(!text.contains("secret") && !text.contains(signature), "{file}: {text}");
    }
    let kept = house.records("")?.iter().map(ToString::to_string).collect::<String>() + &house.log();
    assert!(!kept.contains(signature), "the agent's token is on record");
    assert!(!kept.contains("\"secret\""), "the daemon's password is on record");
    let binary = fs::read(interceptor_tests::binary())?;
    assert!(!binary.windows(17).any(|part| part == b"PRIVATE KEY-----\nM"), "a key is in the program");
    // Numbers, and no names that clients choose.
    let socket = house.file("control.sock").display().to_string();
    let metrics = Command::new("curl").args(["-s", "--unix-socket", &socket, "http://interceptor/metrics"]).output()?;
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    assert!(metrics.contains("interceptor_connections_total") && !metrics.contains("name-"), "{metrics}");

    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("the limit")?;
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    house.signal(Signal::SIGABRT)?;
    let ended = house.daemon.take().context("a daemon")?.wait()?;
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended), "{ended}");
    Ok(())
}

/// Sessions that wait cost next to nothing.
#[test]
fn idle_sessions_are_cheap() -> Result<()> {
    const SESSIONS: u64 = 200;
    let server = server(&["max_connections=250"]);
    let house = House::open(|config| config["limits"]["connections_per_agent"] = json!(1000))?;
    let pid = house.daemon.as_ref().context("a daemon")?.id();
    let open = |count: u64| {
        format!(
            r#""$PYTHON" - <<'EOF'
import psycopg, sys
held = [psycopg.connect("host={} sslmode=disable") for _ in range({count})]
print(len(held), flush=True)
open("{}/opened", "w").close()
import os, time
while os.path.exists("{}/opened"): time.sleep(0.05)
EOF"#,
            server.address,
            house.file("").display(),
            house.file("").display()
        )
    };
    // The first brings what is shared.
    let measure = |count: u64| -> Result<u64> {
        let mut agent = house.agent_in(&house.cgroup(), &open(count))?.spawn()?;
        let opened = house.file("opened");
        let until = Instant::now() + Duration::from_secs(60);
        while !opened.exists() {
            anyhow::ensure!(agent.try_wait()?.is_none() && Instant::now() < until, "{}", house.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let size = resident(pid)?;
        fs::remove_file(opened)?;
        agent.wait()?;
        Ok(size)
    };
    let (few, many) = (measure(5)?, measure(SESSIONS)?);
    let each = many.saturating_sub(few) / (SESSIONS - 5);
    println!("{each} bytes for each idle session");
    assert!(each <= 64 << 10, "{each} bytes each");
    Ok(())
}

/// A file that says what agents may is no agent's to write.
#[test]
fn what_others_may_write_is_not_believed() -> Result<()> {
    let house = House::open(|_| ())?;
    let config = house.file("interceptor.toml");
    let check = |expected: bool| -> Result<()> {
        let output = house.interceptor(&["config", "check", "--config", &config.display().to_string()])?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.success(), said.contains("others may write")), (expected, !expected), "{said}");
        Ok(())
    };
    check(true)?;
    for path in [config.clone(), house.file("policies"), house.file("policies/all.cedar")] {
        let before = fs::metadata(&path)?.permissions();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o722))?;
        check(false)?;
        fs::set_permissions(&path, before)?;
        nix::unistd::chown(&path, Some(65534.into()), None)?;
        check(false)?;
        // The same for one that runs: what it has read stays.
        house.signal(Signal::SIGHUP)?;
        nix::unistd::chown(&path, Some(0.into()), None)?;
    }
    check(true)?;
    assert_eq!(house.status()?["health"], "ok");
    Ok(())
}
