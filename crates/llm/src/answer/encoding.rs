//! Which answers can be read.

/// The `Accept-Encoding` to send to a vendor, so that its answers can be read as they pass. A
/// compressed stream cannot, and no vendor compresses one unasked.
pub const ACCEPT_ENCODING: &str = "identity";

/// How the body of an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One JSON document. A stream of Gemini is one, a list, unless `alt=sse` is in the query.
    Json,
    /// Server-sent events.
    Sse,
}

impl Framing {
    /// Returns how a body with these header fields is framed, or `None` if it cannot be read: it
    /// is compressed, or neither JSON nor events, such as sound.
    #[must_use]
    pub fn of(content_type: &str, content_encoding: Option<&str>) -> Option<Self> {
        let encoding = content_encoding.map_or("", str::trim);
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            return None;
        }
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| media_type.eq_ignore_ascii_case(name);
        let ends_with_json = || {
            let suffix = media_type.rsplit('+').next().unwrap_or_default();
            media_type.contains('+') && suffix.eq_ignore_ascii_case("json")
        };
        if is("text/event-stream") {
            Some(Self::Sse)
        } else if is("application/json") || ends_with_json() {
            Some(Self::Json)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_events_can_be_read_unless_they_are_compressed() {
        let cases = [
            ("application/json", None, Some(Framing::Json)),
            ("Application/JSON; charset=utf-8", Some("identity"), Some(Framing::Json)),
            ("application/problem+json", Some(""), Some(Framing::Json)),
            ("text/event-stream;charset=UTF-8", Some(" Identity "), Some(Framing::Sse)),
            ("text/event-stream", Some("gzip"), None),
            ("application/json", Some("identity, br"), None),
            ("audio/mpeg", None, None),
            ("json", None, None),
            ("", None, None),
        ];
        for (content_type, encoding, framing) in cases {
            assert_eq!(Framing::of(content_type, encoding), framing, "{content_type} {encoding:?}");
        }
    }
}
