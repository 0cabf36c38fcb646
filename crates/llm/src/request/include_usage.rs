//! Asks for the usage of a stream, where the request does not.

use std::{fmt, ops::Range};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::RequestError;

/// The field, and the one in it.
const OPTIONS: &str = "stream_options";
const INCLUDE: &str = "include_usage";

/// Sets `stream_options.include_usage` in the body of a stream's request, and returns the new body,
/// or `None` if it is set already. Every other byte stays as it is.
///
/// The field is for wire formats that [report usage only when
/// asked](crate::Wire::reports_usage_when_asked). A client that has not set it, or has set it to
/// `false`, does not expect the chunk with the usage:
/// [`Meter::without_usage_chunk`](crate::Meter::without_usage_chunk) takes it out. That every other
/// chunk then has `"usage": null` is nothing to a client.
///
/// # Errors
/// When the body is not a JSON object, or the field is there twice or has a wrong value.
pub fn include_usage(body: &[u8]) -> Result<Option<Vec<u8>>, RequestError> {
    let edit = match raw_field(body, OPTIONS)? {
        Some(options) if options.get() != "null" => {
            if !options.get().starts_with('{') {
                return Err(RequestError::Type { field: OPTIONS, expected: "an object" });
            }
            let at = position(body, options);
            match raw_field(options.get().as_bytes(), INCLUDE)? {
                Some(include) => {
                    let within = position(options.get().as_bytes(), include);
                    let range = at.start + within.start..at.start + within.end;
                    match include.get() {
                        "true" => return Ok(None),
                        "false" | "null" => (range, "true".to_owned()),
                        _ => {
                            let field = "stream_options.include_usage";
                            return Err(RequestError::Type { field, expected: "true or false" });
                        }
                    }
                }
                None => first_field(body, at.start, r#""include_usage":true"#),
            }
        }
        Some(null) => (position(body, null), r#"{"include_usage":true}"#.to_owned()),
        None => {
            let start = body.iter().position(|byte| *byte == b'{').unwrap_or_default();
            first_field(body, start, r#""stream_options":{"include_usage":true}"#)
        }
    };
    let (range, text) = edit;
    let mut edited = Vec::with_capacity(body.len() + text.len());
    edited.extend_from_slice(&body[..range.start]);
    edited.extend_from_slice(text.as_bytes());
    edited.extend_from_slice(&body[range.end..]);
    Ok(Some(edited))
}

/// The edit that adds a field before all others of the object that begins at `start`.
fn first_field(body: &[u8], start: usize, field: &str) -> (Range<usize>, String) {
    let at = start + 1;
    let next = body[at..].iter().find(|byte| !byte.is_ascii_whitespace());
    let comma = if next == Some(&b'}') { "" } else { "," };
    (at..at, format!("{field}{comma}"))
}

/// Where in `body` a value stands that was read from it.
fn position(body: &[u8], value: &RawValue) -> Range<usize> {
    let value = value.get();
    let start = value.as_ptr().addr() - body.as_ptr().addr();
    start..start + value.len()
}

/// Finds a field of an object.
fn raw_field<'b>(body: &'b [u8], name: &'static str) -> Result<Option<&'b RawValue>, RequestError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let found = json
        .deserialize_map(Find { name })
        .and_then(|found| json.end().map(|()| found))
        .map_err(|error| RequestError::of_json(&error))?;
    found.map_err(|Twice| RequestError::Repeated { field: name })
}

/// Finds the value of a key.
struct Find {
    name: &'static str,
}

/// The key is there twice.
struct Twice;

impl<'de> Visitor<'de> for Find {
    type Value = Result<Option<&'de RawValue>, Twice>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut twice) = (None, false);
        while let Some(is_it) = map.next_key_seed(Is { name: self.name })? {
            if is_it {
                twice |= found.replace(map.next_value()?).is_some();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(if twice { Err(Twice) } else { Ok(found) })
    }
}

/// Whether a key is this one.
struct Is {
    name: &'static str,
}

impl<'de> DeserializeSeed<'de> for Is {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn edited(body: &str) -> String {
        String::from_utf8(include_usage(body.as_bytes()).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn the_field_is_added_and_nothing_else_changes() {
        let cases = [
            (
                "{ \"n\": 1e0,\n \"stream\":true}",
                "{\"stream_options\":{\"include_usage\":true}, \"n\": 1e0,\n \"stream\":true}",
            ),
            (" {} ", " {\"stream_options\":{\"include_usage\":true}} "),
            (
                "{\"stream_options\" : null,\"stream\":true}",
                "{\"stream_options\" : {\"include_usage\":true},\"stream\":true}",
            ),
            ("{\"stream_options\":{ }}", "{\"stream_options\":{\"include_usage\":true }}"),
            (
                "{\"stream_options\":{\"include_obfuscation\": false}}",
                "{\"stream_options\":{\"include_usage\":true,\"include_obfuscation\": false}}",
            ),
            (
                "{\"a\":1,\"stream_options\":{\"x\":[],\"include_usage\": false }}",
                "{\"a\":1,\"stream_options\":{\"x\":[],\"include_usage\": true }}",
            ),
            (
                "{\"stream_options\":{\"include_usage\":null}}",
                "{\"stream_options\":{\"include_usage\":true}}",
            ),
            (
                "{\"stream_opt\\u0069ons\":{\"include\\u005fusage\":false}}",
                "{\"stream_opt\\u0069ons\":{\"include\\u005fusage\":true}}",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(edited(body), expected);
        }
    }

    #[test]
    fn a_body_that_asks_for_usage_stays_as_it_is() {
        assert_eq!(include_usage(br#"{"stream_options":{"include_usage": true}}"#), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        let cases = [
            ("{\"stream_options\":true}", "`stream_options` must be an object"),
            (
                "{\"stream_options\":{\"include_usage\":\"yes\"}}",
                "`stream_options.include_usage` must be true or false",
            ),
            (
                "{\"stream_options\":{},\"stream_options\":{}}",
                "`stream_options` is there twice: write it once",
            ),
            (
                "{\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}",
                "`include_usage` is there twice: write it once",
            ),
            ("[]", "the body is not a JSON object"),
            ("{\"a\":}", "the body is not JSON: see line 1, column 6"),
            ("{} {}", "the body is not JSON: see line 1, column 4"),
        ];
        for (body, expected) in cases {
            assert_eq!(include_usage(body.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn the_edited_body_is_the_same_document_with_the_field(
            before in prop::collection::btree_map("[a-d\"\\\\]{1,3}", any::<i64>(), 0..4),
            options in prop_oneof![
                Just(None), Just(Some(json!(null))), Just(Some(json!({}))),
                Just(Some(json!({"include_usage": false}))), Just(Some(json!({"x": {"y": [1]}}))),
            ],
            pretty in any::<bool>(),
        ) {
            let mut document = json!(before);
            if let Some(options) = options {
                document["stream_options"] = options;
            }
            let body = if pretty { format!("{document:#}") } else { document.to_string() };
            let edited: Value = serde_json::from_str(&edited(&body)).unwrap();
            if !document["stream_options"].is_object() {
                document["stream_options"] = json!({});
            }
            document["stream_options"]["include_usage"] = json!(true);
            prop_assert_eq!(edited, document);
        }
    }
}
