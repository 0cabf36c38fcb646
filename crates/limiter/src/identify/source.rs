//! Where a client's name is looked for.

use std::{fmt, str::FromStr};

use http::HeaderName;

/// Where a client's name is looked for; written `header:x-api-key`, `bearer`, `bearer:sub` or `ip`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientSource {
    /// The value of this header.
    Header(HeaderName),
    /// The bearer token, whole and unread.
    Bearer,
    /// The issuer and subject of a bearer token that was verified in front.
    BearerSubject,
    /// The address. It always names somebody, so what follows it is never looked at.
    Address,
}

/// Why a text names no place to look for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSourceError {
    /// What follows `header:` is no header's name.
    #[error("`{name}` names no header: letters, digits and `-`, as in `header:x-api-key`")]
    HeaderName {
        /// What was read.
        name: String,
    },
    /// Something else.
    #[error("`{text}` tells nobody apart: use `header:NAME`, `bearer`, `bearer:sub` or `ip`")]
    Unknown {
        /// What was read.
        text: String,
    },
}

impl FromStr for ClientSource {
    type Err = ClientSourceError;

    fn from_str(text: &str) -> Result<Self, ClientSourceError> {
        match text {
            "bearer" => Ok(Self::Bearer),
            "bearer:sub" => Ok(Self::BearerSubject),
            "ip" => Ok(Self::Address),
            _ => {
                let name = text
                    .strip_prefix("header:")
                    .ok_or_else(|| ClientSourceError::Unknown { text: text.to_owned() })?;
                name.parse()
                    .map(Self::Header)
                    .map_err(|_| ClientSourceError::HeaderName { name: name.to_owned() })
            }
        }
    }
}

impl fmt::Display for ClientSource {
    /// Writes what [`ClientSource::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Bearer => f.write_str("bearer"),
            Self::BearerSubject => f.write_str("bearer:sub"),
            Self::Address => f.write_str("ip"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_again() {
        for text in ["header:x-api-key", "bearer", "bearer:sub", "ip"] {
            assert_eq!(text.parse::<ClientSource>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-Org".parse::<ClientSource>(), "header:x-org".parse());
    }

    #[test]
    fn what_is_no_source_says_what_would_be() {
        for text in ["", "cookie", "Bearer", "bearer:", "headerx-api-key"] {
            let error = text.parse::<ClientSource>().unwrap_err();
            assert!(error.to_string().contains("bearer:sub"), "{text}: {error}");
        }
        for text in ["header:", "header:a b", "header:ä"] {
            assert!(
                matches!(text.parse::<ClientSource>(), Err(ClientSourceError::HeaderName { .. })),
                "{text}"
            );
        }
    }
}
