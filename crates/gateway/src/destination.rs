//! Where a request is directed: its host and its target. What cannot be forwarded is rejected
//! before a decision takes tokens.

use std::borrow::Cow;

use http::{
    HeaderMap, Method, Uri, Version,
    header::{HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use sluice_http::{Problem, ProblemKind};

use crate::{hop_by_hop, target};

/// Where a request that can be forwarded is directed.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The host that the client requested; `None` in HTTP/1.0 without `Host`.
    pub(crate) host: Option<Authority>,
    pub(crate) target: PathAndQuery,
}

impl Destination {
    /// Finds out where a request is directed.
    ///
    /// # Errors
    /// Returns a problem when the request cannot be forwarded whatever is decided about it: its
    /// host is missing, invalid or contradictory, its body has a transfer coding that is not
    /// understood, or its method is `CONNECT`.
    pub fn of(head: &Parts) -> Result<Self, Problem> {
        if head.method == Method::CONNECT {
            return refuse("CONNECT is not supported: this is a reverse proxy");
        }
        require_known_coding(&head.headers)?;
        Ok(Self { host: host_of(head)?, target: target_of(&head.uri)? })
    }
}

fn refuse<T>(what: impl Into<Cow<'static, str>>) -> Result<T, Problem> {
    Err(Problem::new(ProblemKind::InvalidRequest, what))
}

/// Rejects a body with any coding but `chunked`. The gateway removes `chunked` and applies it anew;
/// an upstream that got the rest without its field would read other bytes than the client sent.
fn require_known_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = hop_by_hop::words(headers, &TRANSFER_ENCODING);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Problem::new(
            ProblemKind::UnknownTransferCoding,
            "the only transfer coding that is understood is `chunked`: send the body as it is, and \
             name its compression in `content-encoding`",
        )),
    }
}

/// Returns the requested host: that of the target, or else of `Host` (RFC 9112, section 3.2).
fn host_of(head: &Parts) -> Result<Option<Authority>, Problem> {
    let mut lines = head.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return refuse("header `host` is given twice: send it once");
    }
    if head.uri.scheme().is_some_and(|scheme| ![Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
        return refuse(
            "the target is not an address of HTTP: send `http://host/path`, or the path",
        );
    }
    let named = match line {
        None if head.version == Version::HTTP_11 => {
            return refuse("header `host` is missing: send it, as HTTP/1.1 requires");
        }
        None => None,
        Some(line) if line.is_empty() && head.version < Version::HTTP_11 => None,
        Some(line) => match authority(line.as_bytes()) {
            Some(host) => Some(host),
            None => {
                return refuse(
                    "header `host` is not a host and port: send `example.org` or \
                     `example.org:8000`",
                );
            }
        },
    };
    let Some(target) = head.uri.authority() else { return Ok(named) };
    if authority(target.as_str().as_bytes()).is_none() {
        return refuse("the target names more than a host and port: send `http://host:port/path`");
    }
    let scheme = head.uri.scheme();
    if named.is_some_and(|named| !is_same(&named, target, scheme)) {
        return refuse("header `host` and the target name different hosts: send the same in both");
    }
    Ok(Some(target.clone()))
}

/// Reads `host` or `host:port`, and nothing else: no user, and a port that is a number.
fn authority(text: &[u8]) -> Option<Authority> {
    let authority = Authority::try_from(text).ok()?;
    let (host, whole) = (authority.host(), authority.as_str());
    let port = whole.strip_prefix(host)?;
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.is_empty() || digits.parse::<u16>().is_ok())
        });
    (!host.is_empty() && is_port).then_some(authority)
}

/// Returns whether two authorities are the same place; a port that is the scheme's own may be
/// omitted.
fn is_same(one: &Authority, other: &Authority, scheme: Option<&Scheme>) -> bool {
    let default = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    one.host().eq_ignore_ascii_case(other.host()) && port(one) == port(other)
}

fn target_of(uri: &Uri) -> Result<PathAndQuery, Problem> {
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match target::of(&target) {
        Cow::Borrowed(_) => Ok(target),
        Cow::Owned(resolved) => {
            PathAndQuery::try_from(resolved).or_else(|_| refuse("the path cannot be forwarded"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;

    fn host(
        version: Version,
        target: &str,
        fields: &[(&'static str, &'static str)],
    ) -> Result<Option<String>, u16> {
        let mut request = Request::get(target).version(version).body(()).unwrap();
        for (name, value) in fields {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        match Destination::of(&request.into_parts().0) {
            Ok(destination) => Ok(destination.host.map(|host| host.to_string())),
            Err(problem) => Err(problem.status().as_u16()),
        }
    }

    #[test]
    fn the_host_is_that_of_the_field_or_the_target() {
        let one = Version::HTTP_11;
        for (target, field, expected) in [
            ("/", "api.test", "api.test"),
            ("/", "api.test:8000", "api.test:8000"),
            ("/", "[::1]:80", "[::1]:80"),
            ("/", "api.test:", "api.test:"),
            ("http://api.test/", "API.test", "api.test"),
            ("http://api.test/", "api.test:80", "api.test"),
            ("https://api.test:443/", "api.test", "api.test:443"),
        ] {
            let got = host(one, target, &[("host", field)]);
            assert_eq!(got, Ok(Some(expected.to_owned())), "{target} {field}");
        }
        assert_eq!(host(Version::HTTP_2, "http://api.test/", &[]), Ok(Some("api.test".to_owned())));
        assert_eq!(host(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(host(Version::HTTP_10, "/", &[("host", "")]), Ok(None));
    }

    #[test]
    fn a_missing_invalid_or_contradictory_host_is_rejected() {
        let one = Version::HTTP_11;
        assert_eq!(host(one, "/", &[]), Err(400));
        assert_eq!(host(one, "http://api.test/", &[]), Err(400));
        assert_eq!(host(one, "/", &[("host", "a"), ("host", "a")]), Err(400));
        for field in ["", "u@a", "u:p@a", "a b", "a/b", "a:b", "a:1:2", ":80", "a:99999", "a?b"] {
            assert_eq!(host(one, "/", &[("host", field)]), Err(400), "{field}");
        }
        for (target, field) in [
            ("http://api.test/", "other.test"),
            ("http://api.test/", "api.test:8000"),
            ("https://api.test/", "api.test:80"),
            ("http://u:p@api.test/", "api.test"),
            ("http://u@api.test/", "u@api.test"),
            ("ftp://api.test/", "api.test"),
        ] {
            assert_eq!(host(one, target, &[("host", field)]), Err(400), "{target} {field}");
        }
        let two = Version::HTTP_2;
        assert_eq!(host(two, "http://a.test/", &[("host", "b.test")]), Err(400));
        assert_eq!(host(two, "http://u:p@a.test/", &[]), Err(400));
    }

    #[test]
    fn only_the_coding_chunked_is_understood() {
        for (coding, expected) in [
            ("chunked", Ok(())),
            ("Chunked", Ok(())),
            (" chunked ,", Ok(())),
            ("gzip, chunked", Err(501)),
            ("chunked, chunked", Err(501)),
            ("identity", Err(501)),
            ("chunked;x=1", Err(501)),
            ("gzip", Err(501)),
        ] {
            let fields = [("host", "a"), ("transfer-encoding", coding)];
            assert_eq!(host(Version::HTTP_11, "/", &fields).map(drop), expected, "{coding}");
        }
    }
}
