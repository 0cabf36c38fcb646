//! The settings of a replica, as they were read from the configuration. Every value is valid.

use std::{net::SocketAddr, time::Duration};

use sluice::{identify::Identifier, stats::events::CustomMetric};
use sluice_core::{EndpointPatterns, MicroUnits, Policy, Prices};
use sluice_slo::Slo;

pub mod gateway;
mod llm;
pub mod rls;
mod secret;
mod store;
mod store_url;
mod tls;

pub(crate) use secret::MASK;
pub(crate) use store_url::mask_password;
pub use {
    gateway::GatewaySettings,
    llm::{LlmModel, LlmRoute, LlmSettings},
    rls::RlsSettings,
    secret::Secret,
    store::{ClientCertificate, SentinelLogin, StoreSettings},
    store_url::{RedisUrl, StoreUrl, StoreUrlError},
    tls::{ReadFile, TlsSettings},
};

use crate::error::ConfigError;

/// Everything that a configuration sets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where replicas listen.
    pub listen: Listen,
    /// The store of the buckets.
    pub store: StoreSettings,
    /// Identifies clients.
    pub identifier: Identifier,
    /// Which limits apply to a request.
    pub policy: Policy,
    /// Whether browsers' CORS preflights take tokens.
    pub limits_preflights: bool,
    /// The rules of Envoy's rate limit service; `None` when there are none.
    pub rls: Option<RlsSettings>,
    /// The reverse proxy; `None` without one.
    pub gateway: Option<GatewaySettings>,
    /// Which requests of the gateway go to language models; `None` for none.
    pub llm: Option<LlmSettings>,
    /// Where the admin routes listen, and who may use them.
    pub admin: Admin,
    /// Who may use the front ends.
    pub access: AccessSettings,
    /// How requests are labelled in metrics, and the custom metrics of applications.
    pub metrics: MetricsSettings,
    /// The service level objectives of the API.
    pub slos: Vec<Slo>,
    /// What models cost, and what they may.
    pub costs: CostSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How long a replica that is stopping still accepts connections, while it reports that it is
    /// not ready.
    pub shutdown_delay: Duration,
    /// How long requests in flight may take to finish after that.
    pub shutdown_grace: Duration,
    /// The built-in endpoints that the file's `endpoints` replace, and that have no limit of their
    /// own any more.
    pub replaced_endpoints: Vec<String>,
    /// What is possible but probably not meant. Log them; nothing else depends on them.
    pub warnings: Vec<ConfigError>,
}

/// Where replicas listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The HTTP port: checks, forward-auth, health and metrics.
    pub http: SocketAddr,
    /// The gRPC port; `None` when it is off.
    pub grpc: Option<SocketAddr>,
    /// Whether the HTTP port decides about paths that no front end has.
    pub any_path: bool,
    /// What bounds the connections of each port.
    pub limits: ConnectionLimits,
    /// The TLS of both ports; `None` for plain text.
    pub tls: Option<TlsSettings>,
}

/// What bounds the connections of each port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The most open connections.
    pub max_connections: usize,
    /// The most requests in progress, over all connections.
    pub max_requests: usize,
    /// How long the head of a request may take to arrive.
    pub head_timeout: Duration,
    /// How long a client may take nothing of what is ready for it.
    pub write_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long a connection is used; `None` is forever.
    pub max_connection_age: Option<Duration>,
}

/// The port of metrics and monitoring, and the credentials that they require.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// A port of their own; `None` for the HTTP port.
    pub listen: Option<SocketAddr>,
    /// The TLS of that port; `None` for plain text.
    pub tls: Option<TlsSettings>,
    /// The credentials that they require.
    pub credentials: Credentials,
}

/// What is to be shown to see metrics and monitoring: any one of these, or nothing when there are
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A user and a password (RFC 7617).
    pub basic: Option<(Box<str>, Secret)>,
    /// A token (RFC 6750).
    pub bearer: Option<Secret>,
}

/// Who may use the front ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// The tokens, any of which grants access; without any, every caller has access.
    pub tokens: Vec<Secret>,
}

/// How requests are labelled in metrics, and the custom metrics of applications.
#[derive(Clone, Debug, Default)]
pub struct MetricsSettings {
    /// The patterns that label the requests that no limit has a pattern for.
    pub endpoints: EndpointPatterns,
    /// The custom metrics of applications.
    pub custom: Vec<CustomMetric>,
}

/// What models cost, and what they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostSettings {
    /// The prices.
    pub prices: Prices,
    /// The budget of a calendar month, in the currency of the prices; `None` if there is none.
    pub budget: Option<MicroUnits>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged: `info`, or `info,sluice_store=debug`, as `tracing` filters are written.
    pub level: String,
    /// Which decisions are logged; `None` for none of them.
    pub decisions: Option<DecisionLogSettings>,
}

/// Which decisions are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionLogSettings {
    /// The share of denials, also by limits in shadow mode.
    pub denied: Share,
    /// The share of the other decisions.
    pub allowed: Share,
    /// The most lines in a second of this replica.
    pub per_second: u32,
}

/// A share of all, from none to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(1_000_000);

    /// Creates a share from a number from 0 to 1; `None` for any other. It is rounded up to
    /// millionths.
    #[must_use]
    pub fn new(number: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked before"
        )]
        let millionths = |number: f64| (number * 1e6).ceil() as u32;
        (0.0..=1.0).contains(&number).then(|| Self(millionths(number)))
    }

    /// Returns the share in millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}
