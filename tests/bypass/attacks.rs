//! The SQL attack cases, each with an oracle: what must not be in any byte that the agent gets, what must not have happened
//! in the database, and, for the look-alikes, what must have worked.
//!
//! `attacks/cases.jsonl` is data; the cases name their policies in words, which `attacks/policies.py` turns into Cedar.
//! Everything goes through the real redirect to a real server.

use interceptor_tests::environment;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn no_case_gets_what_it_is_after() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass/attacks");
    let folder = std::env::temp_dir().join(format!("interceptor-attacks-{}", std::process::id()));
    let policies = folder.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    let python = || {
        let mut python = Command::new(environment("PYTHON"));
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    let run = here.join("run.py");
    assert!(python().arg(&run).arg("prepare").arg(&policies).status().unwrap().success());

    let mut config = String::new();
    for (pattern, user, password) in
        [("*_rw_*", "agent_rw", "gateway-only-rw"), ("*_su_*", "agent_super", "gateway-only-su")]
    {
        let file = folder.join(user);
        std::fs::write(&file, password).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        config += &format!(
            "[[upstream]]\nserver = \"*\"\ndatabase = \"{pattern}\"\nuser = \"{user}\"\npassword_file = \"{}\"\n",
            file.display()
        );
    }
    std::fs::write(folder.join("further.toml"), config).unwrap();

    let socket = folder.join("agent.sock");
    let mut product = Command::new(environment("XTASK"));
    product.arg("run").arg("--init").arg(here.join("schema.sql")).arg("--policies").arg(&policies);
    product.arg("--config").arg(folder.join("further.toml")).arg("--").arg(environment("PYTHON"));
    product.arg(here.join("agent.py")).arg(&socket).stdin(Stdio::null());
    let mut product = product.spawn().unwrap();
    let only = std::env::var("INTERCEPTOR_TEST_ONLY").unwrap_or_default();
    let output = python().arg(&run).arg("run").arg(&socket).arg(only).stderr(Stdio::inherit()).output().unwrap();
    // The agent ends with its conversation, and the product with the agent.
    let status = product.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(status.success(), "the product ended with {status}");
}
