//! What is refused before any parser sees it.
//!
//! PostgreSQL's lexer is quadratic in the length of a run of operator characters: it takes the longest run and then
//! backs up to the comment that starts in it. Ten thousand nested `/*` take it more than a second, and the server as
//! well, so refusing such runs protects both. Measured: `facts` of the design, 40 kB of `/*` in 1.1 s.

use super::position;

/// Longest text in bytes.
pub(super) const LONGEST: usize = 16 << 20;
/// Most of it that is neither a comment nor within quotes, in bytes: trees take hundreds of times what their text does.
const MOST_CODE: usize = 1 << 20;
/// Deepest nesting of brackets. PostgreSQL's own parser gives up between 2,000 and 30,000.
const DEEPEST: usize = 1000;
/// Longest run of operator characters in bytes, outside strings, quoted names and line comments.
const LONGEST_RUN: usize = 256;
/// Longest message of the parser that is passed on, in characters.
const LONGEST_MESSAGE: usize = 300;
/// Most statements in one text.
const MOST_STATEMENTS: usize = 1000;

/// Why a text is not looked at any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is no SQL.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
        /// Where it says so, in characters from 1.
        position: Option<usize>,
    },
    /// It is longer than accepted.
    #[error("statement of {0} bytes is longer than the {LONGEST} that are accepted")]
    TooLong(usize),
    /// There is more of it outside comments and strings than accepted.
    #[error("statement has more than {MOST_CODE} bytes outside comments and quotes")]
    TooMuch,
    /// It is nested or tangled deeper than the parser follows.
    #[error("statement is too complex: {0}")]
    TooComplex(String),
}

impl Rejection {
    pub(super) fn from_parser(error: &pg_query::Error, text: &str) -> Self {
        let whole = message(error);
        // It quotes the text where it went wrong, all of it if need be.
        let message: String = whole.chars().take(LONGEST_MESSAGE).collect();
        if ["stack depth limit", "memory exhausted", "recursion limit", "nested too deeply"]
            .iter()
            .any(|sign| message.contains(sign))
        {
            Self::TooComplex(message)
        } else {
            Self::Syntax { message, position: position::of(&whole, text) }
        }
    }
}

/// What the parser says, without what its binding says about it.
pub(super) fn message(error: &pg_query::Error) -> String {
    let message = error.to_string();
    message.strip_prefix("Invalid statement: ").unwrap_or(&message).to_owned()
}

/// Looks at sizes and runs only; what it lets through may still be anything.
pub(super) fn check(text: &str) -> Result<(), Rejection> {
    if text.len() > LONGEST {
        return Err(Rejection::TooLong(text.len()));
    }
    let outside = Outside::new(text.as_bytes());
    let (mut run, mut statements, mut depth, mut code) = (0, 1, 0_usize, 0);
    for (byte, is_code) in outside {
        run = if is_operator(byte) { run + 1 } else { 0 };
        if run > LONGEST_RUN {
            return Err(Rejection::TooComplex(format!("more than {LONGEST_RUN} operator characters in a row")));
        }
        if !is_code {
            continue;
        }
        code += 1;
        if code > MOST_CODE {
            return Err(Rejection::TooMuch);
        }
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(Rejection::TooComplex(format!("nested more than {DEEPEST} deep")));
        }
        statements += usize::from(byte == b';');
        if statements > MOST_STATEMENTS {
            return Err(Rejection::TooComplex(format!("more than {MOST_STATEMENTS} statements in one message")));
        }
    }
    Ok(())
}

/// The characters that PostgreSQL's operators are made of (`scan.l`, `op_chars`).
fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

/// The bytes of a text outside string constants, quoted names and line comments; with each whether it is code, and not
/// in a block comment.
struct Outside<'a> {
    rest: &'a [u8],
    last: u8,
    /// How many block comments are open: they nest.
    comments: usize,
}

