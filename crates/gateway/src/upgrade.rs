//! Upgrades of a connection to another protocol (RFC 9110, section 7.8).

use http::{HeaderMap, HeaderValue, Version, header::UPGRADE, request::Parts};
use sluice_config::gateway::UpgradeProtocol;

use crate::hop_by_hop;

/// Returns the protocol that a request may be upgraded to: `Connection` names `Upgrade`, which
/// names one protocol that is allowed. Everything else is forwarded as a plain request, as RFC 9110
/// permits. In a tunnel to a protocol that carries requests, such as `h2c`, they would pass without
/// a limit.
pub(crate) fn requested(
    head: &Parts,
    has_body: bool,
    allowed: &[UpgradeProtocol],
) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 || has_body || !hop_by_hop::names_upgrade(&head.headers) {
        return None;
    }
    only_protocol(&head.headers)
        .filter(|asked| allowed.iter().any(|protocol| protocol.is(asked.as_bytes())))
        .cloned()
}

/// Returns whether a response with status 101 switches to the protocol that was `asked` for.
pub(crate) fn is_granted(asked: &HeaderValue, response: &HeaderMap) -> bool {
    only_protocol(response)
        .is_some_and(|granted| granted.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
}

/// Returns the only line of `Upgrade`.
fn only_protocol(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(UPGRADE).iter();
    lines.next().filter(|_| lines.next().is_none())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn asked(version: Version, fields: &[(&'static str, &'static str)]) -> Option<HeaderValue> {
        let mut request = Request::new(());
        *request.version_mut() = version;
        for (name, value) in fields {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let head = request.into_parts().0;
        assert_eq!(requested(&head, true, &[UpgradeProtocol::websocket()]), None, "with a body");
        requested(&head, false, &[UpgradeProtocol::websocket()])
    }

    const CONNECTION: (&str, &str) = ("connection", "keep-alive, Upgrade");

    #[test]
    fn one_allowed_protocol_may_be_upgraded_to() {
        for name in ["websocket", "WebSocket"] {
            assert_eq!(asked(Version::HTTP_11, &[CONNECTION, ("upgrade", name)]).unwrap(), name);
        }
    }

    #[test]
    fn everything_else_is_a_plain_request() {
        for value in [
            "h2c",
            "H2C",
            "websocket, h2c",
            "h2c, websocket",
            "websocket,",
            "websocket/13",
            "TLS/1.0",
            "HTTP/2.0",
            "",
            " ",
            "web socket",
        ] {
            assert_eq!(asked(Version::HTTP_11, &[CONNECTION, ("upgrade", value)]), None, "{value}");
        }
        let websocket = ("upgrade", "websocket");
        assert_eq!(asked(Version::HTTP_11, &[CONNECTION, websocket, ("upgrade", "h2c")]), None);
        assert_eq!(asked(Version::HTTP_11, &[CONNECTION, websocket, websocket]), None);
        assert_eq!(asked(Version::HTTP_11, &[websocket]), None);
        assert_eq!(asked(Version::HTTP_11, &[("connection", "keep-alive"), websocket]), None);
        assert_eq!(asked(Version::HTTP_11, &[CONNECTION]), None);
        assert_eq!(asked(Version::HTTP_10, &[CONNECTION, websocket]), None);
        assert_eq!(asked(Version::HTTP_2, &[CONNECTION, websocket]), None);
    }

    #[test]
    fn only_the_protocol_that_was_asked_for_is_granted() {
        let websocket = HeaderValue::from_static("websocket");
        for (granted, expected) in [
            (&["WebSocket"][..], true),
            (&["h2c"], false),
            (&[], false),
            (&["websocket", "h2c"], false),
            (&["websocket, h2c"], false),
        ] {
            let mut response = HeaderMap::new();
            for value in granted {
                response.append(UPGRADE, HeaderValue::from_static(value));
            }
            assert_eq!(is_granted(&websocket, &response), expected, "{granted:?}");
        }
    }
}
