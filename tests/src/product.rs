//! `cargo xtask run` with a script as the agent, and what came of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A variable that `cargo xtask test` sets.
///
/// # Panics
/// Outside `cargo xtask test`: these tests need what it sets up.
pub fn environment(name: &str) -> OsString {
    let name = format!("INTERCEPTOR_TEST_{name}");
    std::env::var_os(&name).unwrap_or_else(|| panic_for(&name))
}

#[expect(clippy::panic, reason = "a test without its surroundings has failed")]
fn panic_for(name: &str) -> OsString {
    panic!("{name} is not set; run these tests by `cargo xtask test`")
}

/// The daemon's binary.
pub fn binary() -> PathBuf {
    environment("BIN").into()
}

/// One run of the product.
#[derive(Debug, Default)]
pub struct Scene {
    options: Vec<OsString>,
}

/// What an agent's script printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status, 128 and more for signals.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error, the set-up's progress included.
    pub stderr: String,
}

impl Scene {
    /// The demo database, the shipped policies.
    pub fn demo() -> Self {
        Self::default()
    }

    /// Adds an option of `cargo xtask run`.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([OsString::from(option), value.into()]);
        self
    }

    /// Runs a shell script as the agent.
    #[expect(clippy::expect_used, reason = "a test whose product cannot be started has failed")]
    pub fn run(&self, script: &str) -> Outcome {
        let output = Command::new(environment("XTASK"))
            .arg("run")
            .args(&self.options)
            .args(["--", "bash", "-c", script])
            .env("PYTHON", environment("PYTHON"))
            .env("NODE_PATH", environment("NODE_PATH"))
            .env("JDBC", environment("JDBC"))
            .env("BROWSER_PATH", environment("BROWSER"))
            .env("INTERCEPTOR", environment("BIN"))
            .env("PGBENCH", PathBuf::from(environment("PG_BIN")).join("pgbench"))
            // Colours and pagers are for people.
            .env("PSQL_PAGER", "cat")
            .stdin(Stdio::null())
            .output()
            .expect("xtask starts");
        Outcome::of(&output)
    }
}

impl Outcome {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}
