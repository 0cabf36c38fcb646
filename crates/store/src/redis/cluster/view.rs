//! What a node says about its cluster.

use redis::{RedisError, Value, aio::MultiplexedConnection};
use sluice_core::Partition;

use super::node_address::NodeAddress;
use crate::redis::keys::slot_of;

/// The partitions of a cluster, as one of its nodes sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Whether the node takes part in a cluster that works.
    is_ok: bool,
    /// Grows with every failover: of two views, the one with the greater number is newer.
    epoch: u64,
    /// The primary of each partition; `None` if no node has its slot.
    pub(super) owners: [Option<NodeAddress>; Partition::COUNT as usize],
}

impl View {
    /// Asks a node, which was reached under `host`.
    pub(super) async fn ask(
        connection: &mut MultiplexedConnection,
        host: &str,
    ) -> Result<Option<Self>, RedisError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("CLUSTER").arg("SLOTS").cmd("CLUSTER").arg("INFO");
        let mut replies = connection.send_packed_commands(&pipeline, 0, 2).await?.into_iter();
        let slots = replies.next().unwrap_or(Value::Nil).extract_error()?;
        // A user who may not ask for it sees each view as equally old.
        let info = replies.next().unwrap_or(Value::Nil).extract_error().unwrap_or(Value::Nil);
        Ok(Self::parse(&slots, &info, host))
    }

    fn parse(slots: &Value, info: &Value, host: &str) -> Option<Self> {
        let Value::Array(ranges) = slots else { return None };
        let mut owners = [const { None }; Partition::COUNT as usize];
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &**range else {
                return None;
            };
            let Some(address) = parse_node(primary, host) else { continue };
            for partition in Partition::all() {
                if (*first..=*last).contains(&i64::from(slot_of(partition))) {
                    owners[partition.index()] = Some(address.clone());
                }
            }
        }
        let (is_ok, epoch) = parse_info(info);
        Some(Self { is_ok, epoch, owners })
    }

    /// Returns the view to go by, of those of several nodes.
    pub(super) fn best(views: Vec<Self>) -> Option<Self> {
        views.into_iter().max_by_key(|view| (view.is_ok, view.epoch))
    }
}

/// Reads a node of `CLUSTER SLOTS`: its host, port, id, and other names; `None` if the node that
/// was asked does not know where it is.
fn parse_node(node: &[Value], asked_host: &str) -> Option<NodeAddress> {
    let [host, Value::Int(port), rest @ ..] = node else { return None };
    let host = parse_text(host).unwrap_or_default();
    let port = u16::try_from(*port).ok()?;
    if host == "?" || port == 0 {
        return None;
    }
    let mut address = NodeAddress::new(host, port, asked_host);
    if let [_, Value::Array(names), ..] = rest {
        let mut names = names.chunks(2).filter_map(|pair| match pair {
            [kind, name] if parse_text(kind) == Some("hostname") => parse_text(name),
            _ => None,
        });
        address.name = names.find(|name| !name.is_empty()).map(str::to_owned);
    }
    Some(address)
}

fn parse_text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Returns whether the cluster works, and its epoch, as `CLUSTER INFO` says.
fn parse_info(info: &Value) -> (bool, u64) {
    let text = match info {
        Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    };
    let field = |name: &str| {
        text.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    let is_ok = field("cluster_state").is_none_or(|state| state == "ok");
    (is_ok, field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let names = vec![text("hostname"), text("redis.example")];
        let node = vec![host, Value::Int(port), text("id"), Value::Array(names)];
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(node)])
    }

    #[test]
    fn each_partition_belongs_to_the_primary_of_its_slot() {
        let slots = Value::Array(vec![
            range(0, 5460, text("10.0.0.1"), 7000),
            range(5461, 10_922, Value::Nil, 7001),
            range(10_923, 12_000, text("?"), 7002),
            range(12_001, 16_383, text(""), 7003),
        ]);
        let view = View::parse(&slots, &Value::Nil, "asked").unwrap();
        let owner = |index: usize| {
            view.owners[index].as_ref().map(|owner| format!("{}:{}", owner.host, owner.port))
        };
        assert_eq!(owner(0).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(20).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(22).as_deref(), Some("asked:7001"), "a node that does not know its host");
        assert_eq!(owner(44), None, "a node whose host nobody knows");
        assert_eq!(owner(63).as_deref(), Some("asked:7003"));
        let name = view.owners[0].as_ref().and_then(|owner| owner.name.as_deref());
        assert_eq!(name, Some("redis.example"), "for the node's certificate");
    }

    #[test]
    fn the_newest_view_of_a_cluster_that_works_is_the_best_one() {
        let view = |state: &str, epoch: u64| {
            let info = text(&format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n"));
            View::parse(&Value::Array(Vec::new()), &info, "asked").unwrap()
        };
        let best = View::best(vec![view("ok", 6), view("ok", 7), view("fail", 9)]).unwrap();
        assert_eq!(best, view("ok", 7));
        assert_eq!(View::best(Vec::new()), None);
    }

    #[test]
    fn a_reply_that_is_no_list_of_slots_is_no_view() {
        for reply in [Value::Nil, Value::Array(vec![Value::Int(1)])] {
            assert_eq!(View::parse(&reply, &Value::Nil, "asked"), None, "{reply:?}");
        }
    }
}
