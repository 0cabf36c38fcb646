//! One file: its tree as a [`Domain`], and every mistake in it.
//!
//! A file is good exactly when it is good for envoyproxy/ratelimit. Three things there surprise,
//! and are kept with a warning: a known key in the wrong place says nothing, a unit that nobody
//! knows says nothing beside `unlimited`, and a limit without `requests_per_unit` denies
//! everything.

use std::{collections::HashMap, fmt::Display};

use serde_json::{Map, Value};

use super::{
    metadata,
    scalar::Scalar,
    yaml::{self, Entry, Findings, Node, What},
};
use crate::{
    path::Path,
    settings::rls::{Allowance, Descriptor, Domain, Limit, Unit},
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

/// Where the descriptors of a domain stand, by their keys and values as one text: what must be
/// unique in a list of descriptors.
pub(super) type Taken = HashMap<String, Path>;

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    /// What it says; without what could not be read.
    pub(super) domain: Domain,
    /// Where the descriptors at its top stand.
    pub(super) taken: Taken,
    pub(super) findings: Findings,
}

/// Reads `text`.
pub(super) fn read(text: &str) -> File {
    let (root, findings) = yaml::parse(text);
    let mut reader = Reader { findings };
    let (mut domain, mut taken) =
        (Domain { name: String::new(), descriptors: Vec::new() }, Taken::new());
    if reader.findings.mistakes.is_empty() {
        (domain, taken) = reader.root(root.as_deref());
    }
    File { domain, taken, findings: reader.findings }
}

/// `descriptor` as the text by which it is unique among its neighbours. Key and value are joined by
/// what may stand in both, so that some which differ are taken for the same; those cannot stand
/// side by side.
fn composite(key: &str, value: Option<&str>) -> String {
    value.map_or_else(|| key.to_owned(), |value| format!("{key}_{value}"))
}

struct Reader {
    findings: Findings,
}

/// A value, and where it stands.
#[derive(Clone)]
struct At<'a> {
    node: &'a Node,
    path: Path,
}

/// A table, and where it stands: the values of its own keys.
struct Fields<'a> {
    entries: &'a [Entry],
    path: Path,
}

impl<'a> Fields<'a> {
    /// What was said for `key`; nothing at all is the same as not to say it.
    fn get(&self, key: &str) -> Option<At<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let is_nothing = matches!(entry.value.what, What::Scalar(_, Scalar::Null));
        (!is_nothing).then(|| At { node: &entry.value, path: self.path.key(key) })
    }
}

