//! The first start, with nothing filled in: everything works as it did, everything is on record, and the operator is told
//! what would have been refused.

use interceptor_tests::{Authority, Host, Outcome, PORT, Server};

const HBA: &str = "
hostssl all scram 127.0.0.0/8 scram-sha-256
host all plain 127.0.0.0/8 md5
host all open 127.0.0.0/8 trust
host replication open 127.0.0.0/8 trust
";

const SQL: &str = "
create role scram login password 'hers'
set password_encryption = 'md5'; create role plain login password 'his'
create role open login replication
create database shop
\\c shop
create table customers (id int primary key, email text)
insert into customers select n, 'customer' || n || '@shop.example' from generate_series(1, 50) n
create function seven() returns int language plpgsql as 'begin return 7; end'
grant all on customers to scram, plain, open
grant open to scram
";

#[track_caller]
fn check(outcome: &Outcome, expected: &str, log: &str) {
    assert_eq!(outcome.stdout, expected, "{}\n{log}", outcome.stderr);
}

#[test]
fn nothing_breaks_and_everything_is_on_record() {
    let authority = Authority::new("theirs");
    let secure = Server::start(&authority, &[], HBA, SQL);
    let host = Host::installed(|text| text);
    let ask = |settings: &str, statements: &str| {
        let options = "psql -XAt -v ON_ERROR_STOP=1";
        let dsn = format!("host={} port={PORT} dbname=shop {settings}", secure.address);
        host.agent(&format!("{options} \"{dsn}\" <<'END'\n{statements}\nEND"))
    };
    // Each with its own log-in, with TLS or without, as the server has it.
    for settings in
        ["user=scram password=hers", "user=plain password=his", "user=plain password=his sslmode=disable", "user=open"]
    {
        check(
            &ask(settings, "select current_user, count(*) from customers;"),
            &format!("{}|50\n", &settings[5..].split(' ').next().unwrap()),
            &host.log(),
        );
    }
    check(&ask("user=scram password=wrong", "select 1;"), "", "");
    // What policies would forbid, what cannot be followed, and what is refused where they are enforced.
    let script = "
        select email from customers where id = 1;
        update customers set email = 'x' where id = 2;
        delete from customers where id = 3 returning id;
        create temp table t (x int);
        insert into t values (1);
        select * from t;
        set search_path = pg_catalog, public;
        select count(*) from customers;
        set role open;
        reset role;
        set client_min_messages = 'debug1';
        do 'begin perform 1; end';
        select seven();
        set standard_conforming_strings = off;
        select 'a\\\\b';
        reset all;
        show application_name;
        begin; savepoint s; rollback to s; commit;
        copy (select 1) to stdout;
        listen x; notify x, 'y';";
    let expected = "customer1@shop.example
UPDATE 1
3
DELETE 1
CREATE TABLE
INSERT 0 1
1
SET
49
SET
RESET
SET
DO
7
SET
a\\b
RESET
psql
BEGIN
SAVEPOINT
ROLLBACK
COMMIT
1
LISTEN
NOTIFY
Asynchronous notification \"x\" with payload \"y\" received from server process with PID ";
    let outcome = ask("user=scram password=hers", script);
    let said = outcome.stdout.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    assert_eq!(said, expected, "{}\n{}", outcome.stderr, host.log());
    // What is no session of statements at all.
    let replicated = host.agent(&format!(
        "psql -XAt \"host={} port={PORT} user=open replication=database dbname=shop\" -c 'IDENTIFY_SYSTEM' | cut -d'|' -f2",
        secure.address
    ));
    check(&replicated, "1\n", &host.log());
    check(&ask("user=scram password=hers options='-c role=open'", "select current_user;"), "open\n", &host.log());
    // A cancel request finds its way.
    let cancelled = host.agent(&format!(
        "timeout -s INT 1 psql -XAt \"host={} port={PORT} user=open dbname=shop\" -c 'select pg_sleep(60)' 2>&1",
        secure.address
    ));
    assert!(cancelled.stdout.contains("canceling statement due to user request"), "{}", cancelled.stdout);

    let status = host.operator("\"$INTERCEPTOR\" status");
    assert!(status.stdout.contains("To enforce them:\n  1. say who issues"), "{}", status.stdout);
    assert!(status.stdout.contains("  2. give the daemon a credential") && status.stdout.contains("  3. look at"));
    let would = status.stdout.lines().find(|line| line.starts_with("would have refused")).unwrap();
    assert!(would.contains("sessions without an identity") && would.contains("3 sessions unread"), "{would}");
    assert!(!would.contains(" 0 statements"), "{would}");
    let seen =
        host.operator("\"$INTERCEPTOR\" audit search --observed --text 'delete from customers' --json | head -1");
    assert!(seen.stdout.contains("\"subject\":\"unknown\"") && seen.stdout.contains("(observed)"), "{}", seen.stdout);
    let verified = host.operator("\"$INTERCEPTOR\" audit verify");
    assert_eq!(verified.status, 0, "{}", verified.stdout);
    let rotated = host.operator(
        "\"$INTERCEPTOR\" audit rotate-key && \"$INTERCEPTOR\" audit verify && tail -1 \"$INTERCEPTOR_AUDIT/key.pub\"",
    );
    let lines: Vec<_> = rotated.stdout.lines().collect();
    assert_eq!((rotated.status, lines.first()), (0, lines.last()), "{}{}", rotated.stdout, rotated.stderr);
    let metrics = host.operator(&format!("curl -s http://127.0.0.1:{}/metrics", host.metrics));
    for part in [
        "interceptor_connections_total{outcome=\"session\"}",
        "interceptor_statements_total{verb=\"delete\",decision=\"observed\"} 1",
        "interceptor_decision_seconds_bucket",
        "interceptor_audit_records ",
        "# EOF",
    ] {
        assert!(metrics.stdout.contains(part), "{part}\n{}", metrics.stdout);
    }
}

