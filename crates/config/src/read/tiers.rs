//! `tiers: { pro: { multiply: 5 }, enterprise: { unlimited: true } }`.

use std::net::IpAddr;

use sluice_core::{
    Algorithm, LimitSpec, Location, MAX_TOKENS, OnStoreFailure, Terms, Tier, TierField,
};

use super::{
    clients::Clients,
    numbers::{self, BURST, Scope},
    places::Places,
};
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Hidden, Place, Table},
};

/// How clients come to have a tier.
#[derive(Default)]
pub(super) struct Members {
    /// Whether a header or a token identifies clients.
    has_keys: bool,
    /// Where the header is named from which a trusted proxy's tiers are read.
    pub(super) tier_header: Option<Place>,
}

impl Members {
    /// Returns how `clients` are identified.
    pub(super) fn by(clients: &Clients) -> Self {
        Self { has_keys: clients.has_keys, tier_header: clients.tier_header.clone() }
    }

    /// Warns of a tier that no client can have.
    fn warn(&self, tier: &Field<'_>, listed: &Field<'_>, keys: &[Vec<u8>]) {
        if keys.is_empty() && self.tier_header.is_none() {
            tier.warn(
                "no client has this tier, unless a caller of /v1/check names it: list its \
                 `clients`, or name a `clients.tier_header` that your proxy sets",
            );
        }
        let is_address =
            |key: &Vec<u8>| std::str::from_utf8(key).is_ok_and(|key| key.parse::<IpAddr>().is_ok());
        if !self.has_keys && !keys.iter().all(is_address) {
            listed.warn(
                "clients are identified by their address, so only a caller of /v1/check names \
                 these keys: write `clients.identify: [header:x-api-key, bearer, ip]` if something \
                 in front of Sluice verifies them",
            );
        }
    }
}

/// Reads the tiers, by their names.
pub(super) fn read(
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    files: &Files,
    members: &Members,
    places: &mut Places,
) -> Vec<Tier> {
    let tiers = field.entries().unwrap_or_default();
    let mut read = |(name, field): &(&str, Field<'_>)| {
        tier(name, field, on_store_failure, files, members, places)
    };
    tiers.iter().map(&mut read).collect()
}

/// Reads a tier. In place of one that was refused stands one that changes nothing, so that limits
/// can name it.
fn tier(
    name: &str,
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    files: &Files,
    members: &Members,
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
        places.note(at(TierField::Burst), &burst_field(tier));
        let factor = multiply.or(1, |field| field.integer_or_zero(1..=MAX_TOKENS));
        let is_unlimited = unlimited.or(false, Field::bool);
        let own = own_numbers(name, tier, on_store_failure);
        let burst = own.as_ref().map_or(BURST, |own| own.of_endpoints);
        let note = |path, field: &Field<'_>| places.note(at(TierField::Endpoint(path)), field);
        let endpoints = if endpoints.is_present() {
            numbers::endpoints(&endpoints, Some(name), burst, on_store_failure, note)
        } else {
            Vec::new()
        };
        let note = |index, field: &Field<'_>| places.note(at(TierField::Client(index)), field);
        let clients = clients(tier, files, note);
        let listed_field = clients_field(tier);
        let mut tier = Tier::new(name);
        let Numbers { defaults, burst, .. } = own?;
        tier.multiply = factor?;
        tier.burst = burst;
        tier.unlimited = is_unlimited?;
        tier.defaults = defaults;
        tier.endpoints = endpoints;
        tier.clients = clients?;
        members.warn(field, &listed_field, &tier.clients);
        Ok(tier)
    });
    tier.unwrap_or_else(|_| Tier::new(name))
}

/// The rate and burst that a tier names itself.
struct Numbers {
    /// The limit in place of the default, if the tier has a rate.
    defaults: Option<LimitSpec>,
    /// The burst of the limits that the tier inherits, if it has a burst and no rate.
    burst: Option<u64>,
    /// The burst of those of the tier's own endpoints that name none.
    of_endpoints: u64,
}

/// Reads the rate and burst of a tier.
fn own_numbers(
    name: &str,
    tier: &Table<'_>,
    on_store_failure: OnStoreFailure,
) -> Result<Numbers, Refused> {
    let scope = Scope { tier: Some(name), ..Scope::default() };
    let only_rate = scope.refuse_other_algorithms(tier);
    let has_rate =
        ["requests_per_minute", "rate"].map(|name| tier.field(name).is_present()).contains(&true);
    if !has_rate {
        let burst = numbers::burst(tier).map(|found| found.map(|(_, burst)| burst));
        only_rate?;
        let burst = burst?;
        return Ok(Numbers { defaults: None, burst, of_endpoints: burst.unwrap_or(BURST) });
    }
    let rate = numbers::rate(tier, only_rate, BURST)?;
    let terms = Terms::new(Algorithm::TokenBucket(rate)).on_store_failure(on_store_failure);
    Ok(Numbers { defaults: Some(terms.into()), burst: None, of_endpoints: rate.burst() })
}

/// Returns the field of the tier's burst, in the spelling that is present.
fn burst_field<'a>(tier: &Table<'a>) -> Field<'a> {
    let long = tier.field("burst");
    if long.is_present() { long } else { tier.field("burst_size") }
}

/// Returns the field that lists the clients, in the configuration or in a file.
fn clients_field<'a>(tier: &Table<'a>) -> Field<'a> {
    let listed = tier.field("clients");
    if listed.is_present() { listed } else { tier.field("clients_file") }
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
