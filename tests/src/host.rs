//! The daemon as it runs on a host where it was installed: by the configuration that the package brings, with no issuer and no
//! credential. Only one cgroup of the test's own is captured, so that the rest of the machine is left alone.

use crate::product::{Outcome, binary};
use interceptor::redirect::cgroup_mount;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A host. Everything that it has made goes away with it.
#[derive(Debug)]
pub struct Host {
    name: String,
    folder: PathBuf,
    cgroup: PathBuf,
    daemon: Option<Child>,
    /// Where `/metrics` is.
    pub metrics: u16,
    /// What the daemon finds in its environment when it is started the next time.
    pub environment: Vec<(String, String)>,
}

#[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
impl Host {
    /// With the packaged configuration, changed by `change`.
    pub fn installed(change: impl FnOnce(String) -> String) -> Self {
        let name = format!("host-{:x}", rand::random::<u32>());
        let folder = std::env::temp_dir().join(format!("interceptor-{name}"));
        let cgroup = cgroup_mount().expect("a mount").join(format!("interceptor-{name}"));
        fs::create_dir_all(&folder).expect("a folder");
        fs::create_dir(&cgroup).expect("a cgroup");
        fs::create_dir(cgroup.join("agents")).expect("a cgroup");
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = fs::read_to_string(root.join("packaging/interceptor.toml")).expect("the packaged configuration");
        let policies = root.join("policies/default").display().to_string();
        let text = text
            .replace(
                "exempt = [",
                &format!(
                    "instance = \"{name}\"\ncgroups = [\"interceptor-{name}/agents\"]\nlisten_port = 0\nexempt = [] # ["
                ),
            )
            .replace("system.slice/interceptor.service/daemon", &format!("interceptor-{name}/daemon"))
            .replace("/etc/interceptor/policies", &policies)
            .replace("/var/lib/interceptor/audit", &folder.join("audit").display().to_string())
            .replace("/run/interceptor/control.sock", &folder.join("control.sock").display().to_string())
            .replace("127.0.0.1:9463", &metrics.to_string());
        fs::write(folder.join("interceptor.toml"), change(text)).expect("a configuration");
        let mut host = Self { name, folder, cgroup, daemon: None, metrics: metrics.port(), environment: Vec::new() };
        host.start();
        host
    }

    /// A file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder of the cgroup that everything of it is below.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = Command::new(binary());
        command.args(["run", "--config"]).arg(self.path("interceptor.toml")).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let daemon = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("the daemon starts");
        self.daemon = Some(daemon);
        let since = Instant::now();
        while !self.answers() {
            assert!(since.elapsed() < PATIENCE, "{}", self.log());
            if let Some(Ok(Some(status))) = self.daemon.as_mut().map(Child::try_wait) {
                assert!(status.success(), "{}", self.log());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().map_or(0, Child::id)
    }

    /// Asks it to stop and waits.
    pub fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        drop(Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status());
        let since = Instant::now();
        while since.elapsed() < PATIENCE && matches!(daemon.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
        drop(daemon.kill());
        drop(daemon.wait());
    }

    /// Kills it, which nothing can prepare for.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.path("control.sock"))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /status HTTP/1.1\r\nHost: interceptor\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A shell script in the captured cgroup.
    pub fn agent(&self, script: &str) -> Outcome {
        self.shell(&self.script_of_agent(script))
    }

    /// The same to be started by others.
    pub fn script_of_agent(&self, script: &str) -> String {
        format!("echo $$ > {}/agents/cgroup.procs || exit 99\n{script}", self.cgroup.display())
    }

    /// A shell script beside it, as an operator of the host.
    pub fn operator(&self, script: &str) -> Outcome {
        self.shell(script)
    }

    fn shell(&self, script: &str) -> Outcome {
        let output = Command::new("sh")
            .args(["-c", script])
            .env("INTERCEPTOR", binary())
            .env("INTERCEPTOR_SOCKET", self.path("control.sock"))
            .env("INTERCEPTOR_AUDIT", self.path("audit"))
            .env("INTERCEPTOR_CONFIG", self.path("interceptor.toml"))
            .stdin(Stdio::null())
            .output();
        Outcome::of(&output.expect("a shell"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        drop(fs::write(self.cgroup.join("cgroup.kill"), "1"));
        drop(Command::new(binary()).args(["detach", "--instance", &self.name]).output());
        let since = Instant::now();
        while self.cgroup.exists() && since.elapsed() < Duration::from_secs(5) {
            for below in ["agents", "daemon", ""] {
                drop(fs::remove_dir(self.cgroup.join(below)));
            }
            sleep(Duration::from_millis(10));
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}
