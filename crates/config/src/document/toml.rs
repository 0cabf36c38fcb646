//! Reads TOML. Its parser refuses keys that are there twice.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::node::{Document, Entry, Kind, Located, MAX_DEPTH, Node, Scalar, SyntaxError, too_deep};

/// Reads `text`.
///
/// # Errors
/// When `text` is not TOML, or exceeds a bound.
pub(super) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines(text.match_indices('\n').map(|(at, _)| at).collect());
    // The parser's own text shows the line, which may hold a password: only its reason is used.
    let table = DeTable::parse(text).map_err(|error| {
        let line = lines.at(error.span().map_or(0, |span| span.start));
        SyntaxError::new(line, not_toml(error.message()))
    })?;
    let root = lines.table(1, table.get_ref(), 0)?;
    Ok(Document { root, second: None })
}

fn not_toml(reason: &str) -> String {
    // The parser has a lower bound than the tree, and two messages about it.
    if reason.contains("recurs") {
        return "nested too deep: TOML nests at most 80 deep here: flatten it".to_owned();
    }
    format!("this is not TOML: {reason}")
}

/// Where each line ends.
struct Lines(Vec<usize>);

impl Lines {
    /// The line of the byte at `offset`, from 1.
    fn at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|&end| end < offset)
    }

    fn table(
        &self,
        line: usize,
        table: &DeTable<'_>,
        depth: usize,
    ) -> Result<Located, SyntaxError> {
        if depth == MAX_DEPTH {
            return Err(SyntaxError::new(line, too_deep()));
        }
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let line = self.at(key.span().start);
            let key: &str = AsRef::<str>::as_ref(key.get_ref());
            let value = self.value(line, value, depth + 1)?;
            Ok(Entry { key: key.to_owned(), meaning: Scalar::Text, is_merge: false, value })
        };
        let mut entries = table.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.value.line);
        located(line, Kind::Table(entries))
    }

    fn value(
        &self,
        line: usize,
        value: &Spanned<DeValue<'_>>,
        depth: usize,
    ) -> Result<Located, SyntaxError> {
        let scalar = |text: String, scalar| located(line, Kind::Scalar(text, scalar));
        match value.get_ref() {
            DeValue::Table(table) => self.table(line, table, depth),
            DeValue::Array(items) if depth < MAX_DEPTH => {
                let item =
                    |item: &Spanned<_>| self.value(self.at(item.span().start), item, depth + 1);
                located(line, Kind::List(items.iter().map(item).collect::<Result<_, _>>()?))
            }
            DeValue::Array(_) => Err(SyntaxError::new(line, too_deep())),
            DeValue::String(text) => scalar(text.to_string(), Scalar::Text),
            DeValue::Boolean(value) => scalar(value.to_string(), Scalar::Bool(*value)),
            DeValue::Datetime(moment) => scalar(moment.to_string(), Scalar::Text),
            DeValue::Integer(number) => {
                let value = i128::from_str_radix(number.as_str(), number.radix());
                let value = value.map_err(|_| {
                    SyntaxError::new(line, "this is not TOML: the number is too large")
                })?;
                scalar(value.to_string(), Scalar::Integer(value))
            }
            DeValue::Float(number) => {
                let value = number.as_str().parse().map_err(|_| {
                    SyntaxError::new(line, "this is not TOML: a number with a fraction has digits")
                })?;
                scalar(number.as_str().to_owned(), Scalar::Float(value))
            }
        }
    }
}

fn located(line: usize, kind: Kind) -> Result<Located, SyntaxError> {
    let node = Node::new(kind).map_err(|message| SyntaxError::new(line, message))?;
    Ok(Located { line, node })
}

#[cfg(test)]
mod tests {
    use super::{super::node::tests::shown, *};

    fn read(text: &str) -> String {
        parse(text).map_or_else(
            |SyntaxError { line, message }| format!("{line}: {message}"),
            |document| shown(&document.root),
        )
    }

    #[test]
    fn every_value_has_its_line_and_keys_keep_their_case_dots_and_slashes() {
        let text = "a.b = 1_000\n[endpoints]\n\"/api/v1.2/Chat\" = [\n  0x10,\n  'x'\n]\n";
        assert_eq!(read(text), "{1:a: {1:b: 1000}, 2:endpoints: {3:/api/v1.2/Chat: [16, 'x']}}");
        assert_eq!(
            read("[[limits]]\nname = 'a'\nx = 1.5\n[[limits]]\nname = 'b'\n"),
            "{1:limits: [{2:name: 'a', 3:x: 1.5}, {5:name: 'b'}]}"
        );
    }

    #[test]
    fn an_error_names_its_line_and_shows_nothing_of_it() {
        let found = read("[store]\nurl = \"redis://u:hunter2@host\" x\n");
        assert!(found.starts_with("2: this is not TOML: "), "{found}");
        assert!(!found.contains("hunter2") && !found.contains('\n'), "{found}");
        assert_eq!(
            read("[endpoints]\n\"/a\" = 1\n\"/a\" = 2\n"),
            "3: this is not TOML: duplicate key"
        );
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        for text in [
            format!("a = {}", "[".repeat(5_000)),
            format!("a = {}", "{a = ".repeat(5_000)),
            format!("{}a = 1", "a.".repeat(2_000_000)),
            format!("[{}a]", "a.".repeat(2_000_000)),
        ] {
            assert_eq!(
                read(&text),
                "1: nested too deep: TOML nests at most 80 deep here: flatten it"
            );
        }
    }
}
