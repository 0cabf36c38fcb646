//! The OpenAPI document as a whole.

use utoipa::openapi::{
    Components, Info, License, OpenApi, PathsBuilder, Tag,
    info::LicenseBuilder,
    path::PathItem,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use sluice_http::access::TOKEN_FIELD;

use super::description;
use crate::{
    admin,
    describe::{self, BASIC, BEARER, CALLER_BEARER, CALLER_TOKEN, Described, Schemas, Topic},
    front_ends::FRONT_ENDS,
};

const TITLE: &str = "Sluice";

const ABOUT: &str = "\
A rate limiter for a fleet. Any number of replicas share token buckets. A front end responds \
whether a request is allowed, and how many tokens the client has left.

Errors are problems as RFC 9457 describes them (`application/problem+json`) with a stable `type`; \
they take no tokens from any bucket. A method that a path does not support has status 405, with \
the supported methods in `Allow`. Input that is not HTTP has status 400, and a path or a head that \
is too long has status 414 or 431; these responses have no body.

Every other path is decided about as it is requested: status 200 or 429 with a decision as body, \
as if the request had been checked on its way there. With `listen.any_path: off`, and for a path \
of this API that is written wrongly, the status is 404. A gateway forwards every other path to its \
upstream, and keeps fewer of these paths for itself.

With `access.tokens`, front ends require a token.";

/// Returns the document of the HTTP port.
pub(super) fn document() -> OpenApi {
    let mut schemas = Schemas::default();
    let front_ends: Vec<Described> =
        FRONT_ENDS.iter().map(|front_end| front_end.describe(&mut schemas)).collect();
    let operations = front_ends
        .into_iter()
        .chain(admin::description::all(&mut schemas))
        .chain(description::all());
    let paths = operations.fold(PathsBuilder::new(), add);
    let mut components = Components::new();
    components.schemas.extend(schemas.into_named());
    components.add_security_scheme(
        BASIC,
        scheme(HttpAuthScheme::Basic, "The user and password of `admin.basic`."),
    );
    components.add_security_scheme(
        BEARER,
        scheme(HttpAuthScheme::Bearer, "The token of `admin.bearer`."),
    );
    components.add_security_scheme(
        CALLER_BEARER,
        scheme(HttpAuthScheme::Bearer, "One of `access.tokens`."),
    );
    let token = ApiKeyValue::with_description(TOKEN_FIELD.as_str(), "One of `access.tokens`.");
    components.add_security_scheme(CALLER_TOKEN, SecurityScheme::ApiKey(ApiKey::Header(token)));

    let mut info = Info::new(TITLE, env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    info.license = Some(license());
    let mut document = OpenApi::new(info, paths);
    document.components = Some(components);
    document.tags = Some(Topic::ALL.map(tag).into());
    document
}

fn add(paths: PathsBuilder, Described { path, methods, operation }: Described) -> PathsBuilder {
    let name = operation.operation_id.clone().expect("every operation has a name");
    methods.iter().enumerate().fold(paths, |paths, (place, method)| {
        let mut operation = operation.clone();
        // An operation's identifier has to be unique, so only the first method has the plain name.
        if place > 0 {
            operation.operation_id =
                Some(format!("{name}_{}", describe::verb(method).to_ascii_lowercase()));
        }
        paths.path(path, PathItem::new(method.clone(), operation))
    })
}

fn scheme(scheme: HttpAuthScheme, description: &str) -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(description)).build())
}

fn license() -> License {
    const NAME: &str = env!("CARGO_PKG_LICENSE");
    LicenseBuilder::new().name(NAME).identifier(Some(NAME)).build()
}

fn tag(topic: Topic) -> Tag {
    TagBuilder::new().name(topic.name()).description(Some(topic.about())).build()
}
