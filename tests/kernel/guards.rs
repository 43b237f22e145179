//! The guards at the kernel's security decisions: that each way past the other hooks is open without them, closed with them, and
//! open as ever for who is no agent.
//!
//! Ignored where tests usually run, because the kernel has to allow such programs: `cargo xtask test vm` boots one that does.

use std::{path::Path, process::Command};

use anyhow::Result;
use interceptor_tests::{Server, environment};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::house::{House, said};

/// The way, what an agent gets without guards, and what with them. Who is no agent gets the former in either case.
const WAYS: &[(&str, &str, &str)] = &[
    ("unix_path", "DIRECT", "ECONNREFUSED"),
    ("unix_relative", "DIRECT", "ECONNREFUSED"),
    ("unix_symlink", "DIRECT", "ECONNREFUSED"),
    ("unix_hard_link", "DIRECT", "ECONNREFUSED"),
    ("unix_magic_link", "DIRECT", "ECONNREFUSED"),
    ("unix_renamed", "DIRECT", "ECONNREFUSED"),
    ("unix_abstract", "DIRECT", "ECONNREFUSED"),
    ("unix_of_others", "DIRECT", "DIRECT"),
    ("connected_from_outside", "DIRECT", "nothing"),
    ("connected_unix_from_outside", "DIRECT", "nothing"),
    ("listener_from_outside", "RECEIVED", "RECEIVED"),
    ("taken_from_outside", "DIRECT", "EPERM"),
    ("trace_outside", "TRACED", "EPERM"),
    ("trace_own", "TRACED", "TRACED"),
    ("memory_of_outside", "OPENED", "EACCES"),
    ("look_at_outside", "SEEN", "SEEN"),
    ("move_away", "MOVED", "EACCES"),
    ("clone_away", "CLONED", "EACCES"),
    ("make_elsewhere", "MADE", "EACCES"),
    ("make_below", "MOVED", "MOVED"),
    ("open_pinned_map", "OPENED", "EPERM"),
    ("map_by_number", "OPENED", "EPERM"),
    ("attach_after_us", "ATTACHED", "EPERM"),
    ("attach_for_devices", "ATTACHED", "ATTACHED"),
    ("packet_socket", "PACKET SOCKET", "EPROTONOSUPPORT"),
    ("unmount_own", "UNMOUNTED", "UNMOUNTED"),
];

/// What ends the enforcement, if it succeeds. (The host is mounted anew, and the daemon started again.)
const ENDS: &[(&str, &str, &str)] = &[
    ("unpin", "UNPINNED", "EACCES"),
    ("detach_link", "DETACHED", "EPERM"),
    ("unmount_pins", "UNMOUNTED", "EPERM"),
    ("unmount_pins_lazily", "UNMOUNTED", "EPERM"),
    ("unmount_what_is_above", "UNMOUNTED", "EPERM"),
];

const ROLE: &str = "create role gateway login superuser password 'secret'";

fn server() -> Server {
    Server::start_from(Path::new(&environment("PG_BIN")), &[], &[], "host all all 127.0.0.0/8 scram-sha-256", ROLE)
}

fn attempt(house: &House, server: &Server, way: &str, role: &str) -> Result<String> {
    let pins = format!("/sys/fs/bpf/interceptor/{}/v{}", house.name, interceptor_ebpf::ABI_VERSION);
    let output = Command::new(environment("PYTHON"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel/guarded.py"))
        .arg(server.address.to_string())
        .arg(server.socket())
        .arg(house.folder_of(&house.cgroup())?.join("cgroup.procs"))
        .args([&pins, way, role])
        .output()?;
    let said = said(output)?;
    Ok(if said.status == 0 {
        said.out
    } else {
        format!("status {} {}", said.status, said.err.lines().last().unwrap_or_default())
    })
}

/// What differs from what is expected, a line each.
fn differences(house: &House, server: &Server, role: &str, ways: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (way, expected) in ways {
        let answer = attempt(house, server, way, role)?;
        if answer != *expected {
            wrong.push(format!("{role}, {way}: {answer} instead of {expected}"));
        }
    }
    Ok(wrong)
}

/// `/sys` and what is below, as far as it has gone.
fn mount_anew() -> Result<()> {
    let script = "mountpoint -q /sys || mount -t sysfs sysfs /sys
        mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
        mountpoint -q /sys/kernel/security || mount -t securityfs securityfs /sys/kernel/security
        mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf";
    anyhow::ensure!(Command::new("sh").args(["-e", "-c", script]).status()?.success());
    Ok(())
}

#[test]
#[ignore = "needs a kernel that allows BPF LSM: `cargo xtask test vm` boots one"]
fn what_is_open_without_guards_is_closed_with_them() -> Result<()> {
    let server = server();
    let open: Vec<_> = WAYS.iter().map(|(way, open, _)| (*way, *open)).collect();
    let closed: Vec<_> = WAYS.iter().chain(ENDS).map(|(way, _, closed)| (*way, *closed)).collect();

    let house = House::open(|config| config["capture"]["guards"] = json!(false))?;
    assert_eq!(house.status()?["guards"], json!([]));
    let mut wrong = differences(&house, &server, "agent", &open)?;
    for (way, expected, _) in ENDS {
        wrong.extend(differences(&house, &server, "agent", &[(way, expected)])?);
        mount_anew()?;
    }
    drop(house);

    let mut house = House::open(|_| ())?;
    assert_eq!(house.status()?["guards"].as_array().map(Vec::len), Some(interceptor_ebpf::program::GUARDS.len()));
    wrong.extend(differences(&house, &server, "agent", &closed)?);
    wrong.extend(differences(&house, &server, "host", &open)?);
    // The daemon's own life is as ever; guards outlive it, and what its successor puts in their place guards as well.
    let works = format!("psql -XAt -h {} -c 'select current_user'", server.address);
    assert_eq!(house.agent(&works)?.out, "gateway", "{}", house.log());
    let some: Vec<_> = closed.iter().copied().step_by(6).collect();
    house.end(Signal::SIGKILL)?;
    wrong.extend(differences(&house, &server, "agent", &some)?);
    house.start()?;
    assert_eq!(house.agent(&works)?.out, "gateway", "{}", house.log());
    wrong.extend(differences(&house, &server, "agent", &some)?);
    let counters = house.status()?["kernel"].to_string();
    assert!(counters.contains("refused by guards") && !counters.contains("[\"refused by guards\",0]"), "{counters}");
    assert_eq!(house.status()?["health"], "ok");
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), house.log());
    Ok(())
}

#[test]
#[ignore = "needs a kernel that allows BPF LSM: `cargo xtask test vm` boots one"]
fn strict_keeps_the_whole_host_from_the_socket_and_lets_it_be_a_host() -> Result<()> {
    let server = server();
    let house = House::open(|config| {
        config["capture"]["host"] = json!(true);
        config["capture"]["strict"] = json!(true);
    })?;
    let ways = [
        ("unix_path", "ECONNREFUSED"),
        ("unix_symlink", "ECONNREFUSED"),
        ("unix_of_others", "DIRECT"),
        ("packet_socket", "EPROTONOSUPPORT"),
        ("trace_outside", "TRACED"),
        ("move_away", "MOVED"),
        ("make_elsewhere", "MADE"),
        ("map_by_number", "OPENED"),
    ];
    let wrong = differences(&house, &server, "host", &ways)?;
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), house.log());
    Ok(())
}
