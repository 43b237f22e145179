//! Documents: rustdoc without warnings, and links that lead somewhere.

use crate::{
    progress::openly,
    workspace::{cargo, root},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn check() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--package", "interceptor", "--lib", "--no-deps", "--document-private-items", "--quiet"]);
    openly(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    let mut dead = Vec::new();
    for file in documents(&root())? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let lost = links(&text).into_iter().filter(|(_, link)| !folder.join(link).exists());
        dead.extend(lost.map(|(line, link)| {
            format!("{}:{line}: `{link}` is not there", file.strip_prefix(root()).unwrap_or(&file).display())
        }));
    }
    if dead.is_empty() {
        return Ok(());
    }
    dead.iter().for_each(|link| eprintln!("{link}"));
    bail!("{} links lead nowhere", dead.len())
}

fn documents(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            files.extend(documents(&path)?);
        } else if path.extension().is_some_and(|kind| kind == "md") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Targets of `[text](target)` that are files here, with their lines; code blocks aside.
fn links(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut code) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let Some((target, _)) = part.split_once(')') else { continue };
            let target = target.split(['#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number + 1, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::links;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let found = links(text);
        assert_eq!(found.iter().map(|(line, link)| (*line, link.as_str())).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn links_to_files_are_found() {
        check("[a](b.md) and [c](d/e.md#f)", &[(1, "b.md"), (1, "d/e.md")]);
        check("x\n![image](picture.svg \"title\")", &[(2, "picture.svg")]);
        check("[a](https://x.example/y) [b](#here) [c](mailto:x@y.example)", &[]);
        check("```\n[a](b)\n```\n[c](d)", &[(4, "d")]);
        check("array[0](x", &[]);
    }
}
