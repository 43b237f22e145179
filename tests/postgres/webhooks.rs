//! Another system is told what waits, by signed messages that are tried again, and may answer for those whom it may speak for.

use crate::previews::Folder;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn another_system_hears_and_answers() {
    // A port that is free for as long as it takes.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let secret = std::env::temp_dir().join(format!("webhook-secret-{}", std::process::id()));
    std::fs::write(&secret, "a secret of some length\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let webhook = |form: &str, more: &str| {
        format!(
            "[[webhook]]\nname = \"{form}\"\nform = \"{form}\"\nurl = \"http://127.0.0.1:{port}/{form}\"\n\
             secret_file = \"{}\"\nconsole = \"http://127.0.0.1:1\"\n{more}\n",
            secret.display()
        )
    };
    let speaks = "approvers = { \"erin@corp\" = [\"dba\"], \"frank@corp\" = [\"sales\"], \"agent:demo\" = [\"dba\"] }";
    let config = format!(
        "[console]\nlisten = \"127.0.0.1:0\"\n{}{}{}",
        webhook("json", speaks),
        webhook("slack", ""),
        webhook("teams", "")
    );
    let folder = Folder::new("webhooks", &config);
    let script = format!(
        r#"
        console=$(INTERCEPTOR_APPROVER_TOKEN=$bob "$INTERCEPTOR" console 2> /dev/null | cut -d'#' -f1)
        timeout 90 "$PYTHON" {} {port} {} "$console" "$bob" > $out/peer 2>&1 & peer=$!
        for n in $(seq 100); do grep -q ready $out/peer && break; sleep 0.1; done
        agent "update people set note = 'told' where id = 1" > $out/1; grep -v NOTICE $out/1
        agent "update people set note = 'told' where id = 2" > $out/2; grep -c 'bob@corp has denied' $out/2
        wait $peer; cat $out/peer
        "$INTERCEPTOR" audit search --event approval --text 'erin@corp: from the chat (webhook json, for dba)' --json | wc -l"#,
        Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/webhooks/peer.py").display(),
        secret.display()
    );
    let outcome = folder.run(&script);
    drop(std::fs::remove_file(&secret));
    assert_eq!(
        outcome.stdout,
        "UPDATE 1\n\
         1\n\
         ready\n\
         json: True asked agent:demo update people set note = 'told' where id = 1\n\
         /slack: True ['blocks', 'text', 'unfurl_links'] True\n\
         /teams: True ['attachments', 'type'] True\n\
         a GET: 405\n\
         another secret: 401\n\
         too old: 401\n\
         nobody we know: (403, \"`mallory@corp` is not among the webhook's `approvers`\")\n\
         in no group of it: (403, '`frank@corp` is not in `dba`, which has to approve it')\n\
         the agent: (403, '`agent:demo` is who asks, or whom the agent acts for: somebody else has to approve it')\n\
         neither: (400, 'an answer has either a token or a name (`by`)')\n\
         erin: (200, 'approved')\n\
         again: (409, 'this answer has been given already')\n\
         used: used\n\
         by a token: (200, 'denied')\n\
         denied: denied\n\
         1\n\
         ",
        "{}",
        outcome.stderr
    );
}
