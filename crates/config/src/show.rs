//! The merged configuration as YAML: the values of all layers, and beside each its origin. Secrets
//! are masked.

use std::{cmp::Ordering, collections::HashMap, fmt::Write as _};

use config::{Map, Value, ValueKind};
use yaml_rust2::Yaml;

use crate::{
    layers::first_origin,
    origin::Origin,
    path::Path,
    reader::Hidden,
    settings::{MASK, mask_password},
};

/// The order in which people write keys; all others follow, ordered by name.
#[rustfmt::skip]
const ORDER: [&str; 41] = [
    "listen", "store", "clients", "defaults", "endpoints", "exempt", "preflights", "tiers",
    "limits",
    "gateway", "log", "shutdown_delay", "shutdown_grace",
    "http", "grpc",
    "url", "prefix", "timeout", "on_failure",
    "identify", "unverified", "per_ip", "trusted_proxies",
    "name", "when", "per", "rate", "requests_per_minute", "burst", "burst_size", "cost", "mode",
    "path", "method",
    "multiply", "unlimited",
    "upstream", "protocol", "host",
    "format", "level",
];

/// Returns `tree`, merged from all layers and without errors, as a file that is read as the same.
pub(crate) fn show(tree: &Value, hidden: &HashMap<Path, Hidden>) -> String {
    let mut writer = Writer { text: String::new(), hidden };
    if let ValueKind::Table(values) = &tree.kind {
        writer.table(values, &Path::root(), "");
    }
    writer.text
}

struct Writer<'h> {
    text: String,
    hidden: &'h HashMap<Path, Hidden>,
}

impl Writer<'_> {
    fn table(&mut self, values: &Map<String, Value>, path: &Path, indent: &str) {
        for (key, value) in sorted(values) {
            let _ = write!(self.text, "{indent}{}:", scalar_text(key));
            self.value(value, &path.key(key), indent);
        }
    }

    /// Writes what follows a key: in its line, or below it.
    fn value(&mut self, value: &Value, path: &Path, indent: &str) {
        let deeper = format!("{indent}  ");
        match (&value.kind, self.hidden.get(path)) {
            (ValueKind::Array(items), Some(Hidden::Items)) => {
                let remark = format!(", which lists {}: not shown", items.len());
                self.line("[]", first_origin(value), &remark);
            }
            (ValueKind::Array(items), Some(Hidden::Value)) => {
                let remark = format!(", which lists {}: not shown", items.len());
                self.line(&scalar_text(MASK), first_origin(value), &remark);
            }
            (ValueKind::String(_), Some(Hidden::Value)) => {
                self.line(&scalar_text(MASK), first_origin(value), "");
            }
            (ValueKind::String(url), Some(Hidden::UrlPassword)) => {
                self.line(&scalar_text(&mask_password(url)), first_origin(value), "");
            }
            (ValueKind::Table(values), _) if !values.is_empty() => {
                self.text.push('\n');
                self.table(values, path, &deeper);
            }
            (ValueKind::Array(items), _) if items.iter().any(is_table) => {
                self.text.push('\n');
                for (index, item) in items.iter().enumerate() {
                    self.item(item, &path.index(index), &deeper);
                }
            }
            (ValueKind::Array(items), _) => {
                let items: Vec<String> = items.iter().map(|item| scalar(&item.kind)).collect();
                self.line(&format!("[{}]", items.join(", ")), first_origin(value), "");
            }
            (kind, _) => self.line(&scalar(kind), first_origin(value), ""),
        }
    }

    /// Writes an item of a list of tables: its first key follows the dash.
    fn item(&mut self, item: &Value, path: &Path, indent: &str) {
        let ValueKind::Table(values) = &item.kind else {
            let _ = write!(self.text, "{indent}-");
            return self.line(&scalar(&item.kind), first_origin(item), "");
        };
        let mut table = Writer { text: String::new(), hidden: self.hidden };
        table.table(values, path, &format!("{indent}  "));
        let _ = write!(self.text, "{indent}- {}", table.text.trim_start());
    }

    fn line(&mut self, value: &str, origin: Option<Origin>, remark: &str) {
        let _ = match origin {
            Some(origin) => {
                // A file's name may hold line breaks, which would end the comment.
                let origin: String =
                    origin.to_string().chars().filter(|c| !c.is_control()).collect();
                writeln!(self.text, " {value}  # {origin}{remark}")
            }
            None => writeln!(self.text, " {value}"),
        };
    }
}

const fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

fn sorted(values: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut entries: Vec<(&str, &Value)> =
        values.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let place = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
    let by_place =
        |a: &str, b: &str| -> Ordering { place(a).cmp(&place(b)).then_with(|| a.cmp(b)) };
    entries.sort_by(|(a, _), (b, _)| by_place(a, b));
    entries
}

/// Returns a value that is no table and no list as YAML.
pub(crate) fn scalar(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => scalar_text(text),
        ValueKind::Table(_) => "{}".to_owned(),
        ValueKind::Array(_) => "[]".to_owned(),
        kind => kind.to_string(),
    }
}

/// `text` without quotes where YAML reads it as the same text, also inside brackets.
fn scalar_text(text: &str) -> String {
    let starts_plainly =
        text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/');
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b" _./:*@+-=".contains(&b));
    let is_key = text.contains(": ") || text.ends_with([':', ' ']);
    if starts_plainly && is_plain && !is_key && matches!(Yaml::from_str(text), Yaml::String(_)) {
        return text.to_owned();
    }
    // YAML reads the escapes of JSON in the same way.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_only_where_yaml_would_read_something_else() {
        for plain in [
            "/api/**",
            "0.0.0.0:8000",
            "header:x-api-key",
            "60/minute",
            "100 per 90s",
            "memory://",
            "off",
            "25ms",
        ] {
            assert_eq!(scalar_text(plain), plain);
        }
        for quoted in [
            "60", "true", "null", "1.5", "0x1f", "", "a: b", "a:", "a #b", "[::]:80", "*a", "a,b",
            "ü", "a\nb", "~", "-", " a",
        ] {
            assert!(scalar_text(quoted).starts_with('"'), "{quoted}");
        }
    }
}
