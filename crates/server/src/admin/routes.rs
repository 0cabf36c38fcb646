//! The admin routes and the paths that they serve.

use std::time::Instant;

use axum::{Router, body::Body, response::Response};
use http::{
    Request, Uri,
    uri::{InvalidUri, PathAndQuery},
};
use sluice_core::NormalPath;
use sluice_http::{Problem, ProblemKind, body};
use tower::ServiceExt;

use super::health::HEALTHCHECK_PATH;

/// The paths of the admin routes. Each stands for all paths below it too.
pub(crate) const PATHS: [&str; 8] = [
    "/health",
    "/healthcheck",
    "/ready",
    "/metrics",
    "/monitoring",
    "/console",
    "/openapi.json",
    "/openapi",
];

/// The probes: a gateway keeps these paths for itself in every configuration.
const PROBES: [&str; 2] = ["/health", "/ready"];
/// The routes that `admin.listen` moves to a port of their own.
const GUARDED: [&str; 3] = ["/metrics", "/monitoring", CONSOLE];
/// Guarded too, and an upstream may have a page of its own at this path.
const CONSOLE: &str = super::console::PATH;

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
        let router =
            router.fallback(async || not_found()).method_not_allowed_fallback(async || {
                Problem::new(ProblemKind::MethodNotAllowed, "see `Allow` for the supported methods")
                    .into_response()
            });
        Self { router, paths: PATHS.to_vec() }
    }

    /// Keeps only the paths that stay with Sluice on the port of a gateway: the probes, metrics and
    /// monitoring unless they have a port of their own, and the rest only with `all`. The console
    /// needs both.
    #[must_use]
    pub fn beside_a_gateway(mut self, all: bool, have_own_port: bool) -> Self {
        self.paths.retain(|path| {
            let may_stay = !GUARDED.contains(path) || !have_own_port;
            let is_asked_for = all || (GUARDED.contains(path) && *path != CONSOLE);
            PROBES.contains(path) || (may_stay && is_asked_for)
        });
        self
    }

    /// Returns the admin path that covers `path`.
    pub(crate) fn covering(&self, path: &NormalPath<'_>) -> Option<&'static str> {
        covering(&self.paths, path)
    }

    /// Responds to a request for `path`, however the request spells it.
    pub(crate) async fn respond(
        &self,
        path: &NormalPath<'_>,
        mut request: Request<Body>,
    ) -> Response {
        if request.uri().path() != path.as_str() {
            match respelled(request.uri(), path) {
                Ok(uri) => *request.uri_mut() = uri,
                // No route has a path that is not a target.
                Err(_) => return not_found(),
            }
        }
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
    PROBES.contains(&path) || path == HEALTHCHECK_PATH
}

/// Returns `uri` with `path` as its path.
fn respelled(uri: &Uri, path: &NormalPath<'_>) -> Result<Uri, InvalidUri> {
    let mut target = path.to_printable();
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target).map(Uri::from)
}

fn not_found() -> Response {
    Problem::new(ProblemKind::NotFound, "no resource exists at this path").into_response()
}

/// Returns the first of `roots` that is `path` or above it.
pub(crate) fn covering(roots: &[&'static str], path: &NormalPath<'_>) -> Option<&'static str> {
    roots.iter().find(|root| path.is_at_or_below(root)).copied()
}
