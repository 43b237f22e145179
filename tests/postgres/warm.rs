//! Connections that are logged in beforehand: each is one session's, under the number that the record knows it by.

use interceptor_tests::{PORT, Scene, Server, environment};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Settings of its own for every third client; what waits has been made for those of the one before.
const SCRIPT: &str = r#"
for number in $(seq 12); do
    if [ $((number % 3)) = 0 ]; then export PGOPTIONS="-c statement_timeout=${number}s"; else unset PGOPTIONS; fi
    psql -XAtq <<SQL
RESET ALL;
SELECT pg_backend_pid(), current_setting('interceptor.session'), current_setting('interceptor.agent'), current_setting('statement_timeout'),
       backend_start < now() - interval '250 ms' FROM pg_stat_activity WHERE pid = pg_backend_pid();
SQL
    sleep 0.4
done
echo
cat "$INTERCEPTOR_AUDIT"/*.jsonl
"#;

#[test]
fn what_waits_is_used_once_and_is_known_by_its_number() {
    let folder = std::env::temp_dir().join(format!("interceptor-warm-{:x}", rand::random::<u64>()));
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    std::fs::write(folder.join("policies/all.cedar"), "@id(\"all\") permit (principal, action, resource);").unwrap();
    let password = folder.join("password");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = folder.join("config.toml");
    let entry = format!(
        "[daemon]\nthreads = 1\n[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"interceptor\"\npassword_file = \"{}\"\ntls = \"disable\"\nwarm = 2\n",
        password.display()
    );
    std::fs::write(&config, entry).unwrap();
    let server = Server::start_from(
        &PathBuf::from(environment("PG_BIN")),
        &[],
        &[],
        "host all all 127.0.0.0/8 scram-sha-256\n",
        "create role interceptor login superuser password 'secret'\ncreate database shop",
    );
    let dsn = format!("postgresql://postgres:none@{}:{PORT}/shop", server.address);
    let scene =
        Scene::demo().with("--postgres", dsn).with("--config", &config).with("--policies", folder.join("policies"));
    let outcome = scene.run(SCRIPT);
    std::fs::remove_dir_all(&folder).unwrap();

    let (said, record) = outcome.stdout.split_once("\n\n").unwrap_or_else(|| panic!("{}", outcome.stderr));
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(rows.len(), 12, "{said}\n{}", outcome.stderr);
    let backends: BTreeSet<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(backends.len(), 12, "one was used twice: {said}");
    let recorded: BTreeMap<String, u64> = record
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|record| record["outcome"].is_object())
        .filter_map(|record| Some((record["session"].as_str()?.to_owned(), record["outcome"]["backend_pid"].as_u64()?)))
        .collect();
    for (number, row) in (1..).zip(&rows) {
        assert_eq!(recorded.get(row[1]).map(u64::to_string).as_deref(), Some(row[0]), "{row:?}\n{record}");
        assert_eq!(row[2], "agent:demo", "{said}");
        let patience = if number % 3 == 0 { format!("{number}s") } else { "0".to_owned() };
        assert_eq!(row[3], patience, "{said}");
        // The first of a kind finds nothing; the second of two of a kind finds what the first has had made.
        assert_eq!(row[4], if number % 3 == 2 { "t" } else { "f" }, "{number}: {said}");
    }
}
