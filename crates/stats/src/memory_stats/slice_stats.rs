//! What happened in one time slice.

use std::collections::HashMap;

use sluice_core::Tag;

use super::distinct::Distinct;
use crate::{
    bounds::{MAX_ENDPOINTS, MAX_TOP_PER_SLICE},
    flush::Deltas,
    slice::Slice,
};

/// The clients of one time slice.
#[derive(Debug)]
pub(super) struct SliceStats {
    pub(super) slice: Slice,
    pub(super) clients: Distinct,
    /// Clients with at least one denied request.
    pub(super) limited: Distinct,
    /// The clients of each endpoint.
    pub(super) active: HashMap<Box<str>, Distinct>,
    /// Denials of the clients that were denied most often.
    pub(super) top: HashMap<Tag, u64>,
}

impl SliceStats {
    pub(super) fn new(slice: Slice) -> Self {
        Self {
            slice,
            clients: Distinct::default(),
            limited: Distinct::default(),
            active: HashMap::new(),
            top: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, deltas: &Deltas) {
        for (endpoint, more) in deltas.endpoints.iter().filter(|(_, more)| !more.clients.is_empty())
        {
            if self.active.len() < MAX_ENDPOINTS || self.active.contains_key(&**endpoint) {
                let active = self.active.entry((&**endpoint).into()).or_default();
                more.clients.iter().for_each(|client| active.insert(client));
            }
            more.clients.iter().for_each(|client| self.clients.insert(client));
        }
        for (client, denials) in &deltas.limited {
            self.limited.insert(client);
            *self.top.entry(*client).or_default() += denials;
        }
        self.trim_top();
    }

    /// Keeps only the `MAX_TOP_PER_SLICE` clients that were denied most often.
    fn trim_top(&mut self) {
        if self.top.len() <= MAX_TOP_PER_SLICE {
            return;
        }
        let mut counts: Vec<_> = self.top.values().copied().collect();
        let (_, least, _) = counts.select_nth_unstable_by(MAX_TOP_PER_SLICE - 1, |a, b| b.cmp(a));
        let least = *least;
        let above = self.top.values().filter(|count| **count > least).count();
        let mut room = MAX_TOP_PER_SLICE - above;
        self.top.retain(|_, count| {
            *count > least || {
                let stays = *count == least && room > 0;
                room -= usize::from(stays);
                stays
            }
        });
    }
}
