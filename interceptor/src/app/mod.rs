//! Wires everything: first whatever can fail, then the promise that it runs.

mod follow;
mod keep;
mod reconfigure;
mod reload;
mod sinks;
mod succession;
mod supervisor;

pub use sinks::Witness;

use crate::approval::Desk;
use crate::audit::{Event, Record, Subject, Trail};
use crate::config::Config;
use crate::identity::Registrar;
use crate::mask::Key;
use crate::policy::PolicySet;
use crate::proxy::{
    Authority, Cancels, Catalogs, LeakedRoles, Live, Proxy, Shared, Switch, Terminator, Tunables, Upstreams, Waiting,
};
use crate::redirect::{Network, Redirect, enter_daemon_cgroup};
use crate::sql::Readings;
use crate::{admin, proxy, sql};
use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use follow::{Opened, end_earlier_connections, follow};
use keep::keep;
use reconfigure::Reconfigure;
use reload::Reload;
use sinks::Sinks;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use succession::{Elsewhere, Estate, Heir, Heritage};
use supervisor::Supervisor;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

/// Backlog of the listeners.
const BACKLOG: i32 = 4096;

/// A daemon that has everything it needs and serves from the moment it is run.
pub struct Bound {
    proxy: Arc<Proxy>,
    redirect: Arc<Redirect>,
    listeners: Vec<Socket>,
    inherited: Vec<Elsewhere>,
    port: u16,
    control: UnixListener,
    control_path: PathBuf,
    console: Option<admin::BoundConsole>,
    webhooks: Vec<Arc<admin::Webhook>>,
    agents_operate: bool,
    audit: PathBuf,
    metrics: Option<std::net::TcpListener>,
    policies: PathBuf,
    file: PathBuf,
    sinks: Sinks,
    threads: usize,
    capture: String,
    stop: watch::Sender<bool>,
}

