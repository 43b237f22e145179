//! Patterns over names: `*` for any characters but `/`, `**` for any, `{name}` for what `*` stands for, with a name.

use std::collections::BTreeMap;

/// Whether a value is what a pattern means; names what the named parts of it stand for. A name that stands twice has to
/// stand for the same.
pub(super) fn matches(pattern: &str, value: &str, found: &mut BTreeMap<String, String>) -> bool {
    let (literal, rest) = match pattern.find(['*', '{']) {
        None => return pattern == value,
        Some(at) => pattern.split_at(at),
    };
    let Some(value) = value.strip_prefix(literal) else { return false };
    let (name, any, rest) = if let Some(rest) = rest.strip_prefix("**") {
        (None, true, rest)
    } else if let Some(rest) = rest.strip_prefix('*') {
        (None, false, rest)
    } else {
        match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, rest)) => (Some(name), false, rest),
            None => return false,
        }
    };
    let ends = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    for end in ends {
        let Some((part, behind)) = value.split_at_checked(end) else { return false };
        if !any && part.contains('/') {
            return false;
        }
        if let Some(name) = name
            && (part.is_empty() || found.get(name).is_some_and(|known| known != part))
        {
            continue;
        }
        let mut trial = found.clone();
        trial.extend(name.map(|name| (name.to_owned(), part.to_owned())));
        if matches(rest, behind, &mut trial) {
            *found = trial;
            return true;
        }
    }
    false
}

/// The names in a text.
pub(super) fn names(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect()
}

/// A text with its names replaced by what they stand for.
pub(super) fn fill(text: &str, found: &BTreeMap<String, String>) -> String {
    found.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::{fill, matches, names};
    use std::collections::BTreeMap;

    #[track_caller]
    fn check(pattern: &str, value: &str, expected: Option<&str>) {
        let mut found = BTreeMap::new();
        let fits = matches(pattern, value, &mut found);
        let said = found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        assert_eq!(fits.then_some(said).as_deref(), expected, "{pattern} {value}");
    }

    #[test]
    fn patterns() {
        check("a", "a", Some(""));
        check("a", "ab", None);
        check("*", "", Some(""));
        check("*", "a/b", None);
        check("**", "a/b", Some(""));
        check("repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main", Some(""));
        check("repo:acme/*:ref:refs/heads/main", "repo:acme/app/x:ref:refs/heads/main", None);
        check("/ci/{job}/**", "/ci/a/b/c", Some("job=a"));
        check("/ci/{job}", "/ci/", None);
        check("{x}-{x}", "a-a", Some("x=a"));
        check("{x}-{x}", "a-b", None);
        check("a*c*e", "abcde", Some(""));
        check("{", "{", None);
        assert_eq!(names("a{b}c{d}"), ["b", "d"]);
        assert_eq!(fill("agent:{job}", &BTreeMap::from([("job".to_owned(), "7".to_owned())])), "agent:7");
    }
}
