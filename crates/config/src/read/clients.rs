//! `clients: { identify: [header:x-api-key, ip], unverified: { per_ip: 600/minute },
//! trusted_proxies: [10.0.0.0/8], ipv6_prefix: 64 }`.

use std::{collections::HashMap, net::IpAddr};

use http::{HeaderName, header::AUTHORIZATION};
use ipnet::IpNet;
use sluice::identify::{ClientSource, Identifier, canonical_network};
use sluice_core::{Rate, Tagger};

use super::{numbers, secret};
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Place},
    settings::Secret,
};

/// What a key means that a client sends.
const UNVERIFIED_KEYS: &str = "Sluice does not verify the keys that clients send, and each new key \
    is a new client: something in front has to verify every key. Write `clients.unverified: off` \
    if it does, or what one address may ask under keys that no tier lists (`{ per_ip: 600/minute \
    }`, which also holds now)";

/// How a client avoids `clients.unverified` while no proxy is known.
const AVOIDED_BY_FORWARDING: &str = "whoever sends X-Forwarded-For is not bound by \
    `clients.unverified`, since no proxy is known whose clients could be told apart: name your \
    proxies in `clients.trusted_proxies`";

/// What the section says.
pub(super) struct Clients {
    /// Identifies clients.
    pub(super) identifier: Identifier,
    /// Hashes clients, so that keys in the store do not show them.
    pub(super) tagger: Tagger,
    /// How many leading bits of an IPv6 address are one client.
    pub(super) ipv6_prefix: u8,
    /// Whether the tagger has a secret of its own.
    pub(super) has_secret: bool,
    /// Whether a header or a token identifies clients.
    pub(super) has_keys: bool,
    /// Where a trusted proxy is named that can set tiers.
    pub(super) tier_header: Option<Place>,
}

pub(super) fn read(clients: &Field<'_>, files: &Files) -> Result<Clients, Refused> {
    clients.table(|clients| {
        let identify_field = clients.field("identify");
        let identify = identify(&identify_field);
        let unverified_field = clients.field("unverified");
        let unverified = unverified_field.optional(unverified);
        let trusted_proxies =
            clients.field("trusted_proxies").items(|proxy| proxy.parse_with(network));
        let ipv6_prefix = clients.field("ipv6_prefix").integer(1..=128);
        let secret = secret::read(clients, "secret", "secret_file", files);
        let no_proxy_is_trusted = trusted_proxies.as_ref().is_ok_and(Vec::is_empty);
        let tier_header_field = clients.field("tier_header");
        let tier_header = tier_header_field.optional(|field| {
            let name = field.parse_with(header_name)?;
            if no_proxy_is_trusted {
                return Err(field.refuse(
                    "only a trusted proxy can set tiers: name yours in clients.trusted_proxies",
                ));
            }
            Ok(name)
        });
        let identify = identify?;
        let has_keys = identify.iter().any(|source| *source != ClientSource::Address);
        let mut identifier = Identifier::new(identify).with_trusted_proxies(trusted_proxies?);
        match unverified? {
            Some(per_address) => {
                if per_address.is_some() && !has_keys {
                    unverified_field
                        .warn("has no effect: clients.identify names no key, so no client has one");
                } else if per_address.is_some() && no_proxy_is_trusted {
                    unverified_field.warn(AVOIDED_BY_FORWARDING);
                }
                identifier = identifier.with_unverified(per_address);
            }
            None if has_keys => identify_field.warn(UNVERIFIED_KEYS),
            None => {}
        }
        let tier_header = tier_header?;
        let tier_header_place = tier_header.is_some().then(|| tier_header_field.place());
        if let Some(name) = tier_header {
            identifier = identifier.with_tier_header(name);
        }
        let secret = secret?;
        Ok(Clients {
            identifier,
            tagger: Tagger::new(secret.as_ref().map_or("", Secret::reveal).as_bytes()),
            ipv6_prefix: u8::try_from(ipv6_prefix?).unwrap_or(128),
            has_secret: secret.is_some(),
            has_keys,
            tier_header: tier_header_place,
        })
    })
}

fn identify(field: &Field<'_>) -> Result<Vec<ClientSource>, Refused> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut has_address = false;
    let sources = field.items(|item| {
        let source = item.parse::<ClientSource>()?;
        if source == ClientSource::Header(AUTHORIZATION) {
            return Err(item.refuse(
                "a whole Authorization header identifies no client: write `bearer` or `bearer:sub`",
            ));
        }
        if source == ClientSource::Header(HeaderName::from_static("x-sluice-token")) {
            return Err(item.refuse(
                "this header holds a token of access.tokens, which says nothing about the client: \
                 use another header",
            ));
        }
        if let Some(first) = seen.get(&source.to_string()) {
            return Err(item.refuse(format_args!(
                "`{source}` is already clients.identify[{first}]: keep one"
            )));
        }
        if has_address {
            return Err(item.refuse(
                "every request has an address, so what follows `ip` is never used: \
                 move `ip` to the end",
            ));
        }
        has_address = source == ClientSource::Address;
        seen.insert(source.to_string(), seen.len());
        Ok(source)
    })?;
    if sources.is_empty() {
        return Err(field.refuse("nothing would identify clients: write `[ip]` at least"));
    }
    Ok(sources)
}

/// Reads what one address may ask under keys that nothing vouches for; `None` when that is not
/// bounded.
fn unverified(field: &Field<'_>) -> Result<Option<Rate>, Refused> {
    if field.is_off() {
        return Ok(None);
    }
    if !field.is_table() {
        return Err(field.refuse("write `{ per_ip: 600/minute }`, or `off`"));
    }
    field.table(|table| {
        let per_ip = table.field("per_ip");
        let burst = numbers::burst(table);
        let per_ip = per_ip.required("write `per_ip: 600/minute`");
        if per_ip.as_ref().is_ok_and(Field::is_off) {
            return Ok(None);
        }
        numbers::rate_or_table(&per_ip?, burst?).map(Some)
    })
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| format!("`{text}` names no header: letters, digits and `-`, as in `x-tier`"))
}

/// A network, or one address as a network of its own.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    match text.parse::<IpNet>().ok().or_else(address) {
        Some(network) if network.addr() == network.network() => canonical_network(network)
            .ok_or_else(|| {
                format!(
                    "`{text}` contains the IPv4-mapped addresses (`::ffff:0:0/96`) and others: \
                     write the IPv4 and the IPv6 networks themselves"
                )
            }),
        Some(network) => {
            let meant = match network.addr().to_canonical() {
                // Written for IPv4, whose addresses are the last 32 bits.
                IpAddr::V4(ip) if network.addr().is_ipv6() && network.prefix_len() <= 32 => {
                    IpNet::new_assert(ip.into(), network.prefix_len())
                }
                _ => network,
            };
            Err(format!("`{text}` has bits set after its prefix: write `{}`", meant.trunc()))
        }
        None => {
            Err(format!("`{text}` is not a network: write `10.0.0.0/8`, `fd00::/8` or one address"))
        }
    }
}
