//! A batch of checks, laid out as the arguments of one script call: of `lua/check_one.lua` for one
//! simple check, and of `lua/check.lua` for anything else.

use std::{collections::HashMap, sync::Arc};

use redis::Cmd;
use sluice_core::{
    Action, Algorithm, BucketId, Check, CostsDigest, Epoch, Hold, HoldStep, Limit, Part, Quota,
    Rate, RecordKey, Span, Timestamp,
};

use super::{
    epochs::Epochs,
    keys::Keys,
    scripts::{self, RedisScript},
};
use crate::prehashed::Prehashed;

/// The keys and the arguments of one call. Every bucket, every record of a hold and every limit
/// stands in it once.
///
/// A simple check that is alone goes to a script that costs the server half as much. Where that
/// script may not decide, it says so, and the call is made again with
/// [`check_in_full`](Self::check_in_full).
#[derive(Debug)]
pub(super) struct CallPlan {
    /// What the server's clock shows by now, as far as is known: the windows of the calendar are
    /// those of this time.
    now: Timestamp,
    buckets: Vec<BucketId>,
    bucket_indices: HashMap<BucketId, usize, Prehashed>,
    /// The addresses of the limits, in the order of `limits`. A batch has few limits, so a linear
    /// search is faster than hashing.
    limit_addresses: Vec<usize>,
    limits: PackedNumbers,
    /// The numbers of the limits that are no token buckets.
    others: PackedNumbers,
    checks: PackedNumbers,
    /// The indices of each part's bucket in `buckets`, check after check.
    part_indices: Vec<usize>,
    /// The records of holds. Their keys stand behind those of the buckets, the last one first.
    records: Vec<RecordKey>,
    known_records: HashMap<RecordKey, usize>,
    /// The index in `records` of the record of each check of a hold, check after check.
    record_indices: Vec<usize>,
    form: Form,
    epoch: Epoch,
}

/// The script that a plan is for.
#[derive(Clone, Copy, Debug, Default)]
enum Form {
    /// No check yet.
    #[default]
    Empty,
    /// One simple check, whose numbers these are.
    One { interval: u64, fill: u64, cost: u64 },
    /// Anything else.
    Batch,
}

impl CallPlan {
    /// Makes an empty plan with room for `checks` simple checks, for a call that is made when the
    /// server's clock shows `now`. If that turns out to be wrong, the server may say that it is in
    /// another window of the calendar.
    pub(super) fn with_capacity(checks: usize, now: Timestamp) -> Self {
        Self {
            now,
            buckets: Vec::with_capacity(checks),
            bucket_indices: HashMap::with_capacity_and_hasher(checks, Prehashed::default()),
            limit_addresses: Vec::new(),
            limits: PackedNumbers::default(),
            others: PackedNumbers::default(),
            checks: PackedNumbers::with_capacity(checks * BYTES_OF_SIMPLE),
            part_indices: Vec::with_capacity(checks),
            records: Vec::new(),
            known_records: HashMap::new(),
            record_indices: Vec::new(),
            form: Form::Empty,
            epoch: Epoch::NONE,
        }
    }

    /// Makes an empty plan for the same time.
    pub(super) fn emptied(&self) -> Self {
        Self::with_capacity(0, self.now)
    }

    /// Appends a check.
    pub(super) fn push(&mut self, check: &Check) {
        match (check.action(), check.parts()) {
            (Action::Take, [part]) if part.limit.denies() && whole_rate(part).is_some() => {
                self.push_simple(part);
            }
            (action, parts) => {
                self.push_general(action, parts);
                if let (Some(hold), Some(key)) = (check.hold(), check.record_key()) {
                    self.push_hold(hold, key);
                }
            }
        }
    }

    /// Appends a check that takes one cost from one bucket. Nearly every check does, so it has a
    /// form that the script reads and decides in a third of the time.
    fn push_simple(&mut self, part: &Part) {
        self.form = match self.form {
            Form::Empty => Form::of_one(part),
            Form::One { .. } | Form::Batch => Form::Batch,
        };
        let (bucket, limit) = (self.bucket(part.bucket()), self.limit(&part.limit));
        self.checks.push(bucket);
        self.checks.push(limit);
        self.checks.push(cost(part).micros.unsigned_abs());
    }

