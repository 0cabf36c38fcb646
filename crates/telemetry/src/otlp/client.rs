//! The HTTP client for OTLP over HTTP.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use tokio::runtime::Handle;

use super::tls::TlsFiles;
use crate::error::TelemetryError;

/// A client that runs its requests on the exporters' runtime, because the threads that call it have
/// no runtime.
struct OnRuntime {
    client: Arc<dyn HttpClient>,
    runtime: Handle,
}

/// Returns a client for `endpoint`, which uses TLS if the scheme is `https`.
pub(super) fn client(
    endpoint: &str,
    tls: &TlsFiles,
    timeout: Duration,
    runtime: &Handle,
) -> Result<impl HttpClient + use<>, TelemetryError> {
    let client: Arc<dyn HttpClient> = if endpoint.starts_with("https:") {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.for_http()?)
            .https_only()
            .enable_http1()
            .build();
        Arc::new(HyperClient::new(connector, timeout, None))
    } else {
        Arc::new(HyperClient::with_default_connector(timeout, None))
    };
    Ok(OnRuntime { client, runtime: runtime.clone() })
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRuntime").field("client", &self.client).finish_non_exhaustive()
    }
}
