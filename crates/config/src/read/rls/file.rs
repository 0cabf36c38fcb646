//! One file: its tree as a [`Domain`], and every error in it.
//!
//! A file is good exactly if it is good for envoyproxy/ratelimit. Three things there may surprise,
//! and cause a warning: a known key in the wrong place has no effect, an unknown unit has no effect
//! beside `unlimited`, and a limit without `requests_per_unit` denies everything.

use std::{
    collections::{HashMap, hash_map},
    fmt::Display,
};

use serde_json::{Map, Value};

use super::{
    merge::{Merged, merge},
    metadata, scalar,
};
use crate::{
    document::{Entry, Kind, Located, Scalar, parse_yaml},
    error::{ErrorLog, Refused},
    origin::Origin,
    path::Path,
    reader::Place,
    settings::rls::{Allowance, Descriptor, Domain, Limit, Overrun, Unit},
    words::{joined, most_like},
};

/// Every key of the grammar. Those of [`METADATA`] are free.
const KEYS: [&str; 16] = [
    "domain",
    "descriptors",
    "key",
    "value",
    "rate_limit",
    "unit",
    "requests_per_unit",
    "unlimited",
    "name",
    "replaces",
    "shadow_mode",
    "quota_mode",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    METADATA,
];
const METADATA: &str = "metadata";

/// The descriptors of one list: the place of each, by its key and value as one text, which must be
/// unique in the list.
pub(super) type Taken = HashMap<String, Place>;

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) domain: Domain,
    /// The place of the domain's name.
    pub(super) place: Place,
    /// The descriptors at the top.
    pub(super) taken: Taken,
}

/// Reads `text`, the content of the file `origin`.
pub(super) fn read(
    text: &str,
    origin: &Origin,
    errors: &ErrorLog,
    warnings: &ErrorLog,
) -> Result<File, Refused> {
    let document = parse_yaml(text, scalar::meaning).map_err(|error| {
        errors.refuse(|| origin.at_line(error.line), Path::root, || error.message)
    })?;
    let mut reader = Reader { origin, errors, warnings, refused: None };
    if let Some(line) = document.second {
        reader.warn(line, &Path::root(), "only what is above this `---` is read: remove the rest");
    }
    let file = reader.root(&document.root)?;
    reader.refused.map_or(Ok(file), Err)
}

/// The text by which a descriptor is unique in its list. Key and value are joined by a character
/// that both may hold, so some different descriptors are taken for the same: they cannot be in one
/// list.
fn unique_text(Descriptor { key, value, .. }: &Descriptor) -> String {
    value.as_deref().map_or_else(|| key.clone(), |value| format!("{key}_{value}"))
}

struct Reader<'r> {
    origin: &'r Origin,
    errors: &'r ErrorLog,
    warnings: &'r ErrorLog,
    /// Whether anything was refused.
    refused: Option<Refused>,
}

/// A value and its path.
#[derive(Clone)]
struct At<'a> {
    value: &'a Located,
    path: Path,
}

/// A table: its entries, line and path.
struct Fields<'a> {
    entries: Vec<&'a Entry>,
    line: usize,
    path: Path,
}

impl<'a> Fields<'a> {
    /// The value of `key`; null is the same as no value.
    fn get(&self, key: &str) -> Option<At<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let is_null = matches!(entry.value.node.kind(), Kind::Scalar(_, Scalar::Null));
        (!is_null).then(|| At { value: &entry.value, path: self.path.key(key) })
    }

    /// The line of `key`, or of the table without it.
    fn line_of(&self, key: &str) -> usize {
        self.get(key).map_or(self.line, |at| at.value.line)
    }
}