impl Bound {
    /// Reads, attaches and binds; whatever is wrong is said here and nothing is left half-started.
    pub fn new(config: &Config, file: &Path) -> Result<Self> {
        // What can be wrong in files comes before anything on the host changes.
        let policies = PolicySet::load(&config.policy.dir)?;
        let upstreams = Upstreams::load(&config.upstream)?;
        let registrar = Registrar::new(config.identity.clone())?;
        let leaked = LeakedRoles::load(&config.leaked)?;
        // An older daemon goes when all that is checked, and before the trail is opened, which is its own until then.
        let patience = Duration::from_secs(config.limits.drain_seconds.saturating_add(30));
        let heritage = Heritage::take(&config.admin.socket, config.capture.listen_port, patience)?;
        let trail = Arc::new(Trail::open(&config.audit)?);
        let record = trail.clone();
        let mask_key = Arc::new(Key::open(&config.mask_key())?);
        let tls = match config.tls.client {
            Switch::On => {
                let (cert, key) = config.ca();
                let authority = Authority::open(&cert, &key).context("agents cannot be offered TLS")?;
                Some(Terminator::new(authority))
            }
            Switch::Off => None,
        };

        enter_daemon_cgroup(&config.capture)?;
        let threads = config.threads();
        let mut sockets = heritage.listeners;
        let port = match sockets.first().map(port_of) {
            Some(port) => port?,
            None => bind_all(config.capture.listen_port, threads, &mut sockets)?,
        };
        let redirect = Arc::new(Redirect::attach(&config.capture, port)?);
        for socket in &sockets {
            redirect.bless(socket.as_fd())?;
            socket.listen(BACKLOG).context("the listener could not be opened")?;
        }
        let control = admin::bind(&config.admin)
            .with_context(|| format!("control socket `{}` cannot be bound", config.admin.socket.display()))?;
        let webhooks = admin::load_webhooks(&config.webhook)?;
        let console = admin::bind_console(&config.console).context("the console cannot be bound")?;
        let metrics = config.admin.metrics.map(|address| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            std::io::Result::Ok(listener)
        });
        let metrics = metrics.transpose().context("`admin.metrics` cannot be bound")?;
        let stop = watch::Sender::new(false);
        let proxy = Arc::new(Proxy {
            origins: redirect.clone(),
            registrar,
            policies: ArcSwap::from_pointee(policies),
            tunables: ArcSwap::from_pointee(Tunables {
                mode: config.policy.mode,
                upstreams,
                leaked,
                limits: config.limits.clone(),
            }),
            catalogs: Catalogs::default(),
            readings: Readings::default(),
            tls,
            cancels: Arc::new(Cancels::default()),
            shared: Shared {
                trail,
                desk: Arc::new(Desk::new(config.approval.clone())),
                budgets: Arc::default(),
                mask_key,
            },
            settling: Arc::default(),
            live: Live::default(),
            waiting: Waiting::default(),
        });
        Ok(Self {
            proxy,
            redirect,
            listeners: sockets,
            inherited: heritage.elsewhere,
            port,
            control,
            agents_operate: config.admin.agents_operate,
            control_path: config.admin.socket.clone(),
            console,
            webhooks,
            audit: config.audit.dir.clone(),
            metrics,
            policies: config.policy.dir.clone(),
            file: file.to_owned(),
            sinks: Sinks::start(&config.audit, &record)?,
            threads,
            capture: config.capture.summary(),
            stop,
        })
    }

    /// Serves until SIGTERM or SIGINT, then lets running statements end.
    pub async fn run(self) -> Result<()> {
        let Self {
            proxy,
            redirect,
            listeners,
            inherited,
            port,
            control,
            control_path,
            agents_operate,
            console,
            webhooks,
            audit,
            metrics,
            policies,
            file,
            sinks,
            threads,
            capture,
            stop,
        } = self;
        let since =
            time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        note(&proxy.shared.trail, "the daemon has started")?;
        end_earlier_connections(&proxy, &redirect)?;
        let estate = Arc::new(Estate::default());
        let home = Network::own()?.cookie();
        for listener in &listeners {
            estate.add(home, listener)?;
        }
        let Workers { threads: workers, doors } = workers(&proxy, listeners, threads, &stop)?;
        let follower =
            follow(proxy.clone(), redirect.clone(), port, doors, (estate.clone(), inherited), stop.subscribe())?;
        let (losing, missing) = watch::channel(Vec::new());
        let keeper = keep(proxy.clone(), redirect.clone(), stop.subscribe(), losing)?;
        tell_absent(&redirect);
        let reload = Reload::start(proxy.clone(), policies, stop.subscribe())?;
        let subjects = admin::Subjects {
            proxy: proxy.clone(),
            redirect: redirect.clone(),
            missing,
            trail: proxy.shared.trail.clone(),
            since,
            capture: capture.clone(),
            audit,
            console: console.as_ref().map(|bound| bound.console.clone()),
            agents_operate,
            webhooks: webhooks.clone(),
        };
        if let Some(listener) = metrics {
            let listener = TcpListener::from_std(listener)?;
            tokio::spawn(admin::serve_metrics(listener, subjects.clone(), stop.subscribe()));
        }
        let telling = admin::run_webhooks(webhooks, proxy.shared.desk.clone(), stop.subscribe());
        let (for_console, until) = (subjects.clone(), stop.subscribe());
        let serving = async move {
            if let Some(console) = console {
                console.serve(for_console, until).await;
            }
        };
        let answering = admin::serve(control, subjects, stop.subscribe(), &control_path);
        let mut answering = Box::pin(async move {
            tokio::join!(answering, serving, telling);
        });
        tracing::info!(%capture, policies = proxy.policies.load().len(), "interceptor is ready");

        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut reconfigure = Reconfigure::of(&file)?;
        let mut hup = signal(SignalKind::hangup())?;
        let supervisor = Supervisor::of_environment();
        estate.keep_with(&supervisor);
        supervisor.tell("READY=1");
        let (handing_over, mut handed_over) = watch::channel(false);
        let heir = Heir::expect(&control_path, estate.clone(), redirect.clone(), move || {
            handing_over.send_replace(true);
        })?;
        // The runtime that answers operators says that it lives; one that is stuck says nothing.
        let mut alive = supervisor.period().map(tokio::time::interval);
        loop {
            let beat = async {
                match &mut alive {
                    Some(alive) => drop(alive.tick().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut answering => break,
                _ = term.recv() => {
                    tracing::info!("stopping: SIGTERM");
                    break;
                }
                _ = int.recv() => {
                    tracing::info!("stopping: SIGINT");
                    break;
                }
                _ = handed_over.wait_for(|over| *over) => {
                    tracing::info!("stopping: a newer daemon takes over");
                    break;
                }
                _ = hup.recv() => {
                    supervisor.tell("RELOADING=1");
                    reconfigure.read_again(&proxy);
                    supervisor.tell("READY=1");
                }
                () = beat => supervisor.tell("WATCHDOG=1"),
            }
        }
        supervisor.tell("STOPPING=1");
        estate.close();
        stop.send_replace(true);
        answering.await;
        let threads = workers.into_iter().chain([follower, keeper]).collect::<Vec<_>>();
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok())).await;
        reload.join();
        note(&proxy.shared.trail, "the daemon has stopped; captured connections are refused until it is back")?;
        drop(heir);
        // Here, not when the last of those who hold the trail lets go: the process may be over before.
        proxy.shared.trail.checkpoint()?;
        sinks.join();
        if joined.is_ok_and(|all| all) { Ok(()) } else { Err(anyhow!("a worker thread has failed")) }
    }
}

