//! A descriptor's `metadata`: any table, as JSON.

use serde_json::{Map, Number, Value};

use super::merge::merge;
use crate::document::{Entry, Kind, Located, Scalar};

/// Returns the table of `entries`.
pub(super) fn table(entries: &[Entry]) -> Map<String, Value> {
    let entries = merge(entries).entries;
    entries.into_iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect()
}

fn json(value: &Located) -> Value {
    match value.node.kind() {
        Kind::Scalar(text, scalar) => match *scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Integer(number) => Number::from_i128(number).map_or(Value::Null, Value::Number),
            // JSON has no infinities, and no NaN.
            Scalar::Float(number) => {
                Number::from_f64(number).map_or_else(|| Value::String(text.clone()), Value::Number)
            }
            Scalar::Text => Value::String(text.clone()),
        },
        Kind::List(items) => Value::Array(items.iter().map(json).collect()),
        Kind::Table(entries) => Value::Object(table(entries)),
    }
}
