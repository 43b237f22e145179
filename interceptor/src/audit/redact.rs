//! Secrets do not belong into a record that many may read.
//!
//! Only string constants and comments are touched, found by PostgreSQL's own scanner: what an agent writes into comments or names
//! cannot blank out what its statement does.

use pg_query::protobuf::Token;
use regex::Regex;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

const MARK: &str = "[redacted]";

#[expect(clippy::unwrap_used, reason = "a pattern of ours that is wrong fails every test here")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// Texts without any of these have no secret that we would know.
static SUSPECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)pass(?:word|wd|phrase)|(?:secret|token|api[_-]?key)["']*\s*(?:[=:]|')|bearer|://|eyj|gh[pousr]_|glpat-|xox[abprs]-"#,
    )
});

/// A secret's name within a text and what stands before its value: `password=`, `"token": `, `password '`.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)(?:pass(?:word|wd|phrase)|secret|token|api[_-]?key)(?:"?\s*(?:=>|:=|=|:)\s*|\s+(?<value>e?['"]|\$\$))"#,
    )
});

/// What is a secret by its form: passwords in URLs, bearer tokens, JSON Web Tokens, tokens of code hosts and chats.
static FORMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)(?<before>[a-z][a-z0-9+.-]*://[^\s/:@'"]*:)[^\s@'"/]+(?<behind>@)|(?<bearer>bearer\s+)[a-z0-9._~+/=-]{8,}|(?-i:eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,})"#,
    )
});

