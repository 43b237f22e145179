//! `[limits]`: how many connections, how long a transaction may be left open, and how a daemon that is asked to stop ends.

use interceptor_tests::Scene;

#[track_caller]
fn check(limits: &str, script: &str, expected: &str) {
    let config = std::env::temp_dir().join(format!("interceptor-limits-{:x}.toml", rand::random::<u64>()));
    std::fs::write(&config, format!("[limits]\n{limits}\n")).unwrap();
    let outcome =
        Scene::demo().with("--config", &config).run(&format!("\"$PYTHON\" - <<'EOF'\n{PRELUDE}\n{script}\nEOF"));
    std::fs::remove_file(&config).unwrap();
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

const PRELUDE: &str = "
import os, signal, time, psycopg
def tried(step):
    try:
        step()
        return 'nothing'
    except psycopg.Error as error:
        # What is said while a connection is made has no fields.
        return error.sqlstate or str(error).splitlines()[0].split('FATAL:  ')[-1]
";

#[test]
fn an_agent_has_only_so_many_connections() {
    let script = "
have = [psycopg.connect('') for _ in range(3)]
print(tried(lambda: psycopg.connect('')))
have.pop().close()
time.sleep(0.5)
with psycopg.connect('') as again:
    print(again.execute('select 1').fetchone())";
    check("connections_per_agent = 3", script, "too many connections of this agent\n(1,)\n");
    check(
        "connections = 2",
        "have = [psycopg.connect('') for _ in range(2)]\nprint(tried(lambda: psycopg.connect('')))",
        "too many connections through interceptor\n",
    );
}

/// Not one that works, nor one that has no transaction open.
#[test]
fn a_transaction_is_not_left_open_for_ever() {
    let script = "
idle, busy, outside = [psycopg.connect('', autocommit=True) for _ in range(3)]
for db in idle, busy:
    db.execute('begin')
    db.execute('select count(*) from orders')
for _ in range(6):
    time.sleep(0.5)
    busy.execute('select 1')
print('busy', busy.execute('select 2').fetchone())
print('outside', outside.execute('select 3').fetchone())
print('idle', tried(lambda: idle.execute('select 4')))
busy.execute('select count(*) from orders, generate_series(1, 300000) g where g % 7 = orders.id % 5')
print('long', busy.execute('select 5').fetchone())";
    check("idle_in_transaction_seconds = 2", script, "busy (2,)\noutside (3,)\nidle 25P03\nlong (5,)\n");
}

/// What runs may end within the grace period; a session that waits ends at once, a transaction that is left open with the
/// period.
#[test]
fn a_daemon_that_is_asked_to_stop_lets_statements_end() {
    let script = "
import threading
working, waiting, open_ = [psycopg.connect('', autocommit=True) for _ in range(3)]
open_.execute('begin')
said = []
sql = 'select count(*) from generate_series(1, 6000000)'
thread = threading.Thread(target=lambda: said.append(working.execute(sql).fetchone()))
thread.start()
time.sleep(0.3)
os.kill(int(os.environ['INTERCEPTOR_DAEMON_PID']), signal.SIGTERM)
time.sleep(0.3)
print('waiting', tried(lambda: waiting.execute('select 1')))
thread.join()
print('working', said, tried(lambda: working.execute('select 1')) != 'nothing')
print('open', open_.execute('select 2').fetchone())
time.sleep(4)
print('open', tried(lambda: open_.execute('select 3')))
print('new', 'refused' in tried(lambda: psycopg.connect('')).lower())";
    check("drain_seconds = 4", script, "waiting 57P01\nworking [(6000000,)] True\nopen (2,)\nopen 57P01\nnew True\n");
}
