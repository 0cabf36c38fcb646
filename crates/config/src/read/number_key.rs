//! The key that has the number of a limit, and names its algorithm: `rate`, `quota`, `at_most` or
//! `concurrent`.

use crate::{
    error::Refused,
    reader::{Field, Table},
};

/// The keys that stand beside `quota` alone.
pub(super) const OF_QUOTA: [&str; 5] =
    ["timezone", "anchor", "smooth", "count_denied", "unsettled"];

/// The key that has the number of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Rate,
    Quota,
    AtMost,
    Concurrent,
}

impl Key {
    pub(super) const ALL: [Self; 4] = [Self::Rate, Self::Quota, Self::AtMost, Self::Concurrent];
    /// Those that only general limits have.
    pub(super) const OF_LIMITS: [Self; 3] = [Self::Quota, Self::AtMost, Self::Concurrent];

    /// What other programs call them.
    const ELSEWHERE: [(&'static [&'static str], Self); 2] =
        [(&["fixed_window"], Self::Quota), (&["sliding_window"], Self::AtMost)];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Quota => "quota",
            Self::AtMost => "at_most",
            Self::Concurrent => "concurrent",
        }
    }

    /// The word for the algorithm.
    const fn algorithm(self) -> &'static str {
        match self {
            Self::Rate => "token_bucket",
            Self::Quota | Self::AtMost | Self::Concurrent => self.name(),
        }
    }

    /// The keys that stand beside it alone.
    pub(super) const fn beside(self) -> &'static [&'static str] {
        match self {
            Self::Rate => &["burst"],
            Self::Quota => &OF_QUOTA,
            Self::AtMost => &[],
            Self::Concurrent => &["on_lost"],
        }
    }

    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Rate => "rate: 60/minute, burst: 10",
            Self::Quota => "quota: 1_000_000/month",
            Self::AtMost => "at_most: 100 per 60s",
            Self::Concurrent => "concurrent: 20",
        }
    }

    /// Finds the key that a limit has its number under, of which there is one.
    pub(super) fn of(limit: &Table<'_>) -> Result<Self, Refused> {
        let written = limit.field("algorithm");
        let chosen =
            written.optional(|field| field.choice(&Self::ALL.map(|key| (key.algorithm(), key))));
        let fields = Self::ALL.map(|key| (key, limit.field(key.name())));
        for (words, key) in Self::ELSEWHERE {
            let remedy = |_: &str| format!("unknown key: did you mean `{}`?", key.example());
            limit.refuse_elsewhere(words, remedy)?;
        }
        let mut present = fields.iter().filter(|(_, field)| field.is_present());
        let Some((first, _)) = present.next() else {
            let [(_, rate), (_, quota), (_, at_most), (_, concurrent)] = &fields;
            return Err(match chosen? {
                None => rate.missing(format_args!(
                    "write `{}`, or `{}`, `{}` or `{}`",
                    Self::Rate.example(),
                    Self::Quota.example(),
                    Self::AtMost.example(),
                    Self::Concurrent.example()
                )),
                Some(key) => {
                    let field = match key {
                        Self::Rate => rate,
                        Self::Quota => quota,
                        Self::AtMost => at_most,
                        Self::Concurrent => concurrent,
                    };
                    field.missing(format_args!("write `{}`", key.example()))
                }
            });
        };
        let refuse = |(_, field): &(Self, Field<'_>)| {
            field.refuse(format_args!(
                "a limit counts in one way, and this one has `{}`: keep one of them, or write \
                 two limits",
                first.name()
            ))
        };
        if let Some(refused) = present.fold(None, |_, other| Some(refuse(other))) {
            return Err(refused);
        }
        match chosen? {
            Some(key) if key != *first => Err(written.refuse(format_args!(
                "`{}` does not go with `{}`: remove this key, or write `{}`",
                key.algorithm(),
                first.name(),
                key.example()
            ))),
            _ => Ok(*first),
        }
    }
}
