//! `cargo xtask api`: the listing of the library's public surface, `docs/api/sluice.txt`.
//!
//! A change of the surface is so visible in review. The listing is read from the pages that rustdoc
//! writes, since rustdoc's JSON needs a nightly compiler.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::shell::cargo;

const LISTING: &str = "docs/api/sluice.txt";
const HEADING: &str = "\
# The public surface of the crate `sluice`, with all features. Written by `cargo xtask api`.
# An item that is re-exported is listed under its shortest path; `also` names the other paths.
";

/// An item's declaration, and below it the headers of its methods and implementations.
type Item = Vec<String>;

/// Writes the listing.
pub(crate) fn run(report: &mut Report, root: &Path) {
    report.check("write the public surface", || {
        let path = root.join(LISTING);
        fs::write(&path, listing(root)?)
            .map_err(|error| format!("{}: {error}", path.display()))
            .map(|()| Vec::new())
    });
}

/// Returns a finding if the listing is not that of the current source.
///
/// # Errors
/// When the documentation cannot be built or read.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let current = listing(root)?;
    let committed = fs::read_to_string(root.join(LISTING)).unwrap_or_default();
    Ok(if committed == current {
        Vec::new()
    } else {
        vec![format!("{LISTING} is not current: run `cargo xtask api` and commit the file")]
    })
}

fn listing(root: &Path) -> Result<String, String> {
    let mut rustdoc = cargo(&["rustdoc", "--quiet", "--package", "sluice", "--lib"]);
    let status = rustdoc.arg("--all-features").status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("cargo rustdoc: {status}"));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let pages = root.join(target).join("doc/sluice");
    let read = |page: &str| {
        let path = pages.join(page);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut items = BTreeMap::new();
    // The directory may hold pages of items that are gone; this page lists those that exist.
    for page in linked_pages(&read("all.html")?) {
        items.insert(path_of(&page), item(&read(&page)?));
    }
    Ok(format!("{HEADING}{}{}", reexports(&read("index.html")?), render(&items)))
}

/// Returns the pages that `all.html` links to.
fn linked_pages(html: &str) -> Vec<String> {
    let list = html.split_once("<ul class=\"all-items\">").map_or("", |(_, list)| list);
    between_all(list, "<li><a href=\"", "\"").map(str::to_owned).collect()
}

/// Returns `sluice::policy::Rate` for `policy/struct.Rate.html`.
fn path_of(page: &str) -> String {
    let (modules, file) = page.rsplit_once('/').unwrap_or(("", page));
    let name = file.split('.').nth(1).unwrap_or(file);
    let modules = modules.split('/').filter(|module| !module.is_empty());
    ["sluice"].into_iter().chain(modules).chain([name]).collect::<Vec<_>>().join("::")
}

/// Returns a line for each crate or module that the root re-exports as it is.
fn reexports(html: &str) -> String {
    between_all(html, "<dt id=\"reexport.", "</dt>").fold(String::new(), |mut lines, entry| {
        let code = between_all(entry, "<code>", "</code>").next().unwrap_or_default();
        let _ = writeln!(lines, "\n{}", text(code));
        lines
    })
}

/// Reads an item from its page.
fn item(html: &str) -> Item {
    // What follows is the same for every type: automatic and blanket implementations.
    let html = html.split("id=\"synthetic-implementations\"").next().unwrap_or_default();
    let declaration = between_all(html, "<pre class=\"rust item-decl\">", "</pre>").next();
    let declaration = text(declaration.unwrap_or_default());
    let is_trait = html.contains("<body class=\"rustdoc trait");
    let mut item: Item = declaration.lines().map(str::to_owned).collect();
    // Each with its methods.
    let mut implementations: Vec<Vec<String>> = Vec::new();
    for section in html.split("<section id=\"").skip(1) {
        let class = between_all(section, "class=\"", "\"").next().unwrap_or_default();
        let indent = match class {
            "impl" => "  ",
            // The declaration of a trait contains these already.
            "method" | "associatedconstant" | "associatedtype" if !is_trait => "    ",
            _ => continue,
        };
        let header = between_all(section, "class=\"code-header\">", "</h").next();
        let words = text(header.unwrap_or_default());
        // An implementation detail of `derive(PartialEq)`.
        if words.starts_with("impl StructuralPartialEq") || words.contains("> StructuralPartialEq ")
        {
            continue;
        }
        let line = format!("{indent}{}", words.split_whitespace().collect::<Vec<_>>().join(" "));
        match implementations.last_mut() {
            Some(methods) if class != "impl" => methods.push(line),
            _ => implementations.push(vec![line]),
        }
    }
    // rustdoc lists those of a trait in an order that depends on the build.
    if is_trait {
        implementations.sort();
    }
    item.extend(implementations.into_iter().flatten());
    item
}

