//! What a replica has found out about its store beside the decisions: whether it was ever in
//! contact with it, whether it can announce itself, whether the other replicas have the same
//! secret, and whether the server may evict buckets.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sluice::Standing;
use sluice_store::{NodeId, ServerMemory, StoreError};
use tokio::sync::watch;

/// How long after the last eviction the server counts as evicting.
const EVICTING_FOR: Duration = Duration::from_secs(300);

/// What it means that the store decides and yet rejects the announcements, with the remedy.
const UNANNOUNCED: &str = "the store rejects this replica's announcements: in an outage each \
    replica would take too large a share of the limits, and buckets keep an old layout. Permit its \
    user HGETALL, HSET, HDEL and PEXPIRE on the key that ends with `fleet`, or delete that key if \
    it is no hash; the log has the error";

/// What it means that the secrets of the fleet differ, with the remedy.
const ANOTHER_SECRET: &str = "another replica hashes clients with another secret, so that clients \
    get their limits up to twice: give all replicas the same `clients.secret`";

/// What is known about the store. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct StoreWatch {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    contacted: AtomicBool,
    /// How the announcements go; empty before the first one.
    standing: OnceLock<watch::Receiver<Standing>>,
    /// How many replicas have another secret; empty before the first announcement.
    other_secrets: OnceLock<watch::Receiver<usize>>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// What each server said last, of those that do.
    known: HashMap<NodeId, ServerMemory>,
    last_eviction: Option<Instant>,
}

/// Why clients may get more than their limits although the store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvictionRisk {
    /// The server would evict buckets if its memory were full.
    MayEvict,
    /// The server has evicted keys lately.
    Evicts,
}

impl EvictionRisk {
    /// Returns the risk with its remedy.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::MayEvict => {
                "the server may evict buckets: set its maxmemory-policy to noeviction"
            }
            Self::Evicts => {
                "the server evicts keys, and its clients then have full buckets: raise its \
                 maxmemory, and set its maxmemory-policy to noeviction"
            }
        }
    }
}

impl StoreWatch {
    /// Notes that the store responded.
    pub(crate) fn contacted(&self) {
        self.inner.contacted.store(true, Ordering::Relaxed);
    }

    /// Returns whether the store has ever responded.
    pub(crate) fn was_contacted(&self) -> bool {
        self.inner.contacted.load(Ordering::Relaxed)
    }

    /// Watches the announcements of this replica from now on. Only the first call counts.
    pub(crate) fn follow(
        &self,
        standing: watch::Receiver<Standing>,
        other_secrets: watch::Receiver<usize>,
    ) {
        let _ = self.inner.standing.set(standing);
        let _ = self.inner.other_secrets.set(other_secrets);
    }

    /// Waits until the store lists this replica, and notes that as a contact: it may be the only
    /// one before an outage.
    pub(crate) async fn wait_for_listing(&self) {
        let Some(mut standing) = self.inner.standing.get().cloned() else { return };
        let is_listed =
            |standing: &Standing| matches!(standing, Standing::Listed | Standing::Conflicting(_));
        let listed = standing.wait_for(is_listed).await.is_ok();
        if listed {
            self.contacted();
        }
    }

    /// Returns why clients may get more than their limits although the store decides, with the
    /// remedies.
    pub(crate) fn warning(&self) -> Option<String> {
        let warnings: Vec<&str> = [
            self.is_unannounced().then_some(UNANNOUNCED),
            self.has_another_secret().then_some(ANOTHER_SECRET),
            self.eviction_risk().map(EvictionRisk::as_str),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!warnings.is_empty()).then(|| warnings.join(". Also, "))
    }

    /// Returns whether the store has rejected the last announcement. In an outage it only could not
    /// be reached.
    fn is_unannounced(&self) -> bool {
        use StoreError::{Refused, Unreadable, WrongSettings};
        let standing = self.inner.standing.get().map(|standing| standing.borrow());
        matches!(
            standing.as_deref(),
            Some(Standing::Unlisted(Refused(_) | Unreadable { .. } | WrongSettings(_)))
        )
    }

    /// Returns whether a live replica hashes clients with another secret.
    fn has_another_secret(&self) -> bool {
        self.inner.other_secrets.get().is_some_and(|others| *others.borrow() > 0)
    }

    /// Notes what each server says about its memory, and returns how many keys they have evicted
    /// since they said so last. None may say anything. A server that is away keeps what it said.
    pub(crate) fn memory_read(&self, memories: Vec<(NodeId, ServerMemory)>) -> u64 {
        let mut current = self.memory();
        if memories.is_empty() {
            current.known.clear();
        }
        let mut evicted = 0;
        for (node, memory) in memories {
            evicted += match current.known.get(&node) {
                // A server that has restarted counts from zero again.
                Some(before) if memory.evicted_keys >= before.evicted_keys => {
                    memory.evicted_keys - before.evicted_keys
                }
                Some(_) => memory.evicted_keys,
                None => 0,
            };
            current.known.insert(node, memory);
        }
        if evicted > 0 {
            current.last_eviction = Some(Instant::now());
        }
        evicted
    }

