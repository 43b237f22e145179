//! Nobody is anonymous: without a token that stands, no connection, and one text for all reasons.

use interceptor_tests::{Issuer, Scene};
use serde_json::json;

#[test]
fn a_token_that_does_not_stand_opens_nothing() {
    // A second issuer signs what the daemon's own would never sign; the daemon's own comes from the environment.
    let foreign = Issuer::start();
    let foreign_token = foreign.token(&json!({"subject": "agent:demo"}));
    let script = format!(
        r#"
        try() {{ AGENT_ID_TOKEN="$2" psql -XAtc 'select 1' 2>&1 | tr '\n' ' '; echo "[$1]"; }}
        try foreign '{foreign_token}'
        try garbage garbage
        try cut "${{AGENT_ID_TOKEN%.*}}"
        try unsigned "$(printf '%s' '{{"alg":"none","typ":"JWT"}}' | base64 -w0 | tr -d =).$(printf '%s' "$AGENT_ID_TOKEN" | cut -d. -f2)."
        try changed "$(printf '%s' "$AGENT_ID_TOKEN" | sed 's/..$/AA/')"
        env -u AGENT_ID_TOKEN bash -c 'exec psql -XAtc "select 1"' 2>&1 | tr '\n' ' '; echo '[ancestor]'
        psql -XAtc 'select 1'
        "$INTERCEPTOR" audit search --event refusal --json"#
    );
    let outcome = Scene::demo().run(&script);
    let mut texts: Vec<_> = outcome
        .stdout
        .lines()
        .filter(|line| line.contains("FATAL"))
        .map(|line| line.split(" [").next().unwrap())
        .collect();
    assert_eq!(texts.len(), 5, "{}\n{}", outcome.stdout, outcome.stderr);
    texts.dedup();
    assert_eq!(texts.len(), 1, "one text for all reasons: {texts:?}");
    assert!(texts[0].contains("the agent's identity is not accepted"), "{texts:?}");
    // The shell above has a token, and the process is in the same cgroup.
    assert!(outcome.stdout.contains("1 [ancestor]"), "{}", outcome.stdout);
    let refusals: Vec<_> = outcome.stdout.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(refusals.len(), 5, "each is on record: {}", outcome.stdout);
    assert!(refusals.iter().all(|line| line.contains("\"decision\":\"deny\"")));
}

/// The run's own issuer signs what a real one would not.
#[test]
fn tokens_of_the_right_issuer_can_be_wrong_as_well() {
    let script = r#"
        secret=$(cat "$(dirname "$INTERCEPTOR_CONFIG")/issuer-secret")
        mint() { "$PYTHON" -c "
import json, sys, urllib.request
r = urllib.request.Request('$INTERCEPTOR_ISSUER/admin/tokens', sys.argv[1].encode(), {'authorization': 'Bearer $secret'})
print(json.load(urllib.request.urlopen(r))['token'])" "$1"; }
        for wanted in '{}' '{"expires_in": -60}' '{"audience": "somebody-else"}' '{"signature": "foreign"}' '{"signature": "none"}' \
            '{"claims": {"exp": null}}' '{"claims": {"exp": "2099"}}' '{"header": {"jku": "http://127.0.0.1/"}}' '{"header": {"kid": "nobody"}}'; do
            AGENT_ID_TOKEN=$(mint "$wanted") psql -XAtc "select 'in'" 2>&1 | head -1
        done"#;
    let outcome = Scene::demo().run(script);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 9, "{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(lines[0], "in");
    for line in &lines[1..] {
        assert!(line.ends_with("FATAL:  the agent's identity is not accepted"), "{line}");
    }
}

#[test]
fn a_process_without_any_token_gets_nothing() {
    // `exec env -u` leaves no ancestor in the cgroup that has one.
    let outcome = Scene::demo().run("exec env -u AGENT_ID_TOKEN psql -w -v VERBOSITY=verbose -XAtc 'select 1'");
    assert_ne!(outcome.status, 0);
    assert!(outcome.stderr.contains("the agent's identity is not accepted"), "{}", outcome.stderr);
}

#[test]
fn the_database_sees_the_agent_and_not_what_it_calls_itself() {
    let script = r#"
        PGAPPNAME=liar psql -XAt -c "select current_setting('application_name'), current_setting('interceptor.agent'), current_user <> 'agent'" \
            -c "set application_name = 'liar'" -c "set interceptor.agent = 'liar'" -c "select current_setting('application_name')""#;
    let outcome = Scene::demo().with("--as", "agent:ci-7").run(script);
    // A name that a client gives itself is answered, and changes nothing: pgjdbc cannot connect otherwise.
    assert_eq!(outcome.stdout, "agent:ci-7|agent:ci-7|t\nSET\nagent:ci-7\n", "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("42501").count(), 1, "{}", outcome.stderr);
}

/// What a client calls itself decides nothing, is on record, and can be held against it.
#[test]
fn a_role_that_has_leaked_is_not_for_agents() {
    let folder = std::env::temp_dir().join(format!("interceptor-leaked-{:x}", rand::random::<u64>()));
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    let policies = "@id(\"all\") permit (principal, action, resource);
        @id(\"leaked\") @reason(\"this credential has leaked\") @hint(\"take it out of the .env\")
        forbid (principal, action == PG::Action::\"connect\", resource) when { context.claimed_leaked };
        @id(\"app\") @reason(\"the application's own role\")
        forbid (principal, action == PG::Action::\"connect\", resource) when { context.claimed_role == \"app\" };
        @id(\"job\") @reason(\"this job is not wanted\")
        forbid (principal, action == PG::Action::\"connect\", resource) when { context.claimed.contains(\"CI_JOB_ID=13\") };";
    std::fs::write(folder.join("policies/a.cedar"), policies).unwrap();
    std::fs::write(folder.join("roles"), "# old\nshop_owner\n").unwrap();
    let config = format!("[leaked]\nroles = [\"postgres\"]\nroles_file = \"{}\"\n", folder.join("roles").display());
    std::fs::write(folder.join("further.toml"), config).unwrap();
    let script = r#"
        try() { psql -XAtc 'select 1' "$@" 2>&1 | grep -o '^1$\|has leaked\|own role\|not wanted'; }
        try -U shop_owner; try -U postgres; try -U app; try -U whoever
        CI_JOB_ID=13 try -U whoever
        "$INTERCEPTOR" audit search --event connect --json | grep -o '"claimed_role":"[a-z]*"\|psql -XAtc select 1 -U whoever"'"#;
    let scene = Scene::demo().with("--policies", folder.join("policies")).with("--config", folder.join("further.toml"));
    let outcome = scene.run(script);
    std::fs::remove_dir_all(&folder).unwrap();
    let mut lines: Vec<_> = outcome.stdout.lines().collect();
    lines[5..].sort_unstable();
    let expected = [
        "has leaked",
        "has leaked",
        "own role",
        "1",
        "not wanted",
        "\"claimed_role\":\"whoever\"",
        "psql -XAtc select 1 -U whoever\"",
    ];
    assert_eq!(lines, expected, "{}", outcome.stderr);
}
