//! What is known of one bucket, and for how long.

use std::time::Duration;

use sluice_core::{
    Algorithm, Bucket, Moment, Part, Refill, Retry, Span, Timestamp, TokenBucket, Verdict, Window,
};

use crate::SubscriptionId;

/// How long a line is known, whatever it says: a report that is lost does no harm for longer.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(10);

/// When the store was asked, by the clock of this process, and through what it reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// By the store's clock: when it decided.
    pub(super) at: Timestamp,
    /// Before the request was sent.
    pub(super) sent: Timestamp,
    /// After the reply had arrived.
    pub(super) replied: Timestamp,
    pub(super) subscription: SubscriptionId,
}

/// What a bucket had, as the store showed it. It has no more, unless tokens were returned to it:
/// what was taken since then makes it less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    shown: Shown,
    known: Known,
}

#[derive(Clone, Copy, Debug)]
enum Shown {
    /// A line of tokens that rises by `refill`. When it crosses zero, or less than a microsecond
    /// later: waits are rounded up.
    Tokens { empty_at: Moment, refill: Refill },
    /// A window of a quota of so many tokens. In a debt, more is used.
    Window { window: Window, quota: u64 },
}

/// A line at some instant, as one part of a check sees it.
pub(super) struct Seen {
    /// The bucket, to decide with.
    pub(super) bucket: Bucket,
    /// The store's time, or a little before it.
    pub(super) now: Timestamp,
    /// Whether the bucket has less than one token: then any return of tokens is reported.
    pub(super) is_reported: bool,
    /// Whether the bucket lacks the tokens of the part.
    pub(super) lacks: bool,
}

impl Line {
    /// Reads the line of the part's bucket from the store's verdict; `None` if it has none: slices
    /// and slots come back one by one, and a quota may count what it denies, or release what is
    /// held.
    pub(super) fn of(part: &Part, verdict: &Verdict, known: Known) -> Option<Self> {
        let shown = match part.limit.algorithm() {
            Algorithm::TokenBucket(rate) => {
                let refill = rate.refill();
                let (wait, span) = match verdict.retry {
                    Retry::After(wait) => (wait, rate.span_of(part.cost.tokens())),
                    Retry::Now | Retry::Never => (verdict.reset_in?, rate.fill()),
                };
                let empty_at = Moment::at(known.at.after(wait)).minus(span, refill.tokens());
                Shown::Tokens { empty_at, refill }
            }
            Algorithm::Quota(quota) if !quota.counts_denied() && !part.counts_apart() => {
                let ends_at = verdict.reset_at(known.at)?.unix_micros() / 1_000_000;
                let used = quota.tokens().saturating_sub(verdict.remaining);
                let window = Window::from_parts(u64::try_from(ends_at).ok()?, used);
                Shown::Window { window, quota: quota.tokens() }
            }
            Algorithm::Quota(_) | Algorithm::AtMost(_) | Algorithm::Concurrent(_) => return None,
        };
        Some(Self { shown, known })
    }

    /// Returns what it is known from.
    pub(super) const fn known(&self) -> &Known {
        &self.known
    }

    /// Returns whether it is too old at `local`, a time of this process.
    pub(super) fn is_old(&self, local: Timestamp) -> bool {
        local.since(self.known.sent) >= KNOWN_FOR
    }

    /// Returns the line at `local`, a time of this process, as `part` sees it; `None` if it is too
    /// old, or was made under other numbers.
    pub(super) fn seen_by(&self, part: &Part, local: Timestamp) -> Option<Seen> {
        let algorithm = part.limit.algorithm();
        if self.is_old(local) || !self.shown.is_of(algorithm) {
            return None;
        }
        let Known { at, sent, replied, .. } = self.known;
        // The store's clock may be faster than this one by a hundredth, so no line outlives the
        // store's.
        let elapsed = local.since(sent);
        let latest = at.after(elapsed + elapsed / 100);
        let at_latest = self.shown.fullest().bucket(latest);
        let at_latest = at_latest.settled(algorithm, latest);
        // What a client is told about its wait is not too short.
        let now = at.after(local.since(replied));
        Some(Seen {
            bucket: self.shown.bucket(now),
            now,
            is_reported: !at_latest.covers(1),
            lacks: !at_latest.covers(part.cost.tokens()),
        })
    }
}

impl Shown {
    /// Returns whether it is what a limit with `algorithm` shows.
    fn is_of(self, algorithm: &Algorithm) -> bool {
        match (self, algorithm) {
            (Self::Tokens { refill, .. }, Algorithm::TokenBucket(rate)) => refill == rate.refill(),
            (Self::Window { quota, .. }, Algorithm::Quota(of_limit)) => quota == of_limit.tokens(),
            _ => false,
        }
    }

    /// Returns the most that it may be: waits are rounded up to a microsecond.
    fn fullest(self) -> Self {
        match self {
            Self::Tokens { empty_at, refill } => {
                let rounding = Span { micros: 0, fraction: refill.tokens() - 1 };
                Self::Tokens { empty_at: empty_at.minus(rounding, refill.tokens()), refill }
            }
            Self::Window { .. } => self,
        }
    }

    fn bucket(self, now: Timestamp) -> Bucket {
        match self {
            Self::Tokens { empty_at, refill } => {
                // A line that crosses zero only later is one of a debt.
                let indebted_at = (empty_at > Moment::at(now)).then_some(now);
                TokenBucket::from_parts(empty_at, refill, indebted_at)
                    .expect("the fraction is that of a moment of this rate")
                    .into()
            }
            Self::Window { window, .. } => Bucket::Window(window),
        }
    }
}
