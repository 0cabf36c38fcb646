//! Which upstream a request goes to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::upstream::Upstream;

/// All upstreams.
#[derive(Debug)]
pub(crate) struct Upstreams {
    all: Box<[Arc<Upstream>]>,
    /// Where the next search begins, so that those who are equally busy take turns.
    next: AtomicUsize,
}

impl Upstreams {
    pub(crate) fn new(all: Vec<Upstream>) -> Self {
        Self { all: all.into_iter().map(Arc::new).collect(), next: AtomicUsize::new(0) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.all.iter()
    }

    /// The least busy of those that are well and not in `tried`; one that could not be connected to
    /// a moment ago only when no other is left.
    pub(crate) fn choose(&self, tried: &[Arc<Upstream>]) -> Option<&Arc<Upstream>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            (0..self.all.len()).map(|offset| &self.all[(start + offset) % self.all.len()]);
        let candidates = in_turn.filter(|upstream| {
            upstream.is_healthy() && !tried.iter().any(|other| Arc::ptr_eq(other, upstream))
        });
        candidates.min_by_key(|upstream| (upstream.avoided_for(), upstream.in_flight()))
    }

    /// Notes that `upstream` could not be connected to.
    pub(crate) fn mark_unreachable(&self, upstream: &Upstream, avoided_for: Duration) {
        // Where there is no other, there is nothing to choose.
        if self.all.len() > 1 {
            upstream.avoid_for(avoided_for);
        }
    }
}