    /// Appends any other check.
    fn push_general(&mut self, action: Action, parts: &[Part]) {
        self.form = Form::Batch;
        self.checks.push(0);
        self.checks.push(match action {
            Action::Take => 0,
            Action::Peek => 1,
            Action::Charge => 2,
            Action::GiveBack => 3,
            Action::Reset => 4,
            Action::Lend { .. } => 5,
            Action::EndLease { .. } => 6,
            Action::Reserve => 7,
            Action::Extend => 8,
            Action::Settle => 9,
            Action::Undo => 10,
            Action::Renew => 11,
        });
        self.checks.push(parts.len() as u64);
        for part in parts {
            let (bucket, limit) = (self.bucket(part.bucket()), self.limit(&part.limit));
            self.checks.push(bucket);
            self.checks.push(limit);
            for number in numbers(action, part) {
                self.checks.push(number);
            }
        }
    }

    /// Appends what stands behind the parts of a check that makes a step of a hold.
    fn push_hold(&mut self, hold: &Hold, key: RecordKey) {
        let next = self.records.len();
        let index = *self.known_records.entry(key).or_insert(next);
        if index == next {
            self.records.push(key);
        }
        self.record_indices.push(index);
        let ends = |reserved_at: Timestamp| {
            u64::try_from(reserved_at.after(hold.lifetime()).unix_micros()).unwrap_or(0)
        };
        let (ends, costs, before) = match hold.step() {
            HoldStep::Reserve { costs } => (0, costs, None),
            HoldStep::Extend { from, to, reserved_at } => (ends(reserved_at), to, Some(from)),
            HoldStep::Settle { actual, reserved_at } => (ends(reserved_at), actual, None),
            HoldStep::Undo { costs, before, reserved_at } => (ends(reserved_at), costs, before),
        };
        self.checks.push(index as u64 + 1);
        self.checks.push(u64::try_from(hold.lifetime().as_micros()).unwrap_or(0));
        self.checks.push(ends.min(LATEST));
        self.checks.push(costs.number());
        self.checks.push(before.map_or(0, CostsDigest::number));
    }

    /// Returns the number of distinct keys: of buckets, and of records.
    pub(super) fn keys(&self) -> usize {
        self.buckets.len() + self.records.len()
    }

    /// Returns, for each check of a hold, the index of its record among the keys of the reply.
    pub(super) fn record_indices(&self) -> impl Iterator<Item = usize> {
        let last = self.keys().wrapping_sub(1);
        self.record_indices.iter().map(move |index| last - index)
    }

    /// Returns, check after check, the index of each part's bucket among the buckets of the reply.
    pub(super) fn bucket_indices(&self) -> &[usize] {
        &self.part_indices
    }

    /// Notes since when the store remembers the buckets of the plan, which is complete.
    pub(super) fn remembered_by(&mut self, epochs: &Epochs) {
        self.epoch = epochs.latest(self.buckets.iter().map(|bucket| bucket.tag.partition()));
    }

