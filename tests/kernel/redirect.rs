//! From `connect(2)` to the record, against the running kernel.

use std::{
    fs,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result};
use interceptor::redirect::{self, Redirect, bind_as, cgroup_path};
use socket2::{Domain, Socket, Type};

use crate::stage::{Agent, Listeners, PATIENCE, Stage};

const ECONNREFUSED: &str = "errno 111";
const EPERM: &str = "errno 1";
const EPROTONOSUPPORT: &str = "errno 93";

#[test]
fn this_host_has_all_that_is_needed() {
    for finding in redirect::probe() {
        assert!(finding.ok, "{}: {}; {}", finding.what, finding.detail, finding.remedy);
    }
}

#[test]
fn every_family_is_redirected_recorded_and_shown_its_own_destination() -> Result<()> {
    let stage = Stage::set()?;
    let mut agent = stage.agent()?;
    // What is dialled, what the agent sees as its peer, what the daemon reads.
    for (dialled, peer, recorded) in [
        ("10.200.1.7", "10.200.1.7", "10.200.1.7"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("127.9.8.7", "127.9.8.7", "127.9.8.7"),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("2001:db8::7", "2001:db8::7", "2001:db8::7"),
        ("::1", "::1", "::1"),
        ("::", "::1", "::1"),
        ("::ffff:10.200.1.7", "::ffff:10.200.1.7", "10.200.1.7"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:0.0.0.0", "::ffff:127.0.0.1", "127.0.0.1"),
    ] {
        let at = |ip: &str| -> Result<SocketAddr> { Ok(stage.database_at(ip.parse::<IpAddr>()?)) };
        let ends = agent.connect(at(dialled)?).with_context(|| format!("dialling {dialled}"))?;
        assert_eq!(ends.0, at(peer)?, "the peer of {dialled}");
        let accepted = stage.daemon.accept()?;
        assert_eq!(accepted.peer_addr()?.port(), ends.1.port(), "the daemon sees the agent as its peer");
        assert!(accepted.peer_addr()?.ip().to_canonical().is_loopback(), "the daemon sees the agent as its peer");
        let origin = stage.redirect.origin(accepted.as_fd())?.with_context(|| format!("the record of {dialled}"))?;
        assert_eq!(origin.destination, at(recorded)?, "the record of {dialled}");
        assert_eq!(origin.pid, agent.pid());
        assert_eq!((origin.uid, origin.gid), (0, 0));
        assert_eq!(origin.comm, "dialler");
        let cgroup = cgroup_path(origin.cgroup_id).context("the path of the cgroup")?;
        assert_eq!(redirect::cgroup_mount()?.join(cgroup.strip_prefix("/")?), stage.cgroup());
    }
    assert!(stage.database.try_accept()?.is_none(), "nobody reached the database directly");
    let counters = stage.redirect.counters()?;
    assert_eq!((counters.seen, counters.redirected, counters.refused, counters.unrecorded), (10, 10, 0, 0));
    Ok(())
}

#[test]
fn clients_that_close_at_once_are_recorded_all_the_same() -> Result<()> {
    const AGENTS: u32 = 4;
    const TIMES: u32 = 1500;
    let stage = Stage::set()?;
    let mut agents = (0..AGENTS).map(|_| stage.agent()).collect::<Result<Vec<_>>>()?;
    let ips = [Ipv4Addr::new(10, 200, 1, 7).into(), IpAddr::from(Ipv6Addr::LOCALHOST)].into_iter().cycle();
    for (agent, ip) in agents.iter_mut().zip(ips) {
        agent.order(format!("burst {TIMES} {}", stage.database_at(ip)))?;
    }
    let (mut recorded, mut gone) = (0, 0);
    while recorded + gone < AGENTS * TIMES {
        let stream = stage.daemon.accept().with_context(|| format!("after {recorded} recorded, {gone} gone"))?;
        match arrival(&stage, stream)? {
            Arrival::Recorded => recorded += 1,
            Arrival::Gone => gone += 1,
        }
    }
    for agent in &mut agents {
        assert_eq!(agent.answer()?, "0", "connections that failed");
    }
    assert!(gone <= 2, "{gone} of {} were without a record", AGENTS * TIMES);
    Ok(())
}

enum Arrival {
    Recorded,
    Gone,
}

/// The one way to arrive without a record: a client that has reset its connection before it was established here.
fn arrival(stage: &Stage, mut stream: TcpStream) -> Result<Arrival> {
    if stage.redirect.origin(stream.as_fd())?.is_some() {
        return Ok(Arrival::Recorded);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let error = stream.read(&mut [0]).expect_err("a connection without a record is already reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    Ok(Arrival::Gone)
}

#[test]
fn who_is_not_captured_is_left_alone() -> Result<()> {
    let stage = Stage::set()?;
    let mut outsider = stage.outsider()?;
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let ends = outsider.connect(stage.database_at(ip))?;
        assert_eq!(ends.0, stage.database_at(ip));
        assert_eq!(stage.database.accept()?.peer_addr()?, ends.1);
    }
    assert_eq!(stage.redirect.counters()?.seen, 0);
    // The daemon itself, which the test is.
    TcpStream::connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
    stage.database.accept()?;
    Ok(())
}

#[test]
fn another_port_is_left_alone() -> Result<()> {
    let stage = Stage::set()?;
    let elsewhere = Listeners::bind(0)?;
    elsewhere.listen()?;
    stage.agent()?.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, elsewhere.port)))?;
    elsewhere.accept()?;
    Ok(())
}

