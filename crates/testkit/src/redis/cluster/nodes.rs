//! The nodes of a cluster, and who of them serves what.

use std::collections::BTreeSet;
use std::path::Path;

use super::options::ClusterOptions;
use super::view::{Line, View};
use crate::eventually::eventually;
use crate::redis::options::User;
use crate::redis::reply::Reply;
use crate::redis::server::RedisServer;
use crate::redis::tls::SharedCertificate;

/// The number of slots of every cluster.
pub(super) const SLOTS: u16 = 16_384;

/// A Redis cluster on 127.0.0.1, whose nodes are killed on drop.
///
/// Its nodes are [`RedisServer`]s: a test can pause, kill and restart each. A node that restarts is
/// a member again, without its data.
///
/// ```
/// use sluice_testkit::RedisCluster;
///
/// let cluster = RedisCluster::start(3);
/// let slot = cluster.slot_of("greeting");
/// cluster.primary_of(slot).command(&["SET", "greeting", "hello"]);
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    pub(super) nodes: Vec<RedisServer>,
    /// The id by which the cluster knows each node.
    pub(super) ids: Vec<String>,
    pub(super) options: ClusterOptions,
    pub(super) _certificate: Option<SharedCertificate>,
}

// === impl RedisCluster ===

impl RedisCluster {
    /// Returns the URL for clients, such as `redis+cluster://127.0.0.1:12345,127.0.0.1:12346`, with
    /// all nodes; with TLS its scheme is `rediss+cluster`, and it contains the user and the
    /// password if there are any.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss+cluster" } else { "redis+cluster" };
        let login = self.options.user.as_ref().map(User::login).unwrap_or_default();
        let addresses: Vec<_> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("{scheme}://{login}{}", addresses.join(","))
    }

    /// Returns the PEM file of the authority that signed the nodes' certificate.
    ///
    /// # Panics
    /// When the cluster was started without TLS.
    #[must_use]
    #[track_caller]
    pub fn ca_file(&self) -> &Path {
        assert!(self.options.tls, "this cluster was started without TLS: use ClusterOptions::tls");
        self.nodes[0].ca_file()
    }

    /// Returns all nodes: at first those that began as primaries, in the order of their slots, then
    /// those that began as replicas.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Returns the slot of a key.
    ///
    /// # Panics
    /// When no node runs.
    #[must_use]
    #[track_caller]
    pub fn slot_of(&self, key: &str) -> u16 {
        let reply = self.any().command(&["CLUSTER", "KEYSLOT", key]);
        u16::try_from(reply.integer()).expect("a slot is below 16,384")
    }

    /// Returns the node that serves the slot; waits for one if its primary has been killed or
    /// paused.
    ///
    /// # Panics
    /// When no running node serves it within twenty seconds.
    #[must_use]
    #[track_caller]
    pub fn primary_of(&self, slot: u16) -> &RedisServer {
        self.node_of(slot).0
    }

    /// Returns the running nodes that serve slots, in the order of their first slots.
    #[must_use]
    #[track_caller]
    pub fn primaries(&self) -> Vec<&RedisServer> {
        let first_slot = |line: &Line| line.slots.iter().map(|range| *range.start()).min();
        let mut primaries: Vec<_> = self
            .own_lines()
            .into_iter()
            .filter(|(_, line)| line.is_primary)
            .filter_map(|(node, line)| Some((first_slot(&line)?, node)))
            .collect();
        primaries.sort_by_key(|(first, _)| *first);
        primaries.into_iter().map(|(_, node)| node).collect()
    }

    /// Returns the running replicas of a node, which itself need not run.
    ///
    /// # Panics
    /// When the node is not one of this cluster.
    #[must_use]
    #[track_caller]
    pub fn replicas_of(&self, primary: &RedisServer) -> Vec<&RedisServer> {
        let id = self.id_of(primary);
        let lines = self.own_lines();
        let replicas = lines.into_iter().filter(|(_, line)| line.primary.as_deref() == Some(id));
        replicas.map(|(node, _)| node).collect()
    }

    /// Sends a command, such as `&["SCRIPT", "FLUSH"]`, to every running node, and returns the
    /// replies.
    ///
    /// # Panics
    /// When a node does not reply, or replies with an error.
    #[track_caller]
    pub fn command_everywhere<A: AsRef<[u8]>>(&self, parts: &[A]) -> Vec<Reply> {
        self.running().map(|(node, _)| node.command(parts)).collect()
    }

    /// Waits until every slot has a primary that runs, every replica that runs is linked to its
    /// primary, and all running nodes know of this.
    ///
    /// # Panics
    /// When this takes more than twenty seconds, as without a replica that could take over.
    #[track_caller]
    pub fn wait_until_ok(&self) {
        eventually("all nodes of the cluster are well and agree", || {
            self.trouble().map_or(Ok(()), Err)
        });
    }

    /// Makes this replica the primary, and waits until all nodes know of it. The primary must run.
    ///
    /// # Panics
    /// When the node is not a replica, or is still none of the primaries after twenty seconds.
    #[track_caller]
    pub fn failover(&self, replica: &RedisServer) {
        replica.command(&["CLUSTER", "FAILOVER"]);
        eventually("the replica is the primary", || {
            own_line(replica).is_ok_and(|line| line.has_slots())
        });
        self.wait_until_ok();
    }

    /// Returns the node that serves the slot, and what it says of itself.
    #[track_caller]
    pub(super) fn node_of(&self, slot: u16) -> (&RedisServer, Line) {
        assert!(slot < SLOTS, "slots are 0 to 16383, not {slot}");
        eventually(&format!("a running node serves slot {slot}"), || {
            let lines = self.own_lines();
            let serving = lines.into_iter().filter(|(_, line)| line.serves(slot));
            // A former primary that has just been resumed thinks that it still serves the slot.
            serving.max_by_key(|(_, line)| line.epoch)
        })
    }

    /// Returns the running nodes and their ids.
    pub(super) fn running(&self) -> impl Iterator<Item = (&RedisServer, &str)> {
        let nodes = self.nodes.iter().zip(self.ids.iter().map(String::as_str));
        nodes.filter(|(node, _)| node.is_running())
    }

    /// Returns what each running node says of itself.
    pub(super) fn own_lines(&self) -> Vec<(&RedisServer, Line)> {
        self.running().filter_map(|(node, _)| Some((node, own_line(node).ok()?))).collect()
    }

    /// Returns the id by which the cluster knows a node.
    #[track_caller]
    pub(super) fn id_of(&self, node: &RedisServer) -> &str {
        match self.nodes.iter().position(|known| known.port() == node.port()) {
            Some(index) => &self.ids[index],
            None => panic!("the server on port {} is not a node of this cluster", node.port()),
        }
    }

    #[track_caller]
    fn any(&self) -> &RedisServer {
        match self.running().next() {
            Some((node, _)) => node,
            None => panic!("no node of this cluster runs"),
        }
    }

    /// Returns what is not well, if anything.
    fn trouble(&self) -> Option<String> {
        let mut views = Vec::new();
        for (node, _) in self.running() {
            match self.view_if_well(node) {
                Ok(view) => views.push(view),
                Err(problem) => return Some(format!("node {}: {problem}", node.port())),
            }
        }
        let Some(first) = views.first() else { return Some("no node runs".to_owned()) };
        let own: Vec<_> = views.iter().filter_map(View::myself).collect();
        for view in &views {
            if let Some(line) = own.iter().find(|line| !view.knows(line)) {
                return Some(format!("not all nodes know this of a node: {line:?}"));
            }
            if view.slot_map() != first.slot_map() {
                return Some(format!("nodes disagree on slots: {first:?}, {view:?}"));
            }
        }
        let epochs: BTreeSet<_> =
            own.iter().filter(|line| line.is_primary).map(|line| line.epoch).collect();
        if epochs.len() < own.iter().filter(|line| line.is_primary).count() {
            return Some(format!("primaries have the same epoch: {first:?}"));
        }
        // So the map is what the primaries say of themselves, unless a primary does not run.
        first.slot_map().values().find_map(|(_, id)| {
            let is_running = self.running().any(|(_, running)| running == *id);
            (!is_running).then(|| format!("{id} serves slots and does not run"))
        })
    }

    /// Returns what a node knows of the cluster, if there is nothing that it waits for.
    fn view_if_well(&self, server: &RedisServer) -> Result<View, String> {
        let info = text_of(server, &["CLUSTER", "INFO"])?;
        if !info.contains("cluster_state:ok") {
            return Err(info.lines().next().unwrap_or_default().to_owned());
        }
        let view = view(server)?;
        for (other, id) in self.running() {
            match view.node(id) {
                Some(line) if line.is_connected && !line.is_failing => {}
                line => return Err(format!("it sees {} as {line:?}", other.port())),
            }
        }
        let myself = view.myself().ok_or("it does not know itself")?;
        if !myself.is_primary {
            let primary = myself.primary.as_deref().unwrap_or_default();
            let replication = text_of(server, &["INFO", "replication"])?;
            if !replication.contains("master_link_status:up") {
                return Err(format!("it is not linked to its primary {primary}"));
            }
        }
        Ok(view)
    }
}

/// Returns what a node knows of the cluster.
pub(super) fn view(server: &RedisServer) -> Result<View, String> {
    View::parse(&text_of(server, &["CLUSTER", "NODES"])?)
}

fn own_line(server: &RedisServer) -> Result<Line, String> {
    view(server)?.into_myself().ok_or_else(|| "the node does not know itself".to_owned())
}

fn text_of(server: &RedisServer, command: &[&str]) -> Result<String, String> {
    server.try_command(command).map(|reply| reply.text()).map_err(|error| error.to_string())
}
