//! JSON.

use std::{cell::RefCell, fmt};

use config::{Map, Value, ValueKind};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Mistakes;
use crate::{error::ConfigError, origin::Origin, path::Path};

/// Reads `text`; `None` for what is no JSON.
pub(super) fn parse(origin: &Origin, text: &str) -> (Option<Value>, Vec<ConfigError>) {
    let mistakes = RefCell::new(Mistakes::of(origin));
    let mut json = serde_json::Deserializer::from_str(text);
    let node = Node { tag: &origin.to_tag(), path: Path::root(), mistakes: &mistakes };
    let root = match node.deserialize(&mut json).and_then(|root| json.end().map(|()| root)) {
        Ok(root) => Some(root),
        Err(error) => {
            let message = format!(
                "line {}, column {}: this is not JSON: {}",
                error.line(),
                error.column(),
                reason(&error)
            );
            mistakes.borrow_mut().add(Path::root(), message);
            None
        }
    };
    (root, mistakes.into_inner().found)
}

/// What is wrong, without the place, which stands before it already.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// A value about to be read, which notes the keys that stand twice. (`serde_json::Value` would keep
/// the last of them silently.)
struct Node<'a, 'm> {
    tag: &'a String,
    path: Path,
    mistakes: &'a RefCell<Mistakes<'m>>,
}

impl Node<'_, '_> {
    fn at(&self, path: Path) -> Self {
        Self { tag: self.tag, path, mistakes: self.mistakes }
    }

    fn value(&self, kind: impl Into<ValueKind>) -> Value {
        Value::new(Some(self.tag), kind)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(self.value(ValueKind::Nil))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(self.value(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(self.value(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(self.value(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(self.value(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(self.value(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self.at(self.path.index(values.len())))? {
            values.push(value);
        }
        Ok(self.value(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = self.path.key(&key);
            let value = entries.next_value_seed(self.at(path.clone()))?;
            if values.insert(key, value).is_some() {
                self.mistakes.borrow_mut().add(path, "written twice: keep one".to_owned());
            }
        }
        Ok(self.value(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Value>, Vec<String>) {
        let (root, mistakes) = parse(&Origin::File("f.json".to_owned()), text);
        (root, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_key_that_stands_twice_is_named() {
        let (_, mistakes) = read(r#"{"a": {"/x": 1, "/x": 2}, "b": [1, {"c": 1, "c": 1}]}"#);
        assert_eq!(
            mistakes,
            [
                "f.json: a[\"/x\"]: written twice: keep one",
                "f.json: b[1].c: written twice: keep one"
            ]
        );
    }

    #[test]
    fn values_keep_their_types() {
        let (root, mistakes) =
            read(r#"{"/A.b": [1, -1, 18446744073709551615, 1.5, true, null, "off"]}"#);
        assert_eq!(mistakes, Vec::<String>::new());
        let ValueKind::Table(root) = root.unwrap().kind else { panic!("a table") };
        let ValueKind::Array(items) = root["/A.b"].kind.clone() else { panic!("a list") };
        let kinds: Vec<ValueKind> = items.into_iter().map(|item| item.kind).collect();
        let expected = [
            1.into(),
            (-1).into(),
            u64::MAX.into(),
            1.5.into(),
            true.into(),
            ValueKind::Nil,
            "off".into(),
        ];
        assert_eq!(
            kinds,
            expected.map(|kind: ValueKind| match kind {
                ValueKind::I64(number) if number > 0 => ValueKind::U64(number.unsigned_abs()),
                kind => kind,
            })
        );
    }

    #[test]
    fn what_is_no_json_says_where() {
        assert_eq!(
            read("{\"a\": }").1,
            ["f.json: line 1, column 7: this is not JSON: expected value"]
        );
        assert_eq!(
            read("{} {}").1,
            ["f.json: line 1, column 4: this is not JSON: trailing characters"]
        );
    }
}
