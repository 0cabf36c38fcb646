//! Dynamic metadata for the filters behind the rate limit filter: the metadata of the rules that
//! allowed a request.

use std::collections::BTreeMap;

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Map;

use crate::messages::{Descriptor, RateLimitRequest};

/// Converts a rule's metadata; `None` when it has none.
pub(crate) fn of_rule(metadata: &Map<String, serde_json::Value>) -> Option<Struct> {
    (!metadata.is_empty()).then(|| object(metadata))
}

/// Returns the metadata for a request that rules with this metadata allowed, or `None` when no rule
/// has any.
///
/// `metadata` holds the metadata of all rules; the first value for a key wins. `domain`,
/// `descriptors` and `hitsAddend` repeat the request.
pub(crate) fn of_response<'r>(
    request: &RateLimitRequest,
    rules: impl IntoIterator<Item = &'r Struct>,
) -> Option<Struct> {
    let mut rules = rules.into_iter();
    let mut merged = rules.next()?.clone();
    rules.for_each(|more| merge(&mut merged, more));
    let mut fields = BTreeMap::from([
        ("domain".to_owned(), text(&request.domain)),
        ("descriptors".to_owned(), list(request.descriptors.iter().map(descriptor))),
        ("metadata".to_owned(), value(Kind::StructValue(merged))),
    ]);
    if request.hits_addend > 0 {
        fields
            .insert("hitsAddend".to_owned(), value(Kind::NumberValue(request.hits_addend.into())));
    }
    Some(Struct { fields })
}

#[allow(clippy::cast_precision_loss, reason = "the protocol's numbers are doubles")]
fn descriptor(descriptor: &Descriptor) -> Value {
    let entry = |entry: &crate::messages::Entry| text(&[&*entry.key, b"=", &*entry.value].concat());
    let mut fields =
        BTreeMap::from([("entries".to_owned(), list(descriptor.entries.iter().map(entry)))]);
    if let Some(hits) = descriptor.hits_addend {
        fields.insert("hitsAddend".to_owned(), value(Kind::NumberValue(hits.value as f64)));
    }
    value(Kind::StructValue(Struct { fields }))
}

fn merge(into: &mut Struct, from: &Struct) {
    for (key, more) in &from.fields {
        match (into.fields.get_mut(key).map(|known| &mut known.kind), &more.kind) {
            (Some(Some(Kind::StructValue(known))), Some(Kind::StructValue(more))) => {
                merge(known, more);
            }
            (Some(_), _) => {}
            (None, _) => {
                into.fields.insert(key.clone(), more.clone());
            }
        }
    }
}

fn object(map: &Map<String, serde_json::Value>) -> Struct {
    Struct { fields: map.iter().map(|(key, json)| (key.clone(), of_json(json))).collect() }
}

fn of_json(json: &serde_json::Value) -> Value {
    value(match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(truth) => Kind::BoolValue(*truth),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => return list(items.iter().map(of_json)),
        serde_json::Value::Object(map) => Kind::StructValue(object(map)),
    })
}

fn text(bytes: &[u8]) -> Value {
    value(Kind::StringValue(String::from_utf8_lossy(bytes).into_owned()))
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    value(Kind::ListValue(ListValue { values: values.collect() }))
}

const fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}
