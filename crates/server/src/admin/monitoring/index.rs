//! `/monitoring`.

use serde::Serialize;
use utoipa::ToSchema;

use super::{DENIALS_PATH, DETAILED_PATH, OVERVIEW_PATH, RATE_LIMITS_PATH, SLO_PATH, SUMMARY_PATH};

/// The pages below `/monitoring`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MonitoringIndex {
    pages: [PageOfIndex; 6],
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MonitoringPage)]
struct PageOfIndex {
    path: &'static str,
    /// What the page shows.
    content: &'static str,
}

impl MonitoringIndex {
    pub(crate) const ALL: Self = Self {
        pages: [
            PageOfIndex {
                path: OVERVIEW_PATH,
                content: "the most important values of the other pages",
            },
            PageOfIndex {
                path: RATE_LIMITS_PATH,
                content: "clients of the last hour, requests and denials by endpoint",
            },
            PageOfIndex {
                path: SUMMARY_PATH,
                content: "totals and means of HTTP, language models, blueprints, deployments, tools",
            },
            PageOfIndex {
                path: SLO_PATH,
                content: "the service level objectives, and what is left of their error budgets",
            },
            PageOfIndex { path: DENIALS_PATH, content: "the last denials of this replica" },
            PageOfIndex {
                path: DETAILED_PATH,
                content: "each part of this replica, and the replicas of the fleet",
            },
        ],
    };
}

#[cfg(test)]
mod tests {
    use super::{super::INDEX_PATH, *};
    use crate::{admin::description, describe::Schemas};

    #[test]
    fn every_page_is_listed() {
        let mut listed = MonitoringIndex::ALL.pages.map(|page| page.path);
        listed.sort_unstable();
        let described = description::all(&mut Schemas::default());
        let mut below: Vec<_> = described
            .iter()
            .map(|described| described.path)
            .filter(|path| path.starts_with(INDEX_PATH) && *path != INDEX_PATH)
            .collect();
        below.sort_unstable();
        assert_eq!(below, listed);
    }
}
