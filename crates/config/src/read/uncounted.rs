//! Warns of limits that are possible and count nothing: that meter what nothing reports, or
//! requests in flight that nothing follows.

use sluice_core::{Algorithm, Counts, Mode, PathPattern, Prices, Rule};

use crate::{
    reader::{Field, Place},
    settings::{LlmRoute, LlmSettings},
};

/// A limit as it is written, and where.
pub(super) struct WrittenLimit {
    pub(super) place: Place,
    pub(super) rule: Rule,
}

impl WrittenLimit {
    fn is_on(&self) -> bool {
        self.rule.terms.mode != Mode::Off
    }

    fn counts(&self) -> Option<Counts> {
        self.rule.terms.metering.map(|metering| metering.counts)
    }

    /// Whether a request to a model, which is a `POST`, has a method that the limit is for.
    fn is_for_post(&self) -> bool {
        let methods = &self.rule.when.methods;
        methods.is_empty() || methods.iter().any(|method| method.eq_ignore_ascii_case("POST"))
    }

    /// Whether a request to a model can have a path that the limit is for.
    fn is_reached_by(&self, routes: &[LlmRoute]) -> bool {
        let paths = &self.rule.when.paths;
        let mut patterns = paths.iter().filter_map(|path| PathPattern::parse(path).ok());
        paths.is_empty()
            || patterns.any(|pattern| {
                routes.iter().any(|route| {
                    pattern.overlaps(&route.path)
                        && (!pattern.is_literal()
                            || route.speaks.call(&pattern.to_string()).is_some())
                })
            })
    }
}

/// Warns, at each limit, of what it counts in vain; `None` stands for a section that has errors.
pub(super) fn warn(
    root: &Field<'_>,
    limits: &[WrittenLimit],
    has_gateway: Option<bool>,
    llm: Option<Option<&LlmSettings>>,
    prices: Option<&Prices>,
) {
    for limit in limits.iter().filter(|limit| limit.is_on()) {
        let place = &limit.place;
        let is_in_flight = matches!(limit.rule.terms.algorithm, Algorithm::Concurrent(_));
        if is_in_flight && has_gateway == Some(false) {
            root.warn_at(
                place,
                "there is no `gateway`, so that only `/v1/reserve` takes from this limit on \
                 requests in flight. `/v1/check`, forward-auth, any other path and Envoy's rate \
                 limit service see no end of a request: they skip it",
            );
        }
        let (Some(counts), Some(llm)) = (limit.counts(), llm) else { continue };
        let Some(llm) = llm else {
            root.warn_at(
                place,
                "no `llm.routes` fill this limit, which counts tokens or money: only `/v1/reserve` \
                 takes from it. `/v1/check`, forward-auth and Envoy's rate limit service see no \
                 end of a request: they look, and deny only while such a bucket is in debt",
            );
            continue;
        };
        if !limit.is_for_post() {
            root.warn_at(
                place,
                "counts tokens or money, and `when.method` lacks `POST`, the method of every \
                 request to a model: only `/v1/reserve` takes from it. Add `POST`, or remove \
                 `method`",
            );
        } else if !limit.is_reached_by(&llm.routes) {
            root.warn_at(
                place,
                "counts tokens or money, and none of `llm.routes` is for a path of its `when`: \
                 only `/v1/reserve` takes from it. Write the path of a route, or remove the path",
            );
        } else if counts == Counts::Money && prices.is_some_and(|prices| !prices.has_models()) {
            let effect = match limit.rule.terms.mode {
                Mode::Shadow => "it counts nothing",
                Mode::Enforce | Mode::Off => "every request to a model that it is for is refused",
            };
            root.warn_at(
                place,
                format_args!(
                    "counts money, and no model has a price, so that {effect}: write \
                     `costs: {{ llm: {{ MODEL: {{ input_per_1m: 0.15, output_per_1m: 0.6 }} }} }}`"
                ),
            );
        }
    }
}
