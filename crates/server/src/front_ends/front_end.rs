//! What a front end with a path of its own on the HTTP port has to offer.

use std::{fmt, future::Future, net::IpAddr, pin::Pin};

use axum::{body::Body, response::Response};
use http::request::Parts;
use sluice_http::{Problem, access::TokenFields};
use utoipa::openapi::{HttpMethod, path::Operation};

use super::Services;
use crate::describe::{Described, Schemas, guarded};

/// Translates one protocol to a request for the limiter, and the decision to a response.
///
/// It knows nothing of stores and of metrics. To add one, implement this trait and add a line to
/// `list.rs`.
pub(crate) trait FrontEnd: fmt::Debug + Sized + Send + Sync + 'static {
    /// The path that it serves.
    const PATH: &'static str;
    /// The methods in its description; the first is the usual one.
    const METHODS: &'static [HttpMethod];

    /// Where a caller shows its token, if `access.tokens` requires one.
    const TOKEN_FIELDS: TokenFields = TokenFields::Both;

    /// Creates the front end.
    fn new(services: &Services) -> Self;

    /// Returns whether it serves its path now. Beside a gateway, the path of a front end that does
    /// not is the upstream's; otherwise the front end responds with the reason.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Responds to a request to [`PATH`](Self::PATH) that came over a connection from `peer`.
    fn respond(
        &self,
        peer: IpAddr,
        head: &Parts,
        body: &mut Body,
    ) -> impl Future<Output = Result<Response, Problem>> + Send;
}

/// One line of the list of front ends.
#[derive(Clone, Copy)]
pub(crate) struct Registration {
    path: &'static str,
    new: fn(&Services) -> Box<dyn Respond>,
    methods: &'static [HttpMethod],
    token_fields: TokenFields,
    describe: fn(&mut Schemas) -> Operation,
}

/// A front end of whatever type.
pub(crate) trait Respond: fmt::Debug + Send + Sync {
    fn is_enabled(&self) -> bool;

    fn token_fields(&self) -> TokenFields;

    fn respond<'a>(
        &'a self,
        peer: IpAddr,
        head: &'a Parts,
        body: &'a mut Body,
    ) -> Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'a>>;
}

// === impl Registration ===

impl Registration {
    /// Registers the front end `F`, which `describe` describes for the OpenAPI document.
    pub(crate) const fn of<F: FrontEnd>(describe: fn(&mut Schemas) -> Operation) -> Self {
        Self {
            path: F::PATH,
            new: |services| Box::new(F::new(services)),
            methods: F::METHODS,
            token_fields: F::TOKEN_FIELDS,
            describe,
        }
    }

    /// Returns the path that the front end serves.
    pub(crate) const fn path(&self) -> &'static str {
        self.path
    }

    /// Creates the front end.
    pub(crate) fn open(&self, services: &Services) -> Box<dyn Respond> {
        (self.new)(services)
    }

    /// Describes the front end for the OpenAPI document.
    pub(crate) fn describe(&self, schemas: &mut Schemas) -> Described {
        let operation = (self.describe)(schemas);
        let operation = guarded(schemas, operation, self.token_fields);
        Described { path: self.path, methods: self.methods, operation }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.path).finish()
    }
}

// === impl Respond ===

impl<F: FrontEnd> Respond for F {
    fn is_enabled(&self) -> bool {
        FrontEnd::is_enabled(self)
    }

    fn token_fields(&self) -> TokenFields {
        F::TOKEN_FIELDS
    }

    fn respond<'a>(
        &'a self,
        peer: IpAddr,
        head: &'a Parts,
        body: &'a mut Body,
    ) -> Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'a>> {
        Box::pin(FrontEnd::respond(self, peer, head, body))
    }
}
