//! The first words on a new connection: what kind of server is there, and who we are.

use std::{borrow::Cow, collections::HashMap};

use deadpool_redis::HookError;
use redis::{FromRedisValue, RedisResult, Value, aio::MultiplexedConnection};

use super::redis_error::RedisError;
use crate::StoreError;

/// The name of our connections in the server's `CLIENT LIST`.
const NAME: &str = "sluice";

/// The kind of server that the URL promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A server by itself.
    Single,
    /// The primary that Sentinels name.
    WatchedPrimary,
    /// A node of a cluster.
    ClusterNode,
}

const CLUSTER_NODE: &str = "a node of a cluster: write the URL with `redis+cluster://`, or \
                            `rediss+cluster://` for TLS, and some of the nodes, as in \
                            `redis+cluster://h1:6379,h2:6379`";
const SENTINEL: &str = "a Sentinel: write the URL with `redis+sentinel://`, or \
                        `rediss+sentinel://` for TLS, and the name of the service, as in \
                        `redis+sentinel://h1:26379,h2:26379/mymaster`";
const STANDALONE: &str = "no node of a cluster, but a server by itself: write its URL with \
                          `redis://`, or `rediss://` for TLS";
const REPLICA: &str = "not the primary that the Sentinels say it is";

/// Gives the connection its name, and fails if the server says that it is not of this kind. A
/// server or a proxy that does not say what it is may be used, and so may one that forbids names.
pub(super) async fn greet(
    connection: &mut MultiplexedConnection,
    expected: Kind,
) -> Result<(), HookError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HELLO").cmd("CLIENT").arg("SETNAME").arg(NAME).ignore_errors();
    let replies: Vec<RedisResult<Value>> =
        pipeline.query_async(connection).await.map_err(HookError::Backend)?;
    let Some(Ok(facts)) = replies.into_iter().next() else { return Ok(()) };
    let Ok(facts) = HashMap::<String, Value>::from_redis_value(facts) else { return Ok(()) };
    match wrong_kind(expected, text(&facts, "mode"), text(&facts, "role")) {
        Some(what) => Err(HookError::message(what)),
        None => Ok(()),
    }
}

fn text<'a>(facts: &'a HashMap<String, Value>, name: &str) -> &'a [u8] {
    match facts.get(name) {
        Some(Value::BulkString(text)) => text,
        Some(Value::SimpleString(text)) => text.as_bytes(),
        _ => b"",
    }
}

/// Returns what the server is, if it is not what was expected.
fn wrong_kind(expected: Kind, mode: &[u8], role: &[u8]) -> Option<&'static str> {
    match (mode, expected) {
        (b"cluster", Kind::Single | Kind::WatchedPrimary) => Some(CLUSTER_NODE),
        (b"sentinel", _) => Some(SENTINEL),
        (b"standalone", Kind::ClusterNode) => Some(STANDALONE),
        (_, Kind::WatchedPrimary) if matches!(role, b"replica" | b"slave") => Some(REPLICA),
        _ => None,
    }
}

/// Returns the error of a server that is not of the kind that was expected.
pub(super) fn error(what: Cow<'static, str>) -> StoreError {
    // The Sentinels will name another one soon.
    let passes = what == REPLICA;
    let error = RedisError::Topology { what };
    if passes { StoreError::refused(error) } else { StoreError::wrong_settings(error) }
}
