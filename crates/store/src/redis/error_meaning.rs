//! What an error of Redis says about the connection and the server behind it. No other file decides
//! that.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{forbidden, redis_error};
use crate::StoreError;

/// What an error says about the connection and the server behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No reply came in time.
    Timeout,
    /// The connection is broken, or there is none.
    Unreachable,
    /// This server does not serve us, at least not now: it is a replica, loads its data, or cannot
    /// write. Another one at the same address may.
    WrongServer,
    /// The server does not let us in, or is none that we can use, until somebody changes that.
    WrongSettings,
    /// The server works, and rejects this one call.
    Rejected,
}

/// The codes of errors that only a change of settings mends.
const OF_SETTINGS: [&str; 5] = ["NOAUTH", "WRONGPASS", "NOPERM", "MOVED", "CROSSSLOT"];
/// The codes of errors about one call or its data. Every other code is about the server.
const OF_ONE_CALL: [&str; 6] = ["NOSCRIPT", "WRONGTYPE", "EXECABORT", "NOTBUSY", "NOSUB", "ERR"];
/// The codes that a script of an older Redis wraps in an `ERR`.
const WRAPPED: [&str; 8] = [
    "-READONLY",
    "-ASK",
    "-CLUSTERDOWN",
    "-MASTERDOWN",
    "-LOADING",
    "-MISCONF",
    "-NOREPLICAS",
    "-OOM",
];
/// The same of settings. The last two texts are those of Redis up to 7.0, and of newer servers and
/// Valkey, for a command in a script.
const WRAPPED_OF_SETTINGS: [&str; 6] =
    ["-NOAUTH", "-NOPERM", "-MOVED", "-CROSSSLOT", forbidden::IN_SCRIPT, "ACL failure in script"];
/// What an `ERR` says that no other server at this address can be expected to say.
const UNKNOWN: [&str; 3] = ["unknown command", "unknown subcommand", "unsupported command"];
/// What an `ERR` says to a login or to the number of a database.
const LOGIN: [&str; 4] = [
    "without any password configured",
    "refused to switch database",
    "invalid DB index",
    "DB index is out",
];

impl Meaning {
    pub(super) fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Self::WrongSettings,
            ErrorKind::Io => return Self::Unreachable,
            ErrorKind::Extension | ErrorKind::Server(_) => {}
            // A reply that is none: another protocol, or bytes of another command.
            ErrorKind::Parse | ErrorKind::Client => return Self::WrongServer,
            _ if error.is_connection_dropped() || error.is_connection_refusal() => {
                return Self::Unreachable;
            }
            _ => return Self::Rejected,
        }
        // A pipeline or transaction has its codes in its text alone.
        let text = error.to_string();
        let code = error.code().unwrap_or_default();
        let says = |texts: &[&str]| texts.iter().any(|said| text.contains(said));
        if OF_SETTINGS.contains(&code) || says(&LOGIN) || says(&WRAPPED_OF_SETTINGS) {
            Self::WrongSettings
        } else if says(&UNKNOWN)
            || says(&WRAPPED)
            || !(code.is_empty() || OF_ONE_CALL.contains(&code))
        {
            Self::WrongServer
        } else {
            Self::Rejected
        }
    }

    /// Returns whether other connections to the same server are of no more use than this one, and
    /// new ones may lead elsewhere.
    pub(super) const fn concerns_all_connections(self) -> bool {
        matches!(self, Self::WrongServer | Self::WrongSettings)
    }
}

/// Where a cluster says that a call's keys are. The call has not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot belongs to the server at this address.
    Moved(String),
    /// The slot is being moved to the server at this address, which has the keys already, or will
    /// have them when they are new.
    Ask(String),
    /// The slot is being moved, and the servers have some of the keys each.
    TryAgain,
}

impl Redirect {
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        let to = || error.redirect_node().map(|(address, _)| address.to_owned());
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => to().map(Self::Moved),
            ErrorKind::Server(ServerErrorKind::Ask) => to().map(Self::Ask),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Some(Self::TryAgain),
            _ => None,
        }
    }
}

