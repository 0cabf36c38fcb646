//! `/v1/forward-auth`: for proxies that ask for permission before they forward a request: nginx
//! `auth_request`, Caddy `forward_auth`, Traefik `ForwardAuth`, HAProxy.
//!
//! The proxy sends the head of the request that it holds, by any method, with these fields:
//!
//! - `X-Forwarded-Uri`, `X-Original-URI`, `X-Original-URL`: the requested path, with or without
//!   scheme, host and query; `/` by default.
//! - `X-Forwarded-Method`, `X-Original-Method`: the requested method; the method of this request by
//!   default.
//! - `X-Forwarded-For`, `Forwarded`: the client's address, used if the proxy is one of
//!   `clients.trusted_proxies`.
//! - `X-Sluice-Token`: a token, if `access.tokens` requires one.
//!
//! The response has status 200 without a body, or 429 with the decision as a problem; both have the
//! rate limit fields for the proxy to pass on. When the store cannot decide and the limits leave
//! the decision to the caller, the status is 503, and the proxy's own failure mode decides.
//!
//! A proxy sets one of these fields and usually passes the others through, so a client could send
//! one to pretend a different request. Therefore contradicting fields are rejected with status 400.
//! A proxy that lets requests pass on status 503 must not let them pass on status 400.

pub(crate) mod description;

use std::{net::IpAddr, sync::Arc};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, Method, request::Parts};
use sluice::{Checked, identify::Headers};

use sluice_http::{Problem, ProblemKind, access::TokenFields, decision};
use utoipa::openapi::HttpMethod;

use super::{FrontEnd, Services};
use crate::engine::Engine;

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

    /// `Authorization` is that of the client whose request the proxy holds.
    const TOKEN_FIELDS: TokenFields = TokenFields::OwnAlone;

    fn new(services: &Services) -> Self {
        Self { engine: Arc::clone(&services.engine) }
    }

    async fn respond(&self, peer: IpAddr, head: &Parts, _: &mut Body) -> Result<Response, Problem> {
        let checked = decide(&self.engine, peer, head).await?;
        Ok(decision::respond_without_body(&checked.decision))
    }
}

async fn decide(engine: &Engine, peer: IpAddr, head: &Parts) -> Result<Checked, Problem> {
    let identity = engine.identify(&head.headers, peer)?;
    let method = only(&head.headers, &METHODS, |method| method)?.unwrap_or(head.method.as_str());
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err(Problem::new(
            ProblemKind::InvalidRequest,
            "the forwarded method is not a valid HTTP method such as `GET` or `POST`",
        ));
    }
    let path = only(&head.headers, &TARGETS, path_of)?.unwrap_or("/");
    let request = engine.request(&identity, method, path, &head.headers);
    Ok(engine.limiter().check_identified(&identity, &request).await?)
}

/// Returns the value that all fields called one of `names` have, after `read`; `None` if there are
/// no such fields.
fn only<'h>(
    headers: &'h HeaderMap,
    names: &[HeaderName],
    read: impl Fn(&'h str) -> &'h str,
) -> Result<Option<&'h str>, Problem> {
    let mut found: Option<(&HeaderName, &str)> = None;
    for name in names {
        let Some(value) = Headers::new(headers).value(name)? else { continue };
        let text = std::str::from_utf8(value).map_err(|_| {
            Problem::new(
                ProblemKind::InvalidRequest,
                format!("header `{name}` is not UTF-8: percent-encode other bytes"),
            )
        })?;
        let value = read(text);
        match found {
            Some((first, other)) if other != value => {
                let what = format!(
                    "headers `{first}` and `{name}` contradict each other: \
                     let the proxy set one and remove the other"
                );
                return Err(Problem::new(ProblemKind::InvalidRequest, what));
            }
            _ => found = Some((name, value)),
        }
    }
    Ok(found.map(|(_, value)| value))
}

/// Returns the path of a request target: `/a` for `/a?b` and for `https://host/a?b`.
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
    fn the_path_is_found_in_every_form_of_target() {
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
    fn equal_fields_are_accepted_and_contradicting_fields_are_rejected() {
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
