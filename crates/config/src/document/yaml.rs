//! YAML 1.2, one document.

use config::{Map, Value, ValueKind};
use std::collections::HashMap;
use yaml_rust2::{
    Event, Yaml,
    parser::{Parser, Tag},
    scanner::{Marker, TScalarStyle},
};

use super::Mistakes;
use crate::{error::ConfigError, origin::Origin, path::Path};

/// Reads `text`; `None` for what is no YAML at all.
pub(crate) fn parse(origin: &Origin, text: &str) -> (Option<Value>, Vec<ConfigError>) {
    let mut builder = Builder::new(origin);
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_token() {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, mark)) => builder.on_event(event, mark),
            Err(error) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                builder.mistakes.add(
                    Path::root(),
                    format!("line {line}, column {column}: this is not YAML: {}", error.info()),
                );
                return (None, builder.mistakes.found);
            }
        }
    }
    (Some(builder.root.unwrap_or_default()), builder.mistakes.found)
}

/// Builds the tree from the parser's events.
struct Builder<'a> {
    mistakes: Mistakes<'a>,
    tag: String,
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    documents: usize,
    root: Option<Value>,
}

/// A list or table whose end is still to come.
struct Open {
    anchor: usize,
    path: Path,
    items: Items,
}

enum Items {
    List(Vec<Value>),
    Table { values: Map<String, Value>, lines: HashMap<String, usize>, key: Key },
}

/// What a table waits for.
enum Key {
    /// A key.
    Awaited,
    /// The value of this key.
    Is(String),
    /// A value that is left out, since its key was refused.
    Refused,
}

impl<'a> Builder<'a> {
    fn new(origin: &'a Origin) -> Self {
        let (open, anchors) = (Vec::new(), HashMap::new());
        Self {
            mistakes: Mistakes::of(origin),
            tag: origin.to_tag(),
            open,
            anchors,
            documents: 0,
            root: None,
        }
    }

