//! Which bucket: whose it is, and which limit it counts for.

use std::{fmt, hash::Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

/// Whose bucket it is: a keyed hash (SipHash-2-4, 72 bits) of the client, or of whatever the limit
/// is per.
///
/// No key, address or token can be read from it, and without the secret none can be tried against
/// it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    // Two numbers instead of nine bytes: stores compare tags more often than they write them down.
    head: u64,
    tail: u8,
}

impl Tag {
    /// Bytes of a tag. Nine: 72 bits make a collision among ten million clients a matter of one in
    /// a hundred million, and twelve characters of base64.
    pub const BYTES: usize = 9;

    /// The tag's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, g, h] = self.head.to_be_bytes();
        [a, b, c, d, e, f, g, h, self.tail]
    }

    /// A number from 0 to 255, as evenly spread as the tags are: which part of a divided store the
    /// tag belongs to.
    #[must_use]
    pub const fn part(self) -> u8 {
        self.tail
    }
}

impl fmt::Display for Tag {
    /// Twelve characters of URL-safe base64: how stores and monitoring name a client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(base64_text(&self.to_bytes(), &mut [0; 12]))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// What a [`Tag`] is made from; the kinds never share a bucket, whatever their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject<'a> {
    /// A client by its identity, for instance an API key.
    Client(&'a [u8]),
    /// A network address, as the policy groups it.
    Address(&'a [u8]),
    /// The value of a named request header or attribute.
    Header {
        /// The header's name, in lower case.
        name: &'a str,
        /// Its value.
        value: &'a [u8],
    },
    /// Everybody together, under one limit.
    Everyone {
        /// The limit's name.
        limit: &'a str,
    },
    /// Values by their names, in their order: what a caller counts by that sends no requests but
    /// what it made of them.
    Values {
        /// Whose names these are.
        scope: &'a [u8],
        /// The names and values.
        values: &'a [(&'a [u8], Value<'a>)],
    },
}

/// One value of [`Subject::Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// This one.
    Is(&'a [u8]),
    /// All that fit this pattern, together.
    Fits(&'a [u8]),
}

/// Makes tags. Replicas that share buckets share its secret.
#[derive(Clone)]
pub struct Tagger {
    /// Hashers that have read what every subject of their kind begins with.
    client: SipHasher24,
    address: SipHasher24,
    header: SipHasher24,
    everyone: SipHasher24,
    values: SipHasher24,
}

impl Tagger {
    /// Hashes with `secret`; an empty one is the well-known default, which keeps keys unreadable
    /// but lets anyone with the store's contents try guesses.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut derive = SipHasher24::new();
        derive.write(b"sluice tag secret");
        derive.write(secret);
        let keyed = SipHasher24::new_with_key(&derive.finish128().as_bytes());
        let of_kind = |kind: u8| {
            let mut hasher = keyed;
            // A whole word, so that what follows is read a word at a time.
            hasher.write_u64(kind.into());
            hasher
        };
        Self {
            client: of_kind(b'c'),
            address: of_kind(b'a'),
            header: of_kind(b'h'),
            everyone: of_kind(b'e'),
            values: of_kind(b'v'),
        }
    }

    /// The tag of `subject`.
    #[must_use]
    pub fn tag(&self, subject: Subject<'_>) -> Tag {
        let hasher = match subject {
            Subject::Client(identity) => after(self.client, identity),
            Subject::Address(address) => after(self.address, address),
            // Length before value, so that no two pairs of name and value are the same bytes.
            Subject::Header { name, value } => {
                after(after(after(self.header, &name.len().to_le_bytes()), name.as_bytes()), value)
            }
            Subject::Everyone { limit } => after(self.everyone, limit.as_bytes()),
            Subject::Values { scope, values } => {
                let start = after_part(self.values, 0, scope);
                values.iter().fold(start, |hasher, (name, value)| {
                    let (kind, part) = match value {
                        Value::Is(part) => (1, part),
                        Value::Fits(part) => (2, part),
                    };
                    after_part(after_part(hasher, 0, name), kind, part)
                })
            }
        };
        let hash = hasher.finish128();
        Tag { head: hash.h1, tail: hash.h2.to_le_bytes()[0] }
    }
}

/// The hasher once it has read `bytes`.
fn after(mut hasher: SipHasher24, bytes: &[u8]) -> SipHasher24 {
    hasher.write(bytes);
    hasher
}

/// The hasher once it has read `part` with what it is and how long, so that no two lists of parts
/// are the same bytes.
fn after_part(mut hasher: SipHasher24, kind: u8, part: &[u8]) -> SipHasher24 {
    hasher.write_u64(u64::from(kind) << 56 | part.len() as u64);
    after(hasher, part)
}

impl fmt::Debug for Tagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagger(secret)")
    }
}

