//! The address of a store.

use std::{borrow::Cow, fmt};

use url::{Host, Url};

use super::secret::{MASK, Secret};

/// Which store, and where. Shown without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In this process: for one replica alone.
    Memory,
    /// One Redis or Valkey server.
    Redis(RedisUrl),
}

/// Where a Redis server is, and how to log in: `redis://[user:password@]host[:port][/database]`, or
/// `rediss://` for TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: Secret,
    has_password: bool,
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

    /// Whether the connection is in TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.text.reveal().starts_with("rediss:")
    }

    /// Whether the URL holds a password.
    #[must_use]
    pub const fn has_password(&self) -> bool {
        self.has_password
    }
}

/// Why a text is not the address of a store. Never shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// Sentinel and Cluster.
    #[error(
        "`{scheme}://` is not available yet, this version uses one server: write `redis://` or \
         `rediss://` with the address of one Redis or Valkey server in standalone mode, or \
         `memory://`"
    )]
    NotYet {
        /// What the URL begins with.
        scheme: String,
    },
    /// Several servers.
    #[error(
        "`{shown}` names several servers, this version uses one: write the address of one Redis or \
         Valkey server in standalone mode, as in `redis://host:6379`"
    )]
    SeveralHosts {
        /// What was read, without secrets.
        shown: String,
    },
    /// Another scheme, or none.
    #[error(
        "`{shown}` is not the address of a store: write `memory://`, \
         `redis://[user:password@]host[:port][/database]` or `rediss://...`"
    )]
    Scheme {
        /// What was read, without secrets.
        shown: String,
    },
    /// Not a URL.
    #[error(
        "`{shown}` is not a URL: {reason}; in a user or password, write `@`, `/`, `:` and `#` as \
         %40, %2F, %3A and %23"
    )]
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
    /// Parameters, which have no meaning.
    #[error("a store's URL has no parameters: remove everything from `?` or `#` on")]
    Parameters,
    /// `memory://` with more behind it.
    #[error("the memory store has no address: write `memory://`")]
    MemoryAddress,
}

impl std::str::FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let shown = || mask_password(text).into_owned();
        match text.split_once("://") {
            Some(("memory", "")) => return Ok(Self::Memory),
            Some(("memory", _)) => return Err(StoreUrlError::MemoryAddress),
            Some(("redis" | "rediss", _)) => {}
            Some((
                scheme
                @ ("redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster"),
                _,
            )) => {
                return Err(StoreUrlError::NotYet { scheme: scheme.to_owned() });
            }
            _ => return Err(StoreUrlError::Scheme { shown: shown() }),
        }
        if names_several_hosts(text) {
            return Err(StoreUrlError::SeveralHosts { shown: shown() });
        }
        let url = Url::parse(text)
            .map_err(|error| StoreUrlError::Syntax { shown: shown(), reason: error.to_string() })?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(StoreUrlError::Parameters);
        }
        if matches!(url.host(), None | Some(Host::Domain(""))) {
            return Err(StoreUrlError::NoHost { shown: shown() });
        }
        let database = url.path().trim_start_matches('/');
        if database.contains('@') {
            // The path holds the end of a password whose slash is not encoded.
            let reason = "`@` follows a slash".to_owned();
            return Err(StoreUrlError::Syntax { shown: shown(), reason });
        }
        if !database.is_empty() && database.parse::<u16>().is_err() {
            return Err(StoreUrlError::Database { path: url.path().to_owned() });
        }
        let has_password = url.password().is_some_and(|password| !password.is_empty());
        Ok(Self::Redis(RedisUrl { text: Secret::new(text), has_password }))
    }
}

/// Returns whether a comma stands between hosts, and not in a user or a password.
fn names_several_hosts(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    place.split(['/', '?', '#']).next().is_some_and(|hosts| hosts.contains(','))
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
/// host that is missing. A port is kept.
fn mask_after_colon(text: &str, start: usize) -> Cow<'_, str> {
    let rest = text[start..].strip_prefix('[').and_then(|v6| v6.split_once(']'));
    let rest = rest.map_or(&text[start..], |(_, rest)| rest);
    let Some((_, after)) = rest.split_once(':') else { return Cow::Borrowed(text) };
    let port = after.split(['/', '?', '#']).next().unwrap_or_default();
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}{MASK}", &text[..text.len() - after.len()]))
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
        ] {
            let Ok(StoreUrl::Redis(url)) = text.parse() else { panic!("{text}") };
            assert_eq!((url.reveal(), url.has_password()), (text, has_password));
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let url: StoreUrl = "redis://user:hunter2@host/3".parse().unwrap();
        assert_eq!(url.to_string(), "redis://user:***@host/3");
        assert!(!format!("{url:?}").contains("hunter2"));
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
        ];
        for text in broken {
            let shown = refusal(text);
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
        assert!(refusal("redis://").contains("names no host"), "{}", refusal("redis://"));
        assert!(refusal("redis://host/one").contains("is not a database"));
        assert!(refusal("redis://host?db=3").contains("no parameters"));
        for several in ["redis://h1:1,h2:2", "redis://u:p,w@h1,h2/3", "rediss://[::1]:1,[::1]:2"] {
            assert!(refusal(several).contains("names several servers"), "{several}");
            assert!(!refusal(several).contains("p,w"));
        }
        assert!("redis://u:p,w@host".parse::<StoreUrl>().is_ok(), "a comma in a password");
        assert!(refusal("redis+sentinel://h1,h2/mymaster").contains("not available yet"));
        assert!(refusal("redis+cluster://h1,h2").contains("not available yet"));
    }
}
