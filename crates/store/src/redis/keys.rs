//! The keys in Redis.

use sluice_core::{BucketId, LimitKey, Partition, RecordKey, Tag};

use super::redis_error::RedisError;

/// The hash tags of the partitions, in the order of their indices. The slots of two neighbours are
/// about 256 apart, so that any number of equal primaries up to 64 has nearly equal shares of the
/// partitions.
const HASH_TAGS: [&str; Partition::COUNT as usize] = [
    "mm", "Ny", "9i", "LY", "8D", "J9", "Bl", "Z5", "Hb", "kv", "JB", "iV", "YC", "zW", "IO", "xw",
    "nC", "MW", "lc", "Ow", "mN", "NZ", "9J", "K7", "KL", "91", "Il", "m5", "HA", "kU", "Ja", "iu",
    "Oi", "k0", "MI", "8y", "Ld", "op", "ND", "x1", "jf", "Ir", "hF", "KR", "ik", "XS", "yg", "Zs",
    "LG", "oS", "Ng", "ms", "OJ", "Br", "Mj", "i3", "iH", "Xp", "yD", "O1", "jE", "IQ", "he", "Kq",
];

/// The partition of all keys that belong to no client.
pub(super) const SHARED: Partition = Partition::FIRST;

/// Returns the cluster slot of all keys in `partition`: CRC-16/XMODEM of the hash tag, modulo
/// 16,384, as the specification of Redis Cluster has it.
pub(super) fn slot_of(partition: Partition) -> u16 {
    slot(HASH_TAGS[partition.index()])
}

fn slot(hash_tag: &str) -> u16 {
    let crc = hash_tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    crc % 16_384
}

/// Builds the keys of one deployment; no other code builds keys.
///
/// Every key is `prefix:{PP}name`. The braces contain the hash tag of a partition, so that a
/// cluster has all keys of a partition in one slot. The name of a bucket is the rest of its tag and
/// the limit's key, together 19 characters at most; that of a hold's record is the rest of a tag
/// and the 22 characters of its id. Every other name begins with a colon.
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

    /// Replaces `key` by the key of `bucket`, which is ASCII.
    pub(super) fn bucket(&self, bucket: &BucketId, key: &mut Vec<u8>) {
        self.tag(bucket.tag, key);
        key.extend_from_slice(bucket.limit.as_bytes());
    }

    /// Replaces `key` by the key of a hold's record, which is ASCII and no bucket's.
    pub(super) fn record(&self, record: &RecordKey, key: &mut Vec<u8>) {
        self.tag(record.tag, key);
        key.extend_from_slice(&record.id.to_text());
    }

    fn tag(&self, tag: Tag, key: &mut Vec<u8>) {
        key.clear();
        write_tag_key(&self.prefix, tag, key);
    }

    /// Returns the bucket with this key; `None` if no bucket of this deployment has it.
    pub(super) fn parse_bucket(&self, key: &str) -> Option<BucketId> {
        let (hash_tag, name) =
            key.strip_prefix(&self.prefix)?.strip_prefix(":{")?.split_once('}')?;
        let index = HASH_TAGS.iter().position(|known| *known == hash_tag)?;
        let partition = Partition::of(u8::try_from(index).ok()?);
        let (rest, limit) = name.split_at_checked(11)?;
        let tag = Tag::from_rest(partition, rest)?;
        Some(BucketId { tag, limit: LimitKey::from_text(limit)? })
    }

    /// Returns the channel on which `lua/check.lua` publishes the keys of buckets to which tokens
    /// were returned.
    pub(super) fn returned_channel(&self) -> String {
        format!("{}:returned", self.prefix)
    }

    /// Returns the key of the hash of live replicas.
    pub(super) fn fleet(&self) -> String {
        self.named(SHARED, "fleet")
    }

    /// Returns the key of the value with this name that all replicas agree on.
    pub(super) fn agreed(&self, name: &str) -> String {
        self.named(SHARED, name)
    }

    /// Returns the key that a probe of `partition` writes.
    pub(super) fn probe(&self, partition: Partition) -> String {
        self.named(partition, "probe")
    }

    /// Returns the key `prefix:{PP}:name` in `partition`.
    pub(super) fn named(&self, partition: Partition, name: &str) -> String {
        format!("{}:{{{}}}:{name}", self.prefix, HASH_TAGS[partition.index()])
    }
}