impl Reader<'_> {
    fn refuse_with(
        &mut self,
        line: usize,
        path: &Path,
        message: impl FnOnce() -> String,
    ) -> Refused {
        let refused = self.errors.refuse(|| self.origin.at_line(line), || path.clone(), message);
        self.refused = Some(refused);
        refused
    }

    fn refuse(&mut self, line: usize, path: &Path, message: impl Display) -> Refused {
        self.refuse_with(line, path, || message.to_string())
    }

    fn refuse_at(&mut self, At { value, path }: &At<'_>, message: impl Display) -> Refused {
        self.refuse(value.line, path, message)
    }

    fn warn(&mut self, line: usize, path: &Path, message: impl Display) {
        let origin = || self.origin.at_line(line);
        self.warnings.refuse(origin, || path.clone(), || message.to_string());
    }

    fn root(&mut self, root: &Located) -> Result<File, Refused> {
        let path = Path::root();
        let entries: &[Entry] = match root.node.kind() {
            Kind::Table(entries) => entries,
            Kind::Scalar(_, Scalar::Null) => &[],
            Kind::Scalar(..) | Kind::List(_) => {
                let remedy = "a file holds one domain: write `domain: edge`, and `descriptors:` \
                              with a list";
                return Err(self.refuse(root.line, &path, remedy));
            }
        };
        let fields = self.fields(entries, root.line, path, &["domain", "descriptors"]);
        let name = fields.get("domain").and_then(|domain| self.text(&domain)).unwrap_or_default();
        let (line, path) = (fields.line_of("domain"), fields.path.key("domain"));
        if name.is_empty() {
            let remedy = "is missing: name the domain as Envoy's filter does, as in `domain: edge`";
            self.refuse(line, &path, remedy);
        }
        let (descriptors, taken) = self.descriptors(&fields);
        let place = Place { path, origin: self.origin.at_line(line) };
        Ok(File { domain: Domain { name, descriptors, overrun: Overrun::default() }, place, taken })
    }

    /// Checks every key of a table whose own keys are `known`.
    fn fields<'a>(
        &mut self,
        all: &'a [Entry],
        line: usize,
        path: Path,
        known: &[&str],
    ) -> Fields<'a> {
        let Merged { entries, twice, unmergeable } = merge(all);
        for (Entry { key, value, .. }, first) in twice {
            let message = format_args!("already written in line {first}: the last one counts");
            self.warn(value.line, &path.key(key), message);
        }
        for value in unmergeable {
            let remedy = "`<<` merges a table, or a list of tables, by their aliases";
            self.refuse(value.line, &path, remedy);
        }
        for Entry { key, meaning, value, .. } in &entries {
            let (line, at) = (value.line, path.key(key));
            if *meaning != Scalar::Text {
                self.refuse(line, &at, "a key must be text: put it in quotes");
            } else if !KEYS.contains(&key.as_str()) {
                self.refuse_with(line, &at, || match most_like(key, KEYS) {
                    Some(word) => format!("unknown key: did you mean `{word}`?"),
                    None => format!("unknown key: known here are {}", joined(known, "and")),
                });
            } else if !known.contains(&key.as_str()) {
                let known = joined(known, "and");
                let message =
                    format_args!("has no effect here, where {known} are known: move or remove it");
                self.warn(line, &at, message);
                self.only_well_formed(value, &at, key);
            }
        }
        Fields { entries, line, path }
    }

    /// Checks a value that has no effect where it is: it must be well-formed all the same.
    fn only_well_formed(&mut self, value: &Located, path: &Path, key: &str) {
        match value.node.kind() {
            _ if key == METADATA => {}
            Kind::Scalar(text, scalar) => self.check_number(value.line, path, text, *scalar),
            Kind::Table(entries) => {
                let fields = self.fields(entries, value.line, path.clone(), &KEYS);
                for Entry { key, value, .. } in fields.entries {
                    self.only_well_formed(value, &path.key(key), key);
                }
            }
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    match item.node.kind() {
                        Kind::Table(_) => self.only_well_formed(item, &path, ""),
                        Kind::Scalar(..) | Kind::List(_) => {
                            let remedy = "must be a table: lists hold nothing else in these files";
                            self.refuse(item.line, &path, remedy);
                        }
                    }
                }
            }
        }
    }

    /// Refuses numbers that are not whole or too large. These files cannot hold them, not even
    /// where text is expected.
    fn check_number(&mut self, line: usize, path: &Path, text: &str, scalar: Scalar) {
        match scalar {
            Scalar::Float(_) => {
                let remedy =
                    format_args!("`{text}` is read as a fraction: put it in quotes if it is text");
                self.refuse(line, path, remedy);
            }
            Scalar::Integer(number) if i64::try_from(number).is_err() => {
                let remedy =
                    format_args!("`{text}` is too large a number: put it in quotes if it is text");
                self.refuse(line, path, remedy);
            }
            Scalar::Integer(_) | Scalar::Bool(_) | Scalar::Null | Scalar::Text => {}
        }
    }

    /// The table at `at`, whose own keys are `known`.
    fn table<'a>(&mut self, at: &At<'a>, known: &[&str]) -> Option<Fields<'a>> {
        match at.value.node.kind() {
            Kind::Table(entries) => {
                Some(self.fields(entries, at.value.line, at.path.clone(), known))
            }
            other => {
                let (known, other) = (joined(known, "and"), kind_name(other));
                self.refuse_at(at, format_args!("must be a table of {known}, not {other}"));
                None
            }
        }
    }

    /// The items of the list at `at`.
    fn list<'a>(&mut self, at: &At<'a>, item: &str) -> Vec<At<'a>> {
        match at.value.node.kind() {
            Kind::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, value)| At { value, path: at.path.index(index) })
                .collect(),
            other => {
                let other = kind_name(other);
                let remedy = format_args!(
                    "must be a list, not {other}: begin each item with a dash, as in `- {item}`"
                );
                self.refuse_at(at, remedy);
                Vec::new()
            }
        }
    }

    /// Any scalar, as it is written.
    fn text(&mut self, at: &At<'_>) -> Option<String> {
        match at.value.node.kind() {
            Kind::Scalar(text, scalar) => {
                self.check_number(at.value.line, &at.path, text, *scalar);
                Some(text.clone())
            }
            other => {
                self.refuse_at(at, format_args!("must be text, not {}", kind_name(other)));
                None
            }
        }
    }

    fn bool(&mut self, at: Option<&At<'_>>) -> bool {
        let Some(at) = at else { return false };
        match at.value.node.kind() {
            Kind::Scalar(_, Scalar::Bool(value)) => return *value,
            Kind::Scalar(text, Scalar::Text) if matches!(scalar::plain(text), Scalar::Bool(_)) => {
                self.refuse_at(at, format_args!("`{text}` is text: remove the quotes"));
            }
            Kind::Scalar(text, _) => {
                self.refuse_at(at, format_args!("`{text}` is neither `true` nor `false`"));
            }
            other => {
                let other = kind_name(other);
                self.refuse_at(at, format_args!("must be `true` or `false`, not {other}"));
            }
        }
        false
    }

    /// The list of descriptors in `fields`, and the place of each.
    fn descriptors(&mut self, fields: &Fields<'_>) -> (Vec<Descriptor>, Taken) {
        let (mut descriptors, mut taken) = (Vec::new(), Taken::new());
        let Some(list) = fields.get("descriptors") else { return (descriptors, taken) };
        for item in self.list(&list, "key: remote_address") {
            let Some(descriptor) =
                self.descriptor(&item).filter(|descriptor| !descriptor.key.is_empty())
            else {
                continue;
            };
            match taken.entry(unique_text(&descriptor)) {
                hash_map::Entry::Occupied(first) => {
                    self.refuse_at(&item, already_taken(&descriptor, &first.get().path));
                }
                hash_map::Entry::Vacant(free) => {
                    let origin = self.origin.at_line(item.value.line);
                    free.insert(Place { path: item.path, origin });
                    descriptors.push(descriptor);
                }
            }
        }
        (descriptors, taken)
    }

    fn descriptor(&mut self, at: &At<'_>) -> Option<Descriptor> {
        const KNOWN: [&str; 10] = [
            "key",
            "value",
            "rate_limit",
            "descriptors",
            "shadow_mode",
            "quota_mode",
            "detailed_metric",
            "value_to_metric",
            "share_threshold",
            METADATA,
        ];
        let fields = self.table(at, &KNOWN)?;
        let key = fields.get("key").and_then(|key| self.text(&key)).unwrap_or_default();
        if key.is_empty() {
            let remedy = "is missing: a descriptor has a key, as in `key: remote_address`";
            self.refuse(fields.line_of("key"), &fields.path.key("key"), remedy);
        }
        let value = fields
            .get("value")
            .and_then(|value| self.text(&value))
            .filter(|value| !value.is_empty());
        let limit = fields.get("rate_limit").and_then(|limit| self.limit(&limit));
        let mut switch = |name| self.bool(fields.get(name).as_ref());
        let [shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold] =
            ["shadow_mode", "quota_mode", "detailed_metric", "value_to_metric", "share_threshold"]
                .map(&mut switch);
        let metadata =
            fields.get(METADATA).map_or_else(Map::new, |metadata| self.metadata(&metadata));
        let (descriptors, _) = self.descriptors(&fields);
        let descriptor = Descriptor {
            key,
            value,
            limit,
            shadow_mode,
            quota_mode,
            detailed_metric,
            value_to_metric,
            share_threshold,
            metadata,
            descriptors,
        };
        if share_threshold && !unique_text(&descriptor).contains('*') {
            let remedy = "only values that a `*` matches can share one bucket: write a value such \
                          as `value: files/*`, or remove the key";
            let path = fields.path.key("share_threshold");
            self.refuse(fields.line_of("share_threshold"), &path, remedy);
        }
        Some(descriptor)
    }

    fn limit(&mut self, at: &At<'_>) -> Option<Limit> {
        let fields =
            self.table(at, &["requests_per_unit", "unit", "unlimited", "name", "replaces"])?;
        let requests = self.requests(fields.get("requests_per_unit").as_ref());
        let unit_at = fields.get("unit");
        let unit_text = unit_at.as_ref().and_then(|unit| self.text(unit)).unwrap_or_default();
        let unit =
            Unit::ALL.into_iter().find(|unit| unit.as_str().eq_ignore_ascii_case(&unit_text));
        let is_unlimited = self.bool(fields.get("unlimited").as_ref());
        let (unit_line, unit_path) = (fields.line_of("unit"), fields.path.key("unit"));
        let allowance = match (is_unlimited, unit) {
            (true, None) => {
                if !unit_text.is_empty() {
                    let remedy = "has no effect, since the rate is unlimited: remove it";
                    self.warn(unit_line, &unit_path, remedy);
                }
                Some(Allowance::Unlimited)
            }
            (true, Some(_)) => {
                let remedy = "an unlimited rate has no unit: remove `unit`, or `unlimited`";
                self.refuse(unit_line, &unit_path, remedy);
                None
            }
            (false, Some(unit)) => {
                if fields.get("requests_per_unit").is_none() {
                    let remedy = "is missing, so that every request is denied: write how many may \
                                  pass, or 0 if none may";
                    self.warn(fields.line, &fields.path.key("requests_per_unit"), remedy);
                }
                requests.map(|requests| Allowance::PerUnit { requests, unit })
            }
            (false, None) => {
                let words = joined(&Unit::ALL.map(Unit::as_str), "or");
                let message = if unit_text.is_empty() {
                    format!("is missing: write {words}, or `unlimited: true` in its place")
                } else {
                    format!("`{unit_text}` is not a unit of time: write {words}")
                };
                self.refuse(unit_line, &unit_path, message);
                None
            }
        };
        let name = fields.get("name").and_then(|name| self.text(&name)).unwrap_or_default();
        let replaces = fields
            .get("replaces")
            .map_or_else(Vec::new, |replaces| self.replaces(&replaces, &name));
        Some(Limit { name, replaces, allowance: allowance?, overrun: Overrun::default() })
    }

    fn requests(&mut self, at: Option<&At<'_>>) -> Option<u32> {
        let Some(at) = at else { return Some(0) };
        match at.value.node.kind() {
            Kind::Scalar(text, Scalar::Integer(number)) => {
                let requests = u32::try_from(*number).ok();
                if requests.is_none() {
                    let most = u32::MAX;
                    self.refuse_at(at, format_args!("{text} is out of range: from 0 to {most}"));
                }
                return requests;
            }
            Kind::Scalar(text, Scalar::Text)
                if matches!(scalar::plain(text), Scalar::Integer(_)) =>
            {
                self.refuse_at(at, format_args!("`{text}` is text: remove the quotes"))
            }
            Kind::Scalar(text, _) => self.refuse_at(
                at,
                format_args!("`{text}` is not a whole number: write digits, as in `60`"),
            ),
            other => {
                let other = kind_name(other);
                self.refuse_at(at, format_args!("must be a whole number, not {other}"))
            }
        };
        None
    }

    fn replaces(&mut self, at: &At<'_>, own: &str) -> Vec<String> {
        let mut names = Vec::new();
        for item in self.list(at, "name: other_limit") {
            let Some(fields) = self.table(&item, &["name"]) else { continue };
            let name = fields.get("name").and_then(|name| self.text(&name)).unwrap_or_default();
            let (line, path) = (fields.line_of("name"), fields.path.key("name"));
            if name.is_empty() {
                let remedy =
                    "is missing: name the limit that is replaced, as in `- name: other_limit`";
                self.refuse(line, &path, remedy);
            } else if name == own {
                let remedy =
                    format_args!("`{name}` is the limit's own name: a limit cannot replace itself");
                self.refuse(line, &path, remedy);
            }
            names.push(name);
        }
        names
    }

    fn metadata(&mut self, at: &At<'_>) -> Map<String, Value> {
        match at.value.node.kind() {
            Kind::Table(entries) => metadata::table(entries),
            other => {
                let other = kind_name(other);
                let remedy = format_args!(
                    "must be a table, not {other}: write `{METADATA}: {{ key: value }}`"
                );
                self.refuse_at(at, remedy);
                Map::new()
            }
        }
    }
}

