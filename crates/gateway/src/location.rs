//! Addresses in a response that name the upstream itself, where no client may reach it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LOCATION, LOCATION},
    uri::{Authority, Scheme},
};
use sluice_config::gateway::UpstreamUrl;

use crate::forwarded;

const REFRESH: HeaderName = HeaderName::from_static("refresh");

/// The address at which the client reaches the gateway, as `X-Forwarded-Proto` and
/// `X-Forwarded-Host` tell the upstream.
#[derive(Clone, Debug)]
pub(crate) struct PublicAddress {
    scheme: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl PublicAddress {
    /// Reads the address from the fields of a forwarded request.
    pub(crate) fn of(request: &HeaderMap) -> Self {
        Self {
            scheme: request.get(forwarded::PROTO).cloned(),
            host: request.get(forwarded::HOST).cloned(),
        }
    }

    fn scheme(&self) -> &'static str {
        let says_https = first(self.scheme.as_ref()).is_some_and(|text| text == "https");
        if says_https { "https" } else { "http" }
    }

    fn host(&self) -> Option<Authority> {
        first(self.host.as_ref())?.parse().ok()
    }
}

/// Returns the first element of a list, which the proxy next to the client wrote.
fn first(list: Option<&HeaderValue>) -> Option<&str> {
    let list = list?.to_str().ok()?;
    list.split(',').next().map(str::trim)
}

/// Makes `Location`, `Content-Location` and `Refresh` name the gateway where they name `upstream`.
pub(crate) fn rewrite(headers: &mut HeaderMap, upstream: &UpstreamUrl, public: &PublicAddress) {
    for name in [LOCATION, CONTENT_LOCATION] {
        rewrite_field(headers, &name, |text| public_form(text, upstream, public));
    }
    rewrite_field(headers, &REFRESH, |text| {
        let start = text.to_ascii_lowercase().find("url=")? + 4;
        let (before, url) = text.split_at(start);
        let quote = url.chars().next().filter(|&first| first == '"' || first == '\'');
        let url = quote.map_or(url, |quote| url[1..].split(quote).next().unwrap_or_default());
        let quote = quote.map(String::from).unwrap_or_default();
        Some(format!("{before}{quote}{}{quote}", public_form(url, upstream, public)?))
    });
}

fn rewrite_field(
    headers: &mut HeaderMap,
    name: &HeaderName,
    rewritten: impl FnOnce(&str) -> Option<String>,
) {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).and_then(rewritten);
    if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(name, value);
    }
}

/// Returns the address that a client can use in place of `url`; `None` when `url` does not name the
/// upstream.
fn public_form(url: &str, upstream: &UpstreamUrl, public: &PublicAddress) -> Option<String> {
    let (scheme, rest) = match url.strip_prefix("//") {
        Some(rest) => (None, rest),
        None => {
            let (scheme, rest) = url.split_once("://")?;
            (Some(http_scheme(scheme)?), rest)
        }
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !names(&authority.parse().ok()?, scheme.as_ref(), upstream) {
        return None;
    }
    let Some(host) = public.host() else {
        // A client of HTTP/1.0 named no host.
        return Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });
    };
    Some(match scheme {
        None => format!("//{host}{path}"),
        Some(scheme) if scheme == *upstream.scheme() => {
            format!("{}://{host}{path}", public.scheme())
        }
        // The upstream asks for another scheme than its own on purpose.
        Some(scheme) => format!("{scheme}://{host}{path}"),
    })
}

/// Reads a scheme in any case.
fn http_scheme(text: &str) -> Option<Scheme> {
    if text.eq_ignore_ascii_case("http") {
        Some(Scheme::HTTP)
    } else {
        text.eq_ignore_ascii_case("https").then_some(Scheme::HTTPS)
    }
}

fn names(authority: &Authority, scheme: Option<&Scheme>, upstream: &UpstreamUrl) -> bool {
    let ours = upstream.authority();
    let port = |authority: &Authority, scheme: &Scheme| {
        let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        authority.port_u16().unwrap_or(default)
    };
    authority.as_str().eq_ignore_ascii_case(ours.as_str())
        || (!authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(ours.host())
            && port(authority, scheme.unwrap_or(upstream.scheme()))
                == port(ours, upstream.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(upstream: &str, public: [Option<&'static str>; 2], value: &'static str) -> String {
        let [scheme, host] = public.map(|text| text.map(HeaderValue::from_static));
        let mut headers = HeaderMap::new();
        for name in [LOCATION, CONTENT_LOCATION] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        rewrite(&mut headers, &upstream.parse().unwrap(), &PublicAddress { scheme, host });
        assert_eq!(headers[LOCATION], headers[CONTENT_LOCATION]);
        headers[LOCATION].to_str().unwrap().to_owned()
    }

    const PUBLIC: [Option<&str>; 2] = [Some("https, http"), Some("api.test:8443, edge")];

    #[test]
    fn an_address_of_the_upstream_becomes_the_public_one() {
        for (value, expected) in [
            ("http://alma:8000/login?next=/a#b", "https://api.test:8443/login?next=/a#b"),
            ("HTTP://ALMA:8000", "https://api.test:8443"),
            ("http://alma:8000?a", "https://api.test:8443?a"),
            ("//alma:8000/a", "//api.test:8443/a"),
            ("https://alma:8000/a", "https://api.test:8443/a"),
        ] {
            assert_eq!(rewritten("http://alma:8000", PUBLIC, value), expected, "{value}");
        }
        let plain = [Some("http"), Some("api.test")];
        for (upstream, value, expected) in [
            ("http://alma:80", "http://alma/a", "http://api.test/a"),
            ("http://alma", "http://alma:80/a", "http://api.test/a"),
            ("https://alma:443", "https://alma/a", "http://api.test/a"),
            ("http://alma", "https://alma/a", "https://api.test/a"),
        ] {
            assert_eq!(rewritten(upstream, plain, value), expected, "{upstream} {value}");
        }
        let nothing = [None, None];
        assert_eq!(rewritten("http://alma", nothing, "http://alma/a?b"), "/a?b");
        assert_eq!(rewritten("http://alma", nothing, "http://alma?b"), "/?b");
    }

    #[test]
    fn every_other_address_is_kept() {
        for value in [
            "/login",
            "login",
            "",
            "http://alma:8001/a",
            "http://other:8000/a",
            "mailto:a@alma:8000",
            "http://user@alma:8000/",
            "ftp://alma:8000/",
            "http://alma/",
            "http://",
            "https://sso.test/?next=http://alma:8000/",
            "http://alma:8000.evil.test/",
        ] {
            assert_eq!(rewritten("http://alma:8000", PUBLIC, value), value);
        }
    }

    #[test]
    fn a_refresh_is_rewritten_too() {
        for (value, expected) in [
            ("5; url=http://alma:8000/a", "5; url=https://api.test:8443/a"),
            ("0;URL='http://alma:8000/a'", "0;URL='https://api.test:8443/a'"),
            ("5; url=/a", "5; url=/a"),
            ("5", "5"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REFRESH, HeaderValue::from_static(value));
            let [scheme, host] = PUBLIC.map(|text| text.map(HeaderValue::from_static));
            rewrite(
                &mut headers,
                &"http://alma:8000".parse().unwrap(),
                &PublicAddress { scheme, host },
            );
            assert_eq!(headers[REFRESH], expected);
        }
    }
}
