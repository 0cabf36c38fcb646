//! A request to be limited, as a front end hands it over.

use std::{fmt, net::IpAddr};

use crate::{cost::Cost, counts::Usage};

/// The longest client key, in bytes. Tokens of identity providers have a few thousand.
pub const MAX_CLIENT_BYTES: usize = 16 * 1024;

/// One request to be limited.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Who sent the request.
    pub client: Client<'a>,
    /// The network address that the request came from, if it is known. Limits per address need it.
    pub address: Option<IpAddr>,
    /// The method, for instance `GET`.
    pub method: &'a str,
    /// The path as it was received, with or without a query.
    pub path: &'a str,
    /// The request's headers, or the attributes that stand for them.
    pub attributes: &'a dyn Attributes,
    /// The client's tier, from a trusted source. A tier that the policy does not know is ignored.
    pub tier: Option<&'a str>,
    /// The tokens to take from each limit that does not define its own cost.
    pub cost: Cost,
    /// What the request will use, as far as that is estimated; `None` where it is not known.
    pub usage: Option<&'a Usage>,
    /// Whether the caller sees when the request ends, and gives its slots back then. The limits on
    /// requests in flight apply only to such a request.
    pub is_followed: bool,
}

/// Who sent a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// The client with this API key, token or name, which the caller has verified.
    Key(&'a [u8]),
    /// The client at this network address. The policy groups IPv6 addresses by prefix.
    Address(IpAddr),
}

impl fmt::Debug for Client<'_> {
    /// Leaves out the key, which does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "Key({} bytes)", key.len()),
            Self::Address(address) => write!(f, "Address({address})"),
        }
    }
}

/// The headers of a request, or the attributes that stand for them.
///
/// `Sync`, so that a future that checks the request can move between threads.
pub trait Attributes: Sync {
    /// Returns the value with this name, which is in lower case; `None` without one.
    ///
    /// An attribute that can be repeated is read whole: [`one_value`] makes one value of several.
    ///
    /// # Errors
    /// When the attribute has several values that differ. Whoever reads it next could choose
    /// another one than the limiter does.
    fn get(&self, name: &str) -> Result<Option<&[u8]>, RepeatedField>;
}

/// A field is sent several times, with different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field has different values")]
pub struct RepeatedField;

/// Returns the one value that a repeated field has. Equal values are one, whatever space is around
/// them. An empty value is one too: who reads only the first line would see no other.
///
/// ```
/// use sluice_core::{RepeatedField, one_value};
///
/// let lines = |lines: &'static [&[u8]]| one_value(lines.iter().copied());
/// assert_eq!(lines(&[b"acme", b" acme "]), Ok(Some(&b"acme"[..])));
/// assert_eq!(lines(&[b"acme", b"other"]), Err(RepeatedField));
/// assert_eq!(lines(&[b"", b"acme"]), Err(RepeatedField));
/// ```
///
/// # Errors
/// When there are two values that differ.
pub fn one_value<'v>(
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<Option<&'v [u8]>, RepeatedField> {
    let mut found: Option<&[u8]> = None;
    for value in values {
        let value = value.trim_ascii();
        match found {
            None => found = Some(value),
            Some(known) if value == known => {}
            Some(_) => return Err(RepeatedField),
        }
    }
    Ok(found)
}

impl Attributes for () {
    fn get(&self, _: &str) -> Result<Option<&[u8]>, RepeatedField> {
        Ok(None)
    }
}

/// A short list of pairs of name, in lower case, and value.
impl<const N: usize> Attributes for [(&str, &str); N] {
    fn get(&self, name: &str) -> Result<Option<&[u8]>, RepeatedField> {
        let values = self.iter().filter(|(known, _)| *known == name);
        one_value(values.map(|(_, value)| value.as_bytes()))
    }
}

impl<'a> Request<'a> {
    /// Creates a request that costs one token, without attributes and without a tier.
    #[must_use]
    pub fn new(client: Client<'a>, method: &'a str, path: &'a str) -> Self {
        let address = match client {
            Client::Address(address) => Some(address),
            Client::Key(_) => None,
        };
        Self {
            client,
            address,
            method,
            path,
            attributes: &(),
            tier: None,
            cost: Cost::ONE,
            usage: None,
            is_followed: false,
        }
    }

