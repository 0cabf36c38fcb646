//! The URL of a Redis: one server, the Sentinels that watch it, or nodes of a cluster.

use std::{fmt, net::Ipv6Addr, num::NonZeroU16, ops::RangeInclusive};

use super::{address_error::RedisAddressError, address_login};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Redis can have so many databases, if it is told to.
const DATABASES: RangeInclusive<i64> = 0..=65_535;

/// Where a Redis is, and how to log in: a URL that was read.
///
/// - `redis://[user:password@]host[:port][/database]`: one server.
/// - `redis+sentinel://[user:password@]host[:port],.../service[/database]`: the primary of a
///   service, which Sentinels at these hosts know.
/// - `redis+cluster://[user:password@]host[:port],...`: a cluster, of which these are some nodes.
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
        let (login, hosts) = address_login::split(authority)?;
        let path = tail.strip_prefix('/').unwrap_or(tail);
        let servers = match kind {
            "" if scheme == plain => {
                let mut hosts = read_hosts(scheme, hosts, PORT)?;
                if hosts.len() > 1 {
                    let scheme = if is_encrypted { "rediss" } else { "redis" };
                    return Err(RedisAddressError::SeveralHosts { scheme });
                }
                let server = hosts.remove(0);
                Servers::Single { server, database: read_database(path)? }
            }
            "sentinel" => {
                let sentinels = read_several_hosts(scheme, hosts, SENTINEL_PORT)?;
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                let (service, database) = (read_service(service)?, read_database(database)?);
                Servers::Sentinels { sentinels, service, database }
            }
            "cluster" => {
                let nodes = read_several_hosts(scheme, hosts, PORT)?;
                if !path.is_empty() {
                    let path = path.to_owned();
                    return Err(RedisAddressError::ClusterDatabase { path });
                }
                Servers::Cluster { nodes }
            }
            _ => return Err(RedisAddressError::Scheme),
        };
        let (user, password) = address_login::read(login)?;
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

fn read_hosts(
    scheme: &str,
    hosts: &str,
    default_port: u16,
) -> Result<Vec<HostPort>, RedisAddressError> {
    let count = hosts.split(',').count();
    let read = |(index, text): (usize, &str)| {
        // An address of IPv6 without brackets may begin with a colon too.
        if text.split(':').next() == Some("") && !is_bare_ipv6(text) {
            let (position, scheme) = ((index + 1, count), scheme.to_owned());
            return Err(RedisAddressError::NoHost { position, scheme });
        }
        read_host(text, default_port)
    };
    hosts.split(',').enumerate().map(read).collect()
}

/// Reads hosts of which each adds to the others.
fn read_several_hosts(
    scheme: &str,
    hosts: &str,
    default_port: u16,
) -> Result<Vec<HostPort>, RedisAddressError> {
    let hosts = read_hosts(scheme, hosts, default_port)?;
    for (index, one) in hosts.iter().enumerate() {
        let is_same =
            |other: &HostPort| other.port == one.port && other.host.eq_ignore_ascii_case(&one.host);
        if hosts[..index].iter().any(is_same) {
            return Err(RedisAddressError::RepeatedHost { host: one.to_string() });
        }
    }
    Ok(hosts)
}

fn read_host(text: &str, default_port: u16) -> Result<HostPort, RedisAddressError> {
    // An address of IPv6 has colons, so it stands in brackets.
    let (host, shown, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let shown = &text[..address.len() + 2];
            let is_address = address.parse::<Ipv6Addr>().is_ok();
            if !is_address || !(rest.is_empty() || rest.starts_with(':')) {
                return Err(RedisAddressError::Host { host: shown.to_owned() });
            }
            (address, shown, rest.strip_prefix(':'))
        }
        None => {
            let (host, port) =
                text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if is_bare_ipv6(text) {
                return Err(RedisAddressError::Brackets);
            }
            if !is_name(host) {
                return Err(RedisAddressError::Host { host: host.to_owned() });
            }
            (host, host, port)
        }
    };
    // Servers bind to these, and nothing can be reached there.
    if matches!(host, "0.0.0.0" | "::") {
        return Err(RedisAddressError::Host { host: shown.to_owned() });
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => match port.parse::<NonZeroU16>() {
            Ok(number) if !port.starts_with('+') => number.get(),
            // What stands there may be a password whose `@` is missing.
            _ => return Err(RedisAddressError::Port { host: shown.to_owned() }),
        },
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// Returns whether `text` looks like an IPv6 address without brackets.
fn is_bare_ipv6(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    text.matches(':').count() > 1 && text.bytes().all(is_part)
}

/// Returns whether `text` can be the name of a host, or of a service.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_plain)
}

