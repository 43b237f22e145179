//! The three ways to the database that are compared, and the processes behind them.

use crate::{
    setup::packages,
    workspace::{myself, target, which},
};
use anyhow::{Context, Result, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::Duration,
};

/// The CPU that everything runs on.
const CPU: usize = 1;

/// Policies as a team might have them: some that match, forty that are about others.
fn policies() -> String {
    let mut text = String::from(
        r#"
@id("connect") permit (principal is PG::Agent, action == PG::Action::"connect", resource);
@id("read") permit (principal, action in [PG::Action::"read", PG::Action::"copy_out"], resource);
@id("write") permit (principal, action in [PG::Action::"write", PG::Action::"copy_in"], resource);
@id("call") permit (principal, action == PG::Action::"execute", resource);
@id("secrets") forbid (principal, action, resource in PG::Relation::"shop.public.secrets");
@id("masked") @mask("email") forbid (principal, action == PG::Action::"select", resource == PG::Column::"shop.public.masked.email");
"#,
    );
    for number in 0..44 {
        text += &format!(
            "@id(\"p{number}\") permit (principal in PG::Group::\"team-{number}\", action in [PG::Action::\"write\"], resource in PG::Schema::\"shop.team_{number}\");\n"
        );
    }
    text
}

const TABLES: &str = r"
create table rows as select g as id, 'Customer ' || g as name, 'customer.' || g || '@corp.example' as email, md5(g::text) as note, now() as created
  from generate_series(1, 400000) g;
create table masked as select id, name, email from rows;
create table plain as select id, name, email from rows;
create table wide as select g as id, repeat(md5(g::text), 2000) as body from generate_series(1, 2000) g;
create table sink (id bigint, name text, email text, note text, created timestamptz);
alter table wide alter body set storage external;
";

/// A whole installation with an agent that does nothing, and PgBouncer beside it.
pub(super) struct Place {
    product: Child,
    /// The agent waits for its end.
    stdin: Option<ChildStdin>,
    bouncer: Child,
    folder: PathBuf,
    environment: HashMap<String, String>,
    agents: PathBuf,
    bouncer_port: u16,
}

/// One way to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    Bouncer,
    Interceptor,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Bouncer, Self::Interceptor];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bouncer => "pgbouncer",
            Self::Interceptor => "interceptor",
        }
    }
}

