//! `/` in a browser: a page that says what this port is.
//!
//! Any other program that requests `/` gets a decision, as for every path.

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
    request::Parts,
};
use sluice_core::NormalPath;

/// The path of the page.
pub(super) const PATH: &str = "/";

const PAGE: &str = include_str!("start_page.html");

/// Returns the page if `head`, whose path is `path`, requests it.
pub(super) fn respond(head: &Parts, path: &NormalPath<'_>) -> Option<Response> {
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    if !is_read || path.as_str() != PATH || !accepts_html(&head.headers) {
        return None;
    }
    let mut response = Response::new(Body::from(PAGE));
    response.headers_mut().extend([
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
        (VARY, HeaderValue::from_static("Accept")),
    ]);
    Some(response)
}

/// Returns whether `Accept` names `text/html`, as browsers do. `*/*` is what other programs send.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok()).any(|line| {
        line.split(',').any(|range| {
            let mut parameters = range.split(';').map(str::trim);
            let is_html =
                parameters.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
            let weight = parameters.find_map(|parameter| {
                parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))
            });
            is_html && weight.is_none_or(|weight| weight.parse().is_ok_and(|q: f32| q > 0.0))
        })
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn is_page(method: Method, path: &str, accept: &'static str) -> bool {
        let request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let path = NormalPath::parse(path).unwrap();
        respond(&head, &path).is_some_and(|response| {
            response.headers()[CONTENT_TYPE].as_bytes().starts_with(b"text/html")
        })
    }

    #[test]
    fn only_what_reads_html_gets_the_page() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for accept in [browser, "Text/HTML", "text/plain, text/html;q=0.5", "text/html;level=1"] {
            assert!(is_page(Method::GET, "/", accept), "{accept}");
        }
        assert!(is_page(Method::HEAD, "//?x", browser));
        for accept in ["*/*", "text/*", "application/json", "text/html;q=0", "text/htmlx", ""] {
            assert!(!is_page(Method::GET, "/", accept), "{accept}");
        }
        assert!(!is_page(Method::POST, "/", browser));
        assert!(!is_page(Method::GET, "/a", browser));
    }
}
