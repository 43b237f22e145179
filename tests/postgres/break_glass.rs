//! The glass is broken by root of this host, in a shell that is no agent's, with a reason; the statement runs once and the record says why.

use interceptor_tests::{Host, Issuer, PORT, Server, environment};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const POLICIES: &str = r#"
@id("all") permit (principal is PG::Agent, action, resource);
@id("writes") @approve("dba") forbid (principal, action in [PG::Action::"write"], resource is PG::Relation);
"#;

#[test]
fn root_of_this_host_breaks_the_glass() {
    let bin = PathBuf::from(environment("PG_BIN"));
    let sql = "create role app login\ncreate table fires (what text)\ngrant all on fires to app";
    let server = Server::start_from(&bin, &[], &[], "host all all 127.0.0.0/8 trust\n", sql);
    let issuer = Issuer::start();
    let policies = std::env::temp_dir().join(format!("interceptor-glass-{:x}", rand::random::<u32>()));
    fs::create_dir_all(&policies).unwrap();
    fs::write(policies.join("glass.cedar"), POLICIES).unwrap();
    let url = &issuer.url;
    let identity = format!(
        "\n[[identity.issuers]]\nurl = \"{url}\"\naudience = \"interceptor\"\nalgorithms = [\"ES256\", \"EdDSA\"]\nallow_http = true\n\
         [identity.exchange]\nissuer = \"{url}\"\naudience = \"postgres\"\n[approval]\nbreak_glass = true\n"
    );
    let host = Host::installed(|text| {
        let shipped =
            text.lines().find(|line| line.starts_with("dir = ") && line.contains("policies")).unwrap().to_owned();
        text.replace(&shipped, &format!("dir = \"{}\"", policies.display()))
            .replace("mode = \"observe\"", "mode = \"enforce\"")
            + &identity
    });
    let token = issuer.token(&json!({"subject": "agent:burning", "groups": ["agents"]}));
    let psql =
        format!("AGENT_ID_TOKEN={token} psql -qXAt \"host={} port={PORT} dbname=postgres user=app\"", server.address);
    let said = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            host.agent(&format!("{psql} -c \"insert into fires values ('roof') returning what\" 2> /dev/null"))
        });
        let id = loop {
            let listed = host.operator("\"$INTERCEPTOR\" approvals list --json");
            let all: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
            if let Some(id) = all[0]["id"].as_str() {
                break id.to_owned();
            }
            assert!(!asking.is_finished(), "{}", host.log());
            std::thread::sleep(Duration::from_millis(50));
        };
        let word = |words: &str| host.operator(&format!("\"$INTERCEPTOR\" approvals approve {id} {words} 2>&1"));
        // Nobody's yes but a DBA's counts without breaking it, and that needs a reason.
        assert!(word("").status != 0);
        let reasonless = word("--break-glass ' '");
        assert!(reasonless.status != 0 && reasonless.stdout.contains("reason"), "{}", reasonless.stdout);
        // An agent's root does not break it.
        let agents = host.agent(&format!("\"$INTERCEPTOR\" approvals approve {id} --break-glass fire 2>&1"));
        assert!(agents.stdout.contains("because it is captured as an agent"), "{}", agents.stdout);
        assert!(!asking.is_finished());
        let broken = word("--break-glass 'the roof is on fire'");
        assert_eq!(broken.status, 0, "{}", broken.stdout);
        let again = word("--break-glass 'once more'");
        assert!(again.status != 0, "{}", again.stdout);
        asking.join().unwrap()
    });
    assert_eq!(said.stdout, "roof\n", "{}", host.log());
    let count = host.operator(&format!(
        "psql -XAt \"host={} port={PORT} dbname=postgres user=app\" -c 'select count(*) from fires'",
        server.address
    ));
    assert_eq!(count.stdout, "1\n");
    let record = host.operator("\"$INTERCEPTOR\" audit search --event approval --text 'the roof is on fire' --json");
    assert!(record.stdout.contains("\"decision\":\"permit\"") && record.stdout.contains("root"), "{}", record.stdout);
    fs::remove_dir_all(&policies).unwrap();
}
