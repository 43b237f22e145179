//! What connections cost the daemon: new ones at a rate, and many that do nothing.

use super::server;
use crate::progress::openly;
use crate::workspace::{myself, root};
use anyhow::Result;
use std::{fs, process::Command};

/// More than anybody else's limits would let in.
const LIMITS: &str = "[limits]\nconnections = 20000\nconnections_per_agent = 20000\n";

pub(super) fn run() -> Result<()> {
    // An address of its own, so that nothing else is captured along with it.
    let address = format!("127.0.7.{}:5432", 1 + std::process::id() % 250).parse()?;
    server::start(address)?;
    let folder = std::env::temp_dir().join(format!("interceptor-connections-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let config = folder.join("limits.toml");
    fs::write(&config, LIMITS)?;
    let product = |script: &str, words: &[&str]| {
        let mut command = Command::new(myself()?);
        command.args(["run", "--release", "--postgres"]);
        command.arg(format!("postgresql://gateway:{}@{address}/shop", server::PASSWORD));
        command.arg("--config").arg(&config).args(["--", "python3"]);
        command.arg(root().join("tests/postgres").join(script)).args(words);
        openly(&mut command)
    };
    let done = product("connect_load.py", &["200", "1000", "10"]).and_then(|()| product("idle_load.py", &["5000"]));
    drop(fs::remove_dir_all(&folder));
    done
}
