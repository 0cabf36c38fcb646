//! Reads typed values out of the merged tree, and collects every mistake on the way instead of
//! stopping at the first.
//!
//! A [`Field`] is a place and what was said there. Its readers return `None` when nothing was said,
//! or when what was said is wrong, and then the mistake is noted; so a reader of a section reads
//! all its fields before it builds anything. [`Field::table`] knows which keys were asked for, and
//! refuses the others.

use std::{
    cell::RefCell,
    fmt::Display,
    io,
    ops::RangeInclusive,
    path::{Path as FilePath, PathBuf},
    str::FromStr,
    time::Duration,
};

use config::{Map, Value, ValueKind};

use super::{
    error::ConfigError,
    layers::first_origin,
    loader::base_of,
    origin::Origin,
    path::Path,
    words::{joined, kind_name, most_like, quoting_hint},
};

/// What all fields of one reading share.
#[derive(Debug)]
pub(crate) struct Reading {
    mistakes: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
    /// Who is meant when a mistake is that something is missing.
    fallback: Origin,
}

/// A place in the tree, and what was said there.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    path: Path,
    value: Option<&'a Value>,
    /// Whose table the field is missing from, when it is.
    parent: Origin,
    reading: &'a Reading,
}

/// Where something stands, and who said it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Where.
    pub(crate) path: Path,
    /// Who.
    pub(crate) origin: Origin,
}

/// A table whose keys are being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    path: Path,
    values: &'a Map<String, Value>,
    origin: Origin,
    asked: RefCell<Vec<&'static str>>,
    reading: &'a Reading,
}

impl Reading {
    /// A reading that blames `fallback` for what nobody said.
    pub(crate) const fn new(fallback: Origin) -> Self {
        Self { mistakes: RefCell::new(Vec::new()), warnings: RefCell::new(Vec::new()), fallback }
    }

    /// The whole tree as a field.
    pub(crate) fn root<'a>(&'a self, tree: &'a Value) -> Field<'a> {
        Field {
            path: Path::root(),
            value: Some(tree),
            parent: self.fallback.clone(),
            reading: self,
        }
    }

    /// The mistakes and the warnings.
    pub(crate) fn finish(self) -> (Vec<ConfigError>, Vec<ConfigError>) {
        (self.mistakes.into_inner(), self.warnings.into_inner())
    }
}

impl<'a> Field<'a> {
    /// Where this field stands.
    pub(crate) const fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anything was said here.
    pub(crate) const fn is_said(&self) -> bool {
        self.value.is_some()
    }

    /// Who said it; for a field that is missing, who said the table it is missing from.
    pub(crate) fn origin(&self) -> Origin {
        self.value.and_then(first_origin).unwrap_or_else(|| self.parent.clone())
    }

    /// Notes a mistake here. Returns `None`, for readers to return.
    pub(crate) fn refuse<T>(&self, message: impl Display) -> Option<T> {
        let mistake = ConfigError {
            origin: self.origin(),
            path: self.path.clone(),
            message: message.to_string(),
        };
        self.reading.mistakes.borrow_mut().push(mistake);
        None
    }

    /// Notes what is possible but hardly meant.
    pub(crate) fn warn(&self, message: impl Display) {
        let warning = ConfigError {
            origin: self.origin(),
            path: self.path.clone(),
            message: message.to_string(),
        };
        self.reading.warnings.borrow_mut().push(warning);
    }

    /// Notes a mistake at another place of the same reading.
    pub(crate) fn refuse_at(&self, place: &Place, message: String) {
        let Place { path, origin } = place.clone();
        self.reading.mistakes.borrow_mut().push(ConfigError { origin, path, message });
    }

    /// Notes what was found in a file that is named here.
    pub(crate) fn note(
        &self,
        mistakes: impl IntoIterator<Item = ConfigError>,
        warnings: impl IntoIterator<Item = ConfigError>,
    ) {
        self.reading.mistakes.borrow_mut().extend(mistakes);
        self.reading.warnings.borrow_mut().extend(warnings);
    }

