//! Who has which name, and the lists that are known by their names outside: limits and labels.

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
    taken: HashMap<LimitKey, Taken>,
    pub(super) limits: Vec<Arc<Limit>>,
    pub(super) labels: Vec<Arc<str>>,
    label_places: HashMap<Arc<str>, usize>,
}

struct Taken {
    name: String,
    by: Location,
    /// The limit's place in the list, once it is there.
    place: Option<usize>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut names = Self::default();
        names.label(OTHER);
        names
    }

    /// Takes a name, which a tier may share with everyone for a limit of the same kind.
    pub(super) fn take(&mut self, name: &str, by: &Location) -> Result<(), PolicyErrorKind> {
        let taken = match self.taken.entry(LimitKey::of(name)) {
            Entry::Vacant(free) => {
                free.insert(Taken { name: name.to_owned(), by: by.clone(), place: None });
                return Ok(());
            }
            Entry::Occupied(taken) => taken.into_mut(),
        };
        let first = taken.by.clone().whole();
        if taken.name != name {
            return Err(PolicyErrorKind::CollidingKeys {
                name: name.to_owned(),
                other: taken.name.clone(),
                first,
            });
        }
        if same_limit(&taken.by, by) {
            Ok(())
        } else {
            Err(PolicyErrorKind::DuplicateName { name: name.to_owned(), first })
        }
    }

    /// The place of a limit, whose name is taken, in the list of limits.
    pub(super) fn place(&mut self, limit: &Arc<Limit>) -> usize {
        let taken = self
            .taken
            .get_mut(&limit.key())
            .expect("a limit's name is taken before the limit is made");
        *taken.place.get_or_insert_with(|| {
            self.limits.push(Arc::clone(limit));
            self.limits.len() - 1
        })
    }

    /// The place of a label in the list of labels.
    pub(super) fn label(&mut self, label: &str) -> usize {
        if let Some(&known) = self.label_places.get(label) {
            return known;
        }
        let label: Arc<str> = label.into();
        self.labels.push(Arc::clone(&label));
        self.label_places.insert(label, self.labels.len() - 1);
        self.labels.len() - 1
    }
}

/// Whether both speak of one limit: everyone's, and a tier's numbers for it; or two tiers'.
fn same_limit(first: &Location, second: &Location) -> bool {
    let default = |by: &Location| {
        matches!(by, Location::Defaults | Location::Tier { field: TierField::Defaults, .. })
    };
    let endpoint = |by: &Location| {
        matches!(
            by,
            Location::Endpoint { .. } | Location::Tier { field: TierField::Endpoint(_), .. }
        )
    };
    (default(first) && default(second)) || (endpoint(first) && endpoint(second))
}
