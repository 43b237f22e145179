//! Secrets do not belong into a record that many may read.
//!
//! Only string constants are touched, found by PostgreSQL's own scanner: what an agent writes into comments or names
//! cannot blank out what its statement does.

use pg_query::protobuf::Token;

const MARK: &str = "[redacted]";

/// A text without the string behind every `PASSWORD`, without passwords in connection strings, and without what looks like
/// a JSON Web Token in a string. A text that cannot be scanned loses everything from the first such word on.
pub fn redact(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let Some(first) = [lower.find("password"), text.find("eyJ")].into_iter().flatten().min() else {
        return text.to_owned();
    };
    let Ok(scan) = pg_query::scan(text) else {
        return format!("{}{MARK} (the text cannot be read)", text.get(..first).unwrap_or_default());
    };
    let (mut out, mut from, mut after_password) = (String::with_capacity(text.len()), 0, false);
    for token in &scan.tokens {
        let (Ok(start), Ok(end)) = (usize::try_from(token.start), usize::try_from(token.end)) else { continue };
        let Some(literal) = text.get(start..end) else { continue };
        let is_string = [Token::Sconst, Token::Usconst].iter().any(|kind| *kind as i32 == token.token);
        if is_string {
            out.push_str(text.get(from..start).unwrap_or_default());
            out.push_str(&if after_password { format!("'{MARK}'") } else { inside(literal) });
            from = end;
        }
        let is_comment = [Token::SqlComment, Token::CComment].iter().any(|kind| *kind as i32 == token.token);
        if !is_comment {
            after_password = token.token == Token::Password as i32 || (after_password && literal == "=");
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// A string constant without its secrets: values behind `password=`, and tokens.
fn inside(literal: &str) -> String {
    let lower = literal.to_ascii_lowercase();
    let (mut out, mut at) = (String::with_capacity(literal.len()), 0);
    while let Some(rest) = literal.get(at..).filter(|rest| !rest.is_empty()) {
        let assigned = lower.get(at..).and_then(|rest| rest.strip_prefix("password"));
        let assigned = assigned.map(|rest| rest.trim_start()).filter(|rest| rest.starts_with('='));
        let run =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).unwrap_or(rest.len());
        if let Some(value) = assigned {
            let start = literal.len() - value.len() + 1;
            let value = literal.get(start..).unwrap_or_default();
            let value_start = start + (value.len() - value.trim_start().len());
            let value = literal.get(value_start..).unwrap_or_default();
            let end = value.find([' ', '\'', '"', ';', '&']).unwrap_or(value.len());
            out.push_str(literal.get(at..value_start).unwrap_or_default());
            out.push_str(MARK);
            at = value_start + end;
        } else if run > 20
            && rest.starts_with("eyJ")
            && rest.get(..run).is_some_and(|run| run.matches('.').count() >= 2)
        {
            out.push_str(MARK);
            at += run;
        } else {
            // A word cannot begin within a word: whole runs at a time.
            let step = if run > 0 { run } else { rest.chars().next().map_or(1, char::len_utf8) };
            out.push_str(rest.get(..step).unwrap_or_default());
            at += step;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redact(text), expected);
    }

    #[test]
    fn secrets_are_taken_out() {
        check("select 1", "select 1");
        check("alter role x password 'se''cret' valid until 'x'", "alter role x password '[redacted]' valid until 'x'");
        check("ALTER ROLE x PASSWORD E'a'", "ALTER ROLE x PASSWORD '[redacted]'");
        check("alter role x password /* ' */ $$a$$", "alter role x password /* ' */ '[redacted]'");
        check("select dblink('host=a password=abc user=b')", "select dblink('host=a password=[redacted] user=b')");
        check("select dblink('password = abc')", "select dblink('password = [redacted]')");
        check(
            "create user mapping for x server y options (user 'a', password 'b')",
            "create user mapping for x server y options (user 'a', password '[redacted]')",
        );
        check("select password from users", "select password from users");
        check("select 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln'", "select '[redacted]'");
        check("select 'eyJ'", "select 'eyJ'");
        check("selec password 'open", "selec [redacted] (the text cannot be read)");
    }

    #[test]
    fn what_a_statement_does_cannot_be_blanked_out() {
        check(
            "update o set s = s /* password ' */ where id = 6 /* ' */",
            "update o set s = s /* password ' */ where id = 6 /* ' */",
        );
        check("select 1 from/*password='*/customers/*'*/", "select 1 from/*password='*/customers/*'*/");
        check("select eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln", "select eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln");
    }

    #[test]
    fn repetition_does_not_stall_it() {
        // One pass each; a search that starts anew for every hit would not end while somebody watches.
        redact(&"password '' ".repeat(5000));
        redact(&format!("select '{}'", "eyJ".repeat(20_000)));
        redact(&format!("select '{}'", "password=".repeat(7000)));
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "\\PC{0,120}") {
            let _ = redact(&text);
        }

        #[test]
        fn passwords_never_panic(text in "(password|PASSWORD|=|'|E| |a|;|ä|eyJ|\\.){0,30}") {
            let _ = redact(&text);
        }
    }
}
