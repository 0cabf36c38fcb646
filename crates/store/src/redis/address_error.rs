//! Why a text is not the URL of a Redis.

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
    /// A `%` in a user or a password that begins no code.
    #[error(
        "a `%` in the user or the password is not followed by two hex digits: write `%` itself as \
         %25"
    )]
    LoginCode,
    /// A login before more than one of the hosts.
    #[error(
        "the login is written before several hosts: write it once, before the first host, as in \
         `user:password@h1:6379,h2:6379`; in a user or password, write `@` as %40 and `,` as %2C"
    )]
    RepeatedLogin,
    /// A login behind the first host, or with a comma in it.
    #[error(
        "a comma stands before `@`: the login is written once, before the first host, as in \
         `user:password@h1:6379,h2:6379`; in a user or password, write `,` as %2C"
    )]
    LoginPlace,
    /// More than one `@` before the hosts.
    #[error(
        "more than one `@` stands before the hosts: only the one between login and hosts is \
         written as `@`; in a user or password, write `@` as %40"
    )]
    SeveralAts,
    /// No host, or nothing between two commas.
    #[error(
        "the URL names no host{}: write it as in `{scheme}://{}`",
        place(*.position),
        hosts(scheme)
    )]
    NoHost {
        /// Which host of how many.
        position: (usize, usize),
        /// What the URL begins with.
        scheme: String,
    },
    /// The same host and port twice.
    #[error("`{host}` is named twice: name each host once")]
    RepeatedHost {
        /// The host and its port.
        host: String,
    },
    /// An IPv6 address without brackets.
    #[error("an IPv6 address is written in brackets, as in `[::1]:6379`")]
    Brackets,
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

/// ` in place 2 of 3`, or nothing for the only one.
fn place((which, count): (usize, usize)) -> String {
    if count == 1 { String::new() } else { format!(" in place {which} of {count}") }
}

/// An example of what follows `scheme`.
fn hosts(scheme: &str) -> &'static str {
    match scheme.split_once('+') {
        Some((_, "sentinel")) => "h1:26379,h2:26379/mymaster",
        Some(_) => "h1:6379,h2:6379",
        None => "host:6379",
    }
}
