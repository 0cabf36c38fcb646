//! Texts that people read, without an end that nobody would reach.

/// Cuts off a text that a person would not read to its end.
pub(super) fn shortened(mut text: String) -> String {
    /// A screen or two.
    const LONGEST: usize = 4096;
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text.push_str("\n... the log has the rest");
    }
    text
}
