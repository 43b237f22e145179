//! The cases of the list that no statement plays: what is done to the host. Each is played for real by a test of this project,
//! named here, or cannot be, and here is why. One that is on neither list fails.

use std::{collections::BTreeMap, fs, path::Path};

/// Case, and the tests that play it: `file::function` below `tests/`, or below `interceptor/src` with a leading `+`; after `#` a word that
/// has to stand in the file, for tests that are tables.
const PLAYED: &[(&str, &[&str])] = &[
    ("evade-01", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-01"]),
    ("evade-02", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-02"]),
    ("evade-03", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-03"]),
    ("evade-04", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-04"]),
    ("evade-05", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-05"]),
    ("evade-06", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-06"]),
    (
        "evade-07",
        &[
            "kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-07",
            "kernel/guards.rs::what_is_open_without_guards_is_closed_with_them#taken_from_outside",
        ],
    ),
    (
        "evade-08",
        &[
            "kernel/accounts.rs::sockets_of_postgresql_in_the_file_system_are_refused_to_agents",
            "kernel/guards.rs::what_is_open_without_guards_is_closed_with_them#unix_symlink",
        ],
    ),
    ("evade-10", &["kernel/accounts.rs::postgresql_on_another_port_is_stopped_and_the_port_captured"]),
    // What comes out of the tunnel's near end is PostgreSQL on another port.
    ("evade-11", &["kernel/accounts.rs::postgresql_on_another_port_is_stopped_and_the_port_captured"]),
    (
        "evade-13",
        &[
            "kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-13",
            "kernel/namespaces.rs::a_server_behind_a_virtual_cable_sees_the_agents_own_address",
        ],
    ),
    (
        "evade-15",
        &[
            "kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-15",
            "kernel/redirect.rs::packets_that_dodged_the_hook_are_dropped",
            "kernel/guards.rs::what_is_open_without_guards_is_closed_with_them#packet_socket",
        ],
    ),
    ("evade-17", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-17"]),
    ("evade-18", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-18"]),
    ("evade-19", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-19"]),
    (
        "evade-20",
        &[
            "kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-20",
            "kernel/accounts.rs::a_daemon_that_is_killed_or_stopped_lets_nobody_through",
        ],
    ),
    ("evade-21", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-21"]),
    ("evade-22", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#evade-22"]),
    (
        "evade-23",
        &[
            "kernel/redirect.rs::clients_that_close_at_once_are_recorded_all_the_same",
            "postgres/limits.rs::an_agent_has_only_so_many_connections",
        ],
    ),
    ("attribution-01", &["postgres/workload.rs::a_number_that_is_used_again_is_nobody"]),
    (
        "attribution-02",
        &[
            "kernel/redirect.rs::a_captured_cgroup_that_is_made_again_is_captured_again",
            "bypass/tokens.rs::no_token_gets_what_it_is_after",
        ],
    ),
    ("attribution-03", &["bypass/attribution.rs::nobody_looks_like_somebody_else#overwritten in place"]),
    ("attribution-04", &["bypass/attribution.rs::nobody_looks_like_somebody_else#moved elsewhere"]),
    ("attribution-05", &["bypass/attribution.rs::nobody_looks_like_somebody_else#fields behind it"]),
    ("attribution-06", &["postgres/workload.rs::two_agents_of_one_user_are_never_each_other"]),
    ("attribution-07", &["bypass/attribution.rs::nobody_looks_like_somebody_else#nobody may look"]),
    ("attribution-08", &["bypass/attribution.rs::nobody_looks_like_somebody_else#megabytes of variables"]),
    ("attribution-09", &["+identity/source.rs::a_file_is_a_regular_file_behind_no_link"]),
    ("attribution-10", &["+identity/source.rs::a_file_is_a_regular_file_behind_no_link#mkfifo"]),
    ("attribution-11", &["bypass/attribution.rs::nobody_looks_like_somebody_else#another program that goes on"]),
    ("attribution-12", &["bypass/attribution.rs::nobody_looks_like_somebody_else#a child that goes on"]),
    // As the case says, a limit that is documented: who opened it is who it is.
    ("attribution-13", &["bypass/attribution.rs::nobody_looks_like_somebody_else#handed to another agent"]),
    ("attribution-14", &["bypass/attribution.rs::nobody_looks_like_somebody_else#namespace (pid)"]),
    ("attribution-15", &["bypass/attribution.rs::nobody_looks_like_somebody_else#namespace (user)"]),
    ("tamper-01", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#tamper-01"]),
    ("tamper-02", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#tamper-02"]),
    (
        "tamper-03",
        &["kernel/adversity.rs::a_daemon_that_is_killed_for_want_of_memory_lets_nobody_through_and_comes_back"],
    ),
    ("tamper-04", &["kernel/adversity.rs::nothing_runs_while_the_record_cannot_be_written"]),
    ("tamper-05", &["+audit/verify.rs::what_the_disk_did_not_take_is_written_anew"]),
    ("tamper-06", &["kernel/adversity.rs::nothing_runs_while_the_record_cannot_be_written#remount,ro"]),
    (
        "tamper-07",
        &["postgres/record.rs::verification_accepts_the_trail_and_nothing_that_was_done_to_it#without-the-last"],
    ),
    ("tamper-08", &["+audit/verify.rs::any_changed_byte_shows"]),
    (
        "tamper-09",
        &[
            "+audit/verify.rs::whatever_is_done_to_a_trail_shows",
            "postgres/record.rs::verification_accepts_the_trail_and_nothing_that_was_done_to_it#swapped",
        ],
    ),
    ("tamper-10", &["+audit/verify.rs::a_witness_knows_what_was_cut_off"]),
    ("tamper-11", &["+audit/verify.rs::a_witness_knows_what_was_written_anew"]),
    ("tamper-12", &["+audit/verify.rs::a_witness_knows_what_was_written_anew"]),
    (
        "tamper-13",
        &[
            "postgres/crash.rs::what_took_effect_is_on_record_however_the_daemon_ends",
            "+audit/verify.rs::a_trail_goes_on_where_it_stopped_also_after_a_crash",
        ],
    ),
    (
        "tamper-15",
        &[
            "kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#tamper-15",
            "kernel/accounts.rs::who_takes_the_enforcement_away_is_noticed",
            "kernel/guards.rs::what_is_open_without_guards_is_closed_with_them#detach_link",
        ],
    ),
    ("tamper-16", &["kernel/adversity.rs::what_others_may_write_is_not_believed"]),
    ("tamper-17", &["postgres/restart.rs::policies_are_reloaded_and_broken_ones_are_not"]),
    ("tamper-19", &["kernel/evasion.rs::whatever_an_agent_tries_ends_in_the_daemon_or_in_an_error#tamper-19"]),
    ("approval-ui-01", &["postgres/console.rs::people_decide_in_a_browser"]),
    ("approval-ui-02", &["postgres/console.rs::people_decide_in_a_browser"]),
    ("approval-ui-03", &["postgres/console.rs::people_decide_in_a_browser#DENY"]),
    ("approval-ui-04", &["postgres/console.rs::people_decide_in_a_browser#another host's name"]),
    ("approval-ui-05", &["postgres/console.rs::people_decide_in_a_browser"]),
    (
        "approval-ui-06",
        &[
            "postgres/approvals.rs::an_approval_survives_its_client_and_is_good_for_one_statement_only",
            "bypass/attacks.rs::what_was_approved_is_good_for_nothing_else",
        ],
    ),
    ("approval-ui-07", &["postgres/approvals.rs::an_approval_survives_its_client_and_is_good_for_one_statement_only"]),
    ("approval-ui-08", &["postgres/approvals.rs::agents_cannot_ask_without_end"]),
    ("approval-ui-09", &["postgres/console.rs::people_decide_in_a_browser"]),
    ("approval-ui-10", &["postgres/console.rs::people_decide_in_a_browser"]),
    (
        "hygiene-01",
        &["bypass/attacks.rs::no_case_gets_what_it_is_after", "postgres/record.rs::each_statement_has_its_two_records"],
    ),
    (
        "hygiene-02",
        &[
            "kernel/adversity.rs::a_daemon_that_is_killed_for_want_of_memory_lets_nobody_through_and_comes_back#12000000",
        ],
    ),
    ("hygiene-03", &["+audit/redact.rs::secrets_are_taken_out"]),
    ("hygiene-05", &["kernel/adversity.rs::nothing_secret_lies_about#core"]),
    ("hygiene-06", &["kernel/adversity.rs::nothing_secret_lies_about#PGAPPNAME"]),
    ("hygiene-07", &["kernel/adversity.rs::nothing_secret_lies_about#cmdline"]),
    ("hygiene-08", &["kernel/adversity.rs::idle_sessions_are_cheap"]),
    ("hygiene-09", &["kernel/adversity.rs::a_daemon_without_descriptors_goes_on_when_it_has_some"]),
    (
        "hygiene-10",
        &[
            "bypass/attacks.rs::no_byte_gets_what_it_is_after",
            "postgres/soak.rs::under_load_and_failures_nothing_is_lost_and_nobody_is_somebody_else",
        ],
    ),
    ("hygiene-11", &["kernel/accounts.rs::a_daemon_that_dies_again_and_again_under_load_lets_nobody_through"]),
    ("hygiene-12", &["kernel/adversity.rs::a_database_that_the_network_has_cut_off_is_given_up"]),
];

/// Case, and why nothing here can play it.
const OPEN: &[(&str, &str)] = &[
    (
        "evade-09",
        "a proxy outside that agents may use is a helper that dials for them: only the database can refuse it; names of PostgreSQL's own are refused (evade-08)",
    ),
    (
        "evade-12",
        "what follows a proxy's own greeting is not looked at; only the database can refuse whoever the proxy is",
    ),
    (
        "evade-14",
        "who owns the socket of a container runtime is root of the host; keeping it from agents is the host's business",
    ),
    ("evade-16", "no PostgreSQL connection leaves the host; tunnels are a matter of the network's policy"),
    (
        "tamper-14",
        "the clock is the whole machine's; the order of records is their number, and verification reads no time",
    ),
    (
        "tamper-18",
        "nothing can be put between decision and sending: a permit holds the set that it was decided by, and there is no await in between",
    ),
    (
        "hygiene-04",
        "there is no input that makes a session panic, as far as is known (`cargo xtask fuzz` looks for one); where one did, tokio would end its task and nothing else",
    ),
];

#[test]
fn every_case_of_the_host_is_played_or_says_why_not() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = fs::read_to_string(here.join("bypass/attacks/cases.jsonl")).unwrap();
    let cases = cases.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ids: Vec<String> =
        cases.filter(|case| case["kind"] == "host").map(|case| case["id"].as_str().unwrap().to_owned()).collect();
    let mut told = BTreeMap::<&str, u32>::new();
    let mut wrong = Vec::new();
    for (id, tests) in PLAYED {
        *told.entry(id).or_default() += 1;
        wrong.extend(tests.iter().filter_map(|test| missing(here, test).map(|why| format!("{id}: {why}"))));
    }
    for (id, why) in OPEN {
        *told.entry(id).or_default() += 1;
        assert!(why.len() > 20, "{id}");
    }
    for id in &ids {
        match told.remove(id.as_str()) {
            Some(1) => {}
            Some(_) => wrong.push(format!("{id} is there twice")),
            None => wrong.push(format!("{id} is on no list")),
        }
    }
    wrong.extend(told.keys().map(|id| format!("{id} is no case")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ids.len() > 70);
}

/// What is wrong with the name of a test.
fn missing(here: &Path, test: &str) -> Option<String> {
    let (test, word) = test.split_once('#').unwrap_or((test, ""));
    let (file, function) = test.split_once("::")?;
    let path = match file.strip_prefix('+') {
        Some(file) => here.join("../interceptor/src").join(file),
        None => here.join(file),
    };
    let Ok(text) = fs::read_to_string(&path) else { return Some(format!("no {file}")) };
    if !text.contains(&format!("fn {function}(")) {
        return Some(format!("no `{function}` in {file}"));
    }
    // What a test has its scripts do stands beside it.
    let beside = fs::read_to_string(path.with_extension("py")).unwrap_or_default();
    (!text.contains(word) && !beside.contains(word)).then(|| format!("no `{word}` in {file}"))
}
