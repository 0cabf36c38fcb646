//! A quota: so many tokens in each window of the calendar.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    calendar::{Calendar, CalendarUnit},
    cost::Cost,
    hold::Hold,
    refill_rate::{parse_count, shown_count},
};

/// A number of tokens for each window of a [`Calendar`]. All of them return at once when the next
/// window begins, so that twice as many may be admitted around that instant.
///
/// ```
/// use sluice_core::{Calendar, CalendarUnit, Quota};
///
/// let months = Calendar::new(CalendarUnit::Month);
/// assert_eq!(Quota::new(1_000_000, months.clone())?, "1_000_000/month".parse()?);
/// // Months of Rome, in place of months in UTC.
/// let quota = Quota::new(1_000_000, months.in_zone("Europe/Rome")?)?;
/// assert_eq!(quota.to_string(), "1000000/month in Europe/Rome");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    tokens: u64,
    calendar: Calendar,
    counts_denied: bool,
    term_ms: Option<u32>,
}

/// The reason why a quota is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The quota is zero, so nothing would ever be admitted.
    #[error("a quota is at least 1 token: to admit nothing, take the endpoint down")]
    Zero,
    /// The quota is more than [`Cost::MAX`].
    #[error("a quota of {} tokens is too large: at most {}", shown_count(*.tokens), Cost::MAX)]
    TooLarge {
        /// The tokens that were given.
        tokens: u64,
    },
    /// What is held would be released too early, too late, or not after whole milliseconds.
    #[error("tokens cannot be released after {hold_for:?}: use whole ms, from 1 second to 1 day")]
    HoldFor {
        /// The time that was given.
        hold_for: Duration,
    },
    /// The text is not in the form that [`Quota::from_str`] reads.
    #[error("`{text}` is not a quota: write `1_000_000/month` ({})", CalendarUnit::NAMES)]
    Syntax {
        /// The text.
        text: String,
    },
}

impl Quota {
    /// Creates a quota of `tokens` per window.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`Cost::MAX`].
    pub fn new(tokens: u64, calendar: Calendar) -> Result<Self, QuotaError> {
        if tokens == 0 {
            Err(QuotaError::Zero)
        } else if tokens > Cost::MAX.tokens() {
            Err(QuotaError::TooLarge { tokens })
        } else {
            Ok(Self { tokens, calendar, counts_denied: false, term_ms: None })
        }
    }

    /// Returns the quota as one that denied requests use up too, as in envoyproxy/ratelimit.
    #[must_use]
    pub fn counting_denied(self) -> Self {
        Self { counts_denied: true, ..self }
    }

    /// Returns the quota as one that counts what a [hold](crate::Hold) has reserved apart from what
    /// is used, and has it back `hold_for` to twice that after it was reserved if nobody has
    /// settled it by then. Else that stays used until the window ends.
    ///
    /// What is settled later is used all the same, so it may be more than the quota.
    ///
    /// # Errors
    /// When `hold_for` is not a whole number of milliseconds, from a second to a day.
    pub fn releasing(self, hold_for: Duration) -> Result<Self, QuotaError> {
        let whole = hold_for.subsec_nanos().is_multiple_of(1_000_000);
        let is_possible = (Duration::from_secs(1)..=Hold::MAX_HOLD_FOR).contains(&hold_for);
        match u32::try_from(hold_for.as_millis()) {
            Ok(term_ms) if whole && is_possible => Ok(Self { term_ms: Some(term_ms), ..self }),
            _ => Err(QuotaError::HoldFor { hold_for }),
        }
    }

    /// Returns the time after which, or after twice which, it [releases](Self::releasing) what is
    /// not settled. `None` if that stays used.
    #[must_use]
    pub fn releases_after(&self) -> Option<Duration> {
        self.term_ms.map(|millis| Duration::from_millis(millis.into()))
    }

    pub(crate) const fn term_ms(&self) -> Option<u32> {
        self.term_ms
    }

    /// Returns the quota in another calendar.
    #[must_use]
    pub fn with_calendar(self, calendar: Calendar) -> Self {
        Self { calendar, ..self }
    }

    /// Returns the tokens per window.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns the windows.
    #[must_use]
    pub const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Returns whether denied requests use it up too.
    #[must_use]
    pub const fn counts_denied(&self) -> bool {
        self.counts_denied
    }

