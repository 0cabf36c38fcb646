//! A store that fails on command.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Action, Check, Decision, Partition, Timestamp};
use tokio::time::Instant;

use crate::{Clock, Fleet, MemoryStore, NodeId, Replica, Store, StoreError, StoreFuture};

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// It responds at once.
    Responds,
    /// It responds after this time.
    RespondsAfter(Duration),
    /// It does nothing and never responds.
    Hangs,
    /// It decides and never responds.
    DecidesAndHangs,
    /// It cannot be reached.
    Unreachable,
    /// It reads but rejects writes, like a primary that has become a replica.
    ReadOnly,
    /// Its replies about buckets cannot be read.
    ReturnsGarbage,
    /// It decides this many more checks, and then cannot be reached.
    RespondsToChecks(usize),
}

/// A call that the store received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoreCall {
    Decide,
    DecideAll(usize),
    Probe,
}

/// A memory store that behaves as a test says. It has one node, or two that behave differently.
#[derive(Debug)]
pub(super) struct Scripted {
    memory: MemoryStore<Arc<dyn Clock>>,
    /// What each node does.
    behaviours: Mutex<[Behaviour; 2]>,
    /// How many of them have buckets.
    nodes: AtomicUsize,
    calls: Mutex<Vec<(Instant, NodeId, StoreCall)>>,
}

/// The runtime's clock, so that a paused runtime pauses the stores.
#[derive(Debug)]
pub(super) struct RuntimeClock(Instant);

impl RuntimeClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(1_800_000_000_000_000).after(self.0.elapsed())
    }
}

impl Scripted {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            memory: MemoryStore::with_clock(clock),
            behaviours: Mutex::new([Behaviour::Responds; 2]),
            nodes: AtomicUsize::new(1),
            calls: Mutex::default(),
        }
    }

    /// Makes all nodes behave like this.
    pub(super) fn set(&self, behaviour: Behaviour) {
        *self.behaviours.lock() = [behaviour; 2];
    }

    /// Makes one node behave like this.
    pub(super) fn set_node(&self, node: NodeId, behaviour: Behaviour) {
        self.behaviours.lock()[node.index()] = behaviour;
    }

    /// Spreads the buckets over this many nodes.
    pub(super) fn spread_over(&self, nodes: usize) {
        self.nodes.store(nodes, Ordering::SeqCst);
    }

    fn behaviour_of(&self, node: NodeId) -> Behaviour {
        self.behaviours.lock()[node.index()]
    }

    fn node_of(&self, check: &Check) -> NodeId {
        let mut nodes = check.parts().iter().map(|part| self.node(part.tag.partition()));
        let first = nodes.next().unwrap_or(NodeId::ONLY);
        assert!(nodes.all(|node| node == first), "no call is for several nodes: {check:?}");
        first
    }

    /// Returns all calls so far, each with its time.
    pub(super) fn calls(&self) -> Vec<(Instant, StoreCall)> {
        self.calls.lock().iter().map(|(at, _, call)| (*at, call.clone())).collect()
    }

    /// Returns the calls to one node so far.
    pub(super) fn calls_of(&self, node: NodeId) -> Vec<StoreCall> {
        let calls = self.calls.lock();
        calls.iter().filter(|(_, to, _)| *to == node).map(|(.., call)| call.clone()).collect()
    }

    pub(super) fn count_calls(&self, call: &StoreCall) -> usize {
        self.calls().iter().filter(|(_, known)| known == call).count()
    }

    /// Decides, whatever the behaviour is.
    pub(super) fn decide_anyway(&self, check: &Check) -> Decision {
        self.memory.decide_now(check)
    }

    fn record(&self, node: NodeId, call: StoreCall) -> Behaviour {
        self.calls.lock().push((Instant::now(), node, call));
        self.behaviour_of(node)
    }

    fn decide_as_scripted(&self, check: &Check) -> Result<Decision, StoreError> {
        let node = self.node_of(check);
        match self.behaviour_of(node) {
            Behaviour::Unreachable | Behaviour::RespondsToChecks(0) => Err(unreachable_error()),
            Behaviour::ReturnsGarbage if !check.parts().is_empty() => {
                Err(StoreError::Unreadable { what: "garbage".to_owned() })
            }
            Behaviour::ReadOnly if check.action() != Action::Peek => {
                let mut peek = Check::new(Action::Peek);
                check.parts().iter().cloned().for_each(|part| peek.push(part));
                let decision = self.decide_anyway(&peek);
                if decision.is_allowed() { Err(read_only_error()) } else { Ok(decision) }
            }
            Behaviour::RespondsToChecks(left) if !check.parts().is_empty() => {
                self.set_node(node, Behaviour::RespondsToChecks(left - 1));
                Ok(self.decide_anyway(check))
            }
            _ => Ok(self.decide_anyway(check)),
        }
    }

    fn respond<'a, T: Send + 'a>(
        &'a self,
        behaviour: Behaviour,
        act: impl FnOnce() -> T + Send + 'a,
    ) -> StoreFuture<'a, T> {
        match behaviour {
            Behaviour::Hangs => StoreFuture::pending(std::future::pending()),
            Behaviour::DecidesAndHangs => {
                act();
                StoreFuture::pending(std::future::pending())
            }
            Behaviour::RespondsAfter(wait) => StoreFuture::pending(async move {
                tokio::time::sleep(wait).await;
                act()
            }),
            _ => StoreFuture::ready(act()),
        }
    }
}

impl Store for Scripted {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let behaviour = self.record(self.node_of(check), StoreCall::Decide);
        self.respond(behaviour, move || self.decide_as_scripted(check))
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        let node = checks.first().map_or(NodeId::ONLY, |check| self.node_of(check));
        assert!(checks.iter().all(|check| self.node_of(check) == node), "{checks:?}");
        let behaviour = self.record(node, StoreCall::DecideAll(checks.len()));
        self.respond(behaviour, move || {
            checks.iter().map(|check| self.decide_as_scripted(check)).collect()
        })
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        self.probe_node(NodeId::ONLY)
    }

    fn node(&self, partition: Partition) -> NodeId {
        let index = partition.index() % self.nodes.load(Ordering::SeqCst);
        NodeId::all().nth(index).unwrap()
    }

    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        let behaviour = self.record(node, StoreCall::Probe);
        self.respond(behaviour, move || match behaviour {
            Behaviour::Unreachable | Behaviour::RespondsToChecks(0) => Err(unreachable_error()),
            Behaviour::ReadOnly => Err(read_only_error()),
            _ => Ok(()),
        })
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        let behaviour = self.behaviour_of(NodeId::ONLY);
        match self.memory.announce(replica) {
            StoreFuture::Ready(fleet) => {
                self.respond(behaviour, move || fleet.unwrap_or_else(|| Err(unreachable_error())))
            }
            pending @ StoreFuture::Pending(_) => pending,
        }
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        let behaviour = self.behaviour_of(NodeId::ONLY);
        self.respond(behaviour, move || {
            drop(self.memory.depart(replica));
            Ok(())
        })
    }
}

fn unreachable_error() -> StoreError {
    StoreError::Unreachable(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)))
}

fn read_only_error() -> StoreError {
    StoreError::Refused(Arc::new(std::io::Error::other(
        "READONLY You can't write against a read only replica.",
    )))
}
