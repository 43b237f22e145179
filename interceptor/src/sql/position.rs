//! Where in a text a parser's message points to.
//!
//! PostgreSQL says with an error of syntax which character it was found at (field `P` of ErrorResponse, "Error and Notice
//! Message Fields" in the protocol's chapter); clients draw a caret there. The parser's binding keeps only the message, which
//! quotes the token. Where the token stands more than once the parser is asked again, with the text cut off behind each: the
//! first that it stumbles over in the same words is the one.

/// Most tokens that are tried. Each costs another parse of the text up to there.
const MOST_TRIED: usize = 16;
/// Longest text in bytes whose tokens are told apart.
const LONGEST: usize = 8 << 10;

/// The place that a message speaks of, in characters from 1, as a server counts them. `None` where it names no place, or where
/// too many could be meant.
pub(super) fn of(message: &str, text: &str) -> Option<usize> {
    if message.ends_with("at end of input") {
        return Some(text.chars().count() + 1);
    }
    let quoted = message.split_once(" at or near \"")?.1.strip_suffix('"')?;
    if message.starts_with("unterminated") && text.ends_with(quoted) {
        return character(text, text.len() - quoted.len());
    }
    let mut places = text.match_indices(quoted).map(|(at, _)| at).filter(|at| is_word(text, *at, quoted));
    let (first, second) = (places.next()?, places.next());
    let Some(second) = second else { return character(text, first) };
    if text.len() > LONGEST {
        return None;
    }
    let fails_there = |at: &usize| {
        let cut = text.get(..at + quoted.len()).unwrap_or_default();
        pg_query::parse(cut, pg_query::ParserOptions::DEFAULT)
            .is_err_and(|error| super::guard::message(&error) == message)
    };
    [first, second].into_iter().chain(places).take(MOST_TRIED).find(fails_there).and_then(|at| character(text, at))
}

/// Whether a word ends where it seems to: `NUL` does not stand in `NULL`.
fn is_word(text: &str, at: usize, quoted: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
    let next = text.get(at + quoted.len()..).and_then(|rest| rest.chars().next());
    !(quoted.ends_with(is_part) && next.is_some_and(is_part))
}

fn character(text: &str, byte: usize) -> Option<usize> {
    Some(text.get(..byte)?.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    /// What `psql` shows a caret under, in PostgreSQL 15.
    #[track_caller]
    fn check(text: &str, place: Option<usize>) {
        let error = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).expect_err(text);
        assert_eq!(super::of(&super::super::guard::message(&error), text), place, "{text}: {error}");
    }

    #[test]
    fn errors_are_found_where_the_server_finds_them() {
        check("selec 1", Some(1));
        check("select 1 frm t", Some(14));
        check("select 1 from", Some(14));
        check("select (1", Some(10));
        check("select 'abc", Some(8));
        check("select \"abc", Some(8));
        check("select 1; select 2 /* abc", Some(20));
        // The same token, harmless before.
        check("select a from b where where c", Some(23));
        check("select 1 from x; select from from y", Some(30));
        check("select ')', )", Some(13));
        check("sélect 1", Some(1));
        check("select 'ü' frm t", Some(16));
        check("create table t (a int,, b int)", Some(23));
        check("create table t (a int not null, b int not nul)", Some(43));
    }
}
