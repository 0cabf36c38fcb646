//! The request that the upstream gets: the client's request, without its hop-by-hop fields and with
//! the forwarding fields.

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
use sluice_http::{Encrypted, Problem, ProblemKind, access::TOKEN_FIELD};

const TE_ALONE: HeaderValue = HeaderValue::from_static("te");
const UPGRADE_ALONE: HeaderValue = HeaderValue::from_static("upgrade");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// A request to be forwarded. What depends on the connection is added last, and can be added again
/// for another connection.
#[derive(Debug)]
pub(crate) struct UpstreamRequest {
    request: Request<RequestBody>,
    remainder: RequestRemainder,
}

/// What is kept of a request that was sent, to send it again.
#[derive(Debug)]
pub(crate) struct RequestRemainder {
    target: PathAndQuery,
    /// The host that the client requested.
    host: Option<Authority>,
    host_field: HostField,
    says_te: bool,
    /// The protocol that the client wants to upgrade to, and the client's end of the connection.
    pub(crate) upgrade: Option<(HeaderValue, OnUpgrade)>,
}

/// The connection over which a request came.
#[derive(Clone, Copy, Debug)]
pub struct ClientConnection {
    /// The address of the peer.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
}

impl UpstreamRequest {
    /// Creates the request to forward.
    ///
    /// # Errors
    /// Returns a problem when the requested host is missing or ambiguous.
    pub(crate) fn new(
        mut head: Parts,
        body: RequestBody,
        client: ClientConnection,
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
            // A length beside chunked encoding is wrong, and a server that used it would take the
            // rest of the body for another request.
            headers.remove(CONTENT_LENGTH);
        }
        // hyper sends `100 Continue` to the client once the body is read.
        headers.remove(EXPECT);
        // A token of Sluice is not for the upstream.
        headers.remove(TOKEN_FIELD);
        let is_encrypted = head.extensions.get::<Encrypted>().is_some();
        forwarded::write(headers, client.peer, client.trusted, host.as_ref(), is_encrypted);
        if let Some(name) = via {
            forwarded::via(headers, head.version, name);
        }
        propagate_trace(&Span::current(), headers);
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.headers_mut() = head.headers;
        Ok(Self {
            request,
            remainder: RequestRemainder { target, host, host_field, says_te, upgrade },
        })
    }

    /// Returns whether the client requests an upgrade.
    pub(crate) const fn wants_upgrade(&self) -> bool {
        self.remainder.upgrade.is_some()
    }

    /// Removes the request for an upgrade.
    pub(crate) fn without_upgrade(mut self) -> Self {
        self.remainder.upgrade = None;
        self
    }

    /// Converts the request for an HTTP/1.1 connection to `upstream`.
    pub(crate) fn over_http1(
        self,
        upstream: &UpstreamUrl,
    ) -> (Request<RequestBody>, RequestRemainder) {
        let Self { mut request, remainder } = self;
        let host = remainder
            .authority(upstream)
            .as_str()
            .parse()
            .expect("an authority is a valid field value");
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(remainder.target.clone());
        let chunked =
            request.body().size_hint().exact().is_none() && !request.body().is_end_stream();
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if let Some((protocol, _)) = &remainder.upgrade {
            headers.insert(CONNECTION, UPGRADE_ALONE);
            headers.insert(UPGRADE, protocol.clone());
        } else if remainder.says_te {
            headers.insert(CONNECTION, TE_ALONE);
        }
        if chunked {
            // Without it, servers assume that a GET has no body.
            headers.insert(TRANSFER_ENCODING, CHUNKED);
        }
        (request, remainder)
    }

    /// Converts the request for an HTTP/2 connection to `upstream`.
    pub(crate) fn over_http2(
        self,
        upstream: &UpstreamUrl,
    ) -> (Request<RequestBody>, RequestRemainder) {
        let Self { mut request, remainder } = self;
        let uri = Uri::builder()
            .scheme(upstream.scheme().clone())
            .authority(remainder.authority(upstream).clone())
            .path_and_query(remainder.target.clone())
            .build()
            .expect("a scheme, an authority and a path are a URI");
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        for name in [HOST, CONNECTION, UPGRADE, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        (request, remainder)
    }
}

impl RequestRemainder {
    /// Restores the request from one that came back unsent.
    pub(crate) const fn with(self, request: Request<RequestBody>) -> UpstreamRequest {
        UpstreamRequest { request, remainder: self }
    }

    fn authority<'a>(&'a self, upstream: &'a UpstreamUrl) -> &'a Authority {
        match (self.host_field, &self.host) {
            (HostField::Keep, Some(host)) => host,
            _ => upstream.authority(),
        }
    }
}

/// Returns the requested host: that of the target, or else of `Host` (RFC 9112, section 3.2).
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
                "header `host` is not a host and port: send `example.org` or `example.org:8000`",
            ),
        },
    }
}

fn target_of(uri: &Uri) -> Result<PathAndQuery, Problem> {
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match target::of(&target) {
        std::borrow::Cow::Borrowed(_) => Ok(target),
        std::borrow::Cow::Owned(resolved) => PathAndQuery::try_from(resolved)
            .map_err(|_| Problem::new(ProblemKind::InvalidRequest, "the path cannot be forwarded")),
    }
}

/// Rejects methods that cannot be forwarded.
pub(crate) fn require_forwardable(method: &Method) -> Result<(), Problem> {
    if method == Method::CONNECT {
        return Err(Problem::new(
            ProblemKind::InvalidRequest,
            "CONNECT is not supported: this is a reverse proxy",
        ));
    }
    Ok(())
}
