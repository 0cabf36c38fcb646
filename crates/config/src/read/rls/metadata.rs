//! A descriptor's `metadata`: any table, as JSON.

use serde_json::{Map, Number, Value};

use super::{
    scalar::Scalar,
    yaml::{Entry, Node, What},
};

/// The table of `entries`.
pub(super) fn table(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|Entry { key, value, .. }| (key.clone(), json(value))).collect()
}

fn json(node: &Node) -> Value {
    match &node.what {
        What::Scalar(text, scalar) => match *scalar {
            Scalar::Null => Value::Null,
            Scalar::Truth(truth) => Value::Bool(truth),
            Scalar::Integer(number) => Number::from_i128(number).map_or(Value::Null, Value::Number),
            // JSON knows neither infinities nor what is no number.
            Scalar::Fraction(number) => {
                Number::from_f64(number).map_or_else(|| Value::String(text.clone()), Value::Number)
            }
            Scalar::Text => Value::String(text.clone()),
        },
        What::List(nodes) => Value::Array(nodes.iter().map(|node| json(node)).collect()),
        What::Table(entries) => Value::Object(table(entries)),
    }
}
