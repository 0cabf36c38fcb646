//! Deployments that cost by the hour.

use std::collections::{BTreeMap, HashMap};

use sluice_core::Timestamp;

use crate::{
    bounds::{MAX_DEPLOYMENTS, MAX_RUNNING, MEMORY_OF_ENDS, START_TOLERANCE},
    convert::{store_time, unix_millis},
    history::{CostSource, Hour, Series},
    running::{Charged, Running, RunningChange},
};

/// Deployments that are not charged completely yet, and what was deleted lately.
#[derive(Debug, Default)]
pub(super) struct Priced {
    running: HashMap<Box<str>, Running>,
    /// Deleted, and not charged since.
    ended: Vec<Running>,
    deleted: HashMap<Box<str>, Deletion>,
}

#[derive(Debug)]
struct Deletion {
    at: Timestamp,
    /// Whether the deployment was running. If not, the report of its creation may come later.
    was_running: bool,
}

impl Priced {
    pub(super) fn change(&mut self, changes: &[RunningChange], now: Timestamp) {
        self.deleted.retain(|_, deletion| now.since(deletion.at) < MEMORY_OF_ENDS);
        for change in changes {
            self.change_one(change, store_time(now, change.at));
        }
    }

    fn change_one(&mut self, change: &RunningChange, at: Timestamp) {
        let RunningChange { id, created, .. } = change;
        let Some(price) = created else {
            let running = self.running.remove(id);
            let was_running = running.is_some();
            self.ended.extend(running.map(|running| running.ended(unix_millis(at))));
            if self.deleted.len() < MAX_DEPLOYMENTS {
                self.deleted.insert(id.clone(), Deletion { at, was_running });
            }
            return;
        };
        let has_room = self.running.len() + self.ended.len() < MAX_RUNNING;
        if self.running.contains_key(id) || !has_room {
            return;
        }
        let running = Running::new(unix_millis(at), price.clone());
        let deletion =
            self.deleted.get_mut(id).filter(|deletion| deletion.at.after(START_TOLERANCE) >= at);
        match deletion {
            // Its creation was reported twice.
            Some(Deletion { was_running: true, .. }) => {}
            Some(deletion) => {
                deletion.was_running = true;
                self.ended.push(running.ended(unix_millis(deletion.at.max(at))));
            }
            None => drop(self.running.insert(id.clone(), running)),
        }
    }

    /// Charges all deployments up to `now`, and hands each amount to `add`.
    pub(super) fn charge(
        &mut self,
        now: Timestamp,
        mut add: impl FnMut(&Series, &BTreeMap<Hour, u64>),
    ) -> Charged {
        let mut charged = Charged::of(self.running.len());
        let mut charge_one = |running: &mut Running| {
            let price = running.price();
            let series = Series::cost(CostSource::Deployment, &price.kind, &price.currency);
            let charge = running.charge(now);
            add(&series, &charge.amounts);
            charged.add(price, charge.amounts.values().sum());
            charge.after.is_some_and(|after| {
                *running = after;
                true
            })
        };
        self.running.retain(|_, running| charge_one(running));
        self.ended.retain_mut(charge_one);
        charged
    }
}
