//! The label `endpoint` of requests to the API.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use sluice_core::{EndpointPatterns, NormalPath, Policy, fold_ids};
use sluice_telemetry::{HttpRecorder, OTHER};

/// Finds the value of the label `endpoint` for a request to the API. Cheap to clone; clones share
/// the patterns.
///
/// It is, in this order: the pattern of the policy that covers the path; the listed pattern that
/// does; the path with `:id` in place of [identifiers](sluice_core::fold_ids), for the first
/// hundred such paths; `other`.
///
/// A path takes one of these hundred places with a response that
/// [says that it exists](HttpRecorder::confirms_path).
#[derive(Clone)]
pub struct EndpointLabels {
    inner: Arc<Inner>,
}

/// An endpoint of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LabelledEndpoint {
    /// The value of the label.
    pub label: Arc<str>,
    /// Whether its requests are exempt from limits, and so not counted in statistics of the API.
    pub is_exempt: bool,
    /// Whether the label is a path that no pattern covers, folded. It may show what clients send.
    pub is_path: bool,
}

struct Inner {
    http: HttpRecorder,
    patterns: ArcSwap<Patterns>,
    other: Arc<str>,
}

#[derive(Debug, Default)]
struct Patterns {
    exempt: EndpointPatterns,
    limited: EndpointPatterns,
    listed: EndpointPatterns,
}

// === impl EndpointLabels ===

impl EndpointLabels {
    /// Makes labels without patterns. `http` keeps the places of paths.
    pub(crate) fn new(http: &HttpRecorder) -> Self {
        Self {
            inner: Arc::new(Inner {
                http: http.clone(),
                patterns: ArcSwap::default(),
                other: Arc::from(OTHER),
            }),
        }
    }

    /// Uses the patterns of `policy` from now on, and then those that are `listed`.
    pub fn replace(&self, policy: &Policy, listed: EndpointPatterns) {
        self.inner.patterns.store(Arc::new(Patterns::new(policy, listed)));
    }

    /// Returns the endpoint of a request for `path` whose response has this status.
    #[must_use]
    pub fn find(&self, path: &NormalPath<'_>, status: u16) -> LabelledEndpoint {
        self.labelled(path, HttpRecorder::confirms_path(status))
    }

    /// Returns the endpoint of a request for `path` that the API has not responded to. It takes no
    /// place.
    #[must_use]
    pub fn find_unanswered(&self, path: &NormalPath<'_>) -> LabelledEndpoint {
        self.labelled(path, false)
    }

    /// Returns the endpoint of a request whose path cannot be read.
    #[must_use]
    pub fn other(&self) -> LabelledEndpoint {
        LabelledEndpoint::of_pattern(Arc::clone(&self.inner.other))
    }

    fn labelled(&self, path: &NormalPath<'_>, takes: bool) -> LabelledEndpoint {
        let Patterns { exempt, limited, listed } = &**self.inner.patterns.load();
        if let Some(label) = exempt.find(path) {
            let label = Arc::clone(label);
            return LabelledEndpoint { is_exempt: true, ..LabelledEndpoint::of_pattern(label) };
        }
        if let Some(pattern) = limited.find(path).or_else(|| listed.find(path)) {
            return LabelledEndpoint::of_pattern(Arc::clone(pattern));
        }
        let folded = fold_ids(path).and_then(|path| self.inner.http.label_of_path(&path, takes));
        folded.map_or_else(
            || self.other(),
            |label| LabelledEndpoint { is_path: true, ..LabelledEndpoint::of_pattern(label) },
        )
    }
}

impl LabelledEndpoint {
    const fn of_pattern(label: Arc<str>) -> Self {
        Self { label, is_exempt: false, is_path: false }
    }
}

impl fmt::Debug for EndpointLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointLabels")
            .field("listed", &self.inner.patterns.load().listed.len())
            .finish_non_exhaustive()
    }
}

// === impl Patterns ===