    /// Returns what the servers are known to do with buckets; `None` also if that is not known.
    pub(crate) fn eviction_risk(&self) -> Option<EvictionRisk> {
        let Memory { known, last_eviction } = &*self.memory();
        match last_eviction {
            Some(last) if !known.is_empty() && last.elapsed() < EVICTING_FOR => {
                Some(EvictionRisk::Evicts)
            }
            _ => known.values().any(ServerMemory::may_evict).then_some(EvictionRisk::MayEvict),
        }
    }

    /// Returns the policy of a server that may evict, or else of any, if it is known.
    pub(crate) fn policy(&self) -> Option<String> {
        let Memory { known, .. } = &*self.memory();
        let evicts = known.values().find(|memory| memory.may_evict());
        Some(evicts.or_else(|| known.values().next())?.policy.clone())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // No code panics while it holds the lock.
        self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(watch: &StoreWatch, policy: &str, evicted: u64) -> (u64, Option<EvictionRisk>) {
        let evicted = watch.memory_read(vec![(NodeId::ONLY, ServerMemory::new(policy, evicted))]);
        (evicted, watch.eviction_risk())
    }

    #[test]
    fn a_policy_that_evicts_is_a_risk_and_evictions_are_a_greater_one() {
        let watch = StoreWatch::default();
        assert_eq!(watch.eviction_risk(), None);
        assert_eq!(read(&watch, "noeviction", 900), (0, None), "evicted before the start");
        assert_eq!(read(&watch, "volatile-lru", 900), (0, Some(EvictionRisk::MayEvict)));
        assert_eq!(read(&watch, "volatile-lru", 904), (4, Some(EvictionRisk::Evicts)));
        assert_eq!(read(&watch, "noeviction", 904), (0, Some(EvictionRisk::Evicts)), "lately");
        assert_eq!(read(&watch, "noeviction", 3).0, 3, "after a restart of the server");
    }

    #[tokio::test]
    async fn an_announcement_that_the_store_lists_is_a_contact() {
        let watch = StoreWatch::default();
        watch.wait_for_listing().await;
        assert!(!watch.was_contacted(), "nothing was announced");
        let (standing, followed) = watch::channel(Standing::Joining);
        watch.follow(followed, watch::channel(0).1);
        let waiting = tokio::spawn({
            let watch = watch.clone();
            async move { watch.wait_for_listing().await }
        });
        standing.send_replace(Standing::Unlisted(StoreError::BreakerOpen));
        tokio::task::yield_now().await;
        assert!(!watch.was_contacted());
        standing.send_replace(Standing::Listed);
        waiting.await.unwrap();
        standing.send_replace(Standing::Unlisted(StoreError::BreakerOpen));
        assert!(watch.was_contacted(), "an outage that follows changes nothing");
    }

    #[test]
    fn rejected_announcements_are_a_warning_beside_that_of_evictions() {
        let watch = StoreWatch::default();
        assert_eq!(watch.warning(), None);
        let (standing, followed) = watch::channel(Standing::Joining);
        let (secrets, followed_secrets) = watch::channel(0);
        watch.follow(followed, followed_secrets);
        assert_eq!(watch.warning(), None);
        standing.send_replace(Standing::Unlisted(StoreError::BreakerOpen));
        assert_eq!(watch.warning(), None, "an outage is no rejection");
        let cause = std::io::Error::other("WRONGTYPE");
        standing.send_replace(Standing::Unlisted(StoreError::refused(cause)));
        assert_eq!(watch.warning().as_deref(), Some(UNANNOUNCED));
        read(&watch, "allkeys-lru", 0);
        let both = watch.warning().unwrap();
        assert!(both.contains(UNANNOUNCED) && both.contains("maxmemory-policy"), "{both}");
        standing.send_replace(Standing::Listed);
        assert_eq!(watch.warning().as_deref(), Some(EvictionRisk::MayEvict.as_str()));
        secrets.send_replace(1);
        let both = watch.warning().unwrap();
        assert!(both.contains("clients.secret") && both.contains("maxmemory-policy"), "{both}");
        secrets.send_replace(0);
        assert_eq!(watch.warning().as_deref(), Some(EvictionRisk::MayEvict.as_str()));
    }

    #[test]
    fn the_servers_of_a_cluster_count_their_evictions_apart() {
        let watch = StoreWatch::default();
        let said = |node: usize, evicted| {
            let node = NodeId::all().nth(node).unwrap();
            (
                node,
                ServerMemory::new(if node == NodeId::ONLY { "noeviction" } else { "lru" }, evicted),
            )
        };
        assert_eq!(watch.memory_read(vec![said(0, 900), said(1, 70)]), 0);
        assert_eq!(watch.eviction_risk(), Some(EvictionRisk::MayEvict), "one of them may");
        assert_eq!(watch.policy().as_deref(), Some("lru"));
        assert_eq!(watch.memory_read(vec![said(0, 900)]), 0, "one is away");
        assert_eq!(watch.memory_read(vec![said(0, 900), said(1, 73)]), 3);
    }

    #[test]
    fn a_server_that_does_not_say_is_no_risk() {
        let watch = StoreWatch::default();
        read(&watch, "allkeys-lru", 5);
        assert_eq!(watch.memory_read(Vec::new()), 0);
        assert_eq!((watch.eviction_risk(), watch.policy()), (None, None));
    }
}
