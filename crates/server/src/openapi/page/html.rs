//! Text in HTML.

use std::fmt::{self, Display, Formatter};

/// Escapes text for HTML content and for quoted attributes.
pub(super) struct Text<'t>(pub(super) &'t str);

/// Text with code in backticks, as in descriptions.
pub(super) struct Inline<'t>(pub(super) &'t str);

/// Paragraphs of [`Inline`] text.
pub(super) struct Prose<'t>(pub(super) &'t str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(place) = rest.find(['&', '<', '>', '"', '\'']) {
            let (before, found) = rest.split_at(place);
            f.write_str(before)?;
            f.write_str(match found.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &found[1..];
        }
        f.write_str(rest)
    }
}

impl Display for Inline<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut is_code = false;
        // A backtick without a counterpart stays as it is.
        let pairs = self.0.matches('`').count() / 2 * 2;
        for (place, piece) in self.0.splitn(pairs + 1, '`').enumerate() {
            if place > 0 {
                f.write_str(if is_code { "</code>" } else { "<code>" })?;
                is_code = !is_code;
            }
            Text(piece).fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut paragraphs = self.0.split("\n\n").filter(|paragraph| !paragraph.is_empty());
        paragraphs.try_for_each(|paragraph| writeln!(f, "<p>{}</p>", Inline(paragraph)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_html() {
        assert_eq!(
            Text(r#"<a href="x">'&'</a>é"#).to_string(),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;é"
        );
        assert_eq!(Inline("`<b>` & <i>").to_string(), "<code>&lt;b&gt;</code> &amp; &lt;i&gt;");
    }

    #[test]
    fn backticks_make_code_in_pairs() {
        assert_eq!(Inline("a `b` c `d`").to_string(), "a <code>b</code> c <code>d</code>");
        assert_eq!(Inline("it`s `so`").to_string(), "it<code>s </code>so`");
        assert_eq!(Inline("").to_string(), "");
    }

    #[test]
    fn empty_lines_separate_paragraphs() {
        assert_eq!(Prose("a\nb\n\n`c`\n\n").to_string(), "<p>a\nb</p>\n<p><code>c</code></p>\n");
    }
}
