//! The only place that builds Redis keys.

use sluice_core::BucketId;

/// Builds the keys of one deployment: `prefix:{tag}:limit` for a bucket, the tag in braces so that
/// all buckets of a client share a cluster slot.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// Why a text cannot begin a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{prefix}` cannot begin a key: use 1 to 64 letters, digits, `-`, `_`, `.` or `:`")]
pub struct PrefixError {
    /// The text.
    pub prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, PrefixError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err(PrefixError { prefix: prefix.to_owned() });
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// Writes the key of `bucket` into `key`.
    pub(super) fn bucket(&self, bucket: &BucketId, key: &mut String) {
        use std::fmt::Write;
        key.clear();
        key.push_str(&self.prefix);
        key.push_str(":{");
        write!(key, "{}", bucket.tag).expect("writing to a string does not fail");
        key.push_str("}:");
        key.push_str(bucket.limit.as_str());
    }

    /// The hash of living replicas.
    pub(super) fn fleet(&self) -> String {
        format!("{}:fleet", self.prefix)
    }

    /// The key `prefix:{tag}:name`. All keys with the same tag share a slot of a cluster.
    pub(super) fn tagged(&self, tag: &str, name: &str) -> String {
        format!("{}:{{{tag}}}:{name}", self.prefix)
    }

    /// What a probe writes.
    pub(super) fn probe(&self) -> String {
        format!("{}:probe", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::{LimitKey, Subject, Tagger};

    use super::*;

    #[test]
    fn a_bucket_of_the_usual_prefix_fits_thirty_bytes() {
        let mut key = String::new();
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        Keys::new("sluice")
            .unwrap()
            .bucket(&BucketId { tag, limit: LimitKey::of("/api/v1/blueprints") }, &mut key);
        assert_eq!(key.len(), 30, "{key}: 31 bytes and more cost Redis 16 bytes a bucket");
        assert!(key.starts_with("sluice:{"));
        Keys::new("sluice")
            .unwrap()
            .bucket(&BucketId { tag, limit: LimitKey::of("default") }, &mut key);
        assert!(key.ends_with("}:default"));
    }

    #[test]
    fn a_prefix_cannot_hold_braces_or_blanks() {
        for prefix in ["", "a{b}", "a b", "ä", &"x".repeat(65)] {
            assert!(Keys::new(prefix).is_err(), "{prefix}");
        }
        assert!(Keys::new("staging:sluice-2").is_ok());
    }
}
