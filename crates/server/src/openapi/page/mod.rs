//! The OpenAPI document as an HTML page: one file without scripts that loads nothing.

mod curl;
mod html;
mod schema;

use std::fmt::{self, Display, Formatter, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use self::{
    html::{Inline, Prose, Text},
    schema::{Kind, Members},
};

const STYLE: &str = concat!(include_str!("../../base.css"), include_str!("page.css"));

/// Renders the page for `document`.
pub(super) fn render(document: &Value) -> String {
    HtmlPage(document).to_string()
}

/// Returns the `Content-Security-Policy`: the page's own style sheet and nothing else.
pub(super) fn content_security_policy() -> String {
    let digest = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

struct HtmlPage<'d>(&'d Value);

/// An operation at one path, with one or several methods.
struct Operation<'d> {
    path: &'d str,
    /// In upper case.
    methods: Vec<String>,
    definition: &'d Value,
}

// === impl HtmlPage ===

impl<'d> HtmlPage<'d> {
    /// Returns the operations; those that differ only in the method are one.
    fn operations(&self) -> Vec<Operation<'d>> {
        let mut operations: Vec<Operation<'d>> = Vec::new();
        for (path, item) in members(&self.0["paths"]) {
            for (method, definition) in members(item) {
                let method = method.to_ascii_uppercase();
                match operations
                    .iter_mut()
                    .find(|known| known.path == path && known.is_same(definition))
                {
                    // The shortest identifier is the common part.
                    Some(known) => {
                        if definition["operationId"].as_str().map(str::len)
                            < known.definition["operationId"].as_str().map(str::len)
                        {
                            known.definition = definition;
                            known.methods.insert(0, method);
                        } else {
                            known.methods.push(method);
                        }
                    }
                    None => operations.push(Operation { path, methods: vec![method], definition }),
                }
            }
        }
        operations
    }
}

impl Display for HtmlPage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let info = &self.0["info"];
        let (title, version) = (text(&info["title"]), text(&info["version"]));
        let operations = self.operations();
        let tags: Vec<&Value> = self.0["tags"].as_array().into_iter().flatten().collect();

        write!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{0} {1}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{0} <small>{1}</small></h1>\n{2}\
             <p>For programs: <a href=\"openapi.json\">openapi.json</a>, OpenAPI {3}.</p>\n\
             </header>\n",
            Text(title),
            Text(version),
            Prose(text(&info["description"])),
            Text(text(&self.0["openapi"])),
        )?;

        writeln!(f, "<nav aria-label=\"Contents\">\n<ul>")?;
        for operation in tags.iter().flat_map(|tag| tagged(&operations, tag)) {
            writeln!(
                f,
                "<li><a href=\"#{}\">{} <code>{}</code></a> {}</li>",
                operation.id(),
                operation.badge(),
                Text(operation.path),
                operation.summary()
            )?;
        }
        writeln!(f, "<li><a href=\"#schemas\">Schemas</a></li>\n</ul>\n</nav>\n<main>")?;

        for tag in tags {
            writeln!(
                f,
                "<section>\n<h2>{}</h2>\n{}",
                Text(text(&tag["name"])),
                Prose(text(&tag["description"]))
            )?;
            tagged(&operations, tag).try_for_each(|operation| operation.fmt(f))?;
            writeln!(f, "</section>")?;
        }

        writeln!(f, "<section id=\"schemas\">\n<h2>Schemas</h2>")?;
        for (name, schema) in members(&self.0["components"]["schemas"]) {
            let about = Prose(text(&schema["description"]));
            writeln!(
                f,
                "<article id=\"schema-{0}\">\n<h3>{0}</h3>\n{about}{1}</article>",
                Text(name),
                Members(schema)
            )?;
        }
        writeln!(f, "</section>\n</main>\n</body>\n</html>")
    }
}

fn tagged<'o, 'd>(
    operations: &'o [Operation<'d>],
    tag: &'o Value,
) -> impl Iterator<Item = &'o Operation<'d>> {
    operations.iter().filter(|operation| operation.definition["tags"][0] == tag["name"])
}

// === impl Operation ===

