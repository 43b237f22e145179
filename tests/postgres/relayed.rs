//! Databases that the daemon has no credential for: the client logs in itself, with a real server at the other end, and what
//! it says afterwards is judged and recorded as ever.

use interceptor_tests::{Authority, PORT, Scene, Server};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const HBA: &str = "
hostssl all scram,other 127.0.0.0/8 scram-sha-256
hostssl all md5 127.0.0.0/8 md5
hostssl all clear 127.0.0.0/8 password
hostnossl all scram,other 127.0.0.0/8 scram-sha-256
hostnossl all clear 127.0.0.0/8 password
";

const SQL: &str = "
create role scram login password 'secret'
create role other login password 'different'
set password_encryption = 'md5'; create role md5 login password 'secret'
create role clear login password 'secret'
create database shop owner scram
";

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("vault") @reason("the vault is closed") forbid (principal, action, resource in PG::Relation::"shop.public.vault");
@id("others") @reason("not as this role") forbid (principal, action == PG::Action::"connect", resource) when { context.role == "other" };
"#;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Only what this test made; that it may be gone already does not matter.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a script as the agent; `tls` is what the entry says of it.
fn play(tls: &str, script: &str) -> (String, String) {
    let folder = Folder(std::env::temp_dir().join(format!("interceptor-relayed-{:x}", rand::random::<u64>())));
    let policies = folder.0.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::write(policies.join("a.cedar"), POLICIES).unwrap();
    let authority = Authority::new("ours");
    let ca = folder.0.join("ca.pem");
    std::fs::write(&ca, authority.certificate()).unwrap();
    std::fs::set_permissions(&ca, std::fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::start(&authority, &[], HBA, SQL);
    let config = folder.0.join("config.toml");
    let tls = tls.replace("CA", &ca.display().to_string());
    std::fs::write(&config, format!("[[upstream]]\nserver = \"*\"\ndatabase = \"*\"\nrelay = true\n{tls}\n")).unwrap();
    let outcome = Scene::demo()
        .with("--config", &config)
        .with("--policies", &policies)
        .with("--postgres", format!("postgresql://scram:secret@{}:{PORT}/shop", server.address))
        .run(&format!("export PGUSER=scram PGPASSWORD=secret\n{script}"));
    (outcome.stdout, format!("{}\n{}", outcome.stderr, server.log()))
}

#[track_caller]
fn check(tls: &str, script: &str, expected: &str) {
    let (said, about) = play(tls, script);
    assert_eq!(said, expected, "{about}");
}

#[test]
fn the_client_logs_in_itself() {
    let script = r#"
        who() { psql -XAtq "$@" -c "select current_user, (select ssl from pg_stat_ssl where pid = pg_backend_pid()), current_setting('interceptor.agent')" 2>&1 | sed 's/.*FATAL:  //' | grep -v '^connection to\|^$'; }
        who; PGUSER=md5 who; PGUSER=clear who
        PGPASSWORD=wrong who
        PGDATABASE=nowhere who
        PGUSER=other PGPASSWORD=different who
        # libpq says that it could have bound the log-in, if it speaks TLS; told not to, it says that it could not.
        PGSSLMODE=require who | cut -c1-80
        PGSSLMODE=require PGCHANNELBINDING=disable who
        PGSSLMODE=require "$PYTHON" -c '
import asyncio, asyncpg
async def main():
    db = await asyncpg.connect(ssl="require")
    print("asyncpg", await db.fetchval("select current_user::text"))
    await db.close()
asyncio.run(main())'
        node -e 'const { Client } = require("pg"); (async () => { const db = new Client({ ssl: { rejectUnauthorized: false } });
            await db.connect(); console.log("node", (await db.query("select current_user as who")).rows[0].who); await db.end(); })()'
        "$INTERCEPTOR" audit search --event statement --json | grep -o '"role": *"[a-z0-9]*"' | sort -u"#;
    check(
        "ca_file = \"CA\"",
        script,
        "scram|t|agent:demo\nmd5|t|agent:demo\nclear|t|agent:demo\n\
         password authentication failed for user \"scram\"\n\
         database \"nowhere\" does not exist\npolicy forbids to connect to shop\nDETAIL:  not as this role\n\
         the client binds its log-in to its own TLS connection, which ends here\nHINT:  connect with channel_binding=disable and sslmode=disable, or have a crede\n\
         scram|t|agent:demo\nasyncpg scram\nnode scram\n\"role\":\"clear\"\n\"role\":\"md5\"\n\"role\":\"scram\"\n",
    );
}

/// In clear text upstream the password is not carried; SCRAM gives nothing away.
#[test]
fn a_password_is_carried_to_a_server_that_has_shown_who_it_is() {
    let script = r#"
        for user in scram clear; do
            PGUSER=$user psql -XAtqc 'select current_user' 2>&1 | sed 's/.*FATAL:  //' | head -1
        done
        PGSSLMODE=require psql -XAtqc 'select current_user'"#;
    check(
        "tls = \"disable\"",
        script,
        "scram\nthe database server wants a password over a connection that it is not sure of, which is not given away\nscram\n",
    );
}

