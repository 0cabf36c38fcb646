//! Folds the identifiers in a path: `/users/17/orders` becomes `/users/:id/orders`.

use std::borrow::Cow;

use crate::policy::{
    path::{self, NormalPath},
    pattern::segments,
};

/// What replaces an identifier.
const ID: &str = ":id";
/// The longest folded path, in bytes. Metrics have no room for longer labels.
const MAX_BYTES: usize = 128;
/// The fewest digits of a hash. Shorter hexadecimal words may be words: `/feed`, `/facade`.
const MIN_HASH: usize = 16;
/// The fewest characters of a token with letters and digits: `openid2` and `ipv4-routes` are words.
const MIN_MIXED: usize = 12;
/// The fewest characters of a token without digits: `getUserProfile` is a word.
const MIN_BOTH_CASES: usize = 20;
/// The longest word.
const MAX_WORD: usize = 40;

/// Returns `path` with `:id` in place of every segment that is an identifier: a decimal number, a
/// UUID, a hash of 16 hexadecimal digits or more, and what looks like a token: 12 characters or
/// more with letters and digits, 20 or more with letters of both cases, more than 40, or an `@`. So
/// a secret part of a path, such as a token to reset a password, hardly becomes a label. It is
/// printable ASCII.
///
/// `None` if the folded path is longer than 128 bytes.
///
/// A label of a metric holds it where no pattern covers the path. It has far fewer values than
/// there are paths, but still as many as a client can think of, so they must be counted too.
///
/// ```
/// use sluice_core::{NormalPath, fold_ids};
///
/// let path = NormalPath::parse("/users/17/files/01ARZ3NDEKTSV4RRFFQ69G5FAV?page=2")?;
/// assert_eq!(fold_ids(&path).as_deref(), Some("/users/:id/files/:id"));
/// # Ok::<_, sluice_core::RequestError>(())
/// ```
#[must_use]
pub fn fold_ids<'p>(path: &'p NormalPath<'_>) -> Option<Cow<'p, str>> {
    let text = path.as_str();
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    let folded = if is_printable && !segments(text).any(is_id) {
        Cow::Borrowed(text)
    } else {
        let named = |segment| if is_id(segment) { ID } else { segment };
        let folded: String = segments(text).flat_map(|segment| ["/", named(segment)]).collect();
        Cow::Owned(if folded.is_empty() { text.to_owned() } else { path::printable(&folded) })
    };
    (folded.len() <= MAX_BYTES).then_some(folded)
}

fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    is_number(bytes) || is_hash(bytes) || is_uuid(bytes) || is_token(bytes)
}

fn is_number(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

fn is_hash(bytes: &[u8]) -> bool {
    bytes.len() >= MIN_HASH && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// Five groups of hexadecimal digits (RFC 9562).
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// What is no word: a ULID, a key, a token, an address of a person.
fn is_token(bytes: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| bytes.iter().any(kind);
    let has_both_cases = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    (bytes.len() >= MIN_MIXED && is_mixed)
        || (bytes.len() >= MIN_BOTH_CASES && has_both_cases)
        || bytes.len() > MAX_WORD
        || bytes.contains(&b'@')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(path: &str) -> Option<String> {
        let path = NormalPath::parse(path).expect("a path");
        fold_ids(&path).map(Cow::into_owned)
    }

    #[test]
    fn identifiers_are_folded_and_words_are_not() {
        for (path, expected) in [
            ("/", "/"),
            ("/users", "/users"),
            ("/users/17", "/users/:id"),
            ("/users/17/orders/0", "/users/:id/orders/:id"),
            ("/17", "/:id"),
            ("/v1/users", "/v1/users"),
            ("/users/17a", "/users/17a"),
            ("/users/me", "/users/me"),
            ("/f/550e8400-e29b-41d4-a716-446655440000", "/f/:id"),
            ("/f/550E8400-E29B-41D4-A716-446655440000/x", "/f/:id/x"),
            ("/f/550e8400-e29b-41d4-a716-44665544000g", "/f/:id"),
            ("/f/00000000-0000-0000-0000-000000000000", "/f/:id"),
            ("/reset/path-token-Z2FycGx5", "/reset/:id"),
            ("/users/ann@example.org", "/users/:id"),
            ("/f/QmFzZVNpeHR5Rm91clRleHQ", "/f/:id"),
            ("/f/TheBaseSixtyFourTextHere", "/f/:id"),
            ("/rpc/getUserProfile", "/rpc/getUserProfile"),
            ("/blueprints/generate-blueprint", "/blueprints/generate-blueprint"),
            ("/.well-known/openid2", "/.well-known/openid2"),
            ("/f/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/f/:id"),
            ("/f/01arz3ndektsv4rrffq69g5fav", "/f/:id"),
            ("/f/81ARZ3NDEKTSV4RRFFQ69G5FAV", "/f/:id"),
            ("/f/0123456789abcdef", "/f/:id"),
            ("/f/d41d8cd98f00b204e9800998ecf8427e", "/f/:id"),
            ("/f/deadbeef", "/f/deadbeef"),
            ("/f/a7cdef", "/f/a7cdef"),
            ("//users//17/?page=2", "/users/:id"),
            ("/users/%31%37", "/users/:id"),
            ("/café/17", "/caf%C3%A9/:id"),
            ("/café", "/caf%C3%A9"),
            ("/orders/{order_id}", "/orders/{order_id}"),
        ] {
            assert_eq!(folded(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_path_that_stays_too_long_for_a_label_has_no_folded_form() {
        let long = format!("/{}", ["word"; 64].join("/"))[..MAX_BYTES].to_owned();
        assert_eq!(folded(&long).as_deref(), Some(&*long));
        assert_eq!(folded(&format!("{long}x")), None);
        assert_eq!(folded(&format!("/{}", "1".repeat(1_000))).as_deref(), Some("/:id"));
    }

    /// A segment that is an identifier.
    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,30}",
            "[0-9a-fA-F]{16,64}",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-7][0-9A-HJKMNP-TV-Z]{25}",
        ]
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(path in "(/([a-z0-9:.\"é-]|%25|%3F){0,20}){0,6}") {
            if let Ok(path) = NormalPath::parse(&path)
                && let Some(once) = fold_ids(&path)
            {
                prop_assert_eq!(folded(&once), Some(once.to_string()));
            }
        }

        #[test]
        fn a_folded_path_is_a_short_printable_path(path in "/\\PC{0,200}") {
            if let Ok(path) = NormalPath::parse(&path)
                && let Some(folded) = fold_ids(&path)
            {
                prop_assert!(folded.starts_with('/') && folded.len() <= MAX_BYTES);
                prop_assert!(folded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
            }
        }

        #[test]
        fn paths_that_differ_only_in_identifiers_fold_to_one(
            words in prop::collection::vec("[g-z]{1,5}", 1..4),
            ids in prop::collection::vec((id(), id()), 4),
        ) {
            let path = |id: &dyn Fn(usize) -> String| -> String {
                words.iter().enumerate().map(|(at, word)| format!("/{word}/{}", id(at))).collect()
            };
            let expected = path(&|_| ID.to_owned());
            prop_assert_eq!(folded(&path(&|at| ids[at].0.clone())), Some(expected.clone()));
            prop_assert_eq!(folded(&path(&|at| ids[at].1.clone())), Some(expected));
        }
    }
}
