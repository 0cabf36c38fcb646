//! The request that the upstream gets: the client's request, without its hop-by-hop fields and with
//! the forwarding fields.

use std::{net::IpAddr, sync::Arc};

use axum::body::HttpBody;
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::upgrade::OnUpgrade;
use sluice_config::gateway::{GatewaySettings, HostField, UpstreamUrl};
use sluice_http::{Encrypted, access::TOKEN_FIELD};
use sluice_telemetry::propagate_trace;
use tracing::Span;

use crate::{
    deciding_fields::DecidingFields,
    destination::Destination,
    forwarded, hop_by_hop,
    location::PublicAddress,
    request_body::{RequestBody, Upload},
    upgrade,
};

const TE_ALONE: HeaderValue = HeaderValue::from_static("te");
const UPGRADE_ALONE: HeaderValue = HeaderValue::from_static("upgrade");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// A request to be forwarded. What depends on the connection is added last, and can be added again
/// for another connection.
#[derive(Debug)]
pub(crate) struct UpstreamRequest {
    method: Method,
    /// Empty while the request is sent, unless it may be sent again.
    headers: HeaderMap,
    target: PathAndQuery,
    /// The host that the client requested.
    host: Option<Authority>,
    host_field: HostField,
    says_te: bool,
    public: PublicAddress,
    /// The protocol that the client wants to upgrade to, and the client's end of the connection.
    upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// `None` for a request without a body.
    upload: Option<Arc<Upload>>,
    /// Whether the request was sent once more after a connection broke.
    was_repeated: bool,
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
    pub(crate) fn new(
        mut head: Parts,
        upload: Option<Arc<Upload>>,
        client: ClientConnection,
        destination: Destination,
        fields: &DecidingFields,
        settings: &GatewaySettings,
    ) -> Self {
        let Destination { host, target } = destination;
        let wanted = upgrade::requested(&head, upload.is_some(), &settings.upgrades);
        let upgrade = wanted.zip(head.extensions.remove::<OnUpgrade>());
        let mut headers = head.headers;
        fields.purge(&mut headers, client.trusted);
        hop_by_hop::remove(&mut headers, |name| fields.protects(name));
        let says_te = hop_by_hop::reduce_te(&mut headers);
        // hyper sends `100 Continue` to the client once the body is read.
        headers.remove(EXPECT);
        // A token of Sluice is not for the upstream.
        headers.remove(TOKEN_FIELD);
        let is_encrypted = head.extensions.get::<Encrypted>().is_some();
        forwarded::write(&mut headers, client.peer, client.trusted, host.as_ref(), is_encrypted);
        if let Some(name) = &settings.via {
            forwarded::via(&mut headers, head.version, name);
        }
        propagate_trace(&Span::current(), &mut headers);
        Self {
            method: head.method,
            public: PublicAddress::of(&headers),
            headers,
            target,
            host,
            host_field: settings.host,
            says_te,
            upgrade,
            upload,
            was_repeated: false,
        }
    }

    /// Returns whether the client requests an upgrade.
    pub(crate) const fn wants_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Removes the request for an upgrade.
    pub(crate) fn remove_upgrade(&mut self) {
        self.upgrade = None;
    }

    /// Takes the protocol that the client wants to upgrade to, and the client's end of the
    /// connection.
    pub(crate) const fn take_upgrade(&mut self) -> Option<(HeaderValue, OnUpgrade)> {
        self.upgrade.take()
    }

    /// Returns the address at which the client reaches the gateway.
    pub(crate) const fn public_address(&self) -> &PublicAddress {
        &self.public
    }

    /// Returns the body that the client sends, if there is one.
    pub(crate) const fn upload(&self) -> Option<&Arc<Upload>> {
        self.upload.as_ref()
    }

    /// Returns whether the request may be sent once more although the upstream may have processed
    /// it: its method is idempotent (RFC 9110, section 9.2.2), it has no body, and it was not
    /// repeated yet.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.is_idempotent()
            && self.upload.is_none()
            && self.upgrade.is_none()
            && !self.was_repeated
    }

    /// Returns whether the request may be sent again although its head may have been sent: nothing
    /// of its body was, so that no upstream has the whole request, or its method is idempotent and
    /// it has no body.
    pub(crate) fn can_follow_its_head(&self) -> bool {
        self.upload.as_ref().map_or_else(|| self.is_idempotent(), |upload| upload.is_unsent())
    }

    fn is_idempotent(&self) -> bool {
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
            .contains(&self.method)
    }

    /// Notes that the request is sent once more.
    pub(crate) const fn note_repeat(&mut self) {
        self.was_repeated = true;
    }

    /// Returns whether the whole request is still there.
    pub(crate) fn can_be_sent_again(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_complete())
    }

    /// Makes the request for an HTTP/1.1 connection to `upstream`. With `keeps`, it can be made
    /// again.
    pub(crate) fn over_http1(
        &mut self,
        upstream: &UpstreamUrl,
        keeps: bool,
    ) -> Request<RequestBody> {
        let host = self.authority(upstream);
        let host = host.as_str().parse().expect("an authority is a valid field value");
        let mut request = self.begin(keeps, false);
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(self.target.clone());
        let chunked =
            request.body().size_hint().exact().is_none() && !request.body().is_end_stream();
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if let Some((protocol, _)) = &self.upgrade {
            headers.insert(CONNECTION, UPGRADE_ALONE);
            headers.insert(UPGRADE, protocol.clone());
        } else if self.says_te {
            headers.insert(CONNECTION, TE_ALONE);
        }
        if chunked {
            // Without it, servers assume that a GET has no body.
            headers.insert(TRANSFER_ENCODING, CHUNKED);
        }
        request
    }

    /// Makes the request for an HTTP/2 connection to `upstream`. It can be made again, since an
    /// upstream may decline it.
    pub(crate) fn over_http2(&mut self, upstream: &UpstreamUrl) -> Request<RequestBody> {
        let uri = Uri::builder()
            .scheme(upstream.scheme().clone())
            .authority(self.authority(upstream).clone())
            .path_and_query(self.target.clone())
            .build()
            .expect("a scheme, an authority and a path are a URI");
        let mut request = self.begin(true, true);
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        for name in [HOST, CONNECTION, UPGRADE, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        request
    }

    /// Restores the request from one that came back unsent.
    pub(crate) fn restore(&mut self, unsent: Request<RequestBody>) {
        self.headers = unsent.into_parts().0.headers;
    }

    fn begin(&mut self, keeps_head: bool, keeps_body: bool) -> Request<RequestBody> {
        let body = match &self.upload {
            None => RequestBody::empty(),
            Some(upload) => upload.begin(keeps_body),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() =
            if keeps_head { self.headers.clone() } else { std::mem::take(&mut self.headers) };
        if request.body().size_hint().exact().is_none() {
            // A length beside chunked encoding is wrong, and a server that used it would take the
            // rest of the body for another request.
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        request
    }

    fn authority<'a>(&'a self, upstream: &'a UpstreamUrl) -> &'a Authority {
        match (self.host_field, &self.host) {
            (HostField::Keep, Some(host)) => host,
            _ => upstream.authority(),
        }
    }
}

impl Drop for UpstreamRequest {
    /// The request is not sent again.
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.settle();
        }
    }
}