/// Returns the key of `bucket` in Redis, in the deployment whose keys begin with `prefix`: the key
/// that a [`RedisStore`](crate::RedisStore) with this prefix uses.
#[must_use]
pub fn bucket_key(prefix: &str, bucket: &BucketId) -> String {
    let mut key = Vec::new();
    write_tag_key(prefix, bucket.tag, &mut key);
    key.extend_from_slice(bucket.limit.as_bytes());
    // A tag and the key of a limit are ASCII.
    String::from_utf8_lossy(&key).into_owned()
}

/// Appends what the keys of all buckets of a tag begin with.
fn write_tag_key(prefix: &str, tag: Tag, key: &mut Vec<u8>) {
    key.extend_from_slice(prefix.as_bytes());
    key.extend_from_slice(b":{");
    key.extend_from_slice(HASH_TAGS[tag.partition().index()].as_bytes());
    key.push(b'}');
    key.extend_from_slice(&tag.to_text()[1..]);
}

#[cfg(test)]
mod tests {
    use sluice_core::{HoldId, LimitKey, Subject, Tagger};

    use super::*;

    fn key_of(keys: &Keys, bucket: BucketId) -> String {
        let mut key = Vec::new();
        keys.bucket(&bucket, &mut key);
        String::from_utf8(key).unwrap()
    }

    #[test]
    fn a_bucket_key_with_the_default_prefix_has_at_most_30_bytes() {
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        let keys = Keys::new("sluice").unwrap();
        let key = key_of(&keys, BucketId { tag, limit: LimitKey::of("/api/v1/blueprints") });
        assert_eq!(key.len(), 30, "{key}: a longer key costs Redis 16 bytes more");
        let key = key_of(&keys, BucketId { tag, limit: LimitKey::of("default") });
        let hash_tag = HASH_TAGS[tag.partition().index()];
        assert_eq!(key, format!("sluice:{{{hash_tag}}}{}default", &tag.to_string()[1..]));
    }

    #[test]
    fn the_key_of_a_record_is_no_buckets_and_has_44_bytes() {
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        let keys = Keys::new("sluice").unwrap();
        let mut seen = Vec::new();
        for id in [[0; 16], [255; 16], [7; 16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            let mut key = Vec::new();
            keys.record(&RecordKey { tag, id: HoldId::from_bytes(id) }, &mut key);
            let key = String::from_utf8(key).unwrap();
            assert_eq!(key.len(), 44, "{key}: a longer key costs Redis 16 bytes more");
            assert!(key.starts_with(&format!("sluice:{{{}}}", HASH_TAGS[tag.partition().index()])));
            assert_eq!(keys.parse_bucket(&key), None);
            assert!(!seen.contains(&key));
            seen.push(key);
        }
    }

    #[test]
    fn the_key_of_a_bucket_names_it() {
        let keys = Keys::new("staging:sluice-2").unwrap();
        let mut key = String::new();
        for number in 0..200_u32 {
            let tag = Tagger::new(b"").tag(Subject::Client(&number.to_be_bytes()));
            for limit in ["default", "/api/v1/blueprints"] {
                let bucket = BucketId { tag, limit: LimitKey::of(limit) };
                key = key_of(&keys, bucket);
                assert_eq!(keys.parse_bucket(&key), Some(bucket), "{key}");
                assert_eq!(bucket_key("staging:sluice-2", &bucket), key);
            }
        }
        let other = Keys::new("sluice").unwrap();
        assert_eq!(other.parse_bucket(&key), None, "another deployment's");
        for key in ["", "sluice:{mm}:fleet", "sluice:{mm}AAAAAAAAAAA", "sluice:{xx}AAAAAAAAAAAa"] {
            assert_eq!(other.parse_bucket(key), None, "{key}");
        }
    }

    #[test]
    fn a_prefix_contains_neither_braces_nor_spaces() {
        for prefix in ["", "a{b}", "a b", "ä", &"x".repeat(65)] {
            assert!(Keys::new(prefix).is_err(), "{prefix}");
        }
        assert!(Keys::new("staging:sluice-2").is_ok());
    }

    #[test]
    fn the_slots_are_those_of_the_specification_and_spread_evenly() {
        assert_eq!(slot("123456789"), 0x31c3, "the specification's example");
        for partition in Partition::all() {
            let even = 128 + 256 * u16::try_from(partition.index()).unwrap();
            assert!(slot_of(partition).abs_diff(even) <= 5, "{partition:?}");
        }
    }
}
