//! The configuration in force as YAML: what all layers say together, and beside each value who said
//! it. Secrets are masked.

use std::{cmp::Ordering, fmt::Write as _};

use config::{Map, Value, ValueKind};
use yaml_rust2::Yaml;

use super::{
    layers::first_origin,
    origin::Origin,
    settings::{MASK, mask_password},
};

/// The order in which people write keys; others follow by name.
#[rustfmt::skip]
const ORDER: [&str; 38] = [
    "listen", "store", "clients", "defaults", "endpoints", "exempt", "tiers", "limits", "gateway", "log", "shutdown_delay", "shutdown_grace",
    "http", "grpc",
    "url", "prefix", "timeout", "on_failure",
    "identify", "trusted_proxies",
    "name", "when", "per", "rate", "requests_per_minute", "burst", "burst_size", "cost", "mode",
    "path", "method",
    "multiply", "unlimited",
    "upstream", "protocol", "host",
    "format", "level",
];

/// Where secrets stand that are written down.
const SECRETS: [&[&str]; 3] =
    [&["clients", "secret"], &["admin", "basic", "password"], &["admin", "bearer", "token"]];

/// `tree`, merged from all layers and without mistakes, as a file that would be read as the same.
pub(crate) fn show(tree: &Value) -> String {
    let mut text = String::new();
    if let ValueKind::Table(values) = &tree.kind {
        write_table(&mut text, values, &mut Vec::new(), "");
    }
    text
}

fn write_table<'t>(
    text: &mut String,
    values: &'t Map<String, Value>,
    path: &mut Vec<&'t str>,
    indent: &str,
) {
    for (key, value) in sorted(values) {
        path.push(key);
        text.push_str(indent);
        text.push_str(&scalar_text(key));
        text.push(':');
        write_value(text, value, path, indent);
        path.pop();
    }
}

/// Writes what follows the key: on its line, or below it.
fn write_value<'t>(text: &mut String, value: &'t Value, path: &mut Vec<&'t str>, indent: &str) {
    let deeper = format!("{indent}  ");
    match &value.kind {
        // Clients' keys are secrets of theirs.
        ValueKind::Array(items) if matches!(path[..], ["tiers", _, "clients"]) => {
            write_line(
                text,
                "[]",
                first_origin(value),
                &format!(", which lists {}: not shown", items.len()),
            );
        }
        ValueKind::Table(values) if !values.is_empty() => {
            text.push('\n');
            write_table(text, values, path, &deeper);
        }
        ValueKind::Array(items)
            if items.iter().any(|item| matches!(item.kind, ValueKind::Table(_))) =>
        {
            text.push('\n');
            for item in items {
                write_item(text, item, path, &deeper);
            }
        }
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| scalar(&item.kind, path)).collect();
            write_line(text, &format!("[{}]", items.join(", ")), first_origin(value), "");
        }
        kind => write_line(text, &scalar(kind, path), first_origin(value), ""),
    }
}

/// An item of a list of tables: its first key stands behind the dash.
fn write_item<'t>(text: &mut String, item: &'t Value, path: &mut Vec<&'t str>, indent: &str) {
    let ValueKind::Table(values) = &item.kind else {
        let _ = write!(text, "{indent}-");
        return write_line(text, &scalar(&item.kind, path), first_origin(item), "");
    };
    let mut table = String::new();
    write_table(&mut table, values, path, &format!("{indent}  "));
    let _ = write!(text, "{indent}- {}", table.trim_start());
}

fn write_line(text: &mut String, value: &str, origin: Option<Origin>, remark: &str) {
    match origin {
        Some(origin) => {
            // A file's name may hold anything; a comment ends with its line.
            let origin: String = origin.to_string().chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(text, " {value}  # {origin}{remark}");
        }
        None => {
            let _ = writeln!(text, " {value}");
        }
    }
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

fn scalar(kind: &ValueKind, path: &[&str]) -> String {
    match kind {
        ValueKind::String(_) if SECRETS.contains(&path) => scalar_text(MASK),
        ValueKind::String(text) if *path == ["store", "url"] => scalar_text(&mask_password(text)),
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
    // What JSON escapes, YAML reads in the same way.
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
