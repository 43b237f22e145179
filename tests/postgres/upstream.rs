//! TLS between the daemon and databases, with a real server: who is believed, how the daemon logs in, what it gives away.

use interceptor_tests::{Authority, PORT, Scene, Server, environment};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Files of one test; removed also when it fails.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("interceptor-upstream-{:x}", rand::random::<u64>()));
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(path.join("policies")).unwrap();
        std::fs::write(path.join("policies/a.cedar"), "@id(\"all\") permit (principal, action, resource);").unwrap();
        let folder = Self(path);
        folder.write("password", "secret");
        folder
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

const HBA: &str = "
hostssl all scram 127.0.0.0/8 scram-sha-256
hostssl all md5 127.0.0.0/8 md5
hostssl all clear 127.0.0.0/8 password
hostssl all nothing 127.0.0.0/8 trust
hostssl all cert 127.0.0.0/8 cert
hostnossl all scram 127.0.0.0/8 scram-sha-256
";

const SQL: &str = "
create role scram login password 'secret'
set password_encryption = 'md5'; create role md5 login password 'secret'
create role clear login password 'secret'
create role nothing login
create role cert login
create database shop
";

/// A database in the agent's DSN, which names the entry, and what its `[[upstream]]` says.
struct Case {
    name: &'static str,
    entry: String,
    /// What the agent reads, or the reason on record.
    expected: &'static str,
}

