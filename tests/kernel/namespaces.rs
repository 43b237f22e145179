//! Agents in network namespaces of their own: the daemon follows them, and dials from where they dialled.

use std::path::Path;

use anyhow::{Context, Result};
use interceptor::redirect::Network;
use interceptor_tests::{Server, environment};

use crate::house::{House, Space, eventually};

const ROLE: &str = "create role gateway login superuser password 'secret'";
const WHO: &str = "psql -XAtc \"select current_setting('interceptor.agent'), inet_server_addr(), inet_client_addr()\"";

/// A server that only those in a namespace can reach, at these addresses.
fn server_in(space: &Space, addresses: &str) -> Result<Server> {
    let bin = environment("PG_BIN");
    let addresses = format!("listen_addresses={addresses}");
    let start = || {
        Server::start_from(
            Path::new(&bin),
            &[&addresses],
            &[],
            "host all all 0.0.0.0/0 scram-sha-256\nhost all all ::0/0 scram-sha-256",
            ROLE,
        )
    };
    Ok(Network::of_process(space.pid())?.within(start)?)
}

#[test]
fn a_server_inside_the_agents_namespace_is_dialled_from_there() -> Result<()> {
    let house = House::open(|_| ())?;
    let space = Space::new()?;
    let _server = server_in(&space, "127.0.0.1,::1")?;
    for (host, expected) in [("127.0.0.1", "agent:test|127.0.0.1|127.0.0.1"), ("::1", "agent:test|::1|::1")] {
        let said = house.agent(&format!("PGHOST={host} {} {WHO}", space.enter()))?;
        assert_eq!(said.out, expected, "{}\n{}", said.err, house.log());
    }
    let account = house.accounts(&house.cgroup())?.into_iter().next().context("an account")?;
    assert_eq!((account.postgres, account.mediated, account.around), (2, 2, 0));
    Ok(())
}

#[test]
fn a_server_behind_a_virtual_cable_sees_the_agents_own_address() -> Result<()> {
    let house = House::open(|_| ())?;
    let (agents, databases) = (Space::new()?, Space::new()?);
    agents.run(&format!("ip link add cable0 type veth peer name cable1 netns {}", databases.pid()))?;
    for (space, device, number) in [(&agents, "cable0", 2), (&databases, "cable1", 1)] {
        space.run(&format!("ip address add 10.213.7.{number}/24 dev {device}"))?;
        space.run(&format!("ip link set {device} up"))?;
    }
    let _server = server_in(&databases, "10.213.7.1")?;
    let said = house.agent(&format!("PGHOST=10.213.7.1 {} {WHO}", agents.enter()))?;
    assert_eq!(said.out, "agent:test|10.213.7.1|10.213.7.2", "{}\n{}", said.err, house.log());
    // Out of the agents' own hands: nobody is sent on from here, where that address is not.
    let said = house.agent(&format!("PGHOST=10.213.7.1 PGCONNECT_TIMEOUT=2 {WHO}"))?;
    assert_eq!(said.out, "", "{}", said.err);
    Ok(())
}

/// Each in a namespace that did not exist a moment before.
#[test]
fn the_first_connection_in_a_new_namespace_comes_to_the_daemon() -> Result<()> {
    const TIMES: usize = 20;
    let house = House::open(|_| ())?;
    let script = format!(
        r#"for n in $(seq {TIMES}); do
            [ $((n % 2)) = 0 ] && host=127.0.0.1 || host=::1
            PGHOST=$host unshare --net bash -c 'ip link set lo up; psql -XAtc "select 1"' 2>&1 | grep -oE 'refused|cannot be reached' | head -1
        done"#
    );
    let said = house.agent(&script)?;
    let came = said.out.lines().filter(|line| *line == "cannot be reached").count();
    let refused = said.out.lines().filter(|line| *line == "refused").count();
    // There is no server: the daemon says so itself, which is how we know that the connection came to it.
    assert_eq!(came + refused, TIMES, "{}\n{}", said.out, said.err);
    assert_eq!(refused, 0, "{}", house.log());
    Ok(())
}

/// One process that leaves for a new namespace and dials at once: nothing but its socket tells of it.
#[test]
fn a_process_that_dials_right_after_it_has_left_is_held() -> Result<()> {
    const TIMES: usize = 20;
    let house = House::open(|_| ())?;
    let script = format!(
        r#""$PYTHON" - <<'EOF'
import ctypes, fcntl, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
for n in range({TIMES}):
    if os.fork() == 0:
        assert libc.unshare(0x40000000) == 0
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1 | 0x40))
        try:
            c = socket.create_connection(("127.0.0.1", 5432), 5)
            print("came to", c.getpeername()[1], flush=True)
        except OSError as error:
            print(error.errno, flush=True)
        os._exit(0)
    os.wait()
