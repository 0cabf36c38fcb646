//! Reads JSON so that an error says in plain words which member is wrong, and what would be right.

use std::fmt;

use serde::{Deserialize, de::IgnoredAny};

/// How much of a string an error shows, in characters.
const SHOWN_CHARS: usize = 64;

/// What is wrong with a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    member: Option<String>,
    what: String,
    place: Option<String>,
}

/// Reads `text` as a `T`. It takes longer than `serde_json` does, to know which member is wrong.
///
/// # Errors
/// When the text is no JSON, or JSON that is no `T`.
pub fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // The path of the whole text is a dot.
        let member = path.chars().any(char::is_alphanumeric).then_some(path);
        let mut error = JsonError::new(&error.into_inner());
        // So says `serde_json` where a word is to be chosen, and there is another kind of value.
        if error.what == "expected value" && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
            "must be a string".clone_into(&mut error.what);
        }
        JsonError { member, ..error }
    })?;
    deserializer.end().map_err(|error| JsonError::new(&error))?;
    Ok(value)
}

impl JsonError {
    fn new(error: &serde_json::Error) -> Self {
        let message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        match message.strip_suffix(&place) {
            Some(what) => Self { member: None, what: plain(what), place: Some(place) },
            None => Self { member: None, what: plain(&message), place: None },
        }
    }

    /// Returns the path of the member that is wrong, such as `costs.cost`; `None` for the whole
    /// text.
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }

    /// Returns the error without its line and column, for a text that is a part of a longer one.
    #[must_use]
    pub fn without_place(self) -> Self {
        Self { place: None, ..self }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        f.write_str(&self.what)?;
        self.place.iter().try_for_each(|place| f.write_str(place))
    }
}

impl std::error::Error for JsonError {}

/// Returns serde's message in plain words, where it is about a value of a wrong kind. Its names of
/// kinds are those of Rust: `f64`, `sequence`.
fn plain(message: &str) -> String {
    let wrong_kind = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.rsplit_once(", expected "));
    if let Some((got, expected)) = wrong_kind {
        return format!("must be {}, not {}", wanted(expected), found(got));
    }
    let variant = message.strip_prefix("unknown variant ");
    match variant.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((got, expected)) => format!("must be {expected}, not {}", shortened(got)),
        None => message.to_owned(),
    }
}

/// Returns what a member takes, for a kind by its name in serde.
fn wanted(kind: &str) -> &str {
    match kind {
        "f32" | "f64" => "a number",
        "u64" | "u128" | "usize" => "a whole number of at least 0",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "a boolean" => "`true` or `false`",
        "a borrowed string" => "a string",
        "a sequence" => "an array",
        "a map" => "an object",
        "IP address" => "an IP address",
        "unit" => "null",
        kind if kind.starts_with("struct ") => "an object",
        kind => kind,
    }
}

/// Returns a value as JSON has it, which serde describes.
fn found(got: &str) -> String {
    match got.split_once(' ') {
        _ if got == "sequence" => "an array".to_owned(),
        _ if got == "map" => "an object".to_owned(),
        Some(("boolean", value)) => value.to_owned(),
        Some(("integer", number)) => format!("the number {}", number.trim_matches('`')),
        Some(("floating", number)) => {
            let number = number.strip_prefix("point ").unwrap_or(number);
            format!("the number {}", number.trim_matches('`'))
        }
        Some(("string", text)) => format!("the string {}", shortened(text)),
        _ => got.to_owned(),
    }
}

