//! Reads JSON.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::node::{Document, Entry, Kind, Located, MAX_DEPTH, Node, Scalar, SyntaxError, too_deep};

/// Reads `text`.
///
/// # Errors
/// When `text` is not JSON, or exceeds a bound.
pub(super) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = Cell::new(1);
    let lines = Lines { text: text.as_bytes(), line: &line, at_end: false };
    let mut json = serde_json::Deserializer::from_reader(lines);
    json.disable_recursion_limit();
    let root = Value { line: &line, depth: 0 };
    root.deserialize(&mut json)
        .and_then(|root| json.end().map(|()| Document { root, second: None }))
        .map_err(|error| syntax_error(&error, line.get()))
}

fn syntax_error(error: &serde_json::Error, line: usize) -> SyntaxError {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    match error.classify() {
        // An error of `Value`.
        Category::Data => SyntaxError::new(line, reason),
        Category::Io | Category::Syntax | Category::Eof => {
            let message = format!("this is not JSON: {reason}, at column {}", error.column());
            SyntaxError::new(error.line(), message)
        }
    }
}

/// The text, byte by byte, so that the line is known of each.
struct Lines<'t> {
    text: &'t [u8],
    line: &'t Cell<usize>,
    /// Whether the last byte ended its line.
    at_end: bool,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer.get_mut(..1).unwrap_or_default())?;
        if read == 1 {
            // The parser looks one byte ahead of a number, which may end the number's line.
            self.line.set(self.line.get() + usize::from(self.at_end));
            self.at_end = buffer[0] == b'\n';
        }
        Ok(read)
    }
}

/// A value that is still to be read.
#[derive(Clone, Copy)]
struct Value<'t> {
    line: &'t Cell<usize>,
    depth: usize,
}

impl Value<'_> {
    fn located<E: Error>(self, line: usize, kind: Kind) -> Result<Located, E> {
        Ok(Located { line, node: Node::new(kind).map_err(E::custom)? })
    }

    fn scalar<E: Error>(self, text: String, scalar: Scalar) -> Result<Located, E> {
        self.located(self.line.get(), Kind::Scalar(text, scalar))
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(too_deep()));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Located;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Located, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Located;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Located, E> {
        self.scalar("null".to_owned(), Scalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Located, E> {
        self.scalar(value.to_string(), Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Located, E> {
        self.scalar(number.to_string(), Scalar::Integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Located, E> {
        self.scalar(number.to_string(), Scalar::Integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Located, E> {
        self.scalar(number.to_string(), Scalar::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Located, E> {
        self.scalar(text.to_owned(), Scalar::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Located, A::Error> {
        let (line, item) = (self.line.get(), self.deeper()?);
        let mut items = Vec::new();
        while let Some(value) = list.next_element_seed(item)? {
            items.push(value);
        }
        self.located(line, Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Located, A::Error> {
        let (table_line, value) = (self.line.get(), self.deeper()?);
        let mut entries = Vec::new();
        while let Some(key) = table.next_key::<String>()? {
            let line = self.line.get();
            let value = Located { line, ..table.next_value_seed(value)? };
            entries.push(Entry { key, meaning: Scalar::Text, is_merge: false, value });
        }
        self.located(table_line, Kind::Table(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::node::tests::shown, *};

    fn read(text: &str) -> String {
        parse(text).map_or_else(
            |SyntaxError { line, message }| format!("{line}: {message}"),
            |document| shown(&document.root),
        )
    }

    #[test]
    fn every_value_has_its_line_and_a_key_may_be_there_twice() {
        let text = "{\n  \"/A.b\": 1\n  ,\"c\":\n  [2\n,{\"d\":3\n}],\n\"c\": \"x\"\n}";
        assert_eq!(read(text), "{2:/A.b: 1, 3:c: [2, {5:d: 3}], 7:c: 'x'}");
    }

    #[test]
    fn values_keep_their_types() {
        assert_eq!(
            read(r#"[1, -1, 18446744073709551615, 1.5, true, null, "off"]"#),
            "[1, -1, 18446744073709551615, 1.5, true, null, 'off']"
        );
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_line() {
        assert_eq!(read("{\"a\":\n }"), "2: this is not JSON: expected value, at column 2");
        assert_eq!(read("{} {}"), "1: this is not JSON: trailing characters, at column 4");
        assert!(read("{a: 1}").starts_with("1: this is not JSON: key must be a string"));
        assert!(read("[1, 2,]").starts_with("1: this is not JSON: trailing comma"));
    }

    #[test]
    fn what_nests_too_deep_or_holds_too_much_is_refused() {
        assert_eq!(read(&"[".repeat(5_000)), "1: nested more than 200 deep: flatten it");
        assert_eq!(read(&"{\"a\":".repeat(5_000)), "1: nested more than 200 deep: flatten it");
        let many = format!("[{}0]", "0,".repeat(1_000_000));
        assert!(read(&many).contains("more than 1000000 values"));
    }
}
