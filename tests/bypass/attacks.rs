//! The SQL attack cases, each with an oracle: what must not be in any byte that the agent gets, what must not have happened
//! in the database, and, for the look-alikes, what must have worked. And statements made at random, for what nobody has
//! thought of.
//!
//! `attacks/cases.jsonl` is data, and so is what later reviews thought of, `approvals.jsonl` and `further.jsonl`; the cases
//! name their policies in words, which `attacks/policies.py` turns into Cedar.
//! Everything goes through the real redirect to a real server.

use interceptor_tests::environment;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass/attacks")
}

fn python(script: &str) -> Command {
    let mut python = Command::new(environment("PYTHON"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(here().join(script));
    python
}

/// Runs a judge outside against an agent inside, on the attack schema.
fn play(agent: &str, folder: &Folder, policies: &Path, further: Option<&Path>, mut judge: Command) {
    let socket = folder.0.join("agent.sock");
    let mut product = Command::new(environment("XTASK"));
    product.arg("run").arg("--init").arg(here().join("schema.sql")).arg("--policies").arg(policies);
    if let Some(file) = further {
        product.arg("--config").arg(file);
    }
    product.arg("--").arg(environment("PYTHON")).arg(here().join(agent)).arg(&socket);
    let mut product = product.stdin(Stdio::null()).spawn().unwrap();
    let output = judge.stderr(Stdio::inherit()).output().unwrap();
    // The agent ends with its conversation, and the product with the agent; without one somebody has to tell it.
    if !output.status.success() {
        drop(Command::new("kill").arg(product.id().to_string()).status());
    }
    let status = product.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(status.success(), "the product ended with {status}");
}

/// Further configuration: who the daemon logs in as, by database, and whatever else there is to say.
fn further(folder: &Folder, logins: &[(&str, &str, &str)], rest: &str) -> PathBuf {
    let mut config = rest.to_owned();
    for (pattern, user, password) in logins {
        let file = folder.0.join(user);
        std::fs::write(&file, password).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        config += &format!(
            "[[upstream]]\nserver = \"*\"\ndatabase = \"{pattern}\"\nuser = \"{user}\"\npassword_file = \"{}\"\ntls = \"disable\"\n",
            file.display()
        );
    }
    let further = folder.0.join("further.toml");
    std::fs::write(&further, config).unwrap();
    further
}

#[test]
fn no_case_gets_what_it_is_after() {
    let folder = Folder::new("attacks");
    let policies = folder.0.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    assert!(python("run.py").arg("prepare").arg(&policies).status().unwrap().success());

    // Nobody approves anything: what is held is refused when its time is over.
    let further = further(
        &folder,
        &[("*_rw_*", "agent_rw", "gateway-only-rw"), ("*_su_*", "agent_super", "gateway-only-su")],
        "[approval]\ntimeout_seconds = 1\nrequests_per_minute = 1000\n",
    );
    let only = std::env::var("INTERCEPTOR_TEST_ONLY").unwrap_or_default();
    let mut judge = python("run.py");
    judge.arg("run").arg(folder.0.join("agent.sock")).arg(only);
    play("agent.py", &folder, &policies, Some(&further), judge);
}

/// A human approves all but the last statement of each approval case: what was approved is not good for that one.
#[test]
fn what_was_approved_is_good_for_nothing_else() {
    let folder = Folder::new("approvals");
    let policies = folder.0.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    assert!(python("run.py").arg("prepare").arg(&policies).status().unwrap().success());
    let logins = [("*_rw_*", "agent_rw", "gateway-only-rw"), ("*_su_*", "agent_super", "gateway-only-su")];
    let further = further(&folder, &logins, "[approval]\ntimeout_seconds = 10\nrequests_per_minute = 1000\n");
    let only = std::env::var("INTERCEPTOR_TEST_ONLY").unwrap_or_else(|_| "approval-".to_owned());
    let mut judge = python("run.py");
    judge.arg("approvals").arg(folder.0.join("agent.sock")).arg(only);
    play("agent.py", &folder, &policies, Some(&further), judge);
}

/// Bytes that no driver sends, connections that come and go at the wrong time, servers that are not what they should be.
#[test]
fn no_byte_gets_what_it_is_after() {
    let folder = Folder::new("wire");
    let policies = folder.0.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    assert!(python("wire.py").arg("prepare").arg(&policies).status().unwrap().success());
    let logins = [("*_rw_*", "agent_rw", "gateway-only-rw"), ("wiredb", "agent_rw", "gateway-only-rw")];
    let further = further(&folder, &logins, "[limits]\nstalled_seconds = 5\n");
    let only = std::env::var("INTERCEPTOR_TEST_ONLY").unwrap_or_default();
    let mut judge = python("wire.py");
    judge.arg("run").arg(folder.0.join("agent.sock")).arg(only);
    play("wire_agent.py", &folder, &policies, Some(&further), judge);
}

/// `INTERCEPTOR_TEST_FUZZ_SECONDS` lets it go on for longer; the seed that it prints repeats it.
#[test]
fn random_statements_get_nothing_that_is_masked() {
    let folder = Folder::new("fuzz");
    let seconds = std::env::var("INTERCEPTOR_TEST_FUZZ_SECONDS").unwrap_or_else(|_| "20".to_owned());
    let mut judge = python("fuzz.py");
    judge.arg(folder.0.join("agent.sock")).arg(seconds);
    play("agent.py", &folder, &here().join("fuzz"), None, judge);
}