    /// Returns what the store holds of a bucket that it does not know.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the script to call.
    pub(super) fn script(&self) -> &'static RedisScript {
        if self.is_one() { &scripts::CHECK_ONE } else { &scripts::CHECK }
    }

    /// Returns whether the call is one of `check_one.lua`.
    pub(super) fn is_one(&self) -> bool {
        matches!(self.form, Form::One { .. })
    }

    /// Makes a plan for `check.lua`, after `check_one.lua` has left the decision to it.
    pub(super) fn check_in_full(&mut self) {
        self.form = Form::Batch;
    }

    /// Returns the call of the script. `newest` is the newest layout that may be written: less than
    /// 128.
    pub(super) fn command(&self, keys: &Keys, newest: u8) -> Cmd {
        let (count, numbers) = (self.keys(), self.limits.bytes.len() + self.checks.bytes.len());
        let mut command =
            self.script().call_with_room(count + 5, count * BYTES_OF_KEY + numbers + 64);
        command.arg(count);
        let mut key = Vec::new();
        for bucket in &self.buckets {
            keys.bucket(bucket, &mut key);
            command.arg(&key);
        }
        for record in self.records.iter().rev() {
            keys.record(record, &mut key);
            command.arg(&key);
        }
        let epoch = self.epoch.start().map(|start| start.unix_micros().unsigned_abs());
        if let Form::One { interval, fill, cost } = self.form {
            command.arg(interval).arg(fill).arg(cost).arg(epoch);
            return command;
        }
        command.arg(self.argument(newest, epoch.unwrap_or(0)));
        command
    }

    /// Adds a key, and the argument of a call of `check.lua` without checks: whether the server
    /// runs the script is all that is asked. Managed services refuse scripts without keys.
    pub(super) fn write_probe(key: &str, newest: u8, command: &mut Cmd) {
        let nothing = Self::with_capacity(0, Timestamp::from_unix_micros(0));
        command.arg(1).arg(key).arg(nothing.argument(newest, 0));
    }

    fn argument(&self, newest: u8, epoch: u64) -> Vec<u8> {
        let Self { limits, checks, others, .. } = self;
        let numbers = limits.bytes.len() + checks.bytes.len() + others.bytes.len();
        let mut argument = Vec::with_capacity(numbers + 32);
        argument.push(if others.count == 0 { ARRAY_OF_FOUR } else { ARRAY_OF_FIVE });
        limits.write(&mut argument);
        checks.write(&mut argument);
        argument.push(newest);
        pack(epoch, &mut argument);
        if others.count > 0 {
            others.write(&mut argument);
        }
        argument
    }

    /// Returns the script's number for `bucket`, and records its index for the current part.
    fn bucket(&mut self, bucket: BucketId) -> u64 {
        let next = self.buckets.len();
        let index = *self.bucket_indices.entry(bucket).or_insert(next);
        if index == next {
            self.buckets.push(bucket);
        }
        self.part_indices.push(index);
        index as u64 + 1
    }

    /// Returns the script's number for `limit`. Limits are distinguished by their addresses, since
    /// the checks of one policy share their limits.
    fn limit(&mut self, limit: &Arc<Limit>) -> u64 {
        let address = Arc::as_ptr(limit).addr();
        let known = self.limit_addresses.iter().position(|&known| known == address);
        let index = known.unwrap_or_else(|| {
            self.push_limit(limit.algorithm());
            self.limit_addresses.push(address);
            self.limit_addresses.len() - 1
        });
        index as u64 + 1
    }

    /// Appends the numbers of a limit.
    fn push_limit(&mut self, algorithm: &Algorithm) {
        let other = match algorithm {
            Algorithm::TokenBucket(rate) => {
                self.limits.push(rate.refill().tokens());
                self.limits.push(rate.refill().micros());
                self.limits.push(rate.fill().micros.unsigned_abs());
                self.limits.push(rate.fill().fraction);
                return;
            }
            Algorithm::Quota(quota) => window(quota, self.now),
            Algorithm::AtMost(at_most) => [3, at_most.tokens(), at_most.slice_us(), 0, 0, 0, 0],
            Algorithm::Concurrent(concurrent) => {
                [4, concurrent.slots().into(), concurrent.term_us(), 0, 0, 0, 0]
            }
        };
        let row = self.others.count / other.len() as u64 + 1;
        [0, row, 0, 0].into_iter().for_each(|number| self.limits.push(number));
        other.into_iter().for_each(|number| self.others.push(number));
    }
}

impl Form {
    /// Returns the form of a simple check that is alone.
    fn of_one(part: &Part) -> Self {
        let Some(rate) = whole_rate(part) else { return Self::Batch };
        let (interval, fill) = (rate.refill().micros(), rate.fill().micros.unsigned_abs());
        // The layouts that the script reads and writes hold the interval in 32 bits, in us or ms.
        let fits = |number| u32::try_from(number).is_ok();
        if fits(interval) || (interval % 1_000 == 0 && fits(interval / 1_000)) {
            Self::One { interval, fill, cost: cost(part).micros.unsigned_abs() }
        } else {
            Self::Batch
        }
    }
}

/// A time that a double holds with any lifetime added: some two hundred years after 1970.
const LATEST: u64 = 1 << 52;

/// More than all leases of a bucket together, and a whole number that a double holds.
const LONGEST_SPAN: u64 = 1 << 52;

/// Returns the numbers of a part behind its bucket and limit.
fn numbers(action: Action, part: &Part) -> [u64; 3] {
    let Some(rate) = part.limit.rate() else { return numbers_of_other(action, part) };
    let refill = rate.refill();
    // A lease is a multiple of the tokens that come back in a whole number of microseconds.
    let span = |groups: u64| groups.saturating_mul(refill.micros()).min(LONGEST_SPAN);
    let leased = |tokens: u64| span(tokens / refill.tokens());
    match action {
        Action::Take
        | Action::Peek
        | Action::Charge
        | Action::GiveBack
        | Action::Reset
        | Action::Renew
        | Action::Reserve
        | Action::Extend => {
            let Span { micros, fraction } = cost(part);
            [part.limit.denies().into(), micros.unsigned_abs(), fraction]
        }
        Action::Settle | Action::Undo => {
            let Span { micros, fraction } = cost(part);
            [part.gives_back().into(), micros.unsigned_abs(), fraction]
        }
        Action::Lend { least } => {
            let least = span(u64::from(least).div_ceil(refill.tokens()));
            [leased(part.cost.tokens()), least, 0]
        }
        Action::EndLease { term, lent } => {
            let unspent = part.cost.tokens().min(lent.into());
            [term.number().into(), leased(lent.into()), leased(unspent)]
        }
    }
}

