//! Keeps the lines of denied buckets, decides with them, and drops them.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use sluice_core::{Bucket, BucketId, Check, Decision, Part, Partition, Source, Timestamp};
use smallvec::SmallVec;

use super::line::{Known, Line};
use crate::{Clock, ObserveReturns, SubscriptionId, prehashed::Prehashed};

/// Enough that two threads rarely need the same one.
const SHARDS: usize = 64;
/// How often the old lines of a shard are removed, if others are added.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The lines of buckets, of which some denied a check.
pub(super) struct Cache {
    shards: Box<[Shard]>,
    /// The most lines of a shard.
    most: usize,
}

#[derive(Default)]
struct Shard {
    /// How many lines there are, to be read without the lock.
    len: AtomicUsize,
    /// How often tokens were returned to a bucket of this shard.
    returns: AtomicU64,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    lines: HashMap<BucketId, Line, Prehashed>,
    swept_at: Timestamp,
}

/// What was the case before the store was asked about a check.
pub(super) struct Asked {
    sent: Timestamp,
    subscription: SubscriptionId,
    /// Of the shard of each part: how often tokens were returned.
    returns: SmallVec<[u64; 2]>,
}

impl Cache {
    /// Makes an empty cache of at most about `most` lines.
    pub(super) fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, most: most.div_ceil(SHARDS).max(1) }
    }

    /// Denies a check if what is known says that the store would now. What is known came through
    /// what `subscription` returns.
    pub(super) fn deny(
        &self,
        check: &Check,
        clock: &dyn Clock,
        subscription: impl Fn(Partition) -> Option<SubscriptionId>,
    ) -> Option<Decision> {
        let mut buckets: SmallVec<[Bucket; 4]> = SmallVec::new();
        let mut now: Option<Timestamp> = None;
        let mut through = None;
        let mut is_denied = false;
        let mut local = None;
        for part in check.parts() {
            let line = self.line(&part.bucket())?;
            // Of nearly all buckets nothing is known, and nobody needs the time.
            let seen = line.seen_by(part, *local.get_or_insert_with(|| clock.now()))?;
            if seen.lacks {
                // Of a bucket with more tokens, no return is reported.
                if !seen.is_reported {
                    return None;
                }
                is_denied |= part.limit.denies();
            }
            if *through.get_or_insert(line.known().subscription) != line.known().subscription {
                return None;
            }
            now = Some(now.map_or(seen.now, |now| now.min(seen.now)));
            buckets.push(seen.bucket);
        }
        let is_current = |partition| subscription(partition) == through;
        let partitions = check.parts().iter().map(|part| part.tag.partition());
        if !is_denied || !partitions.into_iter().all(is_current) {
            return None;
        }
        Some(check.decide(&mut buckets, now?, Source::Cache)).filter(Decision::is_denied)
    }

    /// Notes what is the case at `local`, before the store is asked. `None` if no reply could be
    /// kept: nothing is reported of some of the buckets, or they are decided one after the other.
    pub(super) fn ask(
        &self,
        check: &Check,
        local: Timestamp,
        subscription: impl Fn(Partition) -> Option<SubscriptionId>,
    ) -> Option<Asked> {
        let (first, others) = check.parts().split_first()?;
        let through = subscription(first.tag.partition())?;
        if others.iter().any(|part| subscription(part.tag.partition()) != Some(through)) {
            return None;
        }
        let returns = |part: &Part| self.shard(&part.bucket()).returns.load(Ordering::Acquire);
        let returns = check.parts().iter().map(returns).collect();
        Some(Asked { sent: local, subscription: through, returns })
    }

    /// Keeps what a denial by the store shows, which has just arrived, unless tokens were returned,
    /// or reports may have been lost, since the store was asked.
    pub(super) fn learn(
        &self,
        check: &Check,
        asked: &Asked,
        decision: &Decision,
        clock: &dyn Clock,
        subscription: impl Fn(Partition) -> Option<SubscriptionId>,
    ) {
        let Asked { sent, subscription: through, ref returns } = *asked;
        if decision.is_allowed() || decision.source() != Source::Store {
            return;
        }
        let local = clock.now();
        let known = Known { at: decision.at(), sent, replied: local, subscription: through };
        let parts = || check.parts().iter().zip(decision.verdicts());
        let lines = parts().map(|(part, verdict)| Line::of(part, verdict, known));
        let Some(lines) = lines.collect::<Option<SmallVec<[Line; 4]>>>() else { return };
        let denies = check.parts().iter().zip(&lines).any(|(part, line)| {
            let seen = line.seen_by(part, local);
            part.limit.denies() && seen.is_some_and(|seen| seen.lacks && seen.is_reported)
        });
        let is_current = |partition| subscription(partition) == Some(through);
        if !denies || !check.parts().iter().all(|part| is_current(part.tag.partition())) {
            return;
        }
        for ((part, line), &returns) in check.parts().iter().zip(lines).zip(returns) {
            let bucket = part.bucket();
            self.shard(&bucket).insert(bucket, line, returns, self.most);
        }
    }

    /// Drops what is known of the buckets of a check.
    pub(super) fn forget(&self, check: &Check) {
        check.parts().iter().for_each(|part| self.returned(&part.bucket()));
    }

    /// Removes what is too old at `local`, frees the memory, and returns how many lines there are.
    pub(super) fn sweep(&self, local: Timestamp) -> usize {
        let swept = self.shards.iter().map(|shard| {
            if shard.len.load(Ordering::Relaxed) == 0 {
                return 0;
            }
            let mut lines = shard.lines.lock();
            lines.sweep(local);
            lines.lines.shrink_to_fit();
            shard.count(&lines)
        });
        swept.sum()
    }

    fn line(&self, bucket: &BucketId) -> Option<Line> {
        let shard = self.shard(bucket);
        if shard.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        shard.lines.lock().lines.get(bucket).copied()
    }

    fn shard(&self, bucket: &BucketId) -> &Shard {
        &self.shards[usize::from(bucket.tag.part()) % SHARDS]
    }
}

impl ObserveReturns for Cache {
    fn returned(&self, bucket: &BucketId) {
        let shard = self.shard(bucket);
        let mut lines = shard.lines.lock();
        // Under the lock, so that no reply that is on its way is kept afterwards.
        shard.returns.fetch_add(1, Ordering::AcqRel);
        lines.lines.remove(bucket);
        shard.count(&lines);
    }
}

impl Shard {
    /// Adds a line, unless tokens were returned since there were `returns`.
    fn insert(&self, bucket: BucketId, line: Line, returns: u64, most: usize) {
        let mut lines = self.lines.lock();
        if self.returns.load(Ordering::Acquire) != returns {
            return;
        }
        let local = line.known().replied;
        if local.since(lines.swept_at) >= SWEEP_EVERY {
            lines.sweep(local);
        }
        if lines.lines.len() >= most && !lines.lines.contains_key(&bucket) {
            // Ids are hashes, so this is as good as a random one.
            let any = lines.lines.keys().next().copied();
            any.and_then(|any| lines.lines.remove(&any));
        }
        lines.lines.insert(bucket, line);
        self.count(&lines);
    }

    /// Notes how many lines there are.
    fn count(&self, lines: &Lines) -> usize {
        let len = lines.lines.len();
        self.len.store(len, Ordering::Relaxed);
        len
    }
}

impl Lines {
    fn sweep(&mut self, local: Timestamp) {
        self.swept_at = local;
        self.lines.retain(|_, line| !line.is_old(local));
    }
}
