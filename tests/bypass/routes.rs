//! Routes that a hostile review found past everything else that is tested, and honest statements that it found refused.

use interceptor_tests::Scene;

#[test]
fn no_route_leads_past_masks_forbids_and_limits() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/bypass/routes");
    let outcome = Scene::demo()
        .with("--init", format!("{here}/schema.sql"))
        .with("--policies", format!("{here}/policies"))
        .run(&format!("$PYTHON {here}/routes.py && $INTERCEPTOR audit verify"));
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("checked"), "{}", outcome.stdout);
}
