//! The keys in Redis.

use std::fmt::Write;

use sluice_core::BucketId;

use super::redis_error::RedisError;

/// Builds the keys of one deployment; no other code builds keys.
///
/// A bucket's key is `prefix:{tag}:limit`. The braces put all buckets of a client in one cluster
/// slot.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, RedisError> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_allowed) {
            return Err(RedisError::Prefix { prefix: prefix.to_owned() });
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// Replaces `key` by the key of `bucket`.
    pub(super) fn bucket(&self, bucket: &BucketId, key: &mut String) {
        key.clear();
        key.push_str(&self.prefix);
        key.push_str(":{");
        write!(key, "{}", bucket.tag).expect("writing to a string cannot fail");
        key.push_str("}:");
        key.push_str(bucket.limit.as_str());
    }

    /// Returns the key of the hash of live replicas.
    pub(super) fn fleet(&self) -> String {
        format!("{}:fleet", self.prefix)
    }

    /// Returns the key `prefix:{tag}:name`. All keys with the same tag share a cluster slot.
    pub(super) fn tagged(&self, tag: &str, name: &str) -> String {
        format!("{}:{{{tag}}}:{name}", self.prefix)
    }

    /// Returns the key that a probe writes.
    pub(super) fn probe(&self) -> String {
        format!("{}:probe", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::{LimitKey, Subject, Tagger};

    use super::*;

    #[test]
    fn a_bucket_key_with_the_default_prefix_has_at_most_30_bytes() {
        let mut key = String::new();
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        Keys::new("sluice")
            .unwrap()
            .bucket(&BucketId { tag, limit: LimitKey::of("/api/v1/blueprints") }, &mut key);
        assert_eq!(key.len(), 30, "{key}: a longer key costs Redis 16 bytes more");
        assert!(key.starts_with("sluice:{"));
        Keys::new("sluice")
            .unwrap()
            .bucket(&BucketId { tag, limit: LimitKey::of("default") }, &mut key);
        assert!(key.ends_with("}:default"));
    }

    #[test]
    fn a_prefix_contains_neither_braces_nor_spaces() {
        for prefix in ["", "a{b}", "a b", "ä", &"x".repeat(65)] {
            assert!(Keys::new(prefix).is_err(), "{prefix}");
        }
        assert!(Keys::new("staging:sluice-2").is_ok());
    }
}
