//! True time, which only the simulation knows, and the clocks that run beside it.

use sluice_core::Timestamp;

/// True time since the start of a schedule, in nanoseconds.
pub(super) type Nanos = i64;

pub(super) const MICROSECOND: Nanos = 1_000;
pub(super) const MILLISECOND: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000_000_000;

/// What the store's clock shows at the start: a whole second, at which a term begins.
const START_US: i64 = 1_800_000_000_000_000;

/// The store's clock, which runs at the true rate but may step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoreClock {
    /// The sum of all steps in microseconds.
    pub(super) ahead_us: i64,
}

/// A replica's monotonic clock. It never steps, but it is faster or slower than the true time.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaClock {
    /// How much faster, in millionths.
    pub(super) faster_ppm: i64,
    /// What it shows at the start.
    pub(super) start: Nanos,
}

impl StoreClock {
    pub(super) fn at(self, now: Nanos) -> Timestamp {
        Timestamp::from_unix_micros(START_US + self.ahead_us + now.div_euclid(MICROSECOND))
    }

    /// Returns when the clock shows `timestamp`, if it does not step.
    pub(super) fn when(self, timestamp: Timestamp) -> Nanos {
        (timestamp.unix_micros() - START_US - self.ahead_us) * MICROSECOND
    }
}

impl ReplicaClock {
    pub(super) fn at(self, now: Nanos) -> Timestamp {
        let reading = self.start + now + (now * self.faster_ppm).div_euclid(1_000_000);
        Timestamp::from_unix_micros(reading.div_euclid(MICROSECOND))
    }

    /// Returns the last instant at which the clock shows less than `reading`.
    pub(super) fn last_before(self, reading: Timestamp) -> Nanos {
        let passed = i128::from(reading.unix_micros() * MICROSECOND - self.start) * 1_000_000;
        let guess = passed.div_euclid(i128::from(1_000_000 + self.faster_ppm));
        let mut now = Nanos::try_from(guess).expect("a schedule is short") + 2;
        while self.at(now) >= reading {
            now -= 1;
        }
        now
    }
}

#[test]
fn the_last_instant_before_a_reading_is_exact_at_every_rate() {
    for faster_ppm in [-10_000, -3, 0, 7, 10_000] {
        let clock = ReplicaClock { faster_ppm, start: 12_345 };
        for micros in [20, 1_000_000, 59_000_001] {
            let reading = Timestamp::from_unix_micros(micros);
            let last = clock.last_before(reading);
            assert!(clock.at(last) < reading && clock.at(last + 1) >= reading, "{clock:?}");
        }
    }
}
