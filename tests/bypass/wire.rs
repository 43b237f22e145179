//! Bytes that two parsers read differently: behind a terminator, past a length, within a batch.

use interceptor_tests::Scene;

#[test]
fn frames_hold_what_they_say() {
    let outcome = Scene::demo().run(&format!("\"$PYTHON\" - <<'EOF'\n{}\nEOF", include_str!("wire.py")));
    let expected = "\
bytes behind the NUL: FATAL 08P01\n\
no NUL: FATAL 08P01\n\
length below four: FATAL 08P01\n\
length of two gigabytes: FATAL 08P01\n\
unknown message: FATAL 08P01\n\
a second start-up: FATAL 08P01\n\
password after log-in: FATAL 08P01\n\
function call: ERROR 0A000\n\
bind with a negative length: FATAL 08P01\n\
not UTF-8: ERROR 22021\n\
refused in a batch: ERROR 42501\n\
refused in a transaction: ERROR 42501, then 25P02, then ROLLBACK\n\
nothing was dropped: t\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}
