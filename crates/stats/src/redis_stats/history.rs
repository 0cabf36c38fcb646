//! Hourly sums: how they are read, and which days a process keeps.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use redis::{Pipeline, Value};
use sluice_core::Timestamp;
use sluice_store::{RedisHandle, StoreError};

use super::{
    keys::StatsKeys,
    packed::{PackedStrings, addend},
    read::{SINCE, typed, unreadable},
};
use crate::{
    convert::not_negative,
    history::{DaySums, HISTORY_DAYS, History, Hour, Series},
};

/// Days in one request, so that a server with many series is not kept busy for long.
const DAYS_PER_REQUEST: usize = 6;

/// Days that cannot change any more, as this process has read them.
#[derive(Debug, Default)]
pub(super) struct ClosedDays {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// When the first replica flushed, in ms. Another value means that the server has lost its
    /// memory, and the days with it.
    since: Option<i64>,
    days: BTreeMap<u64, Arc<DaySums>>,
}

/// The keys of the hourly sums of today and yesterday, to which amounts are added.
pub(super) fn keys_of_days(keys: &StatsKeys, now: Timestamp) -> [String; 2] {
    let today = Hour::at(now).day();
    [today, today.saturating_sub(1)].map(|day| keys.day(day))
}

/// Appends an amount for a script: the index of its day's key (1 for today, 2 for yesterday), its
/// field, that of the folded series, and the addend.
pub(super) fn amount(
    list: &mut PackedStrings,
    hour: Hour,
    series: &Series,
    amount: u64,
    now: Timestamp,
) {
    let day = 1 + Hour::at(now).day().saturating_sub(hour.day());
    list.push(day).push(field(hour, series)).push(field(hour, &series.folded()));
    list.push(addend(amount));
}

/// How long the sums of a day are kept after the last amount that was added to them. A day is shown
/// as long as it is among the last [`HISTORY_DAYS`] and today.
pub(super) const fn day_lifetime_ms() -> u64 {
    (HISTORY_DAYS + 1) * 24 * 60 * 60 * 1_000
}

/// The field of an hourly sum: `HOUR SERIES`.
fn field(hour: Hour, series: &Series) -> String {
    format!("{} {}", hour.number(), series.as_str())
}

impl ClosedDays {
    /// Reads the sums of all days; those that are kept are not requested.
    pub(super) async fn read(
        &self,
        redis: &RedisHandle,
        keys: &StatsKeys,
        now: Timestamp,
    ) -> Result<History, StoreError> {
        let today = Hour::at(now).day();
        let days = today.saturating_sub(HISTORY_DAYS)..=today;
        let open = Hour::first_open_day(now);
        // A second round is needed only when the server has lost its memory.
        let mut since = None;
        let mut open_days = BTreeMap::new();
        for _ in 0..2 {
            let missing: Vec<u64> = {
                let mut kept = self.kept.lock();
                kept.days.retain(|day, _| days.contains(day) && *day < open);
                days.clone().rev().filter(|day| !kept.days.contains_key(day)).collect()
            };
            let mut is_lost = false;
            for days in missing.chunks(DAYS_PER_REQUEST) {
                let replies = redis.run(&request(keys, days)).await?;
                let (first_flush, sums) = read(&replies, days)?;
                let mut kept = self.kept.lock();
                if kept.since != first_flush {
                    is_lost |= !kept.days.is_empty();
                    kept.days.clear();
                    kept.since = first_flush;
                }
                since = first_flush;
                for (day, sums) in sums {
                    if day < open {
                        kept.days.insert(day, Arc::new(sums));
                    } else {
                        open_days.insert(day, Arc::new(sums));
                    }
                }
            }
            if !is_lost {
                break;
            }
        }
        open_days.extend(self.kept.lock().days.clone());
        let since = since.map(|ms| Timestamp::from_unix_micros(ms.saturating_mul(1_000)));
        Ok(History::new(now, since, open_days))
    }
}

fn request(keys: &StatsKeys, days: &[u64]) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(&keys.totals).arg(SINCE);
    for day in days {
        pipeline.cmd("HGETALL").arg(keys.day(*day));
    }
    pipeline
}

/// Reads the replies to [`request`]: the time of the first flush, and the sums of each day.
fn read(
    replies: &[Value],
    days: &[u64],
) -> Result<(Option<i64>, BTreeMap<u64, DaySums>), StoreError> {
    let incomplete = || unreadable("the replies for the hourly sums are incomplete");
    let (since, replies) = replies.split_first().ok_or_else(incomplete)?;
    if replies.len() != days.len() {
        return Err(incomplete());
    }
    let mut sums = BTreeMap::new();
    for (day, reply) in days.iter().zip(replies) {
        let mut of_day = DaySums::default();
        for (field, sum) in typed::<HashMap<String, i64>>(reply)? {
            let (hour, series) =
                field.split_once(' ').ok_or_else(|| unreadable("an hourly sum has no hour"))?;
            let hour = hour.parse().map(Hour::from_number);
            let hour = hour.map_err(|_| unreadable("an hourly sum has no hour"))?;
            if hour.day() == *day {
                of_day.add(&Series::from_stored(series), hour, not_negative(sum));
            }
        }
        sums.insert(*day, of_day);
    }
    Ok((typed(since)?, sums))
}
