//! The daemon's own proxy, with agents that are real processes in cgroups of their own, in front of a real server.

use arc_swap::ArcSwap;
use interceptor::audit::{Fsync, Settings as AuditSettings, Trail};
use interceptor::identity::Registrar;
use interceptor::mask::Key;
use interceptor::policy::{Mode, PolicySet};
use interceptor::proxy::{
    Cancels, Catalogs, LeakedRoles, Limits, Live, Origins, Proxy, Shared, Tunables, Upstreams, Waiting, serve,
};
use interceptor::redirect::{Origin, RedirectError, cgroup_mount};
use interceptor::sql::Readings;
use interceptor_tests::{PORT, cgroup_id};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// A process in a cgroup of its own; both go away with it.
pub(super) struct Agent {
    process: Child,
    cgroup: PathBuf,
}

impl Agent {
    /// In the cgroup `/TOP/NAME`.
    pub(super) fn start(top: &str, name: &str, environment: &[(&str, &str)]) -> Self {
        let cgroup = cgroup_mount().unwrap().join(top).join(name);
        std::fs::create_dir_all(&cgroup).unwrap();
        let procs = cgroup.join("cgroup.procs");
        let script = format!("echo $$ > {} && echo in && exec sleep 600", procs.display());
        let mut process = Command::new("sh");
        process.args(["-c", &script]).env_remove("AGENT_ID_TOKEN").envs(environment.iter().copied());
        let mut process = process.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 3];
        process.stdout.take().unwrap().read_exact(&mut said).unwrap();
        // Until it is `sleep`: before, it is another program with the same environment.
        while !std::fs::read_link(format!("/proc/{}/exe", process.id())).unwrap().ends_with("sleep") {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { process, cgroup }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn origin(&self, destination: SocketAddr) -> Origin {
        let pid = self.process.id();
        Origin {
            destination,
            pid,
            thread: pid,
            uid: 0,
            gid: 0,
            cgroup_id: cgroup_id(pid),
            netns_cookie: 1,
            // Later than any process can have started.
            dialled_at: u64::MAX,
            comm: "agent".to_owned(),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
        for folder in [Some(self.cgroup.as_path()), self.cgroup.parent()].into_iter().flatten() {
            for _ in 0..200 {
                if std::fs::remove_dir(folder).is_ok() || !folder.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Everybody who connects is the agent at hand.
struct AtHand(Arc<Mutex<Option<Origin>>>);

impl Origins for AtHand {
    fn origin(&self, _socket: BorrowedFd<'_>) -> Result<Option<Origin>, RedirectError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A daemon with a configuration of its own; gone when dropped.
pub(super) struct Gate {
    address: SocketAddr,
    server: SocketAddr,
    at_hand: Arc<Mutex<Option<Origin>>>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) folder: PathBuf,
    stop: watch::Sender<bool>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Gate {
    /// `identity` is the section of the configuration, with `@DIR@` for a folder of the gate's own.
    pub(super) fn open(server: Ipv4Addr, identity: &str) -> Self {
        let server = SocketAddr::from((server, PORT));
        let folder = std::env::temp_dir().join(format!("interceptor-tokens-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("password"), "unused").unwrap();
        std::fs::set_permissions(folder.join("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let at_hand = Arc::default();
        let proxy = proxy(&folder, server, Arc::clone(&at_hand), identity);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = proxy.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(tokio::task::LocalSet::new().run_until(async {
                serve(serving, tokio::net::TcpListener::from_std(listener).unwrap(), stopped).await;
            }));
        };
        let worker = std::thread::Builder::new().stack_size(interceptor::sql::STACK).spawn(work).unwrap();
        Self { address, server, at_hand, proxy, folder, stop, worker: Some(worker) }
    }

    /// Puts the token where the source `file` finds it.
    pub(super) fn token(&self, token: &[u8]) {
        std::fs::write(self.folder.join("token"), token).unwrap();
    }

    /// Connects as an agent: in, or the error that came.
    pub(super) fn connect(&self, agent: &Agent) -> Result<Client, String> {
        *self.at_hand.lock().unwrap() = Some(agent.origin(self.server));
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Client { stream };
        let body = [&(3_u32 << 16).to_be_bytes()[..], b"user\0app\0database\0shop\0\0"].concat();
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        client.stream.write_all(&[&length[..], &body].concat()).unwrap();
        client.answer().map(|_| client)
    }

    /// The record.
    pub(super) fn record(&self) -> String {
        let files = std::fs::read_dir(self.folder.join("audit")).unwrap().flatten();
        let files = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "jsonl"));
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has failed its test already.
            let _ended = worker.join();
        }
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// An agent's session.
pub(super) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Values of all rows of a simple query, or the error that came.
    pub(super) fn query(&mut self, text: &str) -> Result<String, String> {
        let length = u32::try_from(text.len() + 5).unwrap().to_be_bytes();
        // Whoever has hung up says so in what is read.
        let _sent = self.stream.write_all(&[b"Q", &length[..], text.as_bytes(), b"\0"].concat());
        self.answer()
    }

    /// Up to ReadyForQuery.
    fn answer(&mut self) -> Result<String, String> {
        let (mut said, mut failed) = (String::new(), None);
        loop {
            let mut head = [0; 5];
            if self.stream.read_exact(&mut head).is_err() {
                return Err(failed.unwrap_or_else(|| "closed".to_owned()));
            }
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.stream.read_exact(&mut body).map_err(|error| error.to_string())?;
            match head[0] {
                b'E' => {
                    let mut fields = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                    let code = fields.find_map(|field| field.strip_prefix('C').map(str::to_owned));
                    failed = Some(code.unwrap_or_default());
                }
                b'D' => said += &String::from_utf8_lossy(body.get(6..).unwrap_or_default()),
                b'Z' => return failed.map_or(Ok(said), Err),
                _ => {}
            }
        }
    }
}

fn proxy(folder: &Path, server: SocketAddr, at_hand: Arc<Mutex<Option<Origin>>>, identity: &str) -> Arc<Proxy> {
    let identity = identity.replace("@DIR@", &folder.display().to_string());
    let upstream = format!(
        "server = \"{server}\"\ndatabase = \"*\"\nuser = \"postgres\"\npassword_file = \"{}/password\"\ntls = \"disable\"",
        folder.display()
    );
    let policies = "@id(\"all\") permit (principal, action, resource);".to_owned();
    Arc::new(Proxy {
        origins: Arc::new(AtHand(at_hand)),
        registrar: Registrar::new(toml::from_str(&identity).unwrap()).unwrap(),
        policies: ArcSwap::from_pointee(PolicySet::from_texts(&[("all.cedar".into(), policies)]).unwrap()),
        tunables: ArcSwap::from_pointee(Tunables {
            mode: Mode::Enforce,
            upstreams: Upstreams::load(&[toml::from_str(&upstream).unwrap()]).unwrap(),
            leaked: LeakedRoles::default(),
            limits: Limits {
                login_seconds: 15,
                connections: 100,
                drain_seconds: 0,
                stalled_seconds: 60,
                ..Limits::default()
            },
        }),
        catalogs: Catalogs::default(),
        readings: Readings::default(),
        tls: None,
        cancels: Arc::new(Cancels::default()),
        shared: Shared {
            trail: Arc::new(
                Trail::open(&AuditSettings { fsync: Fsync::Os, ..AuditSettings::of(folder.join("audit")) }).unwrap(),
            ),
            desk: Arc::default(),
            budgets: Arc::default(),
            mask_key: Arc::new(Key::ephemeral()),
        },
        settling: Arc::default(),
        live: Live::default(),
        waiting: Waiting::default(),
    })
}