/// Renders every item once, under its shortest path.
fn render(items: &BTreeMap<String, Item>) -> String {
    let mut paths: BTreeMap<(&str, &Item), Vec<&str>> = BTreeMap::new();
    for (path, item) in items {
        let name = path.rsplit("::").next().unwrap_or(path);
        paths.entry((name, item)).or_default().push(path);
    }
    let mut blocks: Vec<(&str, String)> = Vec::new();
    for ((_, item), mut paths) in paths {
        paths.sort_by_key(|path| (path.matches("::").count(), *path));
        let also = paths[1..].iter().fold(String::new(), |mut also, path| {
            let _ = write!(also, "\nalso {path}");
            also
        });
        blocks.push((paths[0], format!("\n{}{also}\n{}\n", paths[0], item.join("\n"))));
    }
    blocks.sort();
    blocks.into_iter().map(|(_, block)| block).collect()
}

/// Returns what stands between each `start` and the next `end`.
fn between_all<'h>(
    html: &'h str,
    start: &'static str,
    end: &'static str,
) -> impl Iterator<Item = &'h str> {
    html.split(start).skip(1).map(move |rest| rest.split(end).next().unwrap_or_default())
}

/// Returns the text of HTML: without tags and tooltips, and with characters in place of entities.
fn text(html: &str) -> String {
    let lines = html.replace("</div>", "\n").replace("<div class=\"where\">", "\n");
    let mut text = String::new();
    let mut rest = lines.as_str();
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        // The button that unfolds a long declaration is not part of it.
        rest = if tag.starts_with("summary") {
            tag.split_once("</summary>").map_or("", |(_, after)| after)
        } else {
            tag.split_once('>').map_or("", |(_, after)| after)
        };
    }
    text.push_str(rest);
    let text = text.replace('ⓘ', "").replace("&nbsp;", " ").replace("&#39;", "'");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&amp;", "&").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r##"<body class="rustdoc struct"><h1>Struct Checked</h1>
<pre class="rust item-decl"><code><div class="attr">#[non_exhaustive]</div>pub struct Checked {
    pub endpoint: <a class="struct" href="x" title="t">Arc</a>&lt;str&gt;,
    <span class="comment">/* private fields */</span>
}</code></pre>
<section id="impl-Checked" class="impl">
<a class="src">Source</a><h3 class="code-header">impl <a href="#">Checked</a></h3></section>
<section id="method.is_allowed" class="method">
<h4 class="code-header">pub fn <a>is_allowed</a>(&amp;self) -&gt; bool</h4></section>
<section id="impl-Clone-for-Checked" class="impl">
<h3 class="code-header">impl Clone for Checked</h3></section>
<section id="method.clone" class="method trait-impl">
<h4 class="code-header">fn clone(&amp;self) -&gt; Checked</h4></section>
<h2 id="synthetic-implementations">Auto Trait Implementations</h2>
<section id="impl-Send-for-Checked" class="impl">
<h3 class="code-header">impl Send for Checked</h3></section>"##;

    #[test]
    fn an_item_has_its_declaration_its_methods_and_its_implementations() {
        let expected = [
            "#[non_exhaustive]",
            "pub struct Checked {",
            "    pub endpoint: Arc<str>,",
            "    /* private fields */",
            "}",
            "  impl Checked",
            "    pub fn is_allowed(&self) -> bool",
            "  impl Clone for Checked",
        ];
        assert_eq!(item(PAGE), expected);
    }

    #[test]
    fn an_item_with_several_paths_is_listed_once_under_the_shortest() {
        let rate = vec!["pub struct Rate;".to_owned()];
        let items =
            ["sluice::policy::Rate", "sluice::Rate"].map(|path| (path.to_owned(), rate.clone()));
        assert_eq!(
            render(&BTreeMap::from(items)),
            "\nsluice::Rate\nalso sluice::policy::Rate\npub struct Rate;\n"
        );
    }

    #[test]
    fn a_path_is_read_from_the_name_of_the_page() {
        let html = r#"<ul class="all-items"><li><a href="policy/struct.Rate.html">policy::Rate</a>
            </li><li><a href="fn.a.html">a</a></li></ul>"#;
        let paths: Vec<_> = linked_pages(html).iter().map(|page| path_of(page)).collect();
        assert_eq!(paths, ["sluice::policy::Rate", "sluice::a"]);
    }

    #[test]
    fn reexports_of_the_root_are_listed() {
        let html =
            r#"<dt id="reexport.stats"><code>pub use sluice_stats as <b>stats</b>;</code></dt>"#;
        assert_eq!(reexports(html), "\npub use sluice_stats as stats;\n");
    }
}
