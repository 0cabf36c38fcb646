//! Reads YAML, by the events of its parser, so that nothing here or there recurses.

use std::{collections::HashMap, rc::Rc};

use yaml_rust2::{
    Event, Yaml,
    parser::{Parser, Tag},
    scanner::{Marker, TScalarStyle},
};

use super::node::{Document, Entry, Kind, Located, MAX_DEPTH, Node, Scalar, SyntaxError, too_deep};

/// Gives a scalar its meaning: from its text, whether it is without quotes, and its tag. YAML 1.1
/// and 1.2 differ there.
pub(crate) type Meaning = fn(&str, bool, Option<&Tag>) -> Result<Scalar, String>;

/// Reads the first document of `text`; a text with no document is a document of nothing.
///
/// # Errors
/// When `text` is not YAML, exceeds a bound, or `meaning` refuses a scalar.
pub(crate) fn parse(text: &str, meaning: Meaning) -> Result<Document, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { meaning, open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut parser = Parser::new_from_str(text);
    let second = loop {
        let (event, mark) = parser.next_token().map_err(|error| not_yaml(&error))?;
        match event {
            Event::StreamEnd => break None,
            Event::DocumentStart if builder.root.is_some() => break Some(mark.line()),
            event => {
                // The mark of a value that is left out is that of whatever follows it.
                let line = builder.key_line().unwrap_or(mark.line());
                builder.add_event(event, mark).map_err(|error| SyntaxError::new(line, error))?;
            }
        }
    };
    let root = match builder.root {
        Some(root) => root,
        None => {
            let nothing = Node::new(Kind::Scalar(String::new(), Scalar::Null));
            Located { line: 1, node: nothing.map_err(|error| SyntaxError::new(1, error))? }
        }
    };
    Ok(Document { root, second })
}

fn not_yaml(error: &yaml_rust2::ScanError) -> SyntaxError {
    let line = error.marker().line();
    // The parser looks ahead, and may find this first.
    if error.info() == "recursion limit exceeded" {
        return SyntaxError::new(line, too_deep());
    }
    let column = error.marker().col() + 1;
    let message = format!("this is not YAML: {}, at column {column}", error.info());
    SyntaxError::new(line, message)
}

/// The meaning of scalars in YAML 1.2.
pub(crate) fn version_1_2(text: &str, is_plain: bool, tag: Option<&Tag>) -> Result<Scalar, String> {
    if tag.is_some_and(|tag| !is_core(tag)) {
        // The tag is not shown: it may be a password that begins with `!`.
        return Err("a tag has no meaning here: remove it, or put text that begins with `!` in \
                    quotes"
            .to_owned());
    }
    if !is_plain || tag.is_some_and(|tag| tag.suffix == "str") {
        return Ok(Scalar::Text);
    }
    Ok(match Yaml::from_str(text) {
        Yaml::Integer(number) => Scalar::Integer(number.into()),
        Yaml::Boolean(value) => Scalar::Bool(value),
        number @ Yaml::Real(_) => number.as_f64().map_or(Scalar::Null, Scalar::Float),
        Yaml::String(_) => Scalar::Text,
        Yaml::Null | Yaml::Array(_) | Yaml::Hash(_) | Yaml::Alias(_) | Yaml::BadValue => {
            Scalar::Null
        }
    })
}

/// Whether `tag` is one of YAML's own.
pub(crate) fn is_core(tag: &Tag) -> bool {
    tag.handle == "!!" || tag.handle.starts_with("tag:yaml.org,2002")
}

/// Builds the tree from the parser's events.
struct Builder {
    meaning: Meaning,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Located>,
}

/// A list or table whose end is still to come.
struct Open {
    line: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Located>),
    Table(Vec<Entry>, Option<Key>),
}

/// A key whose value is still to come.
struct Key {
    line: usize,
    text: String,
    meaning: Scalar,
    is_merge: bool,
}

