//! The database's own means tell agents apart: what docs/identity.md shows, run as it stands there.

use crate::workload::PRELUDE;
use interceptor_tests::{PORT, Scene, Server, environment};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What stands in a block of the chapter.
fn block(kind: &str) -> String {
    let chapter = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/identity.md")).unwrap();
    let (_, behind) = chapter.split_once(&format!("```{kind}\n")).unwrap();
    behind.split_once("```").unwrap().0.to_owned()
}

#[test]
fn logs_and_row_security_know_the_agent() {
    let folder = std::env::temp_dir().join(format!("interceptor-attribution-{:x}", rand::random::<u64>()));
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    std::fs::write(folder.join("policies/all.cedar"), "@id(\"all\") permit (principal, action, resource);").unwrap();
    let password = folder.join("password");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = folder.join("config.toml");
    let entry = format!(
        "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"interceptor\"\npassword_file = \"{}\"\ntls = \"disable\"\n",
        password.display()
    );
    std::fs::write(&config, entry).unwrap();

    // In `shop`, as nobody but its owner could.
    let statements = block("sql").replace('\n', " ");
    let sql = format!("create role interceptor login password 'secret'\ncreate database shop\n\\c shop\n{statements}");
    let prefix = block("ini").trim().replace(" = '", "=").trim_end_matches('\'').to_owned();
    let bin = PathBuf::from(environment("PG_BIN"));
    let library = bin.join("../lib/pgaudit.so");
    assert!(library.exists(), "pgAudit is not there for this server: `{}`", library.display());
    let hba = "host all all 127.0.0.0/8 scram-sha-256\n";
    let settings = [&*prefix, "log_statement=all", "shared_preload_libraries=pgaudit", "pgaudit.log=write, ddl"];
    let server = Server::start_from(&bin, &settings, &[], hba, &sql);
    let script = format!(
        r#"{PRELUDE}
        mint '{{"subject": "agent:a", "claims": {{"on_behalf_of": "user:maria"}}}}' > "$DIR/a"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        "$INTERCEPTOR" enroll --cgroup "$CG/b" --token-file "$DIR/b" > /dev/null
        within a psql -XAtc 'select note from tickets' 2>&1
        within a psql -XAtqc "insert into tickets values (3, 'user:maria', 'new')" -c 'select changed_by from tickets where id = 3' 2>&1
        within b psql -XAtc 'select count(*) from tickets' 2>&1
        rm -rf "$DIR""#
    );
    let dsn = format!("postgresql://postgres:none@{}:{PORT}/shop", server.address);
    let scene =
        Scene::demo().with("--postgres", dsn).with("--config", &config).with("--policies", folder.join("policies"));
    let outcome = scene.run(&script);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(outcome.stdout, "hers\nagent:a\n0\n", "{}\n{}", outcome.stderr, server.log());
    let log = server.log();
    let line = log.lines().find(|line| line.contains("select note from tickets")).unwrap();
    assert!(line.contains(" interceptor@shop agent:a "), "{line}");
    let line = log.lines().find(|line| line.contains("AUDIT: SESSION") && line.contains("WRITE,INSERT")).unwrap();
    let by_agent =
        log.lines().filter(|line| line.contains("AUDIT: SESSION") && line.contains(" interceptor@shop agent:a "));
    assert_eq!(by_agent.count(), 1, "{line}\n{log}");
}
