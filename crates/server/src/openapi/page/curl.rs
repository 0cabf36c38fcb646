//! Examples as shell commands.

use std::fmt::Write;

use serde_json::Value;

/// The address in the examples.
const ADDRESS: &str = "http://localhost:8000";

/// Returns the curl command for `method` and `path`, with these header fields and this body.
pub(super) fn line(
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: Option<(&str, &Value)>,
) -> String {
    let mut line = "curl -i ".to_owned();
    // The method that curl uses by default.
    if method != if body.is_some() { "POST" } else { "GET" } {
        add(&mut line, format_args!("-X {method} "));
    }
    add(&mut line, format_args!("{ADDRESS}{path}"));
    for (name, value) in fields {
        add(&mut line, format_args!(" -H {}", quoted(&format!("{name}: {value}"))));
    }
    if let Some((media_type, body)) = body {
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        add(
            &mut line,
            format_args!(
                " -H {} --data-binary {}",
                quoted(&format!("content-type: {media_type}")),
                quoted(&text)
            ),
        );
    }
    line
}

fn add(line: &mut String, what: std::fmt::Arguments<'_>) {
    line.write_fmt(what).expect("a string takes everything");
}

/// Quotes one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_quoted_for_a_shell() {
        assert_eq!(line("GET", "/health", &[], None), "curl -i http://localhost:8000/health");
        assert_eq!(
            line(
                "POST",
                "/v1/check",
                &[],
                Some(("application/json", &json!({ "client": "o'neill" })))
            ),
            concat!(
                "curl -i http://localhost:8000/v1/check -H 'content-type: application/json' ",
                r#"--data-binary '{"client":"o'\''neill"}'"#
            )
        );
        assert_eq!(
            line("PUT", "/a", &[("x-a", "b c")], None),
            "curl -i -X PUT http://localhost:8000/a -H 'x-a: b c'"
        );
        let lines =
            line("POST", "/v1/events", &[], Some(("application/x-ndjson", &json!("{}\n{}"))));
        assert!(lines.ends_with("--data-binary '{}\n{}'"), "{lines}");
    }
}