/// A hook at the agents' own cgroup would follow the cgroup that the socket was made in.
#[test]
fn a_socket_made_before_joining_is_redirected() -> Result<()> {
    let stage = Stage::set()?;
    for (family, ip) in [("4", IpAddr::from(Ipv4Addr::LOCALHOST)), ("6", Ipv6Addr::LOCALHOST.into())] {
        let mut agent = stage.outsider()?;
        agent.tell(format!("socket {family}"))?;
        agent.join(stage.cgroup())?;
        agent.connect(stage.database_at(ip))?;
        let origin = stage.redirect.origin(stage.daemon.accept()?.as_fd())?.context("a record")?;
        assert_eq!(origin.pid, agent.pid());
    }
    Ok(())
}

#[test]
fn cgroups_below_a_captured_one_are_captured_and_there_may_be_several() -> Result<()> {
    let stage = Stage::set_with(|settings| {
        let first = settings.cgroups.iter().flatten().next().expect("a cgroup").clone();
        let second = Path::new(&format!("{}-second", first.display())).to_owned();
        settings.cgroups = Some(vec![first, second.clone(), second.join("job/step")]);
    })?;
    let second = format!("{}-second", stage.cgroup().display());
    for cgroup in [second.clone(), format!("{second}/job"), format!("{second}/job/step")] {
        let mut agent = stage.agent()?;
        agent.join(Path::new(&cgroup))?;
        agent.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
        let origin = stage.redirect.origin(stage.daemon.accept()?.as_fd())?.context("a record")?;
        assert_eq!(
            redirect::cgroup_mount()?.join(cgroup_path(origin.cgroup_id).context("a path")?.strip_prefix("/")?),
            Path::new(&cgroup)
        );
    }
    Ok(())
}

/// Root can move itself to another cgroup, and start children in one: it stays captured.
#[test]
fn who_was_captured_once_stays_captured_elsewhere() -> Result<()> {
    let stage = Stage::set()?;
    let elsewhere = redirect::cgroup_mount()?;
    let is_captured = |agent: &mut Agent| -> Result<bool> {
        agent.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
        Ok(stage.database.try_accept()?.is_none() && stage.redirect.origin(stage.daemon.accept()?.as_fd())?.is_some())
    };
    let mut agent = stage.agent()?;
    agent.join(&elsewhere)?;
    assert!(is_captured(&mut agent)?, "after it has moved itself");
    assert_eq!(agent.tell("create 3 6")?, EPROTONOSUPPORT, "raw sockets too");
    agent.tell("child")?;
    assert!(is_captured(&mut agent)?, "its child, which was born elsewhere");
    agent.tell("child")?;
    assert!(is_captured(&mut agent)?, "its grandchild");

    let mut agent = stage.agent()?;
    agent.tell("child")?;
    agent.join(&elsewhere)?;
    assert!(is_captured(&mut agent)?, "a child that moved itself");
    Ok(())
}

#[test]
fn who_is_in_a_cgroup_when_it_becomes_captured_stays_captured_elsewhere() -> Result<()> {
    let mut stage = Stage::set()?;
    let later = PathBuf::from(format!("{}-later", stage.settings.instance));
    let folder = stage.make_cgroup(&later)?;
    let mut agent = stage.outsider()?;
    agent.join(&folder)?;
    stage.capture_too(later)?;
    agent.join(&redirect::cgroup_mount()?)?;
    agent.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
    let origin = stage.redirect.origin(stage.daemon.accept()?.as_fd())?.context("a record")?;
    assert_eq!(origin.pid, agent.pid());
    Ok(())
}

