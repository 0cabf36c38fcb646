//! The address of a store.

use std::{borrow::Cow, fmt};

use sluice::store::{RedisAddress, RedisAddressError};

use super::secret::{MASK, Secret};

/// Which store, and where. Shown without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In this process: for one replica alone.
    Memory,
    /// Redis or Valkey.
    Redis(RedisUrl),
}

/// Where Redis is, and how to log in, as [`RedisAddress`] reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: Secret,
    address: RedisAddress,
}

impl StoreUrl {
    /// Returns the URL as it was written, with its password, to compare it. Never log it.
    pub(crate) fn reveal(&self) -> &str {
        match self {
            Self::Memory => "memory://",
            Self::Redis(url) => url.reveal(),
        }
    }
}

impl RedisUrl {
    /// Returns the URL with its password, to connect. Never log it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    /// Returns what the URL says.
    #[must_use]
    pub const fn address(&self) -> &RedisAddress {
        &self.address
    }
}

/// Why a text is not the address of a store. Never shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// Another scheme, or none.
    #[error(
        "`{shown}` is not the address of a store: write `memory://`, \
         `redis://[user:password@]host[:port][/database]`, `redis+sentinel://h1,h2,h3/service` or \
         `redis+cluster://h1,h2,h3`, each with `rediss` for TLS"
    )]
    Scheme {
        /// What was read, without secrets.
        shown: String,
    },
    /// Not the URL of a Redis.
    #[error(transparent)]
    Redis(RedisAddressError),
    /// `memory://` with more behind it.
    #[error("the memory store has no address: write `memory://`")]
    MemoryAddress,
}

impl std::str::FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        match text.split_once("://") {
            Some(("memory", "")) => return Ok(Self::Memory),
            Some(("memory", _)) => return Err(StoreUrlError::MemoryAddress),
            _ => {}
        }
        match RedisAddress::parse(text) {
            Ok(address) => Ok(Self::Redis(RedisUrl { text: Secret::new(text), address })),
            Err(RedisAddressError::Scheme) => {
                Err(StoreUrlError::Scheme { shown: mask_password(text).into_owned() })
            }
            Err(error) => Err(StoreUrlError::Redis(error)),
        }
    }
}

/// `text` with the password of a URL masked, also if it is not a valid URL.
pub(crate) fn mask_password(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    // The last `@`: a password that should have been encoded may hold others, and slashes.
    let Some(end) = text.rfind('@').filter(|&at| at >= start) else {
        return mask_after_colon(text, start);
    };
    let Some(colon) = text[start..end].find(':') else { return Cow::Borrowed(text) };
    Cow::Owned(format!("{}:{MASK}{}", &text[..start + colon], &text[end..]))
}

/// `text`, which holds no `@`, without what follows the first colon: it may be a password before a
/// host that is missing. Hosts with ports are kept.
fn mask_after_colon(text: &str, start: usize) -> Cow<'_, str> {
    let hosts = text[start..].split(['/', '?', '#']).next().unwrap_or_default();
    let after_address = |host: &str| {
        let v6 = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        v6.map_or(0, |(address, _)| address.len() + 2)
    };
    let is_host = |host: &str| {
        let port = host[after_address(host)..].split_once(':').map_or("", |(_, port)| port);
        port.bytes().all(|byte| byte.is_ascii_digit())
    };
    if hosts.split(',').all(is_host) {
        return Cow::Borrowed(text);
    }
    let from = start + after_address(hosts);
    match text[from..].find(':') {
        Some(colon) => Cow::Owned(format!("{}:{MASK}", &text[..from + colon])),
        None => Cow::Borrowed(text),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory://"),
            Self::Redis(url) => f.write_str(&mask_password(url.reveal())),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", mask_password(self.reveal()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<StoreUrl>().unwrap_err().to_string()
    }

    #[test]
    fn a_redis_url_is_handed_on_as_it_was_written() {
        for (text, has_password) in [
            ("redis://cache", false),
            ("rediss://lim%40ter:p%2Fss@[::1]:7000/12", true),
            ("redis://:p@h/", true),
            ("redis://u:@h", false),
            ("redis+sentinel://u:p@h1,h2/main", true),
            ("rediss+cluster://h1,h2:7000", false),
        ] {
            let Ok(StoreUrl::Redis(url)) = text.parse() else { panic!("{text}") };
            assert_eq!((url.reveal(), url.address().has_password()), (text, has_password));
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        for (text, shown) in [
            ("redis://user:hunter2@host/3", "redis://user:***@host/3"),
            ("redis+cluster://:hunter2@h1:1,h2:2", "redis+cluster://:***@h1:1,h2:2"),
            ("redis+cluster://h1:1,[::1]:2,h3", "redis+cluster://h1:1,[::1]:2,h3"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        let broken = [
            "redis://user:hunter2@",
            "redis://u:hunter2@host:port",
            "redis://u:hun/ter2@host:1",
            "http://u:hunter2@host",
            "u:hunter2@h",
            "redis://u:hunter2",
            "redis://:hunter2",
            "u:hunter2",
            "redis://u:12/hunter2@host:1",
            "redis://u:12#hunter2@host:1",
            "http://h1:1,u:hunter2",
            "redis://u:hunter2@h1,u:hunter2@h2",
            "redis+cluster://h1:23001,u:hunter2@h2:23002",
            "redis+cluster://u:hunter2@h1,h1",
            "redis://u:hunter2%ZZ@h",
            "redis://u:hunter2@b@h",
        ];
        for text in broken {
            let shown = format!("{} {}", refusal(text), mask_password(text));
            assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_an_address_says_what_would_be() {
        assert_eq!("memory://".parse(), Ok(StoreUrl::Memory));
        assert!(refusal("http://[::1]:6379/1").starts_with("`http://[::1]:6379/1` is not"));
        assert_eq!(refusal("memory://here"), "the memory store has no address: write `memory://`");
        assert!(
            refusal("localhost:6379")
                .contains("write `memory://`, `redis://[user:password@]host[:port][/database]`")
        );
        assert!(refusal("redis+sentinel://h1,h2").contains("names no service"));
    }
}
