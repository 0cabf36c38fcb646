//! Checks every request before it reaches a service.
//!
//! A request that may pass is answered by the service, and the answer says where its client stands:
//! `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`, `RateLimit-Policy` and
//! `RateLimit`, as [`response::headers`](crate::response::headers) writes them. One that may not is
//! answered in the service's place:
//!
//! | what | HTTP | gRPC |
//! |---|---|---|
//! | a limit denies it | 429, with the fields above, `Retry-After` and the decision as body | `RESOURCE_EXHAUSTED`, with the fields |
//! | its path, client or cost cannot be read | 400 | `INVALID_ARGUMENT` |
//! | the store is away, and the limits leave the answer to the caller | 503 | `UNAVAILABLE` |
//! | nothing tells who sends it | 500 | `INTERNAL` |
//!
//! Over HTTP the body is an RFC 9457 problem. A request is gRPC when its content type says so.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//! use http::{Request, Response, StatusCode};
//! use sluice::{Limiter, MemoryStore, Policy, RateLimitLayer, Recorders};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::new(Policy::per_client("60/minute, burst 10".parse()?), Arc::new(MemoryStore::new()), &Recorders::disabled());
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(limiter))
//!     .service(service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new("hello".to_owned()))));
//!
//! let request = || Request::get("/orders").header("x-api-key", "alice").body(String::new());
//! for remaining in (0..10).rev() {
//!     let answer = service.clone().oneshot(request()?).await?;
//!     assert_eq!(answer.headers()["x-ratelimit-remaining"], remaining.to_string());
//! }
//! let answer = service.oneshot(request()?).await?;
//! assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(answer.headers()["retry-after"], "1");
//! # Ok(())
//! # }
//! ```
//!
//! # Who asks
//!
//! An [`Identifier`](crate::identify::Identifier) finds the client in the request's header fields,
//! or takes the address of the peer. Servers say in different ways who that is, so a closure tells;
//! with axum:
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use sluice::{RateLimitLayer, identify::{ClientSource, Identifier}};
//! # use std::sync::Arc;
//! # use sluice::{Limiter, MemoryStore, Policy, Recorders};
//! # let limiter = Limiter::new(Policy::per_client("60/minute, burst 10".parse()?), Arc::new(MemoryStore::new()), &Recorders::disabled());
//!
//! let identifier = Identifier::new(vec![ClientSource::Bearer, ClientSource::Address])
//!     .with_trusted_proxies(vec!["10.0.0.0/8".parse()?]);
//! let limit = RateLimitLayer::new(limiter)
//!     .with_identifier(identifier)
//!     .with_peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()));
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(limit);
//! let service = app.into_make_service_with_connect_info::<SocketAddr>();
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! With tonic it is `|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr().map(|address|
//! address.ip())`. A server that is written with hyper puts the `SocketAddr` itself among the
//! request's extensions, where it is found without a closure.

mod body;
mod check;
mod future;
mod layer;
mod peer;
mod refusal;
mod service;

pub use body::RateLimitBody;
pub use future::RateLimitFuture;
pub use layer::RateLimitLayer;
pub use peer::Peer;
pub use service::RateLimit;
