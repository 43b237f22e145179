//! `labels.toml`: labels for columns by patterns over their names and types, and functions that are known to be harmless.
//!
//! ```toml
//! [[label]]
//! name = "personal"
//! columns = ["*.*.email", "shop.customers.phone", "*_ssn"]   # [schema.[relation.]]column, `*` for anything
//! types = ["inet"]                                          # as format_type prints them; both where both are given
//!
//! [functions]
//! transparent = ["app.add_tax"]                             # reads and writes nothing, whatever its language
//! ```

use crate::sql::{Catalog, Relation, bases};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ops::Range;

/// Its name in the policy folder.
pub(super) const FILE: &str = "labels.toml";

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Labels {
    rules: Vec<Rule>,
    transparent: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    label: String,
    columns: Vec<Pattern>,
    types: Vec<String>,
}

/// Parts from the right: column, relation, schema.
#[derive(Debug)]
struct Pattern(Vec<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    label: Vec<Entry>,
    #[serde(default)]
    functions: Functions,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Functions {
    #[serde(default)]
    transparent: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: toml::Spanned<String>,
    #[serde(default)]
    columns: Vec<toml::Spanned<String>>,
    #[serde(default)]
    types: Vec<String>,
}

/// Where in the file, in bytes, and what.
type Wrong = (Option<usize>, String);

impl Labels {
    /// Reads the file; all that is wrong at once.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Wrong>> {
        let file: File = toml::from_str(text)
            .map_err(|error| vec![(error.span().map(|Range { start, .. }| start), error.message().to_owned())])?;
        let mut wrong = Vec::new();
        let mut labels = Self { rules: Vec::new(), transparent: file.functions.transparent };
        for entry in file.label {
            let at = Some(entry.name.span().start);
            if entry.name.get_ref().is_empty() {
                wrong.push((at, "a label without a name".to_owned()));
            }
            if entry.columns.is_empty() && entry.types.is_empty() {
                let name = entry.name.get_ref();
                wrong.push((at, format!("label `{name}` has neither `columns` nor `types`: it would label nothing")));
            }
            let mut columns = Vec::new();
            for pattern in entry.columns {
                let at = Some(pattern.span().start);
                match Pattern::read(pattern.get_ref()) {
                    Some(pattern) => columns.push(pattern),
                    None => wrong.push((
                        at,
                        format!(
                            "`{}` is no pattern: write column, relation.column or schema.relation.column",
                            pattern.get_ref()
                        ),
                    )),
                }
            }
            labels.rules.push(Rule { label: entry.name.into_inner(), columns, types: entry.types });
        }
        if wrong.is_empty() { Ok(labels) } else { Err(wrong) }
    }

    /// The labels of a column: by name and type, by comment, and of the columns that it rests on.
    pub(super) fn of_column(&self, catalog: &Catalog, relation: &Relation, column: &str) -> BTreeSet<String> {
        let mut labels = BTreeSet::new();
        self.own(relation, column, &mut labels);
        for (under, name) in bases(catalog, &(relation.id.clone(), column.into())) {
            if let Some(under) = catalog.get(&under) {
                self.own(under, &name, &mut labels);
            }
        }
        labels
    }

    /// The labels that a comment gives a relation.
    pub(super) fn of_relation(&self, relation: &Relation) -> BTreeSet<String> {
        relation.labels("").map(ToString::to_string).collect()
    }

    fn own(&self, relation: &Relation, column: &str, labels: &mut BTreeSet<String>) {
        labels.extend(relation.labels(column).map(ToString::to_string));
        let Some(found) = relation.columns.iter().find(|known| *known.name == *column) else { return };
        let names = [column, &relation.id.name, &relation.id.schema];
        for rule in &self.rules {
            let by_name = rule.columns.is_empty() || rule.columns.iter().any(|pattern| pattern.matches(names));
            let by_type = rule.types.is_empty() || rule.types.iter().any(|name| **name == *found.type_name);
            if by_name && by_type {
                labels.insert(rule.label.clone());
            }
        }
    }

    /// Whether somebody vouches for a function, `schema.name`.
    pub(super) fn is_transparent(&self, name: &str) -> bool {
        self.transparent.iter().any(|known| known == name)
    }
}

impl Pattern {
    fn read(text: &str) -> Option<Self> {
        let parts: Vec<String> = text.split('.').rev().map(str::to_owned).collect();
        ((1..=3).contains(&parts.len()) && parts.iter().all(|part| !part.is_empty())).then_some(Self(parts))
    }

    fn matches(&self, names: [&str; 3]) -> bool {
        self.0.iter().zip(names).all(|(pattern, name)| glob(pattern.as_bytes(), name.as_bytes()))
    }
}

/// `*` stands for any characters; everything else for itself, in either case.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen, mut star, mut mark) = (0, 0, None, 0);
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some(at);
                mark = seen;
                at += 1;
            }
            Some(byte) if text.get(seen).is_some_and(|other| other.eq_ignore_ascii_case(byte)) => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some(back) => {
                    at = back + 1;
                    mark += 1;
                    seen = mark;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let parts: Vec<&str> = name.rsplit('.').collect();
        let [column, relation, schema] = parts.as_slice() else { panic!("{name}") };
        assert_eq!(Pattern::read(pattern).unwrap().matches([column, relation, schema]), expected, "{pattern} {name}");
    }

    #[test]
    fn patterns_match_from_the_column_up() {
        check("email", "public.users.email", true);
        check("email", "public.users.work_email", false);
        check("*email*", "public.users.work_Email2", true);
        check("users.email", "hr.users.email", true);
        check("public.users.email", "hr.users.email", false);
        check("*.users.*", "hr.users.x", true);
        check("*a*b*c", "p.t.xaybzc", true);
        check("*a*b*c", "p.t.xaybzcd", false);
    }

    #[track_caller]
    fn mistakes(text: &str, expected: &str) {
        let said = match Labels::read(text) {
            Ok(labels) => format!("{} rules", labels.rules.len()),
            Err(wrong) => wrong.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; "),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn the_file_is_read_or_everything_wrong_with_it_is_said() {
        mistakes(
            "[[label]]\nname = 'personal'\ncolumns = ['*.email']\n[functions]\ntransparent = ['app.f']",
            "1 rules",
        );
        mistakes("[[label]]\nname = 'x'\n", "label `x` has neither `columns` nor `types`: it would label nothing");
        mistakes(
            "[[label]]\nname = ''\ncolumns = ['a.b.c.d']\n",
            "a label without a name; `a.b.c.d` is no pattern: write column, relation.column or schema.relation.column",
        );
        mistakes("[[lable]]\nname = 'x'\n", "unknown field `lable`, expected `label` or `functions`");
    }
}
