//! Masks and limits through the real redirect, with a real driver: what leaves, what is taken back, and in which state the
//! session is afterwards.

use interceptor_tests::Scene;

#[test]
fn masks_and_limits_hold_by_every_route() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/postgres");
    let outcome = Scene::demo()
        .with("--policies", format!("{here}/masks"))
        .run(&format!("$PYTHON {here}/masks.py && $INTERCEPTOR audit verify"));
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("checked"), "{}", outcome.stdout);
}
