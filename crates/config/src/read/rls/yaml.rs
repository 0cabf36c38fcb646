//! These files' YAML as a tree that keeps what was written: texts as they stand, and lines.
//!
//! More is allowed here than in Sluice's own files: a key may stand twice (the last one counts),
//! `<<` merges tables, and what follows a second `---` is not read. Each of that is worth a
//! warning, since somebody may have meant something else.

use std::{collections::HashMap, rc::Rc};

use yaml_rust2::{
    Event,
    parser::{Parser, Tag},
    scanner::{Marker, TScalarStyle},
};

use super::scalar::Scalar;
use crate::path::Path;

/// How deep lists and tables may nest: more than any rules need, and few enough for the stack.
const MAX_DEPTH: usize = 200;
/// How many values a document may have once its aliases are written out.
const MAX_VALUES: usize = 1_000_000;

/// A value, and the line it stands in.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) what: What,
    /// How many values this is, with all in it and every alias written out.
    values: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum What {
    /// A scalar: its text, and what it means.
    Scalar(String, Scalar),
    /// A list.
    List(Vec<Rc<Node>>),
    /// A table, in the order of its keys, of which none stands twice.
    Table(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Whether the key is text, and no number, truth or nothing.
    pub(super) is_text: bool,
    pub(super) value: Rc<Node>,
}

/// What was found wrong or odd, and where.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<(Path, String)>,
    pub(super) warnings: Vec<(Path, String)>,
}

/// Reads the first document of `text`; `None` when there is none, or it is no YAML.
pub(super) fn parse(text: &str) -> (Option<Rc<Node>>, Findings) {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    loop {
        let more = match parser.next_token() {
            Ok((event, mark)) => builder.on_event(event, mark),
            Err(error) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                builder.refuse(format!(
                    "line {line}, column {column}: this is not YAML: {}",
                    error.info()
                ));
                More::No
            }
        };
        match more {
            More::Yes => {}
            More::No => break,
        }
    }
    let root = builder.root.take().filter(|_| builder.findings.mistakes.is_empty());
    (root, builder.findings)
}

/// Whether reading goes on.
enum More {
    Yes,
    No,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    has_ended: bool,
    root: Option<Rc<Node>>,
    findings: Findings,
}

/// A list or table whose end is still to come.
struct Open {
    line: usize,
    anchor: usize,
    path: Path,
    items: Items,
}

enum Items {
    List(Vec<Rc<Node>>),
    Table { entries: Vec<Entry>, merged: Vec<Entry>, key: Option<Key> },
}

struct Key {
    text: String,
    is_text: bool,
    merges: bool,
}

