//! The header fields that a decision was made by. The upstream gets them as the decision saw them.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
        FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};
use smallvec::SmallVec;

/// Fields for the destination, the framing of the body and the identity of the client.
const STANDARD: [HeaderName; 13] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const FORWARDED_PREFIX: &str = "x-forwarded-";
const REAL_IP: &str = "x-real-ip";

/// The header fields that the policy and the identification of clients read. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DecidingFields {
    names: Arc<Vec<HeaderName>>,
    from_trusted_peers: Option<HeaderName>,
}

impl DecidingFields {
    /// Creates the set of the fields with these `names`. The one called `from_trusted_peers` is
    /// read only when a trusted proxy sends it.
    #[must_use]
    pub const fn new(names: Arc<Vec<HeaderName>>, from_trusted_peers: Option<HeaderName>) -> Self {
        Self { names, from_trusted_peers }
    }

    /// Returns whether the field was read for the decision, or is one that every server on the way
    /// needs. A client that names such a field in `Connection` must not make the gateway remove it,
    /// or the upstream would see another request than the one that was decided.
    pub(crate) fn protects(&self, name: &HeaderName) -> bool {
        self.names.contains(name)
            || STANDARD.contains(name)
            || name.as_str().starts_with(FORWARDED_PREFIX)
            || name == REAL_IP
    }

    /// Removes the fields that would make the upstream see another client than the decision did:
    /// twins of other fields, and what only a trusted proxy may send.
    pub(crate) fn purge(&self, headers: &mut HeaderMap, trusted: bool) {
        if let Some(name) = self.from_trusted_peers.as_ref().filter(|_| !trusted) {
            headers.remove(name);
        }
        let some_are_odd = self.some_are_odd();
        let is_twin = |name: &&HeaderName| self.is_twin(name.as_str(), some_are_odd);
        let twins: SmallVec<[HeaderName; 4]> = headers.keys().filter(is_twin).cloned().collect();
        for name in twins {
            headers.remove(name);
        }
    }

    /// Removes from the trailers of a request what servers might merge into its header fields.
    pub(crate) fn purge_trailers(&self, trailers: &mut HeaderMap) {
        let some_are_odd = self.some_are_odd();
        let unwanted: SmallVec<[HeaderName; 4]> = trailers
            .keys()
            .filter(|name| self.protects(name) || self.is_twin(name.as_str(), some_are_odd))
            .cloned()
            .collect();
        for name in unwanted {
            trailers.remove(name);
        }
    }

    /// Returns whether a name holds anything but letters, digits and hyphens.
    fn some_are_odd(&self) -> bool {
        self.names.iter().any(|name| is_odd(name.as_str()))
    }

    /// Returns whether servers may take the field for a protected one with another name. Servers
    /// that pass fields as variables (CGI, WSGI, PHP) read `X_Api_Key` and `X-Api-Key`
    /// alike, and some of them also `X.Api.Key`.
    fn is_twin(&self, name: &str, some_are_odd: bool) -> bool {
        let is_odd = is_odd(name);
        if (!is_odd && !some_are_odd) || self.names.iter().any(|known| known == name) {
            return false;
        }
        let is_standard = || {
            STANDARD.iter().any(|known| reads_alike(name, known.as_str()))
                || reads_alike(name, REAL_IP)
                || name
                    .get(..FORWARDED_PREFIX.len())
                    .is_some_and(|start| reads_alike(start, FORWARDED_PREFIX))
        };
        self.names.iter().any(|known| reads_alike(name, known.as_str()))
            || (is_odd && is_standard())
    }
}

fn is_odd(name: &str) -> bool {
    name.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
}

/// Returns whether two names differ in nothing but punctuation.
fn reads_alike(one: &str, other: &str) -> bool {
    let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    one.len() == other.len() && one.bytes().map(folded).eq(other.bytes().map(folded))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(fields: &DecidingFields, sent: &[&'static str], trusted: bool) -> Vec<String> {
        let mut headers: HeaderMap = sent
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        fields.purge(&mut headers, trusted);
        headers.keys().map(|name| name.as_str().to_owned()).collect()
    }

    fn reading(names: &[&'static str]) -> DecidingFields {
        let names = names.iter().map(|name| HeaderName::from_static(name)).collect();
        DecidingFields::new(Arc::new(names), None)
    }

    #[test]
    fn twins_of_fields_that_decide_are_removed() {
        let fields = reading(&["x-api-key"]);
        for twin in ["x_api_key", "x-api_key", "x_api-key", "x.api.key", "x~api-key"] {
            assert_eq!(left(&fields, &[twin, "x-api-key"], false), ["x-api-key"], "{twin}");
            assert_eq!(left(&fields, &[twin], true), [""; 0], "{twin}");
        }
        for other in ["x-api-keys", "xapikey", "x_api", "x-other", "x_other"] {
            assert_eq!(left(&fields, &[other], false), [other]);
        }
    }

    #[test]
    fn a_field_that_is_read_under_an_odd_name_has_twins_too() {
        let fields = reading(&["x_api_key", "x.org", "x-org"]);
        assert_eq!(left(&fields, &["x-api-key", "x_api_key"], false), ["x_api_key"]);
        assert_eq!(left(&fields, &["x.org", "x-org"], false), ["x.org", "x-org"]);
    }

    #[test]
    fn twins_of_fields_for_the_route_and_the_framing_are_removed() {
        let twins = [
            "content_length",
            "transfer_encoding",
            "x_forwarded_for",
            "x-forwarded_proto",
            "x_real_ip",
            "content.type",
        ];
        assert_eq!(left(&DecidingFields::default(), &twins, true), [""; 0]);
    }

    #[test]
    fn a_field_of_trusted_proxies_is_removed_from_others() {
        let tier = HeaderName::from_static("x-tier");
        let fields = DecidingFields::new(Arc::new(vec![tier.clone()]), Some(tier));
        assert_eq!(left(&fields, &["x-tier", "x_tier"], true), ["x-tier"]);
        assert_eq!(left(&fields, &["x-tier", "x_tier"], false), [""; 0]);
    }

    #[test]
    fn trailers_cannot_replace_fields_that_decide() {
        let fields = reading(&["x-api-key"]);
        let names = [
            "x-api-key",
            "x_api_key",
            "host",
            "content-length",
            "x-forwarded-for",
            "authorization",
            "x-checksum",
        ];
        let mut trailers: HeaderMap = names
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        fields.purge_trailers(&mut trailers);
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-checksum"]);
    }
}
