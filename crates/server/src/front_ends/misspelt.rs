//! Paths that a caller takes for Sluice's own API, and that are not.
//!
//! Without a gateway, every other path is decided about as it is requested, with status 200 or 429.
//! For a mistyped path of the API that status would be worse than an error: the caller would take
//! it for the decision about its own request, which nothing has read.

use http::Method;
use sluice_core::NormalPath;
use sluice_http::{Problem, ProblemKind};
use sluice_rls::SHOULD_RATE_LIMIT;

use super::FRONT_ENDS;

/// What every path of the API begins with.
const API: &str = "/v1";

/// The paths to which clients of limitador send their checks.
const LIMITADOR: [&str; 3] = ["/check", "/report", "/check_and_report"];

/// Returns the problem of a request by `method` to `path`, if the path is one of these.
pub(super) fn problem(method: &Method, path: &NormalPath<'_>) -> Option<Problem> {
    let path = path.as_str();
    let near = near(path);
    if is_below_api(path) || near.is_some_and(|near| near.eq_ignore_ascii_case(path)) {
        return Some(near.map_or_else(nothing_here, no_such_path));
    }
    if path == SHOULD_RATE_LIMIT {
        let detail = "Envoy's rate limit service is on the gRPC port (`listen.grpc`): this is the \
                      HTTP port";
        return Some(Problem::new(ProblemKind::NotFound, detail));
    }
    if *method == Method::POST && LIMITADOR.contains(&path) {
        let detail = format!(
            "this is Sluice, and not limitador: {path} does not exist here. Send checks to `POST \
             /v1/check`; /openapi describes them"
        );
        return Some(Problem::new(ProblemKind::NotFound, detail));
    }
    None
}

/// Creates the problem of a path that is nearly `right`.
pub(super) fn no_such_path(right: &str) -> Problem {
    let detail = format!(
        "nothing exists at this path: the nearest path is {right}, written exactly so; /openapi \
         describes every path"
    );
    Problem::new(ProblemKind::NotFound, detail)
}

/// Creates the problem of a path that is like no other one.
fn nothing_here() -> Problem {
    let detail = "nothing exists at this path, nor at one like it; /openapi describes every path";
    Problem::new(ProblemKind::NotFound, detail)
}

/// Returns whether `path` is `/v1` or below it, in small or capital letters.
fn is_below_api(path: &str) -> bool {
    let rest = path.split_at_checked(API.len()).filter(|(api, _)| api.eq_ignore_ascii_case(API));
    rest.is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the front end's path that is most like `path`, if it may be what the caller meant.
///
/// A path that is merely the least unlike would mislead: `/v1/reserve` is not `/v1/events`.
fn near(path: &str) -> Option<&'static str> {
    /// Longer paths than this are like no other. A caller chooses the length, and the comparison
    /// takes time for each pair of letters.
    const COMPARED: usize = 64;
    /// A path of this many letters may have one mistake, one of twice as many may have two.
    const LETTERS_PER_MISTAKE: usize = 4;
    if path.len() > COMPARED {
        return None;
    }
    let written = path.to_ascii_lowercase();
    FRONT_ENDS
        .iter()
        .map(super::front_end::Registration::path)
        .map(|known| (strsim::damerau_levenshtein(&written, known), known))
        .filter(|(mistakes, known)| *mistakes <= known.len() / LETTERS_PER_MISTAKE)
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(method: &Method, path: &str) -> Option<String> {
        let problem = problem(method, &NormalPath::parse(path).unwrap())?;
        assert_eq!(problem.status(), 404);
        Some(problem.detail().to_owned())
    }

    #[test]
    fn a_mistyped_path_is_not_found_and_the_nearest_is_named() {
        for (path, right) in [
            ("/v1/checks", "/v1/check"),
            ("/V1/check", "/v1/check"),
            ("/v1/CHECK", "/v1/check"),
            ("/v1/chek", "/v1/check"),
            ("/v1/check/1", "/v1/check"),
            ("/v1/checkbatch", "/v1/check/batch"),
            ("/v1/check/batches", "/v1/check/batch"),
            ("/v1/event", "/v1/events"),
            ("/v1/forwardauth", "/v1/forward-auth"),
            ("/v1/forward_auth", "/v1/forward-auth"),
            ("/JSON", "/json"),
            ("/Json", "/json"),
        ] {
            for method in [Method::GET, Method::POST] {
                let detail = detail(&method, path).unwrap();
                assert!(detail.contains(&format!(" {right}, ")), "{path}: {detail}");
            }
        }
    }

    #[test]
    fn a_path_that_is_like_no_other_has_no_nearest_one() {
        for path in [
            "/v1",
            "/V1/",
            "/v1/é",
            "/v1/tokens",
            "/v1/charge",
            "/v1/metrics",
            "/v1/checks/12345",
            &format!("/v1/{}", "é".repeat(10_000)),
        ] {
            let detail = detail(&Method::POST, path).unwrap();
            assert!(!detail.contains("nearest") && detail.contains("/openapi"), "{detail}");
        }
    }

    #[test]
    fn requests_for_other_services_are_told_where_they_are() {
        for path in LIMITADOR {
            assert!(detail(&Method::POST, path).unwrap().contains("POST /v1/check"), "{path}");
            assert_eq!(detail(&Method::GET, path), None, "{path} may be a path of an API");
        }
        assert!(detail(&Method::POST, SHOULD_RATE_LIMIT).unwrap().contains("listen.grpc"));
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in ["/", "/v", "/v2/check", "/v10/check", "/api/v1/check", "/json/x", "/é1/x"] {
            assert_eq!(detail(&Method::POST, path), None, "{path}");
        }
    }
}
