//! Values for property tests, over the range that Sluice counts exactly.

use std::time::Duration;

use proptest::prelude::*;
use sluice_core::{Rate, RefillRate};

/// Returns rates from one per day to 100 million per minute, also with uneven fractions.
pub fn refill_rates() -> impl Strategy<Value = RefillRate> {
    let periods = prop_oneof![
        4 => prop::sample::select(vec![1_000_000_u64, 60_000_000, 3_600_000_000, 86_400_000_000]),
        1 => 1_u64..=86_400_000_000,
    ];
    let tokens = prop_oneof![
        prop::sample::select(vec![
            1_u64,
            7,
            20,
            60,
            100,
            999_983,
            1_000_003,
            99_999_999,
            100_000_000
        ]),
        1_u64..=1_000,
        1_u64..=100_000_000,
    ];
    (tokens, periods).prop_filter_map(
        "at least one a day, at most 100 million a minute",
        |(tokens, period_us)| {
            let slow = u128::from(tokens) * 86_400_000_000 < u128::from(period_us);
            let fast = u128::from(tokens) * 60_000_000 > 100_000_000 * u128::from(period_us);
            if slow || fast {
                None
            } else {
                RefillRate::new(tokens, Duration::from_micros(period_us)).ok()
            }
        },
    )
}

/// Token buckets of those rates that can be counted exactly, with bursts up to ten million.
pub fn rates() -> impl Strategy<Value = Rate> {
    let bursts = prop_oneof![1_u64..=20, 1_u64..=10_000, 1_u64..=10_000_000];
    (refill_rates(), bursts)
        .prop_filter_map("fills within 50 years", |(rate, burst)| Rate::new(rate, burst).ok())
}

/// Returns costs from 1 to 10 million, most of them at most `burst`.
pub fn costs(burst: u64) -> impl Strategy<Value = u64> {
    let affordable = burst.min(10_000_000);
    prop_oneof![4 => 1..=affordable.div_ceil(10), 4 => 1..=affordable, 1 => 1_u64..=10_000_000]
}
