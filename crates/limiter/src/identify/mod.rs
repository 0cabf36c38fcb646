//! Finds out which client sends a request: from its headers and the address of its peer.
//!
//! An [`Identifier`] tries its [sources](ClientSource) in order. The first one that names a client
//! is used; when none does, the client is the address.
//!
//! - `header:x-api-key`: the value of the header. An empty value counts as absent.
//! - `bearer`: the whole token of `Authorization: Bearer`.
//! - `bearer:sub`: the issuer and subject (`iss`, `sub`) of that token, when it is a JSON Web
//!   Token. Use it only for tokens that a proxy in front has **verified already**: the signature is
//!   not checked here, and anybody can write a token with any subject. A token without a readable
//!   subject is used as under `bearer`. In a tier's list of clients such a client is written
//!   `"https://issuer\nsubject"`. No header can hold a line break, so no other key equals it.
//! - `ip`: the address.
//!
//! A request in which one of these headers has two different values is rejected: whoever reads it
//! next could choose another one. [`Headers`] holds the same for the headers that limits read.
//!
//! # Keys that nothing vouches for
//!
//! No key is verified here: something in front of the limiter, or the program itself, has to do
//! that. A client that invents a key for each request is a new client each time. So that this gains
//! little, one address may make 600 requests a minute under keys that no tier lists and for which
//! no trusted proxy names a tier ([`Identifier::with_unverified`]).
//! [`Limiter::check_identified`](crate::Limiter::check_identified) counts them, and so does
//! [`RateLimitLayer`](crate::RateLimitLayer): in the memory of the process, without the store, as
//! its share among the live replicas.
//!
//! The address has to be the client's. Where no proxies are trusted, a request with
//! `X-Forwarded-For` or `Forwarded` is not counted, since it may come from a proxy with the
//! requests of many users; neither is one whose address is that of a trusted proxy.
//!
//! # Addresses
//!
//! The address is the peer's, unless the peer is a trusted proxy. Then `X-Forwarded-For` is read
//! from the right, all its lines as one list. Every proxy adds the address that it was connected to
//! at that end, so what a client wrote itself is further left. The first address that is not a
//! trusted proxy is the client's; where all are trusted, it is the leftmost one. An entry that is
//! not an address (`unknown`, `_hidden`, an empty one) ends the reading at the address before it.
//!
//! `Forwarded` (RFC 7239) is read in the same way, but only where there is no `X-Forwarded-For`:
//! nearly all proxies write the latter and pass the former on unchanged. A proxy that writes
//! `Forwarded` has to remove `X-Forwarded-For`.
//!
//! # Tiers
//!
//! A tier header counts only when the peer is a trusted proxy, which has to overwrite what a client
//! sends under that name.
//!
//! ```
//! use sluice::{Client, identify::Identifier};
//!
//! let identifier = Identifier::default().with_trusted_proxies(vec!["10.0.0.0/8".parse()?]);
//! let mut headers = http::HeaderMap::new();
//! headers.insert("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.0.0.2".parse()?);
//!
//! let identity = identifier.identify(&headers, "10.0.0.1".parse()?)?;
//! assert_eq!(identity.client(), Client::Address("198.51.100.7".parse()?));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod address;
mod bearer;
mod fields;
mod forwarded;
mod source;

use std::{borrow::Cow, fmt, net::IpAddr};

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use ipnet::IpNet;
use sluice_core::{Client, Rate, RefillRate, Request, RequestError};

use crate::unverified::Allowance;

pub use address::{canonical_network, parse_address};
pub use fields::Headers;
pub use forwarded::{Hop, chain_field, hops};
pub use source::{ClientSource, ClientSourceError};

/// How many requests a minute an address may make by default under keys that nothing vouches for:
/// ten times the default limit of one client, so that the users of one office fit.
const DEFAULT_ALLOWANCE: u64 = 600;

/// Finds out which client sends a request.
#[derive(Clone, Debug)]
pub struct Identifier {
    sources: Box<[ClientSource]>,
    trusted_proxies: Box<[IpNet]>,
    tier_header: Option<HeaderName>,
    /// What one address may ask under keys that nothing vouches for.
    unverified: Option<Rate>,
}

/// The key of a client, and the source that named it.
type SourcedKey<'s, 'h> = (&'s ClientSource, Cow<'h, [u8]>);

