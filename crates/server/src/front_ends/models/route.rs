//! Finds the requests that go to models.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::Method;
use sluice_config::LlmSettings;
use sluice_core::NormalPath;
use sluice_llm::{Call, Vendor};

/// The routes to models, which a reload replaces. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    settings: Arc<ArcSwapOption<LlmSettings>>,
}

/// Where a request goes that uses a model.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(super) settings: Arc<LlmSettings>,
    /// The path or pattern that covers the request.
    pub(super) pattern: Box<str>,
    pub(super) vendor: Vendor,
    pub(super) call: Call,
}

impl Routes {
    pub(super) fn new(settings: Option<LlmSettings>) -> Self {
        Self { settings: Arc::new(ArcSwapOption::from_pointee(settings)) }
    }

    /// Uses these settings for every request that starts from now on.
    pub(crate) fn replace(&self, settings: Option<LlmSettings>) {
        self.settings.store(settings.map(Arc::new));
    }

    /// Returns where a request goes, if it uses a model.
    pub(crate) fn find(&self, method: &Method, path: &NormalPath<'_>) -> Option<Route> {
        if *method != Method::POST {
            return None;
        }
        let settings = self.settings.load_full()?;
        let (route, call) = settings.call(path)?;
        let (pattern, vendor) = (route.path.to_string().into(), route.speaks);
        Some(Route { settings, pattern, vendor, call })
    }
}
