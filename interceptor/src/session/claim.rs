//! Clients that say what they are called.
//!
//! `application_name` names the agent and stays as the daemon has set it. At the start of a session a client's own name is
//! taken from it without a word; pgjdbc says it in a statement (`SET application_name = 'PostgreSQL JDBC Driver'`, as the
//! first of every connection), and would be turned away at the door. So that statement is replaced by one that does
//! nothing and is answered the same. What is sent is always [`NOTHING`], which is judged like anything else: nothing that
//! the client has written depends on how well its text was understood here.

/// Answered `SET`, and changes nothing: client_encoding is pinned to this.
pub(super) const NOTHING: &str = "SET client_encoding = 'UTF8' /* in place of SET application_name */";

/// Whether a text is `SET [SESSION] application_name { = | TO } value` and nothing else, the value a plain constant.
pub(super) fn claims_name(text: &str) -> bool {
    let Some(rest) = word(text, "set") else { return false };
    let rest = word(rest, "session").unwrap_or(rest);
    let Some(rest) = word(rest, "application_name") else { return false };
    let value = rest.strip_prefix('=').or_else(|| word(rest, "to")).map(str::trim_start);
    let Some(value) = value.and_then(|value| value.strip_prefix('\'')) else { return false };
    let Some((_, behind)) = value.split_once('\'') else { return false };
    // A doubled quote, a second statement, a comment: judged as they stand.
    matches!(behind.trim(), "" | ";")
}

/// What follows a word, whatever its case; `None` where something else stands there.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (first, rest) = text.split_at_checked(word.len())?;
    let ends = rest.chars().next().is_none_or(|next| !next.is_alphanumeric() && next != '_' && next != '$');
    (first.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::claims_name;

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(claims_name(text), expected, "{text}");
    }

    #[test]
    fn what_claims_a_name_and_nothing_else() {
        check("SET application_name = 'PostgreSQL JDBC Driver'", true);
        check(" set session Application_Name to 'x' ; ", true);
        check("SET application_name='grün'", true);
        check("SET application_name = 'x'; DROP TABLE t", false);
        check("SET application_name = 'x'' y'", false);
        check("SET application_name = E'x'", false);
        check("SET application_name = x", false);
        check("SET LOCAL application_name = 'x'", false);
        check("SET application_names = 'x'", false);
        check("SETapplication_name = 'x'", false);
        check("SET role = 'x'", false);
        check("SET", false);
        check("é", false);
    }
}
