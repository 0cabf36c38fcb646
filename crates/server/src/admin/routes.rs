//! The admin routes and the paths that they serve.

use std::time::Instant;

use axum::{Router, body::Body, response::Response};
use http::Request;
use sluice_http::{Problem, ProblemKind, body};
use tower::ServiceExt;

/// The paths of the admin routes. Each stands for all paths below it too.
pub(crate) const PATHS: [&str; 6] =
    ["/health", "/ready", "/metrics", "/monitoring", "/openapi.json", "/openapi"];

/// The probes: a gateway keeps these paths for itself in every configuration.
const PROBES: [&str; 2] = ["/health", "/ready"];
/// The routes that `admin.listen` moves to a port of their own.
const GUARDED: [&str; 2] = ["/metrics", "/monitoring"];

/// The admin routes of one port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminRoutes {
    router: Router,
    paths: Vec<&'static str>,
}

impl AdminRoutes {
    /// Serves `router` at all admin paths.
    #[must_use]
    pub fn new(router: Router) -> Self {
        let router = router
            .fallback(async || {
                Problem::new(ProblemKind::NotFound, "no resource exists at this path")
                    .into_response()
            })
            .method_not_allowed_fallback(async || {
                Problem::new(ProblemKind::MethodNotAllowed, "see `Allow` for the supported methods")
                    .into_response()
            });
        Self { router, paths: PATHS.to_vec() }
    }

    /// Keeps only the paths that stay with Sluice on the port of a gateway: the probes, metrics and
    /// monitoring unless they have a port of their own, and the rest only with `all`.
    #[must_use]
    pub fn beside_a_gateway(mut self, all: bool, have_own_port: bool) -> Self {
        self.paths.retain(|path| {
            let is_guarded = GUARDED.contains(path);
            PROBES.contains(path) || (is_guarded && !have_own_port) || (!is_guarded && all)
        });
        self
    }

    /// Returns the admin path that covers `path`.
    pub(crate) fn covering(&self, path: &str) -> Option<&'static str> {
        covering(&self.paths, path)
    }

    /// Responds to a request.
    pub(crate) async fn respond(&self, mut request: Request<Body>) -> Response {
        // No admin route reads a body.
        let unwanted = std::mem::take(request.body_mut());
        body::discard(request.headers(), unwanted, Instant::now());
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Returns whether `path` is a probe's, so that its response comes beyond all limits.
pub(crate) fn is_probe_path(path: &str) -> bool {
    PROBES.contains(&path)
}

/// Returns the first of `roots` that is `path` or above it.
pub(crate) fn covering(roots: &[&'static str], path: &str) -> Option<&'static str> {
    let covers = |root: &&&str| {
        path.strip_prefix(**root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    roots.iter().find(covers).copied()
}