/// Returns a text between quotation marks, or its beginning if it is long.
fn shortened(quoted: &str) -> String {
    match quoted.char_indices().nth(SHOWN_CHARS + 2) {
        Some(_) => {
            let (end, _) = quoted.char_indices().nth(SHOWN_CHARS + 1).unwrap_or_default();
            format!("{}...{}", &quoted[..end], &quoted[..1])
        }
        None => quoted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading matters")]
    struct Members<'a> {
        amount: Option<f64>,
        count: Option<u64>,
        byte: Option<u8>,
        degrees: Option<i32>,
        is_on: Option<bool>,
        #[serde(borrow)]
        name: Option<Cow<'a, str>>,
        list: Option<Vec<u64>>,
        labels: Option<BTreeMap<String, String>>,
        inner: Option<Inner>,
        address: Option<IpAddr>,
        phase: Option<Phase>,
        only: Option<Only>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        _count: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Phase {
        Start,
        Finish,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Only {
        One,
    }

    fn wrong(text: &str) -> String {
        read::<Members<'_>>(text.as_bytes()).unwrap_err().without_place().to_string()
    }

    #[test]
    fn a_value_of_a_wrong_kind_is_described_in_the_words_of_json() {
        for (text, expected) in [
            (r#"{"amount": "1"}"#, r#"amount: must be a number, not the string "1""#),
            (r#"{"amount": [1]}"#, "amount: must be a number, not an array"),
            (r#"{"amount": {}}"#, "amount: must be a number, not an object"),
            (
                r#"{"count": 1.5}"#,
                "count: must be a whole number of at least 0, not the number 1.5",
            ),
            (r#"{"count": -1}"#, "count: must be a whole number of at least 0, not the number -1"),
            (r#"{"byte": 256}"#, "byte: must be a whole number from 0 to 255, not the number 256"),
            (r#"{"degrees": true}"#, "degrees: must be a whole number, not `true`"),
            (r#"{"is_on": 1}"#, "is_on: must be `true` or `false`, not the number 1"),
            (r#"{"name": 5}"#, "name: must be a string, not the number 5"),
            (r#"{"list": "1"}"#, r#"list: must be an array, not the string "1""#),
            (r#"{"list": [1, null]}"#, "list[1]: must be a whole number of at least 0, not null"),
            (r#"{"labels": []}"#, "labels: must be an object, not an array"),
            (r#"{"labels": {"a": 1}}"#, "labels.a: must be a string, not the number 1"),
            (r#"{"inner": 1}"#, "inner: must be an object, not the number 1"),
            (r#"{"address": 1}"#, "address: must be an IP address, not the number 1"),
            (r#"{"phase": "begin"}"#, "phase: must be `start` or `finish`, not `begin`"),
            (r#"{"only": "two"}"#, "only: must be `one`, not `two`"),
            (r#"{"phase": 1}"#, "phase: must be a string"),
            (r#"{"phase": }"#, "phase: expected value"),
            ("7", "must be an object, not the number 7"),
        ] {
            assert_eq!(wrong(text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_client_sent_does_not_mislead_and_is_short() {
        assert_eq!(
            wrong(r#"{"amount": "a, expected b at line 7 column 7"}"#),
            r#"amount: must be a number, not the string "a, expected b at line 7 column 7""#
        );
        let shown = "é".repeat(SHOWN_CHARS);
        let fits = wrong(&format!(r#"{{"amount": "{shown}"}}"#));
        assert_eq!(fits, format!(r#"amount: must be a number, not the string "{shown}""#));
        let long = wrong(&format!(r#"{{"amount": "{shown}{shown}"}}"#));
        assert_eq!(long, format!(r#"amount: must be a number, not the string "{shown}...""#));
        let long = wrong(&format!(r#"{{"phase": "{shown}{shown}"}}"#));
        assert_eq!(long, format!("phase: must be `start` or `finish`, not `{shown}...`"));
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let error = read::<Members<'_>>(br#"{"colour": 1}"#).unwrap_err();
        assert_eq!(error.member(), Some("colour"));
        let text = error.to_string();
        assert!(text.starts_with("colour: unknown field `colour`, expected one of "), "{text}");
        assert!(text.ends_with(" at line 1 column 9"), "{text}");
        let error = read::<Members<'_>>(b"{} x").unwrap_err();
        assert_eq!(error.to_string(), "trailing characters at line 1 column 4");
        assert_eq!(error.member(), None);
    }
}
