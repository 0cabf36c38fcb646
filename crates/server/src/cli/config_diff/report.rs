//! Everything in which two configurations differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sluice_config::ChangedSetting;
use sluice_core::{Policy, Subject, TierLimits};

use super::limits::{self, Change, LimitChange, Parts};

/// The sections whose meaning is compared, and not their text.
const COMPARED_BY_MEANING: [&str; 5] = ["defaults", "endpoints", "exempt", "limits", "tiers"];

/// Everything in which two configurations differ.
pub(super) struct Report {
    pub(super) limits: Vec<LimitChange>,
    pub(super) tiers: Vec<TierChange>,
    pub(super) newly_exempt: Vec<String>,
    pub(super) no_longer_exempt: Vec<String>,
    pub(super) settings: Vec<ChangedSetting>,
}

/// What changes about a tier, beside its limits.
pub(super) enum TierChange {
    /// The tier is new. Its limits differ so from those of clients without a tier.
    Added { name: String, clients: usize, limits: Vec<(String, Change)> },
    /// The tier is gone, and its clients have none.
    Removed { name: String, clients: usize },
    /// The tier lists other clients.
    Clients { name: String, added: usize, removed: usize },
}

impl Report {
    /// Compares two policies, and adds the settings that differ.
    pub(super) fn of(old: &Policy, new: &Policy, settings: Vec<ChangedSetting>) -> Self {
        let exempt = |policy: &Policy| -> BTreeSet<String> {
            policy.exempt_endpoints().map(str::to_owned).collect()
        };
        let (old_exempt, new_exempt) = (exempt(old), exempt(new));
        let is_other = |setting: &ChangedSetting| {
            let section = setting.path.split(['.', '[']).next().unwrap_or_default();
            !COMPARED_BY_MEANING.contains(&section)
        };
        Self {
            limits: limits::compare(old, new),
            tiers: tiers(old, new),
            newly_exempt: new_exempt.difference(&old_exempt).cloned().collect(),
            no_longer_exempt: old_exempt.difference(&new_exempt).cloned().collect(),
            settings: settings.into_iter().filter(is_other).collect(),
        }
    }

    /// Returns whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        let Self { limits, tiers, newly_exempt, no_longer_exempt, settings } = self;
        limits.is_empty()
            && tiers.is_empty()
            && newly_exempt.is_empty()
            && no_longer_exempt.is_empty()
            && settings.is_empty()
    }

    /// Returns the report as JSON. Clients without a tier are the tier `null`.
    pub(super) fn to_json(&self) -> Value {
        let limits = self.limits.iter().map(|change| {
            let mut value = change_json(&change.name, &change.change);
            value.insert("tiers".to_owned(), json!(change.tiers));
            value.insert("for_all".to_owned(), json!(change.is_for_all));
            Value::Object(value)
        });
        let tiers = self.tiers.iter().map(|tier| match tier {
            TierChange::Added { name, clients, limits } => {
                let limits = limits.iter().map(|(name, change)| change_json(name, change));
                let limits: Vec<_> = limits.collect();
                json!({ "name": name, "change": "added", "clients": clients, "limits": limits })
            }
            TierChange::Removed { name, clients } => {
                json!({ "name": name, "change": "removed", "clients": clients })
            }
            TierChange::Clients { name, added, removed } => json!({
                "name": name, "change": "clients",
                "clients_added": added, "clients_removed": removed,
            }),
        });
        let settings = self.settings.iter().map(|setting| {
            json!({
                "path": setting.path, "old": setting.old, "new": setting.new,
                "needs_restart": setting.needs_restart, "is_reordered": setting.is_reordered,
                "remark": remark(&setting.path),
            })
        });
        json!({
            "limits": limits.collect::<Vec<_>>(),
            "tiers": tiers.collect::<Vec<_>>(),
            "exempt": { "added": self.newly_exempt, "removed": self.no_longer_exempt },
            "settings": settings.collect::<Vec<_>>(),
        })
    }
}

/// Returns what follows from the change of a setting, where its name does not say it.
pub(super) fn remark(path: &str) -> Option<&'static str> {
    match path {
        "clients.secret" | "clients.secret_file" | "store.prefix" => {
            Some("every client starts with full buckets")
        }
        "store.url" => Some("the buckets of the old store are left behind"),
        _ => None,
    }
}

fn tiers(old: &Policy, new: &Policy) -> Vec<TierChange> {
    let named = |policy: &Policy| -> Vec<(String, TierLimits)> {
        let limits = policy.tier_limits().into_iter();
        limits.filter_map(|limits| Some((limits.tier.clone()?, limits))).collect()
    };
    let probe = |policy: &Policy| policy.tagger().tag(Subject::Client(b"probe"));
    // With another secret, every client has another hash.
    let can_compare = probe(old) == probe(new);
    let (old_tiers, new_tiers) = (named(old), named(new));
    let mut changes = Vec::new();
    for (name, old) in &old_tiers {
        let name = name.clone();
        match new_tiers.iter().find(|(known, _)| *known == name) {
            None => changes.push(TierChange::Removed { name, clients: old.clients.len() }),
            Some((_, new)) => {
                let more = |a: &TierLimits, b: &TierLimits| {
                    if can_compare {
                        a.clients.difference(&b.clients).count()
                    } else {
                        a.clients.len().saturating_sub(b.clients.len())
                    }
                };
                let (added, removed) = (more(new, old), more(old, new));
                if added + removed > 0 {
                    changes.push(TierChange::Clients { name, added, removed });
                }
            }
        }
    }
    for (name, limits) in new_tiers {
        if !old_tiers.iter().any(|(known, _)| *known == name) {
            let own = limits::own_limits(new, &name);
            changes.push(TierChange::Added { name, clients: limits.clients.len(), limits: own });
        }
    }
    changes
}

fn change_json(name: &str, change: &Change) -> Map<String, Value> {
    let object = |parts: &Parts| -> Value {
        let parts = parts.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        Value::Object(parts.collect())
    };
    let (word, old, new) = match change {
        Change::Added(parts) => ("added", Value::Null, object(parts)),
        Change::Removed(parts) => ("removed", object(parts), Value::Null),
        Change::Changed(parts) => {
            let old = parts.iter().map(|(name, old, _)| (*name, old.clone())).collect();
            let new = parts.iter().map(|(name, _, new)| (*name, new.clone())).collect();
            ("changed", object(&old), object(&new))
        }
    };
    let members = [("name", json!(name)), ("change", json!(word)), ("old", old), ("new", new)];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
