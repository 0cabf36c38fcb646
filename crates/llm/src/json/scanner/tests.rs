//! Tests of the scanner: documents whole, in pieces, and broken.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    A,
    List,
    Item,
    Inner,
}

static INNER: Node<Place> = Node::leaf(Place::Inner);
static ITEM: Node<Place> = Node::object(&[("b", &INNER)]).called(Place::Item);
static LIST: Node<Place> = Node::array(&ITEM).called(Place::List);
static A: Node<Place> = Node::leaf(Place::A);
static ROOT: Node<Place> = Node::object(&[("a", &A), ("list", &LIST)]);

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    lines: Vec<String>,
    text: u64,
}

impl Sink<Place> for Found {
    fn open(&mut self, field: Place) {
        self.lines.push(format!("open {field:?}"));
    }

    fn close(&mut self, field: Place) {
        self.lines.push(format!("close {field:?}"));
    }

    fn text(&mut self, _: Place, bytes: u64) {
        self.text += bytes;
    }

    fn string(&mut self, field: Place, value: &[u8]) {
        self.lines.push(format!("{field:?} {:?}", String::from_utf8_lossy(value)));
    }

    fn literal(&mut self, field: Place, value: &[u8]) {
        self.lines.push(format!("{field:?} {}", String::from_utf8_lossy(value)));
    }
}

fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Found, Scanner<Place>) {
    let (mut found, mut scanner) = (Found::default(), Scanner::new(&ROOT));
    for piece in pieces {
        scanner.feed(piece, &mut found);
    }
    (found, scanner)
}

#[test]
fn places_are_reported_and_everything_else_is_skipped() {
    let text = r#" {"x": [{"a": 1}, [[]], "a"], "a" : -1.5e3 , "list":[{"b":"hé\n\u00e9"},
        {"c": {"b": 1}, "b": null}, 7, []], "y": {}, "a": {"a": "deep"}} "#;
    let (found, scanner) = scan([text.as_bytes()]);
    let expected = [
        "A -1.5e3",
        "open List",
        "open Item",
        "Inner \"\"",
        "close Item",
        "open Item",
        "Inner null",
        "close Item",
        "Item 7",
        "open Item",
        "close Item",
        "close List",
        "open A",
        "close A",
    ];
    assert_eq!(found.lines, expected);
    assert_eq!(found.text, "hé\né".len() as u64);
    assert_eq!(scanner.state, State::Ended);
}

#[test]
fn what_is_not_json_is_given_up() {
    for text in [
        "{]",
        "[}",
        "{\"a\" 1}",
        "{,}",
        "[1 2]",
        "{\"a\":1,}",
        "[,]",
        "<html>",
        "]",
        "}",
        "[1]]",
        "{\"a\":1}{",
        "{\"a\":\"\\u12g4\"}",
        "{1:2}",
        "x",
    ] {
        let (_, scanner) = scan([text.as_bytes()]);
        assert!(scanner.has_given_up(), "{text}");
    }
    let deep = "[".repeat(MAX_DEPTH);
    assert!(!scan([deep.as_bytes()]).1.has_given_up());
    assert!(scan([deep.as_bytes(), b"["]).1.has_given_up());
}

#[test]
fn a_long_token_is_reported_as_empty() {
    let long = "9".repeat(MAX_TOKEN + 1);
    let (found, _) = scan([format!("{{\"a\":{long},\"{long}\":1,\"a\":\"{long}\"}}").as_bytes()]);
    assert_eq!(found.lines, ["A ", "A \"\""]);
    let fits = "9".repeat(MAX_TOKEN);
    let (found, _) = scan([format!("{{\"a\":{fits}}}").as_bytes()]);
    assert_eq!(found.lines, [format!("A {fits}")]);
}

#[test]
fn the_next_document_begins_anew() {
    let (mut found, mut scanner) = scan([b"{\"list\":[{" as &[u8]]);
    scanner.restart();
    scanner.feed(b"{\"a\":1}", &mut found);
    assert_eq!(found.lines, ["open List", "open Item", "A 1"]);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(?s).{0,9}".prop_map(Value::from),
    ];
    let key = || prop_oneof![Just("a"), Just("b"), Just("list"), Just("\"\\")];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn any_split_of_any_document_reports_the_same(
        value in values(), pretty in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &text.as_bytes()[ends[0]..ends[1]]);
        let (whole, scanner) = scan([text.as_bytes(), b" "]);
        prop_assert_eq!(scanner.state, State::Ended);
        prop_assert_eq!(&scan(pieces.chain([b" " as &[u8]])).0, &whole);
        if let Some(Value::String(string)) = value.get("a") {
            prop_assert!(whole.text >= string.len() as u64);
        }
    }

    #[test]
    fn any_bytes_are_given_up_or_read_to_their_end(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let (_, scanner) = scan([bytes.as_slice()]);
        prop_assert!(scanner.depth <= bytes.len());
    }

    #[test]
    fn scraps_of_json_never_panic(text in "[\\[\\]{}\",:\\\\u0a1tn ]{0,60}") {
        let (_, scanner) = scan([text.as_bytes()]);
        if serde_json::from_str::<Value>(&text).is_ok() {
            prop_assert!(!scanner.has_given_up(), "{}", text);
        }
    }
}
