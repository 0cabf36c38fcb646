//! The sections that make the policy: `defaults`, `endpoints`, `exempt`, `tiers` and `limits`.
//!
//! The policy's own compiler finds errors between sections, such as a name that is taken twice, or
//! a tier that is not defined. So that it finds them in the same run, a part that was refused has a
//! placeholder in it. Such a policy is never used, since an error is recorded.

use sluice_core::{LimitSpec, Location, OnStoreFailure, Policy, Tagger};

use super::{
    limits,
    numbers::{self, BURST, Scope},
    places::Places,
    tiers::{self, Members},
    uncounted::WrittenLimit,
};
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Table},
};

/// What the policy needs from other sections.
pub(super) struct OtherSections {
    /// What happens when the store fails, unless a limit says it.
    pub(super) on_store_failure: OnStoreFailure,
    /// Hashes clients.
    pub(super) tagger: Tagger,
    /// How many leading bits of an IPv6 address are one client.
    pub(super) ipv6_prefix: u8,
    /// How clients come to have a tier.
    pub(super) members: Members,
}

/// Reads the sections of `table` that make a policy, and compiles it. Returns the general limits
/// too, as they are written.
pub(super) fn read(
    table: &Table<'_>,
    root: &Field<'_>,
    others: OtherSections,
    files: &Files,
) -> Result<(Policy, Vec<WrittenLimit>), Refused> {
    let OtherSections { on_store_failure, tagger, ipv6_prefix, members } = others;
    let mut places = Places::default();
    let defaults = table.field("defaults");
    places.note(Location::Defaults, &defaults);
    let mut builder = Policy::builder().tagger(tagger).ipv6_prefix(ipv6_prefix);
    builder.defaults = numbers::limit_spec(&defaults, Scope::default(), BURST, on_store_failure)
        .unwrap_or(LimitSpec::Off);
    let note = |path, field: &Field<'_>| places.note(Location::Endpoint { path }, field);
    builder.endpoints =
        numbers::endpoints(&table.field("endpoints"), None, BURST, on_store_failure, note);
    builder.exempt = exempt(&table.field("exempt"), &mut places);
    builder.tiers =
        tiers::read(&table.field("tiers"), on_store_failure, files, &members, &mut places);
    let (rules, written) = limits::read(&table.field("limits"), on_store_failure, &mut places);
    builder.limits = rules;
    if let (Some(header), true) = (&members.tier_header, builder.tiers.is_empty()) {
        root.warn_at(header, "has no effect: there are no tiers");
    }
    builder.warnings().iter().for_each(|warning| places.warn(root, warning));
    let policy = builder.build().map_err(|errors| {
        let refused = errors.iter().fold(None, |_, error| Some(places.refuse(root, error)));
        refused.unwrap_or_else(|| root.refuse(errors))
    })?;
    Ok((policy, written))
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
