//! What agents have written, as people may read it.

/// One line that shows what is there: characters that draw on a terminal, turn text around or cannot be seen as escapes.
pub fn plain(text: &str) -> String {
    let shown = |sign: char| match sign {
        '\'' | '"' | '\\' => vec![sign],
        sign => sign.escape_debug().collect(),
    };
    text.chars().flat_map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_approves_sees_what_is_there() {
        assert_eq!(plain("it's \"x\" \\ é"), "it's \"x\" \\ é");
        assert_eq!(plain("a\u{1b}[2Jb\u{7}\u{8}"), "a\\u{1b}[2Jb\\u{7}\\u{8}");
        assert_eq!(plain("\u{202e}evil\u{200b}\u{2028}"), "\\u{202e}evil\\u{200b}\\u{2028}");
        assert_eq!(plain("a\tb\r"), "a\\tb\\r");
    }
}
