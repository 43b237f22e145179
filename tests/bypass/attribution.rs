//! Looking like somebody else: environments that are overwritten in place or moved, names that look like other fields, sessions that
//! are handed on, namespaces in which numbers mean something else. (Numbers that are used again, and cgroups that come back,
//! are in `tests/postgres/workload.rs`.)

use interceptor_tests::Scene;
use std::path::Path;

#[test]
fn nobody_looks_like_somebody_else() {
    let folder = std::env::temp_dir().join(format!("interceptor-looks-{:x}", rand::random::<u64>()));
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    std::fs::write(folder.join("policies/all.cedar"), "@id(\"all\") permit (principal, action, resource);").unwrap();
    std::fs::write(folder.join("further.toml"), "[identity]\nrecheck_seconds = 1\n").unwrap();
    let script = format!(
        "unset AGENT_ID_TOKEN; CG=$(awk '$3 == \"cgroup2\" {{ print $2; exit }}' /proc/mounts)$(grep '^0::' /proc/self/cgroup | cut -c4-)\n\
         exec \"$PYTHON\" {} \"$CG\"",
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass/attribution.py").display()
    );
    let scene = Scene::demo().with("--policies", folder.join("policies")).with("--config", folder.join("further.toml"));
    let outcome = scene.run(&script);
    std::fs::remove_dir_all(&folder).unwrap();
    let expected = "\
the other one: agent:theirs\n\
environment overwritten in place: 28000\n\
environment moved elsewhere: 28000\n\
nobody may look, and no token: 28000\n\
nobody may look, but the daemon: agent:ours\n\
a session that is handed to another agent: agent:theirs agent:ours\n\
a name that looks like the fields behind it: agent:ours\n\
a child that goes on with the session: agent:ours\n\
another program that goes on with it: C28000\n\
a token behind two megabytes of variables: 28000\n\
from another namespace (pid): agent:ours\n\
from another namespace (user): agent:ours\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}
