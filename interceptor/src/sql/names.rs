//! Identifiers, as PostgreSQL writes and cuts them.

/// Longest name in bytes (NAMEDATALEN - 1).
const LONGEST: usize = 63;

/// An identifier as `quote_ident` would print it: in quotes unless it is lower case and plain.
pub fn quoted(name: &str) -> String {
    let mut characters = name.chars();
    let plain = characters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// What the server makes of a name that is too long: cut at 63 bytes, never within a character.
///
/// The tree of libpg_query holds names that its scanner has cut already; names that arrive in strings
/// (`set_config`, protocol messages) or from the second reader have not been.
pub(super) fn truncated(name: &str) -> &str {
    let mut end = LONGEST.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(quoted(name), expected);
    }

    #[test]
    fn identifiers_are_quoted_when_they_have_to_be() {
        check("orders", "orders");
        check("_x1", "_x1");
        check("Orders", "\"Orders\"");
        check("1st", "\"1st\"");
        check("a\"b", "\"a\"\"b\"");
        check("", "\"\"");
        check("a.b", "\"a.b\"");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(truncated(&"a".repeat(70)), "a".repeat(63));
        assert_eq!(truncated(&"ä".repeat(40)), "ä".repeat(31));
        assert_eq!(truncated("short"), "short");
    }
}
