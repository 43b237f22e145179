//! The floor plan as a table, and whether the code keeps to it.
//!
//! A room imports only from floors below its own, and of those only what its row names. Moving a wall means changing this
//! table in the same commit (ARCHITECTURE.md has the drawing).

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One room of `interceptor/src`.
struct Room {
    floor: u8,
    name: &'static str,
    imports: &'static [&'static str],
}

/// What tests of every room may have; there is none of it in the program.
const FOR_TESTS: &str = "scratch";

const PLAN: &[Room] = &[
    Room {
        floor: 8,
        name: "cli",
        imports: &[
            "admin",
            "app",
            "approval",
            "audit",
            "config",
            "identity",
            "policy",
            "proxy",
            "redirect",
            "sql",
            "telemetry",
        ],
    },
    Room {
        floor: 7,
        name: "app",
        imports: &[
            "admin",
            "approval",
            "audit",
            "config",
            "identity",
            "mask",
            "policy",
            "proxy",
            "redirect",
            "sql",
            "telemetry",
        ],
    },
    Room {
        floor: 6,
        name: "config",
        imports: &["admin", "approval", "audit", "identity", "mask", "policy", "proxy", "redirect"],
    },
    Room {
        floor: 5,
        name: "admin",
        imports: &["approval", "audit", "identity", "policy", "proxy", "redirect", "sql", "telemetry"],
    },
    Room {
        floor: 4,
        name: "proxy",
        imports: &[
            "approval",
            "audit",
            "identity",
            "mask",
            "policy",
            "redirect",
            "session",
            "sql",
            "telemetry",
            "wire",
        ],
    },
    Room {
        floor: 3,
        name: "session",
        imports: &["approval", "audit", "identity", "mask", "policy", "sql", "telemetry", "wire"],
    },
    Room { floor: 2, name: "approval", imports: &[] },
    Room { floor: 2, name: "mask", imports: &["policy", "wire"] },
    Room { floor: 2, name: "audit", imports: &["sql"] },
    Room { floor: 1, name: "policy", imports: &["identity", "sql"] },
    Room { floor: 1, name: "redirect", imports: &[] },
    Room { floor: 0, name: "identity", imports: &[] },
    Room { floor: 0, name: "sql", imports: &[] },
    Room { floor: 0, name: "telemetry", imports: &[] },
    Room { floor: 0, name: "wire", imports: &[] },
];

/// Reports every import that the plan does not have.
pub(crate) fn check() -> Result<()> {
    let source = workspace::root().join("interceptor/src");
    let mut faults = plan_faults(PLAN);
    for entry in fs::read_dir(&source).with_context(|| format!("cannot read `{}`", source.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match PLAN.iter().find(|room| room.name == name) {
            Some(room) => {
                for file in sources(&path)? {
                    let text =
                        fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
                    let place = file.strip_prefix(workspace::root()).unwrap_or(&file).display().to_string();
                    faults.extend(
                        room_faults(room, &text).into_iter().map(|(line, fault)| format!("{place}:{line}: {fault}")),
                    );
                }
            }
            None if name == "lib" || name == "main" || name == FOR_TESTS => {}
            None => faults
                .push(format!("interceptor/src/{name} is not in the floor plan: give it a row in xtask/src/layers.rs")),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    bail!("{} imports or rooms do not keep to the floor plan", faults.len())
}

/// The table itself must go down.
fn plan_faults(plan: &[Room]) -> Vec<String> {
    let floor = |name: &str| plan.iter().find(|room| room.name == name).map(|room| room.floor);
    let edges = plan.iter().flat_map(|room| room.imports.iter().map(move |import| (room, *import)));
    let up = edges.filter(|(room, import)| floor(import).is_none_or(|below| below >= room.floor));
    up.map(|(room, import)| format!("the plan lets `{}` import `{import}`, which is not below it", room.name)).collect()
}

fn sources(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(if path.extension().is_some_and(|kind| kind == "rs") { vec![path.to_owned()] } else { Vec::new() });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.display()))? {
        files.extend(sources(&entry?.path())?);
    }
    files.sort();
    Ok(files)
}

/// What a file imports of other rooms that its room's row does not name, with the line.
fn room_faults(room: &Room, text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (line, import) in imports(text) {
        let fault = if import == "*" {
            "imports everything of the crate: name the room".to_owned()
        } else if import == room.name || import == FOR_TESTS || room.imports.contains(&import.as_str()) {
            continue;
        } else {
            match PLAN.iter().find(|other| other.name == import) {
                Some(other) if other.floor >= room.floor => {
                    format!(
                        "`{}` on floor {} imports `{import}` on floor {}: imports go down",
                        room.name, room.floor, other.floor
                    )
                }
                Some(_) => {
                    format!("`{}` imports `{import}`, which its row in xtask/src/layers.rs does not name", room.name)
                }
                None => format!("`crate::{import}` is not a room"),
            }
        };
        faults.push((line, fault));
    }
    faults
}

/// Every `crate::ROOM` and every member of `crate::{...}`, wherever it stands in the code.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code = without_comments(text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `some_crate::` are other things.
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => heads(list),
            None => vec![head(rest)],
        };
        found.extend(names.into_iter().map(|name| (line, name)));
    }
    found
}

/// The first names in a list of use-trees, up to its closing brace.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 0);
    for (at, sign) in list.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(head(list[start..at].trim_start()));
                start = at + 1;
                if sign == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn head(path: &str) -> String {
    if path.starts_with('*') {
        "*".to_owned()
    } else {
        path.chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect()
    }
}

/// Line comments only: the house uses no others, and documentation may mention any room.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{PLAN, Room, imports, plan_faults, room_faults};

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<_> = imports(text).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        check("use crate::wire::Frame;", &["wire"]);
        check("use crate::{wire::{Frame, Tag}, sql, policy::*};", &["wire", "sql", "policy"]);
        check("use crate::{\n    wire,\n    sql::{self, Catalog},\n};", &["wire", "sql"]);
        check("let x: crate::wire::Frame = crate::sql::parse();", &["wire", "sql"]);
        check("use crate::*;", &["*"]);
        check("pub(crate) fn f() {}", &[]);
        check("// use crate::wire;\n//! [`crate::sql`]", &[]);
        check("other_crate::wire; $crate::wire;", &[]);
    }

    #[test]
    fn what_the_plan_does_not_have_is_a_fault() {
        let policy = PLAN.iter().find(|room| room.name == "policy").unwrap();
        #[track_caller]
        fn check(room: &Room, text: &str, expected: &[&str]) {
            let found: Vec<_> =
                room_faults(room, text).into_iter().map(|(line, fault)| format!("{line}: {fault}")).collect();
            assert_eq!(found, expected, "{text}");
        }
        check(policy, "use crate::sql::Catalog;\nuse crate::policy::Permit;", &[]);
        check(policy, "\nuse crate::proxy;", &["2: `policy` on floor 1 imports `proxy` on floor 4: imports go down"]);
        check(
            policy,
            "use crate::redirect;",
            &["1: `policy` on floor 1 imports `redirect` on floor 1: imports go down"],
        );
        check(
            policy,
            "use crate::wire;",
            &["1: `policy` imports `wire`, which its row in xtask/src/layers.rs does not name"],
        );
        check(policy, "use crate::scratch::Scratch;", &[]);
        check(policy, "use crate::nothing;", &["1: `crate::nothing` is not a room"]);
        check(policy, "use crate::*;", &["1: imports everything of the crate: name the room"]);
    }

    #[test]
    fn the_plan_goes_down() {
        assert_eq!(plan_faults(PLAN), Vec::<String>::new());
    }
}
