//! `clients: { identify: [header:x-api-key, bearer, ip], trusted_proxies: [10.0.0.0/8], ipv6_prefix: 64 }`.

use std::net::IpAddr;

use http::{HeaderName, header::AUTHORIZATION};
use ipnet::IpNet;

use crate::config::{
    files::Files,
    reader::{Field, Table},
    secret::Secret,
    settings::{ClientSettings, ClientSource},
};

pub(super) fn read(clients: &Field<'_>, files: &Files) -> Option<ClientSettings> {
    clients.table(|clients| {
        let identify = identify(&clients.field("identify"));
        let trusted_proxies = clients.field("trusted_proxies").items(|proxy| proxy.parse_with(network));
        let ipv6_prefix = clients.field("ipv6_prefix").integer(1..=128).and_then(|bits| u8::try_from(bits).ok());
        let secret = secret(clients, files);
        let tier_header = clients.field("tier_header");
        let tier_header_read = tier_header.parse_with(header_name);
        if tier_header_read.is_some() && trusted_proxies.as_ref().is_some_and(Vec::is_empty) {
            return tier_header.refuse("nobody is trusted to send it: name who is in clients.trusted_proxies");
        }
        if tier_header.is_said() && tier_header_read.is_none() {
            return None;
        }
        Some(ClientSettings {
            identify: identify?,
            trusted_proxies: trusted_proxies?,
            ipv6_prefix: ipv6_prefix?,
            secret: secret?,
            tier_header: tier_header_read,
        })
    })
}

fn identify(field: &Field<'_>) -> Option<Vec<ClientSource>> {
    let mut seen: Vec<ClientSource> = Vec::new();
    let sources = field.items(|item| {
        let source = item.parse_with(client_source)?;
        if let Some(first) = seen.iter().position(|other| *other == source) {
            return item.refuse(format_args!("the same as clients.identify[{first}]: keep one"));
        }
        seen.push(source.clone());
        Some(source)
    })?;
    if sources.is_empty() {
        return field.refuse("nothing would tell clients apart: write `[ip]` at least");
    }
    if let Some(at) = sources.iter().position(|source| *source == ClientSource::Address)
        && at + 1 < sources.len()
    {
        return field.refuse(format_args!("every request has an address, so nothing after `ip` is ever looked at: move `ip` to the end"));
    }
    Some(sources)
}

fn client_source(text: &str) -> Result<ClientSource, String> {
    match text.split_once(':') {
        None if text == "ip" => Ok(ClientSource::Address),
        None if text == "bearer" => Ok(ClientSource::Bearer),
        Some(("bearer", "sub")) => Ok(ClientSource::BearerSubject),
        Some(("header", name)) => match header_name(name)? {
            AUTHORIZATION => Err("the whole Authorization header is no client: write `bearer` or `bearer:sub`".to_owned()),
            name => Ok(ClientSource::Header(name)),
        },
        _ => Err(format!("`{text}` does not tell clients apart: write `header:x-api-key`, `bearer`, `bearer:sub` or `ip`")),
    }
}

/// The name of a header, in any case.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("`{text}` is not the name of a header: write one as in `x-api-key`"))
}

/// A network, or one address as a network of its own.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    match text.parse::<IpNet>().ok().or_else(address) {
        Some(network) if network.addr() == network.network() => Ok(network),
        Some(network) => Err(format!("`{text}` has bits set behind its prefix: write `{}`", network.trunc())),
        None => Err(format!("`{text}` is not a network: write `10.0.0.0/8`, `fd00::/8` or one address")),
    }
}

fn secret(clients: &Table<'_>, files: &Files) -> Option<Secret> {
    let (secret, file) = (clients.field("secret"), clients.field("secret_file"));
    match (secret.is_said(), file.is_said()) {
        (true, true) => file.refuse("clients.secret is set already: keep one of them"),
        (true, false) => secret.text().map(Secret::new),
        (false, true) => {
            let (_, content) = file.file(files)?;
            match content.trim_end_matches(['\r', '\n']) {
                "" => file.refuse("the file holds no secret: write one into it"),
                text => Some(Secret::new(text)),
            }
        }
        (false, false) => Some(Secret::new("")),
    }
}
