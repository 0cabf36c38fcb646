//! The identity of a bucket: whose it is, and which limit it belongs to.

use std::{fmt, hash::Hasher, net::IpAddr};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::Partition;

/// Whose bucket it is: a keyed hash (SipHash-2-4, 72 bits) of the client, or of whatever the limit
/// is per.
///
/// It reveals no key, address or token. Without the secret, guesses cannot be tested against it.
// Packed, since a check that is passed by value has a tag for each of its parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed)]
pub struct Tag {
    // Two numbers instead of nine bytes, because stores compare tags more often than they write
    // them.
    head: u64,
    tail: u8,
}

impl Tag {
    /// The length of a tag. With 72 bits, two of ten million clients have the same tag with a
    /// probability of one in a hundred million; nine bytes are twelve characters of base64.
    pub const BYTES: usize = 9;

    /// Returns the tag's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, g, h] = self.head.to_be_bytes();
        [a, b, c, d, e, f, g, h, self.tail]
    }

    /// Returns a number from 0 to 255, evenly distributed, for stores that divide their buckets
    /// into parts.
    #[must_use]
    pub const fn part(self) -> u8 {
        self.tail
    }

    /// Returns the tag without its [part](Self::part), for stores that know the part.
    #[must_use]
    pub const fn head(self) -> u64 {
        self.head
    }

    /// Returns the tag of a [head](Self::head) and a [part](Self::part).
    #[must_use]
    pub const fn of_head(head: u64, part: u8) -> Self {
        Self { head, tail: part }
    }

    /// Returns the partition that the tag's buckets are in. It is the first of the twelve
    /// characters with which the tag is written.
    #[must_use]
    pub const fn partition(self) -> Partition {
        Partition::of(self.to_bytes()[0] >> 2)
    }

    /// Returns the tag of `partition` whose [text](Self::to_text) ends with these eleven
    /// characters; `None` if there is none.
    #[must_use]
    pub fn from_rest(partition: Partition, rest: &str) -> Option<Self> {
        if rest.len() != 11 {
            return None;
        }
        let first = u128::try_from(partition.index()).ok()?;
        let bits = rest.bytes().try_fold(first, |bits, character| {
            let digit = BASE64.iter().position(|&known| known == character)?;
            Some(bits << 6 | u128::try_from(digit).ok()?)
        })?;
        let [.., a, b, c, d, e, f, g, h, tail] = bits.to_be_bytes();
        Some(Self { head: u64::from_be_bytes([a, b, c, d, e, f, g, h]), tail })
    }

    /// Returns the twelve characters of URL-safe base64 with which the tag is written. The first is
    /// that of the [partition](Self::partition).
    #[must_use]
    pub fn to_text(self) -> [u8; 12] {
        base64(&self.to_bytes())
    }
}