/// The client that sends a request.
#[derive(Clone)]
pub struct Identity<'h> {
    /// `None` when only the address identifies the client.
    key: Option<Cow<'h, [u8]>>,
    address: IpAddr,
    tier: Option<&'h str>,
    headers: Headers<'h>,
    /// The peer, when it sends forwarding fields and is no trusted proxy.
    untrusted_proxy: Option<IpAddr>,
    /// What the address may ask, when the key is one that nothing vouches for.
    allowance: Option<Allowance>,
}

impl Identifier {
    /// Creates an identifier that tries `sources` in order and trusts no proxies.
    ///
    /// Where a source is a key, one address may make 600 requests a minute under keys that nothing
    /// vouches for; [`with_unverified`](Self::with_unverified) changes that.
    #[must_use]
    pub fn new(sources: Vec<ClientSource>) -> Self {
        let has_keys = sources.iter().any(|source| *source != ClientSource::Address);
        Self {
            sources: sources.into(),
            trusted_proxies: Box::default(),
            tier_header: None,
            unverified: has_keys.then(default_allowance),
        }
    }

    /// Trusts the peers in these networks to forward the client's address and tier. A network of
    /// IPv4-mapped IPv6 addresses is the same as the [IPv4 network](canonical_network).
    #[must_use]
    pub fn with_trusted_proxies(mut self, networks: Vec<IpNet>) -> Self {
        let canonical = |network| canonical_network(network).unwrap_or(network);
        self.trusted_proxies = networks.into_iter().map(canonical).collect();
        self
    }

    /// Sets what one address may ask under keys that nothing vouches for, or with `None` that it is
    /// not bounded: then something in front of the limiter has to verify every key.
    #[must_use]
    pub fn with_unverified(mut self, per_address: impl Into<Option<Rate>>) -> Self {
        self.unverified = per_address.into();
        self
    }

    /// Reads the client's tier from this header, when it comes from a trusted proxy.
    #[must_use]
    pub fn with_tier_header(mut self, name: HeaderName) -> Self {
        self.tier_header = Some(name);
        self
    }

    /// Identifies the client of a request with these headers over a connection from `peer`.
    ///
    /// # Errors
    /// When a header names several clients, one with too long a key, or several tiers.
    pub fn identify<'h>(
        &self,
        headers: &'h HeaderMap,
        peer: IpAddr,
    ) -> Result<Identity<'h>, RequestError> {
        let located = self.locate(headers, peer)?;
        let key = self.key(located.headers)?.map(|(_, key)| key);
        let allowance = self.unverified.filter(|_| key.is_some() && self.is_countable(&located));
        let allowance = allowance.map(|rate| Allowance { rate, address: located.address });
        Ok(Identity { key, allowance, ..located })
    }

    /// Returns whether the request counts for what its address may ask under unverified keys.
    fn is_countable(&self, located: &Identity<'_>) -> bool {
        // Through a proxy that is not named, or that does not forward the client's address, all
        // users would have one address. Once proxies are named, whoever else sends their fields is
        // a client.
        let may_be_a_proxy = located.untrusted_proxy.is_some() && self.trusted_proxies.is_empty();
        let vouched_for = located.tier.is_some();
        !vouched_for
            && !may_be_a_proxy
            && !located.address.is_unspecified()
            && !self.trusts(located.address)
    }

    /// Returns the source that names the client of a request with these headers.
    ///
    /// # Errors
    /// As [`identify`](Self::identify) for the headers that name clients.
    pub fn source(&self, headers: &HeaderMap) -> Result<&ClientSource, RequestError> {
        let found = self.key(Headers::new(headers))?;
        Ok(found.map_or(&ClientSource::Address, |(source, _)| source))
    }

    /// Returns the first key in the headers, and its source.
    fn key<'h>(&self, headers: Headers<'h>) -> Result<Option<SourcedKey<'_, 'h>>, RequestError> {
        for source in &self.sources {
            let key = match source {
                ClientSource::Header(name) => fields::key(headers, name)?.map(Cow::Borrowed),
                ClientSource::Bearer => bearer::token(headers)?.map(Cow::Borrowed),
                ClientSource::BearerSubject => bearer::subject(headers)?,
                ClientSource::Address => break,
            };
            if let Some(key) = key {
                return Ok(Some((source, key)));
            }
        }
        Ok(None)
    }

    /// Identifies the client by its address alone.
    pub(crate) fn locate<'h>(
        &self,
        headers: &'h HeaderMap,
        peer: IpAddr,
    ) -> Result<Identity<'h>, RequestError> {
        let peer = peer.to_canonical();
        let trusted = self.trusts(peer);
        let address = if trusted {
            forwarded::client_address(headers, peer, |hop| self.trusts(hop))
        } else {
            peer
        };
        let untrusted_proxy =
            (!trusted && !peer.is_unspecified() && forwarded::is_sent(headers)).then_some(peer);
        let headers = Headers::new(headers);
        let tier = match self.tier_header.as_ref().filter(|_| trusted) {
            Some(name) => fields::text(headers, name)?,
            None => None,
        };
        let allowance = None;
        Ok(Identity { key: None, address, tier, headers, untrusted_proxy, allowance })
    }

    /// Returns the names of all headers that a client or its tier is read from, sorted. Those that
    /// a client's address is read from are not among them.
    #[must_use]
    pub fn fields(&self) -> Vec<HeaderName> {
        let source = |source: &ClientSource| match source {
            ClientSource::Header(name) => Some(name.clone()),
            ClientSource::Bearer | ClientSource::BearerSubject => Some(AUTHORIZATION),
            ClientSource::Address => None,
        };
        let mut fields: Vec<HeaderName> = self.sources.iter().filter_map(source).collect();
        fields.extend(self.tier_header.clone());
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        fields
    }

    /// Returns the header that is read only when a trusted proxy sends it: that of the tier, unless
    /// clients are identified by it too.
    #[must_use]
    pub fn field_of_trusted_proxies(&self) -> Option<&HeaderName> {
        let is_source = |name: &HeaderName| {
            self.sources.iter().any(|source| *source == ClientSource::Header(name.clone()))
        };
        self.tier_header.as_ref().filter(|name| !is_source(name))
    }

    /// Returns whether `peer` is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let address = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

