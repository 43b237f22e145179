//! Every known way to dial PostgreSQL without being seen, tried against a server that is there (`evasion.py`), and every way
//! for an ordinary user to have the enforcement taken away. Whatever is tried ends in the daemon or in an error.

use std::{path::Path, process::Command};

use anyhow::Result;
use interceptor_tests::{Server, environment};

use crate::house::{House, said};

/// The way, the cases of the attack list that it is, and who answers.
const WAYS: &[(&str, &str, &str)] = &[
    ("connect", "evade-21", "daemon"),
    ("mapped", "evade-01", "daemon"),
    ("any_address", "evade-17", "daemon"),
    ("nonblocking", "", "daemon"),
    ("thread", "", "daemon"),
    ("child", "", "daemon"),
    ("sendto_fast_open", "evade-02", "daemon"),
    ("fast_open_connect", "evade-03", "daemon"),
    // "Must be redirected too" or not be had at all: a client that may fall back to TCP does so on this errno.
    ("mptcp", "evade-04", "EPROTONOSUPPORT"),
    ("sctp", "", "EPROTONOSUPPORT"),
    ("raw", "evade-15", "EPROTONOSUPPORT"),
    ("io_uring", "evade-05", "daemon"),
    ("made_before_joining", "evade-06", "daemon"),
    ("unconnected_socket_from_outside", "evade-07", "daemon"),
    ("connected_socket_from_outside", "evade-07", "ended"),
    ("taken_from_outside", "evade-07", "ended"),
    ("opened_before_joining", "evade-20", "ended"),
    ("elsewhere_and_back", "", "daemon"),
    ("bound_to_a_device", "", "daemon"),
    ("into_another_cgroup", "evade-22", "daemon"),
    ("moved_away", "evade-22", "daemon"),
    ("user_namespace", "evade-13", "daemon"),
    ("network_namespace", "evade-13", "daemon"),
    ("many_forged", "evade-18, evade-19", "closed"),
    ("binding_the_daemons_port", "", "EPERM"),
    ("everything_as_root_of_a_container", "tamper-02", "ESRCH EACCES EACCES EPERM"),
    ("kill_as_somebody", "tamper-01", "EPERM"),
    ("stop_as_somebody", "tamper-01", "EPERM"),
    ("trace_as_somebody", "tamper-01", "EPERM"),
    ("descriptor_of_the_daemon", "tamper-01", "EPERM"),
    ("unpin_as_somebody", "tamper-15", "EACCES"),
    ("bpf_as_somebody", "tamper-15", "EPERM"),
    ("control_socket_as_somebody", "tamper-19", "EACCES"),
    ("handover_as_somebody", "tamper-19", "EACCES"),
    ("handover_as_an_agent", "tamper-19", "0 listeners"),
    ("another_cgroup_as_somebody", "evade-22", "EACCES"),
];

#[test]
fn whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error() -> Result<()> {
    let house = House::open(|_| ())?;
    let role = "create role gateway login superuser password 'secret'";
    let server =
        Server::start_from(Path::new(&environment("PG_BIN")), &[], &[], "host all all 127.0.0.0/8 scram-sha-256", role);
    let mut wrong = Vec::new();
    for (way, cases, expected) in WAYS {
        let answer = attempt(&house, &server, way)?;
        if answer != *expected {
            wrong.push(format!("{way} ({cases}): {answer} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), house.log());
    for account in house.accounts(&house.cgroup())? {
        assert_eq!((account.unaccounted(), account.around), (0, 0), "{account:?}");
    }
    assert_eq!(house.status()?["health"], "ok");
    Ok(())
}

fn attempt(house: &House, server: &Server, way: &str) -> Result<String> {
    let procs = house.folder_of(&house.cgroup())?.join("cgroup.procs");
    let daemon = house.daemon.as_ref().map(|daemon| daemon.id().to_string()).unwrap_or_default();
    let output = Command::new(environment("PYTHON"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel/evasion.py"))
        .arg(server.address.to_string())
        .arg(procs)
        .arg(daemon)
        .args([way, &house.name])
        .arg(house.file("control.sock"))
        .output()?;
    let said = said(output)?;
    // A signal, or Python's own words, are no answer.
    Ok(if said.status == 0 {
        said.out
    } else {
        format!("status {} {}", said.status, said.err.lines().last().unwrap_or_default())
    })
}