/// Returns the numbers of a part behind its bucket and limit, which is no token bucket.
fn numbers_of_other(action: Action, part: &Part) -> [u64; 3] {
    let flag = match action {
        Action::Settle | Action::Undo => part.gives_back(),
        _ => part.limit.denies(),
    };
    let earlier = match action {
        Action::Settle | Action::Undo if part.counts_apart() => part.held().tokens(),
        Action::GiveBack | Action::Renew | Action::Settle | Action::Undo => {
            // With 0, the script is told that it is not known.
            let micros = |at: Timestamp| u64::try_from(at.unix_micros()).unwrap_or(0).max(1);
            part.when_taken().map_or(0, |at| micros(at).min(LATEST))
        }
        Action::Extend => part.held().tokens(),
        _ => 0,
    };
    [flag.into(), part.cost.tokens(), earlier]
}

/// Returns the numbers of a quota: where the script cannot compute its windows, with that of `now`.
fn window(quota: &Quota, now: Timestamp) -> [u64; 7] {
    let (tokens, counts_denied) = (quota.tokens(), quota.counts_denied().into());
    let term = quota.releases_after().map_or(0, |after| after.as_millis() * 1_000);
    let term = u64::try_from(term).unwrap_or(LATEST);
    if let Some((period, offset)) = quota.calendar().aligned() {
        return [2, tokens, counts_denied, period, offset, 0, term];
    }
    let window = quota.calendar().window_at(now);
    let seconds = |at: Timestamp| u64::try_from(at.unix_micros() / 1_000_000).unwrap_or(0);
    let [start, end, next_end] = [window.start(), window.end(), window.next_end()].map(seconds);
    [1, tokens, counts_denied, start, end, next_end, term]
}

/// Returns the rate of a token bucket whose tokens come back in whole microseconds.
fn whole_rate(part: &Part) -> Option<&Rate> {
    part.limit.rate().filter(|rate| rate.refill().tokens() == 1)
}

/// Returns the time that the part's cost needs to come back.
fn cost(part: &Part) -> Span {
    let none = Span { micros: 0, fraction: 0 };
    part.limit.rate().map_or(none, |rate| rate.span_of(part.cost.tokens()))
}

/// The `MessagePack` prefix of an array of four elements.
const ARRAY_OF_FOUR: u8 = 0x94;
/// The `MessagePack` prefix of an array of five elements.
const ARRAY_OF_FIVE: u8 = 0x95;

/// About how many bytes the key of a bucket takes.
const BYTES_OF_KEY: usize = 40;

/// About how many bytes the three numbers of a simple check take.
const BYTES_OF_SIMPLE: usize = 12;

/// Builds a `MessagePack` array of whole numbers.
#[derive(Debug, Default)]
struct PackedNumbers {
    count: u64,
    bytes: Vec<u8>,
}

/// Appends `number` in its shortest form.
#[allow(clippy::cast_possible_truncation)] // Each arm's range is its type's.
fn pack(number: u64, bytes: &mut Vec<u8>) {
    let mut tagged = |tag, number: &[u8]| {
        bytes.push(tag);
        bytes.extend(number);
    };
    match number {
        0..=0x7f => bytes.push(number as u8),
        0x80..=0xff => tagged(0xcc, &[number as u8]),
        0x100..=0xffff => tagged(0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => tagged(0xce, &(number as u32).to_be_bytes()),
        _ => tagged(0xcf, &number.to_be_bytes()),
    }
}

impl PackedNumbers {
    fn with_capacity(bytes: usize) -> Self {
        Self { count: 0, bytes: Vec::with_capacity(bytes) }
    }

    fn push(&mut self, number: u64) {
        self.count += 1;
        pack(number, &mut self.bytes);
    }

    fn write(&self, argument: &mut Vec<u8>) {
        let count = u32::try_from(self.count).expect("a batch holds far fewer than 2^32 numbers");
        argument.push(0xdd);
        argument.extend(count.to_be_bytes());
        argument.extend(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_packed_in_their_shortest_form() {
        let mut numbers = PackedNumbers::default();
        for number in
            [0, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, (1 << 53) - 1]
        {
            numbers.push(number);
        }
        let mut argument = Vec::new();
        numbers.write(&mut argument);
        let expected = [
            &[0xdd, 0, 0, 0, 10][..],
            &[0, 127],
            &[0xcc, 128, 0xcc, 255],
            &[0xcd, 1, 0, 0xcd, 0xff, 0xff],
            &[0xce, 0, 1, 0, 0, 0xce, 0xff, 0xff, 0xff, 0xff],
            &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0, 0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ]
        .concat();
        assert_eq!(argument, expected);
    }
}
