//! Reads typed values from the merged tree. Every error is recorded, and reading goes on.
//!
//! A [`Field`] is a path and the value there. Its readers return `Err(Refused)` once they have
//! recorded an error, so the reader of a section reads all its fields before it uses `?`. What is
//! special about a setting is said where it is read: [`Field::hide`] keeps it out of `config show`,
//! [`Field::needs_restart`] warns on reload that it was changed in vain. [`Field::table`] knows
//! which keys were read, and refuses all others.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{Debug, Display},
    io,
    ops::RangeInclusive,
    path::{Path as FilePath, PathBuf},
    str::FromStr,
    time::Duration,
};

use config::{Map, Value, ValueKind};
use sluice_core::RefillRate;

use crate::{
    error::{ErrorLog, Refused},
    layers::first_origin,
    origin::Origin,
    path::Path,
    schema::{Observed, Scalar},
    words::{joined, kind_name, most_like, quoting_hint},
};

/// What all fields of one reading share.
#[derive(Debug)]
pub(crate) struct Reading<'l> {
    errors: &'l ErrorLog,
    warnings: &'l ErrorLog,
    hidden: RefCell<HashMap<Path, Hidden>>,
    fixed: RefCell<Fixed>,
    /// The paths of all keys that tables were asked for, if they are collected.
    keys: Option<RefCell<BTreeSet<String>>>,
    /// Notes what is looked for, to make a schema of it.
    observed: Option<&'l RefCell<Observed>>,
    /// The origin of the root.
    root: Origin,
}

/// What `config show` leaves out of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// All of it.
    Value,
    /// The password of a URL.
    UrlPassword,
    /// The items of a list, but not their number.
    Items,
}

/// The settings that a reload cannot change: the values of those that are set, by their paths.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Fixed(BTreeMap<String, String>);

/// A path, and the value there.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    path: Path,
    value: Found<'a>,
    /// The origin of the table or list that holds the field.
    parent: Origin,
    reading: &'a Reading<'a>,
}

/// What is at a path.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    Nothing,
    Refused(Refused),
    Value(&'a Value),
}

/// A path, and the origin of the value there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: Path,
    pub(crate) origin: Origin,
}

/// A table whose keys are being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    path: Path,
    values: &'a Map<String, Value>,
    origin: Origin,
    known: RefCell<Vec<&'static str>>,
    reading: &'a Reading<'a>,
}

impl Fixed {
    /// Returns the paths of the settings that differ.
    pub(crate) fn changed<'f>(&'f self, other: &'f Self) -> Vec<&'f str> {
        let is_changed = |path: &&String| self.0.get(*path) != other.0.get(*path);
        let only_in_other = other.0.keys().filter(|path| !self.0.contains_key(*path));
        self.0.keys().chain(only_in_other).filter(is_changed).map(String::as_str).collect()
    }
}

impl Debug for Fixed {
    /// Leaves out the values, of which one may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'l> Reading<'l> {
    /// Starts reading a tree whose root has this origin.
    pub(crate) fn new(root: Origin, errors: &'l ErrorLog, warnings: &'l ErrorLog) -> Self {
        let (hidden, fixed) = Default::default();
        Self { errors, warnings, hidden, fixed, keys: None, observed: None, root }
    }

    /// Collects the paths of all keys that are asked for.
    pub(crate) fn collecting_keys(self) -> Self {
        Self { keys: Some(RefCell::default()), ..self }
    }

    /// Also notes in `observed` what is looked for.
    pub(crate) fn observed_by(self, observed: &'l RefCell<Observed>) -> Self {
        Self { observed: Some(observed), ..self }
    }

    fn observe(&self, note: impl FnOnce(&mut Observed)) {
        if let Some(observed) = self.observed {
            note(&mut observed.borrow_mut());
        }
    }

    /// Returns the whole tree as a field.
    pub(crate) fn root<'a>(&'a self, tree: &'a Value) -> Field<'a> {
        let parent = self.root.clone();
        Field { path: Path::root(), value: Found::Value(tree), parent, reading: self }
    }

