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
        let announced = announced(replica, formats);
        command.arg(1).arg(keys.fleet()).arg(&replica.id).arg(announced);
        command.arg(u64::try_from(FORGOTTEN_AFTER.as_micros()).unwrap_or(u64::MAX));
    })
}

/// Returns what a replica announces: `0.2.0 secret=0123456789abcdef keys=2 partitions=64 ...`.
fn announced(replica: &Replica, formats: Formats) -> String {
    let Replica { version, secret_fingerprint, .. } = replica;
    match secret_fingerprint {
        Some(fingerprint) => format!("{version} secret={fingerprint:016x} {formats}"),
        None => format!("{version} {formats}"),
    }
}

/// Splits what stands before the formats into the version and the fingerprint of the secret.
fn split_secret(version: &str) -> (&str, Option<u64>) {
    let split = version.rsplit_once(" secret=");
    let read = split
        .and_then(|(version, secret)| Some((version, Some(u64::from_str_radix(secret, 16).ok()?))));
    read.unwrap_or((version, None))
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
    let (version, secret_fingerprint) = split_secret(version);
    let replica = Replica { secret_fingerprint, ..Replica::new(text(id), version) };
    Some(LiveReplica::new(replica, span(*age), span(*seen_ago)).with_formats(formats))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_again(announced: &str) -> (Replica, Formats) {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = [text("one"), Value::Int(0), Value::Int(0), text(announced)];
        let live = parse_replica(&fields).unwrap();
        (live.replica, live.formats)
    }

    #[test]
    fn what_a_replica_announces_is_read_again() {
        let plain = Replica::new("one", "1.0 beta");
        for replica in [plain.clone(), plain.with_secret_fingerprint(0xfe)] {
            let announced = announced(&replica, Formats::CURRENT);
            assert_eq!(read_again(&announced), (replica, Formats::CURRENT), "{announced}");
        }
        let older = "1.0 keys=2 partitions=64 reads=1-6 writes=1-6";
        assert_eq!(read_again(older).0, Replica::new("one", "1.0"));
        let broken = "1.0 secret=x keys=2 partitions=64 reads=1-6 writes=1-6";
        assert_eq!(read_again(broken).0, Replica::new("one", "1.0 secret=x"));
    }
}
