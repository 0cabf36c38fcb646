//! Words for messages about mistakes.

use config::ValueKind;

/// The word most like `said`, if any is.
pub(crate) fn most_like<'w>(
    said: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    let said = said.to_lowercase();
    // The one forgives a slip of the finger, the other an ending that is missing.
    let likeness = |word: &str| {
        (strsim::normalized_damerau_levenshtein(&said, word), strsim::jaro_winkler(&said, word))
    };
    let likely =
        |(slips, endings): (f64, f64)| (slips >= 0.6 || endings > 0.85).then_some(slips + endings);
    let scored =
        words.into_iter().filter_map(|word| likely(likeness(word)).map(|score| (score, word)));
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, word)| word)
}

/// `a`, `b` and `c`, each once.
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

/// What was said, for a message that says what should have been.
pub(crate) const fn kind_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a truth value",
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

/// A number or truth that was meant as text only lacks its quotes.
pub(crate) const fn quoting_hint(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil | ValueKind::Table(_) | ValueKind::Array(_) => "",
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
    }

    #[test]
    fn words_are_listed_once() {
        assert_eq!(joined(&["a", "b", "a", "c"], "or"), "`a`, `b` or `c`");
        assert_eq!(joined(&["a"], "or"), "`a`");
    }
}
