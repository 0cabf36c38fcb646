//! The settings of the gateway.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};

/// A gateway: the HTTP port forwards the requests that it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// The upstreams that requests are forwarded to; at least one, each once.
    pub upstreams: Vec<UpstreamUrl>,
    /// What is spoken with them.
    pub protocol: Protocol,
    /// The host that they receive.
    pub host: HostField,
    /// The certificates, in PEM, that vouch for upstreams with `https://`; `None` for the system's
    /// own.
    pub ca_file: Option<PathBuf>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long an upstream may take from the end of a request to the head of its response.
    pub response_timeout: Duration,
    /// How long a body, or an upgraded connection, may be idle.
    pub idle_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The most connections to one upstream.
    pub max_connections: usize,
    /// How long an upstream that could not be reached is used only when no other is left.
    pub away_for: Duration,
    /// What happens to rate limit fields that an upstream sends.
    pub rate_limit_headers: RateLimitHeaders,
    /// Which pages of other origins may read Sluice's own responses.
    pub cors: Cors,
    /// The name of the gateway in `Via`; `None` to leave the field alone.
    pub via: Option<HeaderValue>,
    /// The protocols that a client may upgrade a connection to.
    pub upgrades: Vec<UpgradeProtocol>,
    /// Whether the HTTP port serves the front ends for programs (such as `/v1/check`), or forwards
    /// their paths like any other.
    pub doors: bool,
    /// The health checks of upstreams; `None` to take all of them as healthy.
    pub health: Option<HealthChecks>,
}

/// Which pages of other origins may read Sluice's own responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// None.
    Off,
    /// Those of any origin, without credentials.
    AnyOrigin,
    /// Those of these origins, also in response to requests with credentials.
    Origins(Vec<HeaderValue>),
}

/// Where an upstream is: `http://host[:port]` or `https://host[:port]`.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    scheme: Scheme,
    authority: Authority,
}

/// A protocol that a client may upgrade a connection to, as `Upgrade` names it: `websocket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeProtocol(Box<str>);

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 where TLS agrees on it.
    Auto,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone; without TLS by prior knowledge.
    Http2,
}

/// What an upstream reads in `Host` or `:authority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostField {
    /// What the client wrote there.
    Keep,
    /// The upstream's own address.
    Replace,
}

/// What happens to rate limit fields that an upstream sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// Ours replace them wherever a limit applies.
    Replace,
    /// They stay, and ours are left out where there are any.
    Keep,
    /// The response has neither theirs nor ours.
    Remove,
}

/// The health checks of upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChecks {
    /// The path that is requested; a status from 200 to 399 is healthy.
    pub path: Uri,
    /// How often.
    pub interval: Duration,
    /// How long a response may take.
    pub timeout: Duration,
    /// How many good responses in a row make an upstream healthy again.
    pub healthy_after: u32,
    /// How many bad responses in a row make it unhealthy.
    pub unhealthy_after: u32,
}

/// Why a text is not the address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamUrlError {
    /// No scheme that is spoken here, or no host.
    #[error(
        "`{0}` is not the address of an upstream: write `http://host:port` or `https://host:port`"
    )]
    NotHttp(String),
    /// A user or a password.
    #[error(
        "the address of an upstream holds no user and no password: write `http://host:port` or `https://host:port`"
    )]
    UserInfo,
    /// More than a host.
    #[error(
        "`{0}` names a path, but requests keep theirs: write `http://host:port` or `https://host:port`"
    )]
    Path(String),
}

/// Why a text is not a protocol to upgrade to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeProtocolError {
    /// Not a name as `Upgrade` has it.
    #[error("`{0}` is not the name of a protocol: write one as in `websocket`")]
    NotAName(String),
    /// A word that switches something, or a slip.
    #[error("`{0}` is no protocol: did you mean `websocket`, or `off` in place of the list?")]
    NotWebSocket(String),
    /// A protocol that carries requests.
    #[error(
        "`{0}` carries requests, which would pass without a limit: remove it, and use \
         `protocol: http2` to speak HTTP/2 with the upstream"
    )]
    CarriesRequests(String),
}

