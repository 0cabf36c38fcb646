//! Connections to upstreams: TCP, TLS and the HTTP handshake.

use std::{
    future::poll_fn,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper::client::conn::{http1, http2};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::{Connection, HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{sync::oneshot, task::AbortHandle, time::interval};
use tower::{Service, ServiceExt};

use crate::{
    error::{ConnectError, OpenGatewayError},
    received::{CountedStream, ReceivedBytes},
    request_body::RequestBody,
};
use sluice_config::gateway::{GatewaySettings, Protocol, UpstreamUrl};

/// The interval of TCP keep-alive probes. They keep network equipment from dropping idle
/// connections.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How often an HTTP/2 connection with requests in flight is pinged, and how long the response may
/// take. Without pings, the requests on a connection to a vanished host would all wait for their
/// timeouts.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The HTTP/2 flow control window: enough for a fast network with a long round trip. The upstream
/// waits for the client beyond it.
const HTTP2_WINDOW: u32 = 1 << 20;

/// The most header fields of a response over HTTP/1.1: more than any server sends on purpose, and
/// few enough to parse quickly.
const MAX_RESPONSE_FIELDS: usize = 512;

/// Stands for the number of requests on an HTTP/2 connection until the upstream has sent its
/// settings. No upstream can allow this many.
const UNKNOWN_STREAMS: usize = usize::MAX - 1;

/// How often a new HTTP/2 connection is asked whether the upstream's settings have arrived.
const SETTINGS_LOOK: Duration = Duration::from_millis(1);

/// Connects to upstreams. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    protocol: Protocol,
    timeout: Duration,
    any: HttpsConnector<HttpConnector>,
    /// Offers only HTTP/1.1, for upgrades.
    http1: HttpsConnector<HttpConnector>,
}

/// A connection, ready for requests.
#[derive(Debug)]
pub(crate) enum Connected {
    /// A connection for one request at a time.
    Http1(Http1),
    /// A connection for many requests at once.
    Http2(http2::SendRequest<RequestBody>, MaxStreams),
}

/// How many requests an upstream allows on one HTTP/2 connection at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MaxStreams(Arc<AtomicUsize>);

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<RequestBody>,
    /// Closes the connection at once.
    pub(crate) cut: AbortHandle,
    /// How many bytes arrived.
    pub(crate) received: ReceivedBytes,
}

impl MaxStreams {
    /// Returns the number, which the upstream may change at any time.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connector {
    pub(crate) fn new(settings: &GatewaySettings) -> Result<Self, OpenGatewayError> {
        let encrypted = settings.upstreams.iter().any(|url| *url.scheme() == Scheme::HTTPS);
        let roots =
            if encrypted { roots(settings.ca_file.as_deref())? } else { RootCertStore::empty() };
        // The provider is named because a process that links two providers has no default one.
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        let tls = || HttpsConnectorBuilder::new().with_tls_config(config.clone()).https_or_http();
        let http1 = tls().enable_http1().wrap_connector(tcp.clone());
        let any = match settings.protocol {
            Protocol::Http1 => http1.clone(),
            Protocol::Http2 => tls().enable_http2().wrap_connector(tcp),
            Protocol::Auto => tls().enable_http1().enable_http2().wrap_connector(tcp),
        };
        Ok(Self { protocol: settings.protocol, timeout: settings.connect_timeout, any, http1 })
    }

    /// Returns whether connections to `url` use HTTP/1.1, as far as this is known without
    /// connecting.
    pub(crate) fn is_surely_http1(&self, url: &UpstreamUrl) -> bool {
        match self.protocol {
            Protocol::Http1 => true,
            Protocol::Http2 => false,
            Protocol::Auto => *url.scheme() == Scheme::HTTP,
        }
    }

    /// Returns whether connections can be upgraded.
    pub(crate) fn can_upgrade(&self) -> bool {
        self.protocol != Protocol::Http2
    }

    /// Connects to `url`.
    pub(crate) async fn connect(&self, url: &UpstreamUrl) -> Result<Connected, ConnectError> {
        let http2 = |agreed| self.protocol == Protocol::Http2 || agreed;
        self.with_timeout(connect(self.any.clone(), url, http2)).await
    }

    /// Connects to `url` for a request with an upgrade.
    pub(crate) async fn connect_http1(&self, url: &UpstreamUrl) -> Result<Connected, ConnectError> {
        self.with_timeout(connect(self.http1.clone(), url, |_| false)).await
    }

    async fn with_timeout(
        &self,
        connecting: impl Future<Output = Result<Connected, ConnectError>>,
    ) -> Result<Connected, ConnectError> {
        let late = || format!("no connection within {:?}", self.timeout).into();
        tokio::time::timeout(self.timeout, connecting).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn connect(
    mut connector: HttpsConnector<HttpConnector>,
    url: &UpstreamUrl,
    is_http2: impl FnOnce(bool) -> bool,
) -> Result<Connected, ConnectError> {
    let destination = Uri::builder()
        .scheme(url.scheme().clone())
        .authority(url.authority().clone())
        .path_and_query("/")
        .build()?;
    let stream = connector.ready().await?.call(destination).await?;
    if is_http2(stream.connected().is_negotiated_h2()) {
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(HTTP2_WINDOW)
            .initial_connection_window_size(HTTP2_WINDOW * 4)
            .initial_max_send_streams(UNKNOWN_STREAMS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(stream)
            .await?;
        let max_streams = MaxStreams(Arc::new(AtomicUsize::new(UNKNOWN_STREAMS)));
        let ours = max_streams.clone();
        let (known, learned) = oneshot::channel();
        let mut known = Some(known);
        // hyper reads the settings in another task, which does not wake this one.
        let mut looks = interval(SETTINGS_LOOK);
        let driven = poll_fn(move |context| {
            while known.is_some() && looks.poll_tick(context).is_ready() {}
            let polled = Pin::new(&mut connection).poll(context);
            let allowed = connection.current_max_send_streams();
            ours.0.store(allowed, Ordering::Relaxed);
            if allowed != UNKNOWN_STREAMS
                && let Some(known) = known.take()
            {
                let _ = known.send(());
            }
            polled
        });
        tokio::spawn(log_end(driven));
        // Requests that the upstream does not allow at once would wait without a sign.
        learned.await.map_err(|_| "the upstream closed the connection before its settings")?;
        if max_streams.get() == 0 {
            return Err("the upstream allows no requests on its connections".into());
        }
        return Ok(Connected::Http2(sender, max_streams));
    }
    let stream = CountedStream::new(TokioIo::new(stream));
    let received = stream.received();
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_RESPONSE_FIELDS)
        .handshake(TokioIo::new(stream))
        .await?;
    let cut = tokio::spawn(log_end(connection.with_upgrades())).abort_handle();
    Ok(Connected::Http1(Http1 { sender, cut, received }))
}

/// Logs how a connection ended. The sender of a request gets the error too; the log is for those
/// who search for the cause.
async fn log_end(connection: impl Future<Output = hyper::Result<()>>) {
    if let Err(error) = connection.await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a connection to an upstream ended"
        );
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, OpenGatewayError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let unreadable = |source| OpenGatewayError::CaFile { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() { Err(OpenGatewayError::NoAuthority) } else { Ok(roots) }
}
