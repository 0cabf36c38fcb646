//! Describes the OpenAPI document and its page themselves.

use utoipa::openapi::{ObjectBuilder, Type, content::ContentBuilder, response::ResponseBuilder};

use crate::{
    admin::description::get,
    describe::{Described, JSON, Topic, operation, with_responses},
};

/// The path of the document.
pub(super) const DOCUMENT_PATH: &str = "/openapi.json";
/// The path of the page.
pub(super) const PAGE_PATH: &str = "/openapi";

/// Describes both paths.
pub(super) fn all() -> [Described; 2] {
    [document(), page_to_read()]
}

fn document() -> Described {
    let schema = ObjectBuilder::new().schema_type(Type::Object);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let found =
        ResponseBuilder::new().description("An OpenAPI document.").content(JSON, content).build();
    let operation =
        operation(Topic::Process, "openapi", "This document", "The same for every configuration.");
    get(DOCUMENT_PATH, with_responses(operation, [("200", found)]).build())
}

fn page_to_read() -> Described {
    let html =
        ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
    let found = ResponseBuilder::new()
        .description("An HTML page without scripts that loads nothing.")
        .content("text/html", html)
        .build();
    let operation = operation(
        Topic::Process,
        "openapiPage",
        "This document as an HTML page",
        "The same for every configuration.",
    );
    get(PAGE_PATH, with_responses(operation, [("200", found)]).build())
}
