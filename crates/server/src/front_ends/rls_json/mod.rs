//! `POST /json`: Envoy's rate limit service for clients that do not speak gRPC.

pub(crate) mod description;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use axum::{body::Body, response::Response};
use http::request::Parts;
use sluice_http::Problem;
use sluice_rls::{EnvoyRls, json};
use utoipa::openapi::HttpMethod;

use super::{FrontEnd, Services};

/// Hands requests to the rate limit service. Without rules they get status 404.
#[derive(Debug)]
pub(crate) struct RlsJson {
    rls: EnvoyRls,
}

impl FrontEnd for RlsJson {
    const PATH: &'static str = json::PATH;
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self { rls: services.rls.clone() }
    }

    fn is_enabled(&self) -> bool {
        self.rls.has_rules()
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        self.rls.respond_json(head, body).await
    }
}
