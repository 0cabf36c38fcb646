//! The address of a store.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::secret::{MASK, Secret};

/// Which store, and where. Shown without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In this process: for one replica alone.
    Memory,
    /// One Redis or Valkey server.
    Redis(RedisAddress),
}

/// Where a Redis server is, and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// Whether the connection is encrypted (`rediss://`).
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// The user; `None` for Redis' default user.
    pub username: Option<String>,
    /// The password, if the URL holds one.
    pub password: Option<Secret>,
}

/// Why a text is not the address of a store. Never shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// Sentinel and Cluster.
    #[error("`{scheme}://` is not there yet: use `redis://` or `rediss://` with one server's address, or `memory://`")]
    NotYet {
        /// What the URL begins with.
        scheme: &'static str,
    },
    /// Another scheme, or none.
    #[error(
        "`{shown}` is not the address of a store: write `memory://`, `redis://[user:password@]host[:port][/database]` or `rediss://...`"
    )]
    Scheme {
        /// What was read, without secrets.
        shown: String,
    },
    /// Not a URL.
    #[error("`{shown}` is not a URL: {reason}; in a user or password, write `@`, `/`, `:` and `#` as %40, %2F, %3A and %23")]
    Syntax {
        /// What was read, without secrets.
        shown: String,
        /// What the parser says.
        reason: String,
    },
    /// A Redis without a place.
    #[error("`{shown}` names no host: write `redis://host:6379`")]
    NoHost {
        /// What was read, without secrets.
        shown: String,
    },
    /// What follows the host is not a number.
    #[error("`{path}` is not a database: write a number, as in `redis://host:6379/0`, or nothing")]
    Database {
        /// The URL's path.
        path: String,
    },
    /// Parameters that nobody would look at.
    #[error("a store's URL has no parameters: remove everything from `?` or `#` on")]
    Parameters,
    /// `memory://` with more behind it.
    #[error("the memory store has no address: write `memory://`")]
    MemoryAddress,
}

const DEFAULT_PORT: u16 = 6379;

impl std::str::FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let shown = || mask_password(text).into_owned();
        let tls = match text.split_once("://").map(|(scheme, _)| scheme) {
            Some("memory") if text == "memory://" => return Ok(Self::Memory),
            Some("memory") => return Err(StoreUrlError::MemoryAddress),
            Some("redis") => false,
            Some("rediss") => true,
            Some("redis+sentinel") => return Err(StoreUrlError::NotYet { scheme: "redis+sentinel" }),
            Some("rediss+sentinel") => return Err(StoreUrlError::NotYet { scheme: "rediss+sentinel" }),
            Some("redis+cluster") => return Err(StoreUrlError::NotYet { scheme: "redis+cluster" }),
            Some("rediss+cluster") => return Err(StoreUrlError::NotYet { scheme: "rediss+cluster" }),
            _ => return Err(StoreUrlError::Scheme { shown: shown() }),
        };
        let url = Url::parse(text).map_err(|error| StoreUrlError::Syntax { shown: shown(), reason: error.to_string() })?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(StoreUrlError::Parameters);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => decoded(name),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err(StoreUrlError::NoHost { shown: shown() }),
        };
        let database = match url.path() {
            "" | "/" => 0,
            path => path[1..].parse().map_err(|_| StoreUrlError::Database { path: path.to_owned() })?,
        };
        Ok(Self::Redis(RedisAddress {
            tls,
            host,
            port: url.port().unwrap_or(DEFAULT_PORT),
            database,
            username: Some(url.username()).filter(|user| !user.is_empty()).map(decoded),
            password: url.password().filter(|password| !password.is_empty()).map(|password| Secret::new(&decoded(password))),
        }))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// `text` with the password of a URL masked, also when it is not quite a URL.
pub(crate) fn mask_password(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    // The last `@`: a password that should have been encoded may hold others, and slashes.
    let Some(end) = text.rfind('@').filter(|&at| at >= start) else { return Cow::Borrowed(text) };
    let Some(colon) = text[start..end].find(':') else { return Cow::Borrowed(text) };
    Cow::Owned(format!("{}:{MASK}{}", &text[..start + colon], &text[end..]))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Redis(RedisAddress { tls, host, port, database, username, password }) = self else {
            return f.write_str("memory://");
        };
        f.write_str(if *tls { "rediss://" } else { "redis://" })?;
        match (username, password) {
            (None, None) => {}
            (user, None) => write!(f, "{}@", user.as_deref().unwrap_or_default())?,
            (user, Some(_)) => write!(f, "{}:{MASK}@", user.as_deref().unwrap_or_default())?,
        }
        if host.contains(':') {
            write!(f, "[{host}]")?
        } else {
            f.write_str(host)?
        }
        write!(f, ":{port}/{database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(text: &str) -> RedisAddress {
        match text.parse() {
            Ok(StoreUrl::Redis(address)) => address,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        text.parse::<StoreUrl>().unwrap_err().to_string()
    }

    #[test]
    fn a_host_alone_means_redis_own_port_and_its_first_database() {
        let address = redis("redis://cache.internal");
        assert_eq!((address.host.as_str(), address.port, address.database, address.tls), ("cache.internal", 6379, 0, false));
        assert_eq!((address.username, address.password), (None, None));
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let address = redis("rediss://lim%40ter:p%2Fss%3A@[::1]:7000/12");
        assert_eq!((address.host.as_str(), address.port, address.database, address.tls), ("::1", 7000, 12, true));
        assert_eq!(address.username.as_deref(), Some("lim@ter"));
        assert_eq!(address.password.as_ref().map(Secret::reveal), Some("p/ss:"));
        assert_eq!(redis("redis://:only-a-password@host").username, None);
    }

    #[test]
    fn no_password_is_ever_shown() {
        let url: StoreUrl = "redis://user:hunter2@host/3".parse().unwrap();
        assert_eq!(url.to_string(), "redis://user:***@host:6379/3");
        assert!(!format!("{url:?}").contains("hunter2"));
        for broken in
            ["redis://user:hunter2@", "redis://u:hunter2@host:port", "redis://u:hun/ter2@host:1", "http://u:hunter2@host", "u:hunter2@h"]
        {
            let shown = refusal(broken);
            assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_an_address_says_what_would_be() {
        assert_eq!("memory://".parse(), Ok(StoreUrl::Memory));
        assert_eq!(refusal("memory://here"), "the memory store has no address: write `memory://`");
        assert!(refusal("localhost:6379").contains("write `memory://`, `redis://[user:password@]host[:port][/database]`"));
        assert!(refusal("redis://").contains("names no host"), "{}", refusal("redis://"));
        assert!(refusal("redis://host/one").contains("is not a database"));
        assert!(refusal("redis://host?db=3").contains("no parameters"));
        assert!(refusal("redis+sentinel://h1,h2/mymaster").contains("not there yet"));
        assert!(refusal("redis+cluster://h1,h2").contains("not there yet"));
    }
}
