//! Half a message: the server takes what comes next for its other half, and what comes behind that for messages. Before this test a
//! COPY that failed in the middle of a CopyData let anything run.

use interceptor_tests::Scene;
use std::path::Path;

#[test]
fn the_server_finds_no_message_within_another() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass");
    for policies in ["forbidden", "limited"] {
        let own = std::env::temp_dir().join(format!("interceptor-halves-{:x}", rand::random::<u64>()));
        std::fs::create_dir(&own).unwrap();
        std::fs::copy(folder.join(format!("halves/{policies}.cedar")), own.join("p.cedar")).unwrap();
        let outcome =
            Scene::demo().with("--policies", &own).with("--init", folder.join("halves/init.sql")).run(&format!(
                "\"$PYTHON\" {} && psql -XAtc \"select to_regclass('victim')\"",
                folder.join("halves.py").display()
            ));
        std::fs::remove_dir_all(&own).unwrap();
        let expected = "simple 0 SELECT 1\nsimple 14 SELECT 1\nextended 0 SELECT 1\nextended 14 SELECT 1\nvictim\n";
        assert_eq!(outcome.stdout, expected, "{policies}: {}", outcome.stderr);
    }
}