/// Service managers remove cgroups that are empty for a moment; the new one of that name has another id.
#[test]
fn a_captured_cgroup_that_is_made_again_is_captured_again() -> Result<()> {
    let stage = Stage::set()?;
    for _ in 0..3 {
        fs::remove_dir(stage.cgroup())?;
        fs::create_dir(stage.cgroup())?;
        let mut agent = stage.agent()?;
        agent.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
        let origin = stage.redirect.origin(stage.daemon.accept()?.as_fd())?.context("a record")?;
        assert_eq!(origin.pid, agent.pid());
        drop(agent);
        stage.wait_until_empty()?;
    }
    Ok(())
}

#[test]
fn the_whole_host_is_captured_but_for_the_exempt() -> Result<()> {
    let stage = Stage::set_with(|settings| {
        // The test's own port keeps the rest of the host out of this.
        settings.exempt = settings.cgroups.take().expect("a cgroup");
    })?;
    stage.outsider()?.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
    assert!(stage.redirect.origin(stage.daemon.accept()?.as_fd())?.is_some());
    stage.agent()?.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
    stage.database.accept()?;
    Ok(())
}

#[test]
fn without_the_daemon_connections_fail_and_never_go_direct() -> Result<()> {
    let mut stage = Stage::set()?;
    stage.kill_daemon();
    let mut agent = stage.agent()?;
    for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let address = stage.database_at(ip.parse::<IpAddr>()?);
        assert_eq!(agent.tell(format!("connect {address}"))?, ECONNREFUSED, "{ip}");
    }
    assert!(stage.database.try_accept()?.is_none(), "nobody reached the database directly");
    let counters = stage.redirect.counters()?;
    assert_eq!((counters.seen, counters.redirected, counters.refused), (3, 0, 3));
    Ok(())
}

/// In a network of its own an agent meets no daemon; the hook goes by the task, so it is refused there all the same.
#[test]
fn another_network_namespace_is_no_way_around() -> Result<()> {
    let stage = Stage::set()?;
    let mut agent = stage.agent()?;
    agent.tell("unshare")?;
    for ip in ["127.0.0.1", "::1", "10.200.1.7"] {
        let address = stage.database_at(ip.parse::<IpAddr>()?);
        assert_eq!(agent.tell(format!("connect {address}"))?, ECONNREFUSED, "{ip}");
    }
    assert_eq!(stage.redirect.counters()?.refused, 3);
    Ok(())
}

/// The programs are pinned: neither the daemon's memory nor its file descriptors keep them alive.
#[test]
fn enforcement_outlives_the_daemon_and_a_new_one_takes_over() -> Result<()> {
    let mut stage = Stage::set()?;
    stage.kill_daemon();
    let mut agent = stage.agent()?;
    let address = stage.database_at(Ipv4Addr::LOCALHOST);
    // A child that another test is just about to start has a copy of the listener until it has become its program.
    let mut said = String::new();
    for _ in 0..20 {
        said = agent.tell(format!("connect {address}"))?;
        if said == ECONNREFUSED {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(said, ECONNREFUSED);
    assert!(stage.database.try_accept()?.is_none(), "nobody reached the database directly");
    stage.start_daemon()?;
    agent.connect(address)?;
    assert!(stage.redirect.origin(stage.daemon.accept()?.as_fd())?.is_some());
    assert!(stage.database.try_accept()?.is_none(), "nobody reached the database directly");
    Ok(())
}

#[test]
fn a_listener_that_is_not_the_daemons_gets_nobody() -> Result<()> {
    let mut stage = Stage::set()?;
    let port = stage.daemon.port;
    stage.kill_daemon();
    // Only possible from within the daemon's cgroup, where the test is.
    let impostor = Listeners::bind_again(port)?;
    impostor.listen()?;
    let mut agent = stage.agent()?;
    for ip in ["127.0.0.1", "::1"] {
        let address = stage.database_at(ip.parse::<IpAddr>()?);
        assert_eq!(agent.tell(format!("connect {address}"))?, ECONNREFUSED, "{ip}");
    }
    assert!(impostor.try_accept()?.is_none(), "the impostor got nobody");
    Ok(())
}

#[test]
fn nobody_but_the_daemon_takes_its_port() -> Result<()> {
    let mut stage = Stage::set()?;
    let port = stage.daemon.port;
    stage.kill_daemon();
    for mut somebody in [stage.agent()?, stage.outsider()?] {
        for address in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
            assert_eq!(somebody.tell(format!("bind {address}:{port}"))?, EPERM, "{address}");
        }
        assert_eq!(somebody.tell("bind 127.0.0.1:0")?, "");
    }
    assert_eq!(stage.redirect.counters()?.bind_refused, 8);
    Listeners::bind_again(port).context("the daemon takes its own port")?;
    Ok(())
}

#[test]
fn dialling_the_daemon_directly_has_no_record() -> Result<()> {
    let stage = Stage::set()?;
    for mut somebody in [stage.agent()?, stage.outsider()?] {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            somebody.connect(SocketAddr::new(ip, stage.daemon.port))?;
            assert_eq!(stage.redirect.origin(stage.daemon.accept()?.as_fd())?, None);
        }
    }
    assert_eq!(stage.redirect.counters()?.unrecorded, 4);
    Ok(())
}

