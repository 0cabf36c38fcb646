//! Reads a request's body, in one pass.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    error::RequestError,
    fields::{self, Role},
    text::{Counter, Input, Place, json_length},
};
use crate::{
    number,
    wire::{Vendor, Wire},
};

/// The longest name of a model. It is the only text of a body that is kept.
const MAX_MODEL_BYTES: usize = 256;

/// What a body says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) output_limit: Option<u64>,
    pub(super) choices: Option<u64>,
    pub(super) input: Input,
}

/// Reads a body.
pub(super) fn read(wire: Wire, body: &[u8]) -> Result<Facts, RequestError> {
    let mut reader = Reader { wire, facts: Facts::default(), read: Vec::new(), error: None };
    let mut json = serde_json::Deserializer::from_slice(body);
    let outcome = Object { reader: &mut reader, field: fields::at_top }
        .deserialize(&mut json)
        .and_then(|()| json.end());
    match (reader.error, outcome) {
        (Some(error), _) => Err(error),
        (None, Err(_)) if body.trim_ascii().is_empty() => Err(RequestError::Empty),
        (None, Err(error)) => Err(RequestError::of_json(&error)),
        (None, Ok(())) => Ok(reader.facts),
    }
}

struct Reader {
    wire: Wire,
    facts: Facts,
    /// The fields that must not come again.
    read: Vec<&'static str>,
    /// Why the body was refused: more than the parser's own error can say.
    error: Option<RequestError>,
}

/// The body, or an object in it.
struct Object<'r> {
    reader: &'r mut Reader,
    field: fn(Wire, &str) -> Option<(&'static str, Role)>,
}

impl Reader {
    fn value<'de, A: MapAccess<'de>>(
        &mut self,
        field: &'static str,
        role: Role,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match role {
            Role::Messages => self.count(Place::Messages, map),
            Role::Content => self.count(Place::Content, map),
            Role::Prompts => self.count(Place::Prompts, map),
            Role::Json => {
                self.facts.input.text_bytes += json_length(map)?;
                Ok(())
            }
            Role::More => {
                self.once(field)?;
                map.next_value_seed(Object { reader: self, field: fields::below })
            }
            Role::Requests => map.next_value_seed(Requests(self)),
            Role::Model | Role::Stream | Role::Limit | Role::Choices => {
                self.once(field)?;
                let raw: &RawValue = map.next_value()?;
                if raw.get() == "null" {
                    return Ok(());
                }
                self.scalar(field, role, raw.get()).map_err(|error| self.refuse(error))
            }
        }
    }

    fn count<'de, A: MapAccess<'de>>(&mut self, place: Place, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(Counter { input: &mut self.facts.input, place })
    }

    fn scalar(&mut self, field: &'static str, role: Role, raw: &str) -> Result<(), RequestError> {
        match role {
            Role::Model => self.facts.model = Some(model(field, raw)?),
            Role::Stream => {
                self.facts.stream = match raw {
                    "true" => true,
                    "false" => false,
                    _ => return Err(RequestError::Type { field, expected: "true or false" }),
                }
            }
            Role::Limit => {
                let limit = self.number(field, raw, 0)?;
                self.facts.output_limit = self.facts.output_limit.max(Some(limit));
            }
            _ => {
                let choices = self.number(field, raw, 1)?;
                self.facts.choices = self.facts.choices.max(Some(choices));
            }
        }
        Ok(())
    }

    /// Reads a number. Gemini, whose JSON is that of Protocol Buffers, takes it in quotes too.
    fn number(&self, field: &'static str, raw: &str, least: u64) -> Result<u64, RequestError> {
        let unquoted = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let text = match unquoted {
            Some(text) if self.wire.vendor() == Vendor::Gemini => text,
            _ => raw,
        };
        let count =
            number::count(text).map_err(|error| RequestError::not_a_count(field, least, error))?;
        if count < least {
            return Err(RequestError::Count { field, problem: "too small", least });
        }
        Ok(count)
    }

    fn once<E: Error>(&mut self, field: &'static str) -> Result<(), E> {
        if self.read.contains(&field) {
            return Err(self.refuse(RequestError::Repeated { field }));
        }
        self.read.push(field);
        Ok(())
    }

    /// Ends the pass. The parser's error is not read.
    fn refuse<E: Error>(&mut self, error: RequestError) -> E {
        self.error = Some(error);
        E::custom("refused")
    }
}

fn model(field: &'static str, raw: &str) -> Result<String, RequestError> {
    // An escape takes at most six bytes for one.
    let may_fit = raw.len() <= 6 * MAX_MODEL_BYTES + 2;
    may_fit
        .then(|| serde_json::from_str::<String>(raw).ok())
        .flatten()
        .filter(|model| model.len() <= MAX_MODEL_BYTES)
        .ok_or(RequestError::Type { field, expected: "a string of at most 256 bytes" })
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { reader, field } = self;
        let wire = reader.wire;
        while let Some(found) = map.next_key_seed(FieldSeed { wire, field })? {
            match found {
                Some((field, role)) => reader.value(field, role, &mut map)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Finds the field that a key names.
struct FieldSeed {
    wire: Wire,
    field: fn(Wire, &str) -> Option<(&'static str, Role)>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Option<(&'static str, Role)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Option<(&'static str, Role)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok((self.field)(self.wire, key))
    }
}

/// A list of objects, of which each is a request.
struct Requests<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for Requests<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Requests<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            let request = Object { reader: &mut *self.0, field: fields::below };
            if items.next_element_seed(request)?.is_none() {
                return Ok(());
            }
        }
    }
}