#[test]
fn a_server_without_tls_is_reached_as_before() {
    let bin = std::path::PathBuf::from(interceptor_tests::environment("PG_BIN"));
    let server = Server::start_from(
        &bin,
        &[],
        &[],
        "host all all 127.0.0.0/8 scram-sha-256\n",
        "create role app login password 'hers'",
    );
    let host = Host::installed(|text| text);
    let dsn = format!("host={} port={PORT} dbname=postgres user=app password=hers", server.address);
    let outcome = host.agent(&format!(
        "psql -XAt \"{dsn}\" -c 'select current_user'; psql -XAt \"{dsn} sslmode=require\" -c 'select 1'"
    ));
    check(&outcome, "app\n1\n", &host.log());
}

#[test]
fn what_is_changed_is_said_and_enforcing_ends_what_began_without() {
    let bin = std::path::PathBuf::from(interceptor_tests::environment("PG_BIN"));
    let server = Server::start_from(&bin, &[], &[], "host all all 127.0.0.0/8 trust\n", "create role app login");
    // An issuer that nobody reaches: in this mode that keeps nobody out.
    let issuer = "\n[[identity.issuers]]\nurl = \"https://127.0.0.1:9\"\naudience = \"interceptor\"\nalgorithms = [\"ES256\"]\n\
                  [identity.exchange]\nissuer = \"https://127.0.0.1:9\"\naudience = \"postgres\"\nalgorithms = [\"ES256\"]\n";
    let host = Host::installed(|text| text + issuer);
    let (config, log) = (host.path("interceptor.toml"), host.path("log"));
    let psql = format!("psql -XAt \"host={} port={PORT} dbname=postgres user=app\"", server.address);
    let again = |change: &str| {
        format!("sed -i '{change}' {config}; kill -HUP {pid}; sleep 0.7", config = config.display(), pid = host.pid())
    };
    // A mistake changes nothing; a limit holds from now on; what needs a restart is named.
    host.operator(&again("s/^connections = .*/connections = 0/"));
    assert!(host.log().contains("SIGHUP: the configuration stays as it was"), "{}", host.log());
    host.operator(&again("s/^connections = .*/connections = 1/; s/ports = .5432./ports = [5432, 5433]/"));
    assert!(host.log().contains("limits.connections: 10000 -> 1"), "{}", host.log());
    assert!(host.log().contains("capture.ports[1]: (not set) -> 5433"), "{}", host.log());
    let outcome = host.agent(&format!("{psql} -c 'select pg_sleep(2)' & sleep 0.8; {psql} -c 'select 1' 2>&1; wait"));
    assert!(outcome.stdout.contains("too many connections through interceptor"), "{}", outcome.stdout);
    host.operator(&again("s/^connections = .*/connections = 100/"));

    let enforce = again("s/^mode = .*/mode = \\\"enforce\\\"/");
    // The operator's part is done beside the agent's session, which has begun before.
    let beside = std::thread::spawn({
        let enforce = enforce.replace("\\\"", "\"");
        move || {
            std::thread::sleep(std::time::Duration::from_millis(1500));
            std::process::Command::new("sh").args(["-c", &enforce]).status().unwrap()
        }
    });
    let outcome =
        host.agent(&format!("(echo 'select 1;'; sleep 4; echo 'select 2;') | {psql} 2>&1; {psql} -c 'select 3' 2>&1"));
    assert!(beside.join().unwrap().success());
    let said: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(said.first(), Some(&"1"), "{said:?}");
    assert!(!said.contains(&"2") && !said.contains(&"3"), "{said:?}\n{}", std::fs::read_to_string(log).unwrap());
    assert!(outcome.stdout.contains("the agent's identity is not accepted"), "{said:?}");
    let noted = host.operator("\"$INTERCEPTOR\" audit search --event admin --text 'configuration reloaded' --json");
    assert!(noted.stdout.contains("1 session(s) ended for it"), "{}", noted.stdout);
}
