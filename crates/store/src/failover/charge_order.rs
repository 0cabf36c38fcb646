//! The order in which buckets are charged.

use std::collections::VecDeque;

use sluice_core::{BucketId, Partition};

use super::partition_set::PartitionSet;

/// Buckets in the order of their places, oldest first.
///
/// Each partition has a queue of its own, so that those of one node are found among those of nodes
/// that are still away.
#[derive(Debug, Default)]
pub(super) struct ChargeOrder {
    /// One for each partition; none until the first bucket is added.
    queues: Vec<VecDeque<(u64, BucketId)>>,
    next_place: u64,
}

impl ChargeOrder {
    /// Adds a bucket behind all others, and returns its place.
    pub(super) fn push_newest(&mut self, id: BucketId) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.queue(id).push_back((place, id));
        place
    }

    /// Puts a bucket back that was taken out, before those of its partition that are newer.
    pub(super) fn put_back(&mut self, place: u64, id: BucketId) {
        self.queue(id).push_front((place, id));
    }

    /// Takes out the oldest bucket in `partitions`.
    pub(super) fn pop_oldest(&mut self, partitions: PartitionSet) -> Option<BucketId> {
        let (_, partition) = self
            .queues_in(partitions)
            .filter_map(|(partition, queue)| Some((queue.front()?.0, partition)))
            .min()?;
        self.queues[partition.index()].pop_front().map(|(_, id)| id)
    }

    /// Returns the number of buckets in `partitions`.
    pub(super) fn len_in(&self, partitions: PartitionSet) -> usize {
        self.queues_in(partitions).map(|(_, queue)| queue.len()).sum()
    }

    /// Returns the partitions that have buckets.
    pub(super) fn partitions(&self) -> PartitionSet {
        let used = self.queues_in(PartitionSet::ALL).filter(|(_, queue)| !queue.is_empty());
        used.map(|(partition, _)| partition).collect()
    }

    /// Removes the buckets of which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(&BucketId) -> bool) {
        for queue in &mut self.queues {
            queue.retain(|(_, id)| keep(id));
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.queues.iter().map(VecDeque::capacity).sum()
    }

    fn queue(&mut self, id: BucketId) -> &mut VecDeque<(u64, BucketId)> {
        if self.queues.is_empty() {
            self.queues.resize_with(Partition::COUNT.into(), VecDeque::new);
        }
        &mut self.queues[id.tag.partition().index()]
    }

    fn queues_in(
        &self,
        partitions: PartitionSet,
    ) -> impl Iterator<Item = (Partition, &VecDeque<(u64, BucketId)>)> {
        Partition::all().zip(&self.queues).filter(move |(each, _)| partitions.contains(*each))
    }
}
