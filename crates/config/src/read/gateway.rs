//! `gateway: { upstream: "http://alma:8000" }`.

use std::{collections::HashSet, time::Duration};

use http::{HeaderValue, Uri, uri::Scheme};

use super::start_file;
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Table},
    settings::gateway::{
        Cors, GatewaySettings, HealthChecks, HostField, Protocol, RateLimitHeaders,
        UpgradeProtocol, UpstreamUrl,
    },
};

const SHORTEST: Duration = Duration::from_millis(1);
/// Longer than any request takes, and short enough to be added to an instant.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Enough for a first packet that is lost twice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As long as other proxies wait for the head of a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than the time between two heartbeats of a stream.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Shorter than the five seconds after which Node and uvicorn close a connection, so that no
/// request is sent on one that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// More requests at once than one upstream usually processes, also if they are streams, and few
/// enough for the descriptors that a process usually has.
const MAX_CONNECTIONS: usize = 1_024;
/// Long enough for a restart, and soon tried again.
const AWAY_FOR: Duration = Duration::from_secs(10);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// One good response may be luck.
const HEALTHY_AFTER: u32 = 2;
/// Two bad responses may be a coincidence.
const UNHEALTHY_AFTER: u32 = 3;

pub(super) fn read(field: &Field<'_>, files: &Files) -> Result<Option<GatewaySettings>, Refused> {
    field.needs_restart(field.optional(|field| field.table(|gateway| section(gateway, files))))
}

fn section(gateway: &Table<'_>, files: &Files) -> Result<GatewaySettings, Refused> {
    let upstreams = gateway
        .field("upstream")
        .required("write `upstream: http://host:port`, or remove the section")
        .and_then(|field| upstreams(&field));
    let protocol =
        [("auto", Protocol::Auto), ("http1", Protocol::Http1), ("http2", Protocol::Http2)];
    let protocol = gateway.field("protocol").or(Protocol::Auto, |field| field.choice(&protocol));
    let host = [("keep", HostField::Keep), ("replace", HostField::Replace)];
    let host = gateway.field("host").or(HostField::Keep, |field| field.choice(&host));
    let is_encrypted =
        |urls: &Vec<UpstreamUrl>| urls.iter().any(|url| *url.scheme() == Scheme::HTTPS);
    let ca_file = start_file::read(&gateway.field("ca_file"), files, |field| {
        if upstreams.as_ref().is_ok_and(|urls| !is_encrypted(urls)) {
            return Err(field.refuse("only a TLS connection has certificates: remove the key"));
        }
        Ok(())
    });
    let connect_timeout = duration(gateway, "connect_timeout", SHORTEST, CONNECT_TIMEOUT);
    let response_timeout = duration(gateway, "response_timeout", SHORTEST, RESPONSE_TIMEOUT);
    let idle_timeout = duration(gateway, "idle_timeout", SHORTEST, IDLE_TIMEOUT);
    let keep_alive = duration(gateway, "keep_alive", Duration::ZERO, KEEP_ALIVE);
    let max_connections = gateway.field("max_connections").or(MAX_CONNECTIONS, |field| {
        field.integer(1..=100_000).map(|most| usize::try_from(most).unwrap_or(usize::MAX))
    });
    let away_for = duration(gateway, "away_for", Duration::ZERO, AWAY_FOR);
    let headers = [
        ("replace", RateLimitHeaders::Replace),
        ("keep", RateLimitHeaders::Keep),
        ("remove", RateLimitHeaders::Remove),
    ];
    let rate_limit_headers = gateway
        .field("rate_limit_headers")
        .or(RateLimitHeaders::Replace, |field| field.choice(&headers));
    let cors = gateway.field("cors").or(Cors::AnyOrigin, cors);
    let via = gateway.field("via").optional(|field| field.parse_with(pseudonym));
    let upgrades =
        gateway.field("upgrades").or(vec![UpgradeProtocol::websocket()], upgrade_protocols);
    let doors = gateway.field("doors").or(false, Field::switch);
    let health = gateway.field("health").optional(|field| field.table(health));
    Ok(GatewaySettings {
        upstreams: upstreams?,
        protocol: protocol?,
        host: host?,
        ca_file: ca_file?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        idle_timeout: idle_timeout?,
        keep_alive: keep_alive?,
        max_connections: max_connections?,
        away_for: away_for?,
        rate_limit_headers: rate_limit_headers?,
        cors: cors?,
        via: via?,
        upgrades: upgrades?,
        doors: doors?,
        health: health?,
    })
}

