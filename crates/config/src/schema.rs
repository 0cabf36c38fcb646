//! The JSON Schema of the configuration, for editors and for the Helm chart.
//!
//! The readers are the only source: they read examples that contain every key, while what they
//! look for is noted: the keys of each table, the words of a choice, the range of a number. A key
//! that no example contains is allowed with any value, so the schema never rejects what the readers
//! accept there. What depends on more than one value is not in the schema; `sluice config check`
//! finds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use serde_json::{Map, Value, json};

/// What the readers looked for, by the path at which they did.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The keys of each table with fixed keys, each with the path of its value.
    tables: BTreeMap<String, BTreeMap<&'static str, String>>,
    /// The paths of the values of each table with free keys.
    entries: BTreeMap<String, BTreeSet<String>>,
    /// The paths of the items of each list.
    items: BTreeMap<String, BTreeSet<String>>,
    /// Where one item may stand in place of a list.
    one_or_more: BTreeSet<String>,
    required: BTreeSet<String>,
    scalars: BTreeMap<String, BTreeSet<Scalar>>,
}

/// A value that is neither a table nor a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scalar {
    Text,
    Integer {
        least: u64,
        most: u64,
    },
    Number,
    Boolean,
    Duration,
    /// Tokens per period.
    Rate,
    /// Money per period.
    MoneyRate,
    /// Tokens per window of the calendar.
    Quota,
    /// Tokens per span of time.
    AtMost,
    Choice(Vec<&'static str>),
    /// `off`, which YAML 1.1 reads as `false`.
    Off,
    /// `on`, which YAML 1.1 reads as `true`.
    True,
}

impl Observed {
    pub(crate) fn field(&mut self, table: String, key: &'static str, path: String) {
        self.tables.entry(table).or_default().insert(key, path);
    }

    pub(crate) fn table(&mut self, path: String) {
        self.tables.entry(path).or_default();
    }

    pub(crate) fn entries(&mut self, path: String) {
        self.entries.entry(path).or_default();
    }

    pub(crate) fn entry(&mut self, table: String, path: String) {
        self.entries.entry(table).or_default().insert(path);
    }

    pub(crate) fn list(&mut self, path: String, one_or_more: bool) {
        if one_or_more {
            self.one_or_more.insert(path.clone());
        }
        self.items.entry(path).or_default();
    }

    pub(crate) fn item(&mut self, list: String, path: String) {
        self.items.entry(list).or_default().insert(path);
    }

    pub(crate) fn required(&mut self, path: String) {
        self.required.insert(path);
    }

    pub(crate) fn scalar(&mut self, path: String, scalar: Scalar) {
        self.scalars.entry(path).or_default().insert(scalar);
    }

    /// Returns the schema of the whole configuration.
    pub(crate) fn into_schema(self) -> Value {
        let mut schema = self.schema_of(&[String::new()].into());
        if let Some(root) = schema.as_object_mut() {
            root.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
            root.insert("title".into(), json!("The configuration of Sluice"));
        }
        schema
    }

    /// Returns the schema of a value that is read at each of `paths`: in several examples or items.
    fn schema_of(&self, paths: &BTreeSet<String>) -> Value {
        let mut accepted = Vec::new();
        accepted.extend(self.table_schema(paths));
        accepted.extend(self.entries_schema(paths));
        accepted.extend(self.list_schemas(paths));
        accepted.extend(scalar_schemas(&self.scalars_at(paths)));
        let mut distinct: Vec<Value> = Vec::new();
        for schema in accepted {
            if !distinct.contains(&schema) {
                distinct.push(schema);
            }
        }
        match distinct.len() {
            0 => json!({}),
            1 => distinct.remove(0),
            _ => json!({ "anyOf": distinct }),
        }
    }

    fn table_schema(&self, paths: &BTreeSet<String>) -> Option<Value> {
        let tables: Vec<_> = paths.iter().filter_map(|path| self.tables.get(path)).collect();
        if tables.is_empty() {
            return None;
        }
        let keys: BTreeSet<&str> = tables.iter().flat_map(|table| table.keys().copied()).collect();
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for key in keys {
            let places: BTreeSet<String> =
                tables.iter().filter_map(|table| table.get(key)).cloned().collect();
            let is_required = tables
                .iter()
                .all(|table| table.get(key).is_some_and(|place| self.required.contains(place)));
            if is_required {
                required.push(key);
            }
            properties.insert(key.to_owned(), self.schema_of(&places));
        }
        let mut schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        Some(schema)
    }

