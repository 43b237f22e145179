//! What a kernel test plays on: an instance of its own, cgroups of its own, a database that counts who comes directly, a
//! daemon's listeners, and agents.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use interceptor::redirect::{self, Redirect, Settings};
use socket2::{Domain, Socket, Type};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Everything of one test. Takes it away again when dropped.
pub(crate) struct Stage {
    pub(crate) settings: Settings,
    /// The real server, on 127.0.0.1 and ::1; whoever arrives here was not redirected.
    pub(crate) database: Listeners,
    pub(crate) daemon: Listeners,
    pub(crate) redirect: Redirect,
    // Dropped last, in this order.
    traces: Traces,
    _in_daemon_cgroup: InDaemonCgroup,
}

impl Stage {
    /// Captures the database's port for tasks in one cgroup of this test's own.
    pub(crate) fn set() -> Result<Self> {
        Self::set_with(|_| {})
    }

    /// The same with other settings. `change` sees the cgroup of the agents in `settings.cgroups`.
    pub(crate) fn set_with(change: impl FnOnce(&mut Settings)) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let in_daemon_cgroup = InDaemonCgroup::enter()?;
        let database = Listeners::bind(0)?;
        database.listen()?;
        let mut settings = Settings {
            instance: name.clone(),
            ports: vec![database.port],
            cgroups: Some(vec![format!("interceptor-{name}").into()]),
            daemon_cgroup: in_daemon_cgroup.relative.clone(),
            listen_port: 0,
            ..Settings::default()
        };
        change(&mut settings);
        let mut traces = Traces { instance: settings.instance.clone(), cgroups: Vec::new() };
        for path in settings.cgroups.iter().flatten().chain(&settings.exempt) {
            traces.make(&redirect::cgroup_mount()?.join(path))?;
        }
        let daemon = Listeners::bind_reserved()?;
        let redirect = Redirect::attach(&settings, daemon.port)?;
        daemon.bless(&redirect)?;
        daemon.listen()?;
        Ok(Self { settings, database, daemon, redirect, traces, _in_daemon_cgroup: in_daemon_cgroup })
    }

    /// An agent outside of every cgroup of this test.
    pub(crate) fn outsider(&self) -> Result<Agent> {
        let mut agent = Agent::start()?;
        // It was born in the daemon's cgroup, because the test is the daemon.
        agent.join(&redirect::cgroup_mount()?)?;
        Ok(agent)
    }

    /// An agent in the captured cgroup.
    pub(crate) fn agent(&self) -> Result<Agent> {
        let mut agent = Agent::start()?;
        agent.join(self.cgroup())?;
        Ok(agent)
    }

    /// One more cgroup, which nobody captures.
    pub(crate) fn make_cgroup(&mut self, cgroup: &Path) -> Result<PathBuf> {
        let cgroup = redirect::cgroup_mount()?.join(cgroup);
        self.traces.make(&cgroup)?;
        Ok(cgroup)
    }

    /// Attaches again, with one more cgroup.
    pub(crate) fn capture_too(&mut self, cgroup: PathBuf) -> Result<()> {
        self.settings.cgroups.get_or_insert_default().push(cgroup);
        Redirect::attach(&self.settings, self.daemon.port)?;
        Ok(())
    }

    /// Until the agents' cgroup has lost its last process.
    pub(crate) fn wait_until_empty(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !fs::read_to_string(self.cgroup().join("cgroup.procs"))?.is_empty() {
            anyhow::ensure!(Instant::now() < until, "somebody stays");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The first cgroup of the settings.
    pub(crate) fn cgroup(&self) -> &Path {
        self.traces.cgroups.first().expect("a cgroup in the settings")
    }

    pub(crate) fn database_at(&self, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), self.database.port)
    }

    /// A daemon of the same settings on another port, after the death of the first.
    pub(crate) fn start_daemon(&mut self) -> Result<()> {
        self.daemon = Listeners::bind_reserved()?;
        self.redirect = Redirect::attach(&self.settings, self.daemon.port)?;
        self.daemon.bless(&self.redirect)?;
        self.daemon.listen()
    }

    /// Closes the daemon's listeners, as its death would.
    pub(crate) fn kill_daemon(&mut self) {
        let _alone = BIRTHS.lock().unwrap_or_else(PoisonError::into_inner);
        self.daemon.four.take();
        self.daemon.six.take();
    }
}

/// What a test leaves in the kernel and the file systems; taken away when dropped, also if the stage was never finished.
struct Traces {
    instance: String,
    cgroups: Vec<PathBuf>,
}

impl Traces {
    fn make(&mut self, cgroup: &Path) -> Result<()> {
        self.cgroups.push(cgroup.to_owned());
        Ok(fs::create_dir_all(cgroup)?)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        let _ = redirect::detach(&self.instance);
        for cgroup in self.cgroups.iter().rev() {
            remove_cgroup(cgroup);
        }
    }
}

