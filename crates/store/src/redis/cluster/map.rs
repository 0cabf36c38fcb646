//! Which server has which partition.

use std::{convert::Infallible, sync::Arc};

use sluice_core::Partition;

use super::node_address::NodeAddress;
use crate::NodeId;

/// A server of a cluster, and what this process keeps for it.
#[derive(Debug)]
pub(in crate::redis) struct Server<N> {
    pub(in crate::redis) address: NodeAddress,
    pub(in crate::redis) kept: N,
}

/// The servers of a cluster and their partitions.
#[derive(Debug)]
pub(super) struct Map<N> {
    owners: [Option<Owner<N>>; Partition::COUNT as usize],
    /// Servers without a partition, to which a slot is being moved.
    others: Vec<Arc<Server<N>>>,
}

#[derive(Debug)]
struct Owner<N> {
    id: NodeId,
    server: Arc<Server<N>>,
}

impl<N> Clone for Owner<N> {
    fn clone(&self) -> Self {
        Self { id: self.id, server: Arc::clone(&self.server) }
    }
}

impl<N> Clone for Map<N> {
    fn clone(&self) -> Self {
        Self { owners: self.owners.clone(), others: self.others.clone() }
    }
}

impl<N> Map<N> {
    pub(super) const fn empty() -> Self {
        Self { owners: [const { None }; Partition::COUNT as usize], others: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.iter().all(Option::is_none)
    }

    /// Returns the server that has `partition`.
    pub(super) fn owner(&self, partition: Partition) -> Option<&Arc<Server<N>>> {
        self.owners[partition.index()].as_ref().map(|owner| &owner.server)
    }

    /// Returns the id of the node that has `partition`.
    pub(super) fn node(&self, partition: Partition) -> Option<NodeId> {
        self.owners[partition.index()].as_ref().map(|owner| owner.id)
    }

    /// Returns the nodes with the partitions of each.
    pub(super) fn nodes(&self) -> Vec<(NodeId, Arc<Server<N>>, Vec<Partition>)> {
        let mut nodes: Vec<(NodeId, Arc<Server<N>>, Vec<Partition>)> = Vec::new();
        for partition in Partition::all() {
            let Some(owner) = &self.owners[partition.index()] else { continue };
            match nodes.iter_mut().find(|(id, ..)| *id == owner.id) {
                Some((.., partitions)) => partitions.push(partition),
                None => nodes.push((owner.id, Arc::clone(&owner.server), vec![partition])),
            }
        }
        nodes
    }

    /// Returns every server, also those without a partition.
    pub(super) fn servers(&self) -> Vec<Arc<Server<N>>> {
        let nodes = self.nodes().into_iter().map(|(_, server, _)| server);
        nodes.chain(self.others.iter().cloned()).collect()
    }

    /// Returns the server at `address`.
    pub(super) fn at(&self, address: &NodeAddress) -> Option<Arc<Server<N>>> {
        self.servers().into_iter().find(|server| server.address == *address)
    }

    /// Adds a server without a partition.
    pub(super) fn add(&mut self, server: Arc<Server<N>>) {
        self.others.push(server);
    }

    /// Gives `partition` to a server, until the next map says more.
    pub(super) fn give(&mut self, partition: Partition, server: &Arc<Server<N>>) {
        let mut owners = self
            .owners
            .each_ref()
            .map(|owner| owner.as_ref().map(|owner| owner.server.address.clone()));
        owners[partition.index()] = Some(server.address.clone());
        let given = self.with_owners(&owners, |_| Ok::<_, Infallible>(Arc::clone(server)));
        let Ok(next) = given;
        self.owners = next.owners;
    }

    /// Returns the map for these `owners`. A partition without one keeps the server that it had: it
    /// may come back. Servers that are known are kept, `make` makes the others.
    ///
    /// A node keeps its id, and a server that takes the place of another one gets that one's: what
    /// is remembered about a node, such as the tokens that are owed to it, goes on.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn with_owners<E>(
        &self,
        owners: &[Option<NodeAddress>; Partition::COUNT as usize],
        mut make: impl FnMut(&NodeAddress) -> Result<Arc<Server<N>>, E>,
    ) -> Result<Self, E> {
        let is_owner = |address: &NodeAddress| owners.iter().flatten().any(|one| one == address);
        let mut next = Self::empty();
        let mut taken = [false; NodeId::COUNT as usize];
        // First the nodes that stay, so that nobody takes their ids.
        for partition in Partition::all() {
            let known = &self.owners[partition.index()];
            let address = owners[partition.index()]
                .as_ref()
                .or_else(|| known.as_ref().map(|owner| &owner.server.address));
            let stays = |owner: &&Owner<N>| Some(&owner.server.address) == address;
            if let Some(owner) = self.owners.iter().flatten().find(stays) {
                taken[owner.id.index()] = true;
                next.owners[partition.index()] = Some(owner.clone());
            }
        }
        for partition in Partition::all() {
            let index = partition.index();
            let (None, Some(address)) = (&next.owners[index], &owners[index]) else { continue };
            let known = next.owners.iter().flatten().find(|one| one.server.address == *address);
            let owner = match known {
                Some(owner) => owner.clone(),
                None => {
                    let server = match self.at(address) {
                        Some(server) => server,
                        None => make(address)?,
                    };
                    let replaced = self.owners[index].as_ref();
                    let replaced = replaced.filter(|owner| !is_owner(&owner.server.address));
                    let id = replaced
                        .map(|owner| owner.id)
                        .filter(|id| !taken[id.index()])
                        .or_else(|| NodeId::all().find(|id| !taken[id.index()]))
                        .expect("there are as many ids as partitions");
                    taken[id.index()] = true;
                    if let Some(before) = replaced.filter(|before| before.id == id) {
                        let (from, to) = (&before.server.address, &server.address);
                        tracing::info!(node = id.index(), %from, %to, "another server took over");
                    }
                    Owner { id, server }
                }
            };
            next.owners[index] = Some(owner);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owners = [Option<NodeAddress>; Partition::COUNT as usize];

    fn address(port: u16) -> NodeAddress {
        NodeAddress::new("10.0.0.1", port, "")
    }

    /// The partitions in equal runs over these ports; 0 is no owner.
    fn owners(ports: &[u16]) -> Owners {
        std::array::from_fn(|index| {
            let port = ports[index * ports.len() / usize::from(Partition::COUNT)];
            (port > 0).then(|| address(port))
        })
    }

    fn updated(map: &Map<()>, owners: &Owners) -> Map<()> {
        let make = |address: &NodeAddress| {
            Ok::<_, Infallible>(Arc::new(Server { address: address.clone(), kept: () }))
        };
        map.with_owners(owners, make).unwrap()
    }

    /// The ids and ports of the nodes, by their first partitions.
    fn nodes(map: &Map<()>) -> Vec<(usize, u16)> {
        map.nodes().iter().map(|(id, server, _)| (id.index(), server.address.port)).collect()
    }

    #[test]
    fn nodes_keep_their_ids_and_a_promoted_replica_has_that_of_its_primary() {
        let three = updated(&Map::empty(), &owners(&[1, 2, 3]));
        assert_eq!(nodes(&three), [(0, 1), (1, 2), (2, 3)]);
        let promoted = updated(&three, &owners(&[1, 5, 3]));
        assert_eq!(nodes(&promoted), [(0, 1), (1, 5), (2, 3)]);
        let four = updated(&promoted, &owners(&[1, 4, 5, 3]));
        assert_eq!(nodes(&four), [(0, 1), (3, 4), (1, 5), (2, 3)]);
        let two = updated(&four, &owners(&[4, 3]));
        assert_eq!(nodes(&two), [(3, 4), (2, 3)]);
        let promoted = updated(&two, &owners(&[4, 9]));
        assert_eq!(nodes(&promoted), [(3, 4), (2, 9)], "also where lower ids are free");
    }

    #[test]
    fn a_partition_that_nobody_has_keeps_its_server() {
        let three = updated(&Map::empty(), &owners(&[1, 2, 3]));
        let without = updated(&three, &owners(&[1, 0, 3]));
        assert_eq!(nodes(&without), nodes(&three));
        assert!(updated(&Map::empty(), &owners(&[0])).is_empty());
    }

    #[test]
    fn any_change_leaves_each_node_one_id() {
        let mut map = Map::empty();
        for round in 0..200_u16 {
            // Every partition on a server of its own, then other mixtures.
            let owners: Owners = std::array::from_fn(|index| {
                let index = u16::try_from(index).unwrap();
                Some(address(1 + (index * (round % 7 + 1) + round) % (64 - round % 60)))
            });
            map = updated(&map, &owners);
            let mut ids: Vec<_> = nodes(&map).iter().map(|(id, _)| *id).collect();
            let mut ports: Vec<_> = nodes(&map).iter().map(|(_, port)| *port).collect();
            ids.sort_unstable();
            ids.dedup();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ids.len(), ports.len(), "round {round}");
            for partition in Partition::all() {
                assert_eq!(
                    Some(&map.owner(partition).unwrap().address),
                    owners[partition.index()].as_ref()
                );
            }
        }
    }

    #[test]
    fn known_servers_are_kept() {
        let one = updated(&Map::empty(), &owners(&[1]));
        let mut with_target = one.clone();
        let target = Arc::new(Server { address: address(2), kept: () });
        with_target.add(Arc::clone(&target));
        assert!(Arc::ptr_eq(&with_target.at(&address(2)).unwrap(), &target));
        let moved = updated(&with_target, &owners(&[1, 2]));
        assert!(Arc::ptr_eq(moved.owner(Partition::of(63)).unwrap(), &target));
        with_target.give(Partition::of(1), &target);
        assert_eq!(nodes(&with_target), [(0, 1), (1, 2)]);
        assert!(Arc::ptr_eq(
            moved.owner(Partition::FIRST).unwrap(),
            one.owner(Partition::FIRST).unwrap()
        ));
    }
}