// === impl UpgradeProtocol ===

impl UpgradeProtocol {
    /// The WebSocket protocol.
    #[must_use]
    pub fn websocket() -> Self {
        Self("websocket".into())
    }

    /// Returns whether this is the protocol with the name `text`, in any case.
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(text)
    }
}

impl FromStr for UpgradeProtocol {
    type Err = UpgradeProtocolError;

    fn from_str(text: &str) -> Result<Self, UpgradeProtocolError> {
        let is_token = |part: &str| {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !part.is_empty() && part.bytes().all(allowed)
        };
        let (name, version) = text.split_once('/').unwrap_or((text, "1"));
        if !is_token(name) || !is_token(version) {
            return Err(UpgradeProtocolError::NotAName(text.to_owned()));
        }
        let name = name.to_ascii_lowercase();
        // HTTP/2 in clear text, HTTP itself, and TLS, which is followed by HTTP (RFC 2817).
        if ["h2", "h3", "http", "tls"].iter().any(|start| name.starts_with(start)) {
            return Err(UpgradeProtocolError::CarriesRequests(text.to_owned()));
        }
        // Words that are meant to switch something, and the usual slip.
        if ["on", "off", "yes", "no", "true", "false", "websockets"].contains(&&*name) {
            return Err(UpgradeProtocolError::NotWebSocket(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

// === impl UpstreamUrl ===

impl UpstreamUrl {
    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host and port, as written.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    fn from_str(text: &str) -> Result<Self, UpstreamUrlError> {
        if text.contains('@') {
            return Err(UpstreamUrlError::UserInfo);
        }
        let not_http = || UpstreamUrlError::NotHttp(text.to_owned());
        let parts = text.parse::<Uri>().map_err(|_| not_http())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(not_http());
        };
        if ![Scheme::HTTP, Scheme::HTTPS].contains(&scheme)
            || authority.host().is_empty()
            || authority.port_u16() == Some(0)
        {
            return Err(not_http());
        }
        // `port` silently leaves out a port that is not a number.
        let after_host = &authority.as_str()[authority.host().len()..];
        if !after_host.is_empty() && authority.port().is_none() {
            return Err(not_http());
        }
        match parts.path_and_query {
            Some(path) if path != "/" => Err(UpstreamUrlError::Path(text.to_owned())),
            _ => Ok(Self { scheme, authority }),
        }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_a_host() {
        for (text, shown) in [
            ("http://alma:8000", "http://alma:8000"),
            ("https://api.example.org/", "https://api.example.org"),
            ("HTTP://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_protocol_that_carries_requests_is_never_upgraded_to() {
        for text in ["h2c", "H2C", "h2", "HTTP/2.0", "http", "TLS/1.0", "h2c-14"] {
            let error = text.parse::<UpgradeProtocol>().unwrap_err().to_string();
            assert!(error.contains("would pass without a limit"), "{text}: {error}");
        }
        for text in ["", "two words", "a,b", "a/", "/1", "a/b/c"] {
            let error = text.parse::<UpgradeProtocol>().unwrap_err().to_string();
            assert!(error.contains("is not the name of a protocol"), "{text}: {error}");
        }
        for text in ["websocket", "SPDY/3.1", "derp"] {
            assert!(text.parse::<UpgradeProtocol>().unwrap().is(text.to_lowercase().as_bytes()));
        }
    }

    #[test]
    fn an_invalid_address_is_refused_with_a_remedy() {
        for text in [
            "alma:8000",
            "alma",
            "ftp://alma",
            "http://",
            "http://alma:port",
            "http://alma:0",
            "http://alma:",
            "/alma",
            "",
        ] {
            let error = text.parse::<UpstreamUrl>().unwrap_err().to_string();
            assert!(
                error.contains("is not the address of an upstream: write `http://host:port`"),
                "{text}: {error}"
            );
        }
        let error = "http://user:hunter2@alma".parse::<UpstreamUrl>().unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("no password"), "{error}");
        let error = "http://alma/api".parse::<UpstreamUrl>().unwrap_err().to_string();
        assert!(error.contains("names a path"), "{error}");
    }
}