/// The catalogue is read in the agent's own session: what it makes, and what others make, is known.
#[test]
fn what_is_said_afterwards_is_judged() {
    let script = r#"
        "$PYTHON" - <<'EOF'
import psycopg, threading
db = psycopg.connect("", autocommit=True)
def tried(sql, db=db):
    try:
        cursor = db.execute(sql)
        return cursor.fetchall() if cursor.description else cursor.statusmessage
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary
for sql in ("create table t (id int primary key, name text)", "insert into t values (1, 'a')", "select * from t",
            "create table vault (secret text)", "select * from vault", "set search_path = pg_temp_1, public", "select name from t where id = 1",
            "alter table t add column more int default 7", "select more from t", "select * from nowhere"):
    print(tried(sql))
other = psycopg.connect("", autocommit=True)
print(tried("create table late (n int); insert into late values (5)", other), tried("select n from late"))
with db.pipeline():
    cursors = [db.execute("select %s::int + n from late", (n,)) for n in range(100)]
    print(sum(cursor.fetchone()[0] for cursor in cursors))
with db.transaction():
    print(tried("select count(*) from late"), tried("select count(*) from t"))
    print(tried("create table later (n int)", other))
    print(tried("select count(*) from later"))
print(tried("select count(*) from later"))
db.execute("set search_path = pg_catalog")
print(tried("create table public.last (n int)"), tried("select count(*) from public.last"), tried("select * from last"),
      other.execute("select count(*) from last").fetchone(), db.execute("show search_path").fetchone())
threading.Timer(0.5, db.cancel_safe).start()
print(tried("select pg_sleep(30)"), tried("select 1"))
EOF
        "$INTERCEPTOR" audit verify > /dev/null && echo verified"#;
    check(
        "ca_file = \"CA\"",
        script,
        "CREATE TABLE\nINSERT 0 1\n[(1, 'a')]\nCREATE TABLE\n('42501', 'policy forbids to select on public.vault')\n\
         ('42501', 'statement cannot be judged')\n[('a',)]\nALTER TABLE\n[(7,)]\n('42P01', 'relation \"nowhere\" does not exist')\n\
         CREATE TABLE [(5,)]\n5450\n[(1,)] [(1,)]\nCREATE TABLE\n[(0,)]\n[(0,)]\n\
         CREATE TABLE [(0,)] ('42P01', 'relation \"last\" does not exist') (0,) ('pg_catalog',)\n\
         ('57014', 'canceling statement due to user request') [(1,)]\nverified\n",
    );
}

/// Temporary relations are asked for in the agent's own session as well, whoever has logged it in.
#[test]
fn temporary_relations_are_followed() {
    let script = r#"
        psql -XAtq -v VERBOSITY=terse 2>&1 <<'EOF' | sed 's/^psql:<stdin>:[0-9]*: //'
create table vault (secret text);
create table plain (id int primary key, name text);
select secret from vault;
create temp table vault (secret text default 'mine', n serial);
insert into vault default values;
select secret, n from vault;
select secret from public.vault;
create temp table parent (id int primary key);
create temp table child (id int references parent on delete cascade);
insert into parent values (1), (2); insert into child values (1), (2);
delete from parent where id = 1;
select count(*) from child;
create temp table kid () inherits (plain);
insert into kid values (7, 'kid');
select name from plain;
delete from plain where id = 7;
select count(*) from kid;
create function stamp() returns trigger language plpgsql as 'begin new.name := upper(new.name); return new; end';
create trigger stamp before insert on kid for each row execute function stamp();
insert into kid values (8, 'loud') returning name;
create temp view over as select secret from vault;
select * from over;
analyze vault;
drop table vault cascade;
select secret from vault;
select * from over;
begin; create temp table vault (secret text) on commit drop;
select count(*) from vault;
commit;
select count(*) from vault;
EOF
        "$PYTHON" - <<'EOF'
import psycopg
db = psycopg.connect("")
with db.pipeline():
    db.execute("create temp table vault (n int)")
    db.execute("insert into vault select * from generate_series(1, 3)")
    cursor = db.execute("select sum(n) from vault")
print(cursor.fetchone())
try:
    with db.pipeline():
        db.execute("drop table vault")
        db.execute("select * from vault")
except psycopg.Error as error:
    print(error.sqlstate, error.diag.message_primary)
EOF"#;
    check(
        "ca_file = \"CA\"",
        script,
        "ERROR:  policy forbids to select on public.vault\nmine|1\nERROR:  policy forbids to select on public.vault\n1\n\
         kid\n0\nLOUD\nmine\nNOTICE:  drop cascades to view over\nERROR:  policy forbids to select on public.vault\n\
         ERROR:  relation \"over\" does not exist\n0\nERROR:  policy forbids to select on public.vault\n(6,)\n\
         42501 policy forbids to select on public.vault\n",
    );
}