    fn on_event(&mut self, event: Event, mark: Marker) {
        match event {
            Event::DocumentStart => {
                self.documents += 1;
                if self.documents == 2 {
                    self.mistakes.add(
                        Path::root(),
                        format!(
                            "line {}: a file holds one document: remove what follows `---`",
                            mark.line()
                        ),
                    );
                }
            }
            Event::SequenceStart(anchor, _) => self.open(anchor, Items::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(
                    anchor,
                    Items::Table { values: Map::new(), lines: HashMap::new(), key: Key::Awaited },
                );
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(mark),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(text, style, tag.as_ref(), mark);
                self.remember(anchor, &value);
                self.add(value, mark);
            }
            Event::Alias(anchor) => {
                // The parser refuses an alias that nothing before it is the anchor of; what is
                // still open has no value yet.
                let value = self.anchors.get(&anchor).cloned().unwrap_or_else(|| {
                    self.mistakes.add(
                        Path::root(),
                        format!(
                            "line {}: an alias inside its own anchor has no value",
                            mark.line()
                        ),
                    );
                    Value::default()
                });
                self.add(value, mark);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    fn scalar(
        &mut self,
        text: String,
        style: TScalarStyle,
        tag: Option<&Tag>,
        mark: Marker,
    ) -> Value {
        let is_text = style != TScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
        if let Some(tag) =
            tag.filter(|tag| !tag.handle.starts_with("tag:yaml.org,2002") && tag.handle != "!!")
        {
            let message = format!(
                "line {}: the tag `{}{}` means nothing here: remove it",
                mark.line(),
                tag.handle,
                tag.suffix
            );
            self.mistakes.add(self.path_of_next(), message);
        }
        let kind = match if is_text { Yaml::String(text) } else { Yaml::from_str(&text) } {
            Yaml::String(text) => ValueKind::String(text),
            Yaml::Integer(number) => ValueKind::I64(number),
            Yaml::Boolean(truth) => ValueKind::Boolean(truth),
            number @ Yaml::Real(_) => number.as_f64().map_or(ValueKind::Nil, ValueKind::Float),
            Yaml::Null | Yaml::Array(_) | Yaml::Hash(_) | Yaml::Alias(_) | Yaml::BadValue => {
                ValueKind::Nil
            }
        };
        self.value(kind)
    }

    fn value(&self, kind: ValueKind) -> Value {
        Value::new(Some(&self.tag), kind)
    }

    fn open(&mut self, anchor: usize, items: Items) {
        let path = self.path_of_next();
        self.open.push(Open { anchor, path, items });
    }

    fn close(&mut self, mark: Marker) {
        let Some(Open { anchor, items, .. }) = self.open.pop() else { return };
        let value = self.value(match items {
            Items::List(values) => ValueKind::Array(values),
            Items::Table { values, .. } => ValueKind::Table(values),
        });
        self.remember(anchor, &value);
        self.add(value, mark);
    }

    fn remember(&mut self, anchor: usize, value: &Value) {
        // Anchors are numbered from 1.
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
    }

    /// Where the next value will stand.
    fn path_of_next(&self) -> Path {
        match self.open.last() {
            None => Path::root(),
            Some(Open { path, items: Items::List(values), .. }) => path.index(values.len()),
            Some(Open { path, items: Items::Table { key: Key::Is(key), .. }, .. }) => path.key(key),
            Some(Open { path, items: Items::Table { .. }, .. }) => path.clone(),
        }
    }

    fn add(&mut self, value: Value, mark: Marker) {
        let Some(Open { path, items, .. }) = self.open.last_mut() else {
            self.root.get_or_insert(value);
            return;
        };
        match items {
            Items::List(values) => values.push(value),
            Items::Table { values, lines, key } => match std::mem::replace(key, Key::Awaited) {
                Key::Is(name) => {
                    values.insert(name, value);
                }
                Key::Refused => {}
                Key::Awaited => {
                    let Some(name) = key_text(value.kind) else {
                        self.mistakes.add(
                            path.clone(),
                            format!("line {}: a key is text: quote it", mark.line()),
                        );
                        *key = Key::Refused;
                        return;
                    };
                    if let Some(first) = lines.get(&name) {
                        self.mistakes.add(
                            path.key(&name),
                            format!(
                                "written twice, in lines {first} and {}: keep one",
                                mark.line()
                            ),
                        );
                        *key = Key::Refused;
                        return;
                    }
                    lines.insert(name.clone(), mark.line());
                    *key = Key::Is(name);
                }
            },
        }
    }
}

/// A key as text; also numbers and truths, which YAML reads into `5:` and `on:`.
fn key_text(kind: ValueKind) -> Option<String> {
    match kind {
        ValueKind::String(text) => Some(text),
        kind @ (ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::Boolean(_)) => {
            Some(kind.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Value>, Vec<String>) {
        let (root, mistakes) = parse(&Origin::File("f.yaml".to_owned()), text);
        (root, mistakes.iter().map(ToString::to_string).collect())
    }

    fn good(text: &str) -> String {
        let (root, mistakes) = read(text);
        assert_eq!(mistakes, Vec::<String>::new(), "{text}");
        root.unwrap().to_string()
    }

    #[test]
    fn keys_keep_their_case_dots_and_slashes() {
        assert_eq!(good("/api/v1.2/Chat: 20"), "{ /api/v1.2/Chat => 20,  }");
        assert_eq!(good("{/api: {X-Org: off}}"), "{ /api => { X-Org => off,  },  }");
    }

    #[test]
    fn an_alias_is_a_copy_of_its_anchor() {
        assert_eq!(good("[&a {b: 1}, *a]"), good("[{b: 1}, {b: 1}]"));
        assert_eq!(read("&a [*a]").1.len(), 1);
    }

    #[test]
    fn every_key_that_stands_twice_is_named_and_the_rest_is_still_read() {
        let (root, mistakes) =
            read("a:\n  /x: 1\n  /y: {b: 1, b: 2}\n  /x: 2\nc: [{d: 1, d: 2}]\n");
        let expected = [
            "f.yaml: a[\"/y\"].b: written twice, in lines 3 and 3: keep one",
            "f.yaml: a[\"/x\"]: written twice, in lines 2 and 4: keep one",
            "f.yaml: c[0].d: written twice, in lines 5 and 5: keep one",
        ];
        assert_eq!(mistakes, expected);
        let ValueKind::Table(root) = root.unwrap().kind else { panic!("a table") };
        assert_eq!(root["c"].to_string(), good("[{d: 1}]"));
    }

    #[test]
    fn keys_that_are_equal_as_text_are_equal() {
        assert_eq!(
            read("5: a\n'5': b\n").1,
            ["f.yaml: 5: written twice, in lines 1 and 2: keep one"]
        );
    }

    #[test]
    fn what_is_no_yaml_or_more_than_a_document_says_where() {
        let (root, mistakes) = read("a: [1,\nb: 2\n");
        assert_eq!(root, None);
        assert!(mistakes[0].starts_with("f.yaml: line "), "{mistakes:?}");
        assert_eq!(
            read("a: 1\n---\nb: 2\n").1,
            ["f.yaml: line 2: a file holds one document: remove what follows `---`"]
        );
        assert_eq!(read("? [a]\n: 1\n").1, ["f.yaml: line 1: a key is text: quote it"]);
        assert_eq!(
            read("a: !secret x\n").1,
            ["f.yaml: a: line 1: the tag `!secret` means nothing here: remove it"]
        );
    }

    #[test]
    fn off_is_text_and_an_empty_file_is_nothing() {
        assert_eq!(good("a: off"), "{ a => off,  }");
        assert_eq!(read("").0.unwrap().kind, ValueKind::Nil);
        assert_eq!(read("# nothing\n").0.unwrap().kind, ValueKind::Nil);
        assert_eq!(read("a: !!str 5").0, read("a: '5'").0);
    }
}
