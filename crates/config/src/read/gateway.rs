//! `gateway: { upstream: "http://alma:8000" }`.

use std::time::Duration;

use http::{HeaderValue, Uri, uri::Scheme};

use super::numbers::optional;
use crate::{
    files::Files,
    reader::{Field, Table},
    settings::gateway::{
        GatewaySettings, HealthChecks, HostField, Protocol, RateLimitHeaders, UpstreamUrl,
    },
};

const SHORTEST: Duration = Duration::from_millis(1);
/// More than anybody waits for, and short enough to be added to an instant.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The first packet may be lost twice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What other proxies wait for the head of an answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than the pauses between the heartbeats of streams.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Shorter than the five seconds after which Node and uvicorn close theirs, so that no request
/// meets a closing connection.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Long enough for a restart, and asked again soon.
const AWAY_FOR: Duration = Duration::from_secs(10);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// One good answer may be luck.
const HEALTHY_AFTER: u32 = 2;
/// One bad answer may be bad luck, and the second a coincidence.
const UNHEALTHY_AFTER: u32 = 3;

pub(super) fn read(gateway: &Field<'_>, files: &Files) -> Option<Option<GatewaySettings>> {
    optional(gateway, Some(None), |gateway| {
        gateway.table(|gateway| section(gateway, files)).map(Some)
    })
}

fn section(gateway: &Table<'_>, files: &Files) -> Option<GatewaySettings> {
    let upstreams = gateway
        .field("upstream")
        .required("write `upstream: http://host:port`, or remove the section");
    let upstreams = upstreams.and_then(|field| upstreams_of(&field));
    let protocol =
        [("auto", Protocol::Auto), ("http1", Protocol::Http1), ("http2", Protocol::Http2)];
    let protocol =
        optional(&gateway.field("protocol"), Some(Protocol::Auto), |field| field.choice(&protocol));
    let host = [("keep", HostField::Keep), ("replace", HostField::Replace)];
    let host = optional(&gateway.field("host"), Some(HostField::Keep), |field| field.choice(&host));
    let encrypted =
        upstreams.as_ref().is_none_or(|urls| urls.iter().any(|url| *url.scheme() == Scheme::HTTPS));
    let ca_file = optional(&gateway.field("ca_file"), Some(None), |field| {
        let (path, ()) = field.file(|path| files.probe_secret(path))?;
        if encrypted {
            Some(Some(path))
        } else {
            field.refuse("only a connection in TLS has certificates: remove the key")
        }
    });
    let connect_timeout = duration(gateway, "connect_timeout", SHORTEST, CONNECT_TIMEOUT);
    let response_timeout = duration(gateway, "response_timeout", SHORTEST, RESPONSE_TIMEOUT);
    let idle_timeout = duration(gateway, "idle_timeout", SHORTEST, IDLE_TIMEOUT);
    let keep_alive = duration(gateway, "keep_alive", Duration::ZERO, KEEP_ALIVE);
    let away_for = duration(gateway, "away_for", Duration::ZERO, AWAY_FOR);
    let headers = [
        ("replace", RateLimitHeaders::Replace),
        ("keep", RateLimitHeaders::Keep),
        ("remove", RateLimitHeaders::Remove),
    ];
    let rate_limit_headers =
        optional(&gateway.field("rate_limit_headers"), Some(RateLimitHeaders::Replace), |field| {
            field.choice(&headers)
        });
    let via =
        optional(&gateway.field("via"), Some(None), |field| field.parse_with(pseudonym).map(Some));
    let doors = optional(&gateway.field("doors"), Some(false), switch);
    let health =
        optional(&gateway.field("health"), Some(None), |field| field.table(health).map(Some));
    Some(GatewaySettings {
        upstreams: upstreams?,
        protocol: protocol?,
        host: host?,
        ca_file: ca_file?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        idle_timeout: idle_timeout?,
        keep_alive: keep_alive?,
        away_for: away_for?,
        rate_limit_headers: rate_limit_headers?,
        via: via?,
        doors: doors?,
        health: health?,
    })
}

fn upstreams_of(field: &Field<'_>) -> Option<Vec<UpstreamUrl>> {
    let mut seen: Vec<UpstreamUrl> = Vec::new();
    let upstreams = field.one_or_more(|item| {
        let url = item.parse::<UpstreamUrl>()?;
        if seen.contains(&url) {
            return item.refuse(format_args!("`{url}` is there already: keep one"));
        }
        seen.push(url.clone());
        Some(url)
    })?;
    if upstreams.is_empty() {
        field.refuse("names no upstream: write `http://host:port`, or remove the section")
    } else {
        Some(upstreams)
    }
}

fn health(table: &Table<'_>) -> Option<HealthChecks> {
    let path = table
        .field("path")
        .required("write the path to ask for, as in `/health`")
        .and_then(|field| field.parse_with(path));
    let interval = duration(table, "interval", Duration::from_millis(10), HEALTH_INTERVAL);
    let timeout = duration(table, "timeout", SHORTEST, HEALTH_TIMEOUT);
    let times = |name, unless_said| {
        let times = |field: &Field<'_>| {
            field.integer(1..=1_000).and_then(|times| u32::try_from(times).ok())
        };
        optional(&table.field(name), Some(unless_said), times)
    };
    let (healthy_after, unhealthy_after) =
        (times("healthy_after", HEALTHY_AFTER), times("unhealthy_after", UNHEALTHY_AFTER));
    Some(HealthChecks {
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
    unless_said: Duration,
) -> Option<Duration> {
    optional(&table.field(name), Some(unless_said), |field| field.duration(shortest..=LONGEST))
}

fn switch(field: &Field<'_>) -> Option<bool> {
    // YAML once read `on` as true.
    if field.is_true() { Some(true) } else { field.choice(&[("on", true), ("off", false)]) }
}

fn path(text: &str) -> Result<Uri, String> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let path = text.parse::<Uri>().ok().filter(|_| is_path);
    path.ok_or_else(|| format!("`{text}` is no path: write `/health`"))
}

/// The name of a proxy, as it may stand in `Via`: a token (RFC 9110, section 5.6.2), or a host and
/// port.
fn pseudonym(text: &str) -> Result<HeaderValue, String> {
    let is_token = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte));
    let name = HeaderValue::from_str(text).ok().filter(|_| is_token);
    name.ok_or_else(|| {
        format!("`{text}` cannot stand in a Via field: use letters, digits, `-`, `_` and `.`")
    })
}
