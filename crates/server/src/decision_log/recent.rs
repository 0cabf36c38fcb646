//! Keeps the last denials.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sluice::{Decided, Retry};
use sluice_core::{Source, Tag, Timestamp};

/// How many denials are kept.
const MOST: usize = 100;

/// A denial, for those who ask why a client was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// When it was decided, by the store's clock.
    pub at: Timestamp,
    /// The client's hash.
    pub client: Option<Tag>,
    /// The client's tier.
    pub tier: Option<Box<str>>,
    /// The method of the request, if it has one.
    pub method: Option<Box<str>>,
    /// The pattern of endpoints that covers the path, or `other`.
    pub endpoint: Arc<str>,
    /// The limit that denied the request.
    pub limit: Box<str>,
    /// Where it was decided.
    pub source: Source,
    /// The tokens that the request needed.
    pub cost: u64,
    /// The tokens that were left.
    pub remaining: u64,
    /// When the same cost will be admitted.
    pub retry: Retry,
}

impl Denial {
    pub(super) fn of(decided: &Decided<'_>) -> Self {
        let Decided { decision, client, tier, method, endpoint, .. } = *decided;
        let verdict = decision.binding();
        Self {
            at: decision.at(),
            client,
            tier: tier.map(Into::into),
            method: method.map(Into::into),
            endpoint: endpoint.map_or_else(|| "other".into(), Arc::clone),
            limit: verdict.map_or("", |verdict| verdict.limit.name()).into(),
            source: decision.source(),
            cost: verdict.map_or(0, |verdict| verdict.cost.tokens()),
            remaining: verdict.map_or(0, |verdict| verdict.remaining),
            retry: decision.retry(),
        }
    }
}

/// The last denials, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Denial>>);

impl Recent {
    /// Adds a denial, in place of the oldest when there are enough.
    pub(super) fn push(&self, denial: Denial) {
        let mut denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.len() >= MOST {
            denials.pop_front();
        }
        denials.push_back(denial);
    }

    pub(super) fn newest_first(&self) -> Vec<Denial> {
        let denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denials.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let recent = Recent::default();
        for number in 0..250 {
            recent.push(Denial {
                at: Timestamp::from_unix_micros(number),
                client: None,
                tier: None,
                method: None,
                endpoint: "other".into(),
                limit: "a".into(),
                source: Source::Store,
                cost: 1,
                remaining: 0,
                retry: Retry::Never,
            });
        }
        let kept = recent.newest_first();
        assert_eq!(kept.len(), MOST);
        assert_eq!((kept[0].at.unix_micros(), kept[MOST - 1].at.unix_micros()), (249, 150));
    }
}
