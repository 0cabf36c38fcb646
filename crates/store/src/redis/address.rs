//! The URL of a Redis: one server, the Sentinels that watch it, or nodes of a cluster.

use std::{fmt, net::Ipv6Addr, num::NonZeroU16, ops::RangeInclusive};

use percent_encoding::percent_decode_str;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Redis can have so many databases, if it is told to.
const DATABASES: RangeInclusive<i64> = 0..=65_535;

/// Where a Redis is, and how to log in: a URL that was read.
///
/// | URL | what it addresses |
/// |---|---|
/// | `redis://[user:password@]host[:port][/database]` | one server |
/// | `redis+sentinel://[user:password@]host[:port],.../service[/database]` | the primary of a service, which Sentinels at these hosts know |
/// | `redis+cluster://[user:password@]host[:port],...` | a cluster, of which these are some nodes |
///
/// `rediss://`, `rediss+sentinel://` and `rediss+cluster://` are the same with TLS. The port is
/// 6379 unless it is written, and 26379 for Sentinels. The login is that of the servers which hold
/// the data.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    pub(super) is_encrypted: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) servers: Servers,
}

/// The servers that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    Single { server: HostPort, database: i64 },
    Sentinels { sentinels: Vec<HostPort>, service: String, database: i64 },
    Cluster { nodes: Vec<HostPort> },
}

/// A host and its port. An IPv6 address has no brackets here, but is shown with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a text is not the address of a Redis. Never shows a user or a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisAddressError {
    /// Another scheme, or none.
    #[error(
        "a Redis URL begins with redis://, rediss://, redis+sentinel://, rediss+sentinel://, \
         redis+cluster:// or rediss+cluster://"
    )]
    Scheme,
    /// A slash, a question mark or a hash mark before the last `@`.
    #[error(
        "`@` follows `/`, `?` or `#`: in a user or password, write `@`, `/`, `:`, `?` and `#` as \
         %40, %2F, %3A, %3F and %23"
    )]
    Login,
    /// A user or a password that is not text.
    #[error("the user or the password is no UTF-8 text when its `%` codes are read")]
    LoginText,
    /// A login before more than one of the hosts.
    #[error(
        "the login is written before several hosts: write it once, before the first host, as in \
         `user:password@h1:6379,h2:6379`; in a user or password, write `@` as %40"
    )]
    RepeatedLogin,
    /// No host, or nothing between two commas.
    #[error("the URL names no host{}: write it as in `redis://host:6379`", place(*.position))]
    NoHost {
        /// Which host of how many.
        position: (usize, usize),
    },
    /// A host that can be none.
    #[error(
        "`{host}` is not a host: write a name, an IPv4 address, or an IPv6 address in brackets, as \
         in `[::1]:6379`"
    )]
    Host {
        /// The host.
        host: String,
    },
    /// A port that is none.
    #[error(
        "the port of `{host}` is not a number from 1 to 65535: write it as in `{host}:6379`; a \
         login ends with `@`, as in `user:password@{host}:6379`"
    )]
    Port {
        /// The host.
        host: String,
    },
    /// Several hosts of one server.
    #[error(
        "`{scheme}://` names several hosts, and is for one server: write `{scheme}+cluster://` for \
         nodes of a cluster, or `{scheme}+sentinel://` with a service for Sentinels"
    )]
    SeveralHosts {
        /// What the URL begins with.
        scheme: &'static str,
    },
    /// Sentinels without the service that they watch.
    #[error(
        "the URL names no service: write the name by which the Sentinels know it (`sentinel \
         monitor NAME ...`), as in `redis+sentinel://h1,h2,h3/mymaster`"
    )]
    NoService,
    /// A service that cannot be one.
    #[error(
        "`{service}` is not the name of a service: write letters, digits, `.`, `-` and `_`, as in \
         `redis+sentinel://h1,h2,h3/mymaster`"
    )]
    Service {
        /// What stands in the place of the service.
        service: String,
    },
    /// A database that is no number.
    #[error("`/{path}` is not a database: write a number, as in `redis://host:6379/0`, or nothing")]
    Database {
        /// What stands in the place of the database.
        path: String,
    },
    /// A database of a cluster.
    #[error("`/{path}`: a cluster has only database 0, and its URL ends with the hosts")]
    ClusterDatabase {
        /// What stands behind the hosts.
        path: String,
    },
    /// Parameters, which have no meaning.
    #[error("a Redis URL has no parameters: remove everything from `?` or `#` on")]
    Parameters,
}