    /// Where this field stands, and who said it.
    pub(crate) fn place(&self) -> Place {
        Place { path: self.path.clone(), origin: self.origin() }
    }

    /// Notes that nothing was said here, with `remedy`.
    pub(crate) fn missing<T>(&self, remedy: impl Display) -> Option<T> {
        self.refuse(format_args!("is missing: {remedy}"))
    }

    /// This field, if something was said; else notes that it is missing, with `remedy`.
    pub(crate) fn required(self, remedy: impl Display) -> Option<Self> {
        if self.is_said() { Some(self) } else { self.missing(remedy) }
    }

    /// Whether `true` was said.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self.value.map(|value| &value.kind), Some(ValueKind::Boolean(true)))
    }

    /// Whether `off` was said, or `false`, which is what YAML once read `off` as.
    pub(crate) fn is_off(&self) -> bool {
        matches!(self.value.map(|value| &value.kind), Some(ValueKind::Boolean(false)))
            || matches!(self.value.map(|value| &value.kind), Some(ValueKind::String(text)) if text == "off")
    }

    /// Whether a table was said.
    pub(crate) const fn is_table(&self) -> bool {
        matches!(self.value, Some(Value { kind: ValueKind::Table(_), .. }))
    }

    /// Text that is not empty.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.value?.kind {
            ValueKind::String(text) if text.is_empty() => {
                self.refuse("is empty: write a value or remove the key")
            }
            ValueKind::String(text) => Some(text),
            other => self.refuse(format_args!(
                "must be text, not {}{}",
                kind_name(other),
                quoting_hint(other)
            )),
        }
    }

    /// Text, or nothing and no mistake.
    pub(crate) fn text_if_any(&self) -> Option<&'a str> {
        match &self.value?.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Text that `T` can be read from.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.parse_with(str::parse)
    }

    /// Text that `parse` understands; its error is the mistake.
    pub(crate) fn parse_with<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match &self.value?.kind {
            // Of a number, `parse` knows better what would be right, if it does not take it for
            // text by chance.
            number @ (ValueKind::I64(_)
            | ValueKind::U64(_)
            | ValueKind::Float(_)
            | ValueKind::Boolean(_)) => match parse(&number.to_string()) {
                Ok(_) => self.text().and(None),
                Err(error) => self.refuse(error),
            },
            _ => parse(self.text()?).map_or_else(|error| self.refuse(error), Some),
        }
    }

    /// A whole number in `range`.
    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match &self.value?.kind {
            ValueKind::I64(number) => i128::from(*number),
            ValueKind::U64(number) => i128::from(*number),
            ValueKind::I128(number) => *number,
            // Variables and flags can only say text, and templates like to quote.
            ValueKind::String(text) => match text.replace('_', "").parse() {
                Ok(number) => number,
                Err(_) => {
                    return self.refuse(format_args!(
                        "`{text}` is not a whole number: write digits, as in `60`"
                    ));
                }
            },
            // YAML reads `1e6`, and what is too large for its integers, as a float.
            ValueKind::Float(number) => match format!("{number}").parse() {
                Ok(number) => number,
                Err(_) => {
                    return self.refuse(format_args!(
                        "`{number}` is not a whole number: write digits, as in `60`"
                    ));
                }
            },
            other => {
                return self
                    .refuse(format_args!("must be a whole number, not {}", kind_name(other)));
            }
        };
        match u64::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.refuse(format_args!(
                "{number} is out of range: from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// Any number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "who writes a number beyond 2^53 does not count on its last digit"
    )]
    pub(crate) fn number(&self) -> Option<f64> {
        match &self.value?.kind {
            ValueKind::I64(number) => Some(*number as f64),
            ValueKind::U64(number) => Some(*number as f64),
            ValueKind::Float(number) if number.is_finite() => Some(*number),
            // Variables and flags can only say text.
            ValueKind::String(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Some(number),
                _ => self
                    .refuse(format_args!("`{text}` is not a number: write digits, as in `0.25`")),
            },
            other => self.refuse(format_args!("must be a number, not {}", kind_name(other))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn truth(&self) -> Option<bool> {
        match &self.value?.kind {
            ValueKind::Boolean(truth) => Some(*truth),
            ValueKind::String(text) if text == "true" => Some(true),
            ValueKind::String(text) if text == "false" => Some(false),
            ValueKind::String(text) => {
                self.refuse(format_args!("`{text}` is neither `true` nor `false`"))
            }
            other => {
                self.refuse(format_args!("must be `true` or `false`, not {}", kind_name(other)))
            }
        }
    }

    /// A span of time with its unit, in `range`.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        if let ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::Float(_) = &self.value?.kind {
            let number = &self.value?.kind;
            return self.refuse(format_args!(
                "`{number}` has no unit: write `{number}ms`, `{number}s` or `{number}m`"
            ));
        }
        let text = self.text()?;
        let span = match humantime::parse_duration(text) {
            Ok(span) => span,
            Err(_) if text.parse::<f64>().is_ok() => {
                return self.refuse(format_args!(
                    "`{text}` has no unit: write `{text}ms`, `{text}s` or `{text}m`"
                ));
            }
            Err(_) => {
                return self.refuse(format_args!("`{text}` is not a duration: write a whole number and a unit, as in `25ms` or `1s`"));
            }
        };
        if range.contains(&span) {
            return Some(span);
        }
        let [start, end] =
            [range.start(), range.end()].map(|bound| humantime::format_duration(*bound));
        self.refuse(format_args!("`{text}` is out of range: from {start} to {end}"))
    }

    /// One of `choices`, by its word.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        // YAML once read `off` as false, and TOML and JSON have no other way to leave the quotes
        // away.
        let said = if self.is_off() { "off" } else { self.text()? };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == said) {
            return Some(*chosen);
        }
        let hint = most_like(said, words.iter().copied())
            .map(|word| format!(" (did you mean `{word}`?)"))
            .unwrap_or_default();
        self.refuse(format_args!("`{said}` is not possible: write {}{hint}", joined(&words, "or")))
    }

    /// The items of a list. `None` also when one of them is wrong.
    pub(crate) fn items<T>(&self, read: impl FnMut(&Field<'a>) -> Option<T>) -> Option<Vec<T>> {
        match &self.value?.kind {
            ValueKind::Array(values) => self.each(values, read),
            other => {
                self.refuse(format_args!("must be a list, not {}: write `[...]`", kind_name(other)))
            }
        }
    }

    /// As [`Field::items`], and what is no list is its only item.
    pub(crate) fn one_or_more<T>(
        &self,
        mut read: impl FnMut(&Field<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &self.value?.kind {
            ValueKind::Array(values) => self.each(values, read),
            _ => read(self).map(|item| vec![item]),
        }
    }

    fn each<T>(
        &self,
        values: &'a [Value],
        mut read: impl FnMut(&Field<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let parent = self.origin();
        let item = |(i, value)| {
            let field = Field {
                path: self.path.index(i),
                value: Some(value),
                parent: parent.clone(),
                reading: self.reading,
            };
            field.said_something().and_then(|field| read(&field))
        };
        // All are read before the first that is wrong makes the list wrong.
        let items: Vec<Option<T>> = values.iter().enumerate().map(item).collect();
        items.into_iter().collect()
    }

    /// The path that is named here, and what `read` makes of the file there. A relative path starts
    /// at the file that names it.
    pub(crate) fn file<T>(
        &self,
        read: impl FnOnce(&FilePath) -> io::Result<T>,
    ) -> Option<(PathBuf, T)> {
        let path = base_of(&self.origin()).join(self.text()?);
        match read(&path) {
            Ok(content) => Some((path, content)),
            Err(error) => self.refuse(format_args!("`{}` cannot be read: {error}", path.display())),
        }
    }

    /// What `read` makes of the table here. Keys that it does not ask for are mistakes.
    pub(crate) fn table<T>(&self, read: impl FnOnce(&Table<'a>) -> Option<T>) -> Option<T> {
        let ValueKind::Table(values) = &self.value?.kind else {
            return self.refuse(format_args!(
                "must be a table, not {}: write `{{ key: value }}`",
                kind_name(&self.value?.kind)
            ));
        };
        let table = Table {
            path: self.path.clone(),
            values,
            origin: self.origin(),
            asked: RefCell::default(),
            reading: self.reading,
        };
        let result = read(&table);
        table.refuse_what_was_not_asked_for();
        result
    }

    /// The entries of a table whose keys are free, in the order of their names.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Field<'a>)>> {
        let ValueKind::Table(values) = &self.value?.kind else {
            return self.refuse(format_args!(
                "must be a table, not {}: write `{{ key: value }}`",
                kind_name(&self.value?.kind)
            ));
        };
        let parent = self.origin();
        let entry = |(name, value): (&'a String, &'a Value)| {
            let field = Field {
                path: self.path.key(name),
                value: Some(value),
                parent: parent.clone(),
                reading: self.reading,
            };
            field.said_something().map(|field| (name.as_str(), field))
        };
        let mut entries: Vec<_> = values.iter().filter_map(entry).collect();
        entries.sort_by_key(|(name, _)| *name);
        Some(entries)
    }

    /// This field, unless what was said is nothing (`key:` with no value), which is a mistake.
    fn said_something(self) -> Option<Self> {
        match self.value {
            Some(Value { kind: ValueKind::Nil, .. }) => {
                self.refuse("is empty: write a value or remove the key")
            }
            _ => Some(self),
        }
    }
}

impl<'a> Table<'a> {
    /// What was said for `name`.
    pub(crate) fn field(&self, name: &'static str) -> Field<'a> {
        self.asked.borrow_mut().push(name);
        let field = |value| Field {
            path: self.path.key(name),
            value,
            parent: self.origin.clone(),
            reading: self.reading,
        };
        // What is empty counts as absent once it was refused.
        self.values
            .get(name)
            .and_then(|value| field(Some(value)).said_something())
            .unwrap_or_else(|| field(None))
    }

    fn entry(&self, name: &str, value: &'a Value) -> Field<'a> {
        Field {
            path: self.path.key(name),
            value: Some(value),
            parent: self.origin.clone(),
            reading: self.reading,
        }
    }

    fn refuse_what_was_not_asked_for(&self) {
        let asked = self.asked.borrow();
        let mut unknown: Vec<_> =
            self.values.iter().filter(|(name, _)| !asked.contains(&name.as_str())).collect();
        unknown.sort_by_key(|(name, _)| *name);
        for (name, value) in unknown {
            let field = self.entry(name, value);
            // Whoever wrote this key did not misspell one that stands beside it.
            let not_beside = |known: &&str| {
                self.values
                    .get(*known)
                    .is_none_or(|other| first_origin(other) != Some(field.origin()))
            };
            let nested = name.split_once('.').filter(|(table, _)| asked.contains(table));
            match (nested, most_like(name, asked.iter().copied().filter(not_beside))) {
                (Some((table, key)), _) => {
                    field.refuse(format_args!("unknown key: write `{table}: {{ {key}: ... }}`"))
                }
                (None, Some(known)) => {
                    field.refuse::<()>(format_args!("unknown key: did you mean `{known}`?"))
                }
                (None, None) => field
                    .refuse(format_args!("unknown key: known here are {}", joined(&asked, "and"))),
            };
        }
    }
}
