//! `clients: { identify: [header:x-api-key, bearer, ip], trusted_proxies: [10.0.0.0/8],
//! ipv6_prefix: 64 }`.

use std::net::IpAddr;

use http::{HeaderName, header::AUTHORIZATION};
use ipnet::IpNet;
use sluice::identify::{ClientSource, Identifier};
use sluice_core::Tagger;

use super::numbers::optional;
use crate::{
    files::Files,
    reader::{Field, Table},
    settings::Secret,
};

/// What the section says.
pub(super) struct Clients {
    /// Tells clients apart.
    pub(super) identifier: Identifier,
    /// Makes them unreadable.
    pub(super) tagger: Tagger,
    /// How many leading bits of an IPv6 address are one client.
    pub(super) ipv6_prefix: u8,
    /// Whether the tagger has a secret of its own.
    pub(super) has_secret: bool,
}

pub(super) fn read(clients: &Field<'_>, files: &Files) -> Option<Clients> {
    clients.table(|clients| {
        let identify = identify(&clients.field("identify"));
        let trusted_proxies = clients.field("trusted_proxies").items(|proxy| proxy.parse_with(network));
        let ipv6_prefix = clients.field("ipv6_prefix").integer(1..=128).and_then(|bits| u8::try_from(bits).ok());
        let secret = secret(clients, files);
        let nobody_is_trusted = trusted_proxies.as_ref().is_some_and(Vec::is_empty);
        let tier_header = optional(&clients.field("tier_header"), Some(None), |field| {
            let name = field.parse_with(header_name)?;
            if nobody_is_trusted {
                return field.refuse("only a trusted proxy is believed about tiers: name yours in clients.trusted_proxies");
            }
            Some(Some(name))
        });
        let identifier = Identifier::new(identify?).with_trusted_proxies(trusted_proxies?);
        let identifier = match tier_header? {
            Some(name) => identifier.with_tier_header(name),
            None => identifier,
        };
        let secret = secret?;
        let tagger = Tagger::new(secret.as_ref().map_or("", Secret::reveal).as_bytes());
        Some(Clients { identifier, tagger, ipv6_prefix: ipv6_prefix?, has_secret: secret.is_some() })
    })
}

fn identify(field: &Field<'_>) -> Option<Vec<ClientSource>> {
    let mut seen: Vec<ClientSource> = Vec::new();
    let sources = field.items(|item| {
        let source = item.parse::<ClientSource>()?;
        if source == ClientSource::Header(AUTHORIZATION) {
            return item.refuse("a whole Authorization header is nobody's name: write `bearer` or `bearer:sub`");
        }
        if let Some(first) = seen.iter().position(|other| *other == source) {
            return item.refuse(format_args!("`{source}` is already clients.identify[{first}]: keep one"));
        }
        if seen.contains(&ClientSource::Address) {
            return item.refuse("every request has an address, so what follows `ip` is never looked at: move `ip` to the end");
        }
        seen.push(source.clone());
        Some(source)
    })?;
    if sources.is_empty() {
        field.refuse("nothing would tell clients apart: write `[ip]` at least")
    } else {
        Some(sources)
    }
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
            Err(format!("`{text}` has bits set behind its prefix: write `{}`", network.trunc()))
        }
        None => {
            Err(format!("`{text}` is not a network: write `10.0.0.0/8`, `fd00::/8` or one address"))
        }
    }
}

/// What keys in the store are hashed with, if anything was said.
fn secret(clients: &Table<'_>, files: &Files) -> Option<Option<Secret>> {
    let (secret, file) = (clients.field("secret"), clients.field("secret_file"));
    match (secret.is_said(), file.is_said()) {
        (true, true) => file.refuse("clients.secret is set already: keep one of them"),
        (true, false) => secret.text().map(|text| Some(Secret::new(text))),
        (false, true) => match file
            .file(|path| files.read_secret(path))?
            .1
            .as_deref()
            .map(|text| text.trim_end_matches(['\r', '\n']))
        {
            Some("") => file.refuse("the file holds no secret: write one into it"),
            text => Some(Some(Secret::new(text.unwrap_or_default()))),
        },
        (false, false) => Some(None),
    }
}
