//! What the HTTP port understands and answers, for programs and for people.
//!
//! | path | |
//! |---|---|
//! | `/openapi.json` | an OpenAPI 3.1 document |
//! | `/openapi` | the same as a page to read |
//!
//! The document is made of the code: paths are the constants by which doors are found, schemas come from the types that are read and written,
//! and problems from their kinds. It describes every door, also those that a configuration leaves closed.

mod document;
mod operations;
mod schemas;

use std::sync::LazyLock;

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::get,
};
use http::{HeaderValue, header::CONTENT_TYPE};

/// Where the document is.
pub(crate) const DOCUMENT_PATH: &str = "/openapi.json";

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = document::document().to_pretty_json().expect("a document is strings, numbers and lists");
    Bytes::from(text)
});

/// `/openapi.json`.
pub(crate) fn routes() -> Router {
    let document = async || {
        let mut response = Response::new(Body::from(DOCUMENT.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    Router::new().route(DOCUMENT_PATH, get(document))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front_ends::{self, HOUSE, check, envoy_rls, events, forward_auth};

    fn paths() -> Vec<String> {
        document::document().paths.paths.into_keys().collect()
    }

    #[test]
    fn every_door_and_every_house_path_is_described() {
        let paths = paths();
        for door in [check::PATH, check::BATCH_PATH, forward_auth::PATH, events::PATH, envoy_rls::json::PATH] {
            assert!(paths.iter().any(|path| path == door), "{door}");
        }
        for root in HOUSE {
            assert!(paths.iter().any(|path| front_ends::house_root(path) == Some(root)), "{root}");
        }
    }

    #[test]
    fn what_is_described_here_is_never_limited() {
        assert!(HOUSE.contains(&DOCUMENT_PATH));
    }
}
