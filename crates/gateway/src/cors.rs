//! CORS fields on the gateway's own responses, so that a page of another origin can read them.
//!
//! Without these fields, a browser hides a 429 from the page that caused it: the page sees a failed
//! connection, and no `Retry-After`. The responses of an upstream are left as they are.

use http::{
    HeaderMap, HeaderValue,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, VARY,
    },
};
use sluice_config::gateway::Cors;

use crate::rate_limit_fields::is_rate_limit_field;

/// The fields of our own responses that a page can use: SDKs for language models read all that have
/// to do with retries.
const EXPOSED: &str = "Retry-After, Retry-After-Ms, X-Should-Retry, RateLimit, RateLimit-Policy, \
                       X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset";

/// Returns the origin of a request, if it names one.
pub(crate) fn origin(request: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = request.get_all(ORIGIN).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// Writes the fields for a response to a request from `origin`.
pub(crate) fn write(cors: &Cors, origin: &HeaderValue, response: &mut HeaderMap) {
    if *cors == Cors::Off {
        return;
    }
    // Another origin must not get this response from a cache.
    response.append(VARY, HeaderValue::from_static("Origin"));
    if let Cors::Origins(origins) = cors {
        if !origins.contains(origin) {
            return;
        }
        response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let exposed = exposed(response);
    response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// Returns the names of the fields that a page can use. Those of the vendors of language models are
/// many, and only in responses of their routes.
fn exposed(response: &HeaderMap) -> HeaderValue {
    let mut names = EXPOSED.to_owned();
    for name in response.keys().filter(|name| is_rate_limit_field(name)) {
        if !EXPOSED.split(", ").any(|known| name.as_str().eq_ignore_ascii_case(known)) {
            names.push_str(", ");
            names.push_str(name.as_str());
        }
    }
    HeaderValue::try_from(names).unwrap_or(HeaderValue::from_static(EXPOSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cors: &Cors, origin: &str) -> Vec<(String, String)> {
        let mut fields = HeaderMap::new();
        write(cors, &origin.parse().unwrap(), &mut fields);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    fn value(fields: &[(String, String)], name: &str) -> Option<String> {
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn any_origin_may_read_the_response_without_credentials() {
        let fields = written(&Cors::AnyOrigin, "https://shop.example");
        let is = |name, expected| assert_eq!(value(&fields, name).as_deref(), expected, "{name}");
        is("access-control-allow-origin", Some("https://shop.example"));
        is("access-control-allow-credentials", None);
        is("vary", Some("Origin"));
        is("access-control-expose-headers", Some(EXPOSED));
    }

    #[test]
    fn the_fields_of_vendors_are_exposed_where_they_are() {
        let mut fields = HeaderMap::new();
        for name in ["x-ratelimit-limit", "x-ratelimit-reset-tokens", "x-other", "retry-after"] {
            fields.insert(name, HeaderValue::from_static("1"));
        }
        write(&Cors::AnyOrigin, &HeaderValue::from_static("https://shop.example"), &mut fields);
        let expected = format!("{EXPOSED}, x-ratelimit-reset-tokens");
        assert_eq!(fields["access-control-expose-headers"], expected);
    }

    #[test]
    fn only_listed_origins_may_send_credentials() {
        let cors = Cors::Origins(vec![HeaderValue::from_static("https://shop.example")]);
        let fields = written(&cors, "https://shop.example");
        let allowed = value(&fields, "access-control-allow-credentials");
        assert_eq!(allowed.as_deref(), Some("true"));
        for other in ["https://shop.example.evil", "http://shop.example", "null"] {
            let fields = written(&cors, other);
            assert_eq!(fields, [("vary".to_owned(), "Origin".to_owned())], "{other}");
        }
        assert!(written(&Cors::Off, "https://shop.example").is_empty());
    }

    #[test]
    fn a_repeated_origin_is_none() {
        let mut request = HeaderMap::new();
        assert_eq!(origin(&request), None);
        request.append(ORIGIN, HeaderValue::from_static("https://a.example"));
        assert!(origin(&request).is_some());
        request.append(ORIGIN, HeaderValue::from_static("https://b.example"));
        assert_eq!(origin(&request), None);
    }
}
