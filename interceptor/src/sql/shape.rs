//! The shape of a text: what is left of it when the values of its constants, its comments and its layout are taken away.
//!
//! Two texts of one shape are the same tokens to PostgreSQL's scanner (`scan.l`), constants of the same class in the same
//! places, and so have the same tree but for the constants' values. Where that is not certain (escape, dollar and unicode
//! strings, constants that go on in the next line, numbers in the newer spellings), a text has no shape.

use sha2::{Digest, Sha256};

/// Stand in the place of constants. No text that has a shape has these characters.
const STRING: char = '\u{1}';
const INTEGER: char = '\u{2}';
const FLOAT: char = '\u{3}';

/// A text without its constants' values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Shape(Box<str>);

impl Shape {
    /// The shape of a text, if it has one.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, shape: String::with_capacity(text.len()) };
        while scanner.at < scanner.bytes.len() {
            scanner.token(text)?;
        }
        Some(Self(scanner.shape.trim_start().trim_end_matches([' ', ';']).into()))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Sixteen hexadecimal digits that name it.
    pub(super) fn name(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    shape: String,
}

fn begins_identifier(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_identifier(byte: u8) -> bool {
    begins_identifier(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn token(&mut self, text: &str) -> Option<()> {
        let byte = self.peek(0)?;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.space(),
            b'-' if self.peek(1) == Some(b'-') => self.space(),
            b'/' if self.peek(1) == Some(b'*') => self.space(),
            b'\'' => self.string(),
            b'"' => self.quoted(text),
            b'0'..=b'9' => self.number(text),
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(text),
            // A parameter; everything else that begins so is a string in dollars.
            b'$' => {
                let start = self.at;
                self.at += 1;
                self.skip_while(|byte| byte.is_ascii_digit());
                if self.at == start + 1 || self.peek(0).is_some_and(continues_identifier) {
                    return None;
                }
                self.copy(text, start)
            }
            byte if begins_identifier(byte) => {
                let start = self.at;
                self.skip_while(continues_identifier);
                // `E'...'`, `B'...'`, `U&"..."` and the like.
                let is_prefix = matches!(self.peek(0), Some(b'\''))
                    || (self.peek(0) == Some(b'&') && matches!(self.peek(1), Some(b'\'' | b'"')));
                if is_prefix { None } else { self.copy(text, start) }
            }
            byte if byte.is_ascii_control() => None,
            byte => {
                self.shape.push(char::from(byte));
                self.at += 1;
                Some(())
            }
        }
    }

    fn skip_while(&mut self, what: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&what) {
            self.at += 1;
        }
    }

    fn copy(&mut self, text: &str, start: usize) -> Option<()> {
        self.shape.push_str(text.get(start..self.at)?);
        Some(())
    }

    /// White space and comments, which are one space.
    fn space(&mut self) -> Option<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => self.skip_while(|byte| !matches!(byte, b'\n' | b'\r')),
                (Some(b'/'), Some(b'*')) => self.comment()?,
                _ => break,
            }
        }
        // A constant goes on behind a line's end (4.1.2.1 "String Constants").
        if self.shape.ends_with(STRING) && self.peek(0) == Some(b'\'') {
            return None;
        }
        self.shape.push(' ');
        Some(())
    }

    /// A comment, which may hold others.
    fn comment(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            match (self.peek(0)?, self.peek(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.past_quotes(b'\'')?;
        self.shape.push(STRING);
        Some(())
    }

    fn quoted(&mut self, text: &str) -> Option<()> {
        let start = self.at;
        self.past_quotes(b'"')?;
        let name = text.get(start..self.at)?;
        // A name may have any character, the marks too.
        if name.contains([STRING, INTEGER, FLOAT]) {
            return None;
        }
        self.shape.push_str(name);
        Some(())
    }

    /// To the quote that ends what begins here; two of them are one that does not.
    fn past_quotes(&mut self, quote: u8) -> Option<()> {
        self.at += 1;
        loop {
            match (self.peek(0)?, self.peek(1)) {
                (byte, Some(next)) if byte == quote && next == quote => self.at += 2,
                (byte, _) if byte == quote => {
                    self.at += 1;
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
    }

    /// `1`, `1.5`, `.5`; everything else that begins with a digit has no shape.
    fn number(&mut self, text: &str) -> Option<()> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_digit());
        let whole = text.get(start..self.at)?;
        let mut is_float = false;
        if self.peek(0) == Some(b'.') {
            is_float = true;
            self.at += 1;
            self.skip_while(|byte| byte.is_ascii_digit());
        }
        if self.peek(0).is_some_and(|byte| continues_identifier(byte) || byte == b'.') {
            return None;
        }
        // What does not fit into an integer is a float to the scanner.
        is_float |= whole.parse::<i32>().is_err();
        self.shape.push(if is_float { FLOAT } else { INTEGER });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shape = Shape::of(text).map(|shape| shape.0.replace(STRING, "S").replace(INTEGER, "I").replace(FLOAT, "F"));
        assert_eq!(shape.as_deref().unwrap_or("none"), expected, "{text}");
    }

    #[test]
    fn constants_comments_and_layout_go() {
        check("select * from t where id = 42", "select * from t where id = I");
        check(
            "select  *\n from t -- c\n where x='a''b' /* d /* e */ */ and y<-1.5",
            "select * from t where x=S and y<-F",
        );
        check("select $1, $23 from \"a b\"\"c\"", "select $1, $23 from \"a b\"\"c\"");
        check("select .5, 5., 2147483647, 2147483648", "select F, F, I, F");
        check("select a1, t.b2", "select a1, t.b2");
        check("select größe from t", "select größe from t");
        check("select 'a' 'b'", "none");
        check("select 'a'\n'b'", "none");
        check("select 'a' -- c\n 'b'", "none");
        for text in [
            "select E'a'",
            "select b'1'",
            "select U&'x'",
            "select U&\"x\"",
            "select $$a$$",
            "select $t$a$t$",
            "select 1e5",
            "select 0x1f",
            "select 1_000",
            "select 1a",
            "select 1..2",
            "select 'a",
            "select \"a",
            "select /* a",
            "select $1a",
            "select \u{1}",
            "select \"\u{1}\"",
            "select N'a'",
        ] {
            check(text, "none");
        }
    }
}
