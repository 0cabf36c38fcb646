//! Counts requests for the objectives that cover their endpoints.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use sluice_slo::Slo;

use crate::history::{Series, SeriesCounter};

/// The endpoints whose objectives are kept: more than there are labels. For further ones, they are
/// looked for at each request.
const MAX_ENDPOINTS: usize = 512;

/// The parts of an objective in the hourly sums.
pub(super) const TOTAL: &str = "total";
pub(super) const FAILED: &str = "failed";

/// Counts requests for the active objectives.
#[derive(Debug, Default)]
pub(crate) struct SloCounters {
    active: ArcSwap<Active>,
}

#[derive(Debug, Default)]
struct Active {
    slos: Arc<[Slo]>,
    counted: Vec<Counted>,
    /// The indices of the objectives that cover each endpoint.
    of_endpoint: RwLock<HashMap<Box<str>, Arc<[usize]>>>,
}

#[derive(Debug)]
struct Counted {
    total: Arc<SeriesCounter>,
    failed: Arc<SeriesCounter>,
}

impl SloCounters {
    /// Replaces the objectives. `counter` returns the counter of a series.
    pub(crate) fn replace(&self, slos: Vec<Slo>, counter: impl Fn(&Series) -> Arc<SeriesCounter>) {
        let part = |slo: &Slo, part| counter(&Series::slo(slo.name.as_str(), part));
        let counted = slos
            .iter()
            .map(|slo| Counted { total: part(slo, TOTAL), failed: part(slo, FAILED) })
            .collect();
        let active = Active { slos: slos.into(), counted, of_endpoint: RwLock::default() };
        self.active.store(Arc::new(active));
    }

    /// Returns the objectives.
    pub(crate) fn slos(&self) -> Arc<[Slo]> {
        Arc::clone(&self.active.load().slos)
    }

    /// Counts a response to a request for `endpoint`, a value of the metric label.
    pub(crate) fn count(&self, endpoint: &str, status: u16, duration: Duration) {
        let active = self.active.load();
        if active.slos.is_empty() {
            return;
        }
        for &index in &*active.covering(endpoint) {
            let counted = &active.counted[index];
            counted.total.add(1);
            if !active.slos[index].indicator.is_good(status, duration) {
                counted.failed.add(1);
            }
        }
    }
}

impl Active {
    fn covering(&self, endpoint: &str) -> Arc<[usize]> {
        if let Some(known) = self.of_endpoint.read().get(endpoint) {
            return Arc::clone(known);
        }
        let covers = |(index, slo): (usize, &Slo)| slo.covers(endpoint).then_some(index);
        let covering: Arc<[usize]> = self.slos.iter().enumerate().filter_map(covers).collect();
        let mut of_endpoint = self.of_endpoint.write();
        if of_endpoint.len() < MAX_ENDPOINTS {
            of_endpoint.insert(endpoint.into(), Arc::clone(&covering));
        }
        covering
    }
}