impl fmt::Display for Tag {
    /// Writes twelve characters of URL-safe base64, as which stores and monitoring show a client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// What a [`Tag`] is made from. Different kinds never share a bucket, whatever their values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject<'a> {
    /// A client with this identity, for instance an API key.
    Client(&'a [u8]),
    /// A network address, or a group of addresses.
    Address(&'a [u8]),
    /// The value of a request header or attribute.
    Header {
        /// The header's name, in lower case.
        name: &'a str,
        /// The header's value.
        value: &'a [u8],
    },
    /// All clients together, under one limit.
    Everyone {
        /// The limit's name.
        limit: &'a str,
    },
    /// An ordered list of names and values, for callers that send descriptors instead of requests.
    Values {
        /// The namespace of the names.
        scope: &'a [u8],
        /// The names and values.
        values: &'a [(&'a [u8], Value<'a>)],
    },
}

/// One value of [`Subject::Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// This value.
    Exact(&'a [u8]),
    /// All values that match this pattern, together.
    Pattern(&'a [u8]),
}

/// Makes tags with a secret. Replicas that share buckets need the same secret.
#[derive(Clone)]
pub struct Tagger {
    /// Hashers, one for each kind of subject, that have read the bytes with which the kind begins.
    client: SipHasher24,
    address: SipHasher24,
    header: SipHasher24,
    everyone: SipHasher24,
    values: SipHasher24,
    fingerprint: u64,
    keys: SipHasher24,
    has_secret: bool,
}

impl Tagger {
    /// Creates a tagger with `secret`. An empty secret is the well-known default: it makes keys
    /// unreadable, but someone who can read the store can test guesses.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut derive = SipHasher24::new();
        derive.write(b"sluice tag secret");
        derive.write(secret);
        let keyed = SipHasher24::new_with_key(&derive.finish128().as_bytes());
        let of_kind = |kind: u8| {
            let mut hasher = keyed;
            // A whole word, so that the hasher reads what follows a word at a time.
            hasher.write_u64(kind.into());
            hasher
        };
        Self {
            client: of_kind(b'c'),
            address: of_kind(b'a'),
            header: of_kind(b'h'),
            everyone: of_kind(b'e'),
            values: of_kind(b'v'),
            fingerprint: of_kind(b'f').hash(b"fingerprint").h1,
            keys: of_kind(b'k'),
            has_secret: !secret.is_empty(),
        }
    }

    /// Returns a number that tells secrets apart: a keyed hash of a fixed text. Replicas with the
    /// same fingerprint have the same secret, which it does not reveal.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Returns a key that is derived from the secret for this purpose; `None` without a secret,
    /// since everybody could derive it.
    #[must_use]
    pub fn key_for(&self, purpose: &str) -> Option<[u8; 16]> {
        let key = after(self.keys, purpose.as_bytes()).finish128();
        self.has_secret.then(|| key.as_bytes())
    }

    /// Returns the tag of `subject`.
    #[must_use]
    pub fn tag(&self, subject: Subject<'_>) -> Tag {
        // `hash` finishes what begins at a whole word faster than `write` and `finish128` do.
        let hash = match subject {
            Subject::Client(identity) => self.client.hash(identity),
            Subject::Address(address) => self.address.hash(address),
            // The name's length comes first, so that two pairs of name and value never have the
            // same bytes.
            Subject::Header { name, value } => {
                let start = after(self.header, &name.len().to_le_bytes());
                after(after(start, name.as_bytes()), value).finish128()
            }
            Subject::Everyone { limit } => self.everyone.hash(limit.as_bytes()),
            Subject::Values { scope, values } => {
                let start = after_part(self.values, 0, scope);
                let hasher = values.iter().fold(start, |hasher, (name, value)| {
                    let (kind, part) = match value {
                        Value::Exact(part) => (1, part),
                        Value::Pattern(part) => (2, part),
                    };
                    after_part(after_part(hasher, 0, name), kind, part)
                });
                hasher.finish128()
            }
        };
        Tag { head: hash.h1, tail: hash.h2.to_le_bytes()[0] }
    }

    /// Returns the tag of the client at `address`, or of all clients in its network of
    /// `ipv6_prefix` bits.
    pub(crate) fn address(&self, address: IpAddr, ipv6_prefix: u8) -> Tag {
        // An IPv4 address written as IPv6 is the same client.
        match address.to_canonical() {
            IpAddr::V4(address) => self.tag(Subject::Address(&address.octets())),
            IpAddr::V6(address) => {
                let rest = 128 - u32::from(ipv6_prefix.min(128));
                let group = address.to_bits().checked_shr(rest).unwrap_or(0);
                let group = group.checked_shl(rest).unwrap_or(0);
                self.tag(Subject::Address(&group.to_be_bytes()))
            }
        }
    }
}

/// Returns the hasher after it has read `bytes`.
fn after(mut hasher: SipHasher24, bytes: &[u8]) -> SipHasher24 {
    hasher.write(bytes);
    hasher
}

/// Returns the hasher after it has read `part` with its kind and length, so that two lists of parts
/// never have the same bytes.
fn after_part(mut hasher: SipHasher24, kind: u8, part: &[u8]) -> SipHasher24 {
    hasher.write_u64(u64::from(kind) << 56 | part.len() as u64);
    after(hasher, part)
}

impl fmt::Debug for Tagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagger(secret)")
    }
}