#[test]
fn a_new_daemon_takes_over_under_load_without_losing_a_connection() -> Result<()> {
    const SWAPS: u32 = 10;
    const BURST: u32 = 250;
    let stage = Stage::set()?;
    let mut agent = stage.agent()?;
    let order = format!("burst {BURST} {}", stage.database_at(Ipv4Addr::LOCALHOST));
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let dialling = scope.spawn(|| -> Result<u32> {
            let mut dialled = 0;
            while !done.load(Ordering::SeqCst) {
                anyhow::ensure!(agent.tell(&order)? == "0", "connections failed");
                dialled += BURST;
            }
            Ok(dialled)
        });
        let swapping = scope.spawn(|| -> Result<()> {
            let swapped = (0..SWAPS).try_for_each(|_| Redirect::attach(&stage.settings, stage.daemon.port).map(drop));
            done.store(true, Ordering::SeqCst);
            Ok(swapped?)
        });
        let mut arrived = 0;
        while !dialling.is_finished() {
            while let Some(stream) = stage.daemon.try_accept()? {
                arrival(&stage, stream)?;
                arrived += 1;
            }
        }
        swapping.join().expect("the swapping thread")?;
        let dialled = dialling.join().expect("the dialling thread")?;
        // The last handshakes may be finished a moment after their clients have gone.
        while arrived < dialled {
            let stream = stage.daemon.accept().with_context(|| format!("after {arrived} of {dialled}"))?;
            arrival(&stage, stream)?;
            arrived += 1;
        }
        Ok(())
    })
}

#[test]
fn agents_get_no_socket_that_the_hooks_do_not_see() -> Result<()> {
    let stage = Stage::set()?;
    let (mut agent, mut outsider) = (stage.agent()?, stage.outsider()?);
    // Kind and protocol as `linux/net.h` and `linux/in.h` number them.
    for (name, order) in [("raw TCP", "create 3 6"), ("raw ICMP", "create 3 1"), ("MPTCP", "create 1 262")] {
        assert_eq!(agent.tell(order)?, EPROTONOSUPPORT, "{name}");
    }
    assert_eq!(agent.tell("create 1 6")?, "", "TCP");
    assert_eq!(agent.tell("create 2 17")?, "", "UDP");
    assert_eq!(outsider.tell("create 3 1")?, "", "ping by somebody else");
    assert_eq!(stage.redirect.counters()?.socket_refused, 3);
    Ok(())
}

#[test]
fn packets_that_dodged_the_hook_are_dropped() -> Result<()> {
    let stage = Stage::set_with(|settings| settings.exempt = settings.cgroups.take().expect("a cgroup"))?;
    let order = format!("raw-syn {}", stage.database_at(Ipv4Addr::LOCALHOST));
    assert_eq!(stage.outsider()?.tell(&order)?, EPERM);
    assert_eq!(stage.agent()?.tell(&order)?, "", "the exempt may");
    assert_eq!(stage.redirect.counters()?.dropped, 1);
    Ok(())
}

#[test]
fn the_daemon_can_dial_from_the_agents_own_port() -> Result<()> {
    let stage = Stage::set()?;
    let mut agent = stage.agent()?;
    for (ip, any) in [
        (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()),
    ] {
        let (_, local) = agent.connect(stage.database_at(ip))?;
        let downstream = stage.daemon.accept()?;
        let upstream = Socket::new(Domain::for_address(local), Type::STREAM, None)?;
        bind_as(upstream.as_fd(), SocketAddr::new(any, local.port()))?;
        upstream.connect(&stage.database_at(ip).into())?;
        assert_eq!(stage.database.accept()?.peer_addr()?, local, "what a direct connection would have shown");
        drop(downstream);
    }
    Ok(())
}

