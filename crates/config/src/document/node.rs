//! The tree that documents of all formats are read into.

use std::rc::Rc;

/// How large a file may be, in bytes.
pub(crate) const MAX_BYTES: u64 = 4 << 20;
/// How deep lists and tables may nest, with every alias written out: more than any configuration
/// needs, and few enough for recursion.
pub(crate) const MAX_DEPTH: usize = 200;
/// How many values a document may hold, with every alias written out.
pub(crate) const MAX_VALUES: usize = 1_000_000;
/// A text counts as one more value for each of these bytes, so that aliases of a long text are
/// bounded too.
const BYTES_PER_VALUE: usize = 64;

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Located,
    /// The line in which a second document begins, which is not read.
    pub(crate) second: Option<usize>,
}

/// A value, and the line it is written in, from 1: its key's line if it has a key.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) line: usize,
    pub(crate) node: Rc<Node>,
}

/// A value. Aliases share their anchor's node.
#[derive(Debug)]
pub(crate) struct Node {
    kind: Kind,
    values: usize,
    depth: usize,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A scalar: its text as written, and its meaning.
    Scalar(String, Scalar),
    /// A list.
    List(Vec<Located>),
    /// A table, in the order of the document. A key may be there twice.
    Table(Vec<Entry>),
}

/// The meaning of a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) meaning: Scalar,
    /// Whether the key is YAML's `<<`, which merges tables.
    pub(crate) is_merge: bool,
    pub(crate) value: Located,
}

/// Why a text is not a document that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong, and the remedy.
    pub(crate) message: String,
}

impl Node {
    /// A node of this kind.
    ///
    /// # Errors
    /// When it exceeds a bound: what is exceeded, and the remedy.
    pub(crate) fn new(kind: Kind) -> Result<Rc<Self>, String> {
        let (own, values, depth) = match &kind {
            Kind::Scalar(text, _) => (size(text), 0, 0),
            Kind::List(items) => (1, total(items.iter()), 1 + deepest(items.iter())),
            Kind::Table(entries) => {
                let keys = entries.iter().map(|entry| size(&entry.key) - 1).sum::<usize>();
                let values = || entries.iter().map(|entry| &entry.value);
                (1 + keys, total(values()), 1 + deepest(values()))
            }
        };
        let values = values.saturating_add(own);
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        if values > MAX_VALUES {
            return Err(format!(
                "with every alias written out, this is more than {MAX_VALUES} values: use fewer"
            ));
        }
        Ok(Rc::new(Self { kind, values, depth }))
    }

    /// What this value is.
    pub(crate) const fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// The message about what nests too deep.
pub(super) fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep: flatten it")
}

const fn size(text: &str) -> usize {
    1 + text.len() / BYTES_PER_VALUE
}

fn total<'a>(values: impl Iterator<Item = &'a Located>) -> usize {
    values.fold(0, |sum: usize, value| sum.saturating_add(value.node.values))
}

fn deepest<'a>(values: impl Iterator<Item = &'a Located>) -> usize {
    values.map(|value| value.node.depth).max().unwrap_or(0)
}

impl SyntaxError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The tree in a short form, each value of a key behind its line.
    pub(in crate::document) fn shown(value: &Located) -> String {
        match value.node.kind() {
            Kind::Scalar(text, Scalar::Text) => format!("'{text}'"),
            Kind::Scalar(text, _) => text.clone(),
            Kind::List(items) => {
                format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            Kind::Table(entries) => {
                let entry = |Entry { key, value, .. }: &Entry| {
                    format!("{}:{key}: {}", value.line, shown(value))
                };
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
