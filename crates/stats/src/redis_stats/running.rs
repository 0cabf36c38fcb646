//! Charging the deployments that cost by the hour.

use std::collections::HashMap;

use redis::Pipeline;
use sluice_core::Timestamp;
use sluice_store::{RedisHandle, RedisScript, StoreError};

use super::{
    history::{amount, day_lifetime_ms, keys_of_days},
    keys::StatsKeys,
    packed::PackedStrings,
    read::{typed, unreadable},
};
use crate::{
    bounds::{MAX_FOLDED_SUMS_PER_DAY, MAX_SUMS_PER_DAY},
    history::{CostSource, Series},
    running::{Charge, Charged, Running},
};

const SOURCE: &str = include_str!("../../../../lua/charge.lua");
const DIGEST: &str = "8b06447fe24293970e4bc58e90ea656edd0d7f9d";

/// Charges deployments, each only if its state is the one that was read.
static SCRIPT: RedisScript = RedisScript::new(SOURCE, DIGEST);

/// Deployments in one call, which keeps the server busy for some milliseconds at most.
const DEPLOYMENTS_PER_CALL: usize = 200;
/// Precedes the id of a deployment that was not deleted, in its field.
const RUNNING: char = 'r';

/// A deployment as it was read, and its charge.
#[derive(Debug)]
struct Due {
    field: String,
    text: String,
    deployment: Running,
    charge: Charge,
}

/// Charges all deployments up to `now`.
pub(super) async fn charge(
    redis: &RedisHandle,
    keys: &StatsKeys,
    now: Timestamp,
) -> Result<Charged, StoreError> {
    let replies = redis.run(redis::pipe().cmd("HGETALL").arg(&keys.priced)).await?;
    let states = replies.first().ok_or_else(|| unreadable("the deployments are missing"))?;
    let states: HashMap<String, String> = typed(states)?;
    let mut charged = Charged::of(states.keys().filter(|field| field.starts_with(RUNNING)).count());
    let due = |(field, text): (String, String)| {
        // What a newer version writes is left to newer versions.
        let deployment = Running::from_text(&text)?;
        let charge = deployment.charge(now);
        let is_due = charge.after.as_ref() != Some(&deployment);
        is_due.then_some(Due { field, text, deployment, charge })
    };
    let due: Vec<Due> = states.into_iter().filter_map(due).collect();
    for due in due.chunks(DEPLOYMENTS_PER_CALL) {
        let replies = redis.run_with_script(&call(keys, due, now), &SCRIPT).await?;
        let results = replies.first().ok_or_else(|| unreadable("no deployment was charged"))?;
        let results: Vec<i64> = typed(results)?;
        for (Due { deployment, charge, .. }, _) in
            due.iter().zip(results).filter(|(_, result)| *result == 1)
        {
            charged.add(deployment.price(), charge.amounts.values().sum());
        }
    }
    Ok(charged)
}

fn call(keys: &StatsKeys, due: &[Due], now: Timestamp) -> Pipeline {
    let mut list = PackedStrings::default();
    list.push(due.len());
    for Due { field, text, deployment, charge } in due {
        let after = charge.after.as_ref().map(Running::to_text).unwrap_or_default();
        list.push(field).push(text).push(after).push(charge.amounts.len());
        let price = deployment.price();
        let series = Series::cost(CostSource::Deployment, &price.kind, &price.currency);
        for (hour, added) in &charge.amounts {
            amount(&mut list, *hour, &series, *added, now);
        }
    }
    let mut pipeline = redis::pipe();
    pipeline.add_command(SCRIPT.command_by_digest(|command| {
        let [today, yesterday] = keys_of_days(keys, now);
        command.arg(3).arg(&keys.priced).arg(today).arg(yesterday);
        command.arg(MAX_SUMS_PER_DAY).arg(MAX_FOLDED_SUMS_PER_DAY).arg(day_lifetime_ms());
        command.arg(list.finish());
    }));
    pipeline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_script_is_a_deliberate_change() {
        assert_eq!(
            redis::Script::new(SOURCE).get_hash(),
            DIGEST,
            "charge.lua was changed. Can older replicas still read what it writes? Then pin the \
             new digest"
        );
    }
}