impl Operation<'_> {
    fn is_same(&self, definition: &Value) -> bool {
        let without_name = |operation: &Value| {
            members(operation)
                .filter(|(name, _)| *name != "operationId")
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect::<Vec<_>>()
        };
        without_name(self.definition) == without_name(definition)
    }

    fn id(&self) -> Text<'_> {
        Text(text(&self.definition["operationId"]))
    }

    fn summary(&self) -> Inline<'_> {
        Inline(text(&self.definition["summary"]))
    }

    /// Returns the methods as a badge.
    fn badge(&self) -> String {
        let name = if self.methods.len() > 1 { "any" } else { &self.methods[0] };
        format!("<b class=\"method\">{}</b>", Text(name))
    }

    /// Returns a shell command for each example, with the example's summary.
    fn examples(&self) -> Vec<(String, String)> {
        let parameters = self.definition["parameters"].as_array().into_iter().flatten();
        let fields: Vec<(&str, &str)> = parameters
            .filter_map(|parameter| {
                Some((text(&parameter["name"]), parameter["example"].as_str()?))
            })
            .collect();
        let method = &self.methods[0];
        let contents: Vec<_> = members(&self.definition["requestBody"]["content"]).collect();
        if contents.is_empty() {
            return vec![(String::new(), curl::line(method, self.path, &fields, None))];
        }
        let of_content = |(media_type, content): &(&str, &Value)| {
            let examples = members(&content["examples"]);
            examples
                .map(|(_, example)| {
                    let line = curl::line(
                        method,
                        self.path,
                        &fields,
                        Some((media_type, &example["value"])),
                    );
                    (text(&example["summary"]).to_owned(), line)
                })
                .collect::<Vec<_>>()
        };
        contents.iter().flat_map(of_content).collect()
    }

    fn parameters(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(parameters) = self.definition["parameters"].as_array() else { return Ok(()) };
        writeln!(
            f,
            "<h4>Parameters</h4>\n<div \
             class=\"wide\"><table><thead><tr><th>Name</th><th>In</th><th></th></tr></thead><tbody>"
        )?;
        for parameter in parameters {
            let about = Inline(text(&parameter["description"]));
            writeln!(
                f,
                "<tr><td><code>{}</code></td><td>{}</td><td>{about}</td></tr>",
                Text(text(&parameter["name"])),
                Text(text(&parameter["in"]))
            )?;
        }
        writeln!(f, "</tbody></table></div>")
    }

    fn response(f: &mut Formatter<'_>, status: &str, response: &Value) -> fmt::Result {
        write!(f, "<li><b class=\"status s{}\">{}</b> ", &status[..1], Text(status))?;
        let mut contents = members(&response["content"]).peekable();
        while let Some((media_type, content)) = contents.next() {
            let between = if contents.peek().is_some() { ", " } else { "" };
            write!(f, "<code>{}</code>: {}{between}", Text(media_type), Kind(&content["schema"]))?;
        }
        writeln!(f, "\n{}", Prose(text(&response["description"])))?;
        let fields: Vec<_> = members(&response["headers"]).collect();
        if !fields.is_empty() {
            writeln!(f, "<details><summary>Header fields</summary>\n<dl>")?;
            for (name, field) in fields {
                writeln!(
                    f,
                    "<dt><code>{}</code></dt><dd>{}</dd>",
                    Text(name),
                    Inline(text(&field["description"]))
                )?;
            }
            writeln!(f, "</dl></details>")?;
        }
        for (_, content) in
            members(&response["content"]).filter(|(_, content)| content.get("example").is_some())
        {
            let example = &content["example"];
            let shown = example.as_str().map_or_else(|| format!("{example:#}"), str::to_owned);
            writeln!(
                f,
                "<details><summary>Example</summary>\n<pre><code>{}</code></pre></details>",
                Text(&shown)
            )?;
        }
        writeln!(f, "</li>")
    }
}

impl Display for Operation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "<article id=\"{}\">\n<h3>{} <code>{}</code></h3>",
            self.id(),
            self.badge(),
            Text(self.path)
        )?;
        writeln!(
            f,
            "<p class=\"summary\">{}</p>\n{}",
            self.summary(),
            Prose(text(&self.definition["description"]))
        )?;
        if self.methods.len() > 1 {
            let methods = self
                .methods
                .iter()
                .map(|method| format!("<code>{}</code>", Text(method)))
                .collect::<Vec<_>>();
            writeln!(f, "<p>By {}.</p>", methods.join(", "))?;
        }
        if self.definition["security"].is_array() {
            writeln!(f, "<p>Credentials may be needed: basic or bearer.</p>")?;
        }
        self.parameters(f)?;
        let mut body = String::new();
        for (media_type, content) in members(&self.definition["requestBody"]["content"]) {
            write!(
                body,
                "<li><code>{}</code>: {}</li>",
                Text(media_type),
                Kind(&content["schema"])
            )?;
        }
        if !body.is_empty() {
            writeln!(f, "<h4>Body</h4>\n<ul class=\"bodies\">{body}</ul>")?;
        }
        let examples = self.examples();
        writeln!(f, "<h4>{}</h4>", if examples.len() > 1 { "Examples" } else { "Example" })?;
        // The first example is open, the others are collapsed.
        for (place, (what, line)) in examples.iter().enumerate() {
            match place {
                0 => writeln!(f, "{}<pre><code>{}</code></pre>", Prose(what), Text(line))?,
                _ => writeln!(
                    f,
                    "<details><summary>{}</summary>\n<pre><code>{}</code></pre></details>",
                    Inline(what),
                    Text(line)
                )?,
            }
        }
        writeln!(f, "<h4>Responses</h4>\n<ul class=\"responses\">")?;
        for (status, response) in members(&self.definition["responses"]) {
            Self::response(f, status, response)?;
        }
        writeln!(f, "</ul>\n</article>")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}
