//! Patterns for values: `*` stands for any text, including none.

/// A pattern with at least one `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<[u8]>,
    /// The text before the first `*`.
    start: Box<[u8]>,
    /// The texts between two `*`.
    middle: Box<[Box<[u8]>]>,
    /// The text after the last `*`.
    end: Box<[u8]>,
}

impl Pattern {
    /// Parses `text`; `None` when it contains no `*`.
    pub(super) fn new(text: &str) -> Option<Self> {
        let (start, rest) = text.split_once('*')?;
        let (middle, end) =
            rest.rsplit_once('*').map_or((None, rest), |(middle, end)| (Some(middle), end));
        let bytes = |text: &str| text.as_bytes().into();
        let middle =
            middle.map_or_else(Box::default, |middle| middle.split('*').map(bytes).collect());
        Some(Self { text: bytes(text), start: bytes(start), middle, end: bytes(end) })
    }

    /// Returns the pattern as it was written.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns whether the pattern matches `value`.
    pub(super) fn fits(&self, value: &[u8]) -> bool {
        let Some(mut rest) =
            value.strip_prefix(&*self.start).and_then(|rest| rest.strip_suffix(&*self.end))
        else {
            return false;
        };
        // Taking the first place where a part matches leaves the most text for the parts after it.
        self.middle.iter().all(|part| match find(rest, part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, value: &str) -> bool {
        Pattern::new(pattern).unwrap().fits(value.as_bytes())
    }

    #[test]
    fn a_star_matches_any_text_and_none() {
        assert!(fits("*", "") && fits("*", "anything"));
        assert!(fits("value*", "value") && fits("value*", "value1") && !fits("value*", "valu"));
        assert!(fits("*.pdf", "a.pdf") && !fits("*.pdf", "a.pdf.exe"));
        assert!(
            fits("/api/*/action", "/api/123/action") && fits("/api/*/action", "/api/a/b/action")
        );
        assert!(!fits("/api/*/action", "/api/123/other") && !fits("/api/*/action", "/api/action"));
        assert!(
            fits("foo*bar*baz", "foobarbaz")
                && fits("foo*bar*baz", "foo1bar2bar3baz")
                && !fits("foo*bar*baz", "foobaz")
        );
        assert!(fits("a**b", "ab") && fits("a**b", "axb"));
        assert_eq!(Pattern::new("value"), None);
    }

    #[test]
    fn literal_parts_do_not_overlap() {
        assert!(!fits("ab*ba", "aba") && fits("ab*ba", "abba"));
        assert!(!fits("a*b*b", "ab") && fits("a*b*b", "abb"));
    }

    /// Matches a pattern by trying all possibilities.
    fn by_trying(pattern: &[u8], value: &[u8]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some((b'*', rest)) => (0..=value.len()).any(|at| by_trying(rest, &value[at..])),
            Some((byte, rest)) => value.first() == Some(byte) && by_trying(rest, &value[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_an_exhaustive_search_finds(
            pattern in "[ab*]{0,8}",
            value in "[ab]{0,10}",
        ) {
            if let Some(read) = Pattern::new(&pattern) {
                prop_assert_eq!(
                    read.fits(value.as_bytes()),
                    by_trying(pattern.as_bytes(), value.as_bytes())
                );
            }
        }
    }
}
