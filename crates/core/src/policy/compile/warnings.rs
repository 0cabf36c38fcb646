//! Finds what in a policy can have no effect.

use crate::{
    algorithm::Algorithm,
    limit::Mode,
    policy::{
        builder::PolicyBuilder,
        error::{LimitField, Location, TierField},
        limit_spec::LimitSpec,
        pattern::{self, is_covered},
        rule::{Per, Rule, RuleCost, When},
        tier::Tier,
        warning::{PolicyWarning, PolicyWarningKind},
    },
};

impl PolicyBuilder {
    /// Finds the parts that can have no effect, or another one than it seems. They are no errors,
    /// but probably not meant.
    ///
    /// ```
    /// use sluice_core::{Policy, Rate};
    ///
    /// let policy = Policy::builder()
    ///     .endpoint("/health/deep", Rate::per_minute(5)?)
    ///     .exempt("/health");
    /// assert_eq!(
    ///     policy.warnings()[0].to_string(),
    ///     "endpoints./health/deep: has no effect: `/health` is exempt, with everything below it. \
    ///      Remove one of them"
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn warnings(&self) -> Vec<PolicyWarning> {
        let mut finder = Finder { input: self, exempt: Vec::new(), warnings: Vec::new() };
        finder.exempt();
        for endpoint in &self.endpoints {
            finder.pattern(&endpoint.path, Location::Endpoint { path: endpoint.path.clone() });
        }
        for (index, rule) in self.limits.iter().enumerate() {
            finder.rule(index, rule);
        }
        for tier in &self.tiers {
            finder.tier(tier);
        }
        finder.default_limit();
        finder.warnings
    }
}

struct Finder<'i> {
    input: &'i PolicyBuilder,
    /// The exempt paths in their normal form, each as it is written.
    exempt: Vec<(String, &'i str)>,
    warnings: Vec<PolicyWarning>,
}

impl<'i> Finder<'i> {
    fn warn(&mut self, at: Location, kind: PolicyWarningKind) {
        self.warnings.push(PolicyWarning { at, kind });
    }

    fn exempt(&mut self) {
        for (index, written) in self.input.exempt.iter().enumerate() {
            let at = Location::Exempt { index };
            self.dots(written, &at);
            let Ok(pattern) = pattern::endpoint(written) else { continue };
            if let Some(by) = self.exempt_by(&pattern.path) {
                self.warn(at, PolicyWarningKind::ExemptAlready { by });
            } else if pattern.path == "/" {
                self.warn(at, PolicyWarningKind::AllExempt);
            }
            self.exempt.push((pattern.path, written));
        }
    }

    /// Returns the exempt path that covers all paths of a pattern.
    fn exempt_by(&self, pattern: &str) -> Option<String> {
        let covering = self.exempt.iter().find(|(exempt, _)| is_covered(pattern, exempt));
        covering.map(|(_, written)| (*written).to_owned())
    }

    fn pattern(&mut self, written: &str, at: Location) {
        self.dots(written, &at);
        let Ok(pattern) = pattern::endpoint(written) else { return };
        if let Some(exempt) = self.exempt_by(&pattern.path) {
            self.warn(at, PolicyWarningKind::PathExempt { exempt });
        }
    }

    fn dots(&mut self, written: &str, at: &Location) {
        let has_dots = written.split('/').any(|segment| matches!(segment, "." | ".."));
        if let (true, Some(meaning)) = (has_dots, pattern::meaning(written)) {
            self.warn(at.clone(), PolicyWarningKind::Dots { meaning });
        }
    }

    fn rule(&mut self, index: usize, rule: &Rule) {
        let at = |field| Location::Limit { index, field };
        if rule.terms.mode == Mode::Off {
            return;
        }
        for (entry, written) in rule.when.paths.iter().enumerate() {
            let at = at(LimitField::Path(entry));
            self.dots(written, &at);
            if let Some(exempt) = pattern::meaning(written).and_then(|path| self.exempt_by(&path)) {
                self.warn(at, PolicyWarningKind::PathExempt { exempt });
            }
        }
        if matches!(&rule.cost, RuleCost::Fixed(cost) if cost.tokens() == 0) {
            self.warn(at(LimitField::Cost), PolicyWarningKind::CostsNothing);
        }
        let is_unlimited = |name: &String| {
            self.input.tiers.iter().any(|tier| tier.name == *name && tier.unlimited)
        };
        let tiers = &rule.when.tiers;
        if rule.per == Per::Client && !tiers.is_empty() && tiers.iter().all(is_unlimited) {
            self.warn(at(LimitField::Tier(0)), PolicyWarningKind::TiersUnlimited);
        }
    }

    fn tier(&mut self, tier: &Tier) {
        let at = |field| Location::Tier { name: tier.name.clone(), field };
        for endpoint in &tier.endpoints {
            self.pattern(&endpoint.path, at(TierField::Endpoint(endpoint.path.clone())));
        }
        let is_named = self.input.limits.iter().any(|rule| rule.when.tiers.contains(&tier.name));
        let changes_limits = tier.multiply != 1
            || tier.burst.is_some()
            || tier.unlimited
            || tier.defaults.is_some()
            || !tier.endpoints.is_empty();
        if !changes_limits && !is_named {
            self.warn(at(TierField::Name), PolicyWarningKind::TierChangesNothing);
        }
    }

    fn default_limit(&mut self) {
        if self.input.defaults == LimitSpec::Off {
            return;
        }
        let is_enforced = |spec: &LimitSpec| match spec {
            LimitSpec::Off => true,
            LimitSpec::Limit(terms) => terms.mode != Mode::Shadow,
        };
        let endpoints = self.input.endpoints.iter().filter(|endpoint| {
            is_enforced(&endpoint.limit)
                && pattern::endpoint(&endpoint.path).is_ok_and(|pattern| pattern.path == "/")
        });
        let rules = self.input.limits.iter().filter(|rule| {
            let When { paths, methods, headers, tiers } = &rule.when;
            rule.terms.mode == Mode::Enforce
                && rule.terms.metering.is_none()
                && !matches!(rule.terms.algorithm, Algorithm::Concurrent(_))
                && paths.is_empty()
                && methods.is_empty()
                && headers.is_empty()
                && tiers.is_empty()
                && matches!(rule.per, Per::Client | Per::Everyone)
        });
        let mut names =
            endpoints.map(|endpoint| &endpoint.path).chain(rules.map(|rule| &rule.name));
        if let Some(by) = names.next().cloned() {
            self.warn(Location::Defaults, PolicyWarningKind::DefaultReplaced { by });
        }
    }
}
