//! The OpenAPI document of the HTTP port, for programs and for people.
//!
//! | path | |
//! |---|---|
//! | `/openapi.json` | an OpenAPI 3.1 document |
//! | `/openapi` | the same as an HTML page |
//!
//! The document is created from the code: paths are the constants by which front ends are found,
//! schemas come from the types that are parsed and serialised, and problems from their kinds. It
//! describes every front end, including those that a configuration disables.

mod description;
mod document;
mod page;

use std::sync::LazyLock;

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::get,
};
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

use self::description::{DOCUMENT_PATH, PAGE_PATH};

/// The document and the page, created at first use.
static MADE: LazyLock<Made> = LazyLock::new(Made::new);

struct Made {
    document: Bytes,
    page: Bytes,
    /// The page's `Content-Security-Policy`.
    policy: HeaderValue,
}

impl Made {
    fn new() -> Self {
        let document = serde_json::to_value(document::document())
            .expect("a document is strings, numbers and lists");
        let policy = HeaderValue::from_str(&page::content_security_policy())
            .expect("a policy is printable ASCII");
        Self {
            document: format!("{document:#}").into(),
            page: page::render(&document).into(),
            policy,
        }
    }
}

/// Returns the routes `/openapi.json` and `/openapi`.
pub(crate) fn routes() -> Router {
    Router::new()
        .route(
            DOCUMENT_PATH,
            get(async || {
                answer(
                    &MADE.document,
                    [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                )
            }),
        )
        .route(PAGE_PATH, get(async || answer(&MADE.page, page_fields())))
}

/// Returns the document as text.
pub(crate) fn text() -> &'static [u8] {
    &MADE.document
}

fn page_fields() -> [(HeaderName, HeaderValue); 4] {
    [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, MADE.policy.clone()),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

fn answer(body: &Bytes, fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Response {
    let mut response = Response::new(Body::from(body.clone()));
    response.headers_mut().extend(fields);
    response
}

/// Returns the example bodies for the front end at `path`, each with its media type.
#[cfg(test)]
pub(crate) fn examples(path: &str) -> Vec<(String, serde_json::Value)> {
    let document = serde_json::to_value(document::document()).unwrap();
    let contents = document["paths"][path]["post"]["requestBody"]["content"].as_object().unwrap();
    let of_content = |(media_type, content): (&String, &serde_json::Value)| {
        let examples = content["examples"].as_object().unwrap().values();
        examples.map(|example| (media_type.clone(), example["value"].clone())).collect::<Vec<_>>()
    };
    contents.iter().flat_map(of_content).collect()
}

#[cfg(test)]
mod tests {
    use sluice_core::NormalPath;

    use super::*;
    use crate::{
        admin::{self, PATHS},
        front_ends::FRONT_ENDS,
    };

    fn paths() -> Vec<String> {
        document::document().paths.paths.into_keys().collect()
    }

    #[test]
    fn every_front_end_and_every_admin_path_is_described() {
        let paths = paths();
        for front_end in FRONT_ENDS {
            assert!(paths.iter().any(|path| path == front_end.path()), "{front_end:?}");
        }
        for root in PATHS {
            let is_covered = |path: &String| {
                admin::covering(&PATHS, &NormalPath::parse(path).unwrap()) == Some(root)
            };
            assert!(paths.iter().any(is_covered), "{root}");
        }
    }

    #[test]
    fn the_document_and_its_page_are_admin_paths() {
        assert!([DOCUMENT_PATH, PAGE_PATH].iter().all(|path| PATHS.contains(path)));
    }
}
