//! A PostgreSQL server with a schema of one's own, reached directly.

use crate::product::environment;
use interceptor::proxy::{Upstreams, fetch_catalog};
use interceptor::sql::Catalog;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use tokio_postgres::config::Host;

/// A server that lives as long as this: the demo server of `cargo xtask run`, whose agent does nothing but wait.
#[derive(Debug)]
pub struct DemoServer {
    product: Child,
    /// The agent waits for its end.
    stdin: Option<ChildStdin>,
    dsn: String,
}

impl DemoServer {
    /// Starts one and runs the files in it.
    #[expect(clippy::expect_used, reason = "a test whose server cannot be started has failed")]
    pub fn start(init: &[&Path]) -> Self {
        let mut command = Command::new(environment("XTASK"));
        command.arg("run");
        for file in init {
            command.arg("--init").arg(file);
        }
        command.args(["--", "sh", "-c", "echo \"$INTERCEPTOR_UPSTREAM\"; cat > /dev/null"]);
        let mut product = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("xtask starts");
        let stdin = product.stdin.take();
        let mut dsn = String::new();
        let stdout = product.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut dsn).expect("the server says where it is");
        Self { product, stdin, dsn: dsn.trim().to_owned() }
    }

    /// Reaches the database directly, as its owner.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }

    /// Reaches another database of the server.
    pub fn dsn_of(&self, database: &str) -> String {
        let end = self.dsn.rfind('/').unwrap_or(self.dsn.len());
        format!("{}/{database}", self.dsn.get(..end).unwrap_or_default())
    }

    /// What the daemon would know of the database.
    pub async fn catalog(&self) -> Arc<Catalog> {
        self.catalog_of("shop").await
    }

    /// What the daemon would know of another database.
    #[expect(clippy::expect_used, reason = "a test whose server cannot be reached has failed")]
    pub async fn catalog_of(&self, database: &str) -> Arc<Catalog> {
        let config: tokio_postgres::Config = self.dsn.parse().expect("it is a DSN");
        let address = match config.get_hosts() {
            [Host::Tcp(host)] => host.parse::<IpAddr>().ok(),
            _ => None,
        };
        let server =
            SocketAddr::new(address.expect("it is an address"), config.get_ports().first().copied().unwrap_or(5432));
        let password =
            std::env::temp_dir().join(format!("interceptor-password-{}-{}", std::process::id(), server.ip()));
        let mut file = std::fs::OpenOptions::new();
        let file = file.create(true).truncate(true).write(true).mode(0o600).open(&password);
        file.and_then(|mut file| file.write_all(config.get_password().unwrap_or_default()))
            .expect("a file can be written");
        let upstream = format!(
            "server = \"*\"\ndatabase = \"*\"\nuser = {:?}\npassword_file = {password:?}\ntls = \"disable\"\n",
            config.get_user().unwrap_or_default()
        );
        let upstreams = Upstreams::load(&[toml::from_str(&upstream).expect("it is TOML")]);
        drop(std::fs::remove_file(&password));
        fetch_catalog(server, database, &upstreams.expect("the file can be read"))
            .await
            .expect("the catalogue can be read")
    }
}

impl Drop for DemoServer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.product.wait());
    }
}