impl Builder {
    fn add_event(&mut self, event: Event, mark: Marker) -> Result<(), String> {
        let line = mark.line();
        match event {
            Event::SequenceStart(anchor, _) => self.open(line, anchor, Items::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(line, anchor, Items::Table(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == TScalarStyle::Plain;
                let meaning = (self.meaning)(&text, is_plain, tag.as_ref())?;
                if self.awaits_key() {
                    let is_merge = is_plain && tag.is_none() && text == "<<";
                    self.set_key(Key { line, text: text.clone(), meaning, is_merge });
                    return self.name(anchor, Kind::Scalar(text, meaning)).map(drop);
                }
                let node = self.name(anchor, Kind::Scalar(text, meaning))?;
                self.add(Located { line, node })
            }
            Event::Alias(anchor) => {
                // The parser knows the anchor, so it belongs to a value that is still open.
                let node =
                    self.anchors.get(&anchor).cloned().ok_or(
                        "an alias inside its own anchor has no value: write the value out",
                    )?;
                match node.kind() {
                    Kind::Scalar(text, meaning) if self.awaits_key() => {
                        let (text, meaning) = (text.clone(), *meaning);
                        self.set_key(Key { line, text, meaning, is_merge: false });
                        Ok(())
                    }
                    _ => self.add(Located { line, node }),
                }
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { items: Items::Table(_, None), .. }))
    }

    /// The line of the key whose value is next.
    fn key_line(&self) -> Option<usize> {
        match self.open.last() {
            Some(Open { items: Items::Table(_, Some(key)), .. }) => Some(key.line),
            _ => None,
        }
    }

    fn set_key(&mut self, new: Key) {
        if let Some(Open { items: Items::Table(_, key), .. }) = self.open.last_mut() {
            *key = Some(new);
        }
    }

    fn open(&mut self, line: usize, anchor: usize, items: Items) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep());
        }
        if self.awaits_key() {
            return Err("a key must be text: write one word and a colon".to_owned());
        }
        self.open.push(Open { line, anchor, items });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(Open { line, anchor, items }) = self.open.pop() else { return Ok(()) };
        let node = self.name(
            anchor,
            match items {
                Items::List(items) => Kind::List(items),
                Items::Table(entries, _) => Kind::Table(entries),
            },
        )?;
        self.add(Located { line, node })
    }

    /// A node of this kind, which `anchor` names if it is above 0.
    fn name(&mut self, anchor: usize, kind: Kind) -> Result<Rc<Node>, String> {
        let node = Node::new(kind)?;
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn add(&mut self, value: Located) -> Result<(), String> {
        match self.open.last_mut().map(|open| &mut open.items) {
            None => drop(self.root.get_or_insert(value)),
            Some(Items::List(items)) => items.push(value),
            Some(Items::Table(entries, key)) => {
                let Some(Key { line, text, meaning, is_merge }) = key.take() else {
                    return Err("a key must be text: write one word and a colon".to_owned());
                };
                let value = Located { line, node: value.node };
                entries.push(Entry { key: text, meaning, is_merge, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::node::tests::shown, *};

    fn read(text: &str) -> String {
        parse(text, version_1_2).map_or_else(
            |SyntaxError { line, message }| format!("{line}: {message}"),
            |document| shown(&document.root),
        )
    }

    #[test]
    fn keys_keep_their_case_dots_and_slashes_and_every_value_its_line() {
        assert_eq!(read("/api/v1.2/Chat: 20\nb:\n  - c\n"), "{1:/api/v1.2/Chat: 20, 2:b: ['c']}");
        assert_eq!(read("{5: a, on: 007}"), "{1:5: 'a', 1:on: 007}");
        assert_eq!(read("a: 1\nb:\n\na: 2\n"), "{1:a: 1, 2:b: , 4:a: 2}");
    }

    #[test]
    fn an_alias_is_its_anchor_in_the_line_of_the_alias() {
        assert_eq!(read("a: &a\n  b: 1\nc: *a\n"), "{1:a: {2:b: 1}, 3:c: {2:b: 1}}");
        assert_eq!(read("&k a: 1\nb: {*k : 2}\n"), "{1:a: 1, 2:b: {2:a: 2}}");
        assert!(read("&a [*a]").starts_with("1: an alias inside its own anchor"));
    }

    #[test]
    fn a_text_without_a_document_is_nothing_and_a_second_document_is_not_read() {
        assert_eq!((read("").as_str(), read("# nothing").as_str()), ("", ""));
        let document = parse("---\na: 1\n---\nb: [\n", version_1_2).unwrap();
        assert_eq!((shown(&document.root), document.second), ("{2:a: 1}".to_owned(), Some(3)));
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        assert!(read("a: 1\nb: [1,\nc: 2\n").contains(": this is not YAML: "));
        assert_eq!(read("a: 1\n? [a]\n: 1\n"), "2: a key must be text: write one word and a colon");
        let found = read("\na: !hunter2\n\nb: 1\n");
        assert!(found.starts_with("2: a tag has no meaning here: remove it"), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
        assert_eq!(read("a: !!str 5"), "{1:a: '5'}");
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let bomb = |first: &str, levels: usize| {
            let mut text = format!("a0: &a0 {first}\n");
            for i in 1..=levels {
                let ten = vec![format!("*a{}", i - 1); 10].join(", ");
                text.push_str(&format!("a{i}: &a{i} [{ten}]\n"));
            }
            text
        };
        let told = read(&bomb("x", 8));
        assert!(told.contains("this is more than 1000000 values"), "{told}");
        let told = read(&bomb(&"x".repeat(100_000), 4));
        assert!(told.contains("this is more than 1000000 values"), "{told}");
    }

    #[test]
    fn what_nests_too_deep_is_refused_also_by_aliases() {
        let deep = "1: nested more than 200 deep: flatten it";
        assert_eq!(read(&"[".repeat(201)), deep);
        assert_eq!(read(&"- ".repeat(5_000)), deep);
        assert_eq!(read(&"{a: ".repeat(5_000)), deep);
        assert_eq!(read(&"? ".repeat(5_000)), "1: a key must be text: write one word and a colon");
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for i in 1..=200 {
            chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
        }
        assert_eq!(read(&chain), "201: nested more than 200 deep: flatten it");
    }
}