/// How a limit is called inside a bucket's key: its name when that is at most eight bytes, else `~`
/// and seven characters of its hash, so that a key stays short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    bytes: [u8; LimitKey::MAX_BYTES],
}

impl LimitKey {
    /// The most bytes of a limit's key.
    pub const MAX_BYTES: usize = 8;

    /// The key of the limit called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        if name.len() <= Self::MAX_BYTES && plain {
            bytes[..name.len()].copy_from_slice(name.as_bytes());
        } else {
            let mut hasher = SipHasher24::new();
            hasher.write(name.as_bytes());
            let mut text = [0; 8];
            bytes[0] = b'~';
            bytes[1..].copy_from_slice(
                &base64_text(&hasher.finish128().as_bytes()[..6], &mut text).as_bytes()[..7],
            );
        }
        Self { bytes }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|&b| b == 0).unwrap_or(Self::MAX_BYTES);
        std::str::from_utf8(&self.bytes[..length])
            .expect("only ASCII is ever written into a limit's key")
    }
}

impl fmt::Debug for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LimitKey({})", self.as_str())
    }
}

/// One bucket: a limit's state for one client, or for whatever the limit is per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketId {
    /// Whose.
    pub tag: Tag,
    /// For which limit.
    pub limit: LimitKey,
}

impl std::hash::Hash for BucketId {
    /// Folds the id to 64 bits: a tag is a keyed hash already, so a map needs no hasher of its own
    /// to be safe from chosen keys.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let limit = u64::from_le_bytes(self.limit.bytes);
        state.write_u64(self.tag.head ^ limit.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

/// URL-safe base64 of whole groups of three bytes, without allocating.
fn base64_text<'a>(bytes: &[u8], text: &'a mut [u8]) -> &'a str {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut length = 0;
    for group in bytes.chunks_exact(3) {
        let word = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for shift in [18, 12, 6, 0] {
            text[length] = ALPHABET[(word >> shift & 63) as usize];
            length += 1;
        }
    }
    std::str::from_utf8(&text[..length]).expect("base64 is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn no_two_lists_of_values_are_the_same_bytes() {
        use Value::{Fits, Is};
        type Named = (&'static [u8], Value<'static>);
        let tagger = Tagger::new(b"s3cret");
        let lists: [(&[u8], &[Named]); 13] = [
            (b"a", &[]),
            (b"ab", &[]),
            (b"a", &[(b"b", Is(b""))]),
            (b"a", &[(b"b", Is(b"c"))]),
            (b"a", &[(b"bc", Is(b""))]),
            (b"a", &[(b"", Is(b"bc"))]),
            (b"ab", &[(b"c", Is(b""))]),
            (b"a", &[(b"b", Fits(b"c"))]),
            (b"a", &[(b"b", Is(b"c")), (b"d", Is(b"e"))]),
            (b"a", &[(b"d", Is(b"e")), (b"b", Is(b"c"))]),
            (b"a", &[(b"b", Is(b"c")), (b"d", Fits(b"e"))]),
            (b"a", &[(b"b", Is(b"cd")), (b"", Is(b"e"))]),
            (b"a", &[(b"b", Is(b"c\0d")), (b"e", Is(b""))]),
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
    fn nothing_of_the_client_shows() {
        let tagger = Tagger::new(b"s3cret");
        let tag = tagger.tag(Subject::Client(b"alice"));
        assert_eq!(tag.to_string().len(), 12);
        assert!(!format!("{tagger:?} {tag:?}").contains("alice"));
        assert!(!format!("{tagger:?}").contains("s3cret"));
    }

    #[test]
    fn short_limit_names_are_readable_and_long_ones_are_hashed() {
        assert_eq!(LimitKey::of("default").as_str(), "default");
        assert_eq!(LimitKey::of("12345678").as_str(), "12345678");
        let long = LimitKey::of("/api/v1/tools/execute");
        assert_eq!(long.as_str().len(), 8);
        assert!(long.as_str().starts_with('~'));
        assert_ne!(long, LimitKey::of("/api/v1/tools/executf"));
        assert!(
            LimitKey::of("a}:b").as_str().starts_with('~'),
            "a name cannot break out of its key"
        );
    }
}