/// The short name of a limit, for the keys of its buckets: its name when that has at most eight
/// bytes, otherwise `~` and seven characters of its hash. A limit that is no token bucket has a
/// hash of its name and its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    bytes: [u8; LimitKey::MAX_BYTES],
}

impl LimitKey {
    /// The greatest length of a limit's key, in bytes.
    pub const MAX_BYTES: usize = 8;

    /// Returns the key of the limit with this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        if name.len() <= Self::MAX_BYTES && plain {
            bytes[..name.len()].copy_from_slice(name.as_bytes());
        } else {
            return Self::hashed(&[name.as_bytes()]);
        }
        Self { bytes }
    }

    /// Returns the key of the limit with this name and algorithm, which differs from that of the
    /// same name alone.
    pub(crate) fn of_variant(name: &str, algorithm: &str) -> Self {
        // No name contains the byte between both.
        Self::hashed(&[name.as_bytes(), b"\0", algorithm.as_bytes()])
    }

    fn hashed(parts: &[&[u8]]) -> Self {
        let mut hasher = SipHasher24::new();
        parts.iter().for_each(|part| hasher.write(part));
        let text: [u8; 8] = base64(&hasher.finish128().as_bytes()[..6]);
        let mut bytes = [b'~'; Self::MAX_BYTES];
        bytes[1..].copy_from_slice(&text[..7]);
        Self { bytes }
    }

    /// Returns the key that [`as_str`](Self::as_str) returns as `text`; `None` if it never does.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; Self::MAX_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        (!text.bytes().any(|byte| byte == 0)).then_some(Self { bytes })
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a limit's key is ASCII")
    }

    /// Returns the key as the bytes of its text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let length = self.bytes.iter().position(|&b| b == 0).unwrap_or(Self::MAX_BYTES);
        &self.bytes[..length]
    }
}

impl fmt::Debug for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LimitKey({})", self.as_str())
    }
}

/// The identity of one bucket: a limit's state for one client, or for whatever the limit is per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketId {
    /// Whose bucket it is.
    pub tag: Tag,
    /// The limit that the bucket belongs to.
    pub limit: LimitKey,
}