impl Place {
    /// `config` lies over the daemon's configuration.
    pub(super) fn set(config: &str) -> Result<Self> {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        if which("pgbouncer").is_none() {
            packages::install("PgBouncer", &["pgbouncer"])?;
        }
        let folder = target().join("run").join(format!(
            "bench-{}-{}",
            std::process::id(),
            PLACES.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(folder.join("policies"))?;
        fs::write(folder.join("policies/bench.cedar"), policies())?;
        fs::write(folder.join("tables.sql"), TABLES)?;
        fs::write(folder.join("config.toml"), config)?;
        let mut product = Command::new(myself()?)
            .args(["run", "--release", "--policies"])
            .arg(folder.join("policies"))
            .arg("--init")
            .arg(folder.join("tables.sql"))
            .arg("--config")
            .arg(folder.join("config.toml"))
            .args([
                "--",
                "sh",
                "-c",
                "env; echo CGROUP=$(grep -o '^0::.*' /proc/self/cgroup); echo READY=1; cat > /dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the product")?;
        let stdin = product.stdin.take();
        let mut environment = HashMap::new();
        for line in BufReader::new(product.stdout.take().context("it is piped")?).lines() {
            let line = line?;
            if let Some((name, value)) = line.split_once('=') {
                environment.insert(name.to_owned(), value.to_owned());
            }
            if line == "READY=1" {
                break;
            }
        }
        let get = |name: &str| environment.get(name).cloned().with_context(|| format!("the product says no {name}"));
        let cgroup = get("CGROUP")?;
        let mount = crate::setup::host::look()?.cgroup;
        let agents = mount.join(cgroup.trim_start_matches("0::").trim_start_matches('/'));
        let direct = url::Url::parse(&get("INTERCEPTOR_UPSTREAM")?)?;
        let bouncer_port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let bouncer = bouncer(&folder, &direct, bouncer_port)?;
        let place = Self { product, stdin, bouncer, folder, environment, agents, bouncer_port };
        place.fill(&direct)?;
        place.pin()?;
        Ok(place)
    }

    /// pgbench's own tables, owned by whoever everybody logs in as.
    fn fill(&self, direct: &url::Url) -> Result<()> {
        let run = |program: &str, arguments: &[&str]| -> Result<()> {
            let output = Command::new(program).args(arguments).arg(direct.as_str()).output()?;
            if !output.status.success() {
                bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        };
        crate::progress::step("filling pgbench's tables", || run(&self.pgbench(), &["-i", "-q", "-s", "10"]))?;
        run("psql", &["-qc", "grant all on all tables in schema public to public; analyze"])
    }

    /// Debian keeps pgbench out of `PATH`.
    pub(super) fn pgbench(&self) -> String {
        let bin = crate::setup::postgres::binaries().unwrap_or_default();
        bin.join("pgbench").display().to_string()
    }

    /// A program that connects this way, pinned.
    pub(super) fn command(&self, way: Way, words: &[String]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("no program")?;
        let mut command = Command::new("taskset");
        command.args(["-c", &CPU.to_string()]);
        if way == Way::Interceptor {
            command.arg(myself()?).arg("enter").arg("--cgroup").arg(&self.agents).arg("--");
            let token = self.environment.get("AGENT_ID_TOKEN").context("there is no token")?;
            command.env("AGENT_ID_TOKEN", token);
        }
        command.arg(program).args(arguments);
        for (name, value) in self.login(way)? {
            command.env(name, value);
        }
        Ok(command)
    }

    fn login(&self, way: Way) -> Result<Vec<(&'static str, String)>> {
        let direct = url::Url::parse(self.environment.get("INTERCEPTOR_UPSTREAM").context("there is no database")?)?;
        let host = direct.host_str().unwrap_or_default().to_owned();
        let (host, port) = match way {
            Way::Bouncer => ("127.0.0.1".to_owned(), self.bouncer_port),
            Way::Direct | Way::Interceptor => (host, 5432),
        };
        Ok(vec![
            ("PGHOST", host),
            ("PGPORT", port.to_string()),
            ("PGDATABASE", "shop".to_owned()),
            ("PGUSER", direct.username().to_owned()),
            ("PGPASSWORD", direct.password().unwrap_or_default().to_owned()),
            ("PGSSLMODE", "disable".to_owned()),
        ])
    }

    /// The process in the middle.
    pub(super) fn middle(&self, way: Way) -> Option<u32> {
        match way {
            Way::Direct => None,
            Way::Bouncer => Some(self.bouncer.id()),
            Way::Interceptor => self.environment.get("INTERCEPTOR_DAEMON_PID")?.parse().ok(),
        }
    }

    /// Everything on one CPU; what they start later inherits it.
    fn pin(&self) -> Result<()> {
        let database = self.agents.with_file_name("database").join("cgroup.procs");
        let servers = fs::read_to_string(&database).with_context(|| format!("cannot read `{}`", database.display()))?;
        let mut pids: Vec<u32> = servers.lines().filter_map(|line| line.parse().ok()).collect();
        pids.extend(Way::ALL.into_iter().filter_map(|way| self.middle(way)));
        let mut set = CpuSet::new();
        set.set(CPU)?;
        for pid in pids {
            for thread in threads(pid) {
                sched_setaffinity(Pid::from_raw(i32::try_from(thread)?), &set)?;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.bouncer.kill());
        drop(self.bouncer.wait());
        drop(self.stdin.take());
        drop(self.product.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Threads of a process.
fn threads(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Nanoseconds of CPU that a process has used (`schedstat`, Documentation/scheduler/sched-stats.rst).
pub(super) fn cpu(pid: u32) -> u64 {
    let of = |thread: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads(pid).into_iter().filter_map(of).sum()
}

/// Kilobytes of memory that a process has of its own.
pub(super) fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

fn bouncer(folder: &Path, direct: &url::Url, port: u16) -> Result<Child> {
    let config = folder.join("pgbouncer.ini");
    let (host, user, password) =
        (direct.host_str().unwrap_or_default(), direct.username(), direct.password().unwrap_or_default());
    fs::write(
        &config,
        format!(
            "[databases]\nshop = host={host} port=5432 user={user} password={password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = session\ndefault_pool_size = 280\nmax_client_conn = 1000\n\
             logfile = {log}\nlog_connections = 0\nlog_disconnections = 0\nignore_startup_parameters = extra_float_digits\n",
            log = folder.join("pgbouncer.log").display()
        ),
    )?;
    // It does not run as root.
    let user = nix::unistd::User::from_name("postgres")?.or(nix::unistd::User::from_name("nobody")?);
    let user = user.context("there is neither a user `postgres` nor `nobody`")?;
    for path in [folder.to_path_buf(), config.clone()] {
        nix::unistd::chown(&path, Some(user.uid), Some(user.gid))?;
    }
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("pgbouncer")
        .arg("-q")
        .arg(&config)
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start pgbouncer")?;
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(child);
        }
        if let Some(status) = child.try_wait()? {
            bail!("pgbouncer ended with {status}");
        }
        sleep(Duration::from_millis(20));
    }
    bail!("pgbouncer does not listen")
}