fn read_service(service: &str) -> Result<String, RedisAddressError> {
    if service.is_empty() {
        return Err(RedisAddressError::NoService);
    }
    if !is_name(service) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> RedisAddress {
        RedisAddress::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refusal(url: &str) -> String {
        RedisAddress::parse(url).map(|_| url).unwrap_err().to_string()
    }

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[test]
    fn one_server_has_a_host_a_port_and_a_database() {
        for (url, is_encrypted, server, database) in [
            ("redis://cache", false, at("cache", 6379), 0),
            ("redis://cache/", false, at("cache", 6379), 0),
            ("redis://my_cache-1.example.:7000/0", false, at("my_cache-1.example.", 7000), 0),
            ("rediss://10.0.0.1:/12", true, at("10.0.0.1", 6379), 12),
            ("redis://[::1]", false, at("::1", 6379), 0),
            ("rediss://[fd00::1]:65535/3", true, at("fd00::1", 65_535), 3),
        ] {
            let address = read(url);
            assert_eq!(address.servers, Servers::Single { server, database }, "{url}");
            assert_eq!((address.is_encrypted(), address.database()), (is_encrypted, database));
            assert!(!address.is_cluster() && !address.is_behind_sentinels());
        }
    }

    #[test]
    fn sentinels_have_a_service_and_a_port_of_their_own() {
        let address = read("redis+sentinel://h1,h2:26000,[::1]/my-master.1");
        let sentinels = vec![at("h1", 26_379), at("h2", 26_000), at("::1", 26_379)];
        let service = "my-master.1".to_owned();
        assert_eq!(address.servers, Servers::Sentinels { sentinels, service, database: 0 });
        let address = read("rediss+sentinel://u:p@h1/main/7");
        assert_eq!((address.is_encrypted(), address.database()), (true, 7));
        assert!(address.is_behind_sentinels());
    }

    #[test]
    fn a_cluster_is_a_list_of_nodes() {
        let address = read("redis+cluster://u:p@h1,h2:7000,[::1]:7001/");
        let nodes = vec![at("h1", 6379), at("h2", 7000), at("::1", 7001)];
        assert_eq!(address.servers, Servers::Cluster { nodes });
        assert!(address.is_cluster() && !address.is_encrypted());
        assert!(read("rediss+cluster://h1").is_encrypted());
    }

    #[test]
    fn an_error_says_what_would_be_right() {
        for (url, part) in [
            ("", "begins with redis://"),
            ("localhost:6379", "begins with redis://"),
            ("http://h", "begins with redis://"),
            ("unix:///run/redis.sock", "begins with redis://"),
            ("REDIS://h", "begins with redis://"),
            ("redis+://h", "begins with redis://"),
            ("redis+cluster+sentinel://h", "begins with redis://"),
            ("redis://", "names no host: write it as in `redis://host:6379`"),
            ("redis:///1", "names no host"),
            ("redis://:6379", "names no host"),
            ("redis://u:p@", "names no host"),
            ("rediss+cluster://", "write it as in `rediss+cluster://h1:6379,h2:6379`"),
            ("redis+sentinel:///main", "as in `redis+sentinel://h1:26379,h2:26379/mymaster`"),
            ("redis+cluster://h1,,h3", "names no host in place 2 of 3"),
            ("redis+cluster://h1,:7000", "names no host in place 2 of 2"),
            ("redis+cluster://h1,", "names no host in place 2 of 2"),
            ("redis://a b", "`a b` is not a host"),
            ("redis://0.0.0.0", "`0.0.0.0` is not a host"),
            ("redis://[::]:1", "`[::]` is not a host"),
            ("redis://[::g]", "`[::g]` is not a host"),
            ("redis://[::1", "`[` is not a host"),
            ("redis://[::1]x", "`[::1]` is not a host"),
            ("redis://::1", "an IPv6 address is written in brackets, as in `[::1]:6379`"),
            ("redis+cluster://::1:6379", "an IPv6 address is written in brackets"),
            ("redis+cluster://h1,fd00::1:6379", "an IPv6 address is written in brackets"),
            ("redis+cluster://h1,h2:1,H1:6379", "`H1:6379` is named twice"),
            ("redis+sentinel://[::1],[::1]/main", "`[::1]:26379` is named twice"),
            ("redis://h:0", "the port of `h` is not a number from 1 to 65535"),
            ("redis://h:65536", "the port of `h`"),
            ("redis://h:+5", "the port of `h`"),
            ("redis://[::1]:x", "the port of `[::1]` is"),
            ("redis://h:port", "the port of `h`"),
            ("redis://h1:1,h2:2", "write `redis+cluster://` for"),
            ("rediss://[::1]:1,[::1]:2/1", "or `rediss+sentinel://` with a service"),
            ("redis://u:p@h1,h2/3", "names several hosts"),
            ("redis+sentinel://h1,h2", "names no service"),
            ("redis+sentinel://h1,h2/", "names no service"),
            ("redis+sentinel://h1/my main", "`my main` is not the name of a service"),
            ("redis+sentinel://h1/main/x", "`/x` is not a database"),
            ("redis+cluster://h1,h2/0", "a cluster has only database 0"),
            ("redis://h/one", "`/one` is not a database"),
            ("redis://h/-1", "is not a database"),
            ("redis://h/+1", "is not a database"),
            ("redis://h/65536", "is not a database"),
            ("redis://h?db=3", "has no parameters"),
            ("redis://h/?protocol=resp3", "has no parameters"),
            ("rediss://h/#insecure", "has no parameters"),
        ] {
            assert!(refusal(url).contains(part), "{url}: {}", refusal(url));
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let address = read("redis+cluster://user:hunter2@h1,h2");
        assert!(!format!("{address:?}").contains("hunter2"));
        for url in [
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
            "redis://u:12?hunter2@host:1",
            "redis://u:hunter2@h1,u:hunter2@h2",
            "redis://u:hunter2@h1,h2",
            "redis+cluster://u:hunter2@h1/1",
            "redis+cluster://h1,u:hunter2",
            "redis+sentinel://u:hunter2@h1",
            "redis://u:hunter2%ff@h",
        ] {
            let shown = refusal(url);
            assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{url}: {shown}");
        }
    }
}