    /// Returns the paths of all keys that were asked for, in tables that are there.
    pub(crate) fn into_keys(self) -> BTreeSet<String> {
        self.keys.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Returns which values to hide, and which cannot change.
    pub(crate) fn finish(self) -> (HashMap<Path, Hidden>, Fixed) {
        (self.hidden.into_inner(), self.fixed.into_inner())
    }
}

impl<'a> Field<'a> {
    /// The field's path.
    pub(crate) const fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a value, be it right or wrong.
    pub(crate) const fn is_present(&self) -> bool {
        !matches!(self.value, Found::Nothing)
    }

    /// The origin of the value, or else of the table that it is missing from.
    pub(crate) fn origin(&self) -> Origin {
        self.any_value().and_then(first_origin).unwrap_or_else(|| self.parent.clone())
    }

    /// The field's path and origin.
    pub(crate) fn place(&self) -> Place {
        Place { path: self.path.clone(), origin: self.origin() }
    }

    /// Notes that a scalar is looked for here.
    fn observe(&self, scalar: impl FnOnce() -> Scalar) {
        self.reading.observe(|observed| observed.scalar(self.path.to_string(), scalar()));
    }

    const fn any_value(&self) -> Option<&'a Value> {
        match self.value {
            Found::Value(value) => Some(value),
            Found::Nothing | Found::Refused(_) => None,
        }
    }

