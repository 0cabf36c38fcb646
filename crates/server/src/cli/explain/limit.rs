//! A limit and its bucket, in the words of the configuration.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
};

use serde::Serialize;
use sluice_config::{StoreSettings, StoreUrl};
use sluice_core::{Algorithm, Part, Rate};

use crate::cli::words;

/// What a limit asks for, and how it decides.
#[derive(Serialize)]
pub(super) struct Terms {
    /// The numbers under their key: `rate`, `quota`, `at_most` or `concurrent`.
    #[serde(flatten)]
    numbers: BTreeMap<&'static str, Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
    /// For how long a slot is kept that is not renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_for: Option<String>,
    /// Whether what it denies uses it up too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    count_denied: bool,
    /// What becomes of an estimate that nobody settles, where that is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsettled: Option<&'static str>,
    /// What it counts in place of requests, and for how long it holds estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<String>,
    cost: u64,
    /// Whether it counts what the request uses, which is metered.
    #[serde(skip)]
    is_metered: bool,
    #[serde(skip)]
    shown_burst: Option<String>,
    /// Whether the cost is above what the limit ever admits.
    never: bool,
    mode: &'static str,
    precision: &'static str,
    on_store_failure: &'static str,
}

/// The numbers of a limit.
#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    /// Of slots.
    Whole(u32),
    Text(String),
}

/// Where the state of a limit is.
#[derive(Serialize)]
pub(super) struct Bucket {
    per: String,
    hash: String,
    partition: usize,
    /// The bucket's key in Redis; `None` if it is in the memory of each replica.
    redis_key: Option<String>,
}

/// Returns what the keys of buckets in Redis begin with; `None` if the store is not Redis.
pub(super) fn keys_prefix(store: &StoreSettings) -> Option<&str> {
    match store.url {
        StoreUrl::Memory => None,
        StoreUrl::Redis(_) => Some(&store.prefix),
    }
}

impl Terms {
    pub(super) fn of(part: &Part) -> Self {
        let limit = &part.limit;
        let (algorithm, metering) = (limit.algorithm(), limit.metering());
        let burst = algorithm.rate().map(Rate::burst);
        let numbers = match algorithm {
            Algorithm::Concurrent(concurrent) => Numbers::Whole(concurrent.slots()),
            algorithm => Numbers::Text(words::numbers(algorithm, metering)),
        };
        let cost = part.cost.tokens();
        Self {
            numbers: BTreeMap::from([(words::key(algorithm), numbers)]),
            burst,
            hold_for: words::term(algorithm),
            count_denied: words::counts_denied(algorithm),
            unsettled: words::releases_unsettled(algorithm).then_some("release"),
            counts: words::counts(metering),
            cost,
            is_metered: false,
            shown_burst: burst.map(|burst| words::amount(burst, metering)),
            never: cost > algorithm.capacity(),
            mode: words::mode(limit.mode()),
            precision: words::precision(limit.precision()),
            on_store_failure: words::on_store_failure(limit.on_store_failure()),
        }
    }

    /// Says that what the request uses is metered.
    pub(super) fn meter(&mut self) {
        self.is_metered = self.counts.is_some();
    }

    /// Writes one line for each; `of_cost` follows the cost.
    pub(super) fn write(&self, of_cost: &str, out: &mut impl Write) -> io::Result<()> {
        let Self { numbers, shown_burst, cost, precision, on_store_failure, .. } = self;
        for (key, numbers) in numbers {
            write!(out, "    {key:<7} {numbers}")?;
        }
        if let Some(burst) = shown_burst {
            write!(out, ", burst {burst}")?;
        }
        if let Some(hold_for) = &self.hold_for {
            write!(out, ", each kept for {hold_for} unless it is renewed")?;
        }
        if self.count_denied {
            write!(out, ", what is denied counts too")?;
        }
        writeln!(out)?;
        if let Some(counts) = &self.counts {
            let released =
                if self.unsettled.is_some() { "; what nobody settles is released" } else { "" };
            let effect = if self.is_metered { "" } else { "; a check only looks" };
            writeln!(out, "    counts  {counts}{released}{effect}")?;
        }
        if self.is_metered {
            write!(out, "    cost    what the request is estimated to use, then what it used")?;
        } else {
            write!(out, "    cost    {cost}{of_cost}")?;
        }
        if self.never {
            write!(out, ", which is more than the limit ever admits")?;
        }
        writeln!(out)?;
        let mode = match self.mode {
            "shadow" => "shadow: it counts, and never denies",
            mode => mode,
        };
        writeln!(
            out,
            "    mode    {mode}; precision {precision}; while the store is away: {on_store_failure}"
        )
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Bucket {
    pub(super) fn of(part: &Part, per: String, prefix: Option<&str>) -> Self {
        Self {
            per,
            hash: part.tag.to_string(),
            partition: part.tag.partition().index(),
            redis_key: prefix.map(|prefix| sluice_store::bucket_key(prefix, &part.bucket())),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per, hash, partition, redis_key } = self;
        write!(f, "per {per}: {hash}, partition {partition}, in ")?;
        match redis_key {
            Some(key) => write!(f, "Redis {key}"),
            None => f.write_str("the memory of each replica"),
        }
    }
}
