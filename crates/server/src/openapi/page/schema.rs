//! Schemas as phrases and tables.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::html::{Inline, Text};

const REFERENCE: &str = "#/components/schemas/";

/// The type of a value in a few words: `string`, `list of Check`. Names are links.
pub(super) struct Kind<'s>(pub(super) &'s Value);

/// The members of an object.
pub(super) struct Members<'s>(pub(super) &'s Value);

impl Display for Kind<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(name) = reference(schema) {
            return write!(f, r##"<a href="#schema-{0}">{0}</a>"##, Text(name));
        }
        if let Some(values) = schema["enum"].as_array() {
            return among(f, values.iter(), " or ", |f, value| {
                write!(f, "<code>{}</code>", Text(&value.to_string()))
            });
        }
        for (key, between) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
            if let Some(schemas) = schema[key].as_array() {
                // `null` is not mentioned, since the member is marked as optional.
                return among(
                    f,
                    schemas.iter().filter(|schema| schema["type"] != "null"),
                    between,
                    |f, schema| Kind(schema).fmt(f),
                );
            }
        }
        let mut types = types(schema).filter(|name| *name != "null");
        match types.next() {
            Some("array") => write!(f, "list of {}", Kind(&schema["items"])),
            Some("object") if schema["additionalProperties"].is_object() => {
                write!(f, "object of {}", Kind(&schema["additionalProperties"]))
            }
            Some(name) => {
                f.write_str(name)?;
                bounds(f, schema)
            }
            None => f.write_str("anything"),
        }
    }
}

impl Display for Members<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().try_for_each(|part| {
                if reference(part).is_some() { also(f, part) } else { Members(part).fmt(f) }
            });
        }
        let Some(members) = schema["properties"].as_object() else {
            return writeln!(f, "<p>{}</p>", Kind(schema));
        };
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        f.write_str(
            "<div class=\"wide\"><table><thead><tr><th>Member</th><th>Value</th><th></th></tr>\
             </thead><tbody>\n",
        )?;
        // Required members come first.
        for is_required in [true, false] {
            for (name, member) in
                members.iter().filter(|(name, _)| required.contains(&name.as_str()) == is_required)
            {
                let mark =
                    if is_required { r#" <span class="required">required</span>"# } else { "" };
                let about = Inline(member["description"].as_str().unwrap_or_default());
                writeln!(
                    f,
                    "<tr><td><code>{}</code>{mark}</td><td>{}</td><td>{about}</td></tr>",
                    Text(name),
                    Kind(member)
                )?;
            }
        }
        writeln!(f, "</tbody></table></div>")
    }
}

fn also(f: &mut Formatter<'_>, part: &Value) -> fmt::Result {
    writeln!(f, "<p>The members of {}, and</p>", Kind(part))
}

/// Returns the name that a schema refers to.
fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(REFERENCE)
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let kinds = &schema["type"];
    kinds
        .as_str()
        .into_iter()
        .chain(kinds.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn bounds(f: &mut Formatter<'_>, schema: &Value) -> fmt::Result {
    for (low, high, unit) in [("minimum", "maximum", ""), ("minLength", "maxLength", " characters")]
    {
        match (&schema[low], &schema[high]) {
            (Value::Null, Value::Null) => {}
            // A count needs no remark.
            (low, Value::Null) if unit.is_empty() && *low == 0 => {}
            (low, Value::Null) if !unit.is_empty() && *low == 1 => f.write_str(", not empty")?,
            (low, Value::Null) => write!(f, ", at least {low}{unit}")?,
            (Value::Null, high) => write!(f, ", up to {high}{unit}")?,
            (low, high) => write!(f, ", {low} to {high}{unit}")?,
        }
    }
    match schema["pattern"].as_str() {
        Some(pattern) => write!(f, ", as <code>{}</code>", Text(pattern)),
        None => Ok(()),
    }
}

fn among<'v>(
    f: &mut Formatter<'_>,
    values: impl Iterator<Item = &'v Value>,
    between: &str,
    write: impl Fn(&mut Formatter<'_>, &Value) -> fmt::Result,
) -> fmt::Result {
    for (place, value) in values.enumerate() {
        if place > 0 {
            f.write_str(between)?;
        }
        write(f, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_described_in_words() {
        for (schema, words) in [
            (json!({ "type": "string" }), "string"),
            (json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 9 }), "integer, 0 to 9"),
            (json!({ "type": "integer", "minimum": 0 }), "integer"),
            (json!({ "type": "string", "minLength": 1 }), "string, not empty"),
            (json!({ "type": "string", "pattern": "^/" }), "string, as <code>^/</code>"),
            (
                json!({ "enum": ["a", "b"] }),
                "<code>&quot;a&quot;</code> or <code>&quot;b&quot;</code>",
            ),
            (
                json!({ "type": "array", "items": { "$ref": "#/components/schemas/A" } }),
                r##"list of <a href="#schema-A">A</a>"##,
            ),
            (json!({ "oneOf": [{ "type": "null" }, { "type": "boolean" }] }), "boolean"),
            (
                json!({ "type": "object", "additionalProperties": { "type": "string" } }),
                "object of string",
            ),
            (json!({}), "anything"),
        ] {
            assert_eq!(Kind(&schema).to_string(), words);
        }
    }

    #[test]
    fn required_members_come_first() {
        let schema = json!({
            "properties": {
                "a": { "type": "string" },
                "b": { "type": "string", "description": "`B`" },
            },
            "required": ["b"],
        });
        let table = Members(&schema).to_string();
        assert!(
            table.find("<code>b</code> <span").unwrap()
                < table.find("<code>a</code></td>").unwrap(),
            "{table}"
        );
        assert!(table.contains("<code>B</code>"), "{table}");
    }
}
