//! What is allowed cannot be told from a direct connection: the same bytes, message by message.

use interceptor_tests::{Scene, environment};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Removes the folder also when the test fails.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Only what this test made; that it may be gone already does not matter.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// The agent plays its scripts through the redirect; then this test, which is nobody's agent, plays them directly.
#[test]
fn the_same_bytes_come_back() {
    let folder = Folder(std::env::temp_dir().join(format!("interceptor-transparency-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let player = concat!(env!("CARGO_MANIFEST_DIR"), "/postgres/transparency.py");
    // The same statements for both, other ones in each run; the name of what differs says the seed.
    let seed = rand::random::<u32>().to_string();
    let script = format!(
        r#"cd {dir}; "$PYTHON" {player} "" {seed} > through || exit 1; echo "$INTERCEPTOR_UPSTREAM" > dsn.new; mv dsn.new dsn
           for n in $(seq 600); do [ -e done ] && exit 0; sleep 0.1; done; exit 1"#,
        dir = folder.0.display()
    );
    let agent = std::thread::spawn(move || Scene::demo().run(&script));
    let dsn = loop {
        if let Ok(dsn) = std::fs::read_to_string(folder.0.join("dsn")) {
            break dsn;
        }
        if agent.is_finished() {
            let outcome = agent.join().unwrap();
            panic!("{}\n{}", outcome.stdout, outcome.stderr);
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let direct = Command::new(environment("PYTHON")).args([player, dsn.trim(), &seed]).output().unwrap();
    std::fs::write(folder.0.join("done"), "").unwrap();
    let outcome = agent.join().unwrap();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let direct: Value = serde_json::from_slice(&direct.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&direct.stderr)));
    let through = read(&folder.0.join("through"));
    let names: Vec<_> = direct.as_object().unwrap().keys().collect();
    assert!(names.len() > 60);
    for name in names {
        assert_eq!(show(&through[name]), show(&direct[name]), "{name}");
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A message a line, long ones by their length and their end.
fn show(answers: &Value) -> String {
    let line = |message: &Value| {
        let body = message[1].as_str().unwrap();
        let tail = &body[body.len().saturating_sub(400)..];
        format!("{} {} {tail}", message[0].as_str().unwrap(), body.len() / 2)
    };
    answers.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
}