    /// Multiplies the tokens by `factor`.
    ///
    /// # Errors
    /// When the product is not possible.
    pub fn times(&self, factor: u64) -> Result<Self, QuotaError> {
        let Self { tokens, .. } =
            Self::new(self.tokens.saturating_mul(factor), self.calendar.clone())?;
        Ok(Self { tokens, ..self.clone() })
    }

    /// Returns one of `shares` equal parts of this quota: what one of that many replicas may admit
    /// alone. It is at least one token; 0 `shares` count as 1. What is held of it is used.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        let tokens = (self.tokens / shares.max(1)).max(1);
        Self { tokens, term_ms: None, ..self.clone() }
    }
}

impl FromStr for Quota {
    type Err = QuotaError;

    /// Reads `1_000_000/month`, or `1_000_000 per month`, in UTC.
    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let syntax = || QuotaError::Syntax { text: text.to_owned() };
        let (tokens, unit) =
            text.split_once('/').or_else(|| text.split_once(" per ")).ok_or_else(syntax)?;
        let unit = unit.trim().parse().map_err(|_| syntax())?;
        Self::new(parse_count(tokens.trim()).ok_or_else(syntax)?, Calendar::new(unit))
    }
}

impl fmt::Display for Quota {
    /// Writes `1000000/month`, and what of the calendar differs from UTC and the first day:
    /// `1000000/month from day 15 in Europe/Rome`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, calendar, .. } = self;
        write!(f, "{tokens}/{}", calendar.unit())?;
        if calendar.anchor() != 1 {
            write!(f, " from day {}", calendar.anchor())?;
        }
        match calendar.zone_name() {
            "UTC" => Ok(()),
            name => write!(f, " in {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(text: &str) -> Quota {
        text.parse().unwrap()
    }

    #[test]
    fn text_that_was_written_can_be_read() {
        for unit in ["second", "minute", "hour", "day", "week", "month", "year"] {
            let text = format!("1000000/{unit}");
            assert_eq!(quota(&text).to_string(), text);
        }
        assert_eq!(quota("1_000_000 / month"), quota("1000000 per month"));
        assert_eq!(quota("5/min"), quota("5/minute"));
    }

    #[test]
    fn what_is_not_utc_and_the_first_day_is_written() {
        let months = Calendar::new(CalendarUnit::Month);
        let months = months.in_zone("europe/rome").unwrap().anchored_at(15).unwrap();
        let quota = quota("3/month").with_calendar(months);
        assert_eq!(quota.to_string(), "3/month from day 15 in Europe/Rome");
    }

    #[test]
    fn text_that_is_not_a_quota_is_refused_with_an_example() {
        for text in ["", "5", "5/", "/month", "5/fortnight", "5 per 60s", "-5/month", "_5/month"] {
            let error = text.parse::<Quota>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "`{text}` is not a quota: write `1_000_000/month` (second, minute, hour, day, \
                     week, month or year)"
                )
            );
        }
        assert_eq!("0/month".parse::<Quota>(), Err(QuotaError::Zero));
        assert_eq!(
            "1_000_000_000_001/month".parse::<Quota>(),
            Err(QuotaError::TooLarge { tokens: 1_000_000_000_001 })
        );
        assert_eq!(quota("1_000_000_000_000/month").tokens(), Cost::MAX.tokens());
    }

    #[test]
    fn a_share_is_at_least_one_token() {
        let whole = quota("10/month").counting_denied();
        assert_eq!(whole.shared_among(3), quota("3/month").counting_denied());
        assert_eq!(whole.shared_among(40).tokens(), 1);
        assert_eq!(whole.shared_among(0), whole);
    }

    #[test]
    fn what_is_not_settled_is_released_after_whole_milliseconds() {
        let releasing = |hold_for| quota("10/month").releasing(hold_for);
        let two_minutes = Duration::from_secs(120);
        assert_eq!(releasing(two_minutes).unwrap().releases_after(), Some(two_minutes));
        assert_eq!(quota("10/month").releases_after(), None);
        for hold_for in [
            Duration::from_millis(999),
            Duration::from_micros(1_000_001),
            Duration::from_millis(86_400_001),
            Duration::MAX,
        ] {
            assert_eq!(releasing(hold_for), Err(QuotaError::HoldFor { hold_for }));
        }
        let share = releasing(two_minutes).unwrap().shared_among(1);
        assert_eq!(share, quota("10/month"), "a share uses what is held of it");
    }
}