impl Patterns {
    fn new(policy: &Policy, listed: EndpointPatterns) -> Self {
        let exempt = policy.exempt_endpoints();
        // The first label is `other`. Of labels that mean the same, the first one stays.
        let limited = policy.endpoints().iter().skip(1).rev();
        Self { exempt: all(exempt), limited: all(limited.map(|label| &**label)), listed }
    }
}

/// Returns the patterns of a policy, all of which are patterns.
fn all<'p>(texts: impl Iterator<Item = &'p str>) -> EndpointPatterns {
    texts.fold(EndpointPatterns::default(), |mut patterns, text| {
        let inserted = patterns.insert(text);
        debug_assert!(inserted.is_ok(), "{text}");
        patterns
    })
}

#[cfg(test)]
mod tests {
    use sluice_core::Rate;
    use sluice_telemetry::Recorders;

    use super::*;

    fn labels(listed: &[&str]) -> EndpointLabels {
        let rate = Rate::per_minute(5).unwrap();
        let policy = Policy::builder()
            .endpoint("/api/{version}/orders", rate)
            .exempt("/api/v1/orders/health")
            .build()
            .unwrap();
        let labels = EndpointLabels::new(&Recorders::disabled().http);
        labels.replace(&policy, self::listed(listed));
        labels
    }

    fn listed(patterns: &[&str]) -> EndpointPatterns {
        all(patterns.iter().copied())
    }

    fn label(labels: &EndpointLabels, path: &str, status: u16) -> String {
        labels.find(&NormalPath::parse(path).unwrap(), status).label.to_string()
    }

    #[test]
    fn limits_precede_listed_patterns_and_these_precede_folded_paths() {
        let labels = labels(&["/api/v1/orders/{id}", "/users/{name}"]);
        for (path, expected) in [
            ("/api/v1/orders/17", "/api/{version}/orders"),
            ("/api/v1/orders/health/deep", "/api/v1/orders/health"),
            ("/users/ann/friends", "/users/{name}"),
            ("/users", "/users"),
            ("/items/17", "/items/:id"),
            ("/items/18?page=2", "/items/:id"),
        ] {
            assert_eq!(label(&labels, path, 200), expected, "{path}");
        }
    }

    #[test]
    fn only_endpoints_below_an_exempt_path_are_exempt() {
        let labels = labels(&[]);
        let is_exempt = |path| labels.find(&NormalPath::parse(path).unwrap(), 200).is_exempt;
        assert!(is_exempt("/api/v1/orders/health/deep"));
        assert!(!is_exempt("/api/v1/orders"));
        assert!(!is_exempt("/health"));
    }

    #[test]
    fn paths_that_may_not_exist_take_no_place() {
        let labels = labels(&[]);
        for status in [404, 405, 429, 499] {
            assert_eq!(label(&labels, "/a/17", status), OTHER, "{status}");
        }
        let path = NormalPath::parse("/a/17").unwrap();
        assert_eq!(&*labels.find_unanswered(&path).label, OTHER);
        assert_eq!(label(&labels, "/a/17", 500), "/a/:id");
        for status in [404, 429] {
            assert_eq!(label(&labels, "/a/18", status), "/a/:id", "{status}");
        }
        assert_eq!(&*labels.find_unanswered(&path).label, "/a/:id");
    }

    #[test]
    fn the_places_of_paths_are_bounded() {
        let labels = labels(&[]);
        let given = (0..1_000).filter(|n| label(&labels, &format!("/a{n}"), 200) != OTHER);
        assert_eq!(given.count(), 100);
        assert_eq!(label(&labels, "/a0", 200), "/a0");
        assert_eq!(label(&labels, &format!("/{}", "x".repeat(500)), 200), OTHER);
    }

    #[test]
    fn patterns_can_be_replaced() {
        let labels = labels(&["/users/{name}"]);
        assert_eq!(label(&labels, "/users/ann", 200), "/users/{name}");
        labels.clone().replace(&Policy::builder().build().unwrap(), listed(&["/users"]));
        assert_eq!(label(&labels, "/users/ann", 200), "/users");
        assert_eq!(label(&labels, "/api/v1/orders/17", 200), "/api/v1/orders/:id");
    }
}