impl Default for Identifier {
    /// Identifies clients by their address alone, and trusts no proxies.
    ///
    /// A key that nobody has verified is no identity: whoever invents a new one for each request is
    /// a new client with full buckets each time.
    fn default() -> Self {
        Self::new(vec![ClientSource::Address])
    }
}

fn default_allowance() -> Rate {
    let rate = RefillRate::per_minute(DEFAULT_ALLOWANCE).expect("the number is a rate");
    Rate::new(rate, DEFAULT_ALLOWANCE).expect("a bucket of a minute's tokens fills in a minute")
}

impl fmt::Debug for Identity<'_> {
    /// Leaves out keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, headers) = (self.client(), &self.headers);
        f.debug_struct("Identity")
            .field("client", &client)
            .field("address", &self.address)
            .field("tier", &self.tier)
            .field("headers", headers)
            .finish()
    }
}

impl Identity<'_> {
    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> Client<'_> {
        self.key.as_deref().map_or(Client::Address(self.address), Client::Key)
    }

    /// Returns the address that the request comes from, behind trusted proxies.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the client's tier, which a trusted proxy named.
    #[must_use]
    pub const fn tier(&self) -> Option<&str> {
        self.tier
    }

    /// Returns the peer when it sends `X-Forwarded-For` or `Forwarded` and is no trusted proxy, so
    /// that these fields were ignored.
    #[must_use]
    pub const fn untrusted_proxy(&self) -> Option<IpAddr> {
        self.untrusted_proxy
    }

    /// Returns what the request's address may ask under keys that nothing vouches for, if the
    /// request counts for that unless a tier lists its client.
    #[must_use]
    pub fn unverified(&self) -> Option<Rate> {
        self.allowance.map(|allowance| allowance.rate)
    }

    pub(crate) const fn allowance(&self) -> Option<&Allowance> {
        self.allowance.as_ref()
    }

    /// Returns this client's request for `path`, at a cost of one token.
    #[must_use]
    pub fn request<'a>(&'a self, method: &'a str, path: &'a str) -> Request<'a> {
        Request::new(self.client(), method, path)
            .with_address(self.address)
            .with_attributes(&self.headers)
            .with_tier(self.tier)
    }
}
