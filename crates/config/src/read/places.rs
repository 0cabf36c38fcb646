//! Where in the configuration the parts of a policy are, for the errors of its compiler.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use sluice_core::{Location, PolicyError, PolicyErrorKind, PolicyWarning};

use crate::{
    error::Refused,
    origin::Origin,
    path::Path,
    reader::{Field, Place},
};

/// Where in the configuration the parts of a policy are.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: HashMap<Location, Place>,
    /// What was warned of: two limits of the policy may be one entry of the configuration.
    warned: RefCell<HashSet<(Path, String)>>,
    refused: RefCell<HashMap<(Path, String), Refused>>,
}

impl Places {
    /// Records that `location` was read from `field`.
    pub(super) fn note(&mut self, location: Location, field: &Field<'_>) {
        self.places.insert(location, field.place());
    }

    /// Records a warning about a part of a policy, unless nobody wrote that part.
    pub(super) fn warn(&self, root: &Field<'_>, PolicyWarning { at, kind, .. }: &PolicyWarning) {
        match self.places.get(at) {
            Some(place) if place.origin == Origin::BuiltIn => {}
            Some(place) => {
                let message = kind.to_string();
                if self.warned.borrow_mut().insert((place.path.clone(), message.clone())) {
                    root.warn_at(place, message);
                }
            }
            None => root.warn(format_args!("{at}: {kind}")),
        }
    }

    fn path(&self, location: &Location) -> String {
        self.places
            .get(location)
            .map_or_else(|| location.to_string(), |place| place.path.to_string())
    }

    /// Records an error of the compiler at the place that it is about.
    pub(super) fn refuse(
        &self,
        root: &Field<'_>,
        PolicyError { at, kind, .. }: &PolicyError,
    ) -> Refused {
        let message = match kind {
            // A limit without a name of its own is known by its index alone.
            PolicyErrorKind::DuplicateName { name, first } => format!(
                "`{name}` is already taken by {}: choose another name",
                self.path(first).trim_end_matches(".name")
            ),
            kind => kind.to_string(),
        };
        match self.places.get(at) {
            Some(place) => *self
                .refused
                .borrow_mut()
                .entry((place.path.clone(), message.clone()))
                .or_insert_with(|| root.refuse_at(place, message)),
            None => root.refuse(format_args!("{at}: {message}")),
        }
    }
}
