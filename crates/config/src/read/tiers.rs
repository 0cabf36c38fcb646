//! `tiers: { pro: { multiply: 5 }, enterprise: { unlimited: true } }`.

use sluice_core::{LimitSpec, Location, OnStoreFailure, Terms, Tier, TierField};

use super::{numbers, policy, policy::Places};
use crate::{
    files::Files,
    reader::{Field, Table},
};

/// Tiers by their names.
pub(super) fn read(
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    files: &Files,
    places: &mut Places,
) -> Vec<Tier> {
    let tiers = field.entries().unwrap_or_default();
    tiers.iter().map(|(name, field)| tier(name, field, on_store_failure, files, places)).collect()
}

/// The tier, or one that changes nothing in place of one that could not be read, so that limits can
/// name it.
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
        let factor = numbers::optional(&multiply, Some(1), |field| field.integer(0..=u64::MAX));
        let is_unlimited = numbers::optional(&unlimited, Some(false), Field::truth);
        let defaults = defaults(tier, on_store_failure);
        let note = |path, field: &Field<'_>| places.note(at(TierField::Endpoint(path)), field);
        let endpoints = if endpoints.is_said() {
            policy::endpoints(&endpoints, on_store_failure, note)
        } else {
            Vec::new()
        };
        let clients =
            clients(tier, files, |index, field| places.note(at(TierField::Client(index)), field));
        let mut tier = Tier::new(name);
        tier.multiply = factor?;
        tier.unlimited = is_unlimited?;
        tier.defaults = defaults?;
        tier.endpoints = endpoints;
        tier.clients = clients?;
        Some(tier)
    });
    tier.unwrap_or_else(|| Tier::new(name))
}

/// The tier's numbers in place of everyone's default, if it has some.
fn defaults(tier: &Table<'_>, on_store_failure: OnStoreFailure) -> Option<Option<LimitSpec>> {
    let has_some = ["requests_per_minute", "burst_size", "rate", "burst"]
        .map(|name| tier.field(name).is_said())
        .contains(&true);
    if !has_some {
        return Some(None);
    }
    let algorithm = sluice_core::Algorithm::TokenBucket(numbers::numbers(tier)?);
    Some(Some(LimitSpec::Limit(Terms::new(algorithm).on_store_failure(on_store_failure))))
}

/// The keys of the clients listed in the configuration, and after them those in a file, one a line.
fn clients(
    tier: &Table<'_>,
    files: &Files,
    mut note: impl FnMut(usize, &Field<'_>),
) -> Option<Vec<Vec<u8>>> {
    let (listed, file) = (tier.field("clients"), tier.field("clients_file"));
    let mut index = 0;
    let mut clients = numbers::optional(&listed, Some(Vec::new()), |listed| {
        listed.items(|item| {
            note(index, item);
            index += 1;
            item.text().map(|key| key.as_bytes().to_vec())
        })
    });
    if file.is_said() {
        let (_, content) = file.file(|path| files.read_text(path))?;
        let lines = content
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (i, line) in lines.enumerate() {
            note(index + i, &file);
            if let Some(clients) = &mut clients {
                clients.push(line.as_bytes().to_vec());
            }
        }
    }
    clients
}
