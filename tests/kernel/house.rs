//! The product itself, with a configuration of the test's own: a daemon as its users run it, agents in a cgroup that only
//! it captures, and what became of them.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use interceptor::redirect::{self, Account};
use interceptor_tests::{Issuer, binary, environment};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::stage::remove_cgroup;

/// Everything of one test. Takes it away again when dropped.
pub(crate) struct House {
    pub(crate) name: String,
    folder: PathBuf,
    issuer: Issuer,
    pub(crate) daemon: Option<Child>,
}

/// What an agent said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl House {
    /// A daemon that captures one cgroup of its own, with a policy that permits everything. `change` sees the configuration.
    pub(crate) fn open(change: impl FnOnce(&mut Value)) -> Result<Self> {
        let name = format!("house-{:08x}", rand::random::<u32>());
        let folder = std::env::temp_dir().join(format!("interceptor-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let mut house = Self { name, folder, issuer: Issuer::start(), daemon: None };
        fs::create_dir(house.file("policies"))?;
        fs::write(house.file("policies/all.cedar"), "@id(\"all\") permit (principal, action, resource);")?;
        fs::write(house.file("password"), "secret")?;
        fs::set_permissions(house.file("password"), fs::Permissions::from_mode(0o600))?;
        let mut config = json!({
            "capture": {
                "instance": house.name,
                "ports": [5432],
                "cgroups": [house.cgroup()],
                "daemon_cgroup": format!("interceptor-{}-daemon", house.name),
                "listen_port": 0,
            },
            "identity": {
                "sources": ["environment"],
                "environment_variables": ["AGENT_ID_TOKEN"],
                "issuers": [{"url": house.issuer.url, "audience": "interceptor", "algorithms": ["ES256", "EdDSA"], "allow_http": true}],
                "exchange": {"issuer": house.issuer.url, "audience": "postgres"},
            },
            "upstream": [{"server": "*", "database": "*", "user": "gateway", "password_file": house.file("password"), "tls": "disable"}],
            "policy": {"dir": house.file("policies"), "mode": "enforce"},
            "audit": {"dir": house.file("audit")},
            "admin": {"socket": house.file("control.sock")},
            "limits": {"drain_seconds": 2},
        });
        change(&mut config);
        fs::write(house.file("interceptor.toml"), toml::to_string(&config)?)?;
        fs::create_dir_all(house.folder_of(&house.cgroup())?)?;
        house.start()?;
        Ok(house)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The agents' cgroup, below the mount.
    pub(crate) fn cgroup(&self) -> String {
        format!("interceptor-{}", self.name)
    }

    pub(crate) fn folder_of(&self, cgroup: &str) -> Result<PathBuf> {
        Ok(redirect::cgroup_mount()?.join(cgroup))
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.daemon = Some(self.spawn("daemon.log")?);
        self.ready()
    }

    /// Starts a daemon.
    pub(crate) fn spawn(&self, log: &str) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.file(log))?;
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(self.file("interceptor.toml"));
        Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    pub(crate) fn ready(&mut self) -> Result<()> {
        // Long: a machine that is emulated takes its time. One that has failed has gone.
        let until = Instant::now() + Duration::from_secs(180);
        while !self
            .interceptor(&["status", "--socket", &self.file("control.sock").display().to_string()])?
            .status
            .success()
        {
            let gone = self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().is_ok_and(|status| status.is_some()));
            anyhow::ensure!(!gone && Instant::now() < until, "the daemon is not ready: {}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("daemon.log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let daemon = self.daemon.as_ref().context("there is a daemon")?;
        Ok(kill(Pid::from_raw(daemon.id().cast_signed()), signal)?)
    }

    /// Ends the daemon and waits for it.
    pub(crate) fn end(&mut self, by: Signal) -> Result<()> {
        self.signal(by)?;
        self.daemon.take().context("there is a daemon")?.wait()?;
        Ok(())
    }

    pub(crate) fn interceptor(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(binary()).args(arguments).output()?)
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        self.issuer.token(&json!({"subject": subject}))
    }

    /// A command that becomes an agent: it enters a cgroup before it does anything else.
    pub(crate) fn agent_in(&self, cgroup: &str, script: &str) -> Result<Command> {
        let procs = self.folder_of(cgroup)?.join("cgroup.procs");
        let mut command = Command::new("bash");
        command
            .args(["-c", "echo 0 > \"$0\" && exec bash -c \"$1\""])
            .arg(procs)
            .arg(script)
            .env("AGENT_ID_TOKEN", self.token("agent:test"))
            .env("PGUSER", "gateway")
            .env("PGDATABASE", "postgres")
            .env("PGPASSWORD", "wrong")
            .env("PGSSLMODE", "disable")
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PYTHON", environment("PYTHON"))
            .env("INTERCEPTOR", binary())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    pub(crate) fn agent(&self, script: &str) -> Result<Said> {
        said(self.agent_in(&self.cgroup(), script)?.output()?)
    }

    /// The accounts that the daemon shows of the cgroups whose name has this in it.
    pub(crate) fn accounts(&self, of: &str) -> Result<Vec<Account>> {
        let socket = self.file("control.sock").display().to_string();
        let shown = self.interceptor(&["status", "--coverage", "--json", "--socket", &socket])?;
        let accounts: Vec<Account> = serde_json::from_slice(&shown.stdout)
            .with_context(|| format!("coverage: {}", String::from_utf8_lossy(&shown.stderr)))?;
        let is_of =
            |account: &Account| account.cgroup.as_ref().is_some_and(|path| path.display().to_string().contains(of));
        Ok(accounts.into_iter().filter(is_of).collect())
    }

    pub(crate) fn status(&self) -> Result<Value> {
        let socket = self.file("control.sock").display().to_string();
        Ok(serde_json::from_slice(&self.interceptor(&["status", "--json", "--socket", &socket])?.stdout)?)
    }

    /// The records whose text has this in it.
    pub(crate) fn records(&self, text: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for file in fs::read_dir(self.file("audit"))?.flatten().map(|file| file.path()) {
            let is_segment = file.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.ends_with(".jsonl") && !name.starts_with("checkpoints")
            });
            if is_segment {
                let lines = fs::read_to_string(file)?;
                found.extend(
                    lines.lines().filter(|line| line.contains(text)).filter_map(|line| serde_json::from_str(line).ok()),
                );
            }
        }
        Ok(found)
    }

    /// Waits for a record whose text has this in it.
    pub(crate) fn record(&self, text: &str) -> Result<Value> {
        eventually(|| self.records(text).ok()?.into_iter().next())
            .with_context(|| format!("no record of `{text}`: {:?}\n{}", self.records(""), self.log()))
    }

    pub(crate) fn verified(&self) -> Result<String> {
        let output = self.interceptor(&["audit", "verify", "--audit", &self.file("audit").display().to_string()])?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGCONT);
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = redirect::detach(&self.name);
        for cgroup in [self.cgroup(), format!("{}-daemon", self.cgroup())] {
            if let Ok(folder) = self.folder_of(&cgroup) {
                // Whatever an agent has left behind: these cgroups are this test's own.
                let _ = fs::write(folder.join("cgroup.kill"), "1");
                remove_cgroup(&folder);
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn said(output: Output) -> Result<Said> {
    Ok(Said {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        err: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Looks again and again for ten seconds.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > until {
            return None;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A network namespace, held by a process that does nothing; gone when dropped.
pub(crate) struct Space {
    holder: Child,
}

impl Space {
    /// With its loopback up.
    pub(crate) fn new() -> Result<Self> {
        let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn()?;
        let space = Self { holder };
        let own = fs::read_link("/proc/self/ns/net")?;
        eventually(|| (fs::read_link(space.path()).ok()? != own).then_some(())).context("a namespace")?;
        space.run("ip link set lo up")?;
        Ok(space)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("ns/net")
    }

    /// What comes before a command to have it run there.
    pub(crate) fn enter(&self) -> String {
        format!("nsenter --net={}", self.path().display())
    }

    /// Runs a command there, outside of any captured cgroup.
    pub(crate) fn run(&self, command: &str) -> Result<()> {
        let status = Command::new("bash").args(["-c", &format!("{} {command}", self.enter())]).status()?;
        anyhow::ensure!(status.success(), "{command}");
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
