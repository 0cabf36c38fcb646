//! How a cluster is formed.
//!
//! A primary that starts waits two seconds before it serves, lest it has missed that another took
//! over. A replica does not wait, nor does it once it has taken over. So each primary begins as the
//! replica of a node that is given its slots, takes over from it, and has it as its replica. Where
//! there are to be no replicas, those nodes are then forgotten. That takes less than a second.

use super::nodes::{RedisCluster, SLOTS, view};
use super::options::ClusterOptions;
use crate::eventually::eventually;
use crate::redis::launch::KIT_USER;
use crate::redis::options::{BusPort, RedisOptions, Role};
use crate::redis::program::{RedisProgram, major_version};
use crate::redis::tls::SharedCertificate;

impl RedisCluster {
    /// Starts a cluster of primaries only, without TLS and passwords.
    ///
    /// # Panics
    /// As [`ClusterOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start(primaries: usize) -> Self {
        ClusterOptions::new(primaries).start()
    }
}

impl ClusterOptions {
    /// Starts the nodes, forms the cluster with the slots spread evenly, and waits until every node
    /// is well and every replica is linked to its primary.
    ///
    /// # Panics
    /// When there is no primary, the program is not found, a node does not start, or the cluster is
    /// not formed within twenty seconds.
    #[must_use]
    #[track_caller]
    pub fn start(mut self) -> RedisCluster {
        assert!(self.primaries > 0, "a cluster needs at least one primary");
        let program = self.program.take().unwrap_or_else(|| RedisProgram::Redis.path());
        let version = major_version(&program);
        let certificate = self.tls.then(SharedCertificate::create);
        let node = RedisOptions {
            args: [node_arguments(&self), self.args.clone()].concat(),
            tls: self.tls,
            user: self.user.clone(),
            certificate: certificate.as_ref().map(|shared| shared.files.clone()),
            program: Some(program),
            role: Role::ClusterNode(if version < 7 { BusPort::Above } else { BusPort::Own }),
            ..RedisOptions::default()
        };
        let count = self.primaries * (1 + self.replicas.max(1));
        let nodes = RedisOptions::start_together(vec![node; count]);
        let ids = nodes.iter().map(|node| node.command(&["CLUSTER", "MYID"]).text()).collect();
        let mut cluster = RedisCluster { nodes, ids, options: self, _certificate: certificate };
        cluster.introduce();
        cluster.assign_slots(version);
        cluster.promote_the_primaries();
        if cluster.options.replicas == 0 {
            cluster.forget_the_others();
        } else {
            cluster.add_replicas();
        }
        cluster.wait_until_ok();
        cluster
    }
}

fn node_arguments(options: &ClusterOptions) -> Vec<String> {
    let timeout = options.node_timeout.to_string();
    let mut arguments = vec![
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
        "--cluster-node-timeout",
        &timeout,
        "--cluster-announce-ip",
        "127.0.0.1",
        // A primary keeps its replicas, and stays one when it has lost its slots.
        "--cluster-allow-replica-migration",
        "no",
        // A replica that is not yet linked to its primary cannot take over.
        "--repl-diskless-sync-delay",
        "0",
        "--masteruser",
        KIT_USER,
        "--masterauth",
        KIT_USER,
    ];
    if options.tls {
        arguments.extend(["--tls-cluster", "yes", "--tls-replication", "yes"]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

impl RedisCluster {
    /// Introduces each node to each other, and waits until all know all.
    #[track_caller]
    fn introduce(&self) {
        for (epoch, node) in (1..).zip(&self.nodes) {
            let epoch: usize = epoch;
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for (_, other) in self.nodes.iter().enumerate().filter(|(other, _)| *other != index) {
                let (port, bus) = (other.port().to_string(), other.bus_port().unwrap_or_default());
                let bus = bus.to_string();
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
        }
        eventually("the nodes of the cluster know each other", || {
            self.nodes.iter().try_for_each(|node| {
                let view = view(node)?;
                let is_known = |id: &String| view.node(id).is_some_and(|it| !it.is_in_handshake);
                match self.ids.iter().all(is_known) {
                    true => Ok(()),
                    false => Err(format!("node {} knows only {view:?}", node.port())),
                }
            })
        });
    }

    /// Gives the slots to the nodes from which the primaries take over.
    #[track_caller]
    fn assign_slots(&self, version: u32) {
        let primaries = self.options.primaries;
        let bound = |index: usize| usize::from(SLOTS) * index / primaries;
        for (index, node) in self.nodes[primaries..2 * primaries].iter().enumerate() {
            let slots = bound(index)..bound(index + 1);
            let mut command = vec!["CLUSTER".to_owned()];
            if version < 7 {
                command.push("ADDSLOTS".into());
                command.extend(slots.map(|slot| slot.to_string()));
            } else {
                command.push("ADDSLOTSRANGE".into());
                command.extend([slots.start, slots.end - 1].map(|slot| slot.to_string()));
            }
            node.command(&command);
        }
    }

    /// Makes each primary a replica, waits until it serves, lets it take over, and waits until all
    /// nodes know.
    #[track_caller]
    fn promote_the_primaries(&self) {
        let primaries = self.options.primaries;
        for (node, id) in self.nodes[..primaries].iter().zip(&self.ids[primaries..]) {
            node.command(&["CLUSTER", "REPLICATE", id]);
        }
        for node in &self.nodes[..primaries] {
            // A node that takes over claims the slots that it knows its primary to have.
            eventually("a node of the cluster serves and knows the slots", || {
                let view = view(node)?;
                let known: Vec<_> = view.slot_map().into_values().map(|(_, id)| id).collect();
                let serves = node.command(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok");
                match serves && known == self.ids[primaries..2 * primaries] {
                    true => Ok(()),
                    false => Err(format!("node {} knows only {view:?}", node.port())),
                }
            });
        }
        for node in &self.nodes[..primaries] {
            node.command(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
        }
        eventually("all nodes know that the primaries took over", || {
            self.nodes.iter().try_for_each(|node| {
                let view = view(node)?;
                let known: Vec<_> = view.slot_map().into_values().map(|(_, id)| id).collect();
                match known == self.ids[..primaries] {
                    true => Ok(()),
                    false => Err(format!("node {} knows only {view:?}", node.port())),
                }
            })
        });
    }

    /// Makes replicas of the nodes that have had no part yet.
    #[track_caller]
    fn add_replicas(&self) {
        let primaries = self.options.primaries;
        for (index, node) in self.nodes.iter().enumerate().skip(2 * primaries) {
            node.command(&["CLUSTER", "REPLICATE", &self.ids[index % primaries]]);
        }
    }

    /// Ends the nodes from which the primaries took over, and makes the primaries forget them.
    #[track_caller]
    fn forget_the_others(&mut self) {
        let primaries = self.options.primaries;
        self.nodes.truncate(primaries);
        let others = self.ids.split_off(primaries);
        eventually("the primaries have forgotten the other nodes", || {
            self.nodes.iter().try_for_each(|node| {
                for id in &others {
                    // Some servers forget a node when another one does: it is then unknown.
                    let _ = node.try_command(&["CLUSTER", "FORGET", id]);
                }
                let known = view(node)?.nodes().len();
                match known == primaries {
                    true => Ok(()),
                    false => Err(format!("node {} knows {known} nodes", node.port())),
                }
            })
        });
    }
}
