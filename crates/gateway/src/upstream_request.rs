//! The request that an upstream gets: the client's own, without what was between the client and us,
//! and with what the upstream should know.

use std::net::IpAddr;

use axum::body::HttpBody;
use http::{
    HeaderValue, Method, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::upgrade::OnUpgrade;
use sluice_telemetry::propagate_trace;
use tracing::Span;

use crate::{forwarded, hop_by_hop, request_body::RequestBody, target};
use sluice_config::gateway::{HostField, UpstreamUrl};
use sluice_http::{Problem, ProblemKind};

const TE_ALONE: HeaderValue = HeaderValue::from_static("te");
const UPGRADE_ALONE: HeaderValue = HeaderValue::from_static("upgrade");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// A request that is handed on. What depends on the connection that it goes over is put on at last,
/// and can be put on anew for another.
#[derive(Debug)]
pub(crate) struct UpstreamRequest {
    request: Request<RequestBody>,
    kept: RequestRemainder,
}

/// What stays here of a request that is on its way.
#[derive(Debug)]
pub(crate) struct RequestRemainder {
    target: PathAndQuery,
    /// What the client asked for.
    host: Option<Authority>,
    host_field: HostField,
    says_te: bool,
    /// What the client would rather speak, and its end of the connection.
    pub(crate) upgrade: Option<(HeaderValue, OnUpgrade)>,
}

/// Who sent the request.
#[derive(Clone, Copy, Debug)]
pub struct ClientConnection {
    /// Who is connected.
    pub peer: IpAddr,
    /// Whether that is a trusted proxy.
    pub trusted: bool,
}

impl UpstreamRequest {
    /// What is handed on of the request with this head.
    ///
    /// # Errors
    /// When it cannot be told for whom it is.
    pub(crate) fn new(
        mut head: Parts,
        body: RequestBody,
        sent: ClientConnection,
        host_field: HostField,
        via: Option<&HeaderValue>,
    ) -> Result<Self, Problem> {
        let host = host_of(&head)?;
        let target = target_of(&head.uri)?;
        let wanted =
            hop_by_hop::upgrade(&head.headers).filter(|_| head.version == Version::HTTP_11);
        let upgrade = wanted.zip(head.extensions.remove::<OnUpgrade>());
        let headers = &mut head.headers;
        hop_by_hop::remove(headers);
        let says_te = hop_by_hop::reduce_te(headers);
        if body.size_hint().exact().is_none() {
            // Beside chunks a length is a lie, and whoever believes it takes the rest for another
            // request.
            headers.remove(CONTENT_LENGTH);
        }
        // Whoever waits to be told to go on is told so once the body is asked for.
        headers.remove(EXPECT);
        forwarded::write(headers, sent.peer, sent.trusted, host.as_ref());
        if let Some(name) = via {
            forwarded::via(headers, head.version, name);
        }
        propagate_trace(&Span::current(), headers);
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.headers_mut() = head.headers;
        Ok(Self { request, kept: RequestRemainder { target, host, host_field, says_te, upgrade } })
    }

    /// Whether the client asks for an upgrade.
    pub(crate) const fn wants_upgrade(&self) -> bool {
        self.kept.upgrade.is_some()
    }

    /// Forgets that the client asks for an upgrade.
    pub(crate) fn without_upgrade(mut self) -> Self {
        self.kept.upgrade = None;
        self
    }

    /// For a connection in HTTP/1.1 to `upstream`.
    pub(crate) fn over_http1(
        self,
        upstream: &UpstreamUrl,
    ) -> (Request<RequestBody>, RequestRemainder) {
        let Self { mut request, kept } = self;
        let host =
            kept.authority(upstream).as_str().parse().expect("an authority can stand in a field");
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(kept.target.clone());
        let chunked =
            request.body().size_hint().exact().is_none() && !request.body().is_end_stream();
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if let Some((protocol, _)) = &kept.upgrade {
            headers.insert(CONNECTION, UPGRADE_ALONE);
            headers.insert(UPGRADE, protocol.clone());
        } else if kept.says_te {
            headers.insert(CONNECTION, TE_ALONE);
        }
        if chunked {
            // Else a GET is taken to have no body.
            headers.insert(TRANSFER_ENCODING, CHUNKED);
        }
        (request, kept)
    }

    /// For a connection in HTTP/2 to `upstream`.
    pub(crate) fn over_http2(
        self,
        upstream: &UpstreamUrl,
    ) -> (Request<RequestBody>, RequestRemainder) {
        let Self { mut request, kept } = self;
        let uri = Uri::builder()
            .scheme(upstream.scheme().clone())
            .authority(kept.authority(upstream).clone())
            .path_and_query(kept.target.clone())
            .build()
            .expect("a scheme, an authority and a path are a URI");
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        for name in [HOST, CONNECTION, UPGRADE, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        (request, kept)
    }
}

impl RequestRemainder {
    /// The request once more, which came back without having been sent.
    pub(crate) const fn with(self, request: Request<RequestBody>) -> UpstreamRequest {
        UpstreamRequest { request, kept: self }
    }

    fn authority<'a>(&'a self, upstream: &'a UpstreamUrl) -> &'a Authority {
        match (self.host_field, &self.host) {
            (HostField::Keep, Some(host)) => host,
            _ => upstream.authority(),
        }
    }
}

/// For whom the request is: as its target says, else as `Host` does (RFC 9112, section 3.2).
fn host_of(head: &Parts) -> Result<Option<Authority>, Problem> {
    let refuse = |what| Err(Problem::new(ProblemKind::InvalidRequest, what));
    let mut lines = head.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return refuse("header `host` is given twice: send it once");
    }
    if let Some(authority) = head.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    match line {
        None => Ok(None),
        Some(line) if line.is_empty() => Ok(None),
        Some(line) => match Authority::try_from(line.as_bytes()) {
            Ok(host) if !host.as_str().contains('@') => Ok(Some(host)),
            _ => refuse(
                "header `host` is no host and port: send `example.org` or `example.org:8000`",
            ),
        },
    }
}

fn target_of(uri: &Uri) -> Result<PathAndQuery, Problem> {
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match target::of(&target) {
        std::borrow::Cow::Borrowed(_) => Ok(target),
        std::borrow::Cow::Owned(resolved) => PathAndQuery::try_from(resolved).map_err(|_| {
            Problem::new(ProblemKind::InvalidRequest, "the path cannot be handed on: send another")
        }),
    }
}

/// Whether a request by this method may be handed on at all.
pub(crate) fn require_forwardable(method: &Method) -> Result<(), Problem> {
    if method == Method::CONNECT {
        return Err(Problem::new(
            ProblemKind::InvalidRequest,
            "CONNECT is for forward proxies, and this is none",
        ));
    }
    Ok(())
}
