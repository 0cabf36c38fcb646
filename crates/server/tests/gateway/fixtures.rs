//! The fixtures: a gateway on a port, upstreams behind it, and clients in front of it.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use sluice_config::Loader;
use sluice_server::app::{App, RunError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// A running gateway. Dropping it stops it at once.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RunError>>,
}

/// An upstream that responds as the test requires, over HTTP/1.1 and HTTP/2. Dropping it closes all
/// its connections.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

/// The transport below HTTP.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A body whose frames come from a channel. Dropping the sender ends the body.
pub(crate) struct Frames(mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>);

/// An HTTP/1.1 client with one connection.
pub(crate) struct Client(http1::SendRequest<Body>);

/// A complete response.
#[derive(Debug)]
pub(crate) struct GatewayResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway to `upstream`, with `more` keys in its section.
    pub(crate) async fn to(upstream: &Upstream, more: &str) -> Self {
        Self::with(&format!("{{ upstream: 'http://{}', {more} }}", upstream.address), &[]).await
    }

    /// Starts a gateway with this section and these variables.
    pub(crate) async fn with(section: &str, variables: &[(&str, &str)]) -> Self {
        let loader = Loader::new()
            .variables([("SLUICE__SHUTDOWN_DELAY", "0s"), ("SLUICE__GATEWAY", section)]);
        let app = App::open(
            loader
                .variables(variables.iter().copied())
                .load()
                .unwrap_or_else(|errors| panic!("{errors}")),
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running =
            tokio::spawn(async move { app.run(listener, async { drop(stopped.await) }).await });
        Self { address, stop: Some(stop), running }
    }

    /// Begins to stop the gateway.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the gateway has stopped.
    pub(crate) async fn stopped(&mut self) {
        (&mut self.running).await.unwrap().unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub(crate) async fn http2_client(&self) -> http2::SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Gets `path` with a new client.
    pub(crate) async fn get(&self, path: &str) -> GatewayResponse {
        self.client().await.get(path).await
    }

    /// Returns the value of the metric whose line begins with `line`, or 0 if there is none.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let found = text.lines().find_map(|known| known.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.running.abort();
    }
}

// === impl Upstream ===

impl Upstream {
    pub(crate) async fn start<F, A>(respond: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::listen("127.0.0.1:0", None, respond).await
    }

    pub(crate) async fn listen<F, A>(address: &str, tls: Option<TlsAcceptor>, respond: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, opened) = (Arc::clone(&requests), Arc::clone(&connections));
        let serving = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                let (respond, count, tls) = (respond.clone(), Arc::clone(&count), tls.clone());
                tasks.spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let service = service_fn(move |request| {
                        count.fetch_add(1, Ordering::SeqCst);
                        let response = respond(request);
                        async move { Ok::<_, std::convert::Infallible>(response.await) }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, requests, connections, serving }
    }

    /// Returns how many requests the upstream received.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns how many connections the upstream accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Responds with the request as text: the method, target and version, a line for each field, and
/// the body after an empty line.
pub(crate) async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text.push('\n');
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    text.push_str(std::str::from_utf8(&body.to_bytes()).unwrap());
    for (name, value) in &trailers.unwrap_or_default() {
        text.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
    }
    Response::new(Body::from(text))
}

// === impl Frames ===

impl Frames {
    pub(crate) fn new() -> (mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(receiver))
    }

    pub(crate) fn data(text: impl Into<Bytes>) -> Result<Frame<Bytes>, std::io::Error> {
        Ok(Frame::data(text.into()))
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context)
    }
}

// === impl Client ===

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        self.try_send(request).await.unwrap()
    }

    pub(crate) fn try_send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.0.send_request(request)
    }

    /// Sends a request and waits for the whole response.
    pub(crate) async fn ask(&mut self, request: Request<Body>) -> GatewayResponse {
        let response = self.send(request).await;
        GatewayResponse::read(response).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> GatewayResponse {
        self.ask(get(path).body(Body::empty()).unwrap()).await
    }
}

/// Starts a GET with a host.
pub(crate) fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "api.test")
}

/// Starts a POST with a host.
pub(crate) fn post(path: &str) -> http::request::Builder {
    Request::post(path).header("host", "api.test")
}

// === impl GatewayResponse ===

impl GatewayResponse {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Self { status: head.status, headers: head.headers, text }
    }

    /// Returns all lines of a header field.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> =
            self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }

    /// Returns the type of the problem.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type").as_deref(),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body: serde_json::Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(body["status"], self.status.as_u16());
        body["type"].as_str().unwrap().strip_prefix("urn:sluice:problem:").unwrap().to_owned()
    }

    /// Returns whether the echo has this line.
    pub(crate) fn echoes(&self, line: &str) -> bool {
        self.text.lines().any(|echoed| echoed == line)
    }
}

/// Returns the next data of a body as text, or `None` at its end.
pub(crate) async fn next_text(body: &mut Incoming) -> Option<String> {
    loop {
        let frame = body.frame().await?.unwrap();
        if let Ok(data) = frame.into_data() {
            return Some(String::from_utf8(data.to_vec()).unwrap());
        }
    }
}
