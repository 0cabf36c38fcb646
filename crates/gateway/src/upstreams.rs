//! The choice of an upstream for a request.

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
    /// Where the next search begins, so that equally busy upstreams take turns.
    next: AtomicUsize,
}

impl Upstreams {
    pub(crate) fn new(all: Vec<Upstream>) -> Self {
        Self { all: all.into_iter().map(Arc::new).collect(), next: AtomicUsize::new(0) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.all.iter()
    }

    /// Returns the healthy upstream with the fewest requests in flight that is not in `tried`. An
    /// upstream that could not be reached lately comes last.
    pub(crate) fn choose(&self, tried: &[Arc<Upstream>]) -> Option<&Arc<Upstream>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            (0..self.all.len()).map(|offset| &self.all[(start + offset) % self.all.len()]);
        let candidates = in_turn.filter(|upstream| {
            upstream.is_healthy() && !tried.iter().any(|other| Arc::ptr_eq(other, upstream))
        });
        candidates.min_by_key(|upstream| (upstream.avoided_for(), upstream.in_flight()))
    }

    /// Avoids `upstream` for `avoided_for`, since it could not be reached.
    pub(crate) fn mark_unreachable(&self, upstream: &Upstream, avoided_for: Duration) {
        // A single upstream has no alternative.
        if self.all.len() > 1 {
            upstream.avoid_for(avoided_for);
        }
    }
}
