//! The names that are used, and the policy's lists of limits and labels.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{
    bucket_id::LimitKey,
    limit::Limit,
    policy::error::{Location, PolicyErrorKind, TierField},
};

/// The label of paths that no endpoint covers.
const OTHER: &str = "other";

#[derive(Default)]
pub(super) struct Names {
    reserved: HashMap<LimitKey, Reserved>,
    pub(super) limits: Vec<Arc<Limit>>,
    pub(super) labels: Vec<Arc<str>>,
    label_indexes: HashMap<Arc<str>, usize>,
}

struct Reserved {
    name: String,
    at: Location,
    /// The limit's index in the list, once it is there.
    index: Option<u32>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut names = Self::default();
        names.label(OTHER);
        names
    }

    /// Reserves a limit's name. A tier's limit may have the name of the limit that it replaces.
    pub(super) fn reserve(&mut self, name: &str, at: &Location) -> Result<(), PolicyErrorKind> {
        let reserved = match self.reserved.entry(LimitKey::of(name)) {
            Entry::Vacant(free) => {
                free.insert(Reserved { name: name.to_owned(), at: at.clone(), index: None });
                return Ok(());
            }
            Entry::Occupied(reserved) => reserved.into_mut(),
        };
        let first = reserved.at.clone().whole();
        if reserved.name != name {
            return Err(PolicyErrorKind::CollidingKeys {
                name: name.to_owned(),
                other: reserved.name.clone(),
                first,
            });
        }
        if is_same_limit(&reserved.at, at) {
            Ok(())
        } else {
            Err(PolicyErrorKind::DuplicateName { name: name.to_owned(), first })
        }
    }

    /// Returns the index of a limit, whose name is reserved, in the list of limits. Adds the limit
    /// when the list does not have it yet.
    pub(super) fn limit_index(&mut self, limit: &Arc<Limit>) -> u32 {
        let reserved = self
            .reserved
            .get_mut(&LimitKey::of(limit.name()))
            .expect("a limit's name is reserved before the limit is made");
        *reserved.index.get_or_insert_with(|| {
            let index = u32::try_from(self.limits.len()).expect("memory holds fewer limits");
            self.limits.push(Arc::clone(limit));
            index
        })
    }

    /// Returns the index of a label in the list of labels. Adds the label when the list does not
    /// have it yet.
    pub(super) fn label(&mut self, label: &str) -> usize {
        if let Some(&known) = self.label_indexes.get(label) {
            return known;
        }
        let label: Arc<str> = label.into();
        self.labels.push(Arc::clone(&label));
        self.label_indexes.insert(label, self.labels.len() - 1);
        self.labels.len() - 1
    }
}

/// Returns whether both places describe one limit: that of all clients and a tier's in its place,
/// or those of two tiers.
fn is_same_limit(first: &Location, second: &Location) -> bool {
    let default = |at: &Location| {
        matches!(at, Location::Defaults | Location::Tier { field: TierField::Defaults, .. })
    };
    let endpoint = |at: &Location| {
        matches!(
            at,
            Location::Endpoint { .. } | Location::Tier { field: TierField::Endpoint(_), .. }
        )
    };
    (default(first) && default(second)) || (endpoint(first) && endpoint(second))
}