impl Builder {
    fn on_event(&mut self, event: Event, mark: Marker) -> More {
        let line = mark.line();
        match event {
            Event::StreamEnd => return More::No,
            Event::DocumentStart if self.has_ended => {
                self.findings.warnings.push((
                    Path::root(),
                    format!("line {line}: only what is above this `---` is read"),
                ));
                return More::No;
            }
            Event::DocumentEnd => self.has_ended = true,
            Event::Nothing | Event::StreamStart | Event::DocumentStart => {}
            Event::SequenceStart(anchor, _) => {
                return self.open(line, anchor, Items::List(Vec::new()));
            }
            Event::MappingStart(anchor, _) => {
                return self.open(
                    line,
                    anchor,
                    Items::Table { entries: Vec::new(), merged: Vec::new(), key: None },
                );
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                return self.scalar(line, text, style, anchor, tag.as_ref());
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    // The parser knows the anchor, so it is one of those that are still open.
                    return self.refuse(format!("line {line}: an alias inside its own anchor has no value: write the value out"));
                };
                return self.add(node, None);
            }
        }
        More::Yes
    }

    fn refuse(&mut self, message: String) -> More {
        self.findings.mistakes.push((Path::root(), message));
        More::No
    }

    fn open(&mut self, line: usize, anchor: usize, items: Items) -> More {
        if self.open.len() == MAX_DEPTH {
            return self
                .refuse(format!("line {line}: nested more than {MAX_DEPTH} deep: flatten it"));
        }
        let path = self.path_of_next();
        self.open.push(Open { line, anchor, path, items });
        More::Yes
    }

    fn scalar(
        &mut self,
        line: usize,
        text: String,
        style: TScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> More {
        let is_plain = style == TScalarStyle::Plain;
        let scalar = Scalar::of(&text, is_plain, tag);
        let merges = is_plain && tag.is_none() && text == "<<";
        self.finish(
            Node { line, what: What::Scalar(text, scalar), values: 1 },
            anchor,
            Some(merges),
        )
    }

    fn close(&mut self) -> More {
        let Some(Open { line, anchor, items, .. }) = self.open.pop() else { return More::Yes };
        let what = match items {
            Items::List(values) => What::List(values),
            Items::Table { entries, merged, .. } => What::Table(with_merged(entries, merged)),
        };
        let inside = match &what {
            What::Scalar(..) => 0,
            What::List(values) => total(values.iter()),
            What::Table(entries) => total(entries.iter().map(|entry| &entry.value)),
        };
        if inside > MAX_VALUES {
            return self.refuse(format!("line {line}: with its aliases written out this is more than {MAX_VALUES} values: use fewer"));
        }
        self.finish(Node { line, what, values: inside + 1 }, anchor, None)
    }

    fn finish(&mut self, node: Node, anchor: usize, merges: Option<bool>) -> More {
        let node = Rc::new(node);
        // Anchors are numbered from 1.
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.add(node, merges)
    }

    fn path_of_next(&self) -> Path {
        match self.open.last() {
            None => Path::root(),
            Some(Open { path, items: Items::List(values), .. }) => path.index(values.len()),
            Some(Open { path, items: Items::Table { key: Some(key), .. }, .. }) => {
                path.key(&key.text)
            }
            Some(Open { path, .. }) => path.clone(),
        }
    }

    /// Puts `node` where it belongs; as a key it merges if `merges`.
    fn add(&mut self, node: Rc<Node>, merges: Option<bool>) -> More {
        let path = self.path_of_next();
        let Some(Open { items, .. }) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return More::Yes;
        };
        match items {
            Items::List(values) => values.push(node),
            Items::Table { key: key @ None, .. } => match &node.what {
                What::Scalar(text, scalar) => {
                    *key = Some(Key {
                        text: text.clone(),
                        is_text: *scalar == Scalar::Text,
                        merges: merges == Some(true),
                    });
                }
                What::List(_) | What::Table(_) => {
                    let line = node.line;
                    return self
                        .refuse(format!("line {line}: a key is text: write one word and a colon"));
                }
            },
            Items::Table { entries, merged, key } => {
                let Some(Key { text, is_text, merges }) = key.take() else { return More::Yes };
                if merges {
                    let line = node.line;
                    match mergeable(&node) {
                        Some(more) => merged.extend(more),
                        None => return self.refuse(format!("line {line}: `<<` merges a table, or a list of tables, by their aliases")),
                    }
                } else if let Some(first) = entries.iter_mut().find(|entry| entry.key == text) {
                    let message = format!(
                        "written twice, in lines {} and {}: the last one counts",
                        first.value.line, node.line
                    );
                    self.findings.warnings.push((path, message));
                    first.value = node;
                } else {
                    entries.push(Entry { key: text, is_text, value: node });
                }
            }
        }
        More::Yes
    }
}

fn total<'a>(nodes: impl Iterator<Item = &'a Rc<Node>>) -> usize {
    nodes.fold(0, |sum: usize, node| sum.saturating_add(node.values))
}

/// The entries that `<<: node` brings, those that win first.
fn mergeable(node: &Node) -> Option<Vec<Entry>> {
    match &node.what {
        What::Table(entries) => Some(entries.clone()),
        What::List(nodes) => nodes
            .iter()
            .map(|node| mergeable(node).filter(|_| matches!(node.what, What::Table(_))))
            .collect::<Option<Vec<_>>>()
            .map(|all| all.concat()),
        What::Scalar(..) => None,
    }
}

