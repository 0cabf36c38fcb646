//! Who asks for what, as a front-end hands it to the limiter.

use std::{fmt, net::IpAddr};

use crate::cost::Cost;

/// The longest client key, in bytes: tokens of identity providers have a few thousand.
pub const MAX_CLIENT_BYTES: usize = 16 * 1024;

/// One request that asks to pass.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub client: Client<'a>,
    /// Where it comes from, if that is known: what limits per address count by.
    pub address: Option<IpAddr>,
    /// The method, for instance `GET`.
    pub method: &'a str,
    /// The path as it came, with or without a query.
    pub path: &'a str,
    /// The request's headers, or the attributes that a caller gives in their place.
    pub attributes: &'a dyn Attributes,
    /// The client's tier as a trusted source names it; a name that the policy does not know is
    /// passed over.
    pub tier: Option<&'a str>,
    /// The tokens it takes of each limit that does not fix its own cost.
    pub cost: Cost,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// By an API key, a token, or a name that the caller vouches for.
    Key(&'a [u8]),
    /// By its network address, which the policy groups: IPv6 by prefix.
    Address(IpAddr),
}

impl fmt::Debug for Client<'_> {
    /// Leaves out the key: it does not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "Key({} bytes)", key.len()),
            Self::Address(address) => write!(f, "Address({address})"),
        }
    }
}

/// Reads a request's headers or attributes by name.
///
/// `Sync`, so that a check in flight can be moved between threads.
pub trait Attributes: Sync {
    /// The value called `name`, which is in lower case; the first, where there are several.
    fn get(&self, name: &str) -> Option<&[u8]>;
}

/// No attributes.
impl Attributes for () {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// A short list of names, in lower case, and values.
impl<const N: usize> Attributes for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
    }
}

impl<'a> Request<'a> {
    /// A request of one token without attributes; what else is known is set on the fields.
    #[must_use]
    pub fn new(client: Client<'a>, method: &'a str, path: &'a str) -> Self {
        let address = match client {
            Client::Address(address) => Some(address),
            Client::Key(_) => None,
        };
        Self { client, address, method, path, attributes: &(), tier: None, cost: Cost::ONE }
    }
}

impl fmt::Debug for Request<'_> {
    /// Leaves out the client and the attributes: keys and tokens do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, tier, cost, .. } = self;
        f.debug_struct("Request")
            .field("method", method)
            .field("path", path)
            .field("tier", tier)
            .field("cost", cost)
            .finish_non_exhaustive()
    }
}

/// Why a request cannot be checked: the caller's mistake, to be answered as such.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path is not a path from the root.
    #[error("a path starts with `/`")]
    PathNotAbsolute,
    /// `%2F` or `%5C`, or a backslash: servers disagree on whether they separate segments.
    #[error(
        "a path holds no backslashes and no encoded slashes (`%2F`, `%5C`): separate segments with `/`"
    )]
    PathSeparator,
    /// A `%` that no two hexadecimal digits follow.
    #[error("a `%` in a path is followed by two hexadecimal digits: write a percent sign as `%25`")]
    PathEscape,
    /// A control character, encoded or not.
    #[error("a path holds no control characters")]
    PathControl,
    /// What the escapes stand for is not text.
    #[error("a path is UTF-8 once its escapes are decoded")]
    PathEncoding,
    /// Servers that merge slashes first and servers that resolve `..` first would read different
    /// paths.
    #[error("a path has no `..` after an empty segment: write it without `//` or without `..`")]
    PathAmbiguous,
    /// A client without a key.
    #[error("a client's key cannot be empty")]
    ClientEmpty,
    /// A client with a longer key than [`MAX_CLIENT_BYTES`], or than where it was read from allows.
    #[error("a client's key of {bytes} bytes is too long: at most {most}")]
    ClientTooLong {
        /// The key's length.
        bytes: usize,
        /// The longest that would be taken.
        most: usize,
    },
    /// The header that names a client has several different values.
    #[error("header `{header}` names different clients: send it once")]
    ClientAmbiguous {
        /// The header's name, in lower case.
        header: String,
    },
    /// The header that a limit reads the cost from holds no cost.
    #[error("header `{header}` holds no cost: a whole number from 0 to {}", Cost::MAX)]
    Cost {
        /// The header's name, in lower case.
        header: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_no_client_in_logs() {
        let attributes = [("authorization", "Bearer s3cret")];
        let request = Request {
            attributes: &attributes,
            ..Request::new(Client::Key(b"s3cret"), "GET", "/a")
        };
        let shown = format!("{request:?}");
        // The bytes of a key, too, begin with an `s`.
        assert!(
            shown.contains("\"/a\"") && !shown.contains("s3cret") && !shown.contains("115"),
            "{shown}"
        );
    }

    #[test]
    fn a_client_known_by_its_address_comes_from_there() {
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(Request::new(Client::Address(address), "GET", "/").address, Some(address));
        assert_eq!(Request::new(Client::Key(b"a"), "GET", "/").address, None);
    }
}