/// With what is below it. A cgroup can be removed when the last of its processes is gone for good, which takes a moment.
pub(crate) fn remove_cgroup(cgroup: &Path) {
    for below in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&below.path());
        }
    }
    let until = Instant::now() + PATIENCE;
    while let Err(error) = fs::remove_dir(cgroup) {
        if error.kind() == io::ErrorKind::NotFound || Instant::now() > until {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The test process is the daemon of all its tests at once, as long as one of them lasts.
struct InDaemonCgroup {
    relative: PathBuf,
}

static TESTS_INSIDE: Mutex<u32> = Mutex::new(0);

impl InDaemonCgroup {
    fn enter() -> Result<Self> {
        let mut inside = TESTS_INSIDE.lock().unwrap_or_else(PoisonError::into_inner);
        let relative = PathBuf::from(format!("interceptor-test-{}", process::id()));
        let settings = Settings {
            daemon_cgroup: relative.clone(),
            instance: format!("test-{}", process::id()),
            ..Settings::default()
        };
        redirect::enter_daemon_cgroup(&settings)?;
        *inside += 1;
        Ok(Self { relative })
    }
}

impl Drop for InDaemonCgroup {
    fn drop(&mut self) {
        let mut inside = TESTS_INSIDE.lock().unwrap_or_else(PoisonError::into_inner);
        *inside -= 1;
        if let (0, Ok(mount)) = (*inside, redirect::cgroup_mount()) {
            let _ = fs::write(mount.join("cgroup.procs"), "0");
            remove_cgroup(&mount.join(&self.relative));
        }
    }
}

/// Two sockets on the same port of both loopback addresses.
pub(crate) struct Listeners {
    pub(crate) port: u16,
    pub(crate) four: Option<Socket>,
    pub(crate) six: Option<Socket>,
}

impl Listeners {
    /// On a port below those that the kernel hands out by itself (`ip_local_port_range`), so that it is still free after
    /// a test has closed it and wants it back.
    pub(crate) fn bind_reserved() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..1000 {
            let offset = process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
            let port = 20_000 + u16::try_from(offset)?;
            if let Ok(listeners) = Self::bind(port) {
                return Ok(listeners);
            }
        }
        anyhow::bail!("no port between 20000 and 30000 is free in both families")
    }

    /// A port that was closed just now, which may stay taken for some microseconds.
    pub(crate) fn bind_again(port: u16) -> Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::bind(port) {
                Err(error) if is_in_use(&error) && Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                bound => return bound,
            }
        }
    }

    /// Port 0: one that is free in both families.
    pub(crate) fn bind(port: u16) -> Result<Self> {
        for _ in 0..100 {
            let four = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            four.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
            let chosen = four.local_addr()?.as_socket().context("an address")?.port();
            let six = Socket::new(Domain::IPV6, Type::STREAM, None)?;
            match six.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, chosen)).into()) {
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => continue,
                bound => bound?,
            }
            return Ok(Self { port: chosen, four: Some(four), six: Some(six) });
        }
        anyhow::bail!("no port is free in both families")
    }

    pub(crate) fn bless(&self, redirect: &Redirect) -> Result<()> {
        for socket in [&self.four, &self.six].into_iter().flatten() {
            redirect.bless(socket.as_fd())?;
        }
        Ok(())
    }

    pub(crate) fn listen(&self) -> Result<()> {
        for socket in [&self.four, &self.six].into_iter().flatten() {
            socket.set_nonblocking(true)?;
            // No overflow of the queue: it would drop handshakes whose clients believe that they are connected.
            socket.listen(4096)?;
        }
        Ok(())
    }

    /// Somebody who has arrived, if anybody has.
    pub(crate) fn try_accept(&self) -> Result<Option<TcpStream>> {
        for socket in [&self.four, &self.six].into_iter().flatten() {
            match TcpListener::from(socket.try_clone()?).accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    pub(crate) fn accept(&self) -> Result<TcpStream> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(stream) = self.try_accept()? {
                return Ok(stream);
            }
            anyhow::ensure!(Instant::now() < until, "nobody has arrived");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// A child has all file descriptors of the test process until it runs its own program: for that moment, what another test
/// closes stays open.
static BIRTHS: Mutex<()> = Mutex::new(());

/// A process of its own that does what it is told (see `dialler.rs`).
pub(crate) struct Agent {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    fn start() -> Result<Self> {
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_dialler")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        let mut agent = Self { child, orders, answers };
        // It speaks, so its own program runs.
        agent.tell("hello")?;
        Ok(agent)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order without waiting for the answer.
    pub(crate) fn order(&mut self, order: impl AsRef<str>) -> Result<()> {
        Ok(writeln!(self.orders, "{}", order.as_ref())?)
    }

    /// The next answer: what stands after `ok`, or `errno N`.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let line = line.trim_end();
        anyhow::ensure!(!line.is_empty(), "the agent has gone");
        Ok(line.strip_prefix("ok").map_or(line, str::trim_start).to_owned())
    }

    pub(crate) fn tell(&mut self, order: impl AsRef<str>) -> Result<String> {
        self.order(order)?;
        self.answer()
    }

    pub(crate) fn join(&mut self, cgroup: &Path) -> Result<()> {
        self.tell(format!("join {}", cgroup.display()))?;
        Ok(())
    }

    /// Connects; the peer and the own address as the agent sees them.
    pub(crate) fn connect(&mut self, address: SocketAddr) -> Result<(SocketAddr, SocketAddr)> {
        let answer = self.tell(format!("connect {address}"))?;
        let ends = answer.split_once(' ').and_then(|(peer, local)| Some((peer.parse().ok()?, local.parse().ok()?)));
        ends.with_context(|| format!("connect {address}: {answer}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
