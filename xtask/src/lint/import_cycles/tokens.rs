//! The tokens of a Rust file, as many kinds as the search for imports needs.

/// A token; comments and white space are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or a keyword.
    Word(&'a str),
    /// `::`.
    PathSeparator,
    /// Any other punctuation character.
    Punctuation(char),
    /// A string, a character, a number or a lifetime.
    Other,
}

/// Splits a file into tokens.
pub(super) fn tokens(mut text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    while let Some(first) = text.chars().next() {
        let (token, length) = match first {
            _ if first.is_whitespace() => (None, first.len_utf8()),
            '/' if text.starts_with("//") => (None, text.find('\n').unwrap_or(text.len())),
            '/' if text.starts_with("/*") => (None, block_comment(text)),
            '"' => (Some(Token::Other), string(text)),
            '\'' => (Some(Token::Other), character_or_lifetime(text)),
            '0'..='9' => (Some(Token::Other), word(text)),
            ':' if text.starts_with("::") => (Some(Token::PathSeparator), 2),
            _ if is_in_word(first) => match prefixed_literal(text) {
                Some(length) => (Some(Token::Other), length),
                None => {
                    let raw = if text.starts_with("r#") { 2 } else { 0 };
                    let length = raw + word(&text[raw..]);
                    (Some(Token::Word(&text[raw..length])), length)
                }
            },
            other => (Some(Token::Punctuation(other)), other.len_utf8()),
        };
        tokens.extend(token);
        text = &text[length..];
    }
    tokens
}

fn is_in_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn word(text: &str) -> usize {
    text.find(|character| !is_in_word(character)).unwrap_or(text.len())
}

/// The length of a comment, with the comments inside it.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string with its quotes, in which a backslash escapes the next character.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `'x'` or of `'name`.
fn character_or_lifetime(text: &str) -> usize {
    let inside = &text[1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        // What follows the backslash may itself be a quote.
        let escaped = escape.chars().next().map_or(0, char::len_utf8);
        return escape[escaped..].find('\'').map_or(text.len(), |end| 2 + escaped + end + 1);
    }
    let first = inside.chars().next().map_or(0, char::len_utf8);
    if inside[first..].starts_with('\'') { 1 + first + 1 } else { 1 + word(inside) }
}

/// The length of `r"..."`, `br#"..."#`, `b"..."`, `b'.'` and the like; `None` for a plain word.
fn prefixed_literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#', '\'']))
    })?;
    let rest = &text[prefix.len()..];
    if !prefix.contains('r') {
        return match rest.as_bytes()[0] {
            b'"' => Some(prefix.len() + string(rest)),
            b'\'' if prefix == "b" => Some(prefix.len() + character_or_lifetime(rest)),
            _ => None,
        };
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let opened = rest[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = opened.find(&close).map_or(opened.len(), |at| at + close.len());
    Some(prefix.len() + hashes + 1 + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text)
            .into_iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn paths_are_words_and_separators() {
        assert_eq!(
            tokens("crate::a {"),
            [Token::Word("crate"), Token::PathSeparator, Token::Word("a"), Token::Punctuation('{')]
        );
    }

    #[test]
    fn comments_hold_no_words() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
    }

    #[test]
    fn strings_hold_no_words() {
        assert_eq!(words(r#"a "b \" c" d b"e" f"#), ["a", "d", "f"]);
        assert_eq!(words("a r\"b\\\" c r#\"d \" e\"# f br##\"g\"# h\"## i"), ["a", "c", "f", "i"]);
    }

    #[test]
    fn lifetimes_and_characters_are_told_apart() {
        assert_eq!(words(r"a <'b> 'c' '\'' d '\u{1f}' e b'f' g 'ü' h"), ["a", "d", "e", "g", "h"]);
    }

    #[test]
    fn a_raw_identifier_is_a_word() {
        assert_eq!(words("r#type r#\"text\"# radius"), ["type", "radius"]);
    }

    #[test]
    fn numbers_are_not_words() {
        assert_eq!(words("1_u64 0..len 0x1f"), ["len"]);
    }
}