impl std::hash::Hash for BucketId {
    /// Folds the id to 64 bits. A tag is a keyed hash, so a map needs no keyed hasher to be safe
    /// from
    /// chosen keys.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let limit = u64::from_le_bytes(self.limit.bytes);
        state.write_u64(self.tag.head ^ limit.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

/// The digits of URL-safe base64.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes whole groups of three bytes as URL-safe base64.
///
/// # Panics
/// When the bytes do not take exactly `N` characters.
pub(crate) fn base64<const N: usize>(bytes: &[u8]) -> [u8; N] {
    assert!(bytes.len().is_multiple_of(3) && bytes.len() / 3 * 4 == N);
    let mut text = [0; N];
    for (group, four) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
        let word = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for (character, shift) in four.iter_mut().zip([18, 12, 6, 0]) {
            *character = BASE64[(word >> shift & 63) as usize];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tag_and_a_key_are_written_as_can_be_read() {
        let tagger = Tagger::new(b"s3cret");
        for number in 0..1_000_u32 {
            let tag = tagger.tag(Subject::Client(&number.to_be_bytes()));
            let text = tag.to_string();
            assert_eq!(Tag::from_rest(tag.partition(), &text[1..]), Some(tag));
        }
        for rest in ["", "AAAAAAAAAA", "AAAAAAAAAAAA", "AAAAA AAAAA", "AAAAAAAAA\u{e4}"] {
            assert_eq!(Tag::from_rest(Partition::FIRST, rest), None, "{rest}");
        }
        for name in ["a", "default", "/api/v1/conversation/chat-stream"] {
            let key = LimitKey::of(name);
            assert_eq!(LimitKey::from_text(key.as_str()), Some(key));
        }
        for text in ["", "ninebytes", "\u{e4}", "a\0"] {
            assert_eq!(LimitKey::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_tag_depends_on_secret_kind_name_and_value() {
        let tagger = Tagger::new(b"s3cret");
        let alice = tagger.tag(Subject::Client(b"alice"));
        assert_eq!(alice, tagger.tag(Subject::Client(b"alice")));
        let others = [
            Tagger::new(b"other").tag(Subject::Client(b"alice")),
            tagger.tag(Subject::Client(b"alicf")),
            tagger.tag(Subject::Address(b"alice")),
            tagger.tag(Subject::Everyone { limit: "alice" }),
            tagger.tag(Subject::Header { name: "a", value: b"lice" }),
            tagger.tag(Subject::Header { name: "al", value: b"ice" }),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(&alice, other, "{i}");
            assert!(!others[..i].contains(other), "{i}");
        }
    }

    #[test]
    fn different_lists_of_values_have_different_tags() {
        use Value::{Exact, Pattern};
        type Named = (&'static [u8], Value<'static>);
        let tagger = Tagger::new(b"s3cret");
        let lists: [(&[u8], &[Named]); 13] = [
            (b"a", &[]),
            (b"ab", &[]),
            (b"a", &[(b"b", Exact(b""))]),
            (b"a", &[(b"b", Exact(b"c"))]),
            (b"a", &[(b"bc", Exact(b""))]),
            (b"a", &[(b"", Exact(b"bc"))]),
            (b"ab", &[(b"c", Exact(b""))]),
            (b"a", &[(b"b", Pattern(b"c"))]),
            (b"a", &[(b"b", Exact(b"c")), (b"d", Exact(b"e"))]),
            (b"a", &[(b"d", Exact(b"e")), (b"b", Exact(b"c"))]),
            (b"a", &[(b"b", Exact(b"c")), (b"d", Pattern(b"e"))]),
            (b"a", &[(b"b", Exact(b"cd")), (b"", Exact(b"e"))]),
            (b"a", &[(b"b", Exact(b"c\0d")), (b"e", Exact(b""))]),
        ];
        let tags = lists.map(|(scope, values)| tagger.tag(Subject::Values { scope, values }));
        for (i, tag) in tags.iter().enumerate() {
            assert!(!tags[..i].contains(tag), "{:?}", lists[i]);
        }
        assert_ne!(
            tagger.tag(Subject::Values { scope: b"", values: &[] }),
            tagger.tag(Subject::Client(b""))
        );
    }

    #[test]
    fn the_text_of_a_tag_begins_with_its_partition() {
        let tagger = Tagger::new(b"s3cret");
        let mut seen = [0; Partition::COUNT as usize];
        for client in 0..6_400_u32 {
            let tag = tagger.tag(Subject::Client(&client.to_be_bytes()));
            let first = BASE64[tag.partition().index()];
            assert_eq!(tag.to_text()[0], first);
            assert_eq!(tag.partition().index(), usize::from(tag.to_bytes()[0] >> 2));
            seen[tag.partition().index()] += 1;
        }
        assert!(seen.iter().all(|&clients| (50..=150).contains(&clients)), "{seen:?}");
        assert!(Partition::all().map(Partition::index).eq(0..64));
    }

    #[test]
    fn neither_the_client_nor_the_secret_is_shown() {
        let tagger = Tagger::new(b"s3cret");
        let tag = tagger.tag(Subject::Client(b"alice"));
        assert_eq!(tag.to_string().len(), 12);
        assert!(!format!("{tagger:?} {tag:?}").contains("alice"));
        assert!(!format!("{tagger:?}").contains("s3cret"));
    }

    #[test]
    fn short_limit_names_are_kept_and_long_ones_are_hashed() {
        assert_eq!(LimitKey::of("default").as_str(), "default");
        assert_eq!(LimitKey::of("12345678").as_str(), "12345678");
        let long = LimitKey::of("/api/v1/tools/execute");
        assert_eq!(long.as_str().len(), 8);
        assert!(long.as_str().starts_with('~'));
        assert_ne!(long, LimitKey::of("/api/v1/tools/executf"));
        assert!(
            LimitKey::of("a}:b").as_str().starts_with('~'),
            "a name cannot contain the separators of a store's key"
        );
    }
}
