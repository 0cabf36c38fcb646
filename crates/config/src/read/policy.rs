//! Everything that says which limits apply: `defaults`, `endpoints`, `exempt`, `tiers` and
//! `limits`.
//!
//! The policy's own compiler finds what is wrong across sections (a name taken twice, a tier that
//! nobody defined). So that it can do so in the same go, what could not be read has a stand-in
//! there; it never becomes a policy, since its mistake is noted already.

use std::collections::HashMap;

use sluice_core::{
    Endpoint, LimitSpec, Location, OnStoreFailure, Policy, PolicyError, PolicyErrorKind, Tagger,
};

use super::{limits, numbers, tiers};
use crate::{
    files::Files,
    reader::{Field, Place, Table},
};

/// Where in the configuration the parts of a policy stand.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Location, Place>);

impl Places {
    /// Notes that `location` was read from `field`.
    pub(super) fn note(&mut self, location: Location, field: &Field<'_>) {
        self.0.insert(location, field.place());
    }

    fn path(&self, location: &Location) -> String {
        self.0.get(location).map_or_else(|| location.to_string(), |place| place.path.to_string())
    }

    /// Notes the mistake where it was made.
    fn refuse(&self, root: &Field<'_>, PolicyError { at, kind }: &PolicyError) {
        let message = match kind {
            // A limit is known by its place in the list, wherever its name stands.
            PolicyErrorKind::DuplicateName { name, first } => {
                format!(
                    "`{name}` is already taken by {}",
                    self.path(first).trim_end_matches(".name")
                )
            }
            kind => kind.to_string(),
        };
        match self.0.get(at) {
            Some(place) => root.refuse_at(place, message),
            None => root.refuse::<()>(format_args!("{at}: {message}")).unwrap_or_default(),
        }
    }
}

/// What a policy needs to know from other sections.
pub(super) struct Elsewhere {
    /// Who answers while the store cannot, for limits that do not say.
    pub(super) on_store_failure: OnStoreFailure,
    /// Makes clients unreadable.
    pub(super) tagger: Tagger,
    /// How many leading bits of an IPv6 address are one client.
    pub(super) ipv6_prefix: u8,
}

/// Reads the sections of `table` that make a policy, and compiles it.
pub(super) fn read(
    table: &Table<'_>,
    root: &Field<'_>,
    elsewhere: Elsewhere,
    files: &Files,
) -> Option<Policy> {
    let Elsewhere { on_store_failure, tagger, ipv6_prefix } = elsewhere;
    let mut places = Places::default();
    let defaults = table.field("defaults");
    places.note(Location::Defaults, &defaults);
    let mut builder = Policy::builder().tagger(tagger).ipv6_prefix(ipv6_prefix);
    builder.defaults = numbers::limit_spec(&defaults, on_store_failure).unwrap_or(LimitSpec::Off);
    builder.endpoints = endpoints(&table.field("endpoints"), on_store_failure, |path, field| {
        places.note(Location::Endpoint { path }, field);
    });
    builder.exempt = exempt(&table.field("exempt"), &mut places);
    builder.tiers = tiers::read(&table.field("tiers"), on_store_failure, files, &mut places);
    builder.limits = limits::read(&table.field("limits"), on_store_failure, &mut places);
    builder.build().map_or_else(
        |errors| {
            errors.iter().for_each(|error| places.refuse(root, error));
            None
        },
        Some,
    )
}

/// Endpoints by their paths; `note` is told where each stands.
pub(super) fn endpoints(
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    mut note: impl FnMut(String, &Field<'_>),
) -> Vec<Endpoint> {
    let entries = field.entries().unwrap_or_default();
    let endpoint = |(path, field): (&str, Field<'_>)| {
        note(path.to_owned(), &field);
        let limit = numbers::limit_spec(&field, on_store_failure).unwrap_or(LimitSpec::Off);
        Endpoint::new(path, limit)
    };
    entries.into_iter().map(endpoint).collect()
}

fn exempt(field: &Field<'_>, places: &mut Places) -> Vec<String> {
    let mut index = 0;
    let paths = field.items(|item| {
        places.note(Location::Exempt { index }, item);
        index += 1;
        item.text().map(str::to_owned)
    });
    paths.unwrap_or_default()
}
