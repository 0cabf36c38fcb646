//! Where the key of a client is looked for.

use std::{fmt, str::FromStr};

use http::HeaderName;

/// A place where the key of a client is looked for, written `header:x-api-key`, `bearer`,
/// `bearer:sub` or `ip`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientSource {
    /// The value of this header.
    Header(HeaderName),
    /// The whole bearer token.
    Bearer,
    /// The issuer and subject of a bearer token that a proxy in front has verified.
    BearerSubject,
    /// The address. It always identifies a client, so later sources are never tried.
    Address,
}

/// The reason why a text is not a [`ClientSource`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSourceError {
    /// The text after `header:` is not the name of a header.
    #[error("`{name}` names no header: letters, digits and `-`, as in `header:x-api-key`")]
    HeaderName {
        /// The text after `header:`.
        name: String,
    },
    /// The text is none of the four forms.
    #[error(
        "`{text}` does not identify clients: use `header:NAME`, `bearer`, `bearer:sub` or `ip`"
    )]
    Unknown {
        /// The whole text.
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
    /// Writes the form that [`ClientSource::from_str`] reads.
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
    fn a_written_source_can_be_parsed() {
        for text in ["header:x-api-key", "bearer", "bearer:sub", "ip"] {
            assert_eq!(text.parse::<ClientSource>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-Org".parse::<ClientSource>(), "header:x-org".parse());
    }

    #[test]
    fn an_unknown_source_names_the_known_ones() {
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
