//! The names of series.

use std::{fmt, sync::Arc};

use sluice_telemetry::{MAX_VALUE_BYTES, OTHER};

/// What hourly sums are kept for: a kind of series, a name, and what else tells it from others of
/// the same name.
///
/// Only the constructors make a series, so that two of them never share a name by accident. A part
/// that is empty or longer than [`MAX_VALUE_BYTES`] becomes [`OTHER`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The kind, the name and further parts, joined by [`SEPARATOR`].
    joined: Arc<str>,
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostSource {
    /// A request to a language model. The series has the model's name.
    Llm,
    /// A deployment. The series has the deployment's kind.
    Deployment,
}

/// Separates the parts. No part can contain it.
const SEPARATOR: char = '\u{1f}';
const SLO: &str = "slo";

impl CostSource {
    /// Every source.
    pub const ALL: &'static [Self] = &[Self::Llm, Self::Deployment];

    /// Returns the source as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Deployment => "deployment",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Llm => "cost.llm",
            Self::Deployment => "cost.deployment",
        }
    }
}

impl Series {
    /// The cost of a model or of a kind of deployments, in millionths of a unit of `currency`.
    #[must_use]
    pub fn cost(source: CostSource, name: &str, currency: &str) -> Self {
        Self::join(source.kind(), [name, currency])
    }

    /// A part of what a service level objective counts, such as its good requests.
    #[must_use]
    pub fn slo(name: &str, part: &str) -> Self {
        Self::join(SLO, [name, part])
    }

    /// Returns the source, the name and the currency of a [cost](Self::cost).
    #[must_use]
    pub fn as_cost(&self) -> Option<(CostSource, &str, &str)> {
        let (kind, name, currency) = self.parts()?;
        let source = CostSource::ALL.iter().find(|source| source.kind() == kind)?;
        Some((*source, name, currency))
    }

    /// Returns the name and the part of an [objective](Self::slo).
    #[must_use]
    pub fn as_slo(&self) -> Option<(&str, &str)> {
        let (kind, name, part) = self.parts()?;
        (kind == SLO).then_some((name, part))
    }

    /// The series of the same kind to which amounts are added when there are too many series.
    pub(crate) fn folded(&self) -> Self {
        self.parts()
            .map_or_else(Self::last_resort, |(kind, _, rest)| Self::join(kind, [OTHER, rest]))
    }

    /// The series to which amounts are added when there are too many folded ones.
    pub(crate) fn last_resort() -> Self {
        Self::join(OTHER, [OTHER, OTHER])
    }

    /// The series in the form that stores keep.
    pub(crate) fn as_str(&self) -> &str {
        &self.joined
    }

    /// Reads a series from the form that stores keep.
    pub(crate) fn from_stored(joined: &str) -> Self {
        Self { joined: joined.into() }
    }

    fn join(kind: &str, rest: [&str; 2]) -> Self {
        let mut joined = kind.to_owned();
        for part in rest {
            joined.push(SEPARATOR);
            if (1..=MAX_VALUE_BYTES).contains(&part.len()) {
                joined.extend(part.chars().filter(|&c| c != SEPARATOR));
            } else {
                joined.push_str(OTHER);
            }
        }
        Self { joined: joined.into() }
    }

    fn parts(&self) -> Option<(&str, &str, &str)> {
        let (kind, rest) = self.joined.split_once(SEPARATOR)?;
        let (name, rest) = rest.split_once(SEPARATOR)?;
        Some((kind, name, rest))
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.joined.split(SEPARATOR)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_read_as_it_was_made() {
        let cost = Series::cost(CostSource::Llm, "qwen 3", "USD");
        assert_eq!(cost.as_cost(), Some((CostSource::Llm, "qwen 3", "USD")));
        assert_eq!(cost.as_slo(), None);
        assert_eq!(Series::from_stored(cost.as_str()), cost);
        let slo = Series::slo("checkout", "good");
        assert_eq!((slo.as_slo(), slo.as_cost()), (Some(("checkout", "good")), None));
        assert_eq!(Series::from_stored("unknown").as_cost(), None);
    }

    #[test]
    fn no_name_looks_like_another_series() {
        let cost = Series::cost(CostSource::Llm, "a\u{1f}EUR", "USD");
        assert_eq!(cost.as_cost(), Some((CostSource::Llm, "aEUR", "USD")));
        let long = Series::cost(CostSource::Deployment, &"m".repeat(129), "");
        assert_eq!(long.as_cost(), Some((CostSource::Deployment, OTHER, OTHER)));
    }

    #[test]
    fn a_folded_series_keeps_its_currency() {
        let folded = Series::cost(CostSource::Llm, "qwen", "EUR").folded();
        assert_eq!(folded, Series::cost(CostSource::Llm, OTHER, "EUR"));
        assert_eq!(folded.folded(), folded);
        assert_eq!(Series::slo("checkout", "good").folded(), Series::slo(OTHER, "good"));
        assert_eq!(Series::last_resort().folded(), Series::last_resort());
    }
}