    fn kind(&self) -> Option<&'a ValueKind> {
        self.any_value().map(|value| &value.kind)
    }

    /// The value; one that is missing is refused.
    fn value(&self) -> Result<&'a ValueKind, Refused> {
        match self.value {
            Found::Value(value) => Ok(&value.kind),
            Found::Refused(refused) => Err(refused),
            Found::Nothing => Err(self.missing("write a value")),
        }
    }

    /// Records an error about this field.
    pub(crate) fn refuse(&self, message: impl Display) -> Refused {
        let path = || self.path.clone();
        self.reading.errors.refuse(|| self.origin(), path, || message.to_string())
    }

    /// Records an error about another place.
    pub(crate) fn refuse_at(&self, place: &Place, message: impl Display) -> Refused {
        let Place { path, origin } = place;
        self.reading.errors.refuse(|| origin.clone(), || path.clone(), || message.to_string())
    }

    /// Records that the value is missing, with `remedy`.
    pub(crate) fn missing(&self, remedy: impl Display) -> Refused {
        self.refuse(format_args!("is missing: {remedy}"))
    }

    /// Records what is possible but probably not meant.
    pub(crate) fn warn(&self, message: impl Display) {
        let path = || self.path.clone();
        self.reading.warnings.refuse(|| self.origin(), path, || message.to_string());
    }

    /// Records what is possible but probably not meant at another place.
    pub(crate) fn warn_at(&self, place: &Place, message: impl Display) {
        let Place { path, origin } = place;
        let warnings = self.reading.warnings;
        warnings.refuse(|| origin.clone(), || path.clone(), || message.to_string());
    }

    /// The logs, for a reader of the files that are named here.
    pub(crate) const fn logs(&self) -> (&'a ErrorLog, &'a ErrorLog) {
        (self.reading.errors, self.reading.warnings)
    }

    /// Keeps the value out of `config show`.
    pub(crate) fn hide(self, hidden: Hidden) -> Self {
        self.reading.hidden.borrow_mut().insert(self.path.clone(), hidden);
        self
    }

    /// Passes `value` on, which was read here. A reload cannot change it.
    pub(crate) fn needs_restart<T: Debug>(&self, value: Result<T, Refused>) -> Result<T, Refused> {
        if let (true, Ok(value)) = (self.is_present(), &value) {
            self.reading.fixed.borrow_mut().0.insert(self.path.to_string(), format!("{value:?}"));
        }
        value
    }

    /// This field if there is a value; else records that it is missing, with `remedy`.
    pub(crate) fn required(self, remedy: impl Display) -> Result<Self, Refused> {
        self.reading.observe(|observed| observed.required(self.path.to_string()));
        if self.is_present() { Ok(self) } else { Err(self.missing(remedy)) }
    }

    /// What `read` returns, or `default` if there is no value.
    pub(crate) fn or<T>(
        &self,
        default: T,
        read: impl FnOnce(&Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        match self.value {
            Found::Nothing => Ok(default),
            Found::Refused(refused) => Err(refused),
            Found::Value(_) => read(self),
        }
    }

    /// What `read` returns, if there is a value.
    pub(crate) fn optional<T>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        self.or(None, |field| read(field).map(Some))
    }

    /// Whether the value is `true`.
    pub(crate) fn is_true(&self) -> bool {
        self.observe(|| Scalar::True);
        matches!(self.kind(), Some(ValueKind::Boolean(true)))
    }

    /// Whether the value is `off`, or `false`, which is what YAML 1.1 reads `off` as. Variables and
    /// flags are always text.
    pub(crate) fn is_off(&self) -> bool {
        self.observe(|| Scalar::Off);
        self.reads_off()
    }

    fn reads_off(&self) -> bool {
        match self.kind() {
            Some(ValueKind::Boolean(value)) => !value,
            Some(ValueKind::String(text)) => matches!(text.as_str(), "off" | "false"),
            _ => false,
        }
    }

    /// Refuses a word that others write for `off`, where `off` is possible.
    pub(crate) fn refuse_other_words_for_off(&self) -> Result<(), Refused> {
        match self.kind() {
            Some(ValueKind::String(text)) if means_off(text) => {
                Err(self.refuse(format_args!("`{text}` is not possible: did you mean `off`?")))
            }
            _ => Ok(()),
        }
    }

    /// `on` or `off`.
    pub(crate) fn switch(&self) -> Result<bool, Refused> {
        // YAML 1.1 reads `on` as true.
        if self.is_true() { Ok(true) } else { self.choice(&[("on", true), ("off", false)]) }
    }

    /// Whether the value is a table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.kind(), Some(ValueKind::Table(_)))
    }

    /// The value if it is text.
    pub(crate) fn text_if_any(&self) -> Option<&'a str> {
        match self.kind() {
            Some(ValueKind::String(text)) => {
                self.observe(|| Scalar::Text);
                Some(text)
            }
            _ => None,
        }
    }

    /// Text that is not empty.
    pub(crate) fn text(&self) -> Result<&'a str, Refused> {
        self.observe(|| Scalar::Text);
        self.plain_text()
    }

    fn plain_text(&self) -> Result<&'a str, Refused> {
        match self.value()? {
            ValueKind::String(text) if text.is_empty() => Err(self.empty()),
            ValueKind::String(text) => Ok(text),
            other => Err(self.not_text(other)),
        }
    }

    fn not_text(&self, kind: &ValueKind) -> Refused {
        let (kind, hint) = (kind_name(kind), quoting_hint(kind));
        self.refuse(format_args!("must be text, not {kind}{hint}"))
    }

    fn empty(&self) -> Refused {
        self.refuse("is empty: write a value or remove the key")
    }

    /// Text that is a `T`.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, Refused> {
        self.parse_with(str::parse)
    }

    /// Tokens per period, such as `60/minute`.
    pub(crate) fn rate(&self) -> Result<RefillRate, Refused> {
        self.parse_as(Scalar::Rate, str::parse)
    }

    /// What `parse` returns for the text here, which has the form of `scalar`.
    pub(crate) fn parse_as<T, E: Display>(
        &self,
        scalar: Scalar,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Refused> {
        self.observe(|| scalar);
        self.parse_text(parse)
    }

    /// What `parse` returns for the text here.
    pub(crate) fn parse_with<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Refused> {
        self.parse_as(Scalar::Text, parse)
    }

    fn parse_text<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Refused> {
        match self.value()? {
            // `parse` knows the remedy for a number, unless it happens to be right as text.
            number @ (ValueKind::I64(_)
            | ValueKind::I128(_)
            | ValueKind::Float(_)
            | ValueKind::Boolean(_)) => match parse(&number.to_string()) {
                Ok(_) => Err(self.not_text(number)),
                Err(error) => Err(self.refuse(error)),
            },
            _ => parse(self.plain_text()?).map_err(|error| self.refuse(error)),
        }
    }

    /// A whole number in `range`.
    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Result<u64, Refused> {
        self.integer_where(&range, |number| range.contains(&number))
    }

    /// A whole number in `range`, or 0, which the caller refuses with a remedy of its own.
    pub(crate) fn integer_or_zero(&self, range: RangeInclusive<u64>) -> Result<u64, Refused> {
        self.integer_where(&range, |number| number == 0 || range.contains(&number))
    }

    /// A whole number that `is_possible`; an error names `range`.
    fn integer_where(
        &self,
        range: &RangeInclusive<u64>,
        is_possible: impl Fn(u64) -> bool,
    ) -> Result<u64, Refused> {
        self.observe(|| Scalar::integer(range));
        let not_whole = |text: &dyn Display| {
            self.refuse(format_args!("`{text}` is not a whole number: write digits, as in `60`"))
        };
        let number = match self.value()? {
            ValueKind::I64(number) => i128::from(*number),
            ValueKind::I128(number) => *number,
            // Variables and flags are always text, and templates often quote.
            ValueKind::String(text) => {
                text.replace('_', "").parse().map_err(|_| not_whole(text))?
            }
            // YAML reads `1e6`, and what is too large for its integers, as a fraction.
            ValueKind::Float(number) => {
                format!("{number}").parse().map_err(|_| not_whole(number))?
            }
            other => {
                let kind = kind_name(other);
                return Err(self.refuse(format_args!(
                    "must be a whole number, not {kind}: write digits, as in `60`"
                )));
            }
        };
        u64::try_from(number).ok().filter(|number| is_possible(*number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.refuse(format_args!("{number} is out of range: from {least} to {most}"))
        })
    }

    /// Any number.
    #[expect(clippy::cast_precision_loss, reason = "no setting needs more than 53 bits")]
    pub(crate) fn number(&self) -> Result<f64, Refused> {
        self.observe(|| Scalar::Number);
        match self.value()? {
            ValueKind::I64(number) => Ok(*number as f64),
            ValueKind::I128(number) => Ok(*number as f64),
            ValueKind::Float(number) if number.is_finite() => Ok(*number),
            // Variables and flags are always text.
            ValueKind::String(text) => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| {
                    self.refuse(format_args!(
                        "`{text}` is not a number: write digits, as in `0.25`"
                    ))
                })
            }
            ValueKind::Float(number) => {
                Err(self
                    .refuse(format_args!("`{number}` is not a number: write digits, as in `0.25`")))
            }
            other => Err(self.refuse(format_args!("must be a number, not {}", kind_name(other)))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn bool(&self) -> Result<bool, Refused> {
        self.observe(|| Scalar::Boolean);
        match self.value()? {
            ValueKind::Boolean(value) => Ok(*value),
            ValueKind::String(text) if text == "true" => Ok(true),
            ValueKind::String(text) if text == "false" => Ok(false),
            ValueKind::String(text) => {
                let remedy = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "y" => ": write `true`",
                    "false" => ": write `false`",
                    _ if means_off(text) => ": write `false`",
                    _ => "",
                };
                Err(self.refuse(format_args!("`{text}` is neither `true` nor `false`{remedy}")))
            }
            other => {
                let kind = kind_name(other);
                Err(self.refuse(format_args!("must be `true` or `false`, not {kind}")))
            }
        }
    }

    /// A duration with its unit, in `range`.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Refused> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        self.observe(|| Scalar::Duration);
        let not_a_duration = |text: &str| match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 && *range.start() >= DAY => {
                self.refuse(format_args!("`{text}` has no unit: write `{text}d`"))
            }
            Ok(number) if number.is_finite() && number >= 0.0 => self.refuse(format_args!(
                "`{text}` has no unit: write `{text}ms`, `{text}s` or `{text}m`"
            )),
            _ => self.refuse(format_args!(
                "`{text}` is not a duration: write a whole number and a unit, as in `25ms` or `1s`"
            )),
        };
        if let number @ (ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::Float(_)) =
            self.value()?
        {
            return Err(not_a_duration(&number.to_string()));
        }
        let text = self.plain_text()?;
        let duration = humantime::parse_duration(text).map_err(|_| not_a_duration(text))?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let [least, most] =
            [range.start(), range.end()].map(|bound| humantime::format_duration(*bound));
        Err(self.refuse(format_args!("`{text}` is out of range: from {least} to {most}")))
    }

    /// One of `choices`, by its word.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Result<T, Refused> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.observe(|| Scalar::Choice(choices.iter().map(|(word, _)| *word).collect()));
        let chosen: Cow<'_, str> = match self.value()? {
            _ if self.reads_off() => "off".into(),
            kind @ (ValueKind::Table(_) | ValueKind::Array(_)) => {
                let (kind, words) = (kind_name(kind), joined(&words, "or"));
                return Err(
                    self.refuse(format_args!("must be one word, not {kind}: write {words}"))
                );
            }
            ValueKind::String(_) => self.plain_text()?.into(),
            other => other.to_string().into(),
        };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == chosen) {
            return Ok(*choice);
        }
        let off = words.iter().copied().find(|word| *word == "off" && means_off(&chosen));
        let hint = off
            .or_else(|| most_like(&chosen, words.iter().copied()))
            .map(|word| format!(" (did you mean `{word}`?)"))
            .unwrap_or_default();
        let words = joined(&words, "or");
        Err(self.refuse(format_args!("`{chosen}` is not possible: write {words}{hint}")))
    }

    /// The items of a list.
    pub(crate) fn items<T>(
        &self,
        read: impl FnMut(&Field<'a>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        self.reading.observe(|observed| observed.list(self.path.to_string(), false));
        match self.value()? {
            ValueKind::Array(values) => self.each(values, read),
            other => {
                let kind = kind_name(other);
                Err(self.refuse(format_args!("must be a list, not {kind}: write `[...]`")))
            }
        }
    }

    /// Whether the value is a list or a table without entries.
    pub(crate) fn is_empty(&self) -> bool {
        match self.kind() {
            Some(ValueKind::Array(items)) => items.is_empty(),
            Some(ValueKind::Table(entries)) => entries.is_empty(),
            _ => false,
        }
    }

    /// The items of a list, or the one value that is not a list.
    pub(crate) fn one_or_more<T>(
        &self,
        mut read: impl FnMut(&Field<'a>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        self.reading.observe(|observed| observed.list(self.path.to_string(), true));
        match self.value()? {
            ValueKind::Array(values) => self.each(values, read),
            _ => read(self).map(|item| vec![item]),
        }
    }

    fn each<T>(
        &self,
        values: &'a [Value],
        mut read: impl FnMut(&Field<'a>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        let parent = self.origin();
        let item = |(i, value)| {
            let field = self.child(self.path.index(i), Some(value), &parent);
            self.reading.observe(|observed| {
                observed.item(self.path.to_string(), field.path.to_string());
            });
            field.value().and_then(|_| read(&field))
        };
        // Every item is read, so that every error is recorded.
        let items: Vec<Result<T, Refused>> = values.iter().enumerate().map(item).collect();
        items.into_iter().collect()
    }

    /// The file that is named here, and what `read` makes of it. A relative path starts at the
    /// folder of the file that names it.
    pub(crate) fn file<T>(
        &self,
        read: impl FnOnce(&FilePath) -> io::Result<T>,
    ) -> Result<(PathBuf, T), Refused> {
        let path = self.origin().folder().join(self.text()?);
        match read(&path) {
            Ok(content) => Ok((path, content)),
            Err(error) => {
                let path = path.display();
                Err(self.refuse(format_args!("`{path}` cannot be read: {error}")))
            }
        }
    }

    /// What `read` makes of the table here. Keys that it does not read are refused.
    pub(crate) fn table<T>(
        &self,
        read: impl FnOnce(&Table<'a>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let values = self.keys()?;
        self.reading.observe(|observed| observed.table(self.path.to_string()));
        let table = Table {
            path: self.path.clone(),
            values,
            origin: self.origin(),
            known: RefCell::default(),
            reading: self.reading,
        };
        let result = read(&table);
        table.refuse_unknown_keys();
        result
    }

    /// The entries of a table whose keys are free, ordered by key.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, Field<'a>)>, Refused> {
        self.reading.observe(|observed| observed.entries(self.path.to_string()));
        let parent = self.origin();
        let entry = |(name, value): (&'a String, &'a Value)| {
            let field = self.child(self.path.key(name), Some(value), &parent);
            self.reading.observe(|observed| {
                observed.entry(self.path.to_string(), field.path.to_string());
            });
            field.value().is_ok().then_some((name.as_str(), field))
        };
        let mut entries: Vec<_> = self.keys()?.iter().filter_map(entry).collect();
        entries.sort_by_key(|(name, _)| *name);
        Ok(entries)
    }

    fn keys(&self) -> Result<&'a Map<String, Value>, Refused> {
        match self.value()? {
            ValueKind::Table(values) => Ok(values),
            other => {
                let kind = kind_name(other);
                Err(self
                    .refuse(format_args!("must be a table, not {kind}: write `{{ key: value }}`")))
            }
        }
    }

    /// A field within this one. A key without a value is refused.
    fn child(&self, path: Path, value: Option<&'a Value>, parent: &Origin) -> Self {
        Self::new(path, value, parent, self.reading)
    }

    fn new(
        path: Path,
        value: Option<&'a Value>,
        parent: &Origin,
        reading: &'a Reading<'a>,
    ) -> Self {
        let value = value.map_or(Found::Nothing, Found::Value);
        let mut field = Self { path, value, parent: parent.clone(), reading };
        if matches!(field.kind(), Some(ValueKind::Nil)) {
            field.value = Found::Refused(field.empty());
        }
        field
    }
}

/// Whether people or other programs write `text` for `off`.
fn means_off(text: &str) -> bool {
    const WORDS: [&str; 9] =
        ["off", "no", "n", "none", "false", "disable", "disabled", "never", "null"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

impl<'a> Table<'a> {
    /// The field `name`.
    pub(crate) fn field(&self, name: &'static str) -> Field<'a> {
        self.known.borrow_mut().push(name);
        let path = self.path.key(name);
        if let Some(keys) = &self.reading.keys {
            keys.borrow_mut().insert(path.to_string());
        }
        self.reading.observe(|observed| {
            observed.field(self.path.to_string(), name, path.to_string());
        });
        Field::new(path, self.values.get(name), &self.origin, self.reading)
    }

    /// Records an error for each of these keys that is there, which belongs elsewhere: `remedy`
    /// says where.
    pub(crate) fn refuse_elsewhere(
        &self,
        keys: &[&'static str],
        remedy: impl Fn(&str) -> String,
    ) -> Result<(), Refused> {
        let mut result = Ok(());
        for key in keys {
            if let Some(value) = self.values.get(*key) {
                self.known.borrow_mut().push(key);
                let field = Field::new(self.path.key(key), Some(value), &self.origin, self.reading);
                result = Err(field.refuse(remedy(key)));
            }
        }
        result
    }

    fn refuse_unknown_keys(&self) {
        let known = self.known.borrow();
        let mut unknown: Vec<_> =
            self.values.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
        unknown.sort_by_key(|(name, _)| *name);
        for (name, value) in unknown {
            let origin = || first_origin(value).unwrap_or_else(|| self.origin.clone());
            let message = || format!("unknown key: {}", self.remedy(name, &origin(), &known));
            self.reading.errors.refuse(origin, || self.path.key(name), message);
        }
    }

    fn remedy(&self, name: &str, origin: &Origin, known: &[&'static str]) -> String {
        if name == "<<" {
            return "YAML's merge keys are not supported: write the keys out".to_owned();
        }
        if let Some((table, key)) = name.split_once('.').filter(|(table, _)| known.contains(table))
        {
            return format!("write `{table}: {{ {key}: ... }}`");
        }
        // A key that is written beside this one is not what was meant.
        let is_beside = |value| first_origin(value).is_some_and(|other| other.is_beside(origin));
        let others =
            known.iter().copied().filter(|key| !self.values.get(*key).is_some_and(is_beside));
        match most_like(name, others) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here are {}", joined(known, "and")),
        }
    }
}