    fn entries_schema(&self, paths: &BTreeSet<String>) -> Option<Value> {
        let entries: Vec<_> = paths.iter().filter_map(|path| self.entries.get(path)).collect();
        if entries.is_empty() {
            return None;
        }
        let values = entries.into_iter().flatten().cloned().collect();
        Some(json!({ "type": "object", "additionalProperties": self.schema_of(&values) }))
    }

    fn list_schemas(&self, paths: &BTreeSet<String>) -> Vec<Value> {
        let lists: Vec<_> = paths.iter().filter_map(|path| self.items.get(path)).collect();
        if lists.is_empty() {
            return Vec::new();
        }
        let items = lists.into_iter().flatten().cloned().collect();
        let item = self.schema_of(&items);
        let list = json!({ "type": "array", "items": item });
        if paths.iter().any(|path| self.one_or_more.contains(path)) {
            vec![list, item]
        } else {
            vec![list]
        }
    }

    fn scalars_at(&self, paths: &BTreeSet<String>) -> BTreeSet<Scalar> {
        paths.iter().filter_map(|path| self.scalars.get(path)).flatten().cloned().collect()
    }
}

fn scalar_schemas(scalars: &BTreeSet<Scalar>) -> Vec<Value> {
    // A reader that accepts certain words first looks whether there is text at all.
    let has_choice = scalars.iter().any(|scalar| matches!(scalar, Scalar::Choice(_)));
    let is_precise = |scalar: &&Scalar| !(has_choice && **scalar == Scalar::Text);
    scalars.iter().filter(is_precise).map(Scalar::schema).collect()
}

impl Scalar {
    pub(crate) const fn integer(range: &RangeInclusive<u64>) -> Self {
        Self::Integer { least: *range.start(), most: *range.end() }
    }

    fn schema(&self) -> Value {
        match self {
            Self::Text => json!({ "type": "string", "minLength": 1 }),
            // Templates often quote numbers, and people write `1_000`.
            Self::Integer { least, most } => json!({
                "type": ["integer", "string"],
                "minimum": least,
                "maximum": most,
                "pattern": "^[0-9_]+$",
            }),
            // None is below zero: weights, prices, shares.
            Self::Number => json!({
                "type": ["number", "string"],
                "minimum": 0,
                "pattern": "^\\+?[0-9.]+([eE][-+]?[0-9]+)?$",
            }),
            Self::Boolean => json!({ "enum": [true, false, "true", "false"] }),
            Self::Duration => json!({
                "type": "string",
                "pattern": "^\\s*([0-9]+\\s*[a-zµ]+\\s*)+$",
                "description": "A whole number and a unit, as in `25ms` or `1s`.",
            }),
            Self::Rate => json!({
                "type": "string",
                "pattern": "^\\s*[0-9][0-9_]*(\\s*/\\s*[a-z]+|\\s+per\\s+.+)\\s*$",
                "description": "Tokens per period, as in `60/minute` or `100 per 90s`.",
            }),
            Self::MoneyRate => json!({
                "type": "string",
                "pattern": "^\\s*[0-9.][0-9_.]*(\\s*/\\s*[a-z]+|\\s+per\\s+.+)\\s*$",
                "description": "Units of the currency per period, as in `10/day`.",
            }),
            Self::Quota => json!({
                "type": "string",
                "pattern": "^\\s*[0-9.][0-9_.]*(\\s*/\\s*|\\s+per\\s+)[a-z]+\\s*$",
                "description": "Tokens per window of the calendar, as in `1_000_000/month`.",
            }),
            Self::AtMost => json!({
                "type": "string",
                "pattern": "^\\s*[0-9.][0-9_.]*\\s+per\\s+.+$",
                "description": "Tokens per span of time, as in `100 per 60s`.",
            }),
            Self::Choice(words) => {
                let off = words.contains(&"off").then_some(json!(false));
                let on = words.contains(&"on").then_some(json!(true));
                let words = words.iter().map(|word| json!(word));
                json!({ "enum": words.chain(off).chain(on).collect::<Vec<_>>() })
            }
            Self::Off => json!({ "enum": ["off", false] }),
            Self::True => json!({ "enum": [true] }),
        }
    }
}
