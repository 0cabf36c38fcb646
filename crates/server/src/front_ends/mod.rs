//! The front ends: each translates one protocol to a request for the limiter, and the decision to
//! a response. They know nothing of stores, and the limiter knows nothing of them.
//!
//! [`HttpFrontEnds`] handles the HTTP port: the front ends of `list.rs`, each at its path, the
//! admin routes, and every other path, which is decided about as it is requested and forwarded if
//! there is a gateway. Without one, a mistyped path of the API is an error. The gRPC port and the
//! gateway are crates of their own, `sluice-rls` and `sluice-gateway`. Errors are RFC 9457
//! problems, and take no tokens from any bucket.

mod any_path;
pub(crate) mod check;
pub(crate) mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod forward_auth;
mod front_end;
#[cfg(test)]
mod fuzz;
pub(crate) mod holds;
mod http_port;
mod list;
mod misspelt;
mod models;
#[cfg(test)]
mod over_sockets;
#[cfg(test)]
mod path_tests;
mod rls_json;
mod services;
mod start_page;
mod taken_head;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;

pub(crate) use self::{front_end::FrontEnd, holds::agree, list::FRONT_ENDS};
pub use self::{
    holds::Seals,
    http_port::{HttpFrontEnds, HttpPort},
    models::Models,
    services::Services,
};