/// Says that `descriptor` cannot be in one list with the one at `first`.
fn already_taken(descriptor: &Descriptor, first: &impl Display) -> String {
    let Descriptor { key, value, .. } = descriptor;
    let name = value
        .as_ref()
        .map_or_else(|| format!("`{key}`"), |value| format!("`{key}` with value `{value}`"));
    format!(
        "{name} is already taken by {first}, since key and value joined by `_` are the same text: \
         keep one"
    )
}

/// Adds the descriptors of `file` to `domain`, whose first ones are `taken`.
pub(super) fn add_descriptors(
    file: File,
    domain: &mut Domain,
    taken: &mut Taken,
    errors: &ErrorLog,
) -> Result<(), Refused> {
    let mut refused = None;
    for descriptor in file.domain.descriptors {
        let text = unique_text(&descriptor);
        match (taken.get(&text), file.taken.get(&text)) {
            (Some(first), Some(place)) => {
                let Place { path, origin } = place.clone();
                let first = format!("{} in {}", first.path, first.origin);
                let message = || already_taken(&descriptor, &first);
                refused = Some(errors.refuse(|| origin, || path, message));
            }
            (_, place) => {
                if let Some(place) = place {
                    taken.insert(text, place.clone());
                }
                domain.descriptors.push(descriptor);
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

/// The word for what was written.
const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Scalar(_, Scalar::Null) => "nothing",
        Kind::Scalar(_, Scalar::Bool(_)) => "`true` or `false`",
        Kind::Scalar(_, Scalar::Integer(_) | Scalar::Float(_)) => "a number",
        Kind::Scalar(_, Scalar::Text) => "text",
        Kind::List(_) => "a list",
        Kind::Table(_) => "a table",
    }
}