    /// Sets the network address that the request came from; `None` when it is not known.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the request's headers, or the attributes that stand for them.
    #[must_use]
    pub const fn with_attributes(mut self, attributes: &'a dyn Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets the client's tier, from a trusted source; `None` when it has none.
    #[must_use]
    pub fn with_tier(mut self, tier: impl Into<Option<&'a str>>) -> Self {
        self.tier = tier.into();
        self
    }

    /// Sets the tokens to take from each limit that does not define its own cost.
    #[must_use]
    pub const fn with_cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Sets what the request will use, for limits that count that.
    #[must_use]
    pub const fn with_usage(mut self, usage: &'a Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Returns the request as one whose end the caller sees: it gives the slots back then.
    #[must_use]
    pub const fn followed(mut self) -> Self {
        self.is_followed = true;
        self
    }
}

impl fmt::Debug for Request<'_> {
    /// Leaves out the client and the attributes: keys and tokens do not belong in logs.
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

/// The reason why a request cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path does not start with `/`.
    #[error("a path starts with `/`")]
    PathNotAbsolute,
    /// The path contains `%2F`, `%5C` or a backslash. Servers disagree on whether these separate
    /// segments.
    #[error(
        "a path must not contain backslashes or encoded slashes (`%2F`, `%5C`): separate segments \
         with \
         `/`"
    )]
    PathSeparator,
    /// The path contains a `%` without two hexadecimal digits after it.
    #[error(
        "a `%` in a path must be followed by two hexadecimal digits: write a percent sign as `%25`"
    )]
    PathEscape,
    /// The path contains a control character, encoded or not.
    #[error("a path must not contain control characters")]
    PathControl,
    /// The decoded path is not UTF-8.
    #[error("a path must be UTF-8 when it is decoded")]
    PathEncoding,
    /// The path contains `..` after an empty segment. Servers that merge slashes first and servers
    /// that resolve `..` first would read different paths.
    #[error(
        "a path must not have `..` after an empty segment: write it without `//` or without `..`"
    )]
    PathAmbiguous,
    /// The path contains a dot segment with parameters, such as `..;`. Servers that drop parameters
    /// would resolve it, and others would not.
    #[error(
        "a path must not have parameters on a dot segment (`..;`, `.;`): write it without the `;`"
    )]
    PathParameter,
    /// The client's key is empty.
    #[error("a client's key cannot be empty")]
    ClientEmpty,
    /// The client's key is longer than [`MAX_CLIENT_BYTES`], or than its source allows.
    #[error("a client's key of {bytes} bytes is too long: at most {most}")]
    ClientTooLong {
        /// The key's length.
        bytes: usize,
        /// The greatest length that is allowed.
        most: usize,
    },
    /// The header that identifies the client has several different values.
    #[error("header `{header}` names different clients: send it once")]
    ClientAmbiguous {
        /// The header's name, in lower case.
        header: String,
    },
    /// A header that a limit or the tier is read from has several different values.
    #[error("header `{header}` has different values: send it once")]
    FieldAmbiguous {
        /// The header's name, in lower case.
        header: String,
    },
    /// The header from which a limit reads the cost does not contain one.
    #[error("header `{header}` is not a cost: send a whole number from 0 to {}", Cost::MAX)]
    Cost {
        /// The header's name, in lower case.
        header: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_contains_no_client() {
        let attributes = [("authorization", "Bearer s3cret")];
        let request =
            Request::new(Client::Key(b"s3cret"), "GET", "/a").with_attributes(&attributes);
        let shown = format!("{request:?}");
        // As a list of bytes, the key would begin with 115, an `s`.
        assert!(
            shown.contains("\"/a\"") && !shown.contains("s3cret") && !shown.contains("115"),
            "{shown}"
        );
    }

    #[test]
    fn a_client_that_is_an_address_has_that_address() {
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(Request::new(Client::Address(address), "GET", "/").address, Some(address));
        assert_eq!(Request::new(Client::Key(b"a"), "GET", "/").address, None);
    }
}