EOF"#
    );
    let said = house.agent(&script)?;
    let came = said.out.lines().filter(|line| *line == "came to 5432").count();
    let refused = said.out.lines().filter(|line| *line == "111").count();
    assert_eq!(came + refused, TIMES, "{}\n{}", said.out, said.err);
    assert_eq!(refused, 0, "{}", house.log());
    Ok(())
}

#[test]
fn namespaces_that_nobody_lives_in_are_let_go_of() -> Result<()> {
    let house = House::open(|_| ())?;
    let daemon = house.daemon.as_ref().context("a daemon")?.id();
    let held = || -> Option<usize> {
        let descriptors = std::fs::read_dir(format!("/proc/{daemon}/fd")).ok()?.flatten();
        Some(
            descriptors
                .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("net:[")))
                .count(),
        )
    };
    house.agent("unshare --net bash -c 'ip link set lo up; PGHOST=127.0.0.1 psql -c \"\"'")?;
    assert_eq!(held(), Some(1), "{}", house.log());
    eventually(|| (held() == Some(0)).then_some(())).context("the namespace is let go of")?;
    Ok(())
}

/// Whoever makes a namespace within a user namespace says who answers there: no credential goes to whom no certificate names.
#[test]
fn a_namespace_of_an_agents_own_making_gets_no_credential() -> Result<()> {
    let house = House::open(|_| ())?;
    let said = house
        .agent("unshare --user --map-root-user --net bash -c 'ip link set lo up; PGHOST=127.0.0.1 psql -c \"\"'")?;
    assert!(said.err.contains("only a verified certificate tells who answers"), "{}\n{}", said.err, house.log());
    Ok(())
}

/// Network address translation in a namespace of its own comes after the hook. What really goes out is looked at once more.
#[test]
fn who_has_its_packets_sent_elsewhere_is_dropped() -> Result<()> {
    let house = House::open(|_| ())?;
    let space = Space::new()?;
    let _server = server_in(&space, "127.0.0.1")?;
    space.run("nft add table ip t")?;
    space.run("nft add chain ip t out '{ type nat hook output priority -100; }'")?;
    // Somewhere that is not captured, and where the daemon itself should be.
    house.agent(&format!("PGHOST=127.0.0.1 {} psql -c ''", space.enter()))?;
    let listening = house.agent(&format!("{} ss -Hltn 'src 127.0.0.1 and not sport = 5432'", space.enter()))?.out;
    let port = listening
        .split_whitespace()
        .nth(3)
        .and_then(|address| address.rsplit(':').next())
        .context("the daemon's port")?;
    for from in ["9999", port] {
        space.run(&format!("nft add rule ip t out tcp dport {from} dnat to 127.0.0.1:5432"))?;
    }
    for dialled in ["9999", "5432"] {
        let said =
            house.agent(&format!("PGCONNECT_TIMEOUT=3 PGHOST=127.0.0.1 PGPORT={dialled} {} {WHO}", space.enter()))?;
        assert!(said.out.is_empty() && said.err.contains("timeout expired"), "{dialled}: {} {}", said.out, said.err);
    }
    let account = house.accounts(&house.cgroup())?.into_iter().next().context("an account")?;
    assert!(account.dropped >= 2 && account.around == 0, "{account:?}");
    let told = eventually(|| house.log().contains("had dodged the connect hook").then_some(()));
    told.with_context(|| house.log())?;
    Ok(())
}

/// Where the daemon cannot come, or does not live, nobody is held, and nobody goes on.
#[test]
fn in_a_new_namespace_without_a_daemon_connections_are_refused() -> Result<()> {
    let mut house = House::open(|_| ())?;
    house.end(nix::sys::signal::Signal::SIGKILL)?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    let space = Space::new()?;
    let _server = server_in(&space, "127.0.0.1")?;
    let said = house.agent(&format!("PGCONNECT_TIMEOUT=5 PGHOST=127.0.0.1 {} {WHO}", space.enter()))?;
    assert!(said.out.is_empty() && said.err.contains("Connection refused"), "{} {}", said.out, said.err);
    Ok(())
}
