use std::collections::HashMap;

use arc_swap::ArcSwap;
use sluice_telemetry::{BoundEndpoint, HttpRecorder, OTHER};

/// The most endpoints that are kept; more than the recorder tells apart.
const MOST: usize = 256;

/// What records the answers of each endpoint, bound when it is first seen.
#[derive(Debug)]
pub(super) struct Endpoints {
    recorder: HttpRecorder,
    other: BoundEndpoint,
    bound: ArcSwap<HashMap<Box<str>, BoundEndpoint>>,
}

impl Endpoints {
    pub(super) fn new(recorder: &HttpRecorder) -> Self {
        Self { recorder: recorder.clone(), other: recorder.bind(OTHER), bound: ArcSwap::default() }
    }

    pub(super) const fn other(&self) -> &BoundEndpoint {
        &self.other
    }

    pub(super) fn get(&self, endpoint: &str) -> BoundEndpoint {
        let bound = self.bound.load();
        match bound.get(endpoint) {
            Some(known) => known.clone(),
            // Whoever takes paths for patterns should not fill the memory too.
            None if bound.len() >= MOST => self.other.clone(),
            None => self.bind(endpoint),
        }
    }

    fn bind(&self, endpoint: &str) -> BoundEndpoint {
        let new = self.recorder.bind(endpoint);
        self.bound.rcu(|bound| {
            let mut more = HashMap::clone(bound);
            more.insert(endpoint.into(), new.clone());
            more
        });
        new
    }
}

#[cfg(test)]
mod tests {
    use sluice_telemetry::Recorders;

    use super::*;

    #[test]
    fn endpoints_without_end_do_not_fill_the_memory() {
        let endpoints = Endpoints::new(&Recorders::disabled().http);
        for path in 0..2 * MOST {
            endpoints.get(&format!("/{path}"));
        }
        assert_eq!(endpoints.bound.load().len(), MOST);
    }
}
