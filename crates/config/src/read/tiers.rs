//! `tiers: { pro: { multiply: 5 }, enterprise: { unlimited: true } }`.

use sluice_core::{Algorithm, LimitSpec, Location, OnStoreFailure, Terms, Tier, TierField};

use super::{numbers, places::Places};
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Hidden, Table},
};

/// Reads the tiers, by their names.
pub(super) fn read(
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    files: &Files,
    places: &mut Places,
) -> Vec<Tier> {
    let tiers = field.entries().unwrap_or_default();
    tiers.iter().map(|(name, field)| tier(name, field, on_store_failure, files, places)).collect()
}

/// Reads a tier. In place of one that was refused stands one that changes nothing, so that limits
/// can name it.
fn tier(
    name: &str,
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    files: &Files,
    places: &mut Places,
) -> Tier {
    let at = |field| Location::Tier { name: name.to_owned(), field };
    places.note(at(TierField::Name), field);
    let tier = field.table(|tier| {
        let multiply = tier.field("multiply");
        let unlimited = tier.field("unlimited");
        let endpoints = tier.field("endpoints");
        places.note(at(TierField::Multiply), &multiply);
        places.note(at(TierField::Unlimited), &unlimited);
        places.note(at(TierField::Defaults), field);
        let factor = multiply.or(1, |field| field.integer(0..=u64::MAX));
        let is_unlimited = unlimited.or(false, Field::bool);
        let defaults = defaults(tier, on_store_failure);
        let note = |path, field: &Field<'_>| places.note(at(TierField::Endpoint(path)), field);
        let endpoints = if endpoints.is_present() {
            numbers::endpoints(&endpoints, on_store_failure, note)
        } else {
            Vec::new()
        };
        let note = |index, field: &Field<'_>| places.note(at(TierField::Client(index)), field);
        let clients = clients(tier, files, note);
        let mut tier = Tier::new(name);
        tier.multiply = factor?;
        tier.unlimited = is_unlimited?;
        tier.defaults = defaults?;
        tier.endpoints = endpoints;
        tier.clients = clients?;
        Ok(tier)
    });
    tier.unwrap_or_else(|_| Tier::new(name))
}

/// Reads the tier's own limit in place of the default, if it has one.
fn defaults(
    tier: &Table<'_>,
    on_store_failure: OnStoreFailure,
) -> Result<Option<LimitSpec>, Refused> {
    let has_some = ["requests_per_minute", "burst_size", "rate", "burst"]
        .map(|name| tier.field(name).is_present())
        .contains(&true);
    if !has_some {
        return Ok(None);
    }
    let algorithm = Algorithm::TokenBucket(numbers::rate(tier)?);
    Ok(Some(LimitSpec::Limit(Terms::new(algorithm).on_store_failure(on_store_failure))))
}

/// Reads the keys of the clients: those of the list, and after them those of a file, one a line.
fn clients(
    tier: &Table<'_>,
    files: &Files,
    mut note: impl FnMut(usize, &Field<'_>),
) -> Result<Vec<Vec<u8>>, Refused> {
    let listed = tier.field("clients").hide(Hidden::Items);
    let file = tier.field("clients_file");
    let mut index = 0;
    let listed = listed.or(Vec::new(), |listed| {
        listed.items(|item| {
            note(index, item);
            index += 1;
            item.text().map(|key| key.as_bytes().to_vec())
        })
    });
    let content = file.optional(|file| Ok(file.file(|path| files.read_text(path))?.1));
    let (mut clients, content) = (listed?, content?.unwrap_or_default());
    let lines =
        content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        note(clients.len(), &file);
        clients.push(line.as_bytes().to_vec());
    }
    Ok(clients)
}
