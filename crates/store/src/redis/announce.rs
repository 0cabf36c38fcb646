//! The call of `lua/announce.lua`, which lists the replicas that share this Redis and prefix.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{keys::Keys, scripts};
use crate::{
    Fleet, Formats, Replica,
    fleet::{FORGOTTEN_AFTER, LiveReplica},
};

/// Returns the call that announces `replica`. [`parse`] reads the reply.
pub(super) fn call(keys: &Keys, replica: &Replica, formats: Formats) -> Cmd {
    scripts::ANNOUNCE.command_by_digest(|command| {
        // Builds that know of no formats take all of it for the version.
        let announced = format!("{} {formats}", replica.version);
        command.arg(1).arg(keys.fleet()).arg(&replica.id).arg(announced);
        command.arg(u64::try_from(FORGOTTEN_AFTER.as_micros()).unwrap_or(u64::MAX));
    })
}

/// Reads the script's reply; `None` if it is not a list of replicas.
pub(super) fn parse(reply: Value) -> Option<Fleet> {
    let Value::Array(fields) = reply else { return None };
    let mut replicas = fields.get(1..)?.chunks(4).map(parse_replica).collect::<Option<Vec<_>>>()?;
    replicas.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.replica.id.cmp(&b.replica.id)));
    Some(Fleet::new(replicas))
}

fn parse_replica(fields: &[Value]) -> Option<LiveReplica> {
    let [Value::BulkString(id), Value::Int(age), Value::Int(seen_ago), Value::BulkString(version)] =
        fields
    else {
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let span = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let announced = text(version);
    let (version, formats) = Formats::split(&announced);
    let replica = Replica::new(text(id), version);
    Some(LiveReplica::new(replica, span(*age), span(*seen_ago)).with_formats(formats))
}
