//! A minute (`INTERCEPTOR_TEST_SOAK_SECONDS` for more) of mixed load while everything around it fails.

use crate::workload::PRELUDE;
use interceptor_tests::{PORT, Scene, Server, environment};
use std::path::{Path, PathBuf};

const SECONDS: u32 = 60;

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("mail") @mask("redact") forbid (principal, action == PG::Action::"select", resource is PG::Column)
when { resource.labels.contains("personal") };
"#;

#[test]
fn under_load_and_failures_nothing_is_lost_and_nobody_is_somebody_else() {
    let seconds = std::env::var("INTERCEPTOR_TEST_SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let folder = std::env::temp_dir().join(format!("interceptor-soak-{:x}", rand::random::<u64>()));
    let policies = folder.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::write(policies.join("all.cedar"), POLICIES).unwrap();
    let sql = "create role gateway login superuser password 'secret'\ncreate database shop\n\\c shop\n\
               create table people (id int primary key, email text)\n\
               comment on column people.email is 'interceptor: label=personal'\n\
               insert into people select n, 'p' || n || '@shop.example' from generate_series(1, 9) n\n\
               create table done (key text)";
    let bin = PathBuf::from(environment("PG_BIN"));
    let server = Server::start_from(
        &bin,
        &["max_connections=80"],
        &[],
        "host all gateway 127.0.0.0/8 scram-sha-256\nhost all postgres 127.0.0.0/8 trust\n",
        sql,
    );
    let password = folder.join("password");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = folder.join("config.toml");
    let entry = format!(
        "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"gateway\"\npassword_file = \"{}\"\ntls = \"disable\"\n",
        password.display()
    );
    std::fs::write(&config, entry).unwrap();
    let soak = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/soak.py");
    let script = format!(
        r#"{PRELUDE}
        export PGUSER=agent_without_a_role PGDATABASE=shop INTERCEPTOR_UPSTREAM="postgresql://postgres@{address}:{PORT}/shop"
        "$PYTHON" {soak} {seconds} "$DIR/a" "$DIR/b" "$CG" {policies} $PPID {postmaster}
        rm -rf "$DIR""#,
        address = server.address,
        soak = soak.display(),
        policies = policies.display(),
        postmaster = server.pid(),
    );
    let dsn = format!("postgresql://agent_without_a_role:none@{}:{PORT}/shop", server.address);
    let scene = Scene::demo().with("--postgres", dsn).with("--config", &config).with("--policies", &policies);
    let outcome = scene.run(&script);
    std::fs::remove_dir_all(&folder).unwrap();
    let facts: Vec<_> = outcome.stdout.lines().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(
        facts,
        [
            "enough True",
            "wrong identity or unmasked 0",
            "twice in the database 0",
            "in the database and not on record 0",
            "on record more than once 0",
            "on record and never asked for 0",
            "rolled back and there all the same 0",
            "trail stands True",
            "memory flat True",
        ],
        "{}\n{}",
        outcome.stdout,
        outcome.stderr
    );
    // Whoever had gone past the daemon would have been this role.
    let direct = server.log().matches("agent_without_a_role").count();
    assert_eq!(direct, 0, "somebody connected directly");
    println!("{}", outcome.stdout);
}
