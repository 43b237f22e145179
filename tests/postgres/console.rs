//! The console in a real browser: held in psql, decided in the page, rows in psql; and what agents write stays text.

use crate::previews::Folder;
use crate::provider::Provider;
use std::net::TcpListener;
use std::path::Path;

#[test]
fn people_decide_in_a_browser() {
    let folder =
        Folder::new("console", "timeout_seconds = 15\n[console]\nlisten = \"127.0.0.1:0\"\noperators = [\"dba\"]");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = format!(
        "NODE_PATH=$BROWSER_PATH node {} {} \"$bob\"",
        here.join("postgres/console/browser.js").display(),
        here.join("../target/artefacts/console").display()
    );
    let outcome = folder.run(&script);
    assert_eq!(
        outcome.stdout,
        "in as bob@corp\n\
         the link again: the link is not good any more\n\
         it changes 3: changes 1 p***1 → A***n old → shipped on Friday\n\
         psql: 1|shipped on Friday 2|shipped on Friday 3|shipped on Friday\n\
         psql: ERROR:  bob@corp has denied the statement DETAIL:  archive it instead (42501, request ID)\n\
         shown as it is: true\n\
         preview too: true\n\
         psql: FATAL:  terminating connection due to administrator command\n\
         counted: permit 3, hold 3, deny 1; filter, delete on public.kept, public.seen 1\n\
         counted: permit 3, hold 3, deny 1; filter, delete on public.kept, public.seen 1\n\
         the replay shows it: true\n\
         scripts of theirs ran: false; images of theirs: 0\n\
         explained: hold, approve(dba), preview\n\
         expired: 0 buttons; psql: ERROR:  nobody of dba has decided in time whether the statement may run\n\
         wider than a phone: nothing\n\
         the cookie: true Strict\n\
         a GET: 405\n\
         another site's page: 403\n\
         no origin: 403\n\
         no token: 403\n\
         a form: 415\n\
         another host's name: 421\n\
         nobody: 401\n\
         frames: DENY, true\n\
         the page's own way: 200 approved\n\
         again: 409\n",
        "{}",
        outcome.stderr
    );
}

/// Authorization code with PKCE at a certified provider of somebody else's, whose groups decide.
#[test]
fn people_sign_in_at_their_provider() {
    // A port that is free for as long as it takes.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let provider = Provider::start(&format!("http://127.0.0.1:{port}/sign-in/back"));
    let issuer = &provider.issuer;
    let trusts = provider.config().replace("types = [\"at+jwt\"]", "types = [\"at+jwt\", \"JWT\", \"\"]");
    let folder = Folder::new(
        "sign-in",
        &format!(
            "[console]\nlisten = \"127.0.0.1:{port}\"\n[console.sign_in]\nissuer = \"{issuer}\"\nclient_id = \"urn:interceptor\"\n\
             allow_http = true\n{trusts}"
        ),
    );
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = format!(
        r#"
        export AGENT_ID_TOKEN=$(curl -s -u agent%3Aci-1:secret -d grant_type=client_credentials -d resource=urn:interceptor -d scope=connect "{issuer}/token" |
            "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['access_token'])")
        NODE_PATH=$BROWSER_PATH timeout 60 node {} http://127.0.0.1:{port}/ "#,
        here.join("postgres/console/sign-in.js").display(),
    );
    let outcome = folder.run(&script);
    let log = std::fs::read_to_string(provider.folder.join("log")).unwrap_or_default();
    assert_eq!(
        outcome.stdout,
        "dba-bob, [[\"dba\"],false]\n\
         pages: 1\n\
         carol sees: Nothing waits. What agents ask for appears here by itself.\n\
         carol says: `carol` is not in `dba`, which has to approve it\n\
         psql: 7\n\
         made up: 403 not signed in: this browser has not begun to sign in, or too long ago\n\
         crossed: 403 not signed in: this is another sign-in's answer\n\
         signed out\n",
        "{}\n{log}",
        outcome.stderr
    );
}

/// Behind a proxy: over a Unix socket, by the name that browsers call it.
#[test]
fn a_proxy_reaches_it_over_a_socket() {
    let socket = std::env::temp_dir().join(format!("console-{}.sock", std::process::id()));
    let config = format!("[console]\nsocket = {socket:?}\nhosts = [\"console.example\"]");
    let folder = Folder::new("socket", &config);
    let script = format!(
        r#"
        get() {{ curl -s -o /dev/null -w '%{{http_code}}\n' --unix-socket {socket} "$@"; }}
        get http://console.example/
        get http://evil.example/
        get http://console.example/api/approvals
        # Root of an agent's is not root of this host.
        "$INTERCEPTOR" console 2>&1 | grep -o 'an agent is not root of this host'
        link=$(INTERCEPTOR_APPROVER_TOKEN=$bob "$INTERCEPTOR" console 2> /dev/null); echo "${{link%%=*}}"
        enter() {{ get -X POST -H "origin: $1" -H 'content-type: application/json' -d "{{\"link\": \"${{link#*=}}\"}}" http://console.example/enter; }}
        enter https://evil.example
        enter https://console.example
        enter https://console.example
        # A cookie that somebody has got hold of (another port of this host is the same site to a browser): without the word that
        # only the page knows it opens nothing, and the word is not to be had with it.
        link=$(INTERCEPTOR_APPROVER_TOKEN=$bob "$INTERCEPTOR" console 2> /dev/null)
        page=$(curl -s -D $out/head --unix-socket {socket} -H 'origin: https://console.example' -H 'content-type: application/json' \
            -d "{{\"link\": \"${{link#*=}}\"}}" http://console.example/enter | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["page"])')
        cookie=$(sed -n 's/^[Ss]et-[Cc]ookie: \([^;]*\);.*/\1/p' $out/head)
        for path in approvals audit sessions "events?page=" "events?page=x" policies status coverage figures replay/x; do
            get -H "cookie: $cookie" "http://console.example/api/$path"; done | sort | uniq -c
        get -H "cookie: $cookie" -H "x-interceptor-csrf: x$page" http://console.example/api/approvals
        get -H "cookie: $cookie" -H "x-interceptor-csrf: $page" http://console.example/api/approvals
        get -H "cookie: $cookie" -H 'origin: http://console.example:8080' -H 'content-type: application/json' -d '{{}}' http://console.example/api/approvals/x/approve
        curl -s --unix-socket {socket} -H "cookie: $cookie" http://console.example/ | grep -c "$page"
        # An agent that is root, straight at the control socket, in its cgroup and out of it, alone and orphaned.
        straight='curl -s -o /dev/null -w "%{{http_code}}\n" --unix-socket "$INTERCEPTOR_SOCKET" -X POST http://interceptor/console/link'
        sh -c "$straight"
        mount=$(findmnt -n -o TARGET -t cgroup2 | head -1); mkdir -p "$mount/moved-$$"
        sh -c "echo \$\$ > $mount/moved-$$/cgroup.procs; $straight"; rmdir "$mount/moved-$$"
        (setsid sh -c "$straight" > $out/orphan &) ; sleep 1; cat $out/orphan"#,
        socket = socket.display()
    );
    let outcome = folder.run(&script);
    assert_eq!(
        outcome.stdout,
        "200\n421\n401\nan agent is not root of this host\nhttps://console.example/#enter\n403\n200\n403\n\
         \x20    10 401\n401\n200\n403\n0\n403\n403\n403\n",
        "{}",
        outcome.stderr
    );
    assert!(!socket.exists(), "the socket goes with the daemon");
}
