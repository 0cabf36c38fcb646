//! Words for error messages.

use config::ValueKind;

/// The longest text that may be a misspelt word. Comparing takes time for each pair of letters.
const LONGEST_WORD: usize = 100;

/// Returns the word that is most like `written`, if any is.
pub(crate) fn most_like<'w>(
    written: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    if written.len() > LONGEST_WORD {
        return None;
    }
    let written = written.to_lowercase();
    // The first forgives a slip of the finger, the second a missing ending.
    let likeness = |word: &str| {
        let word = word.to_lowercase();
        (
            strsim::normalized_damerau_levenshtein(&written, &word),
            strsim::jaro_winkler(&written, &word),
        )
    };
    let likely =
        |(slips, endings): (f64, f64)| (slips >= 0.6 || endings > 0.85).then_some(slips + endings);
    let scored =
        words.into_iter().filter_map(|word| likely(likeness(word)).map(|score| (score, word)));
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, word)| word)
}

/// Joins words as in "`a`, `b` and `c`", each once.
pub(crate) fn joined(words: &[&str], last: &str) -> String {
    let mut quoted: Vec<String> = Vec::new();
    for word in words.iter().map(|word| format!("`{word}`")) {
        if !quoted.contains(&word) {
            quoted.push(word);
        }
    }
    match quoted.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        Some((end, _)) => end.clone(),
        None => "no keys".to_owned(),
    }
}

/// The word for what was written.
pub(crate) const fn kind_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "`true` or `false`",
        ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// The remedy for what stands in place of text.
pub(crate) const fn quoting_hint(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "",
        ValueKind::Table(_) | ValueKind::Array(_) => ": write one value",
        _ => ": put it in quotes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_missing_endings_are_forgiven_and_other_words_are_not() {
        let words = ["url", "prefix", "timeout", "on_failure", "requests_per_minute"];
        let guess = |said| most_like(said, words);
        assert_eq!(
            (guess("ulr"), guess("time_out"), guess("requests")),
            (Some("url"), Some("timeout"), Some("requests_per_minute"))
        );
        assert_eq!((guess("TIMEOUT"), guess("colour"), guess("")), (Some("timeout"), None, None));
        assert_eq!(guess(&"url".repeat(1_000_000)), None);
    }

    #[test]
    fn words_are_listed_once() {
        assert_eq!(joined(&["a", "b", "a", "c"], "or"), "`a`, `b` or `c`");
        assert_eq!(joined(&["a"], "or"), "`a`");
    }
}
