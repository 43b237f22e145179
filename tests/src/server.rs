//! A PostgreSQL server with TLS, as somebody else would run it.

use crate::environment;
use nix::unistd::{User, chown};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The port that agents are captured on.
pub const PORT: u16 = 5432;

/// A server on a loopback address of its own; gone when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: Ipv4Addr,
}

/// Who signs certificates.
#[derive(Debug)]
pub struct Authority {
    key: KeyPair,
    params: CertificateParams,
}

#[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { key: KeyPair::generate().expect("a key"), params }
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> String {
        self.params.self_signed(&self.key).expect("a certificate").pem()
    }

    /// A certificate and its key, in PEM.
    pub fn issue(&self, name: &str, for_names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = named(name, for_names).signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

#[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
fn named(name: &str, for_names: &[&str]) -> CertificateParams {
    let names = for_names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[expect(clippy::expect_used, reason = "a test without its surroundings has failed")]
impl Server {
    /// Starts one with a certificate for `names` and its own address, `hba` as its `pg_hba.conf` and `sql` run in it.
    pub fn start(authority: &Authority, names: &[&str], hba: &str, sql: &str) -> Self {
        let address = Self::address();
        let own = address.to_string();
        let (certificate, key) = authority.issue("server", &[names, &[own.as_str()]].concat());
        let files =
            [("server.crt", certificate.as_str()), ("server.key", &key), ("root.crt", &authority.certificate())];
        let bin = PathBuf::from(environment("PG_BIN"));
        Self::start_at(address, &bin, &["ssl=on", "ssl_ca_file=root.crt"], &files, hba, sql)
    }

    /// Starts one of other programs, without TLS, with further settings and files in its data folder.
    pub fn start_from(bin: &Path, settings: &[&str], files: &[(&str, &str)], hba: &str, sql: &str) -> Self {
        Self::start_at(Self::address(), bin, settings, files, hba, sql)
    }

    fn start_at(
        address: Ipv4Addr,
        bin: &Path,
        settings: &[&str],
        files: &[(&str, &str)],
        hba: &str,
        sql: &str,
    ) -> Self {
        let user = User::from_name("postgres").ok().flatten().expect("there is a user `postgres`");
        let folder = std::env::temp_dir().join(format!("interceptor-server-{:x}", rand::random::<u64>()));
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
        chown(&folder, Some(user.uid), Some(user.gid)).expect("a folder of its own");
        let as_user = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir(&folder).stdin(Stdio::null());
            command
        };
        let data = folder.join("data");
        let made = as_user("initdb")
            .args(["--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "-U", "postgres", "-D"])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let own = address.to_string();
        let hba = format!("local all postgres trust\n{hba}");
        for (name, text) in files.iter().copied().chain([("pg_hba.conf", hba.as_str())]) {
            let path = data.join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("of its own");
            chown(&path, Some(user.uid), Some(user.gid)).expect("of its own");
        }
        let log = fs::File::create(folder.join("log")).expect("a log");
        let mut postgres = as_user("postgres");
        postgres.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-h", &own, "-p", &PORT.to_string()]);
        for setting in settings.iter().copied().chain(["fsync=off", "log_connections=on"]) {
            postgres.args(["-c", setting]);
        }
        let process = postgres.stdout(log.try_clone().expect("a log")).stderr(log).process_group(0).spawn();
        let server = Self { process: process.expect("postgres starts"), folder, address };
        server.wait(&data);
        server.run(bin, sql);
        server
    }

    /// A loopback address that nobody else has.
    pub fn address() -> Ipv4Addr {
        let [a, b] = rand::random::<[u8; 2]>();
        Ipv4Addr::new(127, 32, a, b.clamp(1, 254))
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{PORT}"))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn wait(&self, data: &Path) {
        let since = Instant::now();
        loop {
            let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if pid.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn run(&self, bin: &Path, sql: &str) {
        let mut psql = Command::new(bin.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h"]).arg(&self.folder);
        // One at a time: CREATE DATABASE does not run with others.
        sql.lines().filter(|line| !line.trim().is_empty()).for_each(|line| {
            psql.args(["-c", line]);
        });
        let output = psql.output().expect("psql starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The immediate shutdown of this very process: nothing of it is needed any more.
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT);
        }
        let _status = self.process.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}
