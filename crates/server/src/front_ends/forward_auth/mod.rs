//! `/v1/forward-auth`: for proxies that ask before they forward: nginx `auth_request`, Caddy
//! `forward_auth`, Traefik `ForwardAuth`, HAProxy.
//!
//! The proxy sends the head of the request that it holds, by any method, and what that request is
//! for:
//!
//! | field | |
//! |---|---|
//! | `X-Forwarded-Uri`, `X-Original-URI`, `X-Original-URL` | the path asked for, with or without scheme, host and query; `/` unless said |
//! | `X-Forwarded-Method`, `X-Original-Method` | the method; the proxy's own unless said |
//! | `X-Forwarded-For`, `Forwarded` | the client's address, believed when the proxy is one of `clients.trusted_proxies` |
//!
//! The answer is 200 without a body, or 429 with the decision as problem; both carry the header
//! fields for the proxy to hand on. When the store cannot decide and the limits leave the answer to
//! the caller it is 503, and the proxy's own failure mode decides.
//!
//! A proxy sets one of these names and usually hands the others through, so that a client could
//! send one to be taken for somebody who asks for something else. Therefore fields that contradict
//! each other are refused, with 400. A proxy that lets requests pass while this door cannot decide
//! (503) must not let them pass on 400.

mod description;

use std::{net::IpAddr, sync::Arc};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, Method, request::Parts};
use sluice::Checked;

use sluice_http::{Problem, ProblemKind, decision};
use utoipa::openapi::{HttpMethod, path::Operation};

use super::{FrontEnd, Services};
use crate::{describe::Schemas, engine::Engine};

/// `/v1/forward-auth`: decides about the request that a proxy holds.
#[derive(Debug)]
pub(crate) struct ForwardAuth {
    engine: Arc<Engine>,
}

/// The fields that name the method of the proxied request.
const METHODS: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-method"), HeaderName::from_static("x-original-method")];
/// The fields that name the path of the proxied request.
const TARGETS: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-original-url"),
];

impl FrontEnd for ForwardAuth {
    const PATH: &'static str = "/v1/forward-auth";
    const METHODS: &'static [HttpMethod] = &[
        HttpMethod::Get,
        HttpMethod::Head,
        HttpMethod::Post,
        HttpMethod::Put,
        HttpMethod::Patch,
        HttpMethod::Delete,
        HttpMethod::Options,
    ];

    fn new(services: &Services) -> Self {
        Self { engine: Arc::clone(&services.engine) }
    }

    async fn respond(&self, peer: IpAddr, head: &Parts, _: &mut Body) -> Result<Response, Problem> {
        let checked = decide(&self.engine, peer, head).await?;
        Ok(decision::respond_without_body(&checked.decision))
    }

    fn describe(schemas: &mut Schemas) -> Operation {
        description::describe(schemas)
    }
}

async fn decide(engine: &Engine, peer: IpAddr, head: &Parts) -> Result<Checked, Problem> {
    let identity = engine.identify(&head.headers, peer)?;
    let method = only(&head.headers, &METHODS, |method| method)?.unwrap_or(head.method.as_str());
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err(Problem::new(
            ProblemKind::InvalidRequest,
            "the method forwarded is no word as HTTP knows it: `GET`, `POST`",
        ));
    }
    let path = only(&head.headers, &TARGETS, path_of)?.unwrap_or("/");
    Ok(engine.limiter().check(&identity.request(method, path)).await?)
}

/// What all fields called one of `names` say, seen through `read`; `None` when there are none.
fn only<'h>(
    headers: &'h HeaderMap,
    names: &[HeaderName],
    read: impl Fn(&'h str) -> &'h str,
) -> Result<Option<&'h str>, Problem> {
    let mut found: Option<(&HeaderName, &str)> = None;
    for name in names {
        for value in headers.get_all(name) {
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| {
                Problem::new(
                    ProblemKind::InvalidRequest,
                    format!("header `{name}` is not UTF-8: encode what is not ASCII as %XX"),
                )
            })?;
            let value = read(text.trim());
            match found {
                Some((first, other)) if other != value => {
                    let what = format!(
                        "headers `{first}` and `{name}` contradict each other: let the proxy set one and remove the other"
                    );
                    return Err(Problem::new(ProblemKind::InvalidRequest, what));
                }
                _ => found = Some((name, value)),
            }
        }
    }
    Ok(found.map(|(_, value)| value))
}

/// The path of a request's target: `/a` of `/a?b` and of `https://host/a?b`.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find(['/', '?', '#']).map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    if end == 0 && !target.is_empty() { "/" } else { &path[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_target_is_found_in_every_form() {
        for (target, path) in [
            ("/a/b", "/a/b"),
            ("/a?b=/c", "/a"),
            ("/a#b", "/a"),
            ("https://example.org/a?b", "/a"),
            ("https://example.org", "/"),
            ("https://example.org?b", "/"),
            ("?b", "/"),
            ("/a?u=http://example.org/x", "/a"),
            ("/a://b/c", "/a://b/c"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn fields_that_agree_are_one_and_fields_that_contradict_are_refused() {
        let target = |fields: &[(&'static str, &str)]| {
            only(&headers(fields), &TARGETS, path_of).map(|path| path.map(str::to_owned))
        };
        assert_eq!(target(&[]), Ok(None));
        assert_eq!(target(&[("x-original-uri", "/a?x")]), Ok(Some("/a".to_owned())));
        assert_eq!(
            target(&[("x-original-url", "https://host/a?y"), ("x-forwarded-uri", "/a?x")]),
            Ok(Some("/a".to_owned()))
        );
        assert!(target(&[("x-original-uri", "/cheap"), ("x-forwarded-uri", "/dear")]).is_err());
        assert!(target(&[("x-forwarded-uri", "/cheap"), ("x-forwarded-uri", "/dear")]).is_err());
        assert!(
            only(&headers(&[("x-forwarded-uri", "/\u{ff}")]), &TARGETS, path_of).is_ok(),
            "UTF-8 is text"
        );
        let mut broken = HeaderMap::new();
        broken.insert("x-forwarded-uri", http::HeaderValue::from_bytes(b"/\xff").unwrap());
        assert!(only(&broken, &TARGETS, path_of).is_err());
    }
}