impl<'a> Outside<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, last: b' ', comments: 0 }
    }

    /// Skips to behind the first `end` that is not escaped by a backslash (where those count).
    fn skip_quoted(&mut self, end: u8, backslash: bool) {
        let mut escaped = false;
        let close = self.rest.iter().position(|byte| {
            let closes = *byte == end && !escaped;
            escaped = backslash && *byte == b'\\' && !escaped;
            closes
        });
        self.rest = close.and_then(|at| self.rest.get(at + 1..)).unwrap_or_default();
    }

    /// Skips a dollar-quoted string whose opening `$` has just been eaten; leaves a lone dollar alone.
    fn skip_dollar(&mut self) {
        let Some(tag) = self.rest.iter().position(|byte| *byte == b'$') else { return };
        let (name, behind) = self.rest.split_at(tag);
        let is_tag = name.first().is_none_or(|first| !first.is_ascii_digit())
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80);
        if !is_tag {
            return;
        }
        let delimiter: Vec<u8> = [b"$", name, b"$"].concat();
        let body = behind.get(1..).unwrap_or_default();
        let close = body.windows(delimiter.len()).position(|window| window == delimiter);
        self.rest = close.and_then(|at| body.get(at + delimiter.len()..)).unwrap_or_default();
    }
}

impl Iterator for Outside<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        let before = std::mem::replace(&mut self.last, byte);
        let pair = (byte, self.rest.first());
        if self.comments > 0 {
            // Quotes mean nothing in here.
            if let (b'/', Some(b'*')) | (b'*', Some(b'/')) = pair {
                self.comments = if byte == b'/' { self.comments + 1 } else { self.comments - 1 };
                self.rest = self.rest.get(1..).unwrap_or_default();
            }
            return Some((byte, false));
        }
        match byte {
            b'/' if pair.1 == Some(&b'*') => {
                self.comments = 1;
                self.rest = self.rest.get(1..).unwrap_or_default();
                return Some((byte, false));
            }
            b'\'' => self.skip_quoted(b'\'', matches!(before, b'e' | b'E')),
            b'"' => self.skip_quoted(b'"', false),
            b'$' if !before.is_ascii_alphanumeric() && before != b'_' => self.skip_dollar(),
            b'-' if self.rest.first() == Some(&b'-') => self.skip_quoted(b'\n', false),
            _ => {}
        }
        Some((byte, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn outside(text: &str, expected: &str) {
        let bytes: Vec<u8> =
            Outside::new(text.as_bytes()).filter(|(_, is_code)| *is_code).map(|(byte, _)| byte).collect();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    #[test]
    fn strings_and_names_are_skipped() {
        outside("a 'b;''c' d", "a '' d");
        outside("e'\\';' x", "e' x");
        outside("'\\';' x", "';'");
        outside("\"a;\" b", "\" b");
        outside("$$ ; $$ b", "$ b");
        outside("$a$ ; $$ ; $a$ b", "$ b");
        outside("$1 + $2", "$1 + $2");
        outside("a -- ;\nb", "a -b");
        outside("'open", "'");
        outside("a /* ; ' */ b", "a  b");
        outside("a /* /* ; */ ; */ b", "a  b");
    }

    #[track_caller]
    fn check_text(text: &str, expected: &str) {
        let said = check(text).map_or_else(|error| error.to_string(), |()| "fine".to_owned());
        assert_eq!(said, expected);
    }

    #[test]
    fn hostile_texts_are_refused_before_they_are_parsed() {
        check_text("select 1", "fine");
        check_text(&format!("-- {}\nselect 1", "-".repeat(500)), "fine");
        check_text(&format!("select '{}'", "=".repeat(500)), "fine");
        check_text(&format!("/{}/ select 1", "*".repeat(200)), "fine");
        check_text(&"/*".repeat(10_000), "statement is too complex: more than 256 operator characters in a row");
        check_text(&"+-".repeat(10_000), "statement is too complex: more than 256 operator characters in a row");
        check_text(&"select 1;".repeat(1500), "statement is too complex: more than 1000 statements in one message");
        check_text(&"/* */".repeat(10_000), "fine");
        check_text(
            &" ".repeat(LONGEST + 1),
            "statement of 16777217 bytes is longer than the 16777216 that are accepted",
        );
        check_text(&" ".repeat(MOST_CODE + 1), "statement has more than 1048576 bytes outside comments and quotes");
        check_text(&format!("select '{}'", "x".repeat(MOST_CODE + 1)), "fine");
        check_text(&format!("select /*{}*/ 1", "x".repeat(MOST_CODE + 1)), "fine");
        check_text(&"(".repeat(1001), "statement is too complex: nested more than 1000 deep");
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "\\PC{0,200}") {
            let _ = check(&text);
        }

        #[test]
        fn quotes_and_dollars_never_panic(text in "[-'\"$aE/*;\\\\\n ]{0,60}") {
            let _ = check(&text);
        }
    }
}