impl Reader {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        self.findings.mistakes.push((path.clone(), message.into()));
    }

    fn warn(&mut self, path: &Path, message: impl Into<String>) {
        self.findings.warnings.push((path.clone(), message.into()));
    }

    fn root(&mut self, root: Option<&Node>) -> (Domain, Taken) {
        let path = Path::root();
        let nothing: &[Entry] = &[];
        let entries = match root.map(|root| &root.what) {
            Some(What::Table(entries)) => entries,
            None | Some(What::Scalar(_, Scalar::Null)) => nothing,
            Some(_) => {
                self.refuse(
                    &path,
                    "a file holds one domain: write `domain: edge`, and `descriptors:` with a list",
                );
                return (Domain { name: String::new(), descriptors: Vec::new() }, Taken::new());
            }
        };
        let fields = self.fields(entries, path, &["domain", "descriptors"]);
        let name = fields.get("domain").and_then(|domain| self.text(&domain)).unwrap_or_default();
        if name.is_empty() {
            self.refuse(
                &fields.path.key("domain"),
                "is missing: name the domain as Envoy's filter does, as in `domain: edge`",
            );
        }
        let (descriptors, taken) = self.descriptors(&fields);
        (Domain { name, descriptors }, taken)
    }

    /// Looks at every key of a table whose own keys are `known`.
    fn fields<'a>(&mut self, entries: &'a [Entry], path: Path, known: &[&str]) -> Fields<'a> {
        for Entry { key, is_text, value } in entries {
            let at = path.key(key);
            if !is_text {
                self.refuse(&at, "a key is text: put it in quotes");
            } else if !KEYS.contains(&key.as_str()) {
                let hint = match most_like(key, KEYS) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("known here are {}", joined(known, "and")),
                };
                self.refuse(&at, format!("unknown key: {hint}"));
            } else if !known.contains(&key.as_str()) {
                self.warn(
                    &at,
                    format!(
                        "says nothing here, where {} are known: move or remove it",
                        joined(known, "and")
                    ),
                );
                self.only_well_formed(value, &at, key);
            }
        }
        Fields { entries, path }
    }

    /// Looks at what says nothing where it stands: it must be good all the same.
    fn only_well_formed(&mut self, node: &Node, path: &Path, key: &str) {
        match &node.what {
            _ if key == METADATA => {}
            What::Scalar(text, scalar) => self.leaf(text, *scalar, path),
            What::Table(entries) => {
                self.fields(entries, path.clone(), &KEYS);
                for Entry { key, value, .. } in entries {
                    self.only_well_formed(value, &path.key(key), key);
                }
            }
            What::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    match &item.what {
                        What::Table(_) => self.only_well_formed(item, &path, ""),
                        What::Scalar(..) | What::List(_) => self.refuse(
                            &path,
                            "must be a table: lists hold nothing else in these files",
                        ),
                    }
                }
            }
        }
    }

    /// Numbers that are not whole have no place in these files, not even as text.
    fn leaf(&mut self, text: &str, scalar: Scalar, path: &Path) {
        match scalar {
            Scalar::Fraction(_) => self.refuse(
                path,
                format!("`{text}` is read as a fraction: put it in quotes if it is text"),
            ),
            Scalar::Integer(number) if i64::try_from(number).is_err() => {
                self.refuse(
                    path,
                    format!("`{text}` is too large a number: put it in quotes if it is text"),
                );
            }
            Scalar::Integer(_) | Scalar::Truth(_) | Scalar::Null | Scalar::Text => {}
        }
    }

    /// The table at `at`, whose own keys are `known`.
    fn table<'a>(&mut self, at: &At<'a>, known: &[&str]) -> Option<Fields<'a>> {
        match &at.node.what {
            What::Table(entries) => Some(self.fields(entries, at.path.clone(), known)),
            what => {
                self.refuse(
                    &at.path,
                    format!("must be a table of {}, not {}", joined(known, "and"), kind(what)),
                );
                None
            }
        }
    }

    /// The items of the list at `at`.
    fn list<'a>(&mut self, at: &At<'a>, item: &str) -> Vec<At<'a>> {
        match &at.node.what {
            What::List(nodes) => nodes
                .iter()
                .enumerate()
                .map(|(index, node)| At { node, path: at.path.index(index) })
                .collect(),
            what => {
                self.refuse(
                    &at.path,
                    format!(
                        "must be a list, not {}: begin each item with a dash, as in `- {item}`",
                        kind(what)
                    ),
                );
                Vec::new()
            }
        }
    }

    /// Any scalar, as it is written.
    fn text(&mut self, at: &At<'_>) -> Option<String> {
        match &at.node.what {
            What::Scalar(text, scalar) => {
                self.leaf(text, *scalar, &at.path);
                Some(text.clone())
            }
            what => {
                self.refuse(&at.path, format!("must be text, not {}", kind(what)));
                None
            }
        }
    }

    fn truth(&mut self, at: Option<&At<'_>>) -> bool {
        let Some(at) = at else { return false };
        match &at.node.what {
            What::Scalar(_, Scalar::Truth(truth)) => return *truth,
            What::Scalar(text, Scalar::Text)
                if matches!(Scalar::of(text, true, None), Scalar::Truth(_)) =>
            {
                self.refuse(&at.path, format!("`{text}` is text: remove the quotes"));
            }
            What::Scalar(text, _) => {
                self.refuse(&at.path, format!("`{text}` is neither `true` nor `false`"));
            }
            what => self.refuse(&at.path, format!("must be `true` or `false`, not {}", kind(what))),
        }
        false
    }

    /// The list of descriptors in `fields`, and where each stands.
    fn descriptors(&mut self, fields: &Fields<'_>) -> (Vec<Descriptor>, Taken) {
        let (mut descriptors, mut taken) = (Vec::new(), Taken::new());
        let Some(list) = fields.get("descriptors") else { return (descriptors, taken) };
        for item in self.list(&list, "key: remote_address") {
            let Some(descriptor) =
                self.descriptor(&item).filter(|descriptor| !descriptor.key.is_empty())
            else {
                continue;
            };
            if let Some(first) = taken.get(&composite(&descriptor.key, descriptor.value.as_deref()))
            {
                self.refuse(&item.path, already_taken(&descriptor, first));
            } else {
                taken.insert(composite(&descriptor.key, descriptor.value.as_deref()), item.path);
                descriptors.push(descriptor);
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
            self.refuse(
                &fields.path.key("key"),
                "is missing: a descriptor has a key, as in `key: remote_address`",
            );
        }
        let value = fields
            .get("value")
            .and_then(|value| self.text(&value))
            .filter(|value| !value.is_empty());
        let limit = fields.get("rate_limit").and_then(|limit| self.limit(&limit));
        let mut switch = |name| self.truth(fields.get(name).as_ref());
        let [shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold] =
            ["shadow_mode", "quota_mode", "detailed_metric", "value_to_metric", "share_threshold"]
                .map(&mut switch);
        if share_threshold && !composite(&key, value.as_deref()).contains('*') {
            let message = "only what a `*` stands for can share one bucket: write a value such as `value: files/*`, or remove the key";
            self.refuse(&fields.path.key("share_threshold"), message);
        }
        let metadata =
            fields.get(METADATA).map_or_else(Map::new, |metadata| self.metadata(&metadata));
        let (descriptors, _) = self.descriptors(&fields);
        Some(Descriptor {
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
        })
    }

    fn limit(&mut self, at: &At<'_>) -> Option<Limit> {
        let fields =
            self.table(at, &["requests_per_unit", "unit", "unlimited", "name", "replaces"])?;
        let requests = self.requests(fields.get("requests_per_unit").as_ref());
        let unit_at = fields.get("unit");
        let unit_text = unit_at.as_ref().and_then(|unit| self.text(unit)).unwrap_or_default();
        let unit =
            Unit::ALL.into_iter().find(|unit| unit.as_str().eq_ignore_ascii_case(&unit_text));
        let is_unlimited = self.truth(fields.get("unlimited").as_ref());
        let unit_path = fields.path.key("unit");
        let allowance = match (is_unlimited, unit) {
            (true, None) => {
                if !unit_text.is_empty() {
                    self.warn(&unit_path, "says nothing, since the rate is unlimited: remove it");
                }
                Some(Allowance::Unlimited)
            }
            (true, Some(_)) => {
                self.refuse(
                    &unit_path,
                    "an unlimited rate has no unit: remove `unit`, or `unlimited`",
                );
                None
            }
            (false, Some(unit)) => {
                if fields.get("requests_per_unit").is_none() {
                    let message = "is missing, so every request is denied: write how many may pass, or 0 if none may";
                    self.warn(&fields.path.key("requests_per_unit"), message);
                }
                requests.map(|requests| Allowance::PerUnit { requests, unit })
            }
            (false, None) => {
                let words = joined(&Unit::ALL.map(Unit::as_str), "or");
                let fault = if unit_text.is_empty() {
                    "is missing".to_owned()
                } else {
                    format!("`{unit_text}` is not a unit of time")
                };
                let hint =
                    if unit_text.is_empty() { ", or `unlimited: true` in its place" } else { "" };
                self.refuse(&unit_path, format!("{fault}: write {words}{hint}"));
                None
            }
        };
        let name = fields.get("name").and_then(|name| self.text(&name)).unwrap_or_default();
        let replaces = fields
            .get("replaces")
            .map_or_else(Vec::new, |replaces| self.replaces(&replaces, &name));
        Some(Limit { name, replaces, allowance: allowance? })
    }

    fn requests(&mut self, at: Option<&At<'_>>) -> Option<u32> {
        let Some(at) = at else { return Some(0) };
        match &at.node.what {
            What::Scalar(text, Scalar::Integer(number)) => {
                let requests = u32::try_from(*number).ok();
                if requests.is_none() {
                    self.refuse(
                        &at.path,
                        format!("{text} is out of range: from 0 to {}", u32::MAX),
                    );
                }
                requests
            }
            What::Scalar(text, Scalar::Text)
                if matches!(Scalar::of(text, true, None), Scalar::Integer(_)) =>
            {
                self.refuse(&at.path, format!("`{text}` is text: remove the quotes"));
                None
            }
            What::Scalar(text, _) => {
                self.refuse(
                    &at.path,
                    format!("`{text}` is not a whole number: write digits, as in `60`"),
                );
                None
            }
            what => {
                self.refuse(&at.path, format!("must be a whole number, not {}", kind(what)));
                None
            }
        }
    }

    fn replaces(&mut self, at: &At<'_>, own: &str) -> Vec<String> {
        let mut names = Vec::new();
        for item in self.list(at, "name: other_limit") {
            let Some(fields) = self.table(&item, &["name"]) else { continue };
            let name = fields.get("name").and_then(|name| self.text(&name)).unwrap_or_default();
            let path = fields.path.key("name");
            if name.is_empty() {
                self.refuse(
                    &path,
                    "is missing: name the limit that is replaced, as in `- name: other_limit`",
                );
            } else if name == own {
                self.refuse(
                    &path,
                    format!("`{name}` is the limit's own name: a limit cannot replace itself"),
                );
            }
            names.push(name);
        }
        names
    }

    fn metadata(&mut self, at: &At<'_>) -> Map<String, Value> {
        match &at.node.what {
            What::Table(entries) => metadata::table(entries),
            what => {
                self.refuse(
                    &at.path,
                    format!(
                        "must be a table, not {}: write `{METADATA}: {{ key: value }}`",
                        kind(what)
                    ),
                );
                Map::new()
            }
        }
    }
}

/// Why `descriptor` cannot stand beside the one at `first`.
pub(super) fn already_taken(descriptor: &Descriptor, first: &impl Display) -> String {
    let Descriptor { key, value, .. } = descriptor;
    let told = value
        .as_ref()
        .map_or_else(|| format!("`{key}`"), |value| format!("`{key}` with value `{value}`"));
    format!(
        "{told} is already taken by {first}, as key and value joined by `_` are the same text: keep one"
    )
}

/// The text by which `descriptor` is unique among its neighbours.
pub(super) fn unique_text(descriptor: &Descriptor) -> String {
    composite(&descriptor.key, descriptor.value.as_deref())
}

const fn kind(what: &What) -> &'static str {
    match what {
        What::Scalar(_, Scalar::Null) => "nothing",
        What::Scalar(_, Scalar::Truth(_)) => "a truth value",
        What::Scalar(_, Scalar::Integer(_) | Scalar::Fraction(_)) => "a number",
        What::Scalar(_, Scalar::Text) => "text",
        What::List(_) => "a list",
        What::Table(_) => "a table",
    }
}
