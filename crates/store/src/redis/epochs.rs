//! Since when the server remembers its buckets: the call of `lua/epoch.lua`, and what this replica
//! knows of it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use redis::{Cmd, Pipeline, RedisError, Value};
use sluice_core::{Epoch, MAX_CLOCK_STEP_US, Partition, Timestamp};

use super::{error_meaning::Redirect, keys::Keys, scripts};
use crate::ColdStart;

/// The name of the key of an epoch.
const NAME: &str = "epoch";
/// No epoch is known. No clock of a server shows the first microsecond of 1970.
const UNKNOWN: i64 = 0;

/// Returns the call that asks a server for the epochs of `partitions`, whose memory begins now
/// where it has none. [`parse`] reads the reply. In a cluster, a call may be about one partition.
fn call(keys: &Keys, partitions: &[Partition]) -> Cmd {
    scripts::EPOCH.command_by_digest(|command| {
        command.arg(partitions.len());
        for &partition in partitions {
            command.arg(keys.named(partition, NAME));
        }
    })
}

/// Returns the commands that ask a server for the epochs of `partitions`, of `in_a_call` together.
/// [`parse_all`] reads the replies.
pub(super) fn request(keys: &Keys, partitions: &[Partition], in_a_call: usize) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.add_command(scripts::EPOCH.load());
    for some in partitions.chunks(in_a_call) {
        pipeline.add_command(call(keys, some));
    }
    pipeline
}

/// Reads the replies to [`request`]: the epoch of each partition that the server has.
///
/// # Errors
/// The first error that is not about a partition which has moved.
pub(super) fn parse_all(
    replies: Vec<Value>,
    partitions: &[Partition],
    in_a_call: usize,
) -> Result<Vec<(Partition, Timestamp)>, RedisError> {
    let mut epochs = Vec::new();
    for (some, reply) in partitions.chunks(in_a_call).zip(replies.into_iter().skip(1)) {
        match reply.extract_error() {
            Ok(reply) => {
                let parsed = parse(reply, some.len()).unwrap_or_default();
                epochs.extend(some.iter().copied().zip(parsed));
            }
            Err(error) if Redirect::of(&error).is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(epochs)
}

/// Reads the script's reply about `partitions` partitions: the epoch of each; `None` if it is
/// something else.
fn parse(reply: Value, partitions: usize) -> Option<Vec<Timestamp>> {
    let Value::Array(fields) = reply else { return None };
    let instant = |field| match field {
        Value::Int(micros @ 1..) => Some(Timestamp::from_unix_micros(micros)),
        _ => None,
    };
    let instants: Vec<Timestamp> = fields.into_iter().map(instant).collect::<Option<_>>()?;
    let (_now, epochs) = instants.split_first()?;
    (epochs.len() == partitions).then(|| epochs.to_vec())
}

/// The last known epoch of each partition.
#[derive(Debug)]
pub(super) struct Epochs {
    known: [AtomicI64; Partition::COUNT as usize],
    cold_start: ColdStart,
    /// How often the memory of a partition was lost.
    lost: AtomicU64,
}

impl Epochs {
    pub(super) fn new(cold_start: ColdStart) -> Self {
        let known = std::array::from_fn(|_| AtomicI64::new(UNKNOWN));
        Self { known, cold_start, lost: AtomicU64::new(0) }
    }

    /// Notes the epoch that a server has returned for `partition`. Returns whether a memory that
    /// was known is lost; if so, it is counted.
    ///
    /// An earlier epoch is no loss: the server's clock has stepped back.
    pub(super) fn note(&self, partition: Partition, epoch: Timestamp) -> bool {
        let epoch = epoch.unix_micros();
        let known = self.known[partition.index()].swap(epoch, Ordering::Relaxed);
        let lost = known != UNKNOWN && epoch.saturating_sub(known) > MAX_CLOCK_STEP_US;
        self.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }

    /// Returns what a bucket of `partitions` holds that the store does not know: the latest of
    /// their epochs decides. Until they are known, such a bucket is full.
    pub(super) fn latest(&self, partitions: impl Iterator<Item = Partition>) -> Epoch {
        match self.cold_start {
            ColdStart::Full => Epoch::NONE,
            ColdStart::Empty => partitions
                .map(|partition| self.known[partition.index()].load(Ordering::Relaxed))
                .max()
                .filter(|&latest| latest != UNKNOWN)
                .map_or(Epoch::NONE, |latest| Epoch::at(Timestamp::from_unix_micros(latest))),
        }
    }

    /// Returns how many partitions have lost their memory, each as often as it did.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros)
    }

    #[test]
    fn a_reply_has_an_epoch_for_each_partition() {
        let reply = |numbers: &[i64]| {
            Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect())
        };
        assert_eq!(parse(reply(&[9, 5, 7]), 2), Some(vec![at(5), at(7)]));
        assert_eq!(parse(reply(&[9]), 0), Some(vec![]));
        for numbers in [&[][..], &[9], &[9, 5], &[9, 5, 7, 8], &[9, 5, 0], &[9, 5, -1]] {
            assert_eq!(parse(reply(numbers), 2), None, "{numbers:?}");
        }
        assert_eq!(parse(Value::Array(vec![Value::Int(9), Value::Nil]), 1), None);
        assert_eq!(parse(Value::Okay, 0), None);
    }

    #[test]
    fn a_later_epoch_is_a_loss_if_another_one_was_known() {
        let epochs = Epochs::new(ColdStart::Full);
        let [one, other] = [0, 63].map(Partition::of);
        let start = 1_800_000_000_000_000;
        for (partition, epoch, lost) in [
            (one, start, false),
            (one, start, false),
            (one, start + MAX_CLOCK_STEP_US, false),
            (one, start + 2 * MAX_CLOCK_STEP_US + 1, true),
            (one, start + 2 * MAX_CLOCK_STEP_US + 1, false),
            (one, start, false),
            (other, start + 9 * MAX_CLOCK_STEP_US, false),
            (other, start + 99 * MAX_CLOCK_STEP_US, true),
        ] {
            assert_eq!(epochs.note(partition, at(epoch)), lost, "{partition:?} {epoch}");
        }
        assert_eq!(epochs.lost(), 2);
    }

    #[test]
    fn the_latest_epoch_of_the_partitions_counts_where_a_cold_start_is_empty() {
        let [first, second, third] = [0, 1, 2].map(Partition::of);
        let epochs = Epochs::new(ColdStart::Empty);
        assert_eq!(epochs.latest([first].into_iter()), Epoch::NONE);
        epochs.note(first, at(5));
        epochs.note(second, at(7));
        assert_eq!(epochs.latest([first].into_iter()), Epoch::at(at(5)));
        assert_eq!(epochs.latest([first, second, third].into_iter()), Epoch::at(at(7)));
        assert_eq!(epochs.latest([third].into_iter()), Epoch::NONE);
        assert_eq!(epochs.latest(std::iter::empty()), Epoch::NONE);

        let full = Epochs::new(ColdStart::Full);
        full.note(first, at(5));
        assert_eq!(full.latest([first].into_iter()), Epoch::NONE);
    }
}
