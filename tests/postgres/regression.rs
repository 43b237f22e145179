//! PostgreSQL's own regression tests through the redirect, under a policy that allows everything: what psql prints is what it
//! prints directly, on a server of the same version that has had the same done to it.
//!
//! `regression.txt` names the tests of `parallel_schedule` that come out the same and do not take long;
//! `docs/regression.md` says what comes of the others, and why.

use interceptor_tests::{Authority, PORT, Scene, Server, environment};
use std::path::{Path, PathBuf};
use std::process::Command;

const HBA: &str = "host all all 127.0.0.0/8 scram-sha-256";

/// As `pg_regress` makes its database.
const SQL: &str = "
create role super superuser login password 'secret'
create database regression template template0
alter database regression set lc_messages to 'C'
alter database regression set lc_monetary to 'C'
alter database regression set lc_numeric to 'C'
alter database regression set lc_time to 'C'
alter database regression set bytea_output to 'hex'
alter database regression set timezone_abbreviations to 'Default'
";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Only what this test made; that it may be gone already does not matter.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_psql_prints_is_what_it_prints_directly() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres");
    let folder = Folder(std::env::temp_dir().join(format!("interceptor-regression-{:x}", rand::random::<u64>())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let names = std::fs::read_to_string(tests.join("regression.txt")).unwrap();
    let names: Vec<&str> = names.split_whitespace().collect();
    let (player, sources) = (tests.join("regression.py"), PathBuf::from(environment("REGRESSION")));
    let server = || Server::start(&Authority::new("regression"), &[], HBA, SQL);

    let directly = |server: &Server, into: &str, names: &[&str]| {
        let played = Command::new(environment("PYTHON"))
            .arg(&player)
            .arg(&sources)
            .arg(folder.0.join(into))
            .args(names)
            .env("PGHOST", server.address.to_string())
            .env("PGUSER", "super")
            .env("PGPASSWORD", "secret")
            .env("PGDATABASE", "regression")
            .output()
            .unwrap();
        assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    };
    // It copies from files of the server, which nobody may through the daemon.
    let setup = ["test_setup"];

    let intercepted = server();
    directly(&intercepted, "setup", &setup);
    let script = format!(
        r#""$PYTHON" {} {} {}/through {}"#,
        player.display(),
        sources.display(),
        folder.0.display(),
        names.join(" ")
    );
    let scene = Scene::demo()
        .with("--postgres", format!("postgresql://super:secret@{}:{PORT}/regression", intercepted.address))
        .with("--policies", tests.join("drivers/open"));
    let outcome = scene.run(&script);
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    drop(intercepted);

    let direct = server();
    directly(&direct, "setup", &setup);
    directly(&direct, "direct", &names);

    let (mut differing, mut statements) = (Vec::new(), 0);
    for name in names {
        let read = |from: &str| std::fs::read(folder.0.join(from).join(format!("{name}.out"))).unwrap();
        let (through, direct) = (read("through"), read("direct"));
        statements += direct.iter().filter(|byte| **byte == b';').count();
        if through != direct {
            let both = ["direct", "through"].map(|from| folder.0.join(from).join(format!("{name}.out")));
            let diff = Command::new("diff").args(both).output().unwrap();
            differing.push(format!("{name}\n{}", String::from_utf8_lossy(&diff.stdout)));
        }
    }
    assert_eq!(differing, Vec::<String>::new(), "{}", differing.join("\n"));
    assert!(statements > 8000, "{statements} statements");
}
