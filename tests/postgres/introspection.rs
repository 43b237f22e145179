//! What psql asks behind its backslash commands and its tab key goes through under the shipped policies.

use interceptor_tests::Scene;

#[test]
fn backslash_commands_work() {
    let script = r#"
        for command in '\d' '\d orders' '\d+ customers' '\d customer_directory' '\dt+' '\df' '\l' '\dn' '\du' '\di' '\dv' '\ds' '\dT' '\dp' '\dx' '\db' '\det' '\conninfo'; do
            psql -X -v ON_ERROR_STOP=1 -c 'select 1' -c "$command" > /tmp/out-$$ 2>&1 || { echo FAILED $command; cat /tmp/out-$$; }
        done
        psql -XAtc '\dt' | cut -d'|' -f2 | sort | tr '\n' ' '
        rm /tmp/out-$$"#;
    let outcome = Scene::demo().run(script);
    assert!(!outcome.stdout.contains("FAILED") && !outcome.stdout.contains("ERROR"), "{}", outcome.stdout);
    assert_eq!(outcome.stdout.trim(), "api_keys customers employees order_items orders products");
}

/// The queries that psql 15 sends when the tab key is pressed (`tab-complete.c`), in its own words.
#[test]
fn tab_completion_works() {
    let script = r#"
        # Keys that come before psql listens are lost, so it is given time, and another try on a busy machine.
        for wait in 1 4 10; do
            screen=$(timeout $((wait + 20)) script -qec "psql -X" /dev/null 2>&1 < <(
                sleep $wait; printf 'select * from ord\t\t'; sleep 2; printf '\003'; sleep 1; printf '\\q\n'; sleep 1; printf '\004'; sleep 1
            ) | tr -d '\r\007')
            case "$screen" in *'> select * from order'*) break ;; esac
        done
        echo "$screen"
        interceptor_denials=$("$INTERCEPTOR" audit search --decision deny --json | wc -l)
        echo "denials: $interceptor_denials""#;
    let outcome = Scene::demo().run(script);
    // `orders` and `order_items` have this much in common.
    assert!(outcome.stdout.contains("shop=> select * from order"), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("denials: 0"), "{}", outcome.stdout);
}

/// What a client sees of its connection is what it would see without us, except for the role.
#[test]
fn the_connection_looks_as_if_it_were_direct() {
    let script = r#""$PYTHON" - <<'EOF'
import os, psycopg
c = psycopg.connect("")
server, port, user = c.execute("select host(inet_server_addr()), inet_client_port(), current_user").fetchone()
import socket
s = socket.socket(fileno=os.dup(c.fileno()))
print(server == os.environ["PGHOST"], s.getpeername() == (os.environ["PGHOST"], 5432), port == s.getsockname()[1], user != os.environ["PGUSER"])
print(c.info.host == os.environ["PGHOST"], c.info.port == 5432, c.info.dbname == "shop", c.info.backend_pid == c.execute("select pg_backend_pid()").fetchone()[0])
EOF
psql -c '\conninfo'; echo "$PGHOST""#;
    let outcome = Scene::demo().run(script);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let host = lines.last().unwrap();
    assert_eq!(lines[..2], ["True True True True", "True True True True"], "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(lines[2].contains(&format!("on host \"{host}\" at port \"5432\"")), "{}", lines[2]);
}