#[test]
fn who_is_believed_and_what_is_given_away() {
    let folder = Folder::new();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = folder.write("ca.pem", &ours.certificate());
    let other = folder.write("other.pem", &theirs.certificate());
    let (certificate, key) = ours.issue("cert", &[]);
    let (certificate, key) = (folder.write("client.pem", &certificate), folder.write("client.key", &key));
    let (strange, strange_key) = theirs.issue("cert", &[]);
    let (strange, strange_key) = (folder.write("strange.pem", &strange), folder.write("strange.key", &strange_key));

    let case = |name, entry: &str, expected| Case { name, entry: entry.to_owned(), expected };
    let full = format!("ca_file = \"{ca}\"");
    let named = |name: &str| format!("{full}\nserver_name = \"{name}\"");
    let with_key =
        |certificate: &str, key: &str| format!("{full}\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"");
    let cases = [
        case("scram_full", &full, "scram t"),
        case("scram_named", &named("db.example"), "scram t"),
        case("scram_ca", &format!("tls = \"verify-ca\"\n{}", named("other.example")), "scram t"),
        case("scram_require", "tls = \"require\"", "scram t"),
        case("scram_disable", "tls = \"disable\"", "scram f"),
        case("md5_full", &full, "md5 t"),
        case("clear_full", &full, "clear t"),
        case("nothing_full", &full, "nothing t"),
        case("cert_full", &with_key(&certificate, &key), "cert t"),
        // The host trusts nobody who would vouch for this server.
        case(
            "scram_default",
            "",
            "the TLS handshake with the database server failed: invalid peer certificate: UnknownIssuer",
        ),
        case(
            "scram_wrong_ca",
            &format!("ca_file = \"{other}\""),
            "the TLS handshake with the database server failed: invalid peer certificate: UnknownIssuer",
        ),
        case(
            "scram_wrong_name",
            &named("other.example"),
            "the TLS handshake with the database server failed: invalid peer certificate: certificate not valid for name \"other.example\"",
        ),
        // To nobody in particular nothing is given away that could be used again.
        case(
            "md5_require",
            "tls = \"require\"",
            "the database server wants an MD5 password over a connection that it is not sure of, which is not given away",
        ),
        case(
            "clear_require",
            "tls = \"require\"",
            "the database server wants the password in clear text over a connection that it is not sure of, which is not given away",
        ),
        case("cert_none", &full, "the database server refused: connection requires a valid client certificate (28000)"),
        case("cert_strange", &with_key(&strange, &strange_key), "the connection to the database server was lost"),
        case(
            "clear_none",
            &format!("{full}\npassword_file_not = 1"),
            "the database server wants a password, and there is none: its [[upstream]] has none",
        ),
    ];
    let sql = cases.iter().fold(SQL.to_owned(), |sql, case| format!("{sql}create database {}\n", case.name));
    let server = Server::start(&ours, &["db.example"], HBA, &sql);
    let entry = |case: &Case| {
        let role = case.name.split('_').next().unwrap();
        // A client certificate in place of the password where there is to be none.
        let (entry, password) = match case.entry.strip_suffix("\npassword_file_not = 1") {
            Some(entry) => {
                (format!("{entry}\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\""), String::new())
            }
            None if role == "cert" && case.entry.contains("key_file") => (case.entry.clone(), String::new()),
            None => (case.entry.clone(), format!("password_file = \"{}\"\n", folder.path("password").display())),
        };
        format!("[[upstream]]\nserver = \"*\"\ndatabase = \"{}\"\nuser = \"{role}\"\n{password}{entry}\n", case.name)
    };
    let config = cases.iter().map(entry).collect::<String>();
    let names = cases.iter().map(|case| case.name).collect::<Vec<_>>().join(" ");
    let script = format!(
        r#"
        for database in {names}; do
            psql -XAt -F ' ' -d $database -c 'select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()' 2> /dev/null |
                sed "s/^/$database /"
        done
        "$INTERCEPTOR" audit search --event refusal --json"#
    );
    let outcome = run(&folder, &server, &config, &script);
    let reasons: Vec<Value> = outcome.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for case in &cases {
        let said = outcome.lines().find_map(|line| line.strip_prefix(&format!("{} ", case.name)));
        let refusal = reasons.iter().find(|record| record["database"] == case.name);
        let said = said.or_else(|| refusal.and_then(|record| record["statement"].as_str()));
        let said = said.unwrap_or_default();
        assert!(said.starts_with(case.expected), "{}: {said}\n{outcome}\n{}", case.name, server.log());
    }
}

#[test]
fn a_server_without_tls_is_not_spoken_to() {
    let folder = Folder::new();
    let config = format!(
        "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"u\"\npassword_file = \"{}\"\n",
        folder.path("password").display()
    );
    let config = folder.write("config.toml", &config);
    let script = r#"psql -XAtc 'select 1' 2>&1; "$INTERCEPTOR" audit search --event refusal --json"#;
    let outcome = Scene::demo().with("--config", &config).run(script);
    assert!(outcome.stdout.contains("the database server did not let interceptor in"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("the database server has no TLS, which `tls` of its [[upstream]] asks for"),
        "{}",
        outcome.stdout
    );
}

/// A statement that is stopped, by the agent or by a limit, is stopped over TLS as well.
#[test]
fn cancel_goes_upstream_over_tls() {
    let folder = Folder::new();
    let ours = Authority::new("ours");
    let policies = "@id(\"all\") permit (principal, action, resource);
        @id(\"four-seconds\") @timeout(\"4s\") forbid (principal, action == PG::Action::\"connect\", resource);";
    std::fs::write(folder.path("policies/a.cedar"), policies).unwrap();
    // Nothing but TLS leads in, for cancel requests neither.
    let server = Server::start(&ours, &[], "hostssl all scram 127.0.0.0/8 scram-sha-256\n", SQL);
    let config = format!(
        "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"scram\"\npassword_file = \"{}\"\nca_file = \"{}\"\n",
        folder.path("password").display(),
        folder.write("ca.pem", &ours.certificate())
    );
    let script = r#"
        psql -XAtc 'select pg_sleep(60)' 2>&1
        psql -XAtc "copy (select repeat('x', 1000) from generate_series(1, 30000)) to stdout" | wc -c
        (timeout --foreground --signal=INT 2 psql -XAtc 'select pg_sleep(60)' 2>&1; true)
        psql -XAtc 'select 5'"#;
    let said = run(&folder, &server, &config, script);
    assert!(said.contains("\n30030000\n"), "{said}");
    let [limited, .., cancelled, five] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!(limited, "ERROR:  the statement took longer than 4 s, which is the limit", "{}", server.log());
    assert_eq!((cancelled, five), ("ERROR:  canceling statement due to user request", "5"), "{}", server.log());
    let stopped = server.log().matches("ERROR:  canceling statement due to user request").count();
    assert_eq!(stopped, 2, "{}", server.log());
}

fn run(folder: &Folder, server: &Server, config: &str, script: &str) -> String {
    let config = folder.write("config.toml", config);
    let dsn = format!("postgresql://scram:secret@{}:{PORT}/shop", server.address);
    let scene =
        Scene::demo().with("--postgres", dsn).with("--config", config).with("--policies", folder.path("policies"));
    let outcome = scene.run(script);
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

/// A program that ends TLS with a certificate of its own and passes everything on.
struct Between(Child);

impl Between {
    fn start(listen: Ipv4Addr, server: &Server, certificate: &str, key: &str, strip: bool) -> Self {
        let mut command = Command::new(environment("PYTHON"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/postgres/between.py"));
        command.args([&listen.to_string(), &server.address.to_string(), certificate, key]);
        command.args(strip.then_some("strip"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Under `require` anybody can stand in between. The log-in notices: it is bound to the certificate, and where the offer of
/// binding it is taken away, the server hears of that.
#[test]
fn the_log_in_is_bound_to_the_channel() {
    let folder = Folder::new();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = Server::start(&ours, &[], HBA, SQL);
    let (certificate, key) = theirs.issue("between", &["between.example"]);
    let (certificate, key) = (folder.write("between.pem", &certificate), folder.write("between.key", &key));
    let (passes, strips) = (Server::address(), Server::address());
    let _between = [(passes, false), (strips, true)]
        .map(|(listen, strip)| Between::start(listen, &server, &certificate, &key, strip));
    let config = format!(
        "[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nuser = \"scram\"\npassword_file = \"{}\"\ntls = \"require\"\n",
        folder.path("password").display()
    );
    let script = format!(
        r#"
        psql -XAtc 'select 1'
        for between in {passes} {strips}; do psql -XAtc 'select 2' -h $between 2> /dev/null; done
        "$INTERCEPTOR" audit search --event refusal --json | grep -o 'the database server refused: [^"]*'"#
    );
    assert_eq!(
        run(&folder, &server, &config, &script),
        "1\nthe database server refused: SCRAM channel binding check failed (28000)\n\
         the database server refused: SCRAM channel binding negotiation error (28000)\n",
        "{}",
        server.log()
    );
}

/// The daemon does not start with what it could not use, and says why.
#[test]
fn mistakes_are_found_at_the_start() {
    let folder = Folder::new();
    let ours = Authority::new("ours");
    let ca = folder.write("ca.pem", &ours.certificate());
    let (certificate, key) = ours.issue("cert", &[]);
    let (certificate, key) = (folder.write("client.pem", &certificate), folder.write("client.key", &key));
    let (_, foreign) = ours.issue("other", &[]);
    let foreign = folder.write("foreign.key", &foreign);
    let password = folder.path("password").display().to_string();
    let check = |entry: &str, expected: &str| {
        let config = format!(
            "identity = {{ issuers = [{{ url = \"https://127.0.0.1:1\", audience = \"a\", algorithms = [\"ES256\"] }}], exchange = {{ issuer = \"https://127.0.0.1:1\", audience = \"b\" }} }}\npolicy = {{ dir = \"{}\" }}\naudit = {{ dir = \"{}\" }}\n[[upstream]]\nserver = \"a\"\ndatabase = \"*\"\nuser = \"u\"\n{entry}\n",
            folder.path("policies").display(),
            folder.path("audit").display()
        );
        let config = folder.write("config.toml", &config);
        let output = Command::new(environment("BIN")).args(["doctor", "--json", "--config", &config]).output().unwrap();
        let lines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let line = lines.iter().find(|line| line["what"] == "credentials").or(lines.last()).unwrap();
        assert!(line["detail"].as_str().unwrap().contains(expected), "{entry}: {line}");
    };
    let password = format!("password_file = \"{password}\"");
    check(&format!("{password}\nca_file = \"{ca}\""), "1 upstream(s)");
    check(&format!("{password}\ntls = \"disable\""), "1 upstream(s)");
    check(&format!("certificate_file = \"{certificate}\"\nkey_file = \"{key}\""), "1 upstream(s)");
    check(
        &format!("certificate_file = \"{certificate}\"\nkey_file = \"{foreign}\""),
        "the key does not go with the certificate",
    );
    check("", "the [[upstream]] for `a` has no password");
    check(&format!("{password}\noauth = true"), "has more than one of");
    check(&format!("{password}\nca_file = \"{}\"", key_of(&folder)), "holds no certificate in PEM that can be used");
    check(&format!("{password}\ntls = \"prefer\""), "which is for `relay` only");
    check("relay = true", "has `relay`, and so no `user` and nothing to log in with");
    check(&format!("{password}\ntls = \"require\"\nca_file = \"{ca}\""), "does not look at certificates");
    std::fs::set_permissions(Path::new(&key), std::fs::Permissions::from_mode(0o644)).unwrap();
    check(&format!("certificate_file = \"{certificate}\"\nkey_file = \"{key}\""), "can be read by others");
}

/// Also without a daemon: what is configured is tried.
#[test]
fn the_doctor_tries_who_is_depended_on() {
    let folder = Folder::new();
    let server = Server::start(
        &Authority::new("doctor"),
        &[],
        "host all all 127.0.0.0/8 scram-sha-256",
        "\ncreate role gateway login password 'right'\ncreate database shop\n",
    );
    let policies = folder.path("policies").display().to_string();
    let password = folder.write("password", "right\n");
    std::fs::set_permissions(Path::new(&password), std::fs::Permissions::from_mode(0o400)).unwrap();
    let doctor = |database: &str, user: &str| {
        let config = format!(
            "identity = {{ issuers = [{{ url = \"https://127.0.0.1:1\", audience = \"a\", algorithms = [\"ES256\"] }}], exchange = {{ issuer = \"https://127.0.0.1:1\", audience = \"b\" }} }}\npolicy = {{ dir = \"{policies}\" }}\naudit = {{ dir = \"{0}\" }}\nadmin = {{ socket = \"{0}/nobody.sock\" }}\n[[upstream]]\nserver = \"{1}:{PORT}\"\ndatabase = \"{database}\"\nuser = \"{user}\"\npassword_file = \"{password}\"\ntls = \"disable\"\n",
            folder.path("audit").display(),
            server.address,
        );
        let config = folder.write("config.toml", &config);
        let output = Command::new(environment("BIN")).args(["doctor", "--json", "--config", &config]).output().unwrap();
        let lines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let of = |what: &str| {
            let line = lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("no {what}: {lines:?}"));
            format!("{} {}", line["ok"], line["detail"].as_str().unwrap())
        };
        assert!(of("issuer").starts_with("false https://127.0.0.1:1: cannot use"), "{}", of("issuer"));
        assert!(lines.iter().any(|line| line["what"] == "clock"), "{lines:?}");
        of("database")
    };
    let check = |database: &str, user: &str, expected: &str| {
        let said = doctor(database, user);
        assert!(said.starts_with(expected), "{said}");
    };
    let at = format!("at {}:{PORT}", server.address);
    check("shop", "gateway", &format!("true shop {at} lets in gateway to shop, PostgreSQL 15"));
    check("*", "gateway", &format!("true * {at} lets in gateway to postgres, PostgreSQL 15"));
    check("shop", "nobody", &format!("false shop {at}: the database server refused"));
    check("bazaar", "gateway", &format!("false bazaar {at}: the database server refused"));
}

fn key_of(folder: &Folder) -> String {
    folder.path("client.key").display().to_string()
}
