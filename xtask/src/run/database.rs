//! The demo's PostgreSQL server: made, filled, and thrown away.

use super::{cgroup::Cgroup, dsn::Dsn, signals::send, state};
use crate::{
    issuer::secret,
    progress::{quietly, step},
    workspace::{myself, root},
};
use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::Signal,
    unistd::{User, chown},
};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The port that everybody dials: only the address differs between runs.
const PORT: u16 = 5432;

const SUPERUSER: &str = "postgres";

/// The role that the daemon logs in with: the account that can do too much.
const GATEWAY: &str = "interceptor";

/// The role that owns the demo's objects, for looking at the database from outside.
const OWNER: &str = "shop_owner";

const NAME: &str = "shop";

const PATIENCE: Duration = Duration::from_secs(30);

/// A server of our own.
pub(super) struct Server {
    child: Child,
    dir: PathBuf,
    _cgroup: Cgroup,
}

/// A server and the ways into it.
pub(super) struct Database {
    /// Where agents dial, and the daemon's credential there.
    pub(super) gateway: Dsn,
    /// The way in for whoever is outside the agents' cgroup.
    pub(super) direct: Dsn,
    /// The server, unless it is somebody else's.
    _server: Option<Server>,
}

impl Database {
    /// Somebody else's.
    pub(super) fn given(dsn: &str) -> Result<Self> {
        let dsn = Dsn::read(dsn)?;
        Ok(Self { gateway: dsn.clone(), direct: dsn, _server: None })
    }

    /// Our own, filled with the demo or with the given files.
    pub(super) fn start(bin: &Path, cgroup: Cgroup, init: &[PathBuf]) -> Result<Self> {
        let address = address(process::id());
        let login = |user: &str, password: String| Dsn {
            host: address.to_string(),
            port: PORT,
            database: NAME.to_owned(),
            user: user.to_owned(),
            password,
        };
        let (superuser, gateway, direct) =
            (login(SUPERUSER, secret()), login(GATEWAY, secret()), login(OWNER, secret()));
        let server = step("starting PostgreSQL", || Server::start(bin, cgroup, &superuser))?;
        step("filling the database", || {
            let psql = Psql { bin, superuser: &superuser };
            psql.run(
                "postgres",
                &["-c", &format!("CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{}'", direct.password)],
            )?;
            psql.run("postgres", &["-c", &format!("CREATE ROLE {GATEWAY} LOGIN PASSWORD '{}'", gateway.password)])?;
            psql.run("postgres", &["-c", &format!("CREATE DATABASE {NAME} OWNER {OWNER}")])?;
            if init.is_empty() {
                psql.file(&root().join("xtask/demo/shop.sql"))?;
            }
            init.iter().try_for_each(|file| psql.file(file))?;
            psql.file(&root().join("xtask/demo/grants.sql"))
        })?;
        Ok(Self { gateway, direct, _server: Some(server) })
    }
}

impl Server {
    fn start(bin: &Path, cgroup: Cgroup, superuser: &Dsn) -> Result<Self> {
        // Its answer to an occupied address would only be in its log.
        TcpListener::bind((superuser.host.as_str(), PORT)).with_context(|| {
            format!("port {PORT} of {} is taken: is a PostgreSQL server listening on all addresses (`listen_addresses = '*'`)?", superuser.host)
        })?;
        let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        let user =
            user.context("there is neither a user `postgres` nor `nobody`, and PostgreSQL does not run as root")?;
        let dir = state::database(process::id());
        fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        let made = Made(Some(dir.clone()));
        let password = dir.join("password");
        fs::write(&password, &superuser.password)?;
        for path in [&dir, &password] {
            chown(path, Some(user.uid), Some(user.gid))?;
        }
        let data = dir.join("data");
        let mut initdb = Command::new(bin.join("initdb"));
        initdb
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .current_dir(&dir)
            .arg("--pgdata")
            .arg(&data)
            .args([
                "--username",
                SUPERUSER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
                "--no-sync",
            ])
            .arg("--pwfile")
            .arg(&password);
        quietly(&mut initdb)?;
        fs::remove_file(&password)?;
        fs::write(data.join("pg_hba.conf"), "local all all scram-sha-256\nhost all all 127.0.0.0/8 scram-sha-256\n")?;

        let log = fs::File::create(dir.join("log"))?;
        let mut postgres = Command::new(myself()?);
        postgres.arg("enter").arg("--cgroup").arg(cgroup.path());
        postgres.args(["--uid", &user.uid.to_string(), "--gid", &user.gid.to_string(), "--"]).arg(bin.join("postgres"));
        // No Unix socket: nothing but the redirect leads to it from the agents' cgroup.
        postgres.arg("-D").arg(&data).args(["-k", ""]).args(["-h", &superuser.host, "-p", &PORT.to_string()]);
        for setting in [
            // Thrown away at the end: nothing of it needs to survive a crash.
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "max_connections=300",
            // What agents might get at if nobody stopped them is there to be got at.
            "wal_level=logical",
            "max_prepared_transactions=20",
            // So that the log says which agent a statement came from.
            "log_line_prefix=%m [%p] %u@%d %a ",
        ] {
            postgres.args(["-c", setting]);
        }
        // A group of its own: Ctrl-C is for the command, the server is stopped by us.
        let child = postgres
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        std::mem::forget(made);
        let mut server = Self { child, dir, _cgroup: cgroup };
        server.wait(&data)?;
        Ok(server)
    }

    /// `postmaster.pid` says in its eighth line when connections are accepted.
    fn wait(&mut self, data: &Path) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if pid.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "PostgreSQL does not start ({status}): {}",
                    fs::read_to_string(self.dir.join("log")).unwrap_or_default().trim()
                );
            }
            sleep(Duration::from_millis(10));
        }
        bail!(
            "PostgreSQL was not ready after {PATIENCE:?}: {}",
            fs::read_to_string(self.dir.join("log")).unwrap_or_default().trim()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it will be read again: the immediate shutdown.
        send(self.child.id(), Signal::SIGQUIT);
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A folder that is taken away unless somebody takes it over.
struct Made(Option<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        self.0.take().map(fs::remove_dir_all);
    }
}

struct Psql<'a> {
    bin: &'a Path,
    superuser: &'a Dsn,
}

impl Psql<'_> {
    fn file(&self, path: &Path) -> Result<()> {
        let path = path.to_str().context("the path of an SQL file is not UTF-8")?;
        self.run(NAME, &["-f", path]).with_context(|| format!("`{path}` cannot be run"))
    }

    fn run(&self, database: &str, arguments: &[&str]) -> Result<()> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &self.superuser.host,
            "-U",
            &self.superuser.user,
            "-d",
            database,
        ]);
        psql.env("PGPASSWORD", &self.superuser.password).env("PGOPTIONS", "-c client_min_messages=warning");
        quietly(psql.env("PGPORT", PORT.to_string()).args(arguments)).map(drop)
    }
}

/// A loopback address that no other run has: the process's number in its last 22 bits.
fn address(pid: u32) -> Ipv4Addr {
    let [_, high, middle, low] = pid.to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn every_process_has_its_address() {
        assert_eq!(address(1).to_string(), "127.64.0.1");
        assert_eq!(address(31_198).to_string(), "127.64.121.222");
        assert_eq!(address(4_194_303).to_string(), "127.127.255.255");
    }
}
