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
use sluice_core::{Client, Request, RequestError};

pub use address::parse_address;
pub use fields::Headers;
pub use forwarded::forwarded_for;
pub use source::{ClientSource, ClientSourceError};

/// Finds out which client sends a request.
#[derive(Clone, Debug)]
pub struct Identifier {
    sources: Box<[ClientSource]>,
    trusted_proxies: Box<[IpNet]>,
    tier_header: Option<HeaderName>,
}

/// The client that sends a request.
#[derive(Clone)]
pub struct Identity<'h> {
    /// `None` when only the address identifies the client.
    key: Option<Cow<'h, [u8]>>,
    address: IpAddr,
    tier: Option<&'h str>,
    headers: Headers<'h>,
}

impl Identifier {
    /// Creates an identifier that tries `sources` in order and trusts no proxies.
    #[must_use]
    pub fn new(sources: Vec<ClientSource>) -> Self {
        Self { sources: sources.into(), trusted_proxies: Box::default(), tier_header: None }
    }

    /// Trusts the peers in these networks to forward the client's address and tier.
    #[must_use]
    pub fn with_trusted_proxies(mut self, networks: Vec<IpNet>) -> Self {
        self.trusted_proxies = networks.into();
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
        Ok(Identity { key: self.key(Headers::new(headers))?, ..self.locate(headers, peer)? })
    }

    fn key<'h>(&self, headers: Headers<'h>) -> Result<Option<Cow<'h, [u8]>>, RequestError> {
        for source in &self.sources {
            let key = match source {
                ClientSource::Header(name) => fields::key(headers, name)?.map(Cow::Borrowed),
                ClientSource::Bearer => bearer::token(headers)?.map(Cow::Borrowed),
                ClientSource::BearerSubject => bearer::subject(headers)?,
                ClientSource::Address => break,
            };
            if key.is_some() {
                return Ok(key);
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
        let headers = Headers::new(headers);
        let tier = match self.tier_header.as_ref().filter(|_| trusted) {
            Some(name) => fields::text(headers, name)?,
            None => None,
        };
        Ok(Identity { key: None, address, tier, headers })
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

    /// Returns whether `peer` is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let address = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

impl Default for Identifier {
    /// Identifies clients by `x-api-key`, else by bearer token, else by address, and trusts no
    /// proxies.
    fn default() -> Self {
        Self::new(vec![
            ClientSource::Header(HeaderName::from_static("x-api-key")),
            ClientSource::Bearer,
            ClientSource::Address,
        ])
    }
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

    /// Returns this client's request for `path`, at a cost of one token.
    #[must_use]
    pub fn request<'a>(&'a self, method: &'a str, path: &'a str) -> Request<'a> {
        Request::new(self.client(), method, path)
            .with_address(self.address)
            .with_attributes(&self.headers)
            .with_tier(self.tier)
    }
}