/// Translates an error of a call to Redis that had `timeout`.
pub(super) fn store_error(error: RedisError, timeout: Duration) -> StoreError {
    match Meaning::of(&error) {
        Meaning::Timeout => StoreError::Timeout { within: timeout },
        Meaning::Unreachable => StoreError::unreachable(error),
        Meaning::WrongSettings if forbidden::is_in_script(&error) => {
            let (command, source) = (forbidden::command(&error), Box::new(error));
            StoreError::wrong_settings(redis_error::RedisError::Forbidden { command, source })
        }
        Meaning::WrongSettings => StoreError::wrong_settings(error),
        Meaning::WrongServer if is_read_only(&error) => {
            StoreError::refused(redis_error::RedisError::ReadOnly(error.into()))
        }
        Meaning::WrongServer | Meaning::Rejected => StoreError::refused(error),
    }
}

/// Returns whether the server is a replica, or a primary that was demoted.
fn is_read_only(error: &RedisError) -> bool {
    error.code() == Some("READONLY") || error.to_string().contains("-READONLY")
}

/// Returns whether the server does not know the script.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses an error reply as the client does.
    fn error(reply: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    fn meaning(reply: &str) -> Meaning {
        Meaning::of(&error(reply))
    }

    #[test]
    fn a_cluster_says_where_the_keys_are() {
        let redirect = |reply| Redirect::of(&error(reply));
        let to = || "10.0.0.2:6379".to_owned();
        assert_eq!(redirect("MOVED 866 10.0.0.2:6379"), Some(Redirect::Moved(to())));
        assert_eq!(redirect("ASK 866 10.0.0.2:6379"), Some(Redirect::Ask(to())));
        let again = "TRYAGAIN Multiple keys request during rehashing of slot";
        assert_eq!(redirect(again), Some(Redirect::TryAgain));
        for other in ["CLUSTERDOWN The cluster is down", "READONLY You can't", "ERR MOVED"] {
            assert_eq!(redirect(other), None, "{other}");
        }
    }

    #[test]
    fn an_error_about_the_server_ends_every_connection_to_it() {
        for reply in [
            "READONLY You can't write against a read only replica.",
            "ASK 866 10.0.0.2:6379",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down",
            "LOADING Redis is loading the dataset in memory",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "BUSY Redis is busy running a script.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "REDIRECT 10.0.0.2:6379",
            "ERR unknown command 'EVALSHA', with args beginning with:",
            "ERR unknown command `EVALSHA`",
            "ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write",
        ] {
            assert_eq!(meaning(reply), Meaning::WrongServer, "{reply}");
            assert!(meaning(reply).concerns_all_connections());
        }
    }

    #[test]
    fn a_replica_is_told_from_other_servers_that_refuse_to_serve() {
        for (reply, is_replica) in [
            ("READONLY You can't write against a read only replica.", true),
            ("READONLY You can't write against a read only replica script: f, on @user:9.", true),
            ("ERR Error running script (call to f_0): @user_script:1: -READONLY You can't", true),
            ("OOM command not allowed when used memory > 'maxmemory'.", false),
        ] {
            let told = store_error(error(reply), Duration::ZERO);
            let cause = std::error::Error::source(&told).map(ToString::to_string);
            let named = cause.is_some_and(|cause| cause.contains("name its primary"));
            assert!(matches!(told, StoreError::Refused(_)) && named == is_replica, "{reply}");
        }
    }

    #[test]
    fn an_error_that_somebody_has_to_mend_is_about_the_settings() {
        for reply in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'set' command",
            "MOVED 866 10.0.0.2:6379",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "ERR DB index is out of range",
            "ERR Error running script (call to f_0): @user_script:1: -NOPERM this user has no",
            "ERR The user executing the script can't run this command or subcommand script: f_0",
            "ERR ACL failure in script: User sluice has no permissions to run the 'time' command",
        ] {
            assert_eq!(meaning(reply), Meaning::WrongSettings, "{reply}");
        }
    }

    #[test]
    fn an_error_about_one_call_keeps_the_connections() {
        for reply in [
            "NOSCRIPT No matching script.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR value is not an integer or out of range",
        ] {
            assert_eq!(meaning(reply), Meaning::Rejected, "{reply}");
            assert!(!meaning(reply).concerns_all_connections());
        }
    }
}
