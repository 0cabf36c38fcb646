//! `clients: { identify: [header:x-api-key, bearer, ip], trusted_proxies: [10.0.0.0/8],
//! ipv6_prefix: 64 }`.

use std::{collections::HashMap, net::IpAddr};

use http::{HeaderName, header::AUTHORIZATION};
use ipnet::IpNet;
use sluice::identify::{ClientSource, Identifier};
use sluice_core::Tagger;

use super::secret;
use crate::{error::Refused, files::Files, reader::Field, settings::Secret};

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
}

pub(super) fn read(clients: &Field<'_>, files: &Files) -> Result<Clients, Refused> {
    clients.table(|clients| {
        let identify = identify(&clients.field("identify"));
        let trusted_proxies =
            clients.field("trusted_proxies").items(|proxy| proxy.parse_with(network));
        let ipv6_prefix = clients.field("ipv6_prefix").integer(1..=128);
        let secret = secret::read(clients, "secret", "secret_file", files);
        let no_proxy_is_trusted = trusted_proxies.as_ref().is_ok_and(Vec::is_empty);
        let tier_header = clients.field("tier_header").optional(|field| {
            let name = field.parse_with(header_name)?;
            if no_proxy_is_trusted {
                return Err(field.refuse(
                    "only a trusted proxy can set tiers: name yours in clients.trusted_proxies",
                ));
            }
            Ok(name)
        });
        let identifier = Identifier::new(identify?).with_trusted_proxies(trusted_proxies?);
        let identifier = match tier_header? {
            Some(name) => identifier.with_tier_header(name),
            None => identifier,
        };
        let secret = secret?;
        Ok(Clients {
            identifier,
            tagger: Tagger::new(secret.as_ref().map_or("", Secret::reveal).as_bytes()),
            ipv6_prefix: u8::try_from(ipv6_prefix?).unwrap_or(128),
            has_secret: secret.is_some(),
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

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| format!("`{text}` names no header: letters, digits and `-`, as in `x-tier`"))
}

/// A network, or one address as a network of its own.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    match text.parse::<IpNet>().ok().or_else(address) {
        Some(network) if network.addr() == network.network() => Ok(network),
        Some(network) => {
            Err(format!("`{text}` has bits set after its prefix: write `{}`", network.trunc()))
        }
        None => {
            Err(format!("`{text}` is not a network: write `10.0.0.0/8`, `fd00::/8` or one address"))
        }
    }
}
