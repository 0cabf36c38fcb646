//! Why a replica cannot be created.

use sluice_gateway::OpenGatewayError;
use sluice_http::TlsError;
use sluice_store::RedisError;
use sluice_telemetry::TelemetryError;

use crate::tls_files::Unusable;

/// Why a replica cannot be created from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] RedisError),
    /// The gateway cannot be opened.
    #[error("cannot open the gateway")]
    Gateway(#[from] OpenGatewayError),
    /// The files of a port's TLS cannot be used.
    #[error("{setting}: TLS cannot be set up")]
    Tls {
        /// The setting that names the file, such as `listen.tls.key`.
        setting: String,
        /// What is wrong with which file.
        #[source]
        source: TlsError,
    },
    /// Metrics or traces cannot be set up.
    #[error("cannot set up the telemetry")]
    Telemetry(#[from] TelemetryError),
}

// === impl OpenError ===

impl From<Unusable> for OpenError {
    fn from(Unusable { setting, source }: Unusable) -> Self {
        Self::Tls { setting, source }
    }
}