#[test]
fn detaching_removes_everything() -> Result<()> {
    let stage = Stage::set()?;
    let removed = redirect::detach(&stage.settings.instance)?;
    for pin in ["links/connect4", "links/connect6", "links/sock_ops", "maps/RECORDS"] {
        let pin = format!("v{}/{pin}", interceptor_ebpf::ABI_VERSION);
        assert!(removed.contains(&pin), "{pin} in {removed:?}");
    }
    stage.agent()?.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
    stage.database.accept().context("the agent dials directly again")?;
    assert_eq!(redirect::detach(&stage.settings.instance)?, Vec::<String>::new(), "a second time there is nothing");
    Ok(())
}

#[test]
fn a_process_outside_the_daemons_cgroup_cannot_attach() -> Result<()> {
    let stage = Stage::set()?;
    let mut settings = stage.settings.clone();
    settings.daemon_cgroup = format!("{}-elsewhere", settings.daemon_cgroup.display()).into();
    let refused = Redirect::attach(&settings, stage.daemon.port).map(|_| ());
    let _ = fs::remove_dir(redirect::cgroup_mount()?.join(&settings.daemon_cgroup));
    let error = refused.expect_err("attaching from elsewhere").to_string();
    assert!(error.starts_with("this process is not in the daemon's cgroup"), "{error}");
    Ok(())
}

/// Agents by user and by program: what they start stays captured, whoever it becomes.
#[test]
fn agents_are_known_by_their_user_and_by_their_program() -> Result<()> {
    let is_captured = |stage: &Stage, agent: &mut Agent| -> Result<bool> {
        agent.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
        Ok(stage.database.try_accept()?.is_none() && stage.redirect.origin(stage.daemon.accept()?.as_fd())?.is_some())
    };
    let stage = Stage::set_with(|settings| {
        settings.cgroups = None;
        settings.users = vec!["54321".to_owned()];
    })?;
    let mut agent = stage.outsider()?;
    agent.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
    stage.database.accept().context("root is nobody's agent")?;
    agent.tell("become 54321")?;
    assert!(is_captured(&stage, &mut agent)?, "the user");
    assert_eq!(agent.tell("create 1 262")?, EPROTONOSUPPORT, "no MPTCP either");
    drop(stage);

    let copy = std::env::temp_dir().join(format!("interceptor-dialler-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_dialler"), &copy)?;
    let stage = Stage::set_with(|settings| {
        settings.cgroups = None;
        settings.executables = vec![copy.clone()];
    });
    let result = stage.and_then(|stage| {
        let mut outsider = stage.outsider()?;
        outsider.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
        stage.database.accept().context("another program is nobody's agent")?;
        let mut agent = stage.outsider()?;
        agent.tell(format!("run {}", copy.display()))?;
        assert!(is_captured(&stage, &mut agent)?, "the program");
        agent.tell(format!("run {}", env!("CARGO_BIN_EXE_dialler")))?;
        assert!(is_captured(&stage, &mut agent)?, "what it has started");
        Ok(())
    });
    fs::remove_file(copy)?;
    result
}

#[test]
fn an_address_is_captured_without_its_port_being_so_elsewhere() -> Result<()> {
    let elsewhere = Listeners::bind(0)?;
    elsewhere.listen()?;
    let port = elsewhere.port;
    let stage = Stage::set_with(|settings| {
        settings.addresses =
            vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    })?;
    let mut agent = stage.agent()?;
    for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
        agent.connect(SocketAddr::new(ip.parse()?, port)).with_context(|| ip.to_owned())?;
        assert!(stage.redirect.origin(stage.daemon.accept()?.as_fd())?.is_some(), "{ip}");
    }
    assert!(elsewhere.try_accept()?.is_none(), "nobody went there");
    assert_eq!(
        agent.tell(format!("connect 127.0.0.2:{port}"))?,
        ECONNREFUSED,
        "nobody listens there, and nobody redirects"
    );
    assert_eq!(stage.redirect.counters()?.seen, 5);
    Ok(())
}

/// The whole host may go on pinging; those who are named beside it may not.
#[test]
fn whole_host_capture_refuses_sockets_to_agents_only() -> Result<()> {
    let stage = Stage::set_with(|settings| settings.host = Some(true))?;
    let (mut agent, mut somebody) = (stage.agent()?, stage.outsider()?);
    for (name, order) in [("raw ICMP", "create 3 1"), ("MPTCP", "create 1 262")] {
        assert_eq!(agent.tell(order)?, EPROTONOSUPPORT, "{name} for an agent");
        assert_eq!(somebody.tell(order)?, "", "{name} for somebody else");
    }
    for mut somebody in [agent, somebody] {
        somebody.connect(stage.database_at(Ipv4Addr::LOCALHOST))?;
        assert!(stage.redirect.origin(stage.daemon.accept()?.as_fd())?.is_some(), "all are captured");
    }
    Ok(())
}