impl RedisAddress {
    /// Reads a URL.
    ///
    /// # Errors
    /// When the URL is invalid. The error does not show the login.
    pub fn parse(url: &str) -> Result<Self, RedisAddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisAddressError::Scheme)?;
        let (plain, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_encrypted = match plain {
            "redis" => false,
            "rediss" => true,
            _ => return Err(RedisAddressError::Scheme),
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(RedisAddressError::Login);
        }
        if tail.contains(['?', '#']) {
            return Err(RedisAddressError::Parameters);
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        // A password may hold a comma, and may hold an `@`; with both, it is two logins.
        if login.split_once('@').is_some_and(|(_, rest)| rest.contains(',')) {
            return Err(RedisAddressError::RepeatedLogin);
        }
        let path = tail.strip_prefix('/').unwrap_or(tail);
        let servers = match kind {
            "" if scheme == plain => {
                let mut hosts = read_hosts(hosts, PORT)?;
                if hosts.len() > 1 {
                    let scheme = if is_encrypted { "rediss" } else { "redis" };
                    return Err(RedisAddressError::SeveralHosts { scheme });
                }
                let server = hosts.remove(0);
                Servers::Single { server, database: read_database(path)? }
            }
            "sentinel" => {
                let sentinels = read_hosts(hosts, SENTINEL_PORT)?;
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                let (service, database) = (read_service(service)?, read_database(database)?);
                Servers::Sentinels { sentinels, service, database }
            }
            "cluster" => {
                let nodes = read_hosts(hosts, PORT)?;
                if !path.is_empty() {
                    let path = path.to_owned();
                    return Err(RedisAddressError::ClusterDatabase { path });
                }
                Servers::Cluster { nodes }
            }
            _ => return Err(RedisAddressError::Scheme),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decode(password)?)),
            None => (login, None),
        };
        let user = if user.is_empty() { None } else { Some(decode(user)?) };
        Ok(Self { is_encrypted, user, password, servers })
    }

    /// Returns whether connections are in TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Returns whether the URL holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.as_ref().is_some_and(|password| !password.is_empty())
    }

    /// Returns whether Sentinels know the server.
    #[must_use]
    pub const fn is_behind_sentinels(&self) -> bool {
        matches!(self.servers, Servers::Sentinels { .. })
    }

    /// Returns whether this is a cluster.
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster { .. })
    }

    /// Returns the number of the database; a cluster has only 0.
    pub(super) const fn database(&self) -> i64 {
        match self.servers {
            Servers::Single { database, .. } | Servers::Sentinels { database, .. } => database,
            Servers::Cluster { .. } => 0,
        }
    }
}

fn read_hosts(hosts: &str, default_port: u16) -> Result<Vec<HostPort>, RedisAddressError> {
    let count = hosts.split(',').count();
    let read = |(index, text)| {
        if text == "" {
            return Err(RedisAddressError::NoHost { position: (index + 1, count) });
        }
        read_host(text, default_port)
    };
    hosts.split(',').enumerate().map(read).collect()
}

fn read_host(text: &str, default_port: u16) -> Result<HostPort, RedisAddressError> {
    // An address of IPv6 has colons, so it stands in brackets.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_address = address.parse::<Ipv6Addr>().is_ok();
            if !is_address || !(rest.is_empty() || rest.starts_with(':')) {
                return Err(RedisAddressError::Host { host: format!("[{address}]") });
            }
            (address, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(RedisAddressError::NoHost { position: (1, 1) });
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_address = text.starts_with('[');
    if !is_address && !host.bytes().all(is_name) {
        return Err(RedisAddressError::Host { host: host.to_owned() });
    }
    // Nothing listens there: it is what servers bind to.
    if matches!(host, "0.0.0.0" | "::") {
        return Err(RedisAddressError::Host { host: host.to_owned() });
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => match port.parse::<NonZeroU16>() {
            Ok(number) if !port.starts_with('+') => number.get(),
            // What stands there may be a password whose `@` is missing.
            _ => return Err(RedisAddressError::Port { host: host.to_owned() }),
        },
    };
    Ok(HostPort { host: host.to_owned(), port })
}

fn read_service(service: &str) -> Result<String, RedisAddressError> {
    if service.is_empty() {
        return Err(RedisAddressError::NoService);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !service.bytes().all(is_plain) {
        return Err(RedisAddressError::Service { service: service.to_owned() });
    }
    Ok(service.to_owned())
}

fn read_database(path: &str) -> Result<i64, RedisAddressError> {
    if path.is_empty() {
        return Ok(0);
    }
    let is_number = path.bytes().all(|byte| byte.is_ascii_digit());
    path.parse()
        .ok()
        .filter(|database| is_number && DATABASES.contains(database))
        .ok_or_else(|| RedisAddressError::Database { path: path.to_owned() })
}

fn decode(text: &str) -> Result<String, RedisAddressError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| RedisAddressError::LoginText)
}

/// ` in place 2 of 3`, or nothing for the only one.
fn place((which, count): (usize, usize)) -> String {
    if count == 1 { String::new() } else { format!(" in place {which} of {count}") }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Shows everything but the login.
impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAddress")
            .field("is_encrypted", &self.is_encrypted)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}