/// `on`, `off`, or the origins whose pages may send credentials.
fn cors(field: &Field<'_>) -> Result<Cors, Refused> {
    if field.is_true() || field.is_off() || matches!(field.text_if_any(), Some("on")) {
        return field.switch().map(|is_on| if is_on { Cors::AnyOrigin } else { Cors::Off });
    }
    let origins = field.one_or_more(|item| item.parse_with(origin))?;
    if origins.is_empty() {
        return Err(field.refuse("names no origin: write `off`, or `https://app.example.org`"));
    }
    Ok(Cors::Origins(origins))
}

/// An origin as browsers write it: scheme and host in small letters, and a port that is not the
/// scheme's own.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let uri = text.parse::<Uri>().ok();
    let is_origin = uri.as_ref().is_some_and(|uri| {
        let usual = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return false,
        };
        uri.authority().is_some_and(|authority| {
            !authority.as_str().contains('@') && authority.port_u16() != Some(usual)
        }) && text.matches('/').count() == 2
            && !text.contains(['?', '#'])
            && !text.bytes().any(|byte| byte.is_ascii_uppercase())
    });
    let value = HeaderValue::from_str(text).ok().filter(|_| is_origin);
    value.ok_or_else(|| {
        format!(
            "`{text}` is not an origin: write `on`, `off`, or scheme and host as browsers do, as \
             in `https://app.example.org`"
        )
    })
}

fn upstreams(field: &Field<'_>) -> Result<Vec<UpstreamUrl>, Refused> {
    let mut seen: HashSet<String> = HashSet::new();
    let upstreams = field.one_or_more(|item| {
        let url = item.parse::<UpstreamUrl>()?;
        if !seen.insert(url.to_string()) {
            return Err(item.refuse(format_args!("`{url}` is listed already: keep one")));
        }
        Ok(url)
    })?;
    if upstreams.is_empty() {
        let remedy = "names no upstream: write `http://host:port`, or remove the section";
        return Err(field.refuse(remedy));
    }
    Ok(upstreams)
}

fn upgrade_protocols(field: &Field<'_>) -> Result<Vec<UpgradeProtocol>, Refused> {
    if field.is_off() {
        return Ok(Vec::new());
    }
    field.refuse_other_words_for_off()?;
    field.one_or_more(Field::parse)
}

fn health(table: &Table<'_>) -> Result<HealthChecks, Refused> {
    let path = table
        .field("path")
        .required("write the path to request, as in `/health`")
        .and_then(|field| field.parse_with(path));
    let interval = duration(table, "interval", Duration::from_millis(10), HEALTH_INTERVAL);
    let timeout = duration(table, "timeout", SHORTEST, HEALTH_TIMEOUT);
    let times = |name, default| {
        let times = |field: &Field<'_>| {
            field.integer(1..=1_000).map(|times| u32::try_from(times).unwrap_or(u32::MAX))
        };
        table.field(name).or(default, times)
    };
    let healthy_after = times("healthy_after", HEALTHY_AFTER);
    let unhealthy_after = times("unhealthy_after", UNHEALTHY_AFTER);
    Ok(HealthChecks {
        path: path?,
        interval: interval?,
        timeout: timeout?,
        healthy_after: healthy_after?,
        unhealthy_after: unhealthy_after?,
    })
}

fn duration(
    table: &Table<'_>,
    name: &'static str,
    shortest: Duration,
    default: Duration,
) -> Result<Duration, Refused> {
    table.field(name).or(default, |field| field.duration(shortest..=LONGEST))
}

fn path(text: &str) -> Result<Uri, String> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let path = text.parse::<Uri>().ok().filter(|_| is_path);
    path.ok_or_else(|| format!("`{text}` is not a path: write `/health`"))
}

/// The name of a proxy in `Via`: a token (RFC 9110, section 5.6.2), or a host and
/// port.
fn pseudonym(text: &str) -> Result<HeaderValue, String> {
    let is_token = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte));
    let name = HeaderValue::from_str(text).ok().filter(|_| is_token);
    name.ok_or_else(|| {
        format!("`{text}` is not possible in a Via field: use letters, digits, `-`, `_` and `.`")
    })
}