/// Says what this kernel does without. Guards that are missing for one reason are one thing.
fn tell_absent(redirect: &Redirect) {
    let guards = redirect.guards();
    if !guards.is_empty() {
        tracing::info!(guards = guards.join(", "), "the kernel asks the guards at its security decisions");
    }
    let mut by_reason = BTreeMap::<&str, Vec<&str>>::new();
    for (program, why) in redirect.absent() {
        by_reason.entry(why).or_default().push(program);
    }
    for (why, programs) in by_reason {
        tracing::warn!(programs = programs.join(", "), why, "programs that need not be are not in force");
    }
}

/// The threads that serve, and how each is given listeners elsewhere.
struct Workers {
    threads: Vec<JoinHandle<()>>,
    doors: Vec<mpsc::UnboundedSender<Opened>>,
}

/// One thread each with a runtime of its own: a session lives and dies on one of them.
fn workers(proxy: &Arc<Proxy>, listeners: Vec<Socket>, threads: usize, stop: &watch::Sender<bool>) -> Result<Workers> {
    let mut parts: Vec<Vec<Socket>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, socket) in listeners.into_iter().enumerate() {
        if let Some(part) = parts.get_mut(index % threads) {
            part.push(socket);
        }
    }
    let spawn = |(index, sockets): (usize, Vec<Socket>)| {
        let (door, opened) = mpsc::unbounded_channel();
        let (proxy, stop) = (proxy.clone(), stop.subscribe());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            runtime.block_on(LocalSet::new().run_until(async {
                let mut tasks = tokio::task::JoinSet::new();
                for socket in sockets {
                    match socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket.into())) {
                        Ok(listener) => drop(tasks.spawn_local(proxy::serve(proxy.clone(), listener, stop.clone()))),
                        Err(error) => tracing::error!(%error, "a listener cannot be served"),
                    }
                }
                tasks.spawn_local(serve_elsewhere(proxy.clone(), opened, stop.clone()));
                if index == 0 {
                    let (proxy, stop) = (proxy.clone(), stop.clone());
                    let (desk, until) = (proxy.shared.desk.clone(), stop.clone());
                    tasks.spawn_local(async move { proxy::keep_desk(&desk, until).await });
                    let asking = proxy.clone();
                    tasks.spawn_local(async move { asking.registrar.warm().await });
                    tasks.spawn_local(async move { proxy.catalogs.keep_fresh(stop).await });
                }
                while tasks.join_next().await.is_some() {}
            }));
        };
        let name = format!("worker-{index}");
        // Statements are read on this very thread, deep ones too.
        let thread = std::thread::Builder::new()
            .name(name)
            .stack_size(sql::STACK)
            .spawn(work)
            .context("a worker thread cannot be started")?;
        Ok((thread, door))
    };
    let (threads, doors) = parts.into_iter().enumerate().map(spawn).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok(Workers { threads, doors })
}

