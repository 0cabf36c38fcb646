//! `/console`: a page for people, about the fleet.
//!
//! It is three files in the binary. Its script reads the JSON below `/monitoring` from the same
//! port, with the same credentials, and may load nothing from elsewhere.

use axum::{Router, response::Response, routing::get};
use http::{
    HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

/// The path of the page.
pub(crate) const PATH: &str = "/console";
const STYLE_PATH: &str = "/console/console.css";
const SCRIPT_PATH: &str = "/console/console.js";

const PAGE: &str = include_str!("console.html");
const STYLE: &str = concat!(include_str!("../../base.css"), include_str!("console.css"));
const SCRIPT: &str = include_str!("console.js");

/// Only what this port serves itself, and no frame around the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The routes of the page.
pub(crate) fn routes() -> Router {
    Router::new()
        .route(PATH, get(async || file(PAGE, "text/html; charset=utf-8")))
        .route(STYLE_PATH, get(async || file(STYLE, "text/css; charset=utf-8")))
        .route(SCRIPT_PATH, get(async || file(SCRIPT, "text/javascript; charset=utf-8")))
}

fn file(text: &'static str, content_type: &'static str) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().extend([
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A new version has another script for the same page.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]);
    response
}
