//! Checks every request before it reaches a service.
//!
//! An allowed request goes to the inner service, and the response reports what the client has left:
//! `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`, `RateLimit-Policy` and
//! `RateLimit`, as [`response::headers`](crate::response::headers) writes them. Any other request
//! gets its response from the layer:
//!
//! | reason | HTTP | gRPC |
//! |---|---|---|
//! | a limit denies it | 429 | `RESOURCE_EXHAUSTED` |
//! | its path, client or cost cannot be read | 400 | `INVALID_ARGUMENT` |
//! | the store cannot decide, and a limit leaves that to the caller | 503 | `UNAVAILABLE` |
//! | its client is unknown | 500 | `INTERNAL` |
//!
//! Over HTTP the body is an RFC 9457 problem; that of a denial is also the decision. A denial has
//! the fields above and `Retry-After`, over gRPC too. A request is gRPC when its content type is
//! `application/grpc`.
//!
//! The response of the inner service has the fields whatever its status is. Its error is no
//! response: where errors become responses further out, these have no fields, so let that happen
//! further in.
//!
//! ```
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response, StatusCode};
//! use sluice::{Limiter, RateLimitLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(limiter))
//!     .service(service_fn(async |_: Request<String>| {
//!         Ok::<_, Infallible>(Response::new("hello".to_owned()))
//!     }));
//!
//! // Servers leave the address of the peer among the extensions.
//! let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
//! let request = || Request::get("/orders").extension(peer).body(String::new());
//! for remaining in (0..10).rev() {
//!     let response = service.clone().oneshot(request()?).await?;
//!     assert_eq!(response.headers()["x-ratelimit-remaining"], remaining.to_string());
//! }
//! let response = service.oneshot(request()?).await?;
//! assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(response.headers()["retry-after"], "1");
//! # Ok(())
//! # }
//! ```
//!
//! # Clients
//!
//! An [`Identifier`](crate::identify::Identifier) takes the address of the peer, or finds the
//! client in the request's header fields, where a verified key is in one of them. With axum, serve
//! with `into_make_service_with_connect_info`, and the layer finds the address:
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::{Router, routing::get};
//! use sluice::{Limiter, RateLimitLayer, identify::{ClientSource, Identifier}};
//!
//! let identifier = Identifier::new(vec![ClientSource::Bearer, ClientSource::Address])
//!     .with_trusted_proxies(vec!["10.0.0.0/8".parse()?]);
//! let limit = RateLimitLayer::new(Limiter::in_memory("60/minute, burst 10".parse()?))
//!     .identifier(identifier);
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(limit);
//! let service = app.into_make_service_with_connect_info::<SocketAddr>();
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The layer also finds a plain `SocketAddr` among the request's extensions, which a server that is
//! written with hyper can put there. With tonic, a closure finds the address:
//! `.peer(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()))`.
//!
//! [`RateLimitLayer::key`] takes a closure that returns the key of the client instead.
//!
//! # Costs that are known only afterwards
//!
//! The inner service finds a [`Checked`](crate::Checked) among the extensions of the request. With
//! it, a handler can [charge](crate::Checked::charge) what the request really cost.

mod body;
mod check;
mod future;
mod layer;
mod rejection;
mod service;

pub use body::RateLimitBody;
pub use future::RateLimitFuture;
pub use layer::RateLimitLayer;
pub use service::RateLimit;