/// Serves the listeners in other network namespaces that fall to this thread.
async fn serve_elsewhere(
    proxy: Arc<Proxy>,
    mut opened: mpsc::UnboundedReceiver<Opened>,
    mut stop: watch::Receiver<bool>,
) {
    let mut serving = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Some(opened) = opened.recv() => match opened.door() {
                Ok(door) => drop(serving.spawn_local(proxy::serve_at(proxy.clone(), door, stop.clone()))),
                Err(error) => tracing::error!(%error, "a listener in another network namespace cannot be served"),
            },
            // Those that have ended are not kept.
            Some(_) = serving.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    while serving.join_next().await.is_some() {}
}

/// A socket of each family on the loopback of the present network namespace.
fn bind_pair(port: u16) -> std::io::Result<Vec<Socket>> {
    let mut sockets = vec![bind((Ipv4Addr::LOCALHOST, port).into())?];
    match bind((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(socket) => sockets.push(socket),
        // Without IPv6, or with a loopback that is not up yet.
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => sockets.extend(bind_early(port).ok()),
        Err(error) => return Err(error),
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    Ok(sockets)
}

/// On `::1` before there is one: a namespace is heard of before its loopback is up.
fn bind_early(port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_only_v6(true)?;
    socket.set_freebind_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

/// For each thread a socket of each family, all of one port; without IPv6 on the host only IPv4 ones, and whoever dials
/// IPv6 is refused.
fn bind_all(port: u16, threads: usize, sockets: &mut Vec<Socket>) -> Result<u16> {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        sockets.clear();
        let first = bind((Ipv4Addr::LOCALHOST, port).into()).context("the IPv4 listener cannot be bound")?;
        let chosen = port_of(&first)?;
        sockets.push(first);
        let v6 = match bind((Ipv6Addr::LOCALHOST, chosen).into()) {
            Ok(socket) => {
                sockets.push(socket);
                true
            }
            // Taken by somebody else in this family only: where any port will do, take another.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && port == 0 => continue,
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => false,
            Err(error) => return Err(error).context("the IPv6 listener cannot be bound"),
        };
        for _ in 1..threads {
            sockets.push(bind((Ipv4Addr::LOCALHOST, chosen).into())?);
            if v6 {
                sockets.push(bind((Ipv6Addr::LOCALHOST, chosen).into())?);
            }
        }
        // Round-robin over threads has to give each thread one of each family.
        sockets.sort_by_key(|socket| socket.local_addr().is_ok_and(|address| address.is_ipv6()));
        return Ok(chosen);
    }
    Err(anyhow!("no port is free on both 127.0.0.1 and ::1"))
}

fn bind(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn port_of(socket: &Socket) -> Result<u16> {
    let address = socket.local_addr()?.as_socket();
    address.map(|address| address.port()).ok_or_else(|| anyhow!("the listener has no port"))
}

fn note(trail: &Trail, text: &str) -> Result<()> {
    let mut record = Record::new(Event::Admin, Arc::new(Subject::default()));
    record.statement = Some(text.to_owned());
    trail.write(record)?;
    Ok(())
}
