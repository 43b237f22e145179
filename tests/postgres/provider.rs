//! A certified OpenID provider of somebody else's (npm `oidc-provider`) in the place of ours: log-in, keys that change under
//! load, an outage, and after it.

use interceptor_tests::{Scene, environment};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub(crate) struct Provider {
    process: Child,
    pub(crate) issuer: String,
    pub(crate) folder: std::path::PathBuf,
    /// It goes on saying things, and ends when nobody listens.
    _said: BufReader<ChildStdout>,
}

impl Provider {
    /// `console` is where people are sent back to that sign in to the console.
    pub(crate) fn start(console: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-provider-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut node = Command::new("node");
        node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/oidc/provider.mjs")).arg(&folder);
        node.env("NODE_PATH", environment("NODE_PATH"))
            .env("CONSOLE", console)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = node.stderr(std::fs::File::create(folder.join("log")).unwrap()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let issuer: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self { process, issuer: issuer["issuer"].as_str().unwrap().to_owned(), folder, _said: said }
    }

    /// Believed by the daemon, which logs in by a signed assertion.
    pub(crate) fn config(&self) -> String {
        let (issuer, folder) = (&self.issuer, self.folder.display());
        format!(
            "[[identity.issuers]]\nurl = \"{issuer}\"\naudience = \"urn:interceptor\"\nalgorithms = [\"RS256\"]\ntypes = [\"at+jwt\"]\n\
             nbf_required = false\nallow_http = true\njwks_cooldown_seconds = 1\njwks_fresh_seconds = 2\n\
             [identity.exchange]\nissuer = \"{issuer}\"\naudience = \"urn:postgres\"\nscope = \"read\"\nclient_id = \"interceptor\"\n\
             client_key_file = \"{folder}/client.key\"\nclient_key_id = \"daemon\"\n"
        )
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Only this very child; that it may have ended by itself does not matter here.
        let _gone = self.process.kill();
        let _status = self.process.wait();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn somebody_elses_provider_comes_and_goes() {
    let provider = Provider::start("");
    let config = provider.folder.join("config.toml");
    std::fs::write(&config, provider.config()).unwrap();
    let script = format!(
        r#"
        ISSUER={}
        cd "$(mktemp -d)"
        token() {{ curl -s -u "$(printf %s "$1" | sed s/:/%3A/):secret" -d grant_type=client_credentials -d resource=urn:interceptor -d scope=connect "$ISSUER/token" |
            "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['access_token'])"; }}
        disturb() {{ curl -s -o /dev/null -X POST "$ISSUER/test/$1"; }}
        who() {{ AGENT_ID_TOKEN=$1 psql -XAtc "select current_setting('interceptor.agent')" 2>&1 | head -1; }}
        first=$(token agent:ci-1)
        who "$first"
        # Keys change while connections come: new tokens (a second after the change: nobody is asked more often) and old ones
        # are good, until the old key is gone.
        (for n in $(seq 25); do who "$first"; done) > out-old &
        for n in 1 2 3; do disturb rotate; sleep 1.1; for m in 1 2 3 4; do who "$(token agent:ci-2)"; done; done > out-new; wait
        echo "$(sort -u out-old) $(sort -u out-new)"
        disturb forget; sleep 2.2
        who "$first"
        # An outage: whoever is known stays known; nobody new is let in, and is told to come again.
        known=$(token agent:ci-2); new=$(token agent:ci-3)
        who "$known"; disturb down; sleep 2.2
        who "$known"
        AGENT_ID_TOKEN=$new psql -XAtc 'select 1' 2>&1 | head -1 | grep -o 'the identity provider cannot be reached'
        "$INTERCEPTOR" status | grep -o 'health *degraded'
        disturb up; sleep 1.2
        who "$new"
        rm -f out-old out-new
        "$INTERCEPTOR" audit search --event connect --json | grep -c '"groups":\["builders"\]' | sed 's/^[1-9][0-9]*$/with groups/'"#,
        provider.issuer
    );
    let outcome = Scene::demo().with("--config", &config).run(&script);
    let log = std::fs::read_to_string(provider.folder.join("log")).unwrap_or_default();
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let expected = [
        "agent:ci-1",
        "agent:ci-1 agent:ci-2",
        "the agent's identity is not accepted",
        "agent:ci-2",
        "agent:ci-2",
        "the identity provider cannot be reached",
        "degraded",
        "agent:ci-3",
        "with groups",
    ];
    let fits = lines.len() == expected.len() && lines.iter().zip(expected).all(|(line, part)| line.contains(part));
    assert!(fits, "expected {expected:#?}, got\n{}\n{}\n{log}", outcome.stdout, outcome.stderr);
}