/// A table's own entries, and of the `merged` ones those whose keys it does not have.
fn with_merged(mut entries: Vec<Entry>, merged: Vec<Entry>) -> Vec<Entry> {
    for entry in merged {
        if !entries.iter().any(|own| own.key == entry.key) {
            entries.push(entry);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, in a short form.
    fn shown(node: &Node) -> String {
        match &node.what {
            What::Scalar(text, Scalar::Text) => format!("'{text}'"),
            What::Scalar(text, _) => text.clone(),
            What::List(nodes) => {
                format!("[{}]", nodes.iter().map(|node| shown(node)).collect::<Vec<_>>().join(", "))
            }
            What::Table(entries) => {
                let entries =
                    entries.iter().map(|entry| format!("{}: {}", entry.key, shown(&entry.value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn read(text: &str) -> String {
        let (root, findings) = parse(text);
        assert!(findings.mistakes.is_empty(), "{text}: {findings:?}");
        root.map_or_else(|| "nothing".to_owned(), |root| shown(&root))
    }

    fn told(found: &[(Path, String)]) -> Vec<String> {
        found.iter().map(|(path, message)| format!("{path}: {message}")).collect()
    }

    #[test]
    fn texts_stay_as_they_are_written() {
        assert_eq!(read("a: 007\nb: '7'\nc: yes\nd: foo*"), "{a: 007, b: '7', c: yes, d: 'foo*'}");
        assert_eq!(read("# nothing"), "nothing");
    }

    #[test]
    fn tables_merge_and_their_own_keys_win() {
        let base = "- &a {x: 1, y: 2}\n- &b {y: 3, z: 4}\n";
        assert_eq!(
            read(&format!("{base}- {{<<: *a, y: 5}}\n")),
            "[{x: 1, y: 2}, {y: 3, z: 4}, {y: 5, x: 1}]"
        );
        assert_eq!(
            read(&format!("{base}- {{<<: [*a, *b]}}\n")),
            "[{x: 1, y: 2}, {y: 3, z: 4}, {x: 1, y: 2, z: 4}]"
        );
        assert_eq!(read("'<<': 1"), "{<<: 1}");
        assert_eq!(
            told(&parse("<<: 1").1.mistakes),
            [": line 1: `<<` merges a table, or a list of tables, by their aliases"]
        );
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_counts() {
        let (root, findings) = parse("a: [{b: 1, b: 2}]\n");
        assert_eq!(shown(&root.unwrap()), "{a: [{b: 2}]}");
        assert_eq!(
            told(&findings.warnings),
            ["a[0].b: written twice, in lines 1 and 1: the last one counts"]
        );
    }

    #[test]
    fn a_second_document_is_not_read() {
        let (root, findings) = parse("---\na: 1\n---\nb: [\n");
        assert_eq!(shown(&root.unwrap()), "{a: 1}");
        assert_eq!(told(&findings.warnings), [": line 3: only what is above this `---` is read"]);
    }

    #[test]
    fn aliases_that_multiply_and_depths_without_end_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let ten = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{ten}]\n"));
        }
        assert!(
            told(&parse(&text).1.mistakes)[0].contains("more than 1000000 values"),
            "{:?}",
            parse(&text).1
        );
        assert!(told(&parse(&"[".repeat(201)).1.mistakes)[0].contains("200 deep"));
        assert_eq!(parse(&"- ".repeat(100_000)).1.mistakes.len(), 1);
        assert!(told(&parse("&a [*a]").1.mistakes)[0].contains("inside its own anchor"));
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        assert!(told(&parse("'''\n").1.mistakes)[0].contains("this is not YAML"));
        assert!(told(&parse("a: [1,\nb: 2\n").1.mistakes)[0].starts_with(": line "));
    }
}