/// A text without the string behind every `PASSWORD` or column of such a name, and without what looks like a secret within strings
/// and comments: values behind names like `password=`, in connection strings, JSON and further SQL, and tokens. A text that
/// cannot be scanned loses everything from the first suspicious word on.
pub fn redact(text: &str) -> String {
    let Some(first) = SUSPECT.find(text).map(|found| found.start()) else {
        return text.to_owned();
    };
    let Ok(scan) = pg_query::scan(text) else {
        return format!("{}{MARK} (the text cannot be read)", text.get(..first).unwrap_or_default());
    };
    let (mut out, mut from, mut named) = (String::with_capacity(text.len()), 0, false);
    for token in &scan.tokens {
        let (Ok(start), Ok(end)) = (usize::try_from(token.start), usize::try_from(token.end)) else { continue };
        let Some(literal) = text.get(start..end) else { continue };
        let is = |kinds: &[Token]| kinds.iter().any(|kind| *kind as i32 == token.token);
        let is_comment = is(&[Token::SqlComment, Token::CComment]);
        let is_string = is(&[Token::Sconst, Token::Usconst]);
        if is_string || is_comment {
            out.push_str(text.get(from..start).unwrap_or_default());
            if is_comment {
                out.push_str(&without_formed(literal));
            } else if named {
                out.push_str(&format!("'{MARK}'"));
            } else {
                // Whatever a value is taken for, the constant ends where it does.
                let (inside, end) = literal.split_at(literal.len() - quote_length(literal));
                out.push_str(&redact_within(inside));
                out.push_str(end);
            }
            from = end;
        }
        if !is_comment {
            named = is(&[Token::Password])
                || (is(&[Token::Ident, Token::Uident]) && is_secret(literal))
                || (named && matches!(literal, "=" | ":=" | "=>"));
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Whether a name is one of a secret.
fn is_secret(name: &str) -> bool {
    let name = name.trim_matches('"').to_ascii_lowercase();
    ["password", "passwd", "passphrase", "secret", "token", "api_key", "apikey"].iter().any(|end| name.ends_with(end))
}

/// Bytes of the quote that a string constant ends in.
fn quote_length(literal: &str) -> usize {
    match literal.strip_prefix('$').and_then(|rest| rest.find('$')) {
        Some(tag) => tag + 2,
        None => usize::from(literal.ends_with('\'')),
    }
}

/// A piece of text that is no SQL, without its secrets.
pub fn redact_within(text: &str) -> Cow<'_, str> {
    if !SUSPECT.is_match(text) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for found in NAMED.captures_iter(text) {
        // Within a value there are no others, and no time is spent on them.
        let Some(whole) = found.get(0).filter(|whole| whole.start() >= from) else { continue };
        let value = value(text, found.name("value").map_or(whole.end(), |value| value.start()));
        if value.is_empty() {
            continue;
        }
        out.push_str(text.get(from..value.start).unwrap_or_default());
        out.push_str(MARK);
        from = value.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(without_formed(&out).into_owned())
}

fn without_formed(text: &str) -> Cow<'_, str> {
    FORMED.replace_all(text, format!("${{before}}${{bearer}}{MARK}${{behind}}"))
}

/// A value that begins here, without its quotes. They may be doubled any number of times, as they are within strings.
fn value(text: &str, at: usize) -> Range<usize> {
    let rest = text.get(at..).unwrap_or_default();
    let quoted = rest.strip_prefix(['e', 'E']).filter(|rest| rest.starts_with(['\'', '"'])).unwrap_or(rest);
    let start = text.len() - quoted.len();
    if let Some(dollars) = quoted.strip_prefix("$$") {
        return start + 2..start + 2 + dollars.find("$$").unwrap_or(dollars.len());
    }
    let Some(quote) = quoted.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let end = rest.find(|c: char| c.is_whitespace() || "'\";&,)}]".contains(c)).unwrap_or(rest.len());
        return at..at + end;
    };
    let run = |from: usize| text.get(from..).unwrap_or_default().chars().take_while(|c| *c == quote).count();
    let opening = run(start);
    let begin = start + opening;
    let mut end = begin;
    while let Some(found) = text.get(end..).and_then(|rest| rest.find(quote)) {
        end += found;
        let quotes = run(end);
        // Doubled, a quote is part of the value.
        if quotes % (2 * opening) != 0 {
            return begin..end;
        }
        end += quotes;
    }
    begin..text.len()
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
        check(
            "do $$ begin execute 'alter role x password ''se''''cret'' login'; end $$",
            "do $$ begin execute 'alter role x password ''[redacted]'' login'; end $$",
        );
        check("select 'alter role x password ''y'''", "select 'alter role x password ''[redacted]'''");
        check("select $$alter role x PASSWORD e'y'$$", "select $$alter role x PASSWORD e'[redacted]'$$");
        check("select $a$password='y$a$ || 'b'", "select $a$password='[redacted]$a$ || 'b'");
        check("select dblink('host=a sslpassword=abc')", "select dblink('host=a sslpassword=[redacted]')");
        check(
            "create server s options (sslpassword 'abc', \"Password\" 'd', user 'e')",
            "create server s options (sslpassword '[redacted]', \"Password\" '[redacted]', user 'e')",
        );
        check(
            "create subscription s connection 'postgresql://u:p%40w@h:5432/d?x=y'",
            "create subscription s connection 'postgresql://u:[redacted]@h:5432/d?x=y'",
        );
        check("select 'http://h:8080/path'", "select 'http://h:8080/path'");
        check(
            "insert into t values ('{\"password\": \"a b\", \"c\": 1}')",
            "insert into t values ('{\"password\": \"[redacted]\", \"c\": 1}')",
        );
        check("update u set api_token = 'abc' where a = 'b'", "update u set api_token = '[redacted]' where a = 'b'");
        check(
            "copy t to program 'curl -H \"Authorization: Bearer abcdefgh.1\"'",
            "copy t to program 'curl -H \"Authorization: Bearer [redacted]\"'",
        );
        check("select 1 /* ghp_0123456789012345678901234567890123 */", "select 1 /* [redacted] */");
        check("select 'the password is wrong', 'a token of it'", "select 'the password is wrong', 'a token of it'");
        check("select token from t where id = 'x'", "select token from t where id = 'x'");
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
        redact(&format!("select '{}'", "password=\"".repeat(7000)));
        redact(&format!("select $a${}$a$", "password ''".repeat(7000)));
        redact(&format!("select '{}'", "a://b:c".repeat(9000)));
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
